//! `starling run`: LoadTests carried out on this machine, one after the other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use rand::RngExt;

use super::calls::check_with;
use super::documents::{Document, Documents, Finding};
use super::exit::Exit;
use super::in_process::{self, RunError};
use super::listen::{self, Fleet};
use super::objects::{KeyFile, Sources};
use super::one_liner;
use super::output::{self, note};
use super::overrides::{Overrides, Place, whole};
use super::progress::{Display, Kind};
use super::reports::Files;
use super::web::{self, Page};
use crate::crd::{self, Checked};
use crate::demo::{self, DemoService};
use crate::engine::{RequestLogSink, RequestLogWriter};
use crate::plan::{Inputs, Plan, Problem};
use crate::report::text::{self, Style};
use crate::runtime::logging;
use crate::runtime::signals::{END_WITHIN, Signals};
use crate::stats::RunResult;
use crate::stats::result::{Reason, Verdict};
use crate::wire::control::ProblemKind;
use crate::wire::layout::RunFile;
use crate::worker;

/// Run LoadTests from this machine, without a cluster
///
/// Values of Secrets and ConfigMaps to which a test refers come from --secret and --config-map, from
/// Secret and ConfigMap documents among the files, or from the environment, in this order. The
/// variables are STARLING_SECRET_<NAME>_<KEY> and STARLING_CONFIG_MAP_<NAME>_<KEY>, in upper case,
/// with _ for all that is neither letter nor digit.
///
/// Exit codes:
///   0         passed
///   99        a threshold was breached
///   2         a file or an argument is not valid
///   1         could not run, or the run errored or was stopped on its page
///   129, 130, 143  stopped by SIGHUP, SIGINT or SIGTERM; the report is still written, a second
///             signal leaves at once, and spec.run.stopTimeout + 15 s later the program ends
///             whatever it is doing
/// Of several tests the worst counts: 2, 1, a signal, 99, 0. A report that cannot be written to
/// standard output or to a file counts as 1; it then goes to standard error.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// YAML files with LoadTests; - is standard input. Or one URL, for a test of one request
    #[arg(required = true, value_name = "FILE|URL")]
    files: Vec<String>,
    #[command(flatten)]
    reports: Files,
    /// Write the requests that spec.samples chooses to this file, one JSON line each
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    /// Number of cores that generate the load [default: all]
    #[arg(long, value_name = "N", value_parser = whole(1024), allow_negative_numbers = true)]
    cores: Option<u32>,
    /// Read a key of a Secret from a file
    #[arg(long, value_name = "NAME/KEY=FILE")]
    secret: Vec<KeyFile>,
    /// Read a key of a ConfigMap from a file
    #[arg(long, value_name = "NAME/KEY=FILE")]
    config_map: Vec<KeyFile>,
    /// Start the demo service on a free port, and send the load to it
    #[arg(long, visible_alias = "sample-service", conflicts_with = "target")]
    demo_service: bool,
    #[command(flatten)]
    elsewhere: listen::Options,
    #[command(flatten)]
    web: web::Options,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    one_liner: one_liner::Request,
}

/// Name of the command line where a file would have one.
const COMMAND_LINE: &str = "command line";

/// A test with all that its run needs.
struct Prepared {
    file: RunFile,
    inputs: Inputs,
    /// Workers elsewhere that make the load; `None` for one in this process.
    fleet: Option<Fleet>,
}

/// Carries out all tests of the files; the worst outcome counts.
pub fn run(mut options: Options) -> Exit {
    logging::init_silent();
    let (documents, to_print) = match read(&mut options) {
        Ok(read) => read,
        Err(problem) => {
            note(&format!("error: {}", text::clean(&problem.to_string())));
            return Exit::Invalid;
        }
    };
    documents.print_findings();
    if !documents.findings.is_empty() {
        return Exit::Invalid;
    }
    if let Some(test) = to_print {
        return super::print(&test);
    }
    if options.elsewhere.is_wanted() && documents.tests.len() > 1 {
        note("error: with --listen, give one LoadTest: workers join one run");
        return Exit::Invalid;
    }
    if options.web.is_wanted() && documents.tests.len() > 1 {
        note("error: with --web, give one LoadTest: the page is that of one run");
        return Exit::Invalid;
    }
    super::block_on(run_all(options, documents))
        .map_err(anyhow::Error::from)
        .flatten()
        .unwrap_or_else(super::could_not_run)
}

