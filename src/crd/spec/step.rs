//! One step: what is sent, by one file for each protocol, and when, and what follows from the
//! answer.

mod grpc;
mod http;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pace::ThinkTimeSpec;
use super::{CheckSpec, ExtractSpec, GoodputSpec, RecordSpec};
use crate::plan::OnFailure;
use crate::plan::protocol::AnswerKind;

pub use grpc::*;
pub use http::*;

/// One step: exactly one of `http`, `grpc`, `call` and `pause`; the other fields say when and how
/// often it is carried out, and what follows from the answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(
    extend(
        "oneOf" = [
            {"required": ["http"]}, {"required": ["grpc"]}, {"required": ["call"]},
            {"required": ["pause"]},
        ]
    )
)]
pub struct StepSpec {
    /// Name of the request in results and thresholds, unlike that of any other in the same list. If
    /// unset, the method and the path, of gRPC the method.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub name: Option<String>,
    /// Tags of the request: any names and values, by which `thresholds[].select.tags`, `--tags` and
    /// `--exclude-tags` choose requests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub tags: BTreeMap<String, String>,
    /// CEL expression; the step is skipped unless it gives `true`. It may use the answer before it
    /// (`status`, `headers`, `body`, `json`, `latency` in milliseconds), `vars.NAME`,
    /// `feeders.NAME`, `user` and `iteration`. An expression that cannot be evaluated fails the
    /// step.
    #[serde(rename = "if", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub condition: Option<String>,
    /// Repetition of the step. Excludes `forEach`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<RepeatSpec>,
    /// Repetition of the step for each item of an array. Excludes `repeat`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_each: Option<ForEachSpec>,
    /// Consequence of a failure of this step.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Name of one of `spec.targets` that the request goes to. If unset, `spec.target`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub target: Option<String>,
    /// HTTP request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpStepSpec>,
    /// gRPC call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcStepSpec>,
    /// Name of a block of this scenario, whose steps are carried out here. Blocks call others at
    /// most 4 deep, and never themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub call: Option<String>,
    /// Wait of this length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<ThinkTimeSpec>,
    /// Conditions on the answer, all of which must hold; otherwise the request is a failure of
    /// class `check`. A check of `status` replaces the rule that 400 and above are failures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub checks: Vec<CheckSpec>,
    /// Values taken out of the answer, or made of it, by the name that later steps use:
    /// `{{ NAME }}`. They last for the iteration, those of `onStart` as long as the user. With
    /// `repeat` and `forEach` the step itself sees those of the time before.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub extract: BTreeMap<String, ExtractSpec>,
    /// Numbers of the answer, such as the time that a model says it took, each kept as a metric of
    /// the test. Not in `onStart`, `onStop`, `setup` and `teardown`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub record: Vec<RecordSpec>,
    /// Limits of a good request of this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goodput: Option<GoodputSpec>,
    /// Longest time from the intended start to the last byte of the answer; overrides
    /// `spec.http.timeout`. A gRPC server is told of it as the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub timeout: Option<String>,
}

impl StepSpec {
    /// Returns whether the step sends a request, by whatever protocol.
    pub fn is_request(&self) -> bool {
        self.http.is_some() || self.grpc.is_some()
    }

    /// Number of requests that results tell from each other.
    pub fn requests(&self) -> usize {
        let separate = self.repeat.as_ref().filter(|repeat| repeat.separate);
        match separate.and_then(|repeat| repeat.count) {
            _ if !self.is_request() => 0,
            Some(count) => count as usize,
            None => 1,
        }
    }

    /// Kind of the answers to a step that is a request.
    pub(in crate::crd) fn answer_kind(&self) -> AnswerKind {
        match &self.http {
            _ if self.grpc.is_some() => AnswerKind::Grpc,
            Some(http) if http.stream.is_some() => AnswerKind::HttpStream,
            _ => AnswerKind::Http,
        }
    }
}

/// Repetition of a step: either `count`, or `until` with `max`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["count"]}, {"required": ["until", "max"]}]))]
pub struct RepeatSpec {
    /// Number of times.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub count: Option<u32>,
    /// CEL expression, evaluated after each time; the repetition ends when it gives `true`. It may
    /// use what `if` uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub until: Option<String>,
    /// Highest number of times; if `until` has not become true by then, the step has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max: Option<u32>,
    /// Pause between two times. If unset, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "crate::crd::schema::optional_duration")]
    pub every: Option<String>,
    /// True if results and thresholds tell the times from each other, as steps called `NAME 1`,
    /// `NAME 2` and so on, for example the turns of a conversation. Goes with a `count` of at most
    /// 64 and a request; `if` is evaluated before each time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub separate: bool,
}

/// Repetition of a step for each item of an array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForEachSpec {
    /// Array, or a template of a single expression that gives one.
    #[serde(rename = "in")]
    #[schemars(schema_with = "crate::crd::schema::free_value")]
    pub items: Value,
    /// Name of the current item in the step's templates.
    #[serde(rename = "as")]
    #[schemars(length(min = 1, max = 63), extend("pattern" = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
}
