//! The model behind the V2 inference protocol: typed tensors in, one category or score per row out.

use serde_json::Value;

use super::categories::Category;

/// Datatype of elements. The half-precision floats of the protocol are not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Datatype {
    /// `BOOL`.
    Bool,
    /// `INT8` to `INT64`.
    Int {
        /// Width: 8, 16, 32 or 64.
        bits: u32,
    },
    /// `UINT8` to `UINT64`.
    Uint {
        /// Width: 8, 16, 32 or 64.
        bits: u32,
    },
    /// `FP32`.
    Fp32,
    /// `FP64`.
    Fp64,
    /// `BYTES`: texts.
    Bytes,
}

/// Input of a model, of REST or gRPC, with as many elements as its shape says.
#[derive(Debug)]
pub(super) struct Tensor {
    shape: Vec<u64>,
    data: Data,
}

/// Elements of a tensor, in row-major order.
#[derive(Debug, PartialEq)]
pub(super) enum Data {
    /// Elements of every datatype but `BYTES`.
    Numbers(Vec<f64>),
    /// Elements of `BYTES`.
    Texts(Vec<String>),
}

/// Output of a model, one element for each row.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// Categories of the texts of the rows.
    Categories(Vec<&'static str>),
    /// Means of the numbers of the rows.
    Scores(Vec<f64>),
}

impl Datatype {
    /// Parses the protocol's name of a datatype.
    ///
    /// # Errors
    /// Fails with a sentence that lists the datatypes served.
    pub(super) fn parse(name: &str) -> Result<Datatype, String> {
        let bits = |digits: &str| {
            digits
                .parse()
                .ok()
                .filter(|bits| [8, 16, 32, 64].contains(bits))
        };
        let integer = name
            .strip_prefix("UINT")
            .and_then(|digits| {
                Some(Datatype::Uint {
                    bits: bits(digits)?,
                })
            })
            .or_else(|| {
                Some(Datatype::Int {
                    bits: bits(name.strip_prefix("INT")?)?,
                })
            });
        match name {
            "BOOL" => Ok(Datatype::Bool),
            "FP32" => Ok(Datatype::Fp32),
            "FP64" => Ok(Datatype::Fp64),
            "BYTES" => Ok(Datatype::Bytes),
            _ => {
                integer.ok_or_else(|| format!("datatype {name:?} is not one of BOOL, INT8 to INT64, UINT8 to UINT64, FP32, FP64 and BYTES"))
            }
        }
    }

    /// Returns the bytes of an element in raw contents; `None` for texts, which have their length
    /// before them.
    fn width(self) -> Option<usize> {
        match self {
            Datatype::Bool => Some(1),
            Datatype::Int { bits } | Datatype::Uint { bits } => Some(bits as usize / 8),
            Datatype::Fp32 => Some(4),
            Datatype::Fp64 => Some(8),
            Datatype::Bytes => None,
        }
    }

    fn number(self, value: &Value) -> Option<f64> {
        let whole = || {
            value
                .as_i64()
                .map(i128::from)
                .or_else(|| value.as_u64().map(i128::from))
        };
        let within = |low: i128, high: i128| {
            whole()
                .filter(|number| (low..=high).contains(number))
                .map(|number| number as f64)
        };
        match self {
            Datatype::Bool => value.as_bool().map(f64::from),
            Datatype::Int { bits } => within(-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
            Datatype::Uint { bits } => within(0, (1 << bits) - 1),
            Datatype::Fp32 | Datatype::Fp64 => value.as_f64(),
            Datatype::Bytes => None,
        }
    }

    fn raw_number(self, bytes: &[u8]) -> f64 {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_le_bytes(wide);
        match self {
            Datatype::Int { bits } => ((unsigned << (64 - bits)) as i64 >> (64 - bits)) as f64,
            Datatype::Fp32 => f64::from(f32::from_bits(unsigned as u32)),
            Datatype::Fp64 => f64::from_bits(unsigned),
            Datatype::Bool | Datatype::Uint { .. } | Datatype::Bytes => unsigned as f64,
        }
    }
}

impl Tensor {
    /// Creates the input `name`.
    ///
    /// # Errors
    /// Fails if there are not as many elements as the shape says.
    pub(super) fn new(name: &str, shape: Vec<u64>, data: Data) -> Result<Tensor, String> {
        let wanted = shape
            .iter()
            .try_fold(1_u64, |product, length| product.checked_mul(*length));
        let given = match &data {
            Data::Numbers(numbers) => numbers.len(),
            Data::Texts(texts) => texts.len(),
        };
        match wanted {
            Some(wanted) if wanted == given as u64 => Ok(Tensor { shape, data }),
            _ => Err(format!(
                "input {name:?} has {given} values, which are not as many as its shape {shape:?} says"
            )),
        }
    }

