//! The V2 inference protocol over REST, as KServe, Triton and MLServer speak it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::tensors::{Answer, Datatype, Tensor, infer};

/// Platform of every model, in its metadata.
pub(super) const PLATFORM: &str = "starling_sample";
/// Name of the server, in its metadata. Clients may compare it, so it keeps the name of the first
/// version.
pub(super) const SERVER: &str = "starling-sample-service";
/// Version of every model.
pub(super) const VERSION: &str = "1";

#[derive(Deserialize)]
struct InferRequest {
    id: Option<String>,
    inputs: Vec<JsonTensor>,
    #[serde(default)]
    outputs: Vec<Requested>,
}

#[derive(Deserialize)]
struct JsonTensor {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    data: Value,
}

#[derive(Deserialize)]
struct Requested {
    name: String,
}

/// Answer to an inference request, as JSON.
#[derive(Serialize)]
pub(super) struct InferResponse<'a> {
    model_name: &'a str,
    model_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: [Output; 1],
}

#[derive(Serialize)]
struct Output {
    name: &'static str,
    shape: [usize; 1],
    datatype: &'static str,
    data: Value,
}

/// Answers the body of an inference request.
///
/// # Errors
/// Fails with a sentence about what is wrong with the body.
pub(super) fn answer<'a>(model: &'a str, body: &[u8]) -> Result<InferResponse<'a>, String> {
    let InferRequest {
        id,
        inputs,
        outputs,
    } = serde_json::from_slice(body).map_err(|error| format!("no inference request: {error}"))?;
    let tensors = inputs.into_iter().map(
        |JsonTensor {
             name,
             shape,
             datatype,
             data,
         }| {
            let datatype =
                Datatype::parse(&datatype).map_err(|reason| format!("input {name:?}: {reason}"))?;
            Tensor::from_json(&name, datatype, shape, &data)
        },
    );
    let answer = infer(&tensors.collect::<Result<Vec<_>, _>>()?)?;
    let (name, datatype) = answer.output();
    check_outputs(name, outputs.iter().map(|output| output.name.as_str()))?;
    let shape = [answer.rows()];
    let data = match answer {
        Answer::Categories(categories) => Value::from(categories),
        Answer::Scores(scores) => Value::from(scores),
    };
    Ok(InferResponse {
        model_name: model,
        model_version: VERSION,
        id,
        outputs: [Output {
            name,
            shape,
            datatype,
            data,
        }],
    })
}

/// Checks that the outputs a request asks for are the one that the model has.
///
/// # Errors
/// Fails with a sentence that names an unknown output.
pub(super) fn check_outputs<'a>(
    name: &str,
    mut requested: impl Iterator<Item = &'a str>,
) -> Result<(), String> {
    match requested.find(|requested| *requested != name) {
        Some(unknown) => Err(format!(
            "the model has no output {unknown:?} for these inputs; it has {name:?}"
        )),
        None => Ok(()),
    }
}

/// Returns the metadata of the server.
pub(super) fn server_metadata() -> Value {
    json!({"name": SERVER, "version": crate::VERSION, "extensions": []})
}

/// Returns the metadata of a model: every model takes texts and gives categories.
pub(super) fn model_metadata(model: &str) -> Value {
    json!({
        "name": model,
        "versions": [VERSION],
        "platform": PLATFORM,
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": "category", "datatype": "BYTES", "shape": [-1]}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_is_none_is_refused_with_the_reason() {
        let text = json!({"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]});
        for (body, reason) in [
            (json!({}), "missing field `inputs`"),
            (json!({"inputs": []}), "inputs is empty"),
            (
                json!({"inputs": [{"name": "text"}]}),
                "missing field `shape`",
            ),
            (
                json!({"inputs": [{"name": "text", "shape": [1], "datatype": "TEXT", "data": []}]}),
                "input \"text\": datatype \"TEXT\"",
            ),
            (
                json!({"inputs": [{"name": "text", "shape": [2], "datatype": "BYTES", "data": ["a"]}]}),
                "has 1 values",
            ),
            (
                json!({"inputs": [text], "outputs": [{"name": "score"}]}),
                "no output \"score\"",
            ),
        ] {
            let error = answer("m", body.to_string().as_bytes()).err().unwrap();
            assert!(error.contains(reason), "{body}: {error}");
        }
    }

    #[test]
    fn an_answer_has_the_shape_of_the_batch() {
        let body = json!({"id": "7", "inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 3, 5, 7]}]});
        let answered = answer("wine", body.to_string().as_bytes()).unwrap();
        let output = json!({"name": "score", "shape": [2], "datatype": "FP64", "data": [2.0, 6.0]});
        let expected =
            json!({"model_name": "wine", "model_version": "1", "id": "7", "outputs": [output]});
        assert_eq!(serde_json::to_value(answered).unwrap(), expected);
    }
}
