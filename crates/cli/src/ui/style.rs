//! The few colours in use. The streams take them out where there is no terminal.

use anstyle::{AnsiColor, Style};

/// Headings and what matters most.
pub(crate) const BOLD: Style = Style::new().bold();
/// What may be skipped.
pub(crate) const DIM: Style = Style::new().dimmed();
/// It is as it should be.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// It is not.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Someone should look.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// Names and ids.
pub(crate) const NAME: Style = AnsiColor::Cyan.on_default();
/// No style.
pub(crate) const PLAIN: Style = Style::new();
