//! Whether the parts of a query fit each other.

use super::{
    ast::{Binary, Expr, Node, Type},
    error::ParseError,
    function::{Function, Last},
};
use crate::METRIC_NAME;

/// Checks an expression and all within it.
///
/// # Errors
/// With the first part that does not fit.
pub(super) fn check(expr: &Expr) -> Result<(), ParseError> {
    for child in expr.children() {
        check(child)?;
    }
    let wrong = |what: String| Err(ParseError::at(expr.span, what));
    match &expr.node {
        Node::Aggregate(aggregate) => {
            expect(&aggregate.expr, Type::Vector, "aggregation expression")?;
            match (&aggregate.param, aggregate.op.param()) {
                (Some(param), Some(kind)) => expect(param, kind, "aggregation parameter"),
                _ => Ok(()),
            }
        }
        Node::Call { function, args } => check_call(expr, function, args),
        Node::Binary(binary) => check_binary(expr, binary),
        Node::Unary { expr: inner, .. } => match inner.kind() {
            Type::Scalar | Type::Vector => Ok(()),
            other => wrong(format!(
                "unary expression only allowed on expressions of type scalar or instant vector, got {:?}",
                other.documented()
            )),
        },
        Node::Subquery { expr: inner, .. } if inner.kind() != Type::Vector => wrong(format!(
            "subquery is only allowed on instant vector, got {} instead",
            inner.kind().documented()
        )),
        Node::Vector(selector) | Node::Range { selector, .. } => {
            let names = selector.matchers.iter().filter(|matcher| matcher.name() == METRIC_NAME);
            match &selector.name {
                Some(name) if names.clone().count() > 1 => {
                    let other = names.clone().next().map_or("", |matcher| matcher.value());
                    wrong(format!("metric name must not be set twice: {name:?} or {other:?}"))
                }
                None if selector.matchers.iter().all(crate::Matcher::matches_empty) => {
                    wrong("vector selector must contain at least one non-empty matcher".to_owned())
                }
                _ => Ok(()),
            }
        }
        Node::Number { .. } | Node::Text(_) | Node::Paren(_) | Node::Subquery { .. } => Ok(()),
    }
}

fn expect(expr: &Expr, wanted: Type, context: &str) -> Result<(), ParseError> {
    let got = expr.kind();
    if got == wanted {
        return Ok(());
    }
    let (wanted, got) = (wanted.documented(), got.documented());
    Err(ParseError::at(expr.span, format!("expected type {wanted} in {context}, got {got}")))
}

fn check_call(expr: &Expr, function: &Function, args: &[Expr]) -> Result<(), ParseError> {
    let (name, most, given) = (function.name, function.takes.len(), args.len());
    let least = if function.last == Last::Once { most } else { most - 1 };
    let wrong = |what: String| Err(ParseError::at(expr.span, what));
    if function.last == Last::Once && given != most {
        return wrong(format!("expected {most} argument(s) in call to {name:?}, got {given}"));
    }
    if given < least {
        return wrong(format!("expected at least {least} argument(s) in call to {name:?}, got {given}"));
    }
    if function.last == Last::Optional && given > most {
        return wrong(format!("expected at most {most} argument(s) in call to {name:?}, got {given}"));
    }
    for (n, arg) in args.iter().enumerate() {
        let kind = function.takes[n.min(most.saturating_sub(1))];
        expect(arg, kind, &format!("call to function {name:?}"))?;
    }
    Ok(())
}

fn check_binary(expr: &Expr, binary: &Binary) -> Result<(), ParseError> {
    let (op, lhs, rhs) = (binary.op, binary.lhs.kind(), binary.rhs.kind());
    let wrong = |what: String| Err(ParseError::at(expr.span, what));
    let scalars = [lhs, rhs].iter().filter(|kind| **kind == Type::Scalar).count();
    if binary.returns_bool && !op.compares() {
        return wrong("bool modifier can only be used on comparison operators".to_owned());
    }
    if op.compares() && !binary.returns_bool && scalars == 2 {
        return wrong("comparisons between scalars must use BOOL modifier".to_owned());
    }
    let matching = &binary.matching;
    let both = matching.labels.iter().find(|label| matching.on && matching.include.contains(label));
    if let Some(label) = both {
        return wrong(format!("label {label:?} must not occur in ON and GROUP clause at once"));
    }
    for (side, kind) in [(&binary.lhs, lhs), (&binary.rhs, rhs)] {
        if !matches!(kind, Type::Scalar | Type::Vector) {
            let what = "binary expression must contain only scalar and instant vector types";
            return Err(ParseError::at(side.span, what));
        }
    }
    if scalars > 0 && !matching.labels.is_empty() {
        return wrong("vector matching only allowed between instant vectors".to_owned());
    }
    if op.is_set() && scalars > 0 {
        return wrong(format!("set operator {:?} not allowed in binary scalar expression", op.text()));
    }
    if op.is_set() && matching.many.is_some() {
        return wrong(format!("no grouping allowed for {:?} operation", op.text()));
    }
    Ok(())
}
