//! Arguments in, exit code out: the commands of the `starling` program.
pub mod in_process;
