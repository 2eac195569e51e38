//! Redis commands: arrays of bulk strings (RESP), or inline commands.

/// The commands of one request: one, or several that were pipelined.
#[derive(Debug, Clone, Copy)]
pub struct Commands<'a> {
    rest: &'a [u8],
}

/// One command. Its first argument is its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command<'a> {
    bytes: &'a [u8],
    inline: bool,
}

impl<'a> Commands<'a> {
    /// Accepts a request that is nothing but whole commands.
    pub fn parse(request: &'a [u8]) -> Option<Self> {
        let commands = Self { rest: request };
        let mut check = commands;
        while !check.rest.is_empty() {
            check.next()?;
        }
        (!request.is_empty()).then_some(commands)
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = Command<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (command, tail) = if self.rest.first() == Some(&b'*') {
            let (count, mut rest) = length(self.rest, b'*')?;
            let start = rest;
            for _ in 0..count {
                rest = bulk(rest)?.1;
            }
            let bytes = start.get(..start.len() - rest.len())?;
            if count == 0 {
                return None;
            }
            (Command { bytes, inline: false }, rest)
        } else {
            let end = memchr::memchr(b'\n', self.rest)?;
            let line = self.rest.get(..end)?;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let command = Command { bytes: line, inline: true };
            // Any line of text could be an inline command: only known names are.
            describe(command.name())?;
            (command, self.rest.get(end + 1..)?)
        };
        self.rest = tail;
        Some(command)
    }
}

impl<'a> Command<'a> {
    /// The arguments, the name of the command first. Inline arguments keep their quotes.
    pub fn arguments(&self) -> Arguments<'a> {
        Arguments { rest: self.bytes, inline: self.inline }
    }

    /// The name of the command as sent.
    pub fn name(&self) -> &'a [u8] {
        self.arguments().next().unwrap_or_default()
    }
}

/// The arguments of a command, the name of the command first.
#[derive(Debug, Clone)]
pub struct Arguments<'a> {
    rest: &'a [u8],
    inline: bool,
}

impl<'a> Iterator for Arguments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        if self.inline {
            let rest = self.rest.trim_ascii_start();
            let quoted = match rest.first()? {
                quote @ (b'"' | b'\'') => {
                    rest.get(1..)?.iter().position(|byte| byte == quote).map(|at| at + 2)
                }
                _ => None,
            };
            let end = quoted
                .or_else(|| rest.iter().position(|byte| byte.is_ascii_whitespace()))
                .unwrap_or(rest.len());
            let (argument, tail) = rest.split_at(end);
            self.rest = tail;
            return Some(argument);
        }
        let (argument, tail) = bulk(self.rest)?;
        self.rest = tail;
        Some(argument)
    }
}

/// `*3\r\n` or `$5\r\n`: the number, and what follows.
fn length(bytes: &[u8], sigil: u8) -> Option<(usize, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    if *first != sigil {
        return None;
    }
    let mut number = 0usize;
    let mut digits = 0;
    while let Some((digit @ b'0'..=b'9', tail)) = rest.split_first() {
        number = number.checked_mul(10)?.checked_add(usize::from(digit - b'0'))?;
        digits += 1;
        rest = tail;
    }
    (digits > 0).then_some((number, rest.strip_prefix(b"\r\n")?))
}

fn bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = length(bytes, b'$')?;
    let (text, rest) = rest.split_at_checked(count)?;
    Some((text, rest.strip_prefix(b"\r\n")?))
}

/// What a command does with its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// The command changes nothing: asked again, it may be answered again.
    pub read_only: bool,
    /// The arguments from this one on are what the command writes; those before it say where. 0 where
    /// every argument says what is asked for.
    pub values_from: u8,
    /// From `values_from` on, every other argument only: `MSET key value key value`.
    pub alternating: bool,
}

const fn read() -> Description {
    Description { read_only: true, values_from: 0, alternating: false }
}

const fn ask() -> Description {
    Description { read_only: false, values_from: 0, alternating: false }
}

const fn write(values_from: u8) -> Description {
    Description { read_only: false, values_from, alternating: false }
}

const fn pairs(values_from: u8) -> Description {
    Description { read_only: false, values_from, alternating: true }
}

