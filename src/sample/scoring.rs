//! Model serving: rows of a `dataframe_split` in, one number per row out.

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Invocation {
    dataframe_split: DataframeSplit,
}

#[derive(Deserialize)]
struct DataframeSplit {
    columns: Vec<String>,
    data: Vec<Vec<Value>>,
}

/// The mean of the numbers of each row (0 where it has none), or what is wrong with the body.
pub(super) fn score(body: &[u8]) -> Result<Vec<f64>, String> {
    let Invocation { dataframe_split: DataframeSplit { columns, data } } =
        serde_json::from_slice(body).map_err(|error| format!("The body is not a dataframe_split of columns and data: {error}"))?;
    if let Some((row, cells)) = data.iter().enumerate().find(|(_, cells)| cells.len() != columns.len()) {
        return Err(format!(
            "dataframe_split.data[{row}] has {} values, but dataframe_split.columns has {}: {}",
            cells.len(),
            columns.len(),
            name_some(&columns)
        ));
    }
    Ok(data.iter().map(|cells| mean(cells)).collect())
}

/// The first names; a body may hold thousands.
fn name_some(columns: &[String]) -> String {
    const SHOWN: usize = 20;
    let names = columns.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if columns.len() > SHOWN { names + ", ..." } else { names }
}

fn mean(cells: &[Value]) -> f64 {
    let (sum, count) = cells.iter().filter_map(Value::as_f64).fold((0.0, 0.0), |(sum, count), number| (sum + number, count + 1.0));
    if count == 0.0 { 0.0 } else { sum / count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_no_dataframe_split_is_refused_with_the_reason() {
        for (body, reason) in [
            ("", "EOF"),
            ("{}", "missing field `dataframe_split`"),
            (r#"{"dataframe_split": {"columns": ["a"]}}"#, "missing field `data`"),
            (r#"{"dataframe_split": {"columns": "a", "data": []}}"#, "expected a sequence"),
            (r#"{"dataframe_split": {"columns": ["a"], "data": [1]}}"#, "expected a sequence"),
        ] {
            let error = score(body.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{body}: {error}");
        }
    }

    #[test]
    fn a_row_of_another_length_than_the_columns_is_named() {
        let error = score(br#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [1, 2, 3]]}}"#).unwrap_err();
        assert_eq!(error, "dataframe_split.data[1] has 3 values, but dataframe_split.columns has 2: a, b");
    }

    #[test]
    fn every_row_has_its_prediction() {
        let scores =
            score(br#"{"dataframe_split": {"index": [0, 1, 2], "columns": ["a", "b"], "data": [[1, 2], [4, "x"], [null, true]]}}"#);
        assert_eq!(scores.unwrap(), [1.5, 4.0, 0.0]);
        assert_eq!(score(br#"{"dataframe_split": {"columns": ["a"], "data": []}}"#).unwrap(), [0.0; 0]);
    }
}