/// Reads the files, or makes the test of a URL. Returns with it what is to be printed instead of a
/// run.
fn read(options: &mut Options) -> Result<(Documents, Option<String>), Problem> {
    let is_url = |argument: &String| one_liner::is_url(argument);
    if let [argument] = &options.files[..]
        && let Some(hint) = one_liner::hint(argument)
    {
        return Err(Problem::new(argument, hint));
    }
    match &options.files[..] {
        [url] if is_url(url) => {
            let yaml = options.one_liner.test(url, &mut options.overrides)?;
            let mut documents = Documents::default();
            documents.add(COMMAND_LINE, &yaml);
            let to_print = options.one_liner.is_to_be_printed().then_some(yaml);
            Ok((documents, to_print))
        }
        files if files.iter().any(is_url) => {
            let why = "give one URL, or files: a URL is a test of its own";
            Err(Problem::new("URL", why))
        }
        files => match options.one_liner.any() {
            Some(flag) => {
                let why = "goes with a URL; a file says it itself";
                Err(Problem::new(flag, why))
            }
            None => Ok((Documents::read(files), None)),
        },
    }
}

async fn run_all(mut options: Options, documents: Documents) -> anyhow::Result<Exit> {
    let signals = Signals::install().context("cannot listen for signals")?;
    options.reports.check()?;
    let demo = if options.demo_service {
        Some(start_demo(&mut options.overrides).await?)
    } else {
        None
    };
    let exit = match prepare_all(&options, &documents) {
        Ok(prepared) => carry_out_all(&options, prepared, &signals).await?,
        Err(findings) => {
            findings
                .iter()
                .for_each(|finding| note(&text::clean(&finding.to_string())));
            Exit::Invalid
        }
    };
    if let Some(demo) = demo {
        demo.shut_down().await;
    }
    Ok(exit)
}

/// Starts the demo service on a free port and makes it the target of all tests.
async fn start_demo(overrides: &mut Overrides) -> anyhow::Result<DemoService> {
    let listen = (std::net::Ipv4Addr::LOCALHOST, 0).into();
    let service = DemoService::start(demo::Options {
        listen,
        ..demo::Options::default()
    })
    .await?;
    overrides.target = vec![Place::All(format!("http://{}", service.address()))];
    Ok(service)
}

/// Prepares all tests, or returns the mistakes of all of them: nothing starts before every test is
/// valid.
fn prepare_all(options: &Options, documents: &Documents) -> Result<Vec<Prepared>, Vec<Finding>> {
    let sources = Sources {
        secrets: &options.secret,
        config_maps: &options.config_map,
        objects: &documents.objects,
        environment: &|name| std::env::var_os(name),
    };
    let mut prepared = Vec::new();
    let mut findings = Vec::new();
    for test in &documents.tests {
        match prepare(test, options, &sources) {
            Ok(one) => prepared.push(one),
            Err(problems) => findings.extend(
                problems
                    .into_iter()
                    .map(|problem| Finding::of(test, problem)),
            ),
        }
    }
    if findings.is_empty() {
        Ok(prepared)
    } else {
        Err(findings)
    }
}

fn prepare(
    test: &Document,
    options: &Options,
    sources: &Sources<'_>,
) -> Result<Prepared, Vec<Problem>> {
    let mut spec = test.spec.clone();
    let overrides = options.overrides.apply(&mut spec)?;
    let Checked {
        plan,
        warnings,
        grace,
        start_deadline,
        ..
    } = super::check_spec(&spec, &BTreeMap::new())?;
    let fleet = options.elsewhere.fleet(start_deadline);
    // workers elsewhere read their own files, and say what is wrong with them
    let inputs = match fleet {
        Some(_) => Inputs::default(),
        None => read_inputs(test, &plan, sources)?,
    };
    let file = RunFile {
        run: run_id(&test.name),
        name: test.name.clone(),
        namespace: test.namespace.clone().filter(|_| fleet.is_none()),
        digest: crd::digest(&spec),
        workers: fleet.as_ref().map_or(1, |fleet| fleet.workers),
        grace,
        on_loss: spec.workers.on_loss,
        overrides,
        warnings,
        plan,
    };
    Ok(Prepared {
        file,
        inputs,
        fleet,
    })
}

/// Reads the values and files of a test, and checks what only they show.
fn read_inputs(
    test: &Document,
    plan: &Plan,
    sources: &Sources<'_>,
) -> Result<Inputs, Vec<Problem>> {
    let mut inputs = sources.resolve(plan, test.namespace.as_deref())?;
    inputs.set_folder(test.place.folder());
    let problems = check_with(plan, &inputs);
    if problems.is_empty() {
        Ok(inputs)
    } else {
        Err(problems)
    }
}

/// Returns an id like those of a cluster's runs: the test's name and six random characters.
fn run_id(name: &str) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut random = rand::rng();
    let tail: String = (0..6)
        .map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())]))
        .collect();
    format!("{name}-{tail}")
}