/// What is known of a command, by its name in any case.
pub fn describe(name: &[u8]) -> Option<Description> {
    let mut upper = [0u8; 24];
    let upper = upper.get_mut(..name.len())?;
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    Some(match &*upper {
        b"GET" | b"MGET" | b"STRLEN" | b"GETRANGE" | b"SUBSTR" | b"EXISTS" | b"TYPE" | b"TTL" | b"PTTL"
        | b"EXPIRETIME" | b"PEXPIRETIME" | b"KEYS" | b"SCAN" | b"DBSIZE" | b"RANDOMKEY" | b"DUMP"
        | b"OBJECT" | b"BITCOUNT" | b"BITPOS" | b"GETBIT" | b"BITFIELD_RO" | b"LCS" => read(),
        b"HGET" | b"HMGET" | b"HGETALL" | b"HKEYS" | b"HVALS" | b"HLEN" | b"HEXISTS" | b"HSTRLEN"
        | b"HSCAN" | b"HRANDFIELD" | b"HTTL" | b"HPTTL" => read(),
        b"LRANGE" | b"LLEN" | b"LINDEX" | b"LPOS" => read(),
        b"SMEMBERS" | b"SISMEMBER" | b"SMISMEMBER" | b"SCARD" | b"SRANDMEMBER" | b"SDIFF" | b"SINTER"
        | b"SUNION" | b"SINTERCARD" | b"SSCAN" => read(),
        b"ZRANGE" | b"ZREVRANGE" | b"ZRANGEBYSCORE" | b"ZREVRANGEBYSCORE" | b"ZRANGEBYLEX"
        | b"ZREVRANGEBYLEX" | b"ZSCORE" | b"ZMSCORE" | b"ZRANK" | b"ZREVRANK" | b"ZCARD" | b"ZCOUNT"
        | b"ZLEXCOUNT" | b"ZSCAN" | b"ZRANDMEMBER" | b"ZDIFF" | b"ZINTER" | b"ZUNION" | b"ZINTERCARD" => {
            read()
        }
        b"GEOPOS" | b"GEODIST" | b"GEOHASH" | b"GEOSEARCH" | b"GEORADIUS_RO" | b"GEORADIUSBYMEMBER_RO" => {
            read()
        }
        b"PFCOUNT" | b"XRANGE" | b"XREVRANGE" | b"XLEN" | b"XINFO" | b"XPENDING" | b"SORT_RO"
        | b"EVAL_RO" | b"EVALSHA_RO" | b"FCALL_RO" => read(),
        b"PING" | b"ECHO" | b"TIME" | b"INFO" | b"COMMAND" | b"LASTSAVE" | b"ROLE" | b"MEMORY"
        | b"PUBSUB" => read(),

        b"SET" | b"SETNX" | b"GETSET" | b"APPEND" | b"SETRANGE" | b"RESTORE" => write(2),
        b"SETEX" | b"PSETEX" => write(3),
        b"MSET" | b"MSETNX" => pairs(2),
        b"HSET" | b"HMSET" => pairs(3),
        b"HSETNX" => write(3),
        b"LPUSH" | b"RPUSH" | b"LPUSHX" | b"RPUSHX" | b"SADD" | b"PFADD" => write(2),
        b"LSET" => write(3),
        b"LINSERT" => write(4),
        b"ZADD" => write(2),
        b"EXPIREAT" | b"PEXPIREAT" => write(2),
        b"PUBLISH" | b"SPUBLISH" => write(2),
        b"XADD" => write(2),
        b"JSON.SET" => write(3),

        b"DEL" | b"UNLINK" | b"INCR" | b"DECR" | b"INCRBY" | b"DECRBY" | b"INCRBYFLOAT" | b"GETDEL"
        | b"GETEX" | b"EXPIRE" | b"PEXPIRE" | b"PERSIST" | b"RENAME" | b"RENAMENX" | b"COPY" | b"MOVE"
        | b"TOUCH" | b"SETBIT" | b"BITOP" | b"BITFIELD" | b"SORT" | b"MIGRATE" => ask(),
        b"HDEL" | b"HINCRBY" | b"HINCRBYFLOAT" | b"HEXPIRE" | b"HGETDEL" | b"HGETEX" => ask(),
        b"LPOP" | b"RPOP" | b"BLPOP" | b"BRPOP" | b"LREM" | b"LTRIM" | b"RPOPLPUSH" | b"BRPOPLPUSH"
        | b"LMOVE" | b"BLMOVE" | b"LMPOP" | b"BLMPOP" => ask(),
        b"SREM" | b"SPOP" | b"SMOVE" | b"SDIFFSTORE" | b"SINTERSTORE" | b"SUNIONSTORE" => ask(),
        b"ZREM" | b"ZINCRBY" | b"ZPOPMIN" | b"ZPOPMAX" | b"BZPOPMIN" | b"BZPOPMAX" | b"ZREMRANGEBYSCORE"
        | b"ZREMRANGEBYRANK" | b"ZREMRANGEBYLEX" | b"ZRANGESTORE" | b"ZUNIONSTORE" | b"ZINTERSTORE"
        | b"ZDIFFSTORE" | b"ZMPOP" | b"BZMPOP" => ask(),
        b"GEOADD" | b"GEOSEARCHSTORE" | b"GEORADIUS" | b"GEORADIUSBYMEMBER" | b"PFMERGE" => ask(),
        b"XREAD" | b"XREADGROUP" | b"XGROUP" | b"XACK" | b"XDEL" | b"XTRIM" | b"XCLAIM" | b"XAUTOCLAIM"
        | b"XSETID" => ask(),
        b"EVAL" | b"EVALSHA" | b"FCALL" | b"FUNCTION" | b"SCRIPT" | b"MULTI" | b"EXEC" | b"DISCARD"
        | b"WATCH" | b"UNWATCH" => ask(),
        b"AUTH" | b"HELLO" | b"SELECT" | b"CLIENT" | b"CONFIG" | b"QUIT" | b"RESET" | b"SUBSCRIBE"
        | b"PSUBSCRIBE" | b"SSUBSCRIBE" | b"UNSUBSCRIBE" | b"PUNSUBSCRIBE" | b"SUNSUBSCRIBE" | b"MONITOR"
        | b"WAIT" | b"WAITAOF" | b"FLUSHDB" | b"FLUSHALL" | b"SAVE" | b"BGSAVE" | b"BGREWRITEAOF"
        | b"SWAPDB" | b"CLUSTER" | b"READONLY" | b"READWRITE" | b"ASKING" | b"ACL" | b"LATENCY"
        | b"SLOWLOG" | b"MODULE" | b"DEBUG" | b"SHUTDOWN" | b"REPLICAOF" | b"SLAVEOF" | b"FAILOVER"
        | b"SYNC" | b"PSYNC" | b"REPLCONF" => ask(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn arrays_pipelines_and_inline_commands() {
        let request = b"*2\r\n$3\r\nGET\r\n$4\r\na\r\nb\r\n*1\r\n$4\r\nPING\r\n";
        let commands: Vec<Vec<&[u8]>> =
            Commands::parse(request).expect("valid").map(|command| command.arguments().collect()).collect();
        assert_eq!(commands, [Vec::from([&b"GET"[..], b"a\r\nb"]), Vec::from([&b"PING"[..]])]);

        let inline: Vec<&[u8]> = Commands::parse(b"set \"a b\" c\r\n")
            .expect("valid")
            .flat_map(|command| command.arguments())
            .collect();
        assert_eq!(inline, [&b"set"[..], b"\"a b\"", b"c"]);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let request = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n";
        for end in 0..request.len() {
            assert!(Commands::parse(&request[..end]).is_none());
        }
        assert!(Commands::parse(b"good morning\r\n").is_none(), "no command of that name");
        assert!(Commands::parse(b"*99999999999999999999\r\n").is_none());
        assert!(Commands::parse(b"*1\r\n$18446744073709551615\r\na\r\n").is_none());
        assert!(Commands::parse(b"*-1\r\n").is_none());
    }

    #[test]
    fn reads_and_writes() {
        assert!(describe(b"get").expect("known").read_only);
        assert_eq!(describe(b"SETEX").expect("known").values_from, 3);
        assert!(!describe(b"INCR").expect("known").read_only);
        assert!(describe(b"NOSUCH").is_none());
        assert!(describe(&[b'A'; 100]).is_none());
    }

    proptest! {
        #[test]
        fn arguments_survive(arguments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..6)) {
            let mut bytes = std::format!("*{}\r\n", arguments.len()).into_bytes();
            for argument in &arguments {
                bytes.extend_from_slice(std::format!("${}\r\n", argument.len()).as_bytes());
                bytes.extend_from_slice(argument);
                bytes.extend_from_slice(b"\r\n");
            }
            let decoded: Vec<Vec<u8>> = Commands::parse(&bytes)
                .expect("valid")
                .flat_map(|command| command.arguments().map(<[u8]>::to_vec).collect::<Vec<_>>())
                .collect();
            prop_assert_eq!(decoded, arguments);
        }
    }
}
