//! The `starling` program: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    starling::cli::main()
}
