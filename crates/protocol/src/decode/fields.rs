//! A request as a list of named fields, for people: what the Node addon and the browser show of a request.
//!
//! The matcher does not use it: it compares what the decoders borrow, and knows what each field is worth.

use alloc::{format, string::String, vec::Vec};

use super::{Decoded, decode, http, json, postgres, thrift};

/// A request, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fields {
    /// `http`, `redis`, `memcached`, `mysql`, `postgres`, `thrift`, or empty where nothing was recognised.
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

/// Recognises and decodes one request.
pub fn fields(request: &[u8]) -> Fields {
    let mut list = List { prefix: String::new(), fields: Vec::new() };
    let protocol = match decode(request) {
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
                    list.push(&format!("argument[{index}]"), argument);
                }
            }
            "redis"
        }
        Decoded::Memcached(storage) => {
            list.push("command", storage.command);
            list.push("key", storage.key);
            list.push("options", storage.options);
            list.push("value", storage.value);
            "memcached"
        }
        Decoded::MySql(command) => {
            list.push("command", command.name().as_bytes());
            match command.sql() {
                Some(sql) => list.push("sql", sql),
                None if command.body.is_empty() => {}
                None => list.push("body", command.body),
            }
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
        Decoded::Thrift(call) => {
            list.thrift(&call);
            "thrift"
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
        self.fields.push(Field { name: format!("{}{name}", self.prefix), value: text(value) });
    }

    fn http(&mut self, request: &http::Request<'_>) {
        self.push("method", request.method());
        self.push("path", request.path());
        for (name, value) in request.query() {
            self.push(&format!("query.{}", text(name)), value);
        }
        for (name, value) in request.headers() {
            self.push(&format!("header.{}", text(name)), value);
        }
        match request.body() {
            http::Body::Empty => {}
            http::Body::Json(content) => self.json(&content),
            http::Body::Form(content) => {
                for (name, value) in super::percent::Pairs::new(&content) {
                    self.push(&format!("body.{}", text(name)), value);
                }
            }
            http::Body::Multipart { content, .. } | http::Body::Bytes(content) => {
                self.push("body", &content);
            }
        }
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
            let dot = if path.is_empty() || path.starts_with(['[', '#']) { "" } else { "." };
            self.push(&format!("body{dot}{path}"), &json::unescape(token));
        });
        if result.is_err() || budget == 0 {
            self.fields.truncate(before);
            self.push("body", content);
        }
    }

    fn postgres(&mut self, message: postgres::Message<'_>) {
        match message {
            postgres::Message::Query(sql) => {
                self.push("message", b"Query");
                self.push("sql", sql);
            }
            postgres::Message::Parse { name, sql } => {
                self.push("message", b"Parse");
                self.push("statement", name);
                self.push("sql", sql);
            }
            postgres::Message::Bind { statement, parameters, .. } => {
                self.push("message", b"Bind");
                self.push("statement", statement);
                for (index, value) in parameters.enumerate() {
                    self.push(&format!("parameter[{index}]"), value.unwrap_or(b"NULL"));
                }
            }
            postgres::Message::Other(kind, body) => {
                self.push("message", &[kind]);
                if !body.is_empty() {
                    self.push("body", body);
                }
            }
        }
    }

    fn thrift(&mut self, call: &thrift::Call<'_>) {
        self.push("method", call.method);
        let before = self.fields.len();
        let result = call.fields(|path, value| {
            let name = format!("argument.{path}");
            match value {
                thrift::Value::Integer(number) => self.push(&name, format!("{number}").as_bytes()),
                thrift::Value::Double(number) => self.push(&name, format!("{number}").as_bytes()),
                thrift::Value::Bytes(bytes) => self.push(&name, bytes),
                thrift::Value::Empty => self.push(&name, b""),
            }
        });
        if result.is_none() {
            self.fields.truncate(before);
            self.push("arguments", call.arguments);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
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
