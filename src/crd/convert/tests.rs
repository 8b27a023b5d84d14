//! Conversion of whole specs: what is taken over, what is refused, and with which words.

use serde_json::{Value, json};

use super::*;

fn spec(change: impl FnOnce(&mut Value)) -> Result<Checked, Vec<Problem>> {
    let mut value = json!({
        "target": {"url": "http://t:8000/base"},
        "variables": {"name": "x"},
        "scenarios": [{"name": "s", "tasks": [{"name": "t", "steps": [{"http": {"path": "/a"}}]}]}],
        "load": {"closed": {"users": 10, "duration": "1m"}},
        "thresholds": [{"metric": "failures", "expr": "rate < 1%"}],
    });
    change(&mut value);
    check(&serde_json::from_value(value).unwrap())
}

fn refused_at(change: impl FnOnce(&mut Value)) -> Vec<String> {
    spec(change)
        .expect_err("was accepted")
        .into_iter()
        .map(|problem| problem.path)
        .collect()
}

#[test]
fn every_mistake_has_its_field_path() {
    assert_eq!(
        refused_at(|s| s["target"]["url"] = json!("ftp://t")),
        ["spec.target.url"]
    );
    assert_eq!(
        refused_at(|s| s["target"]["url"] = json!("http://user:pw@t")),
        ["spec.target.url"]
    );
    assert_eq!(
        refused_at(|s| s["target"]["url"] = json!("http://")),
        ["spec.target.url"]
    );
    assert_eq!(
        refused_at(|s| s["load"]["open"] = json!({"rate": 1, "duration": "1s", "maxInFlight": 1})),
        ["spec.load"]
    );
    assert_eq!(
        refused_at(|s| s["load"]["closed"]["users"] = json!(0)),
        ["spec.load.closed.users", "spec.load"]
    );
    assert_eq!(
        refused_at(|s| s["thresholds"][0] = json!({"metric": "latency", "expr": "p(101) < 1s"})),
        ["spec.thresholds[0].expr"]
    );
    assert_eq!(
        refused_at(|s| s["thresholds"][0]["select"] = json!({"step": "nothing"})),
        ["spec.thresholds[0].select"]
    );
    assert_eq!(
        refused_at(|s| s["target"]["headers"] = json!({"X-A": "{{ nobody }}"})),
        ["spec.target.headers.X-A"]
    );
    assert_eq!(
        refused_at(|s| s["run"]["deadline"] = json!("10s")),
        ["spec.run.deadline"]
    );
    assert_eq!(
        refused_at(|s| s["http"] = json!({"timeout": "0s"})),
        ["spec.http.timeout"]
    );
    assert_eq!(
        refused_at(|s| s["samples"] = json!({"rate": "0%"})),
        ["spec.samples.rate"]
    );
    assert_eq!(
        refused_at(|s| s["samples"] = json!({"rate": "0.1"})),
        ["spec.samples.rate"]
    );
}

#[test]
fn a_column_that_no_row_has_is_found_in_templates_and_expressions() {
    let feeding = |change: fn(&mut Value)| {
        refused_at(|s| {
            s["feeders"] =
                json!([{"name": "texts", "inline": [{"text": "a", "n": 1}, {"text": "b"}]}]);
            change(&mut s["scenarios"][0]["tasks"][0]["steps"][0]);
        })
    };
    let step = "spec.scenarios[0].tasks[0].steps[0]";
    assert_eq!(
        feeding(|step| step["http"]["path"] = json!("/{{ texts.txet }}")),
        [format!("{step}.http.path")]
    );
    assert_eq!(
        feeding(|step| step["if"] = json!("feeders.texts.txet == 'a'")),
        [format!("{step}.if")]
    );
    assert_eq!(
        feeding(|step| step["checks"] = json!([{"cel": "feeders.texts.txet == 'a'"}])),
        [format!("{step}.checks[0].cel")]
    );
    let fine = spec(|s| {
        s["feeders"] = json!([{"name": "texts", "inline": [{"text": "a", "n": 1}, {"text": "b"}]}]);
        s["scenarios"][0]["tasks"][0]["steps"][0]["if"] = json!("feeders.texts.n == 1");
    });
    assert!(fine.is_ok(), "one row has it: {fine:?}");
}

