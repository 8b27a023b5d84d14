//! The V2 inference protocol over gRPC.

use std::sync::Arc;

use tonic::codec::CompressionEncoding::Gzip;
use tonic::{Request, Response, Status};

use super::super::inference_wire::grpc_inference_service_server::{
    GrpcInferenceService, GrpcInferenceServiceServer,
};
use super::super::inference_wire::model_infer_request::InferInputTensor;
use super::super::inference_wire::model_infer_response::InferOutputTensor;
use super::super::inference_wire::model_metadata_response::TensorMetadata;
use super::super::inference_wire::{
    InferTensorContents, ModelInferRequest, ModelInferResponse, ModelMetadataRequest,
    ModelMetadataResponse, ModelReadyRequest, ModelReadyResponse, ServerLiveRequest,
    ServerLiveResponse, ServerMetadataRequest, ServerMetadataResponse, ServerReadyRequest,
    ServerReadyResponse,
};
use super::super::shared::Shared;
use super::super::tensors::Data::{self, Numbers, Texts};
use super::super::tensors::{Answer, Datatype, Tensor, infer};
use super::super::v2::{PLATFORM, SERVER, VERSION, check_outputs};

/// Implementation of the V2 inference protocol.
pub(in crate::demo) struct Inference(Arc<Shared>);

