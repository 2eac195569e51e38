//! Redis commands: arrays of bulk strings (RESP), or inline commands.

use crate::words::Words;

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

/// What is known of commands, by family.
#[rustfmt::skip]
static COMMANDS: Words<Description, 243, 20> = Words::new(&[
    (&["GET", "MGET", "STRLEN", "GETRANGE", "SUBSTR", "EXISTS", "TYPE", "TTL", "PTTL", "EXPIRETIME",
        "PEXPIRETIME", "KEYS", "SCAN", "DBSIZE", "RANDOMKEY", "DUMP", "OBJECT", "BITCOUNT", "BITPOS",
        "GETBIT", "BITFIELD_RO", "LCS"], read()),
    (&["HGET", "HMGET", "HGETALL", "HKEYS", "HVALS", "HLEN", "HEXISTS", "HSTRLEN", "HSCAN", "HRANDFIELD",
        "HTTL", "HPTTL"], read()),
    (&["LRANGE", "LLEN", "LINDEX", "LPOS"], read()),
    (&["SMEMBERS", "SISMEMBER", "SMISMEMBER", "SCARD", "SRANDMEMBER", "SDIFF", "SINTER", "SUNION",
        "SINTERCARD", "SSCAN"], read()),
    (&["ZRANGE", "ZREVRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE", "ZRANGEBYLEX", "ZREVRANGEBYLEX", "ZSCORE",
        "ZMSCORE", "ZRANK", "ZREVRANK", "ZCARD", "ZCOUNT", "ZLEXCOUNT", "ZSCAN", "ZRANDMEMBER", "ZDIFF",
        "ZINTER", "ZUNION", "ZINTERCARD"], read()),
    (&["GEOPOS", "GEODIST", "GEOHASH", "GEOSEARCH", "GEORADIUS_RO", "GEORADIUSBYMEMBER_RO"], read()),
    (&["PFCOUNT", "XRANGE", "XREVRANGE", "XLEN", "XINFO", "XPENDING", "SORT_RO", "EVAL_RO", "EVALSHA_RO",
        "FCALL_RO"], read()),
    (&["PING", "ECHO", "TIME", "INFO", "COMMAND", "LASTSAVE", "ROLE", "MEMORY", "PUBSUB"], read()),
    (&["SET", "SETNX", "GETSET", "APPEND", "SETRANGE", "RESTORE"], write(2)),
    (&["SETEX", "PSETEX"], write(3)),
    (&["MSET", "MSETNX"], pairs(2)),
    (&["HSET", "HMSET"], pairs(3)),
    (&["HSETNX"], write(3)),
    (&["LPUSH", "RPUSH", "LPUSHX", "RPUSHX", "SADD", "PFADD"], write(2)),
    (&["LSET"], write(3)),
    (&["LINSERT"], write(4)),
    (&["ZADD"], write(2)),
    (&["EXPIREAT", "PEXPIREAT"], write(2)),
    (&["PUBLISH", "SPUBLISH"], write(2)),
    (&["XADD"], write(2)),
    (&["JSON.SET"], write(3)),
    (&["DEL", "UNLINK", "INCR", "DECR", "INCRBY", "DECRBY", "INCRBYFLOAT", "GETDEL", "GETEX", "EXPIRE",
        "PEXPIRE", "PERSIST", "RENAME", "RENAMENX", "COPY", "MOVE", "TOUCH", "SETBIT", "BITOP", "BITFIELD",
        "SORT", "MIGRATE"], ask()),
    (&["HDEL", "HINCRBY", "HINCRBYFLOAT", "HEXPIRE", "HGETDEL", "HGETEX"], ask()),
    (&["LPOP", "RPOP", "BLPOP", "BRPOP", "LREM", "LTRIM", "RPOPLPUSH", "BRPOPLPUSH", "LMOVE", "BLMOVE",
        "LMPOP", "BLMPOP"], ask()),
    (&["SREM", "SPOP", "SMOVE", "SDIFFSTORE", "SINTERSTORE", "SUNIONSTORE"], ask()),
    (&["ZREM", "ZINCRBY", "ZPOPMIN", "ZPOPMAX", "BZPOPMIN", "BZPOPMAX", "ZREMRANGEBYSCORE", "ZREMRANGEBYRANK",
        "ZREMRANGEBYLEX", "ZRANGESTORE", "ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE", "ZMPOP", "BZMPOP"],
        ask()),
    (&["GEOADD", "GEOSEARCHSTORE", "GEORADIUS", "GEORADIUSBYMEMBER", "PFMERGE"], ask()),
    (&["XREAD", "XREADGROUP", "XGROUP", "XACK", "XDEL", "XTRIM", "XCLAIM", "XAUTOCLAIM", "XSETID"], ask()),
    (&["EVAL", "EVALSHA", "FCALL", "FUNCTION", "SCRIPT", "MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH"],
        ask()),
    (&["AUTH", "HELLO", "SELECT", "CLIENT", "CONFIG", "QUIT", "RESET", "SUBSCRIBE", "PSUBSCRIBE",
        "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "MONITOR", "WAIT", "WAITAOF", "FLUSHDB",
        "FLUSHALL", "SAVE", "BGSAVE", "BGREWRITEAOF", "SWAPDB", "CLUSTER", "READONLY", "READWRITE", "ASKING",
        "ACL", "LATENCY", "SLOWLOG", "MODULE", "DEBUG", "SHUTDOWN", "REPLICAOF", "SLAVEOF", "FAILOVER",
        "SYNC", "PSYNC", "REPLCONF"], ask()),
]);

/// What is known of a command, by its name in any case.
pub fn describe(name: &[u8]) -> Option<Description> {
    let mut upper = [0u8; 24];
    let upper = upper.get_mut(..name.len())?;
    upper.copy_from_slice(name);
    upper.make_ascii_uppercase();
    COMMANDS.find(upper)
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
