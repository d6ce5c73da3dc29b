//! What people and programs get to see.

pub(crate) mod progress;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod when;
pub(crate) mod words;

use std::{
    fmt::Display,
    io::{self, BufRead as _, ErrorKind, IsTerminal as _, Write as _},
};

use backstay_types::ErrorCode;
use jiff::{Zoned, tz::TimeZone};
use serde::Serialize;

pub(crate) use progress::Progress;
pub(crate) use table::{Cell, Table};

use crate::error::CliError;

/// Where output goes, and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ui {
    /// Data as one JSON document.
    pub(crate) json: bool,
    quiet: bool,
    width: Option<usize>,
}

/// What a view needs to know of the place where it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// The time, in the viewer's time zone.
    pub(crate) now: Zoned,
    /// Columns of the terminal; none when it is not one.
    pub(crate) width: Option<usize>,
}

impl Ui {
    /// As the global options say.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let width = io::stdout()
            .is_terminal()
            .then(|| terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0)));
        Self { json, quiet, width }
    }

    /// The frame for views, at `now`.
    pub(crate) fn frame(&self, now: backstay_types::Timestamp) -> Frame {
        Frame { now: now.to_zoned(TimeZone::system()), width: self.width }
    }

    /// Data: `value` as JSON, or the text that `view` makes.
    pub(crate) fn data<T: Serialize>(
        &self,
        value: &T,
        view: impl FnOnce() -> String,
    ) -> Result<(), CliError> {
        if self.json {
            let text = serde_json::to_string_pretty(value)
                .map_err(|e| CliError::new(ErrorCode::BS8013, "cannot write JSON").with_source(e))?;
            self.out(&format!("{text}\n"));
        } else {
            self.out(&view());
        }
        Ok(())
    }

    /// One JSON document a line, for streams.
    pub(crate) fn json_line<T: Serialize>(&self, value: &T) -> Result<(), CliError> {
        let text = serde_json::to_string(value)
            .map_err(|e| CliError::new(ErrorCode::BS8013, "cannot write JSON").with_source(e))?;
        self.out(&format!("{text}\n"));
        Ok(())
    }

    /// Text on standard output as it is.
    pub(crate) fn out(&self, text: &str) {
        let mut stdout = anstream::stdout();
        let result = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        if result.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
            // The reader has seen enough, as `head` does.
            std::process::exit(0);
        }
    }

    /// A line for people: not with `--json`, not with `--quiet`.
    pub(crate) fn say(&self, line: impl Display) {
        if !self.json && !self.quiet {
            self.out(&format!("{line}\n"));
        }
    }

    /// A line on standard error, not with `--quiet`.
    pub(crate) fn note(&self, line: impl Display) {
        if !self.quiet {
            // Nobody is left to tell when standard error is gone.
            let _ = writeln!(anstream::stderr(), "{line}");
        }
    }

    /// Live steps on standard error.
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(!self.quiet && !self.json, self.width)
    }

    /// Asks for a yes.
    ///
    /// # Errors
    /// When there is nobody to ask.
    pub(crate) fn confirm(&self, question: &str) -> Result<bool, CliError> {
        if !io::stdin().is_terminal() {
            return Err(CliError::new(ErrorCode::BS8010, format!("{question} Nobody is there to answer"))
                .hint("add --yes to go on, or --dry-run to only look"));
        }
        let mut stderr = anstream::stderr();
        let _ = write!(stderr, "{question} [y/N] ");
        let _ = stderr.flush();
        let mut answer = String::new();
        io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|e| CliError::new(ErrorCode::BS8010, "the answer cannot be read").with_source(e))?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }

    /// Has a person type a text, for what a yes is too little for.
    ///
    /// # Errors
    /// When there is nobody to ask, or it is another text.
    pub(crate) fn typed(&self, why: &str, text: &str) -> Result<String, CliError> {
        let refused = |detail: String| {
            CliError::new(ErrorCode::BS9043, detail).hint(format!("--confirm {text} says that it is meant"))
        };
        if !io::stdin().is_terminal() {
            return Err(refused(format!("{why} Nobody is there to type `{text}`")));
        }
        let mut stderr = anstream::stderr();
        let _ = write!(stderr, "{why}\nType {text} to go on: ");
        let _ = stderr.flush();
        let mut answer = String::new();
        io::stdin()
            .lock()
            .read_line(&mut answer)
            .map_err(|e| CliError::new(ErrorCode::BS8010, "the answer cannot be read").with_source(e))?;
        match answer.trim() == text {
            true => Ok(text.to_owned()),
            false => Err(refused(format!("`{}` was typed, not `{text}`: nothing was done", answer.trim()))),
        }
    }
}

impl Frame {
    /// A time in a table.
    pub(crate) fn when(&self, at: backstay_types::Timestamp) -> String {
        when::when(at, &self.now)
    }

    /// A time in a sentence.
    pub(crate) fn exactly(&self, at: backstay_types::Timestamp) -> String {
        when::exactly(at, &self.now)
    }

    /// A table cut to the terminal.
    pub(crate) fn table(&self, table: &Table) -> String {
        table.render(self.width)
    }
}

/// `1 node`, `3 nodes`.
pub(crate) fn count(n: usize, one: &str) -> String {
    if n == 1 {
        format!("1 {one}")
    } else if let Some(stem) = one.strip_suffix('y') {
        format!("{n} {stem}ies")
    } else {
        format!("{n} {one}s")
    }
}
