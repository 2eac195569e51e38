//! Values for JavaScript, as numbers and one text that holds all strings: two crossings, where setting each member
//! from here would cross for each. `values.js` makes the values of them, and reads what is written in the order in
//! which it was.

use wasm_bindgen::prelude::*;

#[wasm_bindgen(module = "/src/values.js")]
extern "C" {
    #[wasm_bindgen(js_name = unpackDecision)]
    pub(crate) fn unpack_decision(numbers: &[f64], text: &str) -> JsValue;
    #[wasm_bindgen(js_name = unpackDecisions)]
    pub(crate) fn unpack_decisions(numbers: &[f64], text: &str) -> JsValue;
    #[wasm_bindgen(js_name = unpackRequest)]
    pub(crate) fn unpack_request(numbers: &[f64], text: &str) -> JsValue;
}

/// A value that is being written.
#[derive(Default)]
pub(crate) struct Packed {
    numbers: Vec<f64>,
    text: String,
}

impl Packed {
    /// The value that `write` writes and `unpack` reads.
    pub(crate) fn value(unpack: fn(&[f64], &str) -> JsValue, write: impl FnOnce(&mut Self)) -> JsValue {
        let mut packed = Self::default();
        write(&mut packed);
        unpack(&packed.numbers, &packed.text)
    }

    pub(crate) fn number(&mut self, number: f64) {
        self.numbers.push(number);
    }

    /// A count, or an index that there is.
    pub(crate) fn count(&mut self, count: usize) {
        self.number(count as f64);
    }

    pub(crate) fn index(&mut self, index: Option<usize>) {
        self.number(index.map_or(-1.0, |index| index as f64));
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.number(f64::from(u8::from(flag)));
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.text.push_str(text);
        // JavaScript counts UTF-16.
        self.count(if text.is_ascii() { text.len() } else { text.encode_utf16().count() });
    }

    pub(crate) fn list<T>(&mut self, items: &[T], item: impl Fn(&mut Self, &T)) {
        self.count(items.len());
        for value in items {
            item(self, value);
        }
    }
}
