//! Model serving as Databricks and MLflow have it: rows in any of their forms in, one prediction
//! per row out.

use serde_json::{Map, Value};

use super::categories::Category;

const FORMS: [&str; 4] = [
    "dataframe_split",
    "dataframe_records",
    "inputs",
    "instances",
];

/// Most names of columns that a message shows; a body may hold thousands.
const SHOWN: usize = 20;

/// Sum of the numbers and the texts of a row.
#[derive(Default)]
struct Row {
    sum: f64,
    numbers: u32,
    text: String,
}

/// Predicts, for each row of a body, the mean of its numbers, else the category of its texts, else
/// 0.
///
/// # Errors
/// Fails with a sentence about what is wrong with the body.
pub(super) fn score(body: &Value) -> Result<Vec<Value>, String> {
    let given: Vec<_> = FORMS
        .into_iter()
        .filter_map(|form| Some((form, body.get(form)?)))
        .collect();
    match given.as_slice() {
        [("dataframe_split", value)] => split(value),
        [("dataframe_records", value)] => records(value),
        [(form, value)] => tensors(form, value),
        _ => Err(format!(
            "Invalid input. The body must be a JSON object with exactly one of {}.",
            FORMS.join(", ")
        )),
    }
}

fn split(value: &Value) -> Result<Vec<Value>, String> {
    let list = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_array)
            .ok_or_else(|| format!("dataframe_split has no {name}, or they are not a list"))
    };
    let (columns, data) = (list("columns")?, list("data")?);
    data.iter()
        .enumerate()
        .map(|(row, cells)| {
            let cells = cells.as_array().ok_or_else(|| format!("dataframe_split.data[{row}] is not a list"))?;
            if cells.len() == columns.len() {
                return Ok(predict(cells));
            }
            let (values, wanted, names) = (cells.len(), columns.len(), name_some(columns));
            Err(format!("dataframe_split.data[{row}] has {values} values, but dataframe_split.columns has {wanted}: {names}"))
        })
        .collect()
}

fn records(value: &Value) -> Result<Vec<Value>, String> {
    let rows = value.as_array().ok_or("dataframe_records is not a list")?;
    let mut columns: Option<&Map<String, Value>> = None;
    rows.iter()
        .enumerate()
        .map(|(row, record)| {
            let record = record
                .as_object()
                .ok_or_else(|| format!("dataframe_records[{row}] is not an object"))?;
            match columns
                .get_or_insert(record)
                .keys()
                .find(|name| !record.contains_key(*name))
            {
                Some(name) => Err(format!(
                    "dataframe_records[{row}] has no {name:?}, which dataframe_records[0] has"
                )),
                None => Ok(predict(record.values())),
            }
        })
        .collect()
}

/// Reads tensors: a list holds a row in each place, an object a column under each name.
fn tensors(form: &str, value: &Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(rows) => Ok(rows.iter().map(|row| predict([row])).collect()),
        Value::Object(columns) => {
            let mut lists = Vec::new();
            for (name, column) in columns {
                lists.push((
                    name,
                    column
                        .as_array()
                        .ok_or_else(|| format!("{form}.{name} is not a list"))?,
                ));
            }
            let rows = lists.first().map_or(0, |(_, list)| list.len());
            if let Some((name, list)) = lists.iter().find(|(_, list)| list.len() != rows) {
                return Err(format!(
                    "{form}.{name} has {} values, but {form}.{} has {rows}",
                    list.len(),
                    lists[0].0
                ));
            }
            Ok((0..rows)
                .map(|row| predict(lists.iter().map(|(_, list)| &list[row])))
                .collect())
        }
        _ => Err(format!("{form} is neither a list nor an object of lists")),
    }
}

