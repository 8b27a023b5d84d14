//! gRPC: calls of steps, channels, and the sources of descriptors.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::crd::convert::feeder::{check_data, check_path};
use crate::crd::convert::{Context, Problems};
use crate::crd::spec::*;
use crate::plan::grpc::{
    Channels, Code, DescriptorSet, GrpcRetry, GrpcStream, HEALTH, KeepAlive, MAX_MESSAGES,
    Messages, Method, ProtoFile, ProtoRoot, SendAfter, check_metadata,
};
use crate::plan::template::{Compiled, Place};
use crate::plan::*;

impl Context<'_> {
    /// Checks the call at `path`. Returns it with the name that it has unless its step gives it
    /// one; `None` if the method has a mistake.
    pub(super) fn grpc_call(
        &mut self,
        path: &str,
        grpc: &GrpcStepSpec,
    ) -> Option<(String, Protocol)> {
        let GrpcStepSpec {
            method,
            health,
            message,
            metadata,
            stream,
            gzip,
            max_message_size,
            retry,
        } = grpc;
        let metadata = self.metadata(&format!("{path}.metadata"), metadata);
        let stream = stream
            .as_ref()
            .and_then(|stream| self.stream(&format!("{path}.stream"), stream));
        let lists = stream
            .as_ref()
            .is_some_and(|stream| matches!(stream.messages, Messages::List(_)));
        if message.is_some() && lists {
            self.problems.add(
                path,
                "message and a list of stream.messages exclude each other",
            );
        }
        let message = message
            .as_ref()
            .map(|message| self.json(&format!("{path}.message"), message));
        let (method, message) = match (method, health) {
            (Some(method), None) => (
                self.problems
                    .take(&format!("{path}.method"), Method::parse(method))?,
                message,
            ),
            (None, Some(health)) => {
                if message.is_some() || stream.is_some() {
                    self.problems.add(
                        path,
                        "health has a message of its own; message and stream go with method only",
                    );
                }
                let (method, question) = self.health(path, health);
                (method, Some(question))
            }
            _ => {
                self.problems.add(path, "either method or health");
                return None;
            }
        };
        let retry = retry
            .as_ref()
            .map(|retry| self.grpc_retry(&format!("{path}.retry"), retry, stream.is_some()));
        if *max_message_size == Some(0) {
            self.problems
                .add(format!("{path}.maxMessageSize"), "must be at least 1");
        }
        let max_message_size = max_message_size.unwrap_or(self.max_message_size);
        let name = method.to_string().chars().take(128).collect();
        let call = GrpcStep {
            method,
            is_health_check: health.is_some(),
            // a mistake in it has been added
            message: message.flatten(),
            metadata,
            stream,
            gzip: *gzip,
            max_message_size,
            retry,
        };
        Some((name, Protocol::Grpc(call)))
    }

    /// Returns the method and the message of a question to the health service.
    fn health(&mut self, path: &str, health: &GrpcHealthSpec) -> (Method, Option<JsonTemplate>) {
        let GrpcHealthSpec { service } = health;
        let method = Method {
            service: HEALTH.to_owned(),
            name: "Check".to_owned(),
        };
        let question = json!({"service": service});
        (
            method,
            self.json(&format!("{path}.health.service"), &question),
        )
    }

    fn grpc_retry(&mut self, path: &str, retry: &GrpcRetrySpec, streams: bool) -> GrpcRetry {
        let GrpcRetrySpec { max, on, backoff } = retry;
        if streams {
            self.problems
                .add(path, "a stream of messages is not sent twice");
        }
        if *max == 0 {
            self.problems
                .add(format!("{path}.max"), "must be at least 1");
        }
        if on.is_empty() {
            self.problems
                .add(format!("{path}.on"), "needs at least one status");
        }
        let codes = on.iter().enumerate().filter_map(|(i, name)| {
            let code = Code::parse(name).and_then(|code| match code {
                Code::OK => Err("what is OK is not tried again".to_owned()),
                code => Ok(code),
            });
            self.problems.take(&format!("{path}.on[{i}]"), code)
        });
        let on = codes.collect();
        GrpcRetry {
            max: *max,
            on,
            backoff: self.problems.duration(&format!("{path}.backoff"), backoff),
        }
    }

    fn metadata(&mut self, path: &str, metadata: &BTreeMap<String, String>) -> Vec<Header> {
        let mut checked = Vec::new();
        for (name, value) in metadata {
            let path = format!("{path}.{name}");
            let lower = name.to_ascii_lowercase();
            let is_name = !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
            if !is_name {
                self.problems.add(
                    &path,
                    "is no key of metadata: those hold letters, digits, -, _ and . only",
                );
            }
            if lower.starts_with("grpc-")
                || ["te", "content-type", "content-length", "connection", "host"]
                    .contains(&lower.as_str())
            {
                self.problems.add(&path, "is set by Starling");
            }
            if checked.iter().any(|header: &Header| header.name == lower) {
                self.problems
                    .add(&path, "is there twice; case does not matter in metadata");
            }
            if let Some(value) = self.template(&path, value, Place::Header) {
                self.metadata_value(&path, &lower, &value);
                checked.push(Header { name: lower, value });
            }
        }
        checked
    }

    /// Checks a value of metadata that never differs; any other shows when it is sent.
    fn metadata_value(&mut self, path: &str, name: &str, value: &Template) {
        let compiled = value.compile(&self.names, Place::Header);
        let known = compiled.as_ref().ok().and_then(Compiled::as_static);
        if let Some(Err(why)) = known.map(|known| check_metadata(name, known)) {
            self.problems.add(path, why);
        }
    }

    fn stream(&mut self, path: &str, stream: &GrpcStreamSpec) -> Option<GrpcStream> {
        let GrpcStreamSpec {
            messages,
            interval,
            half_close,
            send_after,
        } = stream;
        let interval = self
            .problems
            .duration(&format!("{path}.interval"), interval);
        let path = format!("{path}.messages");
        let messages = match messages {
            Value::Array(list) if list.is_empty() => Messages::Times(0),
            Value::Array(list) => {
                let list = list
                    .iter()
                    .enumerate()
                    .filter_map(|(i, message)| self.json(&format!("{path}[{i}]"), message));
                Messages::List(list.collect())
            }
            number => {
                match number
                    .as_u64()
                    .and_then(|number| u32::try_from(number).ok())
                    .filter(|n| *n <= MAX_MESSAGES)
                {
                    Some(times) => Messages::Times(times),
                    None => {
                        self.problems.add(&path, format!("must be a whole number from 0 to {MAX_MESSAGES}, or a list of messages"));
                        return None;
                    }
                }
            }
        };
        Some(GrpcStream {
            messages,
            interval,
            half_close: *half_close,
            send_after: match send_after {
                SendAfterSpec::Message => SendAfter::Message,
                SendAfterSpec::Reply => SendAfter::Reply,
            },
        })
    }
}

