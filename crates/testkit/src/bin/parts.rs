//! Parts of tests, for those that are not written in Rust, and their end.
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a small tool for the scripts")]

use std::{env, io, process::ExitCode};

use backstay_testkit::{PostgresServer, shared};

const USAGE: &str = "usage:
  backstay-parts stop        ends what tests share or left behind; scripts/test calls it at its end
  backstay-parts postgres    runs a PostgreSQL server and says its URL; takes `stop` and `start` from stdin, each
                             answered by `done`, and ends with it";

fn main() -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["stop"] => shared::stop(),
        ["postgres"] => return postgres(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn postgres() -> ExitCode {
    let Some(server) = PostgresServer::require() else { return ExitCode::FAILURE };
    println!("{}", server.url());
    for line in io::stdin().lines().map_while(Result::ok) {
        match line.trim() {
            "stop" => server.stop(),
            "start" => server.start(),
            other => eprintln!("`{other}` is neither `stop` nor `start`"),
        }
        println!("done");
    }
    ExitCode::SUCCESS
}