    /// Creates the input `name` from JSON, whose data are flat, or nested as the shape is.
    ///
    /// # Errors
    /// Fails if an element is not of the datatype, or their number not that of the shape.
    pub(super) fn from_json(
        name: &str,
        datatype: Datatype,
        shape: Vec<u64>,
        data: &Value,
    ) -> Result<Tensor, String> {
        let mut leaves = Vec::new();
        flatten(data, &mut leaves);
        let wrong =
            |leaf: &Value| format!("input {name:?}: {leaf} is not of datatype {datatype:?}");
        let data = match datatype {
            Datatype::Bytes => {
                let texts = leaves
                    .iter()
                    .map(|leaf| leaf.as_str().map(str::to_owned).ok_or_else(|| wrong(leaf)));
                Data::Texts(texts.collect::<Result<_, _>>()?)
            }
            _ => Data::Numbers(
                leaves
                    .iter()
                    .map(|leaf| datatype.number(leaf).ok_or_else(|| wrong(leaf)))
                    .collect::<Result<_, _>>()?,
            ),
        };
        Tensor::new(name, shape, data)
    }

    /// Creates the input `name` from raw contents: little-endian numbers, and texts with their
    /// length in four bytes before each.
    ///
    /// # Errors
    /// Fails if the contents end within an element, or have not as many as the shape says.
    pub(super) fn from_raw(
        name: &str,
        datatype: Datatype,
        shape: Vec<u64>,
        mut raw: &[u8],
    ) -> Result<Tensor, String> {
        let odd = || format!("input {name:?}: its raw contents do not end with an element");
        let data = match datatype.width() {
            Some(width) if raw.len().is_multiple_of(width) => Data::Numbers(
                raw.chunks_exact(width)
                    .map(|bytes| datatype.raw_number(bytes))
                    .collect(),
            ),
            Some(_) => return Err(odd()),
            None => {
                let mut texts = Vec::new();
                while let Some((length, rest)) = raw.split_first_chunk() {
                    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| odd())?;
                    let (text, rest) = rest.split_at_checked(length).ok_or_else(odd)?;
                    texts.push(String::from_utf8_lossy(text).into_owned());
                    raw = rest;
                }
                if !raw.is_empty() {
                    return Err(odd());
                }
                Data::Texts(texts)
            }
        };
        Tensor::new(name, shape, data)
    }

    /// Returns the number of rows. An input without elements has none, whatever its shape says: a
    /// row costs memory.
    fn rows(&self) -> u64 {
        match &self.data {
            Data::Numbers(numbers) if numbers.is_empty() => 0,
            Data::Texts(texts) if texts.is_empty() => 0,
            _ => self.shape.first().copied().unwrap_or(1),
        }
    }
}

impl Answer {
    /// Returns name and datatype of the output.
    pub(super) fn output(&self) -> (&'static str, &'static str) {
        match self {
            Answer::Categories(_) => ("category", "BYTES"),
            Answer::Scores(_) => ("score", "FP64"),
        }
    }

    /// Returns the number of rows.
    pub(super) fn rows(&self) -> usize {
        match self {
            Answer::Categories(categories) => categories.len(),
            Answer::Scores(scores) => scores.len(),
        }
    }

    /// Returns the elements as raw contents.
    pub(super) fn to_raw(&self) -> Vec<u8> {
        match self {
            Answer::Scores(scores) => scores
                .iter()
                .flat_map(|score| score.to_le_bytes())
                .collect(),
            Answer::Categories(categories) => {
                let mut raw = Vec::new();
                for category in categories {
                    raw.extend((category.len() as u32).to_le_bytes());
                    raw.extend(category.as_bytes());
                }
                raw
            }
        }
    }
}

/// Answers each row with the category of its texts if there are any, else with the mean of its
/// numbers.
///
/// # Errors
/// Fails without inputs, or if the inputs differ in their number of rows.
pub(super) fn infer(inputs: &[Tensor]) -> Result<Answer, String> {
    let first = inputs.first().ok_or("inputs is empty")?;
    let rows = first.rows();
    if inputs.iter().any(|input| input.rows() != rows) {
        return Err(format!(
            "not all inputs have {rows} rows, the first dimension of their shapes"
        ));
    }
    let rows = usize::try_from(rows).map_err(|_| "too many rows")?;
    let (mut texts, mut numbers) = (Vec::new(), Vec::new());
    for input in inputs {
        match &input.data {
            Data::Texts(data) => texts.push(data.as_slice()),
            Data::Numbers(data) => numbers.push(data.as_slice()),
        }
    }
    if texts.is_empty() {
        return Ok(Answer::Scores(
            (0..rows)
                .map(|row| mean(numbers.iter().flat_map(|data| part(data, row, rows))))
                .collect(),
        ));
    }
    let category = |row| {
        let words: Vec<_> = texts
            .iter()
            .flat_map(|data| part(data, row, rows))
            .map(String::as_str)
            .collect();
        Category::of(&words.join(" ")).as_str()
    };
    Ok(Answer::Categories((0..rows).map(category).collect()))
}

/// Returns the elements of one of `rows` rows.
fn part<T>(data: &[T], row: usize, rows: usize) -> &[T] {
    let width = data.len() / rows;
    &data[row * width..(row + 1) * width]
}

