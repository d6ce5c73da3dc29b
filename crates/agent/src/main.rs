//! `backstay-agent`: what runs on every node.

use std::process::ExitCode;

fn main() -> ExitCode {
    backstay_agent::main()
}
