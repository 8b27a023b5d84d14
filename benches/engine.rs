//! CPU per request of the engine beside that of `wrk`: `cargo bench --bench engine`.
//!
//! GET of 20 bytes from a loopback server that does nothing else, 64 connections, one thread, closed load. Client and server are
//! processes of their own, each on one core. Both clients run in turn, three times, and the median of the three ratios counts: the
//! microseconds are those of this machine, the ratio travels better. CPU is user and system time of the client's process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use starling::engine::{Assignment, prepare};
use starling::plan::{HttpRequest, Inputs, Load, Plan, Population, Profile, Scenario, Share, Step, Target, Task, Template, Tls};
use starling::stats::Snapshot;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const CONNECTIONS: u32 = 64;
const SECONDS: u64 = 4;
const PAIRS: usize = 3;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20\r\n\r\ntwenty bytes of body";

/// Cores of client and server.
const CLIENT: usize = 0;
const SERVER: usize = 1;

/// One measurement of one client.
struct Figure {
    requests: u64,
    cpu_micros: u64,
}

impl Figure {
    fn per_request(&self) -> f64 {
        self.cpu_micros as f64 / self.requests as f64
    }

    fn line(&self, name: &str) -> String {
        let rate = self.requests / SECONDS;
        let busy = self.cpu_micros as f64 / (SECONDS * 10_000) as f64;
        format!("{name:<9} {:>6.2} us CPU a request, {rate:>7} requests/s, core {busy:>3.0}% busy", self.per_request())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--serve") {
        serve();
        return ExitCode::SUCCESS;
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nothing measured: this takes a quiet machine; run it by `cargo bench --bench engine`");
        return ExitCode::SUCCESS;
    }
    pin(CLIENT);
    let mut server = start_server();
    let mut url = String::new();
    BufReader::new(server.stdout.take().expect("stdout is a pipe")).read_line(&mut url).expect("the server tells its URL");
    let measured = compare(url.trim());
    let _ = server.kill(); // it may be gone already
    let _ = server.wait();
    if measured { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the figures; false when there was nothing to compare with.
fn compare(url: &str) -> bool {
    let mut ratios = Vec::new();
    for _ in 0..PAIRS {
        let ours = measure_engine(url);
        println!("{}", ours.line("starling"));
        let Some(wrk) = measure_wrk(url) else {
            eprintln!("NO COMPARISON: wrk is not in PATH, so there is no ratio");
            return false;
        };
        println!("{}", wrk.line("wrk"));
        ratios.push(ours.per_request() / wrk.per_request());
    }
    ratios.sort_by(f64::total_cmp);
    println!("starling / wrk: {:.2} (median of {PAIRS}: {:.2?})", ratios[PAIRS / 2], ratios);
    true
}

fn measure_engine(url: &str) -> Figure {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let prepared = Arc::new(prepare(Arc::new(plan(url)), &Inputs::default()).await.expect("the plan is valid"));
        let before = cpu_micros(libc::RUSAGE_SELF);
        let mut running = prepared.start(Assignment { share: Share::WHOLE, shards: 1, seed: 1 }, Instant::now());
        let mut sum = Snapshot::default();
        while let Some(delta) = running.next_delta().await {
            sum.follow(&delta.snapshot);
        }
        assert_eq!(sum.failures(), 0, "{:?}", sum.errors);
        Figure { requests: sum.requests(), cpu_micros: cpu_micros(libc::RUSAGE_SELF) - before }
    })
}

fn plan(url: &str) -> Plan {
    let http = HttpRequest { method: "GET".into(), path: Template::parse("/").expect("a path"), headers: vec![], body: None };
    let task = Task { name: "get".into(), weight: 1, steps: vec![Step { name: "get".into(), http, timeout: Duration::from_secs(30) }] };
    let profile = Profile::ramp_and_hold(CONNECTIONS.into(), Duration::ZERO, Duration::from_secs(SECONDS));
    let load = Load::Closed { profile, spawn_rate: Some(1_000_000.0) };
    Plan {
        target: Target {
            url: url.parse().expect("a URL"),
            headers: vec![],
            auth: None,
            tls: Tls::default(),
            proxy: None,
            unix_socket: None,
        },
        http: Default::default(),
        variables: Default::default(),
        scenarios: vec![Scenario { name: "get".into(), weight: 1, fixed_users: None, think_time: None, pacing: None, tasks: vec![task] }],
        populations: vec![Population::only(1, load)],
        warmup: Duration::ZERO,
        thresholds: vec![],
        stop_timeout: Duration::from_secs(1),
        seed: None,
    }
}

/// `None` without wrk.
fn measure_wrk(url: &str) -> Option<Figure> {
    let before = cpu_micros(libc::RUSAGE_CHILDREN);
    let output = Command::new("wrk").args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{SECONDS}s"), url]).output().ok()?;
    let cpu_micros = cpu_micros(libc::RUSAGE_CHILDREN) - before;
    let text = String::from_utf8_lossy(&output.stdout);
    // "  401234 requests in 4.00s, 49.3MB read"
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok());
    Some(Figure { requests: requests.unwrap_or_else(|| panic!("cannot read what wrk says: {text}")), cpu_micros })
}

fn start_server() -> Child {
    let program = std::env::current_exe().expect("this program has a path");
    Command::new(program).arg("--serve").stdout(Stdio::piped()).spawn().expect("this program starts again")
}

/// Answers each request with the same bytes; requests are never split, as the clients write each in one piece.
fn serve() {
    pin(SERVER);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("http://{}", listener.local_addr().expect("it is bound"));
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true); // only a hint
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
                    if stream.write_all(ANSWER).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
}

fn cpu_micros(whose: libc::c_int) -> u64 {
    // SAFETY: all zeros are a valid rusage, and the pointer lives through the call
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(whose, &mut usage);
        usage
    };
    let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
    micros(usage.ru_utime) + micros(usage.ru_stime)
}

/// Keeps this process and its children on one core, where there are several.
#[cfg(target_os = "linux")]
fn pin(core: usize) {
    let cores = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) } as usize;
    // SAFETY: all zeros are an empty set, and the pointer lives through the call
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core % cores.max(1), &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

#[cfg(not(target_os = "linux"))]
fn pin(_: usize) {}
