//! One message that differs from call to call: by our compiled encoder, beside prost-reflect, which
//! makes it of JSON.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

use prost::Message;
use prost_reflect::DynamicMessage;
use serde_json::{Value, json};
use starling::plan::JsonTemplate;
use starling::plan::grpc::{
    Descriptors, MessageDescriptor, MessageEncoder, Method, Source, to_json,
};
use starling::plan::names::{Declared, Names, Slot};
use starling::plan::template::{Compiled, Scope};

use crate::Effort;

pub const NAME: &str = "encode";

/// Messages between two looks at the clock.
const BATCH: u32 = 1_000;

const PROTO: &str = r#"
    syntax = "proto3";
    package bench;
    service Models { rpc Infer(Request) returns (Request); }
    message Request {
      string model_name = 1; string id = 2; map<string, string> parameters = 3; repeated Input inputs = 4;
    }
    message Input { string name = 1; string datatype = 2; repeated int64 shape = 3; Contents contents = 4; }
    message Contents { repeated float fp32_contents = 1; repeated bytes bytes_contents = 2; }
"#;

/// An inference request of some 150 bytes; what stands in braces is another value in each.
fn template() -> Value {
    json!({
        "model_name": "categorizer",
        "id": "request {{ iteration }}",
        "parameters": {"tenant": "{{ row.tenant }}", "priority": "high"},
        "inputs": [{
            "name": "text", "datatype": "FP32", "shape": [1, 8],
            "contents": {"fp32_contents": ["{{ row.weight }}", 0.25, 0.5, 0.75, 1.25, 1.5, 1.75, "{{ randFloat(0, 1) }}"]},
        }],
    })
}

/// What a user has in its hands.
struct User {
    iteration: u64,
    row: Value,
}

impl Scope for User {
    fn user(&self) -> u64 {
        1
    }
    fn iteration(&self) -> u64 {
        self.iteration
    }
    fn worker(&self) -> u32 {
        0
    }
    fn random(&mut self) -> u64 {
        self.iteration.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
    fn sequence(&mut self) -> u64 {
        self.iteration
    }
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
    fn value(&self, _: Slot) -> Option<&Value> {
        Some(&self.row)
    }
    fn batch(&self, _: Slot, _: u32) -> Option<&Value> {
        None
    }
}

/// Both ways to the same bytes.
struct Ways {
    user: User,
    encoder: MessageEncoder,
    /// Gives the message as JSON.
    json: Compiled,
    message: MessageDescriptor,
    text: Vec<u8>,
    out: Vec<u8>,
}

impl Ways {
    fn new() -> Result<Self, String> {
        let words = |problems: Vec<starling::plan::Problem>| {
            problems
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        };
        let source = Source {
            path: "bench.proto".into(),
            field: "bench.proto".into(),
            bytes: PROTO.into(),
        };
        let descriptors = Descriptors::compile(&[source], &[], &[]).map_err(words)?;
        let message = descriptors
            .rpc(&Method::parse("bench.Models/Infer")?)?
            .input;
        let mut names = Names::default();
        names.declare("row", Declared::Row(0));
        let template = JsonTemplate::new(template())?;
        let encoder =
            MessageEncoder::compile(&template, &message, &names, "message").map_err(words)?;
        let user = User {
            iteration: 0,
            row: json!({"tenant": "north", "weight": 0.125}),
        };
        Ok(Self {
            user,
            encoder,
            json: template.compile(&names)?,
            message,
            text: Vec::new(),
            out: Vec::new(),
        })
    }

    fn encoded(&mut self) -> Result<&[u8], String> {
        self.out.clear();
        self.encoder
            .encode(&mut self.user, &mut self.out)
            .map_err(|why| why.to_string())?;
        Ok(&self.out)
    }

    /// The expressions are put in by our own templates, as in any client that reads JSON then.
    fn reflected(&mut self) -> Result<&[u8], String> {
        self.text.clear();
        self.json
            .render(&mut self.user, &mut self.text)
            .map_err(|why| why.to_string())?;
        let mut json = serde_json::Deserializer::from_slice(&self.text);
        let message = DynamicMessage::deserialize(self.message.clone(), &mut json)
            .map_err(|why| why.to_string())?;
        self.out.clear();
        message
            .encode(&mut self.out)
            .map_err(|why| why.to_string())?;
        Ok(&self.out)
    }

    /// Nanoseconds a message, over `time`.
    fn nanos(
        &mut self,
        time: Duration,
        way: fn(&mut Self) -> Result<&[u8], String>,
    ) -> Result<f64, String> {
        let (begun, mut made) = (Instant::now(), 0u32);
        while begun.elapsed() < time {
            for _ in 0..BATCH {
                self.user.iteration += 1;
                black_box(way(self)?);
            }
            made += BATCH;
        }
        Ok(begun.elapsed().as_nanos() as f64 / f64::from(made))
    }
}

/// Prints the figures; the line of the summary.
pub fn compare(effort: Effort) -> Result<String, String> {
    let mut ways = Ways::new()?;
    let (ours, theirs) = (ways.encoded()?.to_vec(), ways.reflected()?.to_vec());
    // entries of maps may stand in any order
    let (ours, theirs) = (
        to_json(&ways.message, &ours)?,
        to_json(&ways.message, &theirs)?,
    );
    if ours != theirs {
        return Err(format!(
            "the two make different messages: {ours} and {theirs}"
        ));
    }
    println!(
        "\n{NAME}: a message of {} bytes that differs each time; peer: prost-reflect's DynamicMessage of JSON",
        ways.encoded()?.len()
    );
    let time = effort.measured / 10;
    let mut rounds = Vec::new();
    for _ in 0..effort.pairs {
        let (ours, theirs) = (
            ways.nanos(time, Ways::encoded)?,
            ways.nanos(time, Ways::reflected)?,
        );
        println!(
            "  starling {ours:7.0} ns, prost-reflect {theirs:7.0} ns, ratio {:.3}",
            ours / theirs
        );
        rounds.push([ours, theirs, ours / theirs]);
    }
    let median = |of: usize| {
        let mut all: Vec<f64> = rounds.iter().map(|round| round[of]).collect();
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    };
    let figures = format!(
        "{:.0} ns; prost-reflect {:.0} ns, ratio {:.2}",
        median(0),
        median(1),
        median(2)
    );
    Ok(format!("| {NAME} | {figures} | | | |"))
}
