//! Live steps of long work: done steps stay, the present one is a single line that changes.

use std::io::{IsTerminal as _, Write as _};

use super::{style, table::cut};

/// Shows steps on standard error, so that standard output holds data alone.
#[derive(Debug)]
pub(crate) struct Progress {
    enabled: bool,
    /// Width of the terminal, when the present step may be shown and overwritten.
    live: Option<usize>,
    shown: bool,
}

impl Progress {
    /// Steps, or nothing at all where not `enabled`.
    pub(crate) fn new(enabled: bool, width: Option<usize>) -> Self {
        let live = std::io::stderr().is_terminal().then_some(width.unwrap_or(80));
        Self { enabled, live: live.filter(|_| enabled), shown: false }
    }

    /// What is being done now. Not shown where lines cannot be overwritten.
    pub(crate) fn now(&mut self, text: &str) {
        let Some(width) = self.live else { return };
        let dim = style::DIM;
        let text = cut(text, width.saturating_sub(5));
        self.write(&format!("\r\x1b[2K  {dim}… {text}{dim:#}"));
        self.shown = true;
    }

    /// A step is done.
    pub(crate) fn done(&mut self, text: &str) {
        let good = style::GOOD;
        self.keep(&format!("  {good}✓{good:#} {text}"));
    }

    /// A step went wrong, or came out otherwise than wished.
    pub(crate) fn bad(&mut self, text: &str) {
        let bad = style::BAD;
        self.keep(&format!("  {bad}✗{bad:#} {text}"));
    }

    /// Something worth knowing.
    pub(crate) fn note(&mut self, text: &str) {
        let warn = style::WARN;
        self.keep(&format!("  {warn}!{warn:#} {text}"));
    }

    /// Takes the present step off the screen.
    pub(crate) fn clear(&mut self) {
        if self.shown {
            self.write("\r\x1b[2K");
            self.shown = false;
        }
    }

    fn keep(&mut self, line: &str) {
        if self.enabled {
            self.clear();
            self.write(&format!("{line}\n"));
        }
    }

    fn write(&self, text: &str) {
        let mut stderr = anstream::stderr();
        // Nobody is left to tell when standard error is gone.
        let _ = stderr.write_all(text.as_bytes());
        let _ = stderr.flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