fn recording(s: &mut Value) {
    let record =
        json!([{"name": "inference", "unit": "ms", "from": {"header": "x-inference-time"}}]);
    s["scenarios"][0]["tasks"][0]["steps"][0]["record"] = record;
    s["thresholds"] = json!([{"record": "inference", "expr": "p(95) < 40ms", "window": "10s"}]);
}

#[test]
fn a_threshold_on_a_record_names_one_that_is_there() {
    let plan = spec(recording).unwrap().plan;
    let threshold = &plan.thresholds[0];
    assert_eq!(
        (
            threshold.name(),
            threshold.bound,
            threshold.span.window_seconds
        ),
        ("inference", 40_000.0, 10)
    );
    assert_eq!(
        serde_json::from_value::<Plan>(serde_json::to_value(&plan).unwrap()).unwrap(),
        plan
    );
    let refused = |change: fn(&mut Value)| {
        refused_at(|s| {
            recording(s);
            change(s);
        })
    };
    assert_eq!(
        refused(|s| s["thresholds"][0]["record"] = json!("latency")),
        ["spec.thresholds[0].record"]
    );
    assert_eq!(
        refused(|s| s["thresholds"][0]["expr"] = json!("p(95) < 40")),
        ["spec.thresholds[0].expr"]
    );
    assert_eq!(
        refused(|s| s["thresholds"][0]["select"] = json!({"step": "GET /a"})),
        ["spec.thresholds[0].select"]
    );
    assert_eq!(
        refused(|s| s["thresholds"][0]["metric"] = json!("latency")),
        ["spec.thresholds[0]"]
    );
    assert_eq!(
        refused(|s| s["thresholds"] = json!([{"metric": "record", "expr": "max < 1s"}])),
        ["spec.thresholds[0]"]
    );
    assert_eq!(
        refused(|s| s["thresholds"] = json!([{"expr": "max < 1s"}])),
        ["spec.thresholds[0]"]
    );
}

#[test]
fn what_is_in_no_result_records_nothing_and_a_name_has_one_unit() {
    let record = |unit: &str| json!({"http": {"path": "/b"}, "record": [{"name": "inference", "unit": unit, "from": {"header": "x"}}]});
    let outside = |section: &str| {
        refused_at(|s| {
            recording(s);
            s["scenarios"][0][section] =
                json!([{"pause": {"min": "1s", "max": "1s"}}, record("ms")]);
        })
    };
    assert_eq!(outside("onStart"), ["spec.scenarios[0].onStart[1].record"]);
    assert_eq!(outside("onStop"), ["spec.scenarios[0].onStop[1].record"]);
    let in_two_units = refused_at(|s| {
        recording(s);
        s["scenarios"][0]["tasks"][0]["steps"]
            .as_array_mut()
            .unwrap()
            .push(record("s"));
    });
    assert_eq!(in_two_units, ["spec.scenarios"]);
}

#[test]
fn a_steps_mistakes_are_found_deep_down() {
    let step = |change: fn(&mut Value)| {
        refused_at(|s| change(&mut s["scenarios"][0]["tasks"][0]["steps"][0]["http"]))
    };
    let prefix = "spec.scenarios[0].tasks[0].steps[0].http";
    assert_eq!(
        step(|http| http["path"] = json!("/{{ nobody }}")),
        [format!("{prefix}.path")]
    );
    assert_eq!(
        step(|http| http["path"] = json!("/a b")),
        [format!("{prefix}.path")]
    );
    assert_eq!(
        step(|http| http["json"] = json!({"a": "{{ launch() }}"})),
        [format!("{prefix}.json")]
    );
    assert_eq!(
        step(|http| http["json"] = json!({"a": u64::MAX})),
        [format!("{prefix}.json")]
    );
    assert_eq!(
        step(|http| {
            http["json"] = json!({});
            http["body"] = json!("x");
        }),
        [prefix]
    );
    assert_eq!(
        step(|http| http["headers"] = json!({"Content-Length": "1"})),
        [format!("{prefix}.headers.Content-Length")]
    );
}

