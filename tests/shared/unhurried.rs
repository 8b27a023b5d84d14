//! A LoadTest asked for sound answers only: how fast and how punctual a machine full of tests is
//! says nothing about the file, nor about us.

use serde_json::{Value, json};

/// No busy machine takes longer.
const PATIENT: &str = "30s";

/// What there is less of when the machine is slow.
const OUTPUT: [&str; 4] = ["achieved", "goodput", "goodputRatio", "outputTokens"];

/// Makes thresholds and checks of a LoadTest hold at any speed, and keeps their number, metrics and
/// selections.
pub fn unhurried(test: &mut Value) {
    let spec = &mut test["spec"];
    for threshold in spec
        .get_mut("thresholds")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let metric = threshold["metric"].as_str().unwrap_or_default();
        threshold["expr"] = patient(
            metric,
            threshold["expr"]
                .as_str()
                .expect("every threshold has an expression"),
        )
        .into();
    }
    patient_load(spec);
    let scenarios = spec.get_mut("scenarios").and_then(Value::as_array_mut);
    for scenario in scenarios.into_iter().flatten() {
        patient_load(scenario);
        patient_checks(scenario);
    }
    spec.get_mut("steps").into_iter().for_each(patient_checks);
}

/// `p(95) < 250ms` with half a minute, `rate >= 49` with nothing; all else as it is.
fn patient(metric: &str, expr: &str) -> String {
    let Some(place) = expr.find(['<', '>']) else {
        return expr.to_owned();
    };
    let (aggregate, bound) = expr.split_at(place);
    let unit = bound
        .trim_start_matches(['<', '>', '=', ' '])
        .trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    if bound.starts_with('<') && unit.ends_with(['s', 'm', 'h']) && !unit.starts_with('/') {
        format!("{aggregate}< {PATIENT}")
    } else if bound.starts_with('>') && OUTPUT.contains(&metric) {
        format!("{aggregate}>= 0{unit}")
    } else {
        expr.to_owned()
    }
}

fn patient_load(of: &mut Value) {
    if let Some(open) = of.pointer_mut("/load/open") {
        open["maxDropped"] = json!("100%");
    }
    if let Some(closed) = of.pointer_mut("/load/closed") {
        closed["maxMissing"] = json!("100%");
    }
    if let Some(capacity) = of
        .pointer_mut("/load/capacity")
        .and_then(Value::as_object_mut)
    {
        capacity.remove("atLeast");
    }
}

fn patient_checks(value: &mut Value) {
    if let Some(below) = value.pointer_mut("/latency/below") {
        *below = PATIENT.into();
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(patient_checks),
        Value::Object(fields) => fields.values_mut().for_each(patient_checks),
        _ => {}
    }
}
