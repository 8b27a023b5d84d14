//! Rust code of the protocol files, with no `protoc` on the machine.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// Protocols of the demo service, which its reflection describes too; paths and imports from `src`.
const DEMO: &[&str] = &["demo/categorization.proto", "demo/inference.proto"];
/// Protocol between master and workers.
const FLEET: &[&str] = &["wire/fleet.proto"];

/// Messages that no log may show; `src/wire.rs` says how they are printed instead.
const SECRET: &[&str] = &["starling.fleet.v1.SetupValues"];

/// Returns the root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Writes a Rust file for each package of the protocol files, and the descriptors of the demo
/// service, into the folder `out`.
///
/// # Errors
///
/// A protocol file that does not compile, and a file that cannot be written.
pub fn generate(out: &Path) -> Result<(), Box<dyn Error>> {
    let source = root().join("src");
    fs::create_dir_all(out)?;
    for protos in [DEMO, FLEET] {
        tonic_prost_build::configure()
            .skip_debug(SECRET)
            .out_dir(out)
            .compile_fds(protox::compile(protos, [&source])?)?;
    }
    let described = protox::Compiler::new([&source])?
        .include_imports(true)
        .open_files(DEMO)?
        .encode_file_descriptor_set();
    fs::write(out.join("demo.bin"), described)?;
    Ok(())
}