fn mean<'a>(numbers: impl Iterator<Item = &'a f64>) -> f64 {
    let (sum, count) = numbers.fold((0.0, 0.0), |(sum, count), number| {
        (sum + number, count + 1.0)
    });
    if count == 0.0 { 0.0 } else { sum / count }
}

fn flatten<'a>(data: &'a Value, leaves: &mut Vec<&'a Value>) {
    match data {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, leaves)),
        leaf => leaves.push(leaf),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tensor(datatype: &str, shape: &[u64], data: Value) -> Result<Tensor, String> {
        Tensor::from_json("x", Datatype::parse(datatype)?, shape.to_vec(), &data)
    }

    #[test]
    fn a_tensor_whose_data_are_not_what_it_says_is_refused() {
        for (datatype, shape, data, reason) in [
            ("FP16", &[1][..], json!([1]), "datatype \"FP16\""),
            ("INT7", &[1], json!([1]), "datatype \"INT7\""),
            ("INT8", &[1], json!([128]), "128 is not of datatype"),
            ("UINT64", &[1], json!([-1]), "-1 is not"),
            ("INT32", &[1], json!([1.5]), "1.5 is not"),
            ("FP32", &[1], json!(["1"]), "\"1\" is not"),
            ("BYTES", &[1], json!([1]), "1 is not"),
            ("BOOL", &[1], json!([1]), "1 is not"),
            ("FP32", &[2, 2], json!([1, 2, 3]), "has 3 values"),
            ("FP32", &[u64::MAX, 2], json!([1]), "has 1 values"),
        ] {
            let error = tensor(datatype, shape, data).unwrap_err();
            assert!(error.contains(reason), "{datatype}: {error}");
        }
        let one = tensor("FP32", &[1], json!([1])).unwrap();
        let two = tensor("FP32", &[2], json!([1, 2])).unwrap();
        assert!(
            infer(&[one, two])
                .unwrap_err()
                .contains("not all inputs have 1 rows")
        );
        assert!(infer(&[]).is_err());
    }

    #[test]
    fn raw_contents_that_break_off_are_refused() {
        for (datatype, raw) in [
            ("FP32", &[0; 5][..]),
            ("BYTES", &[9, 0, 0, 0, b'a']),
            ("BYTES", &[1, 0, 0]),
        ] {
            assert!(
                Tensor::from_raw("x", Datatype::parse(datatype).unwrap(), vec![1], raw)
                    .unwrap_err()
                    .contains("raw contents")
            );
        }
    }

    #[test]
    fn rows_are_scored_or_categorised() {
        let answer = |tensors: &[Tensor]| infer(tensors).unwrap();
        assert_eq!(
            answer(&[tensor("INT64", &[2, 2], json!([[1, 3], [5, 7]])).unwrap()]),
            Answer::Scores(vec![2.0, 6.0])
        );
        assert_eq!(
            answer(&[tensor("FP64", &[], json!(2.5)).unwrap()]),
            Answer::Scores(vec![2.5])
        );
        assert_eq!(
            answer(&[tensor("FP64", &[0, 2], json!([])).unwrap()]),
            Answer::Scores(vec![])
        );
        assert_eq!(
            answer(&[tensor("FP64", &[u64::MAX, 0], json!([])).unwrap()]),
            Answer::Scores(vec![])
        );
        let texts = tensor("BYTES", &[2], json!(["the team won", "hm"])).unwrap();
        let ignored = tensor("FP32", &[2], json!([1, 2])).unwrap();
        assert_eq!(
            answer(&[texts, ignored]),
            Answer::Categories(vec!["sports", "other"])
        );
    }

    #[test]
    fn raw_contents_say_the_same_as_json() {
        let raw = |datatype: &str, shape: &[u64], raw: &[u8]| {
            Tensor::from_raw("x", Datatype::parse(datatype).unwrap(), shape.to_vec(), raw)
                .unwrap()
                .data
        };
        assert_eq!(
            raw("INT16", &[2], &[0xff, 0xff, 2, 0]),
            Data::Numbers(vec![-1.0, 2.0])
        );
        assert_eq!(
            raw("UINT8", &[2], &[0xff, 1]),
            Data::Numbers(vec![255.0, 1.0])
        );
        assert_eq!(
            raw("FP32", &[1], &1.5_f32.to_le_bytes()),
            Data::Numbers(vec![1.5])
        );
        assert_eq!(
            raw("FP64", &[1], &1.5_f64.to_le_bytes()),
            Data::Numbers(vec![1.5])
        );
        let categories = Answer::Categories(vec!["tech", "other"]);
        assert_eq!(
            raw("BYTES", &[2], &categories.to_raw()),
            Data::Texts(vec!["tech".into(), "other".into()])
        );
        assert_eq!(
            raw("FP64", &[1], &Answer::Scores(vec![0.5]).to_raw()),
            Data::Numbers(vec![0.5])
        );
    }
}