async fn carry_out_all(
    options: &Options,
    prepared: Vec<Prepared>,
    signals: &Signals,
) -> anyhow::Result<Exit> {
    let cores = options
        .cores
        .map_or_else(worker::usable_cores, |cores| cores as usize);
    let log = open_request_log(options, &prepared)?;
    let mut page = options.web.open().await?;
    let mut results = Vec::new();
    let mut worst = Exit::Passed;
    let are_several = prepared.len() > 1;
    for test in prepared {
        let file = &test.file;
        if signals.drain().is_cancelled() {
            note(&format!("note: {} is not run", file.name));
            continue;
        }
        signals.end_within(file.plan.stop_timeout + END_WITHIN);
        let sink = log.as_ref().map(|log| log.sink(&file.run));
        let exit = match carry_out(test, cores, sink, page.take(), signals).await {
            Ok(result) => {
                let exit = exit_of(&result);
                results.push(result);
                exit.max(keep(&options.reports, are_several, &results))
            }
            Err(error) => {
                let exit = exit_of_error(&error);
                note(&format!("error: {error}"));
                exit
            }
        };
        worst = worst.max(exit);
    }
    if let Some(written) = log.map(RequestLogWriter::close) {
        let left_out = if written.left_out() > 0 {
            format!(", {} were left out", written.left_out())
        } else {
            String::new()
        };
        note(&format!(
            "note: {} requests were written down{left_out}",
            written.lines()
        ));
    }
    Ok(worst.max(signals.exit_code().map_or(Exit::Passed, Exit::of_signal)))
}

/// Opens the file of the request log; `None` if no request is to be logged.
fn open_request_log(
    options: &Options,
    prepared: &[Prepared],
) -> anyhow::Result<Option<RequestLogWriter>> {
    let is_wanted = prepared
        .iter()
        .any(|test| test.file.plan.request_log.is_some());
    match &options.samples {
        Some(path) if is_wanted => {
            let file = File::create(path)
                .with_context(|| format!("cannot write samples to {}", path.display()))?;
            RequestLogWriter::to(file)
                .map(Some)
                .context("cannot start a thread")
        }
        Some(_) => {
            note("note: no test has spec.samples, so none are written");
            Ok(None)
        }
        None if is_wanted && options.elsewhere.is_wanted() => {
            note("note: workers write the requests of spec.samples to their standard output");
            Ok(None)
        }
        None if is_wanted => {
            note("note: spec.samples has no effect here without --samples FILE");
            Ok(None)
        }
        None => Ok(None),
    }
}

async fn carry_out(
    test: Prepared,
    cores: usize,
    request_log: Option<RequestLogSink>,
    page: Option<Page>,
    signals: &Signals,
) -> Result<RunResult, RunError> {
    let Prepared {
        file,
        inputs,
        fleet,
    } = test;
    let stderr = std::io::stderr();
    let kind = if stderr.is_terminal() {
        Kind::Live
    } else {
        Kind::Plain
    };
    let mut display = Display::new(stderr, kind, &file.plan);
    let begun = Instant::now();
    let on_progress = |progress: &_| display.show(progress, begun.elapsed());
    let stop = signals.drain().clone();
    let outcome = match fleet {
        Some(fleet) => listen::carry_out(file, &fleet, page, on_progress, stop).await,
        None => {
            in_process::carry_out(file, inputs, cores, request_log, page, on_progress, stop).await
        }
    };
    display.finish();
    outcome
}

/// Shows the last result and writes all of them to their files, as far as either can be done.
fn keep(files: &Files, are_several: bool, results: &[RunResult]) -> Exit {
    let written = files.write(results, are_several);
    let shown = results.last().map_or(Exit::Passed, show);
    match written {
        Ok(()) => shown,
        Err(error) => {
            note(&format!("error: {error}"));
            Exit::Failed
        }
    }
}

/// Prints a result as a page for people, coloured on a terminal that wants it. A page that cannot
/// be written to standard output goes to standard error.
pub(super) fn show(result: &RunResult) -> Exit {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let style = if std::io::stdout().is_terminal() && !no_colour {
        Style::Coloured
    } else {
        Style::Plain
    };
    match output::write(&text::render(result, style)) {
        Ok(()) => Exit::Passed,
        Err(error) => {
            note(&text::render(result, Style::Plain));
            note(&format!("error: cannot write to standard output: {error}"));
            Exit::Failed
        }
    }
}

fn exit_of(result: &RunResult) -> Exit {
    match result.verdict {
        Verdict::Passed => Exit::Passed,
        Verdict::Failed => Exit::Breached,
        Verdict::Errored => Exit::Failed,
        // a signal is counted by its number
        Verdict::Aborted if result.reason == Reason::Interrupted => Exit::Passed,
        Verdict::Aborted => Exit::Failed,
    }
}

fn exit_of_error(error: &RunError) -> Exit {
    let is_of_the_file = |kind| {
        matches!(
            kind,
            ProblemKind::InvalidSpec | ProblemKind::MissingReference
        )
    };
    match error {
        RunError::NotReady(problems)
            if problems.iter().any(|problem| is_of_the_file(problem.kind)) =>
        {
            Exit::Invalid
        }
        RunError::NotReady(_) | RunError::TooFew(_) | RunError::Master(_) => Exit::Failed,
    }
}
