//! The `starling` program: arguments in, exit code out.

/// Allocator of the program. An HTTP/2 request allocates several times, and with glibc's allocator a
/// fifteenth of its instructions went there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    starling::cli::main()
}