#[test]
fn mistakes_of_variables_are_found_where_they_are() {
    assert_eq!(
        refused_at(|s| s["variables"]["a-b"] = json!(1)),
        ["spec.variables.a-b"]
    );
    assert_eq!(
        refused_at(|s| s["variables"]["user"] = json!(1)),
        ["spec.variables.user"]
    );
    assert_eq!(
        refused_at(|s| s["variables"]["x"] = json!("{{ x }}")),
        ["spec.variables.x"]
    );
    assert_eq!(
        refused_at(|s| s["variables"]["x"] = json!(u64::MAX)),
        ["spec.variables.x"]
    );
    let from = json!({"secretKeyRef": {"name": "s", "key": "k"}});
    assert_eq!(
        refused_at(|s| s["variablesFrom"] = json!({"name": from})),
        ["spec.variablesFrom.name"]
    );
    assert_eq!(
        refused_at(|s| s["variablesFrom"] = json!({"token": {}})),
        ["spec.variablesFrom.token"]
    );
    assert_eq!(
        refused_at(|s| s["templateDelimiters"] = json!({"open": "[[", "close": "[["})),
        ["spec.templateDelimiters"]
    );
}

#[test]
fn a_variable_from_a_secret_is_a_reference_of_the_plan() {
    let plan = spec(|s| {
        s["variablesFrom"] = json!({"token": {"secretKeyRef": {"name": "s", "key": "k"}}, "host": {"configMapKeyRef": {"name": "c", "key": "h"}}});
        s["variables"]["header"] = json!("Bearer {{ token }}");
        s["target"]["headers"] = json!({"X-A": "{{ header }}", "X-B": "{{ host }}"});
    });
    let plan = plan.unwrap().plan;
    let shown: Vec<String> = plan.references().iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "ConfigMap \"c\" key \"h\" (spec.variablesFrom.host)",
            "Secret \"s\" key \"k\" (spec.variablesFrom.token)"
        ]
    );
    assert_eq!(
        serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(),
        plan
    );
}

#[test]
fn with_other_delimiters_the_usual_ones_are_text() {
    let plan = spec(|s| {
        s["templateDelimiters"] = json!({"open": "[[", "close": "]]"});
        s["variables"]["other"] = json!("[[ name ]] {{ .Values.x }}");
        s["target"]["headers"] = json!({"X-N": "[[ name ]] {{ nobody }}"});
        s["scenarios"][0]["tasks"][0]["steps"][0]["http"] =
            json!({"path": "/[[ name ]]", "json": ["[[ other ]]", "{{ nobody }}"]});
    });
    let plan = plan.unwrap().plan;
    assert_eq!(
        serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(),
        plan
    );
    assert_eq!(
        refused_at(|s| {
            s["templateDelimiters"] = json!({"open": "[[", "close": "]]"});
            s["target"]["headers"] = json!({"X-N": "[[ nobody ]]"});
        }),
        ["spec.target.headers.X-N"]
    );
}

