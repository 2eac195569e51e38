//! A request as a list of named fields, for people: what the Node addon and the browser show of a request.
//!
//! The matcher does not use it: it compares what the decoders borrow, and knows what each field is worth.

use alloc::{format, string::String, vec::Vec};

use super::{Decoded, Value, fastcgi, http, json, memcached, mongodb, mysql, percent, postgres, thrift};
use crate::ConnectionState;

/// A request, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// The [name of the protocol](crate::Protocol::name), or empty where nothing was recognised.
    pub protocol: &'static str,
    /// The fields in the order in which they were sent.
    pub fields: Vec<Field>,
}

/// One field. Bytes that are no UTF-8 stand as `\xhh` in both of its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// `method`, `query.id`, `header.Host`, `body.items[0].id`, `command`, `argument[1]`, `sql`, ...
    pub name: String,
    /// What was sent.
    pub value: String,
}

/// Recognises and decodes one request, of which nothing but its bytes is known.
pub fn fields(request: &[u8]) -> Fields {
    fields_in(&ConnectionState::default(), request)
}

/// Recognises and decodes the next request of a connection on which was said what `state` knows.
pub fn fields_in(state: &ConnectionState, request: &[u8]) -> Fields {
    let mut list = List { prefix: String::new(), fields: Vec::new() };
    let protocol = match state.decode(request) {
        Decoded::Http(request) => {
            list.http(&request);
            "http"
        }
        Decoded::Redis(commands) => {
            let several = commands.count() > 1;
            for (index, command) in commands.enumerate() {
                if several {
                    list.prefix = format!("[{index}].");
                }
                list.push("command", command.name());
                for (index, argument) in command.arguments().enumerate().skip(1) {
                    list.item("argument", index, argument);
                }
            }
            "redis"
        }
        Decoded::Memcached(command) => {
            list.memcached(&command);
            "memcached"
        }
        Decoded::MySql(command) => {
            list.mysql(&command);
            "mysql"
        }
        Decoded::MySqlLogin(login) => {
            list.push("command", b"login");
            list.push("user", login.user);
            list.push("database", login.database);
            "mysql"
        }
        Decoded::Postgres(messages) => {
            for (index, message) in messages.enumerate() {
                list.prefix = format!("[{index}].");
                list.postgres(message);
            }
            "postgres"
        }
        Decoded::PostgresStartUp(start_up) => {
            list.push("message", b"StartUp");
            for (name, value) in start_up.parameters() {
                list.named("", name, value);
            }
            "postgres"
        }
        Decoded::Thrift(call) => {
            list.thrift(&call);
            "thrift"
        }
        Decoded::MongoDb(command) => {
            list.mongodb(&command);
            "mongodb"
        }
        Decoded::FastCgi(request) => {
            list.fastcgi(&request);
            "fastcgi"
        }
        Decoded::Unknown(bytes) => {
            if !bytes.is_empty() {
                list.push("body", bytes);
            }
            ""
        }
    };
    Fields { protocol, fields: list.fields }
}

struct List {
    prefix: String,
    fields: Vec<Field>,
}

impl List {
    fn push(&mut self, name: &str, value: &[u8]) {
        self.named(name, b"", value);
    }

    /// A field whose name is put together.
    fn named(&mut self, name: &str, rest: &[u8], value: &[u8]) {
        let mut whole = self.prefix.clone();
        whole.push_str(name);
        push_text(&mut whole, rest);
        self.fields.push(Field { name: whole, value: text(value) });
    }

    /// A field of several that have numbers.
    fn item(&mut self, name: &str, index: usize, value: &[u8]) {
        self.named(name, format!("[{index}]").as_bytes(), value);
    }

    fn http(&mut self, request: &http::Request<'_>) {
        self.push("method", request.method());
        self.push("path", request.path());
        self.pairs("query.", request.query());
        for (name, value) in request.headers() {
            self.named("header.", name, value);
        }
        self.body(request.body());
    }

    fn pairs(&mut self, prefix: &str, pairs: percent::Pairs<'_>) {
        for (name, value) in pairs {
            self.named(prefix, name, value);
        }
    }

    fn body(&mut self, body: http::Body<'_>) {
        match body {
            http::Body::Empty => {}
            http::Body::Json(content) => self.json(&content),
            http::Body::Form(content) => self.pairs("body.", percent::Pairs::new(&content)),
            http::Body::Multipart { content, .. } | http::Body::Bytes(content) => self.push("body", &content),
        }
    }

    fn fastcgi(&mut self, request: &fastcgi::Request<'_>) {
        for (name, value) in request.params() {
            self.named("param.", name, value);
        }
        self.pairs("query.", request.query());
        self.body(request.body());
    }

    fn memcached(&mut self, command: &memcached::Command<'_>) {
        self.push("command", command.command);
        self.push("key", &command.key);
        for (name, value) in [("options", Some(command.options)), ("value", command.value)] {
            if let Some(value) = value.filter(|value| name == "value" || !value.is_empty()) {
                self.push(name, value);
            }
        }
    }

    fn mysql(&mut self, command: &mysql::Command<'_>) {
        self.push("command", command.name().as_bytes());
        if let Some(sql) = command.sql() {
            self.push("sql", sql);
        } else if !command.body.is_empty() {
            self.push("body", command.body);
        }
        self.values(command.parameters().into_iter().flatten());
    }