/// Checks `spec.grpc`, apart from `maxMessageSize`, which is part of each step in a plan.
pub(in crate::crd::convert) fn check_grpc(spec: &GrpcSpec, problems: &mut Problems) -> Grpc {
    let GrpcSpec {
        channels,
        max_streams_per_channel,
        max_channels,
        keep_alive,
        max_message_size,
    } = spec;
    let counts = [
        ("maxStreamsPerChannel", max_streams_per_channel),
        ("maxChannels", max_channels),
        ("maxMessageSize", max_message_size),
    ];
    for (field, _) in counts.into_iter().filter(|(_, count)| **count == 0) {
        problems.add(format!("spec.grpc.{field}"), "must be at least 1");
    }
    let keep_alive = keep_alive
        .as_ref()
        .map(|KeepAliveSpec { interval, timeout }| KeepAlive {
            interval: problems.positive_duration("spec.grpc.keepAlive.interval", interval),
            timeout: problems.positive_duration("spec.grpc.keepAlive.timeout", timeout),
        });
    Grpc {
        channels: match channels {
            ChannelsSpec::PerWorker => Channels::PerWorker,
            ChannelsSpec::PerUser => Channels::PerUser,
        },
        max_streams_per_channel: *max_streams_per_channel,
        max_channels: *max_channels,
        keep_alive,
    }
}