/// Creates the service, which takes and gives gzip.
pub(super) fn server(shared: Arc<Shared>) -> GrpcInferenceServiceServer<Inference> {
    GrpcInferenceServiceServer::new(Inference(shared))
        .accept_compressed(Gzip)
        .send_compressed(Gzip)
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse {
            ready: self.0.is_ready(),
        }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, .. } = request.into_inner();
        Ok(Response::new(ModelReadyResponse {
            ready: self.0.is_ready() && self.0.has_model(&name),
        }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        self.0.counts.received();
        self.0.counts.sent();
        let (name, version) = (SERVER.to_owned(), crate::VERSION.to_owned());
        Ok(Response::new(ServerMetadataResponse {
            name,
            version,
            extensions: Vec::new(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        self.0.counts.received();
        let ModelMetadataRequest { name, .. } = request.into_inner();
        self.0
            .model(&name)
            .map_err(|refusal| refusal.into_status())?;
        let tensor = |name: &str| TensorMetadata {
            name: name.to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![-1],
        };
        let (inputs, outputs) = (vec![tensor("text")], vec![tensor("category")]);
        self.0.counts.sent();
        Ok(Response::new(ModelMetadataResponse {
            name,
            versions: vec![VERSION.to_owned()],
            platform: PLATFORM.to_owned(),
            inputs,
            outputs,
        }))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        self.0.counts.received();
        let request = request.into_inner();
        self.0
            .model(&request.model_name)
            .map_err(|refusal| refusal.into_status())?;
        let response = answer(request).map_err(Status::invalid_argument)?;
        self.0.counts.sent();
        Ok(Response::new(response))
    }
}

/// Answers an inference request; raw contents are answered with raw contents.
fn answer(request: ModelInferRequest) -> Result<ModelInferResponse, String> {
    let ModelInferRequest {
        model_name,
        id,
        inputs,
        outputs,
        raw_input_contents: raw,
        ..
    } = request;
    let is_raw = !raw.is_empty();
    if is_raw && raw.len() != inputs.len() {
        return Err(format!(
            "there are {} raw_input_contents for {} inputs",
            raw.len(),
            inputs.len()
        ));
    }
    let mut raw = raw.into_iter();
    let tensors: Vec<Tensor> = inputs
        .into_iter()
        .map(|input| tensor(input, raw.next()))
        .collect::<Result<_, _>>()?;
    let answer = infer(&tensors)?;
    let (name, datatype) = answer.output();
    check_outputs(name, outputs.iter().map(|output| output.name.as_str()))?;
    let output = InferOutputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: vec![answer.rows() as i64],
        parameters: Default::default(),
        contents: (!is_raw).then(|| contents(&answer)),
    };
    Ok(ModelInferResponse {
        model_name,
        model_version: VERSION.to_owned(),
        id,
        parameters: Default::default(),
        outputs: vec![output],
        raw_output_contents: if is_raw {
            vec![answer.to_raw()]
        } else {
            Vec::new()
        },
    })
}

fn tensor(input: InferInputTensor, raw: Option<Vec<u8>>) -> Result<Tensor, String> {
    let InferInputTensor {
        name,
        datatype: type_name,
        shape,
        contents,
        ..
    } = input;
    let datatype =
        Datatype::parse(&type_name).map_err(|reason| format!("input {name:?}: {reason}"))?;
    let negative = |_| format!("input {name:?}: its shape {shape:?} has a negative length");
    let shape = shape
        .iter()
        .copied()
        .map(u64::try_from)
        .collect::<Result<_, _>>()
        .map_err(negative)?;
    match (raw, contents.unwrap_or_default()) {
        (Some(raw), _) => Tensor::from_raw(&name, datatype, shape, &raw),
        (None, contents) => Tensor::new(&name, shape, data(datatype, contents)),
    }
}

/// Returns the field of the contents that belongs to the datatype; the other fields are ignored.
fn data(datatype: Datatype, contents: InferTensorContents) -> Data {
    match datatype {
        Datatype::Bool => Numbers(contents.bool_contents.into_iter().map(f64::from).collect()),
        Datatype::Int { bits: 64 } => Numbers(
            contents
                .int64_contents
                .into_iter()
                .map(|number| number as f64)
                .collect(),
        ),
        Datatype::Int { .. } => Numbers(contents.int_contents.into_iter().map(f64::from).collect()),
        Datatype::Uint { bits: 64 } => Numbers(
            contents
                .uint64_contents
                .into_iter()
                .map(|number| number as f64)
                .collect(),
        ),
        Datatype::Uint { .. } => {
            Numbers(contents.uint_contents.into_iter().map(f64::from).collect())
        }
        Datatype::Fp32 => Numbers(contents.fp32_contents.into_iter().map(f64::from).collect()),
        Datatype::Fp64 => Numbers(contents.fp64_contents),
        Datatype::Bytes => Texts(
            contents
                .bytes_contents
                .iter()
                .map(|text| String::from_utf8_lossy(text).into_owned())
                .collect(),
        ),
    }
}

fn contents(answer: &Answer) -> InferTensorContents {
    match answer {
        Answer::Scores(scores) => InferTensorContents {
            fp64_contents: scores.clone(),
            ..Default::default()
        },
        Answer::Categories(categories) => InferTensorContents {
            bytes_contents: categories
                .iter()
                .map(|category| category.as_bytes().to_vec())
                .collect(),
            ..Default::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(datatype: &str, shape: &[i64], contents: InferTensorContents) -> InferInputTensor {
        let contents = Some(contents);
        InferInputTensor {
            name: "x".into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
            parameters: Default::default(),
            contents,
        }
    }

    fn ask(inputs: Vec<InferInputTensor>, raw: Vec<Vec<u8>>) -> Result<ModelInferResponse, String> {
        answer(ModelInferRequest {
            model_name: "m".into(),
            id: "7".into(),
            inputs,
            raw_input_contents: raw,
            ..Default::default()
        })
    }

    #[test]
    fn contents_of_another_type_or_shape_are_refused() {
        let floats = InferTensorContents {
            fp32_contents: vec![1.0],
            ..Default::default()
        };
        assert!(
            ask(vec![input("INT32", &[1], floats.clone())], vec![])
                .unwrap_err()
                .contains("0 values")
        );
        assert!(
            ask(vec![input("FP32", &[-1], floats.clone())], vec![])
                .unwrap_err()
                .contains("negative")
        );
        assert!(
            ask(vec![input("FP32", &[1], floats)], vec![vec![], vec![]])
                .unwrap_err()
                .contains("2 raw_input_contents for 1 inputs")
        );
    }

    #[test]
    fn typed_contents_are_answered_typed_and_raw_ones_raw() {
        let texts = InferTensorContents {
            bytes_contents: vec![b"the team won".to_vec()],
            ..Default::default()
        };
        let typed = ask(vec![input("BYTES", &[1], texts)], vec![]).unwrap();
        assert_eq!(
            typed.outputs[0].contents.as_ref().unwrap().bytes_contents,
            [b"sports".to_vec()]
        );
        assert_eq!(
            (typed.id.as_str(), typed.raw_output_contents.len()),
            ("7", 0)
        );
        let raw = [1.0_f32, 3.0]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        let raw = ask(vec![input("FP32", &[1, 2], Default::default())], vec![raw]).unwrap();
        assert_eq!(raw.raw_output_contents, [2.0_f64.to_le_bytes().to_vec()]);
        assert_eq!(
            (raw.outputs[0].datatype.as_str(), &raw.outputs[0].contents),
            ("FP64", &None)
        );
    }
}
