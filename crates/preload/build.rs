//! Compiles the one C file, and links the library so that it needs nothing but what the program has.

fn main() {
    println!("cargo:rerun-if-changed=src/thread.c");
    println!("cargo:rerun-if-changed=build.rs");
    cc::Build::new()
        .file("src/thread.c")
        .pic(true)
        .opt_level(2)
        .flag("-ftls-model=initial-exec")
        .flag("-ffreestanding")
        .flag("-fno-stack-protector")
        .flag("-fno-asynchronous-unwind-tables")
        .warnings(true)
        .extra_warnings(true)
        .compile("koala_thread");
    // With unwinding (tests, clippy) the crate is linked with std as any other.
    if std::env::var("CARGO_CFG_PANIC").as_deref() == Ok("abort") {
        for argument in
            ["-nostartfiles", "-nostdlib", "-Wl,-z,now", "-Wl,--gc-sections", "-Wl,-soname,libkoala.so"]
        {
            println!("cargo:rustc-cdylib-link-arg={argument}");
        }
    }
}
