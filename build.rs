//! Compiles the protocol files to Rust, with no `protoc` on the machine.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

/// Protocols of the demo service, which its reflection describes too; paths from the package's
/// root, imports from `src`.
const DEMO: &[&str] = &["src/demo/categorization.proto", "src/demo/inference.proto"];
/// Protocol between master and workers.
const FLEET: &[&str] = &["src/wire/fleet.proto"];

/// Messages that no log may show; `src/wire.rs` says how they are printed instead.
const SECRET: &[&str] = &["starling.fleet.v1.SetupValues"];

fn main() -> Result<(), Box<dyn Error>> {
    for proto in DEMO.iter().chain(FLEET) {
        println!("cargo:rerun-if-changed={proto}");
    }
    for protos in [DEMO, FLEET] {
        tonic_prost_build::configure()
            .skip_debug(SECRET)
            .compile_fds(protox::compile(protos, ["src"])?)?;
    }
    let described = protox::Compiler::new(["src"])?
        .include_imports(true)
        .open_files(DEMO)?
        .encode_file_descriptor_set();
    fs::write(Path::new(&env::var("OUT_DIR")?).join("demo.bin"), described)?;
    Ok(())
}