#[test]
fn a_flow_that_cannot_go_is_refused() {
    let scenario = |change: fn(&mut Value)| refused_at(|s| change(&mut s["scenarios"][0]));
    let prefix = "spec.scenarios[0]";
    assert_eq!(
        scenario(|s| s["tasks"][0]["steps"][0] = json!({"call": "nobody"})),
        [format!("{prefix}.blocks")]
    );
    assert_eq!(
        scenario(|s| s["blocks"] = json!([{"name": "a", "steps": [{"call": "a"}]}])),
        [format!("{prefix}.blocks[0]")]
    );
    assert_eq!(
        scenario(|s| s["blocks"] = json!([{"name": "t", "steps": [{"http": {"path": "/"}}]}])),
        [format!("{prefix}.blocks[0].name")]
    );
    let step = |change: fn(&mut Value)| {
        refused_at(|s| change(&mut s["scenarios"][0]["tasks"][0]["steps"][0]))
    };
    let prefix = "spec.scenarios[0].tasks[0].steps[0]";
    assert_eq!(
        step(|step| step["pause"] = json!({"constant": "1s"})),
        [prefix]
    );
    assert_eq!(
        step(|step| step["repeat"] = json!({"until": "true"})),
        [format!("{prefix}.repeat")]
    );
    assert_eq!(
        step(|step| step["if"] = json!("vars.nobody == 1")),
        [format!("{prefix}.if")]
    );
    assert_eq!(
        step(|step| step["checks"] = json!([{"jsonPath": "no path"}])),
        [format!("{prefix}.checks[0].jsonPath")]
    );
    assert_eq!(
        step(|step| *step = json!({"pause": {"constant": "1s"}, "name": "x"})),
        [format!("{prefix}.name")]
    );
    assert_eq!(
        step(|step| {
            step["repeat"] = json!({"count": 2});
            step["forEach"] = json!({"in": [1], "as": "x"});
        }),
        [prefix]
    );
}

#[test]
fn a_step_knows_only_what_came_before_it() {
    let steps = |first: &str, second: &str| {
        let step = |path: &str| json!({"name": path, "http": {"path": path}, "extract": {"id": {"body": true}}});
        spec(|s| s["scenarios"][0]["tasks"][0]["steps"] = json!([step(first), step(second)]))
    };
    assert!(steps("/a", "/{{ id }}").is_ok());
    let problems = steps("/{{ id }}", "/b").unwrap_err();
    assert_eq!(
        problems[0].path,
        "spec.scenarios[0].tasks[0].steps[0].http.path"
    );
}

#[test]
fn in_open_load_nobody_stops() {
    let paths = refused_at(|s| {
        s["load"] = json!({"open": {"rate": 1, "duration": "1s", "maxInFlight": 1}});
        s["scenarios"][0]["onStop"] = json!([{"http": {"path": "/bye"}}]);
    });
    assert_eq!(paths, ["spec.scenarios[0].onStop"]);
}

#[test]
fn a_spec_of_a_megabyte_is_refused_without_a_second_look() {
    let problems = spec(|s| s["variables"]["name"] = json!("x".repeat(1024 * 1024))).unwrap_err();
    assert!(
        problems[0].message.starts_with("SpecTooLarge"),
        "{problems:?}"
    );
}

#[test]
fn think_time_has_no_meaning_in_open_load() {
    let paths = refused_at(|s| {
        s["load"] = json!({"open": {"rate": 1, "duration": "1s", "maxInFlight": 1}});
        s["scenarios"][0]["thinkTime"] = json!({"min": "1s", "max": "1s"});
    });
    assert_eq!(paths, ["spec.scenarios[0].thinkTime"]);
}

#[test]
fn a_rate_per_minute_is_a_rate_per_second() {
    let checked = spec(|s| {
        s["load"] = json!({"open": {"rate": 120, "per": "1m", "duration": "10s", "maxInFlight": 5}})
    })
    .unwrap();
    assert_eq!(checked.plan.arrivals_until(Duration::MAX), Some(20));
}

#[test]
fn a_throttle_would_hide_what_open_load_asks_for() {
    let open =
        json!({"open": {"rate": 1, "duration": "1s", "maxInFlight": 1}, "throttle": {"rps": 5}});
    assert_eq!(refused_at(|s| s["load"] = open), ["spec.load.throttle"]);
}

