//! A result as JUnit XML, which CI servers show: one `testsuite` for the run, with a `testcase` for
//! its verdict, for each threshold, and for the checks of each step.
//!
//! The form is the one that Jenkins' strict schema and GitLab both read: names are unique, times
//! have no exponent, and what went wrong is in the body of `failure` as well as in its message.

use std::collections::BTreeMap;
use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::names::{selection, step_label};
use super::text::clean;
use crate::stats::format;
use crate::stats::result::{RunResult, StepResult, ThresholdResult, ThresholdVerdict, Verdict};

/// Outcome of a case, with the words for those that did not pass.
enum Outcome {
    Passed,
    Failed { kind: String, why: String },
    Errored { kind: String, why: String },
    Skipped { why: String },
}

/// One line of the list that a CI server shows.
struct Case {
    class: String,
    name: String,
    outcome: Outcome,
}

/// Writes the suites of several runs as one document.
///
/// # Errors
///
/// None but those of writing to memory, which do not happen.
pub fn render(results: &[RunResult]) -> io::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    writer
        .create_element("testsuites")
        .write_inner_content(|writer| results.iter().try_for_each(|run| suite(writer, run)))?;
    let mut text = String::from_utf8(writer.into_inner()).map_err(io::Error::other)?;
    text.push('\n');
    Ok(text)
}

fn suite(writer: &mut Writer<Vec<u8>>, result: &RunResult) -> io::Result<()> {
    let cases = unique(cases(result));
    let count = |is: fn(&Outcome) -> bool| {
        let counted = cases.iter().filter(|case| is(&case.outcome));
        counted.count().to_string()
    };
    let tests = cases.len().to_string();
    let failures = count(|outcome| matches!(outcome, Outcome::Failed { .. }));
    let errors = count(|outcome| matches!(outcome, Outcome::Errored { .. }));
    let skipped = count(|outcome| matches!(outcome, Outcome::Skipped { .. }));
    let time = seconds(result.duration_micros);
    let name = clean(&result.name);
    let timestamp = timestamp(result);
    writer
        .create_element("testsuite")
        .with_attribute(("name", name.as_str()))
        .with_attribute(("tests", tests.as_str()))
        .with_attribute(("failures", failures.as_str()))
        .with_attribute(("errors", errors.as_str()))
        .with_attribute(("skipped", skipped.as_str()))
        .with_attribute(("time", time.as_str()))
        .with_attribute(("timestamp", timestamp.as_str()))
        .write_inner_content(|writer| {
            cases
                .iter()
                .try_for_each(|case| write_case(writer, case, &time))
        })?;
    Ok(())
}

fn write_case(writer: &mut Writer<Vec<u8>>, case: &Case, time: &str) -> io::Result<()> {
    let element = writer
        .create_element("testcase")
        .with_attribute(("classname", case.class.as_str()))
        .with_attribute(("name", case.name.as_str()))
        .with_attribute(("time", time));
    let (tag, kind, why) = match &case.outcome {
        Outcome::Passed => {
            element.write_empty()?;
            return Ok(());
        }
        Outcome::Failed { kind, why } => ("failure", Some(kind), why),
        Outcome::Errored { kind, why } => ("error", Some(kind), why),
        Outcome::Skipped { why } => ("skipped", None, why),
    };
    element.write_inner_content(|writer| {
        let mut inner = writer
            .create_element(tag)
            .with_attribute(("message", why.as_str()));
        if let Some(kind) = kind {
            inner = inner.with_attribute(("type", kind.as_str()));
        }
        match kind {
            Some(_) => inner.write_text_content(BytesText::new(why))?,
            None => inner.write_empty()?,
        };
        Ok(())
    })?;
    Ok(())
}

/// Lists the cases of a run: its verdict, its thresholds and the checks of its steps.
fn cases(result: &RunResult) -> Vec<Case> {
    let class = |kind: &str| format!("{}.{kind}", clean(&result.name));
    let verdict = Case {
        class: class("verdict"),
        name: "verdict".to_owned(),
        outcome: of_verdict(result),
    };
    let is_judged = matches!(result.verdict, Verdict::Passed | Verdict::Failed);
    let thresholds = result.thresholds.iter().map(|threshold| Case {
        class: class("thresholds"),
        name: threshold_name(threshold),
        outcome: of_threshold(threshold, is_judged),
    });
    let steps = result.steps.iter();
    let checks = steps
        .filter(|step| step.checks_passed + step.checks_failed > 0)
        .map(|step| Case {
            class: class("checks"),
            name: clean(&step_label(step)),
            outcome: of_checks(step),
        });
    std::iter::once(verdict)
        .chain(thresholds)
        .chain(checks)
        .collect()
}

fn of_verdict(result: &RunResult) -> Outcome {
    let (kind, why) = (result.reason.to_string(), clean(&result.message));
    match result.verdict {
        Verdict::Passed => Outcome::Passed,
        Verdict::Failed => Outcome::Failed { kind, why },
        Verdict::Errored => Outcome::Errored { kind, why },
        Verdict::Aborted => Outcome::Skipped { why },
    }
}

