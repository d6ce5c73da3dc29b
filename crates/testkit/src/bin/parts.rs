//! `backstay-parts stop`: ends what tests share or left behind. `scripts/test` calls it at its end.
#![allow(clippy::print_stderr, reason = "a small tool for the scripts")]

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    if env::args().skip(1).eq(["stop"]) {
        backstay_testkit::shared::stop();
        return ExitCode::SUCCESS;
    }
    eprintln!("usage: backstay-parts stop");
    ExitCode::FAILURE
}