#[test]
fn either_the_test_has_a_load_or_each_of_its_scenarios() {
    let own = json!({"closed": {"users": 1, "duration": "1s"}});
    assert_eq!(
        refused_at(|s| s["scenarios"][0]["load"] = own.clone()),
        ["spec.load"]
    );
    let two = |s: &mut Value| {
        s.as_object_mut().unwrap().remove("load");
        s["scenarios"][0]["load"] = own.clone();
        let second = json!({"name": "second", "tasks": s["scenarios"][0]["tasks"].clone()});
        s["scenarios"].as_array_mut().unwrap().push(second);
    };
    assert_eq!(refused_at(two), ["spec.scenarios[1].load"]);
    let checked = spec(|s| {
        two(s);
        s["scenarios"][1]["load"] =
            json!({"startAfter": "10s", "open": {"rate": 50, "duration": "5s", "maxInFlight": 1}});
        s["warmup"] = json!({"duration": "3s"});
    });
    let plan = checked.unwrap().plan;
    assert_eq!(
        (plan.whole_length(), plan.arrivals_until(Duration::MAX)),
        (Some(Duration::from_secs(18)), None)
    );
    assert_eq!(
        plan.populations
            .iter()
            .map(|p| p.warmup_target)
            .collect::<Vec<_>>(),
        [1.0, 5.0]
    );
    assert_eq!(
        refused_at(|s| {
            s.as_object_mut().unwrap().remove("load");
        }),
        ["spec.load"]
    );
}

#[test]
fn a_run_whose_length_nobody_knows_has_two_hours() {
    let iterations = |more: Value| {
        spec(|s| {
            s["load"] = json!({"iterations": {"count": 5, "users": 2}});
            s["load"]["iterations"]
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
        })
        .unwrap()
    };
    let hours = |hours: u64| Duration::from_secs(3600 * hours);
    assert_eq!(iterations(json!({})).deadline, hours(2));
    assert_eq!(iterations(json!({"maxDuration": "10m"})).deadline, hours(2));
    assert_eq!(
        iterations(json!({"maxDuration": "3h"})).deadline,
        hours(3) + Duration::from_secs(630)
    );
    assert_eq!(iterations(json!({})).plan.iterations(), Some(5));
}

#[test]
fn users_without_anything_to_play_are_found() {
    assert_eq!(
        refused_at(|s| s["scenarios"][0]["fixedUsers"] = json!(9)),
        ["spec.load"]
    );
    assert_eq!(
        refused_at(|s| s["scenarios"][0]["fixedUsers"] = json!(11)),
        ["spec.load"]
    );
    assert!(spec(|s| s["scenarios"][0]["fixedUsers"] = json!(10)).is_ok());
    let paths = refused_at(|s| {
        s["scenarios"][0]["fixedUsers"] = json!(1);
        s["load"] = json!({"open": {"rate": 1, "duration": "1s", "maxInFlight": 1}});
    });
    assert_eq!(paths, ["spec.scenarios[0].fixedUsers"]);
}

#[test]
fn pacing_and_think_time_exclude_each_other() {
    let both = |s: &mut Value| {
        s["scenarios"][0]["pacing"] = json!("1s");
        s["scenarios"][0]["thinkTime"] = json!({"constant": "1s"});
    };
    assert_eq!(refused_at(both), ["spec.scenarios[0].pacing"]);
    assert_eq!(
        refused_at(|s| s["scenarios"][0]["thinkTime"] = json!({"min": "1s", "constant": "1s"})),
        ["spec.scenarios[0].thinkTime"]
    );
}

#[test]
fn a_step_without_a_name_is_called_by_what_it_does() {
    let checked = spec(|_| {}).unwrap();
    assert_eq!(checked.plan.steps().next().unwrap().step.name, "GET /a");
}

#[test]
fn a_latency_threshold_alone_is_warned_of() {
    let checked =
        spec(|s| s["thresholds"] = json!([{"metric": "latency", "expr": "p(95) < 1s"}])).unwrap();
    assert_eq!(checked.warnings.len(), 1);
}

#[test]
fn a_plan_survives_its_own_json() {
    let plan = spec(|s| s["target"]["headers"] = json!({"X-N": "{{ name }}"}))
        .unwrap()
        .plan;
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
}

