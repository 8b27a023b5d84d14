//! The `starling` program: arguments in, exit code out.

/// Each HTTP/2 request takes memory several times; with glibc's allocator a fifteenth of its
/// instructions went there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    starling::cli::main()
}
