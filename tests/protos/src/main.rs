//! Writes `src/generated`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    starling_protos::generate(&starling_protos::root().join("src/generated"))
}