#[test]
fn times_longer_than_an_installation_can_stand_are_shortened_with_a_remark() {
    let long = spec(|s| {
        s["workers"] = json!({"grace": "10m1s"});
        s["run"] = json!({"deadline": "721h", "stopTimeout": "2h"});
    })
    .unwrap();
    let minutes = |duration: Duration| duration.as_secs() / 60;
    assert_eq!(
        [long.grace, long.deadline, long.plan.stop_timeout].map(minutes),
        [10, 30 * 24 * 60, 60]
    );
    let shortened = |path: &str| long.warnings.iter().any(|remark| remark.starts_with(path));
    for path in [
        "spec.workers.grace: ",
        "spec.run.deadline: ",
        "spec.run.stopTimeout: ",
    ] {
        assert!(shortened(path), "{path}: {:?}", long.warnings);
    }
    let most = spec(|s| {
        s["workers"] = json!({"grace": "10m"});
        s["run"] = json!({"deadline": "720h", "stopTimeout": "1h"});
    })
    .unwrap();
    assert_eq!(most.warnings, [""; 0]);
}

#[test]
fn a_cluster_refuses_what_only_a_local_run_can_follow() {
    let rows = json!([{"name": "rows", "csv": {"file": "../rows.csv"}}]);
    let checked = spec(|s| s["feeders"] = rows).unwrap();
    let refused = checked.for_cluster().unwrap_err();
    assert_eq!(refused[0].path, "spec.feeders[0].csv.file");
    assert!(spec(|_| {}).unwrap().for_cluster().is_ok());
}

#[test]
fn rates_may_be_fractions_and_users_may_not() {
    let rate = json!({"open": {"rate": 0.5, "duration": "1.5h", "maxInFlight": 1}});
    let plan = spec(|s| s["load"] = rate).unwrap().plan;
    let population = &plan.populations[0];
    assert_eq!(population.load.max_level(), 0.5);
    assert_eq!(
        population.warmup_target, 0.5,
        "it is no more than the load itself"
    );
    let stages = || json!([{"duration": "1m", "target": 2.5}]);
    let open = json!({"open": {"stages": stages(), "maxInFlight": 1}});
    assert!(spec(|s| s["load"] = open).is_ok());
    assert_eq!(
        refused_at(|s| s["load"] = json!({"closed": {"stages": stages()}})),
        ["spec.load.closed.stages[0].target"]
    );
    let zero = json!({"open": {"rate": 0.0, "duration": "1m", "maxInFlight": 1}});
    assert_eq!(refused_at(|s| s["load"] = zero)[0], "spec.load.open.rate");
}

#[test]
fn a_whole_rate_has_the_digest_of_its_integer() {
    let digest_of = |rate: Value| {
        let spec = json!({
            "target": {"url": "http://t"}, "scenarios": [],
            "load": {"open": {"rate": rate, "duration": "1m", "maxInFlight": 1}},
        });
        crate::crd::digest(&serde_json::from_value(spec).unwrap())
    };
    assert_eq!(digest_of(json!(800.0)), digest_of(json!(800)));
    assert_ne!(digest_of(json!(800.5)), digest_of(json!(800)));
}

/// A spec whose only step is repeated and keeps values.
fn repeated(change: impl FnOnce(&mut Value)) -> Result<Checked, Vec<Problem>> {
    spec(|s| {
        let steps = &mut s["scenarios"][0]["tasks"][0]["steps"];
        *steps = json!([
            {
                "name": "turn",
                "repeat": {"count": 3, "separate": true},
                "http": {"path": "/{{ length(append(all, name)) }}"},
                "extract": {"one": {"body": true}, "all": {"value": "{{ append(all, one) }}"}},
            },
            {"name": "after", "http": {"path": "/{{ length(all) }}"}},
        ]);
        change(steps);
    })
}

