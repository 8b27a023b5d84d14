//! Compiles the protocol files to Rust, with no `protoc` on the machine.

use std::error::Error;

/// Paths from the package's root; imports resolve from `src`.
const PROTOS: &[&str] = &["src/sample/categorization.proto", "src/wire/fleet.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for proto in PROTOS {
        println!("cargo:rerun-if-changed={proto}");
    }
    tonic_prost_build::configure().compile_fds(protox::compile(PROTOS, ["src"])?)?;
    Ok(())
}
