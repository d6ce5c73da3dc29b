//! What goes wrong, by kind.

use std::{error::Error as _, fmt, io};

use backstay_types::backup::job::{Failed, FailedKind, Problem};
use rustic_core::{ErrorKind, RusticError};
use rustix::io::Errno;

/// As many problems as are told.
pub(crate) const TOLD: usize = 100;

/// A failure.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) kind: FailedKind,
    pub(crate) message: String,
    pub(crate) problems: Vec<Problem>,
    /// A file was listed and then gone: another program changed the repository meanwhile. The job is begun anew.
    pub(crate) is_overtaken: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Fault {
    pub(crate) fn new(kind: FailedKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), problems: Vec::new(), is_overtaken: false }
    }

    pub(crate) fn with(mut self, problems: Vec<Problem>) -> Self {
        self.problems = problems;
        self.problems.truncate(TOLD);
        self
    }

    /// Of a job that does not make sense.
    pub(crate) fn bad_job(message: impl Into<String>) -> Self {
        Self::new(FailedKind::BadJob, message)
    }

    /// Of this machine's files: `what` was to be done.
    pub(crate) fn of_io(what: impl fmt::Display, error: &io::Error) -> Self {
        let kind = match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => FailedKind::Full,
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => FailedKind::Refused,
            _ => FailedKind::Other,
        };
        let hint = match kind {
            FailedKind::Full => ": the disk is full; make room and try again",
            FailedKind::Refused => ": not allowed; look at owner and mode",
            _ => "",
        };
        Self::new(kind, format!("{what}: {error}{hint}"))
    }

    /// Of the repository's library: the fault of a store that is at its bottom, or what the error itself says.
    pub(crate) fn of_library(what: impl fmt::Display, error: &RusticError) -> Self {
        if let Some(fault) = below(error) {
            return fault.clone();
        }
        let kind = match () {
            () if error.is_code("C002") || error.is_incorrect_password() => FailedKind::WrongPassword,
            () if error.is_code("C001") || is_damage(error) => FailedKind::Damaged,
            () => FailedKind::Other,
        };
        if kind == FailedKind::WrongPassword {
            return Self::new(kind, format!("{what}: the password does not open the repository"));
        }
        Self::new(kind, format!("{what}: {}", said(error)))
    }
}

/// What an error of the library says, without what it has around it for its own people.
pub(crate) fn said(error: &RusticError) -> String {
    plain(&error.to_string())
}

/// The messages in what the library prints: an error's own, and those of its causes.
pub(crate) fn plain(text: &str) -> String {
    let Some((before, report)) = text.split_once("`rustic_core` experienced an error") else {
        return text.to_owned();
    };
    let mut parts: Vec<&str> = Vec::new();
    parts.extend(Some(before.trim().trim_end_matches(':').trim()).filter(|before| !before.is_empty()));
    for message in report.split("Message:\n").skip(1) {
        let line = message.lines().next().unwrap_or_default().trim();
        if !line.is_empty() && parts.last() != Some(&line) {
            parts.push(line);
        }
    }
    parts.join(": ")
}

/// The store's fault that a library's error was made from.
fn below(error: &RusticError) -> Option<&Fault> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return Some(fault);
        }
        // Boxed errors come one level deeper.
        if let Some(fault) = error.downcast_ref::<Box<RusticError>>().and_then(|inner| below(inner)) {
            return Some(fault);
        }
        source = error.source();
    }
    None
}

/// Its kind is not public but in words; what cannot be decrypted, parsed or found where the index has it is damaged.
fn is_damage(error: &RusticError) -> bool {
    let text = error.to_string();
    [ErrorKind::Cryptography, ErrorKind::Verification, ErrorKind::Internal, ErrorKind::Repository]
        .iter()
        .any(|kind| text.contains(&format!("an error related to `{kind}`")))
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self { kind: fault.kind, message: fault.message, problems: fault.problems }
    }
}

/// A problem of a path or a file.
pub(crate) fn problem(at: impl Into<String>, what: impl fmt::Display) -> Problem {
    Problem { at: at.into(), what: what.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_a_store_is_found_below_the_librarys_own() {
        let fault = Fault::new(FailedKind::Full, "full");
        let inner = RusticError::with_source(ErrorKind::Backend, "the target failed", fault);
        assert_eq!(Fault::of_library("saving", &inner).kind, FailedKind::Full);
        let outer = RusticError::with_source(ErrorKind::Internal, "something", inner);
        assert_eq!(Fault::of_library("saving", &outer).kind, FailedKind::Full);
    }

    #[test]
    fn what_the_library_says_is_one_line() {
        let inner = RusticError::new(ErrorKind::Cryptography, "MAC check failed");
        let outer =
            RusticError::with_source(ErrorKind::Internal, "reading `{id}`", inner).attach_context("id", "x");
        assert_eq!(said(&outer), "reading `x`: MAC check failed");
        assert_eq!(Fault::of_library("saving", &outer).kind, FailedKind::Damaged);
    }
}
