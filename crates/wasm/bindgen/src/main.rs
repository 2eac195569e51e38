//! `koala-bindgen WASM FOLDER`: wasm-bindgen's command line in the one form that koala needs.
//!
//! The usual ways to get that command download a binary, or compile a test runner with a web server as well. This
//! is the library behind it, with the version pinned in a lock file.

use std::{env, process::ExitCode};

use wasm_bindgen_cli_support::Bindgen;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [wasm, folder] = arguments.as_slice() else {
        eprintln!("usage: koala-bindgen WASM FOLDER");
        return ExitCode::from(2);
    };
    let mut bindgen = Bindgen::new();
    bindgen.input_path(wasm).out_name("koala_wasm").typescript(true);
    bindgen.remove_name_section(true).remove_producers_section(true);
    // `init()` without arguments finds the module beside the JavaScript, as pages and bundlers expect.
    bindgen.omit_default_module_path(false);
    // `web` initialises itself from bytes as well as from a URL, so one package serves browsers and Node.
    let result = bindgen.web(true).and_then(|bindgen| bindgen.generate(folder));
    if let Err(error) = result {
        eprintln!("koala-bindgen: {wasm}: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
