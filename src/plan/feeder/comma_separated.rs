//! Rows of comma-separated values, as RFC 4180 has them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::rows::RowsError;

/// Types of the columns of comma-separated values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Types {
    /// Types of columns by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub named: BTreeMap<String, ColumnType>,
    /// True if a column without a type that holds nothing but numbers, or nothing but `true` and
    /// `false`, has that type.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub infer: bool,
}

impl Types {
    /// Tells whether every column is text.
    pub fn are_text(&self) -> bool {
        *self == Self::default()
    }
}

/// Type of the values of a column. In a column that is not text, an empty field is `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnType {
    /// Text as it stands.
    Text,
    /// Number as JSON writes it.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Any JSON value.
    Json,
}

impl ColumnType {
    /// Reads a field; `None` if it is of another type.
    fn read(self, field: &str) -> Option<Value> {
        if self == Self::Text {
            return Some(field.into());
        }
        if field.is_empty() {
            return Some(Value::Null);
        }
        let value: Value = serde_json::from_str(field).ok()?;
        let fits = match self {
            Self::Text | Self::Json => true,
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
        };
        fits.then_some(value)
    }

    /// Says what a field is not.
    fn not_one(self) -> &'static str {
        match self {
            Self::Text => "is not text",
            Self::Number => "is not a number",
            Self::Boolean => "is neither true nor false",
            Self::Json => "is not JSON",
        }
    }
}

/// Parses rows, at most `most`. If `columns` is empty, the first line has their names.
pub(super) fn csv_rows(
    data: &[u8],
    delimiter: char,
    columns: &[String],
    types: &Types,
    most: usize,
) -> Result<Vec<Value>, RowsError> {
    let delimiter = u8::try_from(delimiter).unwrap_or(b',');
    check_quotes(data, delimiter)?;
    // lengths are compared here, where the message can say more
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .from_reader(data);
    let mut header: Option<Header> = None;
    if !columns.is_empty() {
        header = Some(Header::new(columns.to_vec(), types, 1)?);
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(csv_error)?;
        let line = record.position().map_or(0, csv::Position::line);
        let Some(header) = &header else {
            let names = names(&record).map_err(|message| RowsError::Line { line, message })?;
            header = Some(Header::new(names, types, line)?);
            continue;
        };
        if rows.len() == most {
            return Err(RowsError::TooMany);
        }
        let row = header.row(&record);
        rows.push(row.map_err(|message| RowsError::Line { line, message })?);
    }
    if types.infer {
        let unnamed = |name: &&String| !types.named.contains_key(*name);
        for name in header
            .iter()
            .flat_map(|header| &header.names)
            .filter(unnamed)
        {
            infer(name, &mut rows);
        }
    }
    Ok(rows)
}

/// Columns in their order.
struct Header {
    names: Vec<String>,
    types: Vec<ColumnType>,
}

impl Header {
    /// Fails at `line` if a column has a type and is not there.
    fn new(names: Vec<String>, types: &Types, line: u64) -> Result<Self, RowsError> {
        if let Some(name) = types.named.keys().find(|name| !names.contains(name)) {
            let known = names.join(", ");
            return Err(RowsError::Line {
                line,
                message: format!(
                    "there is no column {name:?}, which types names; there are {known}"
                ),
            });
        }
        let of = |name| types.named.get(name).copied().unwrap_or(ColumnType::Text);
        Ok(Self {
            types: names.iter().map(of).collect(),
            names,
        })
    }

    fn row(&self, record: &csv::StringRecord) -> Result<Value, String> {
        if record.len() != self.names.len() {
            let columns = match self.names.len() {
                1 => "is 1 column".to_owned(),
                count => format!("are {count} columns"),
            };
            return Err(format!("{}, but there {columns}", fields(record.len())));
        }
        let mut row = Map::new();
        let columns = self.names.iter().zip(&self.types);
        for (i, ((name, of), field)) in columns.zip(record).enumerate() {
            let value = of
                .read(field)
                .ok_or_else(|| format!("field {} {}", i + 1, of.not_one()))?;
            row.insert(name.clone(), value);
        }
        Ok(Value::Object(row))
    }
}

/// Turns the column's text into numbers or booleans, if every field is one or empty.
fn infer(column: &str, rows: &mut [Value]) {
    let fits = |of: ColumnType| {
        let mut any = false;
        let all = rows.iter().all(|row| {
            let field = row[column].as_str().unwrap_or_default();
            any |= !field.is_empty();
            of.read(field).is_some()
        });
        any && all
    };
    let types = [ColumnType::Number, ColumnType::Boolean];
    let Some(of) = types.into_iter().find(|of| fits(*of)) else {
        return;
    };
    for row in rows {
        let field = &mut row[column];
        *field = of
            .read(field.as_str().unwrap_or_default())
            .unwrap_or_default();
    }
}

