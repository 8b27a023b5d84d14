//! What this machine is, and how busy: cores, stolen time, memory and CPU of a process. Linux only.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Cores of client and server.
pub const CLIENT: usize = 0;
pub const SERVER: usize = 1;

/// Time of both cores since the start of the machine, in ticks.
#[derive(Debug, Clone, Copy)]
pub struct Ticks {
    pub all: u64,
    pub idle: u64,
    pub stolen: u64,
}

/// Keeps what `command` starts on one core.
#[allow(unsafe_code, reason = "sched_setaffinity, before exec")]
pub fn on_core(command: &mut Command, core: usize) -> &mut Command {
    let pin = move || {
        // SAFETY: all zeros are an empty set, and the pointer lives through the call, which is
        // async-signal-safe
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(core, &mut set);
            match libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        }
    };
    // SAFETY: `pin` neither allocates nor locks
    unsafe { command.pre_exec(pin) }
}

pub fn ticks() -> Ticks {
    let mut sum = Ticks {
        all: 0,
        idle: 0,
        stolen: 0,
    };
    for line in read("/proc/stat").lines() {
        let Some((core, numbers)) = line
            .strip_prefix("cpu")
            .and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        if core.parse() == Ok(CLIENT) || core.parse() == Ok(SERVER) {
            // user nice system idle iowait irq softirq steal; guest time is in user time already
            let numbers: Vec<u64> = numbers
                .split_whitespace()
                .take(8)
                .map(|number| number.parse().expect("ticks"))
                .collect();
            sum.all += numbers.iter().sum::<u64>();
            sum.idle += numbers[3] + numbers[4];
            sum.stolen += numbers[7];
        }
    }
    sum
}

/// User and system time of a process, in microseconds, as fine as ticks are.
pub fn cpu_micros(process: u32) -> u64 {
    let stat = read(&format!("/proc/{process}/stat"));
    // the name, in brackets, may hold anything
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .expect("a name")
        .1
        .split_whitespace()
        .collect();
    let ticks: u64 = fields[11..13]
        .iter()
        .map(|number| number.parse::<u64>().expect("ticks"))
        .sum();
    ticks * 1_000_000 / ticks_per_second()
}

/// What a process holds in memory, in bytes.
pub fn resident(process: u32) -> u64 {
    let status = read(&format!("/proc/{process}/status"));
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("a process that runs");
    line.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .expect("kilobytes")
        * 1024
}

#[allow(unsafe_code, reason = "sysconf")]
pub fn ticks_per_second() -> u64 {
    // SAFETY: it only reads
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as u64 }
}

/// Lets this process, and what it starts, open so many files.
#[allow(unsafe_code, reason = "getrlimit and setrlimit")]
pub fn allow_files(wanted: u64) -> Result<(), String> {
    // SAFETY: the pointers live through the calls
    let allowed = unsafe {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max.min(wanted.max(limit.rlim_cur));
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        limit.rlim_cur
    };
    if allowed < wanted {
        Err(format!(
            "only {allowed} files may be open, {wanted} are needed: raise the hard limit (ulimit -Hn)"
        ))
    } else {
        Ok(())
    }
}

/// The machine and the programs, in a line each.
pub fn description() -> String {
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = cpu
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let mut lines = vec![format!(
        "{cores} cores of {model}, Linux {}",
        read("/proc/sys/kernel/osrelease").trim()
    )];
    for (program, argument) in [
        (env!("CARGO_BIN_EXE_starling"), "--version"),
        ("nginx", "-v"),
        ("wrk", "-v"),
        ("h2load", "--version"),
    ] {
        let said = Command::new(program)
            .arg(argument)
            .output()
            .map(|output| [output.stdout, output.stderr].concat());
        let said = said.map_or_else(
            |_| format!("{program} is not in PATH"),
            |said| String::from_utf8_lossy(&said).into_owned(),
        );
        lines.push(said.lines().next().unwrap_or(program).to_owned());
    }
    lines.join("\n")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
