//! The `backstay` program. See the library for everything.

use std::process::ExitCode;

fn main() -> ExitCode {
    backstay_cli::main(std::env::args_os())
}