fn threshold_name(threshold: &ThresholdResult) -> String {
    let mut name = format!("{} {}", threshold.metric, threshold.expr);
    if let Some(selected) = selection(&threshold.select) {
        name.push_str(&format!(" of {selected}"));
    }
    if let Some(window) = threshold.window_micros {
        name.push_str(&format!(" over {}", format::micros(window as f64)));
    }
    clean(&name)
}

/// Outcome of a threshold. In a run that was not judged none of them is.
fn of_threshold(threshold: &ThresholdResult, is_judged: bool) -> Outcome {
    let observed = clean(&threshold.observed_text);
    match threshold.verdict {
        _ if !is_judged => Outcome::Skipped {
            why: format!("the run was not judged; observed {observed}"),
        },
        ThresholdVerdict::Passed => Outcome::Passed,
        ThresholdVerdict::Failed => Outcome::Failed {
            kind: "threshold".to_owned(),
            why: format!("observed {observed}"),
        },
        ThresholdVerdict::NotJudged => Outcome::Skipped {
            why: "there was nothing to judge, or too little".to_owned(),
        },
    }
}

fn of_checks(step: &StepResult) -> Outcome {
    let all = step.checks_passed + step.checks_failed;
    match step.checks_failed {
        0 => Outcome::Passed,
        failed => Outcome::Failed {
            kind: "check".to_owned(),
            why: format!(
                "{} of {} checks failed",
                format::count(failed),
                format::count(all)
            ),
        },
    }
}

/// Numbers cases of the same class and name, since a CI server takes two of them for one.
fn unique(cases: Vec<Case>) -> Vec<Case> {
    let mut seen: BTreeMap<(String, String), u32> = BTreeMap::new();
    let number = |case: Case| {
        let key = (case.class.clone(), case.name.clone());
        let times = seen.entry(key).or_default();
        *times += 1;
        let name = match *times {
            1 => case.name,
            times => format!("{} ({times})", case.name),
        };
        Case { name, ..case }
    };
    cases.into_iter().map(number).collect()
}

fn seconds(micros: u64) -> String {
    format!("{:.3}", micros as f64 / 1e6)
}

/// Begin of the load, or else the end of the run, without fraction and zone, as the schema has it.
fn timestamp(result: &RunResult) -> String {
    let at = result.started_at.as_ref().unwrap_or(&result.finished_at);
    at.chars().take("2026-01-01T00:00:00".len()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::result;
    use super::*;

    #[test]
    fn a_run_is_a_suite_of_its_verdict_its_thresholds_and_its_checks() {
        let mut failed = result();
        failed.steps[0].checks_passed = 7;
        failed.steps[0].checks_failed = 3;
        let again = failed.thresholds[1].clone();
        failed.thresholds.push(again);
        let text = render(&[failed]).unwrap();
        for part in [
            r#"<?xml version="1.0" encoding="UTF-8"?>"#,
            r#"<testsuite name="categorizer" tests="5" failures="3" errors="0" skipped="0" time="10.000" timestamp="2026-01-01T00:00:00">"#,
            r#"<testcase classname="categorizer.verdict" name="verdict" time="10.000">"#,
            r#"type="ThresholdsBreached""#,
            r#"name="latency p(95) &lt; 10ms of step=POST /predict""#,
            r#"<failure message="observed 14.2ms" type="threshold">observed 14.2ms</failure>"#,
            r#"name="failures rate &lt; 1%""#,
            r#"name="failures rate &lt; 1% (2)""#,
            "3 of 10 checks failed",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn what_a_target_or_an_author_wrote_cannot_leave_its_place() {
        let mut hostile = result();
        hostile.name = "a\" b=\"<x>&\u{0}\u{1b}[31m".to_owned();
        hostile.message = "</failure></testcase>]]>\u{202e}".to_owned();
        let text = render(&[hostile]).unwrap();
        assert!(
            !text.contains("<x>") && !text.contains("</failure></testcase>]]>"),
            "{text}"
        );
        assert!(!text.contains(['\u{0}', '\u{1b}', '\u{202e}']), "{text}");
        let mut reader = quick_xml::Reader::from_str(&text);
        let mut names = Vec::new();
        loop {
            match reader.read_event().expect("well-formed XML") {
                Event::Eof => break,
                Event::Start(element) | Event::Empty(element) => {
                    names.push(element.name().as_ref().to_owned());
                }
                _ => {}
            }
        }
        assert_eq!(&names[..3], ["testsuites", "testsuite", "testcase"]);
    }

    #[test]
    fn a_run_that_was_not_judged_skips_its_thresholds() {
        let mut aborted = result();
        aborted.verdict = Verdict::Aborted;
        let text = render(&[aborted]).unwrap();
        assert!(
            text.contains(r#"failures="0" errors="0" skipped="3""#),
            "{text}"
        );
        let mut errored = result();
        errored.verdict = Verdict::Errored;
        let text = render(&[errored]).unwrap();
        assert!(
            text.contains(r#"failures="0" errors="1" skipped="2""#),
            "{text}"
        );
    }
}
