//! Running programs to their end.

use std::{
    error, fmt,
    io::Write,
    process::{Command, Stdio},
};

/// A program that did not succeed.
#[derive(Debug, Clone)]
pub struct Failed {
    /// Program and arguments.
    pub command: String,
    /// Its exit code, if it ended by itself.
    pub code: Option<i32>,
    /// What it printed, standard output first.
    pub output: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ended with {:?}:\n{}", self.command, self.code, self.output)
    }
}

impl error::Error for Failed {}

/// Runs to the end and gives standard output without the last line break.
///
/// # Errors
/// When it cannot be started or does not exit with 0.
pub fn capture(command: &mut Command) -> Result<String, Failed> {
    capture_with(command, &[])
}

/// [`capture`] with bytes for standard input.
pub(crate) fn capture_with(command: &mut Command, input: &[u8]) -> Result<String, Failed> {
    let name = describe(command);
    let failed = |code, output| Failed { command: name.clone(), code, output };
    let mut child = command
        .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(None, error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program may end without reading all; its exit code then says enough.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(|error| failed(None, error.to_string()))?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(stdout.trim_end_matches('\n').to_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(failed(output.status.code(), format!("{stdout}{stderr}")))
}

/// [`capture`], where anything but success fails the test.
///
/// # Panics
/// When it cannot be started or does not exit with 0.
pub fn run(command: &mut Command) -> String {
    capture(command).unwrap_or_else(|failed| panic!("{failed}"))
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
