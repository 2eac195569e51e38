//! Redis commands that set a connection up.
//!
//! A pool connects when it likes: a session that found a connection open in the recording may have to open one in
//! the replay. What is said on a connection before it is used is therefore answered from wherever it was recorded,
//! and if it was nowhere, as a server without passwords answers it.

use koala_protocol::decode::redis::Commands;

/// Whether a request sets its connection up, and asks for no data.
pub fn sets_up(request: &[u8]) -> bool {
    let Some(words) = words(request) else { return false };
    match words.first().map(String::as_str) {
        // phpredis asks so whether a connection that it kept is alive.
        Some("HELLO" | "AUTH" | "SELECT" | "PING" | "ECHO" | "READONLY" | "READWRITE") => true,
        Some("CLIENT") => words.get(1).is_some_and(|word| {
            matches!(
                word.as_str(),
                "SETINFO"
                    | "SETNAME"
                    | "TRACKING"
                    | "NO-EVICT"
                    | "NO-TOUCH"
                    | "ID"
                    | "CAPA"
                    | "MAINT_NOTIFICATIONS"
            )
        }),
        _ => false,
    }
}

/// What a server answers to a request that sets its connection up.
pub fn simulate(request: &[u8]) -> Option<Vec<u8>> {
    if !sets_up(request) {
        return None;
    }
    if let Some(said) = echoed(request) {
        return Some([format!("${}\r\n", said.len()).as_bytes(), said, b"\r\n"].concat());
    }
    let words = words(request)?;
    let answer: &[u8] = match (words.first()?.as_str(), words.get(1).map(String::as_str)) {
        ("HELLO", Some("3")) => HELLO_3,
        ("HELLO", _) => HELLO_2,
        ("PING", None) => b"+PONG\r\n",
        // They are answered with an error.
        ("PING" | "ECHO", _) => return None,
        ("CLIENT", Some("ID")) => b":1\r\n",
        // Servers but for those of Redis Cloud do not know it, which clients (node-redis) take for an answer.
        ("CLIENT", Some("MAINT_NOTIFICATIONS")) => b"-ERR unknown subcommand 'MAINT_NOTIFICATIONS'\r\n",
        _ => b"+OK\r\n",
    };
    Some(answer.to_vec())
}

/// The one argument of a command that is answered with it.
fn echoed(request: &[u8]) -> Option<&[u8]> {
    let mut commands = Commands::parse(request)?;
    let mut words = commands.next()?.arguments();
    let (name, said) = (words.next()?, words.next()?);
    let echoes = name.eq_ignore_ascii_case(b"ECHO") || name.eq_ignore_ascii_case(b"PING");
    (echoes && words.next().is_none()).then_some(said)
}

const HELLO_3: &[u8] = b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:3\r\n\
    $2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";
const HELLO_2: &[u8] = b"*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:2\r\n\
    $2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n";

/// The words of a request that is one command, in upper case.
fn words(request: &[u8]) -> Option<Vec<String>> {
    let mut commands = Commands::parse(request)?;
    let command = commands.next()?;
    if commands.next().is_some() {
        return None;
    }
    Some(command.arguments().map(|word| String::from_utf8_lossy(word).to_ascii_uppercase()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", words.len());
        for word in words {
            bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        bytes.into_bytes()
    }

    #[test]
    fn knows_what_sets_a_connection_up() {
        for words in [
            &["HELLO", "3"][..],
            &["auth", "secret"],
            &["SELECT", "2"],
            &["client", "setinfo", "LIB-NAME", "x"],
            &["CLIENT", "MAINT_NOTIFICATIONS", "ON", "moving-endpoint-type", "external-ip"],
            &["PING"],
            &["PING", "there?"],
            &["echo", "phpredis:6b04110cde0b8:1dc3678d"],
        ] {
            assert!(sets_up(&command(words)), "{words:?}");
            assert!(simulate(&command(words)).is_some(), "{words:?}");
        }
        for words in [&["GET", "a"][..], &["CLIENT", "LIST"], &["CLIENT"], &["SET", "PING", "AUTH"]] {
            assert!(!sets_up(&command(words)), "{words:?}");
            assert_eq!(simulate(&command(words)), None, "{words:?}");
        }
        assert!(!sets_up(b"GET / HTTP/1.1\r\n\r\n"));
        let two = [command(&["PING"]), command(&["GET", "a"])].concat();
        assert!(!sets_up(&two));
    }

    #[test]
    fn what_is_said_is_said_again_as_it_was() {
        assert_eq!(simulate(&command(&["Echo", "Aé"])).unwrap(), "$3\r\nAé\r\n".as_bytes());
        assert_eq!(simulate(&command(&["ECHO"])), None);
        assert_eq!(simulate(&command(&["ECHO", "a", "b"])), None);
    }

    #[test]
    fn simulated_answers_are_whole_replies() {
        use koala_protocol::{Expected, Framing, Protocol, frame_response};
        for words in [
            &["HELLO", "3"][..],
            &["HELLO"],
            &["PING"],
            &["CLIENT", "ID"],
            &["CLIENT", "MAINT_NOTIFICATIONS", "ON"],
            &["SELECT", "1"],
            &["ECHO", "a b"],
        ] {
            let request = command(words);
            let answer = simulate(&request).unwrap();
            let expected = Expected::of(Protocol::Redis, &request);
            assert_eq!(frame_response(Protocol::Redis, expected, &answer), Framing::Complete(answer.len()));
        }
    }
}
