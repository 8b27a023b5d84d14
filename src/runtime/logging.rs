//! Where log lines go: standard error, filtered by `RUST_LOG`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    Text,
    Json,
}

/// Level when `RUST_LOG` is not set or cannot be read.
const DEFAULT: &str = "info";

/// Call once, before the first log line. A second call changes nothing.
pub fn init(format: Format) {
    install(format, DEFAULT);
}

/// For a program whose user reads something else: only what `RUST_LOG` asks for. Without it, each
/// place that could log something would look for a logger of another kind, which is felt in every
/// request over HTTP/2.
pub fn init_silent() {
    install(Format::Auto, "off");
}

fn install(format: Format, default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let json = format == Format::Json || format == Format::Auto && !terminal;
    // fails only when a subscriber is set already, which is then the one to keep
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(terminal).try_init()
    };
}
