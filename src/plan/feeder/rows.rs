//! A feeder's rows, parsed from the bytes of its source; every mistake is reported with its line.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::Source;
use super::comma_separated::csv_rows;

/// Largest data of one feeder, in bytes. In memory a row takes its text and about 100 bytes for
/// each column.
pub const MAX_DATA: usize = 64 * 1024 * 1024;
/// Most rows of one feeder.
pub const MAX_ROWS: usize = 1_000_000;

/// Reason why bytes are not the rows of a feeder. No message shows any of them: they may come from
/// a Secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowsError {
    /// The data has this many bytes, more than [`MAX_DATA`].
    #[error("{0} bytes, at most {MAX_DATA} are allowed")]
    TooLarge(u64),
    /// The data has more than [`MAX_ROWS`] rows.
    #[error("more than {MAX_ROWS} rows")]
    TooMany,
    /// The data has no row.
    #[error("holds no row")]
    Empty,
    /// A mistake in the text.
    #[error("line {line}: {message}")]
    Line {
        /// Number of the line, from 1.
        line: u64,
        /// Explanation, without any of the data.
        message: String,
    },
    /// A mistake in a value.
    #[error("row {row}: {message}")]
    Row {
        /// Number of the row, from 1.
        row: usize,
        /// Explanation, without any of the data.
        message: String,
    },
}

/// Parsed rows: objects, at least one.
#[derive(Clone, PartialEq)]
pub struct Rows {
    rows: Box<[Value]>,
    columns: BTreeSet<String>,
    digest: String,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // the rows may come from a Secret
        write!(f, "Rows({} of {:?})", self.rows.len(), self.columns)
    }
}

impl Rows {
    /// Parses `data`, the content that the source names. Rows of `Inline` are in the source itself,
    /// those of `Files` come from [`of_files`](Self::of_files).
    pub fn parse(source: &Source, data: &[u8]) -> Result<Self, RowsError> {
        if data.len() > MAX_DATA {
            return Err(RowsError::TooLarge(data.len() as u64));
        }
        let data = without_mark(data);
        let rows = match source {
            Source::Csv {
                data: _,
                delimiter,
                columns,
                types,
            } => csv_rows(data, *delimiter, columns, types, MAX_ROWS)?,
            Source::Json { .. } => json_rows(data)?,
            Source::JsonLines { .. } => json_lines(data, MAX_ROWS)?,
            Source::Inline { rows } => rows.clone(),
            Source::Files { .. } => Vec::new(),
        };
        // the same bytes read in another format are other rows
        let how = serde_json::to_vec(source).unwrap_or_default();
        Self::new(
            rows,
            Sha256::new()
                .chain_update((how.len() as u64).to_be_bytes())
                .chain_update(how)
                .chain_update(data),
        )
    }

    /// Builds a row for each file from its name and content.
    pub fn of_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, RowsError> {
        let mut hash = Sha256::new();
        let mut rows = Vec::new();
        for (name, content) in files {
            for part in [name.as_bytes(), &content] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
            let fields = [
                ("name", name.into()),
                ("bytes", content.len().into()),
                ("base64", STANDARD.encode(&content).into()),
            ];
            rows.push(Value::Object(
                fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            ));
        }
        Self::new(rows, hash)
    }

    fn new(rows: Vec<Value>, hash: Sha256) -> Result<Self, RowsError> {
        if rows.is_empty() {
            return Err(RowsError::Empty);
        }
        if rows.len() > MAX_ROWS {
            return Err(RowsError::TooMany);
        }
        let mut columns = BTreeSet::new();
        for (i, row) in rows.iter().enumerate() {
            let Value::Object(fields) = row else {
                return Err(RowsError::Row {
                    row: i + 1,
                    message: "is not an object".into(),
                });
            };
            for name in fields
                .keys()
                .filter(|name| !columns.contains(name.as_str()))
                .cloned()
                .collect::<Vec<_>>()
            {
                columns.insert(name);
            }
        }
        let digest = data_encoding::HEXLOWER.encode(&hash.finalize());
        Ok(Self {
            rows: rows.into(),
            columns,
            digest,
        })
    }

    /// Number of rows, at least 1.
    pub fn count(&self) -> u32 {
        self.rows.len() as u32
    }

