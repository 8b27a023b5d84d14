//! Logging to standard error, filtered by `RUST_LOG`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Text for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Level when `RUST_LOG` is not set or cannot be read.
const DEFAULT: &str = "info";

/// Installs the logger. Call once, before the first log line; a second call changes nothing.
pub fn init(format: Format) {
    install(format, DEFAULT);
}

/// Installs a logger that logs only what `RUST_LOG` asks for, for a program whose user reads
/// something else. Without any logger, each place that could log would look for a logger of another
/// kind, which is felt in every request over HTTP/2.
pub fn init_silent() {
    install(Format::Auto, "off");
}

fn install(format: Format, default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // without a standard error there is nobody to tell, and to try would panic
        .log_internal_errors(false);
    let json = format == Format::Json || format == Format::Auto && !terminal;
    // fails only when a subscriber is set already, which is then the one to keep
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(terminal).try_init()
    };
}
