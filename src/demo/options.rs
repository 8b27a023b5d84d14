//! Options of the demo service: its address, the clients it lets in, the faults it makes.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::time::Duration;

mod values;

pub use values::{Client, Latency, OptionError, Stall, Token};

/// Options of the demo service, as flags of `starling demo-service`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Address to listen on, for HTTP/1.1, HTTP/2 and gRPC alike; in a cluster 0.0.0.0:8000
    #[arg(long, value_name = "ADDRESS", default_value_t = Options::default().listen)]
    pub listen: SocketAddr,

    /// Time that answers take: constant:5ms, uniform:5ms,20ms, normal:20ms,5ms (mean, deviation) or
    /// exponential:10ms (mean)
    #[arg(long, value_name = "DISTRIBUTION")]
    pub latency: Option<Latency>,

    /// Fraction of requests that are answered 500 (gRPC: INTERNAL), spread evenly
    #[arg(long, value_name = "FRACTION", default_value_t = Options::default().error_rate, value_parser = values::parse_fraction)]
    pub error_rate: f64,

    /// Freeze once in each period EVERY, for the time FOR: 10s,1s holds each request that arrives
    /// in the frozen second until it ends
    #[arg(long, value_name = "EVERY,FOR")]
    pub stall: Option<Stall>,

    /// Requests that are served at once, streams to their end; others wait for their turn. Without
    /// it, all are served at once
    #[arg(long, value_name = "REQUESTS")]
    pub concurrency: Option<NonZeroU32>,

    /// Requests that may wait for their turn; further ones are answered 429 (gRPC:
    /// RESOURCE_EXHAUSTED). Without it, all wait
    #[arg(long, value_name = "REQUESTS", requires = "concurrency")]
    pub max_waiting: Option<u32>,

    /// Time before the first token of a chat or message of a gRPC stream, after the latency; forms
    /// as of --latency
    #[arg(long, value_name = "DISTRIBUTION")]
    pub first_token_delay: Option<Latency>,

    /// Time between two tokens of a chat or messages of a gRPC stream; forms as of --latency
    #[arg(long, value_name = "DISTRIBUTION")]
    pub token_gap: Option<Latency>,

    /// Fraction of streams that end halfway: chats without their end marker, gRPC streams ABORTED
    #[arg(long, value_name = "FRACTION", default_value_t = Options::default().cut_rate, value_parser = values::parse_fraction)]
    pub cut_rate: f64,

    /// The bearer token that models ask for, beside those of the token endpoint; without it, any,
    /// and none but for /serving-endpoints
    #[arg(
        long,
        env = variable("STARLING_DEMO_TOKEN", "STARLING_SAMPLE_TOKEN"),
        hide_env_values = true
    )]
    pub token: Option<Token>,

    /// The only client, and its secret, that the token endpoint (POST /oauth/token) knows; without
    /// it, any
    #[arg(
        long,
        env = variable("STARLING_DEMO_CLIENT", "STARLING_SAMPLE_CLIENT"),
        hide_env_values = true,
        value_name = "ID:SECRET"
    )]
    pub client: Option<Client>,

    /// Lifetime of a token of the token endpoint, in whole seconds
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = values::parse_lifetime)]
    pub token_lifetime: Duration,

    /// Names of the models that are there; others are answered 404 (gRPC: NOT_FOUND). Without it,
    /// every name
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub models: Vec<String>,

    /// Time after the start during which models are not ready: 503 (gRPC: UNAVAILABLE),
    /// /serving-endpoints 404
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = values::parse_duration)]
    pub ready_after: Duration,

    /// Answer /serving-endpoints as a workspace whose IP access list does not hold the caller: 403
    #[arg(long)]
    pub ip_access_list: bool,

    /// Versions of gRPC reflection that are served
    #[arg(long, value_enum, default_value_t = Options::default().reflection)]
    pub reflection: Reflection,

    /// The same seed gives the n-th request the same latency and the same error
    #[arg(long, default_value_t = Options::default().seed)]
    pub seed: u64,
}

/// Versions of the gRPC reflection service that the demo service answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Reflection {
    /// `grpc.reflection.v1` and `grpc.reflection.v1alpha`.
    Both,
    /// The service `grpc.reflection.v1` alone.
    V1,
    /// The service `grpc.reflection.v1alpha` alone, as older servers have it.
    V1alpha,
    /// No reflection.
    Off,
}

/// Name of the environment variable that an option is read from: `former`, the variable of the
/// first version, where only that one is set.
fn variable(name: &'static str, former: &'static str) -> &'static str {
    let is_set = |name| std::env::var_os(name).is_some();
    if is_set(former) && !is_set(name) {
        former
    } else {
        name
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)),
            latency: None,
            error_rate: 0.0,
            stall: None,
            concurrency: None,
            max_waiting: None,
            first_token_delay: None,
            token_gap: None,
            cut_rate: 0.0,
            token: None,
            client: None,
            token_lifetime: Duration::from_secs(3600),
            models: Vec::new(),
            ready_after: Duration::ZERO,
            ip_access_list: false,
            reflection: Reflection::Both,
            seed: 0,
        }
    }
}