    fn values<'v>(&mut self, values: impl Iterator<Item = Value<'v>>) {
        for (index, value) in values.enumerate() {
            self.item("parameter", index, &value.text());
        }
    }

    fn mongodb(&mut self, command: &mongodb::Command<'_>) {
        self.push("command", command.name);
        self.push("database", command.database);
        // A message that was decoded is well formed.
        let _ = command.fields(|path, value| self.push(path, &value.text()));
    }

    /// The leaves of a JSON body, or the body as it is where it is no JSON, or where its paths would be out of
    /// proportion to it (a long key above a long list).
    fn json(&mut self, content: &[u8]) {
        let before = self.fields.len();
        let mut budget = content.len().saturating_mul(8).saturating_add(1 << 16);
        let result = json::leaves(content, |path, token| {
            let size = path.len() + token.len();
            let Some(left) = budget.checked_sub(size) else {
                budget = 0;
                return;
            };
            budget = left;
            let body = if path.is_empty() || path.starts_with(['[', '#']) { "body" } else { "body." };
            self.named(body, path.as_bytes(), &json::unescape(token));
        });
        if result.is_err() || budget == 0 {
            self.fields.truncate(before);
            self.push("body", content);
        }
    }

    fn postgres(&mut self, message: postgres::Message<'_>) {
        let (kind, statement, sql, values) = match message {
            postgres::Message::Query(sql) => (&b"Query"[..], None, Some(sql), None),
            postgres::Message::Parse { name, sql } => (&b"Parse"[..], Some(name), Some(sql), None),
            postgres::Message::Bind { statement, sql, parameters, .. } => {
                (&b"Bind"[..], Some(statement), sql, Some(parameters))
            }
            postgres::Message::Execute { portal, bound, .. } => {
                let (sql, parameters) = bound.unzip();
                (&b"Execute"[..], Some(portal).filter(|name| !name.is_empty()), sql, parameters)
            }
            postgres::Message::Named { kind, name, sql, .. } => {
                (if kind == b'C' { &b"Close"[..] } else { b"Describe" }, Some(name), sql, None)
            }
            postgres::Message::Other(kind, body) => {
                self.push("message", &[kind]);
                if !body.is_empty() {
                    self.push("body", body);
                }
                return;
            }
        };
        self.push("message", kind);
        if let Some(name) = statement {
            self.push("statement", name);
        }
        if let Some(sql) = sql {
            self.push("sql", sql);
        }
        self.values(values.into_iter().flat_map(postgres::Parameters::values));
    }

    fn thrift(&mut self, call: &thrift::Call<'_>) {
        self.push("method", call.method);
        let before = self.fields.len();
        let visit = |path: &str, value: Value<'_>| self.named("argument.", path.as_bytes(), &value.text());
        if call.fields(visit).is_none() {
            self.fields.truncate(before);
            self.push("arguments", call.arguments);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    push_text(&mut text, bytes);
    text
}

fn push_text(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let digit = |digit: u8| char::from_digit(u32::from(digit), 16).unwrap_or_default();
            text.extend(['\\', 'x', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(request: &[u8]) -> (&'static str, Vec<String>) {
        let Fields { protocol, fields } = fields(request);
        (protocol, fields.into_iter().map(|Field { name, value }| format!("{name}={value}")).collect())
    }

    #[test]
    fn each_protocol_has_its_fields() {
        let json = b"POST /a?id=1&q=a%20b HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\r\n\
            {\"a\":[1,{\"b\":\"x\\ny\"}],\"c\":null}";
        assert_eq!(
            shown(json).1,
            [
                "method=POST",
                "path=/a",
                "query.id=1",
                "query.q=a%20b",
                "header.Host=h",
                "header.Content-Type=application/json",
                "body.a[0]=1",
                "body.a[1].b=x\ny",
                "body.c=null"
            ]
        );
        assert_eq!(
            shown(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n\xffv\r\n"),
            ("redis", ["command=SET", "argument[1]=k", "argument[2]=\\xffv"].map(String::from).to_vec())
        );
        assert_eq!(
            shown(b"PING\r\nGET a\r\n").1,
            ["[0].command=PING", "[1].command=GET", "[1].argument[1]=a"]
        );
        assert_eq!(
            shown(b"\x09\0\0\0\x03SELECT 1"),
            ("mysql", ["command=COM_QUERY", "sql=SELECT 1"].map(String::from).to_vec())
        );
        assert_eq!(
            shown(b"Q\0\0\0\x0dSELECT 1\0"),
            ("postgres", ["[0].message=Query", "[0].sql=SELECT 1"].map(String::from).to_vec())
        );
        assert_eq!(
            shown(b"\x80\x01\0\x01\0\0\0\x04ping\0\0\0\x07\x0b\0\x01\0\0\0\x02hi\0"),
            ("thrift", ["method=ping", "argument.1=hi"].map(String::from).to_vec())
        );
        assert_eq!(shown(b"hello there"), ("", ["body=hello there"].map(String::from).to_vec()));
        assert_eq!(shown(b""), ("", Vec::new()));
    }

    #[test]
    fn a_body_that_is_no_json_stays_whole() {
        let request = b"POST / HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{\"a\":1,";
        assert_eq!(shown(request).1.last().map(String::as_str), Some("body={\"a\":1,"));
    }

    #[test]
    fn fields_stay_in_proportion_to_the_request() {
        let body = format!("{{\"{}\":[{}1]}}", "k".repeat(50_000), "1,".repeat(50_000));
        let request = format!("POST / HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{body}");
        let all = fields(request.as_bytes()).fields;
        let size: usize = all.iter().map(|field| field.name.len() + field.value.len()).sum();
        assert!(size < request.len() * 2, "{size}");
        assert_eq!(
            all.last().map(|field| (field.name.as_str(), field.value.as_str())),
            Some(("body", &*body))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = fields(&bytes);
        }
    }
}
