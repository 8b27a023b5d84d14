//! Embeds the files of the web UI, if they were built: `make web` writes them to `web/dist`.
//!
//! With `STARLING_REQUIRE_UI=1` a build without them fails; else the program says how to get them.

use std::env;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Files of the page, each of which also lies there as gzip.
const FILES: [&str; 4] = ["index.html", "app.js", "app.css", "icon.svg"];

fn main() -> Result<(), Box<dyn Error>> {
    // the folder is always there: of one that is not, cargo would build everything anew each time
    println!("cargo::rerun-if-changed=web/dist");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=STARLING_REQUIRE_UI");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let dist = root.join("web/dist");
    let is_required = env::var("STARLING_REQUIRE_UI").is_ok_and(|value| value == "1");
    if let Some(missing) = missing(&dist).filter(|_| is_required) {
        let why = format!("{} is not there: run `make web` first", missing.display());
        return Err(why.into());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?).join("web_assets.rs");
    fs::write(out, source(&dist)?)?;
    Ok(())
}

/// The first file that is not there.
fn missing(dist: &Path) -> Option<PathBuf> {
    FILES
        .iter()
        .flat_map(|name| [dist.join(name), packed(dist, name)])
        .find(|path| !path.is_file())
}

fn packed(dist: &Path, name: &str) -> PathBuf {
    dist.join(format!("{name}.gz"))
}

/// The list of the files; empty unless all are there.
fn source(dist: &Path) -> Result<String, Box<dyn Error>> {
    let mut text = "const ASSETS: &[Asset] = &[\n".to_owned();
    if missing(dist).is_none() {
        for name in FILES {
            let (plain, packed) = (dist.join(name), packed(dist, name));
            writeln!(
                text,
                "    Asset {{ name: {name:?}, plain: include_bytes!({plain:?}), packed: include_bytes!({packed:?}) }},"
            )?;
        }
    }
    text.push_str("];\n");
    Ok(text)
}
