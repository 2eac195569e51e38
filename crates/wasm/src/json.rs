//! Values for JavaScript, which takes them as JSON: one crossing and one parse by the engine, where setting each
//! member from here would cross for each.

use std::fmt::Write;

use wasm_bindgen::JsValue;

/// An object or list being written.
pub(crate) struct Json {
    text: String,
}

impl Json {
    /// An object whose members `members` writes.
    pub(crate) fn object(members: impl FnOnce(&mut Self)) -> JsValue {
        let mut json = Self { text: String::with_capacity(512) };
        json.container('{', '}', members);
        // JSON that was just made is understood; JavaScript would see `null` otherwise.
        js_sys::JSON::parse(&json.text).unwrap_or(JsValue::NULL)
    }

    /// A list, an item for each of `items`.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) {
        self.name(name);
        self.container('[', ']', |json| {
            for value in items {
                json.comma();
                item(json, value);
            }
        });
    }

    /// An object as an item of a list, or as the value of a name.
    pub(crate) fn inner(&mut self, members: impl FnOnce(&mut Self)) {
        self.container('{', '}', members);
    }

    /// A member whose value follows.
    pub(crate) fn name(&mut self, name: &str) {
        self.comma();
        self.string(name);
        self.text.push(':');
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.text.push('"');
        for character in text.chars() {
            match character {
                '"' | '\\' => self.text.extend(['\\', character]),
                // Writing to a string cannot fail.
                '\0'..='\x1f' => drop(write!(self.text, "\\u{:04x}", u32::from(character))),
                other => self.text.push(other),
            }
        }
        self.text.push('"');
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.string(text);
    }

    pub(crate) fn number(&mut self, name: &str, number: f64) {
        self.name(name);
        // Rust's shortest form is read back as the same number; what is no number has no form in JSON.
        let _ = if number.is_finite() { write!(self.text, "{number}") } else { write!(self.text, "null") };
    }

    pub(crate) fn index(&mut self, name: &str, index: Option<usize>) {
        self.name(name);
        match index {
            Some(index) => drop(write!(self.text, "{index}")),
            None => self.null(),
        }
    }

    pub(crate) fn flag(&mut self, name: &str, flag: bool) {
        self.name(name);
        self.text.push_str(if flag { "true" } else { "false" });
    }

    pub(crate) fn null(&mut self) {
        self.text.push_str("null");
    }

    fn comma(&mut self) {
        if !self.text.ends_with(['{', '[']) {
            self.text.push(',');
        }
    }

    fn container(&mut self, open: char, close: char, inside: impl FnOnce(&mut Self)) {
        self.text.push(open);
        inside(self);
        self.text.push(close);
    }
}