    /// The row of that number, an object. Panics unless `row` is below [`count`](Self::count).
    pub fn get(&self, row: u32) -> &Value {
        &self.rows[row as usize]
    }

    /// Names that have a value in at least one row.
    pub fn columns(&self) -> &BTreeSet<String> {
        &self.columns
    }

    /// Digest in hexadecimal, the same on every worker that read the same data in the same way.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// Leaves out a byte order mark, with which some programs begin text.
fn without_mark(data: &[u8]) -> &[u8] {
    data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data)
}

// No message holds a piece of the data, not even a column's name: it may come from a Secret, or
// from the wrong one.

fn json_rows(data: &[u8]) -> Result<Vec<Value>, RowsError> {
    serde_json::from_slice(data).map_err(|error| RowsError::Line {
        line: error.line() as u64,
        message: json_message(&error, "is not a list of objects"),
    })
}

fn json_lines(data: &[u8], most: usize) -> Result<Vec<Value>, RowsError> {
    let mut rows = Vec::new();
    for (i, line) in data
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.trim_ascii().is_empty())
    {
        if rows.len() == most {
            return Err(RowsError::TooMany);
        }
        let row: Map<String, Value> =
            serde_json::from_slice(line).map_err(|error| RowsError::Line {
                line: i as u64 + 1,
                message: json_message(&error, "is not an object"),
            })?;
        rows.push(Value::Object(row));
    }
    Ok(rows)
}