/// Fails at the line of a quote that stands where RFC 4180 allows none, or of one that is never
/// closed: the parser would take the rows that follow for one field.
fn check_quotes(data: &[u8], delimiter: u8) -> Result<(), RowsError> {
    let refused = |line: u64, message: &str| {
        Err(RowsError::Line {
            line,
            message: message.into(),
        })
    };
    let mut line = 1;
    let mut at_start = true;
    let mut bytes = data.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'"' {
            line += u64::from(byte == b'\n');
            at_start = byte == delimiter || byte == b'\n' || byte == b'\r';
            continue;
        }
        if !at_start {
            return refused(
                line,
                "a quote stands inside a field that does not begin with one",
            );
        }
        let opened = line;
        loop {
            match bytes.next() {
                None => return refused(opened, "a field begins with a quote that is never closed"),
                Some(b'\n') => line += 1,
                Some(b'"') if bytes.next_if_eq(&b'"').is_none() => break,
                Some(_) => {}
            }
        }
        match bytes.peek() {
            None | Some(b'\r' | b'\n') => {}
            Some(next) if *next == delimiter => {}
            Some(_) => return refused(line, "a field goes on after its closing quote"),
        }
        at_start = false;
    }
    Ok(())
}

fn names(record: &csv::StringRecord) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::new();
    for (i, name) in record.iter().enumerate() {
        let name = name.trim();
        if name.is_empty() {
            return Err(format!("column {} has no name", i + 1));
        }
        if names.iter().any(|other| other == name) {
            return Err(format!("column {} has the name of another", i + 1));
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn fields(count: usize) -> String {
    if count == 1 {
        "1 field".into()
    } else {
        format!("{count} fields")
    }
}

fn csv_error(error: csv::Error) -> RowsError {
    let line = error.position().map_or(0, csv::Position::line);
    let message = match error.kind() {
        csv::ErrorKind::Utf8 { err, .. } => format!("field {} is not UTF-8", err.field() + 1),
        _ => error.to_string(),
    };
    RowsError::Line { line, message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(data: &str, types: &Types) -> Result<Value, String> {
        csv_rows(data.as_bytes(), ',', &[], types, 100)
            .map(Value::from)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_quote_that_is_open_or_misplaced_is_refused_with_its_line() {
        let refused = |data: &str| rows(data, &Types::default()).unwrap_err();
        assert_eq!(
            refused("user,text\na,\"x\nb,2\nc,3\n"),
            "line 2: a field begins with a quote that is never closed"
        );
        assert_eq!(
            refused("user,text\n\"a\nb\",x\nc,\"y\"z\n"),
            "line 4: a field goes on after its closing quote"
        );
        for misplaced in ["u,t\na,5\" disk\n", "u,t\na, \"x\"\n"] {
            assert!(refused(misplaced).contains("line 2: a quote stands inside"));
        }
    }

    #[test]
    fn quotes_hold_delimiters_lines_and_quotes() {
        let data = "a,b\r\n\"x,\"\"y\"\"\",\"l1\r\nl2\"\r\n\"\",\"\"\n";
        assert_eq!(
            rows(data, &Types::default()).unwrap(),
            json!([{"a": "x,\"y\"", "b": "l1\r\nl2"}, {"a": "", "b": ""}])
        );
    }

    #[test]
    fn columns_have_the_types_that_the_test_gives_or_that_they_show() {
        let data =
            "id,alcohol,ok,tags\n007,9.4,true,\"[1]\"\n008,,false,\"{\"\"z\"\":1,\"\"a\"\":2}\"\n";
        let named = [
            ("alcohol".to_owned(), ColumnType::Number),
            ("ok".to_owned(), ColumnType::Boolean),
            ("tags".to_owned(), ColumnType::Json),
        ];
        let types = Types {
            named: named.clone().into(),
            infer: false,
        };
        let wanted = json!([
            {"id": "007", "alcohol": 9.4, "ok": true, "tags": [1]},
            {"id": "008", "alcohol": null, "ok": false, "tags": {"z": 1, "a": 2}},
        ]);
        assert_eq!(rows(data, &types).unwrap(), wanted);
        let inferring = Types {
            named: named[2..].iter().cloned().collect(),
            infer: true,
        };
        // no number of JSON begins with 0, so an id stays what it is
        assert_eq!(rows(data, &inferring).unwrap(), wanted);
    }

    #[test]
    fn a_field_of_another_type_and_a_type_without_a_column_are_refused() {
        let number = Types {
            named: [("a".to_owned(), ColumnType::Number)].into(),
            infer: false,
        };
        assert_eq!(
            rows("a,b\n1,x\nx,2\n", &number).unwrap_err(),
            "line 3: field 1 is not a number"
        );
        assert_eq!(
            rows("b,c\n1,2\n", &number).unwrap_err(),
            "line 1: there is no column \"a\", which types names; there are b, c"
        );
    }
}
