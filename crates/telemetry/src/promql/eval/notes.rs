//! What an answer's reader should know.

use std::{cell::RefCell, collections::BTreeSet};

use super::{Answer, Value};
use crate::promql::ast::Span;

/// Remarks on a query, each once.
#[derive(Debug, Default)]
pub(super) struct Notes(RefCell<BTreeSet<(bool, String, usize)>>);

impl Notes {
    pub(super) fn warn(&self, what: impl Into<String>, span: Span) {
        self.0.borrow_mut().insert((true, format!("PromQL warning: {}", what.into()), span.start));
    }

    pub(super) fn info(&self, what: impl Into<String>, span: Span) {
        self.0.borrow_mut().insert((false, format!("PromQL info: {}", what.into()), span.start));
    }

    /// A quantile that is none.
    pub(super) fn quantile(&self, quantile: f64, span: Span) {
        if !(0.0..=1.0).contains(&quantile) {
            let got = crate::prometheus::json::go_number(quantile);
            self.warn(format!("quantile value should be between 0 and 1, got {got}"), span);
        }
    }

    /// At most this many of each kind are said, as Prometheus does.
    const MOST: usize = 10;

    pub(super) fn answer(self, value: Value, query: &str) -> Answer {
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for (is_warning, what, start) in self.0.into_inner() {
            let (line, column) = Span::new(start, start).line_and_column(query);
            let notes = if is_warning { &mut warnings } else { &mut infos };
            notes.push(format!("{what} ({line}:{column})"));
        }
        for (notes, kind) in [(&mut warnings, "warning"), (&mut infos, "info")] {
            let more = notes.len().saturating_sub(Self::MOST);
            if more > 0 {
                notes.truncate(Self::MOST);
                notes.push(format!("{more} more {kind} annotations omitted"));
            }
        }
        Answer { value, warnings, infos }
    }
}