/// Explanation of a syntax error in the parser's words, with its column. A value of the wrong kind
/// is described by `wrong_kind`, since the parser would show it.
fn json_message(error: &serde_json::Error, wrong_kind: &str) -> String {
    if error.is_data() {
        return wrong_kind.to_owned();
    }
    let text = error.to_string();
    // the parser's line is that within the text it was handed, not that in the file
    let end = text.rfind(" at line ").unwrap_or(text.len());
    format!("{} (column {})", &text[..end], error.column())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::{Data, Types};
    use super::*;

    fn data() -> Data {
        Data::File("rows".into())
    }

    fn csv() -> Source {
        Source::Csv {
            data: data(),
            delimiter: ',',
            columns: vec![],
            types: Types::default(),
        }
    }

    fn refused(source: &Source, data: &str) -> String {
        Rows::parse(source, data.as_bytes())
            .expect_err("was accepted")
            .to_string()
    }

    fn rows(source: &Source, data: &str) -> Value {
        Rows::parse(source, data.as_bytes())
            .map(|rows| rows.rows.to_vec().into())
            .unwrap()
    }

    #[test]
    fn a_mistake_in_csv_has_its_line() {
        assert_eq!(
            refused(&csv(), "id,text\n1,a\n\"2\n\",b\n3\n"),
            "line 5: 1 field, but there are 2 columns"
        );
        assert_eq!(
            refused(&csv(), "id,text\n1,a,b\n"),
            "line 2: 3 fields, but there are 2 columns"
        );
        assert_eq!(refused(&csv(), "id,\n"), "line 1: column 2 has no name");
        assert_eq!(
            refused(&csv(), "id, id\n"),
            "line 1: column 2 has the name of another"
        );
        let latin = Rows::parse(&csv(), b"id,text\n1,a\n2,caf\xe9\n")
            .unwrap_err()
            .to_string();
        assert_eq!(latin, "line 3: field 2 is not UTF-8");
        assert_eq!(
            refused(&csv(), "id\n1,a\n"),
            "line 2: 2 fields, but there is 1 column"
        );
    }

    #[test]
    fn a_mistake_in_json_has_its_line() {
        let json = Source::Json { data: data() };
        assert_eq!(
            refused(&json, "[\n  {\"a\": 1},\n  {\"a\": }\n]"),
            "line 3: expected value (column 9)"
        );
        assert_eq!(
            refused(&json, "{\"a\": 1}"),
            "line 1: is not a list of objects"
        );
        assert_eq!(refused(&json, "[{}, 5]"), "row 2: is not an object");
        let lines = Source::JsonLines { data: data() };
        assert_eq!(
            refused(&lines, "{\"a\": 1}\n\n{\"a\": 2\n"),
            "line 3: EOF while parsing an object (column 7)"
        );
        assert_eq!(
            refused(&lines, "{\"a\": 1}\n\"s3cret\""),
            "line 2: is not an object"
        );
    }

    #[test]
    fn data_without_a_row_is_refused() {
        for text in ["", "\n\n", "id,text\n", "\u{feff}id\n"] {
            assert_eq!(refused(&csv(), text), "holds no row", "{text:?}");
        }
        assert_eq!(
            refused(&Source::Json { data: data() }, "[]"),
            "holds no row"
        );
        assert_eq!(
            refused(&Source::JsonLines { data: data() }, " \n"),
            "holds no row"
        );
        assert_eq!(Rows::of_files([]).unwrap_err(), RowsError::Empty);
    }

    #[test]
    fn too_much_is_refused() {
        assert_eq!(
            refused(&csv(), &"x".repeat(MAX_DATA + 1)),
            format!("{} bytes, at most {MAX_DATA} are allowed", MAX_DATA + 1)
        );
        assert!(csv_rows(b"x\n1\n2\n", ',', &[], &Types::default(), 2).is_ok());
        assert_eq!(
            csv_rows(b"x\n1\n2\n3\n", ',', &[], &Types::default(), 2),
            Err(RowsError::TooMany)
        );
        assert_eq!(json_lines(b"{}\n{}\n{}\n", 2), Err(RowsError::TooMany));
    }

    #[test]
    fn csv_is_read_as_spreadsheets_write_it() {
        let text = "\u{feff}id, text \r\n1,\"a, \"\"b\"\"\nc\"\r\n\r\n2,\r\n";
        assert_eq!(
            rows(&csv(), text),
            json!([{"id": "1", "text": "a, \"b\"\nc"}, {"id": "2", "text": ""}])
        );
        let other = Source::Csv {
            data: data(),
            delimiter: ';',
            columns: vec!["a".into(), "b".into()],
            types: Types::default(),
        };
        assert_eq!(
            rows(&other, "1;x,y\n2;\"z;\"\n"),
            json!([{"a": "1", "b": "x,y"}, {"a": "2", "b": "z;"}])
        );
    }

    #[test]
    fn json_keeps_its_types_and_rows_may_differ() {
        let text = "{\"a\": 1.0}\r\n\n{\"b\": [true, null]}";
        let lines = Rows::parse(&Source::JsonLines { data: data() }, text.as_bytes()).unwrap();
        assert_eq!(
            (lines.get(0), lines.get(1)),
            (&json!({"a": 1.0}), &json!({"b": [true, null]}))
        );
        assert_eq!(lines.columns().iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            rows(&Source::Json { data: data() }, "[{\"a\": 1}]"),
            json!([{"a": 1}])
        );
    }

    #[test]
    fn files_are_name_size_and_base64() {
        let files =
            Rows::of_files([("a.png".into(), vec![0xff, 0]), ("b".into(), vec![])]).unwrap();
        assert_eq!(
            files.get(0),
            &json!({"name": "a.png", "bytes": 2, "base64": "/wA="})
        );
        assert_eq!(files.count(), 2);
    }

    #[test]
    fn the_digest_tells_other_data_and_another_reading_apart() {
        let digest = |source: &Source, data: &str| {
            Rows::parse(source, data.as_bytes())
                .unwrap()
                .digest()
                .to_owned()
        };
        assert_eq!(digest(&csv(), "a\n1\n"), digest(&csv(), "a\n1\n"));
        assert_ne!(digest(&csv(), "a\n1\n"), digest(&csv(), "a\n2\n"));
        let named = Source::Csv {
            data: data(),
            delimiter: ',',
            columns: vec!["a".into()],
            types: Types::default(),
        };
        assert_ne!(digest(&csv(), "a\n1\n"), digest(&named, "a\n1\n"));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for source in [csv(), Source::Json { data: data() }, Source::JsonLines { data: data() }] {
                let _outcome = Rows::parse(&source, &bytes);
            }
        }

        #[test]
        fn what_a_csv_writer_wrote_is_read_back(cells in prop::collection::vec(("[^\r]{1,8}", "[^\r]{0,8}"), 1..10)) {
            let mut writer = csv::Writer::from_writer(vec![]);
            writer.write_record(["a", "b"]).unwrap();
            cells.iter().for_each(|(a, b)| writer.write_record([a, b]).unwrap());
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            let expected: Vec<_> = cells.iter().map(|(a, b)| json!({"a": a, "b": b})).collect();
            prop_assert_eq!(rows(&csv(), &text), Value::from(expected));
        }
    }
}
