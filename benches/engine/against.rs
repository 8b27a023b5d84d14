//! CPU per request of this program beside that of another build of it, such as the one before a
//! change: runs in turn, in changing order, of which the median ratio counts.

use std::path::Path;

use crate::Effort;
use crate::clients;
use crate::measure::{Figure, measure};
use crate::pairs::{self, Bench, MAX_STOLEN, Row};

/// Option that names the other program.
pub const OPTION: &str = "--against=";

/// Prints the figures of a row; its line of the summary.
pub fn compare(row: Row, other: &Path, effort: Effort) -> Result<String, String> {
    println!("\n{}: this program, and {}", row.name(), other.display());
    let bench = Bench::new(row, effort)?;
    let own = Path::new(clients::PROGRAM);
    let run = |program: &Path, label: &str| -> Result<Figure, String> {
        let figure = measure(bench.starling(program)?, &bench.server, effort)?;
        bench.check_result()?;
        println!("     {label:<9}{}", pairs::line(&figure));
        Ok(figure)
    };
    let mut ratios = Vec::new();
    for round in 0..effort.pairs {
        let (ours, theirs) = if round % 2 == 0 {
            let ours = run(own, "this")?;
            (ours, run(other, "other")?)
        } else {
            let theirs = run(other, "other")?;
            (run(own, "this")?, theirs)
        };
        if ours.stolen > MAX_STOLEN || theirs.stolen > MAX_STOLEN {
            println!("     DISCARDED: stolen time");
            continue;
        }
        ratios.push(ours.per_request() / theirs.per_request());
    }
    ratios.sort_by(f64::total_cmp);
    let median = pairs::middle(&ratios).map_or("-".to_owned(), |median| format!("{median:.3}"));
    Ok(format!(
        "| {} | {median} | {} of {} rounds: {ratios:.3?} |",
        row.name(),
        ratios.len(),
        effort.pairs
    ))
}