fn predict<'a>(cells: impl IntoIterator<Item = &'a Value>) -> Value {
    let mut row = Row::default();
    cells.into_iter().for_each(|cell| row.add(cell));
    match row {
        Row {
            sum, numbers: 1.., ..
        } => Value::from(sum / f64::from(row.numbers)),
        Row { text, .. } if !text.is_empty() => Value::from(Category::of(&text).as_str()),
        Row { .. } => Value::from(0.0),
    }
}

impl Row {
    fn add(&mut self, cell: &Value) {
        match cell {
            Value::Number(number) => {
                self.sum += number.as_f64().unwrap_or_default();
                self.numbers += 1;
            }
            Value::String(text) => {
                self.text.push_str(text);
                self.text.push(' ');
            }
            Value::Array(items) => items.iter().for_each(|item| self.add(item)),
            Value::Object(fields) => fields.values().for_each(|field| self.add(field)),
            Value::Null | Value::Bool(_) => {}
        }
    }
}

fn name_some(columns: &[Value]) -> String {
    let name = |column: &Value| {
        column
            .as_str()
            .map_or_else(|| column.to_string(), str::to_owned)
    };
    let names = columns
        .iter()
        .take(SHOWN)
        .map(name)
        .collect::<Vec<_>>()
        .join(", ");
    if columns.len() > SHOWN {
        names + ", ..."
    } else {
        names
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_of_none_of_the_forms_is_refused_with_the_reason() {
        for (body, reason) in [
            (json!(5), "exactly one of"),
            (json!({}), "exactly one of dataframe_split"),
            (json!({"inputs": [], "instances": []}), "exactly one of"),
            (json!({"dataframe_split": {"columns": ["a"]}}), "no data"),
            (
                json!({"dataframe_split": {"columns": "a", "data": []}}),
                "no columns",
            ),
            (
                json!({"dataframe_split": {"columns": ["a"], "data": [1]}}),
                "data[0] is not a list",
            ),
            (json!({"dataframe_records": {"a": 1}}), "not a list"),
            (
                json!({"dataframe_records": [{"a": 1}, {"b": 1}]}),
                "dataframe_records[1] has no \"a\"",
            ),
            (json!({"inputs": 5}), "neither a list nor"),
            (json!({"inputs": {"a": 5}}), "inputs.a is not a list"),
            (
                json!({"inputs": {"a": [1, 2], "b": [1]}}),
                "inputs.b has 1 values, but inputs.a has 2",
            ),
        ] {
            let error = score(&body).unwrap_err();
            assert!(error.contains(reason), "{body}: {error}");
        }
    }

    #[test]
    fn a_row_of_another_length_than_the_columns_is_named() {
        let error = score(
            &json!({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [1, 2, 3]]}}),
        )
        .unwrap_err();
        assert_eq!(
            error,
            "dataframe_split.data[1] has 3 values, but dataframe_split.columns has 2: a, b"
        );
    }

    #[test]
    fn every_row_has_its_prediction_in_every_form() {
        for (body, predictions) in [
            (
                json!({"dataframe_split": {"index": [0, 1], "columns": ["a", "b"], "data": [[1, 2], [4, "x"]]}}),
                json!([1.5, 4.0]),
            ),
            (
                json!({"dataframe_split": {"columns": ["a"], "data": []}}),
                json!([]),
            ),
            (
                json!({"dataframe_records": [{"a": 1, "b": 3}, {"a": null, "b": true}]}),
                json!([2.0, 0.0]),
            ),
            (
                json!({"inputs": [[1, 3], [[5], [7]]], "params": {"x": 1}}),
                json!([2.0, 6.0]),
            ),
            (
                json!({"inputs": {"a": [1, 2], "b": [3, 4]}}),
                json!([2.0, 3.0]),
            ),
            (
                json!({"instances": ["the team won", "the market fell"]}),
                json!(["sports", "business"]),
            ),
            (
                json!({"dataframe_split": {"columns": ["text"], "data": [["new software"]]}}),
                json!(["tech"]),
            ),
        ] {
            assert_eq!(score(&body).map(Value::from), Ok(predictions), "{body}");
        }
    }
}
