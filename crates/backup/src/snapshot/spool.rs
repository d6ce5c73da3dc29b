//! What is kept on this machine's disk for the time of a job, in files without names: they go with the program.

use std::{
    env, fs,
    fs::File,
    io,
    path::PathBuf,
    process::{Command, Stdio},
};

use backstay_types::backup::job::FailedKind;

use super::source_fault;
use crate::fault::Fault;

/// A file without a name, in the job's folder for such things or the system's.
pub(super) fn unnamed(scratch: Option<&str>) -> io::Result<File> {
    let folder = scratch.map_or_else(env::temp_dir, PathBuf::from);
    fs::create_dir_all(&folder)?;
    tempfile::tempfile_in(folder)
}

/// Runs a program and keeps what it prints. Only when it ends with 0 is there anything to save.
///
/// It is kept whole before the first byte is saved: a file's size comes before its content in the format, and restic
/// restores as empty what says that it has no bytes; and what a slow target takes in does not hold up a database's dump.
pub(super) fn output(root: &str, argv: &[String], scratch: Option<&str>) -> Result<File, Fault> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(Fault::bad_job(format!("the root `{root}` runs a program without a name")));
    };
    let keep =
        |error: &io::Error| Fault::of_io(format!("keeping what `{program}` prints for `{root}`"), error);
    let file = unnamed(scratch).map_err(|error| keep(&error))?;
    let errors = unnamed(scratch).map_err(|error| keep(&error))?;
    let out = file.try_clone().map_err(|error| keep(&error))?;
    let told = errors.try_clone().map_err(|error| keep(&error))?;
    let mut command = Command::new(program);
    command.args(arguments).env_remove(crate::ARENAS).stdin(Stdio::null()).stdout(out).stderr(told);
    let status = command.status();
    let status =
        status.map_err(|error| source_fault(format!("`{program}` for `{root}` cannot be run: {error}")))?;
    if status.success() {
        return Ok(file);
    }
    let said = last_words(errors);
    let is_full = said.contains("No space left on device");
    let kind = if is_full { FailedKind::Full } else { FailedKind::Source };
    Err(Fault::new(
        kind,
        format!(
            "`{program}` for `{root}` ended with {status}, expected 0; nothing of it is saved. It said: {said}"
        ),
    ))
}

/// The end of what it had to say.
fn last_words(mut errors: File) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let mut text = Vec::new();
    let length = errors.metadata().map_or(0, |metadata| metadata.len());
    let read =
        errors.seek(SeekFrom::Start(length.saturating_sub(600))).and_then(|_| errors.read_to_end(&mut text));
    match read {
        Ok(0) | Err(_) => "nothing".to_owned(),
        Ok(_) => String::from_utf8_lossy(&text).trim().to_owned(),
    }
}