/// Checks `spec.protos`: at least one source of descriptors, and each import path once.
pub(in crate::crd::convert) fn check_protos(spec: &ProtosSpec, problems: &mut Problems) -> Protos {
    let ProtosSpec {
        config_maps,
        descriptor_sets,
        root,
        files,
    } = spec;
    let mut texts: Vec<ProtoFile> = Vec::new();
    for (c, ProtoConfigMapSpec { name, items }) in config_maps.iter().enumerate() {
        for (i, ProtoItemSpec { key, path }) in items.iter().enumerate() {
            let field = format!("spec.protos.configMaps[{c}].items[{i}]");
            problems.take(&format!("{field}.path"), check_path(path));
            if texts.iter().any(|other| other.path == *path) {
                problems.add(format!("{field}.path"), format!("{path:?} is there twice"));
            }
            let source = Reference {
                kind: Kind::ConfigMap,
                name: name.clone(),
                key: key.clone(),
                field,
            };
            texts.push(ProtoFile {
                path: path.clone(),
                source,
            });
        }
    }
    let sets = descriptor_sets.iter().enumerate().filter_map(|(i, set)| {
        let field = format!("spec.protos.descriptorSets[{i}]");
        check_data(&field, set, problems).map(|data| DescriptorSet { data, field })
    });
    let sets: Vec<DescriptorSet> = sets.collect();
    if let Some(root) = root {
        problems.file("spec.protos.root", root);
    }
    for (i, file) in files.iter().enumerate() {
        problems.take(&format!("spec.protos.files[{i}]"), check_path(file));
    }
    if root.is_none() && !files.is_empty() {
        problems.add("spec.protos.files", "goes with root only");
    }
    if config_maps.is_empty() && descriptor_sets.is_empty() && root.is_none() {
        problems.add("spec.protos", "needs configMaps, descriptorSets or root; without spec.protos the target is asked by reflection");
    }
    Protos {
        files: texts,
        sets,
        root: root.as_ref().map(|folder| ProtoRoot {
            folder: folder.clone(),
            files: files.clone(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::convert::check;

    fn checked(change: impl FnOnce(&mut Value)) -> Result<Plan, Vec<String>> {
        let mut spec = json!({
            "target": {"url": "http://t:8000"},
            "variables": {"word": "x"},
            "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [
                {"grpc": {"method": "categorization.TextCategorization/GetPrediction", "message": {"text": "{{ word }}"}}},
                {"name": "other", "grpc": {"method": "a.B/C"}}
            ]}]}],
            "load": {"closed": {"users": 1, "duration": "1m"}},
        });
        change(&mut spec);
        let checked = check(&serde_json::from_value(spec).unwrap());
        checked.map(|checked| checked.plan).map_err(|problems| {
            problems
                .into_iter()
                .map(|problem| problem.to_string())
                .collect()
        })
    }

    fn stepped(change: impl FnOnce(&mut Value)) -> Result<RequestStep, Vec<String>> {
        let plan = checked(|spec| change(&mut spec["scenarios"][0]["tasks"][0]["steps"][0]))?;
        Ok(plan.steps().next().unwrap().step.clone())
    }

    fn call(change: impl FnOnce(&mut Value)) -> GrpcStep {
        match stepped(|step| change(&mut step["grpc"])).unwrap().call {
            Protocol::Grpc(grpc) => grpc,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn refuses(change: impl FnOnce(&mut Value), wanted: &[&str]) {
        let found = stepped(change).expect_err("was accepted");
        let begin = |found: &String, wanted: &&str| {
            found.starts_with(&format!("spec.scenarios[0].tasks[0].steps[0]{wanted}"))
        };
        assert!(
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| begin(f, w)),
            "{found:#?}"
        );
    }

    #[test]
    fn every_mistake_of_a_call_has_its_field_path() {
        for method in [
            "Get", "a/b/c", "/a.B/C", "a.B.C", "a..B/C", "a.B/", "1a.B/C",
        ] {
            refuses(
                |step| step["grpc"]["method"] = json!(method),
                &[".grpc.method: "],
            );
        }
        refuses(
            |step| step["grpc"] = json!({}),
            &[".grpc: either method or health"],
        );
        refuses(
            |step| step["grpc"]["health"] = json!({}),
            &[".grpc: either method or health"],
        );
        refuses(
            |step| step["grpc"]["message"] = json!({"text": "{{ nobody }}"}),
            &[".grpc.message: "],
        );
        refuses(
            |step| step["grpc"]["metadata"] = json!({"grpc-timeout": "1S", "a b": ""}),
            &[".grpc.metadata.a b: ", ".grpc.metadata.grpc-timeout: "],
        );
        refuses(
            |step| step["grpc"]["metadata"] = json!({"A": "", "a": ""}),
            &[".grpc.metadata.a: is there twice"],
        );
        for messages in [json!("3"), json!(1.5), json!(-1), json!(null)] {
            refuses(
                |step| step["grpc"]["stream"] = json!({"messages": messages}),
                &[".grpc.stream.messages: "],
            );
        }
        let list = json!({"messages": [{"text": "{{ nobody }}"}]});
        refuses(
            |step| step["grpc"]["stream"] = list,
            &[".grpc.stream.messages[0]: ", ".grpc: message and a list"],
        );
        refuses(
            |step| step["http"] = json!({"path": "/"}),
            &[": exactly one of http, grpc, call and pause"],
        );
        refuses(
            |step| step["grpc"] = json!({"health": {}, "message": {}}),
            &[".grpc: health has a message of its own"],
        );
    }

    #[test]
    fn bytes_of_metadata_that_are_no_base64_are_refused_where_they_are_known() {
        let refused = ["no base64!", "{{ word }}!", "{{ jsonEncode(word) }}"];
        for value in refused {
            refuses(
                |step| step["grpc"]["metadata"] = json!({"trace-bin": value}),
                &[
                    ".grpc.metadata.trace-bin: what ends in -bin holds bytes, to be written as base64",
                ],
            );
        }
        let fine = ["AAECAw==", "AAECAw", "{{ base64(word) }}", "{{ uuid() }}"];
        for value in fine {
            let call = call(|grpc| grpc["metadata"] = json!({"trace-bin": value}));
            assert_eq!(call.metadata.len(), 1, "{value}");
        }
    }

    #[test]
    fn every_mistake_of_a_retry_has_its_field_path() {
        let retry = |retry: Value| move |step: &mut Value| step["grpc"]["retry"] = retry;
        refuses(
            retry(json!({"max": 1, "on": ["OK", "Unavailable", "INTERNAL"]})),
            &[".grpc.retry.on[0]: what is OK", ".grpc.retry.on[1]: "],
        );
        refuses(
            retry(json!({"max": 0, "on": [], "backoff": "soon"})),
            &[
                ".grpc.retry.max: ",
                ".grpc.retry.on: ",
                ".grpc.retry.backoff: ",
            ],
        );
        let streamed = |step: &mut Value| {
            step["grpc"]["stream"] = json!({"messages": 2});
            step["grpc"]["retry"] = json!({"max": 1});
        };
        refuses(
            streamed,
            &[".grpc.retry: a stream of messages is not sent twice"],
        );
        assert_eq!(call(|_| {}).retry, None, "nothing is sent twice unasked");
        let asked = call(|grpc| grpc["retry"] = json!({"max": 2}))
            .retry
            .unwrap();
        let on = vec![Code::UNAVAILABLE, Code::RESOURCE_EXHAUSTED];
        assert_eq!(
            asked,
            GrpcRetry {
                max: 2,
                on,
                backoff: std::time::Duration::from_millis(100)
            }
        );
    }

    #[test]
    fn checks_and_extracts_of_the_other_protocol_are_refused() {
        refuses(
            |step| step["checks"] = json!([{"status": [200]}]),
            &[".checks[0].status: "],
        );
        for check in [
            json!({"grpcStatus": ["OK"]}),
            json!({"trailer": "x"}),
            json!({"messages": {"atLeast": 1}}),
        ] {
            refuses(
                |step| {
                    *step = json!({"http": {"path": "/"}, "checks": [check]});
                },
                &[".checks[0]."],
            );
        }
        refuses(
            |step| step["extract"] = json!({"x": {"cookie": "x"}}),
            &[".extract.x.cookie: "],
        );
        refuses(
            |step| step["checks"] = json!([{"grpcStatus": ["OKAY", 17]}]),
            &[".checks[0].grpcStatus[0]: ", ".checks[0].grpcStatus[1]: "],
        );
        refuses(
            |step| step["checks"] = json!([{"messages": {"atLeast": 3, "atMost": 2}}]),
            &[".checks[0].messages: "],
        );
        refuses(
            |step| step["checks"] = json!([{"messages": {}}]),
            &[".checks[0].messages: "],
        );
    }

    #[test]
    fn every_mistake_of_channels_and_descriptors_has_its_field_path() {
        let refused = |change: fn(&mut Value)| -> Vec<String> {
            let found = checked(change).expect_err("was accepted");
            found
                .iter()
                .map(|problem| problem.split(": ").next().unwrap().to_owned())
                .collect()
        };
        assert_eq!(
            refused(
                |s| s["grpc"] = json!({"maxStreamsPerChannel": 0, "maxChannels": 0, "maxMessageSize": 0, "keepAlive": {"interval": "0s"}})
            ),
            [
                "spec.grpc.maxStreamsPerChannel",
                "spec.grpc.maxChannels",
                "spec.grpc.maxMessageSize",
                "spec.grpc.keepAlive.interval"
            ]
        );
        assert_eq!(refused(|s| s["protos"] = json!({})), ["spec.protos"]);
        assert_eq!(
            refused(|s| s["protos"] = json!({"root": "a//protos"})),
            ["spec.protos.root"]
        );
        assert_eq!(
            refused(|s| s["protos"] = json!({"descriptorSets": [{}], "files": ["a.proto"]})),
            ["spec.protos.descriptorSets[0]", "spec.protos.files"]
        );
        let item = json!({"key": "a.proto", "path": "a.proto"});
        let maps = json!([{"name": "one", "items": [item]}, {"name": "two", "items": [item, {"key": "b", "path": "/b"}]}]);
        let found =
            checked(|s| s["protos"] = json!({"configMaps": maps})).expect_err("was accepted");
        assert!(
            found[0]
                .starts_with("spec.protos.configMaps[1].items[0].path: \"a.proto\" is there twice"),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("spec.protos.configMaps[1].items[1].path: "),
            "{found:?}"
        );
    }

    #[test]
    fn files_of_descriptors_are_among_the_references() {
        let plan = checked(|s| {
            s["protos"] = json!({"configMaps": [{"name": "protos", "items": [{"key": "a.proto", "path": "a/a.proto"}]}],
                "descriptorSets": [{"secretKeyRef": {"name": "sets", "key": "b.binpb"}}, {"file": "protos/c.binpb"}]});
        });
        let plan = plan.unwrap();
        let shown: Vec<String> = plan.references().iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "ConfigMap \"protos\" key \"a.proto\" (spec.protos.configMaps[0].items[0])",
                "Secret \"sets\" key \"b.binpb\" (spec.protos.descriptorSets[0])"
            ]
        );
        assert_eq!(
            serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(),
            plan
        );
    }

    #[test]
    fn what_is_not_said_is_what_most_clients_do() {
        let plan = checked(|_| {}).unwrap();
        assert_eq!((plan.grpc, plan.protos), (Grpc::default(), None));
        let GrpcStep {
            metadata,
            stream,
            gzip,
            max_message_size,
            ..
        } = call(|_| {});
        assert_eq!(
            (metadata, stream, gzip, max_message_size),
            (vec![], None, false, 4 << 20)
        );
        assert_eq!(
            call(|grpc| grpc["maxMessageSize"] = json!(9)).max_message_size,
            9
        );
        let stream = call(|grpc| grpc["stream"] = json!({"messages": 3}))
            .stream
            .unwrap();
        assert_eq!(
            stream,
            GrpcStream {
                messages: Messages::Times(3),
                interval: std::time::Duration::ZERO,
                half_close: true,
                send_after: SendAfter::Message,
            }
        );
    }

    #[test]
    fn a_call_is_named_after_its_method() {
        assert_eq!(
            stepped(|_| {}).unwrap().name,
            "categorization.TextCategorization/GetPrediction"
        );
        let step = stepped(|step| step["grpc"] = json!({"health": {"service": "a.B"}})).unwrap();
        assert_eq!(step.name, "grpc.health.v1.Health/Check");
        assert!(step.checks.is_empty(), "the engine itself asks for SERVING");
    }

    #[test]
    fn what_only_asks_for_health_has_nothing_to_be_judged_by() {
        let refused =
            |change: &dyn Fn(&mut Value)| checked(|spec| change(spec)).expect_err("was accepted");
        let steps = |steps: Value| {
            move |spec: &mut Value| spec["scenarios"][0]["tasks"][0]["steps"] = steps.clone()
        };
        let only = refused(&steps(json!([{"grpc": {"health": {}}}])));
        assert!(
            only[0].starts_with("spec.scenarios: a health check that passes is no request"),
            "{only:?}"
        );
        let both = json!([{"name": "ask", "grpc": {"health": {}}}, {"name": "call", "grpc": {"method": "a.B/C"}}]);
        let narrow = |step: &str| json!([{"metric": "failures", "expr": "rate < 1%", "select": {"step": step}}]);
        let found = refused(&|spec: &mut Value| {
            steps(both.clone())(spec);
            spec["thresholds"] = narrow("ask");
        });
        assert!(
            found[0].starts_with("spec.thresholds[0].select: no measured request"),
            "{found:?}"
        );
        let found = refused(&steps(
            json!([{"grpc": {"health": {}}, "goodput": {"latency": "1s"}}, {"grpc": {"method": "a.B/C"}}]),
        ));
        assert!(
            found[0].starts_with(
                "spec.scenarios[0].tasks[0].steps[0].goodput: a health check is no request"
            ),
            "{found:?}"
        );
        let plan = checked(|spec| {
            steps(both.clone())(spec);
            spec["thresholds"] = narrow("call");
        });
        assert_eq!(
            plan.unwrap()
                .steps()
                .map(|place| place.is_health_check())
                .collect::<Vec<_>>(),
            [true, false]
        );
        let by_name = checked(steps(
            json!([{"grpc": {"method": "grpc.health.v1.Health/Check"}}]),
        ))
        .unwrap();
        assert!(
            !by_name.steps().any(|place| place.is_health_check()),
            "a call like any other is what its author asked for"
        );
    }

    #[test]
    fn a_health_step_with_checks_still_asks_for_serving() {
        let step = stepped(|step| {
            *step = json!({"grpc": {"health": {}}, "checks": [{"latency": {"below": "1s"}}]});
        });
        let shown: Vec<String> = step
            .unwrap()
            .checks
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            shown,
            ["latency below 1s", "jsonPath $.status equals \"SERVING\""]
        );
    }
}
