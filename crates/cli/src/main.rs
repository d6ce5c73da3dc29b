//! The `backstay` program. See the library for everything.

use std::process::ExitCode;

/// Planning over a large fleet and answering about it takes and gives back much memory on many threads, of which the
/// system's allocator keeps twice as much as is in use.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    backstay_cli::main(std::env::args_os())
}
