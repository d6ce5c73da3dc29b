//! What goes wrong on the command line: a stable code, a cause, and what to do.

use std::{error::Error, fmt, io, path::Path};

use backstay_api::Problem;
use backstay_types::ErrorCode;
use serde_json::json;

use crate::ui::style;

type Source = Box<dyn Error + Send + Sync>;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did not work.
    Failure = 1,
    /// The command line was wrong.
    Usage = 2,
    /// Something is in the way that a person must decide on.
    Conflict = 3,
    /// There is no such thing.
    NotFound = 4,
    /// No token, or not allowed.
    Denied = 5,
    /// The hub cannot be reached.
    Unreachable = 6,
    /// It took longer than allowed; it may still happen.
    TimedOut = 7,
}

/// An error with its code, cause and hint.
#[derive(Debug)]
pub(crate) struct CliError {
    code: ErrorCode,
    detail: String,
    hint: Option<String>,
    source: Option<Source>,
}

impl CliError {
    /// An error; `detail` says what was wrong, where, and what was expected.
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), hint: None, source: None }
    }

    /// An argument that cannot be understood.
    pub(crate) fn argument(detail: impl Into<String>) -> Self {
        Self::new(ErrorCode::BS8003, detail)
    }

    /// A file that cannot be read or written.
    pub(crate) fn file(verb: &str, path: &Path, error: io::Error) -> Self {
        Self::new(ErrorCode::BS8004, format!("cannot {verb} {}", path.display())).with_source(error)
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what caused it.
    pub(crate) fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The code.
    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    /// How the program ends because of it.
    pub(crate) fn exit(&self) -> Exit {
        match self.code {
            ErrorCode::BS4002 | ErrorCode::BS4003 => Exit::Denied,
            ErrorCode::BS4004 => Exit::NotFound,
            ErrorCode::BS4005 | ErrorCode::BS8014 => Exit::Conflict,
            ErrorCode::BS8001 => Exit::Unreachable,
            ErrorCode::BS8009 => Exit::TimedOut,
            code if code.as_str().starts_with("BS8") && code.status() == 400 => Exit::Usage,
            _ => Exit::Failure,
        }
    }

    /// What caused it, nearest first; a cause that the one before already tells is left out.
    fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut source = self.source();
        while let Some(error) = source {
            let text = error.to_string();
            if !causes.iter().any(|told| told.contains(&text)) {
                causes.push(text);
            }
            source = error.source();
        }
        causes
    }

    /// For people, with colours where the stream has them.
    pub(crate) fn to_text(&self) -> String {
        let (bad, bold, dim) = (style::BAD, style::BOLD, style::DIM);
        let mut text = format!("{bad}error[{}]{bad:#}{bold}: {}{bold:#}\n", self.code, self.detail);
        for cause in self.causes() {
            text.push_str(&format!("  {dim}cause:{dim:#} {cause}\n"));
        }
        if let Some(hint) = &self.hint {
            let mut lines = hint.lines();
            text.push_str(&format!("  {dim}hint:{dim:#}  {}\n", lines.next().unwrap_or_default()));
            lines.for_each(|line| text.push_str(&format!("         {line}\n")));
        }
        text
    }

    /// For programs: one JSON document.
    pub(crate) fn to_json(&self) -> String {
        json!({ "error": {
            "code": self.code,
            "title": self.code.title(),
            "detail": self.detail,
            "causes": self.causes(),
            "hint": self.hint,
        }})
        .to_string()
    }
}

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        let error = Self::new(problem.code, problem.detail);
        match problem.hint.or_else(|| standard_hint(problem.code).map(str::to_owned)) {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

/// What helps with codes of the hub that come without a hint of their own.
fn standard_hint(code: ErrorCode) -> Option<&'static str> {
    match code {
        ErrorCode::BS4002 => Some(
            "give a token that this hub knows, by --token-file or BACKSTAY_TOKEN\n\
             on the hub's own machine its owner (perhaps root) needs none",
        ),
        ErrorCode::BS4003 => {
            Some("the token's role is too low; `backstay tokens create --role …` makes another")
        }
        _ => None,
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)
    }
}

impl Error for CliError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_code_cause_and_hint() {
        let error = CliError::file("read", Path::new("/a"), io::Error::other("gone")).hint("look\nagain");
        let text = anstream::adapter::strip_str(&error.to_text()).to_string();
        assert_eq!(text, "error[BS8004]: cannot read /a\n  cause: gone\n  hint:  look\n         again\n");
        let value: serde_json::Value = serde_json::from_str(&error.to_json()).unwrap();
        assert_eq!(value["error"]["code"], "BS8004");
        assert_eq!(value["error"]["causes"][0], "gone");
    }

    #[test]
    fn exit_codes_tell_what_kind_it_was() {
        let exit = |code| CliError::new(code, "").exit();
        assert_eq!(exit(ErrorCode::BS8003), Exit::Usage);
        assert_eq!(exit(ErrorCode::BS4001), Exit::Failure);
        assert_eq!(exit(ErrorCode::BS8014), Exit::Conflict);
        assert_eq!(exit(ErrorCode::BS4003), Exit::Denied);
    }
}