#[test]
fn times_that_are_told_apart_are_steps_of_their_own() {
    let names = |checked: &Checked| -> Vec<String> {
        let steps = checked.plan.steps();
        steps.map(|place| place.step.name.clone()).collect()
    };
    let checked = repeated(|_| {}).unwrap();
    assert_eq!(names(&checked), ["turn 1", "turn 2", "turn 3", "after"]);
    let paused = repeated(|steps| steps[0]["repeat"]["every"] = json!("1s")).unwrap();
    assert_eq!(paused.plan.scenarios[0].tasks[0].steps.len(), 6);
    let written = serde_json::to_string(&paused.plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&written).unwrap(), paused.plan);
    let mut places = Vec::new();
    symbols::each_step(&paused.plan, Names::default(), |_, path, _| {
        places.push(path.to_owned());
    });
    let task = "spec.scenarios[0].tasks[0].steps";
    let written = [0, 0, 0, 0, 0, 1].map(|place| format!("{task}[{place}]"));
    assert_eq!(places, written, "as the author has them");
    let selected = spec(|s| {
        s["scenarios"][0]["tasks"][0]["steps"][0]["name"] = json!("x");
        s["scenarios"][0]["tasks"][0]["steps"][0]["repeat"] = json!({"count": 2, "separate": true});
        s["thresholds"][0]["select"] = json!({"step": "x 2"});
    });
    assert!(selected.is_ok(), "{selected:?}");
}

#[test]
fn mistakes_of_times_that_are_told_apart_have_their_field_paths() {
    let at = |change: fn(&mut Value)| -> Vec<String> {
        let problems = repeated(change).expect_err("was accepted");
        problems
            .into_iter()
            .map(|problem| problem.to_string())
            .collect()
    };
    let path = "spec.scenarios[0].tasks[0].steps";
    let too_many = format!("{path}[0].repeat.separate: goes with a count of at most 64 only");
    assert_eq!(
        at(|steps| steps[0]["repeat"]["count"] = json!(65)),
        std::slice::from_ref(&too_many)
    );
    let until = |steps: &mut Value| {
        steps[0]["repeat"] = json!({"until": "true", "max": 2, "separate": true});
    };
    assert_eq!(at(until), [too_many]);
    assert_eq!(
        at(|steps| steps[1] =
            json!({"pause": {"constant": "1s"}, "repeat": {"count": 2, "separate": true}}))[0],
        format!(
            "{path}[1].repeat.separate: goes with a request only; write the steps of a block here"
        )
    );
    assert_eq!(
        at(|steps| steps[1]["name"] = json!("turn 2")),
        [format!("{path}[1].name: \"turn 2\" is there twice")]
    );
}

#[test]
fn a_duration_that_cannot_be_read_is_one_mistake() {
    assert_eq!(
        refused_at(|s| s["load"]["closed"]["duration"] = json!("PT1M")),
        ["spec.load.closed.duration"]
    );
    assert_eq!(
        refused_at(|s| s["load"]["closed"]["duration"] = json!("0s")),
        ["spec.load"]
    );
}

#[test]
fn values_that_are_made_after_an_answer_name_what_is_known_then() {
    let refused = |value: &str| {
        let problems = repeated(|steps| steps[0]["extract"]["all"]["value"] = json!(value));
        let problems = problems.expect_err("was accepted");
        assert_eq!(
            problems[0].path,
            "spec.scenarios[0].tasks[0].steps[0].extract.all.value"
        );
    };
    refused("{{ nobody }}");
    refused("{{ append(all) }}");
    // a step that is carried out once does not know what it will extract
    let once = repeated(|steps| steps[0]["repeat"] = json!(null)).expect_err("was accepted");
    assert_eq!(
        once[0].path,
        "spec.scenarios[0].tasks[0].steps[0].http.path"
    );
    // made last, whatever they are called
    let checked = repeated(|steps| steps[0]["extract"]["a"] = json!({"value": [1]})).unwrap();
    let step = checked.plan.steps().next().unwrap().step.clone();
    let order: Vec<&str> = step.extract.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(order, ["one", "a", "all"]);
}
