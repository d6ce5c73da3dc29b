//! PromQL: read, checked and evaluated row by row, as Prometheus 3 does.
//!
//! What a query means is what Prometheus answers; the tests compare the two. Native histograms are not there, and what is
//! not supported is an error that says so.

mod ast;
mod check;
mod error;
mod eval;
mod function;
mod lex;
pub(crate) mod literal;
mod parse;
pub(crate) mod print;

pub use self::{
    ast::{
        Aggregate, AggregateOp, At, Binary, BinaryOp, Expr, Matching, Node, Selector, Shift, Side, Span, Type,
    },
    error::{EvalError, ParseError},
    eval::{Answer, Options, Steps, Value, evaluate, evaluate_range},
    function::Function,
    parse::{parse, parse_selector},
};
