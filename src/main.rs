//! The `starling` program: arguments in, exit code out.

/// HTTP/2 and TLS take memory for each request; with glibc's allocator that is a tenth of what one costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    starling::cli::main()
}
