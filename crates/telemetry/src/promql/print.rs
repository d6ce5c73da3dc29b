//! A tree as text again, on one line or, when that is too long, on several, as Prometheus' formatter has it.

use std::fmt::{self, Write as _};

use super::{
    ast::{Aggregate, At, Binary, Expr, Node, Selector, Shift, Side},
    literal::duration_text,
};
use crate::{METRIC_NAME, MatchOp, labels::quoted};

/// Above this many bytes an expression goes on several lines.
const LINE: usize = 100;

impl Expr {
    /// The query, well formed.
    pub fn pretty(&self) -> String {
        self.lines(0)
    }

    fn lines(&self, level: usize) -> String {
        let text = self.to_string();
        let indent = "  ".repeat(level);
        if text.len() <= LINE {
            // A subquery on one line stands where it is.
            return if matches!(self.node, Node::Subquery { .. }) { text } else { format!("{indent}{text}") };
        }
        match &self.node {
            Node::Aggregate(aggregate) => {
                let param = aggregate.param.as_ref().map(|param| format!("{},\n", param.lines(level + 1)));
                let (head, param) = (aggregate_head(aggregate), param.unwrap_or_default());
                format!("{indent}{head}(\n{param}{}\n{indent})", aggregate.expr.lines(level + 1))
            }
            Node::Binary(binary) => {
                let (lhs, rhs) = (binary.lhs.lines(level + 1), binary.rhs.lines(level + 1));
                format!("{lhs}\n{indent}{}\n{rhs}", operator(binary))
            }
            Node::Call { function, args } => {
                let args: Vec<_> = args.iter().map(|arg| arg.lines(level + 1)).collect();
                format!("{indent}{}(\n{}\n{indent})", function.name, args.join(",\n"))
            }
            Node::Paren(expr) => format!("{indent}(\n{}\n{indent})", expr.lines(level + 1)),
            Node::Subquery { expr, range, step, shift } => {
                format!("{}{}", expr.lines(level), subquery(*range, *step, *shift))
            }
            Node::Unary { negative, expr } => {
                format!("{indent}{}{}", sign(*negative), expr.lines(level).trim())
            }
            Node::Number { .. } | Node::Text(_) | Node::Vector(_) | Node::Range { .. } => {
                format!("{indent}{text}")
            }
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.node {
            #[expect(clippy::cast_possible_truncation, reason = "it was read from milliseconds")]
            Node::Number { value, as_duration: true } => {
                write!(f, "{}{}", if *value < 0.0 { "-" } else { "" }, duration_text((value * 1000.0) as i64))
            }
            Node::Number { value, .. } => f.write_str(&plain_number(*value)),
            Node::Text(text) => f.write_str(&quoted(text)),
            Node::Vector(selector) => write!(f, "{}{}", series(selector), time(selector.shift)),
            Node::Range { selector, range } => {
                write!(f, "{}[{}]{}", series(selector), duration_text(*range), time(selector.shift))
            }
            Node::Subquery { expr, range, step, shift } => {
                write!(f, "{expr}{}", subquery(*range, *step, *shift))
            }
            Node::Aggregate(aggregate) => {
                write!(f, "{}(", aggregate_head(aggregate))?;
                if let Some(param) = &aggregate.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", aggregate.expr)
            }
            Node::Call { function, args } => {
                let args: Vec<_> = args.iter().map(ToString::to_string).collect();
                write!(f, "{}({})", function.name, args.join(", "))
            }
            Node::Binary(binary) => write!(f, "{} {} {}", binary.lhs, operator(binary), binary.rhs),
            Node::Unary { negative, expr } => write!(f, "{}{expr}", sign(*negative)),
            Node::Paren(expr) => write!(f, "({expr})"),
        }
    }
}

/// A number without an exponent.
pub(crate) fn plain_number(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else {
        format!("{value}")
    }
}

fn sign(negative: bool) -> &'static str {
    if negative { "-" } else { "+" }
}

fn aggregate_head(aggregate: &Aggregate) -> String {
    let (name, labels) = (aggregate.op.name(), names(&aggregate.grouping));
    match (aggregate.without, labels.is_empty()) {
        (true, _) => format!("{name} without ({labels}) "),
        (false, false) => format!("{name} by ({labels}) "),
        (false, true) => name.to_owned(),
    }
}

fn names(names: &[String]) -> String {
    let names: Vec<_> =
        names.iter().map(|name| if is_name(name) { name.clone() } else { quoted(name) }).collect();
    names.join(", ")
}

/// Whether a name can be written without quotes.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

fn operator(binary: &Binary) -> String {
    let mut text = binary.op.text().to_owned();
    if binary.returns_bool {
        text.push_str(" bool");
    }
    let matching = &binary.matching;
    if matching.on || !matching.labels.is_empty() {
        let word = if matching.on { "on" } else { "ignoring" };
        let _ = write!(text, " {word} ({})", matching.labels.join(", "));
        if let Some(side) = matching.many {
            let side = if side == Side::Left { "left" } else { "right" };
            let _ = write!(text, " group_{side} ({})", matching.include.join(", "));
        }
    }
    text
}

fn series(selector: &Selector) -> String {
    let name = selector.name.as_deref().unwrap_or("");
    let own = |matcher: &&crate::Matcher| {
        !(matcher.name() == METRIC_NAME
            && matcher.op() == MatchOp::Equal
            && matcher.value() == name
            && !name.is_empty())
    };
    let mut matchers: Vec<_> = selector.matchers.iter().filter(own).map(ToString::to_string).collect();
    if matchers.is_empty() {
        return name.to_owned();
    }
    matchers.sort();
    format!("{name}{{{}}}", matchers.join(","))
}

fn time(shift: Shift) -> String {
    let mut text = match shift.at {
        None => String::new(),
        Some(At::Start) => " @ start()".to_owned(),
        Some(At::End) => " @ end()".to_owned(),
        #[expect(clippy::cast_precision_loss, reason = "three digits after the point are shown")]
        Some(At::Time(ms)) => format!(" @ {:.3}", ms as f64 / 1000.0),
    };
    if shift.offset != 0 {
        let sign = if shift.offset < 0 { "-" } else { "" };
        let _ = write!(text, " offset {sign}{}", duration_text(shift.offset));
    }
    text
}

fn subquery(range: i64, step: Option<i64>, shift: Shift) -> String {
    format!("[{}:{}]{}", duration_text(range), step.map(duration_text).unwrap_or_default(), time(shift))
}
