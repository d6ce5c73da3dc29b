//! A thing as a list of its fields.

use crate::ui::style;

/// `label  value` lines under a heading.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    lines: Vec<(String, String)>,
}

impl Fields {
    /// Adds a field.
    pub(crate) fn add(&mut self, label: &str, value: impl Into<String>) -> &mut Self {
        self.lines.push((label.to_owned(), value.into()));
        self
    }

    /// Adds a field when there is a value.
    pub(crate) fn maybe(&mut self, label: &str, value: Option<impl Into<String>>) -> &mut Self {
        if let Some(value) = value {
            self.add(label, value);
        }
        self
    }

    /// The lines, values under each other.
    pub(crate) fn render(&self) -> String {
        let dim = style::DIM;
        let width = self.lines.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (label, value) in &self.lines {
            let mut lines = value.lines();
            text.push_str(&format!("  {dim}{label:width$}{dim:#}  {}\n", lines.next().unwrap_or_default()));
            for line in lines {
                text.push_str(&format!("  {:width$}  {line}\n", ""));
            }
        }
        text
    }
}

/// A heading.
pub(crate) fn heading(text: &str) -> String {
    let bold = style::BOLD;
    format!("{bold}{text}{bold:#}\n")
}

/// A heading over a part of a page, a line apart from what comes before.
pub(crate) fn section(text: &str) -> String {
    format!("\n{}", heading(text))
}
