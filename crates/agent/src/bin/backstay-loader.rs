//! `backstay-loader SLOTS INSTALLED [ARGUMENTS]…`: starts the agent that works. Nothing of the agent is in it.

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    backstay_loader::run(env::args_os().skip(1))
}
