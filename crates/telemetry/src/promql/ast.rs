//! A query as a tree.

use crate::Matcher;

use super::function::Function;

/// A part of the query's text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

impl Span {
    pub(super) const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    pub(super) fn to(self, end: Self) -> Self {
        Self { start: self.start, end: end.end }
    }

    /// The line and the column of its start, both from 1.
    pub fn line_and_column(self, query: &str) -> (usize, usize) {
        let before = query.get(..self.start).unwrap_or(query);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before.len() - line_start + 1)
    }
}

/// An expression, and where it stands.
#[derive(Debug, Clone)]
pub struct Expr {
    /// What it is.
    pub node: Node,
    /// Where it stands.
    pub span: Span,
    /// How many expressions lie within each other at most, itself counted.
    pub(super) depth: u16,
}

/// What an expression is.
#[derive(Debug, Clone)]
pub enum Node {
    /// A number. Whether it was written as a duration is only for writing it again.
    Number { value: f64, as_duration: bool },
    /// A text.
    Text(String),
    /// Series at one time.
    Vector(Selector),
    /// Series over a range, in milliseconds.
    Range { selector: Selector, range: i64 },
    /// An expression evaluated over a range, in steps; both in milliseconds.
    Subquery { expr: Box<Expr>, range: i64, step: Option<i64>, shift: Shift },
    /// Many series into few.
    Aggregate(Aggregate),
    /// A function.
    Call { function: &'static Function, args: Vec<Expr> },
    /// Two operands.
    Binary(Binary),
    /// A sign before an operand.
    Unary { negative: bool, expr: Box<Expr> },
    /// Between parentheses.
    Paren(Box<Expr>),
}

/// Which series.
#[derive(Debug, Clone)]
pub struct Selector {
    /// The metric's name as it stands before the braces.
    pub name: Option<String>,
    /// All conditions, that on the name among them (last, when it stands before the braces).
    pub matchers: Vec<Matcher>,
    /// The time that is meant.
    pub shift: Shift,
}

/// Which time is meant, seen from the time of evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shift {
    /// Milliseconds back; below 0 is ahead.
    pub offset: i64,
    /// A fixed time instead of that of the evaluation.
    pub at: Option<At>,
}

/// A fixed time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum At {
    /// The query's start.
    Start,
    /// The query's end.
    End,
    /// Milliseconds since 1970.
    Time(i64),
}

/// An aggregation.
#[derive(Debug, Clone)]
pub struct Aggregate {
    /// Which one.
    pub op: AggregateOp,
    /// `k`, the quantile, or the name of a label.
    pub param: Option<Box<Expr>>,
    /// What is aggregated.
    pub expr: Box<Expr>,
    /// The labels of `by` or `without`.
    pub grouping: Vec<String>,
    /// Whether these are the labels to leave out.
    pub without: bool,
}

/// The aggregations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say what they are")]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    Limitk,
    CountValues,
    Quantile,
}

impl AggregateOp {
    const ALL: &[(&str, Self)] = &[
        ("sum", Self::Sum),
        ("avg", Self::Avg),
        ("count", Self::Count),
        ("min", Self::Min),
        ("max", Self::Max),
        ("group", Self::Group),
        ("stddev", Self::Stddev),
        ("stdvar", Self::Stdvar),
        ("topk", Self::Topk),
        ("bottomk", Self::Bottomk),
        ("limitk", Self::Limitk),
        ("count_values", Self::CountValues),
        ("quantile", Self::Quantile),
    ];

    pub(super) fn named(word: &str) -> Option<Self> {
        Some(Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word))?.1)
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// The type of the parameter that comes before the vector.
    pub(super) const fn param(self) -> Option<Type> {
        match self {
            Self::Topk | Self::Bottomk | Self::Limitk | Self::Quantile => Some(Type::Scalar),
            Self::CountValues => Some(Type::Text),
            _ => None,
        }
    }
}

/// Two operands and how their series belong together.
#[derive(Debug, Clone)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// What stands before it.
    pub lhs: Box<Expr>,
    /// What stands after it.
    pub rhs: Box<Expr>,
    /// `bool`: a comparison gives 0 and 1 instead of leaving out.
    pub returns_bool: bool,
    /// How series belong together.
    pub matching: Matching,
}

/// The operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "their names say what they are")]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    const ALL: &[(&str, Self)] = &[
        ("+", Self::Add),
        ("-", Self::Sub),
        ("*", Self::Mul),
        ("/", Self::Div),
        ("%", Self::Mod),
        ("^", Self::Pow),
        ("atan2", Self::Atan2),
        ("==", Self::Equal),
        ("!=", Self::NotEqual),
        ("<", Self::Less),
        ("<=", Self::LessOrEqual),
        (">", Self::Greater),
        (">=", Self::GreaterOrEqual),
        ("and", Self::And),
        ("or", Self::Or),
        ("unless", Self::Unless),
    ];

    pub(super) fn written(text: &str) -> Option<Self> {
        Some(Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(text))?.1)
    }

    pub(super) fn text(self) -> &'static str {
        Self::ALL.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// How strongly it binds.
    pub(super) const fn strength(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessOrEqual
            | Self::Greater
            | Self::GreaterOrEqual => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
        }
    }

    /// Whether it compares.
    pub const fn compares(self) -> bool {
        self.strength() == 3
    }

    /// Whether it works on sets of series.
    pub const fn is_set(self) -> bool {
        self.strength() <= 2
    }
}

/// How series of two vectors belong together.
#[derive(Debug, Clone, Default)]
pub struct Matching {
    /// Whether `labels` are those that count (`on`), not those that do not (`ignoring`).
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// Which side may have many series for one of the other.
    pub many: Option<Side>,
    /// Labels that come from the side with one.
    pub include: Vec<String>,
}

/// A side of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Before it.
    Left,
    /// After it.
    Right,
}

/// What an expression gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A number for each time.
    Scalar,
    /// Series with one value for each time.
    Vector,
    /// Series with many values for each time.
    Matrix,
    /// A text.
    Text,
}

impl Type {
    /// As error messages name it.
    pub(super) const fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
            Self::Text => "string",
        }
    }
}

impl Expr {
    /// What it gives.
    pub fn kind(&self) -> Type {
        match &self.node {
            Node::Number { .. } => Type::Scalar,
            Node::Text(_) => Type::Text,
            Node::Vector(_) | Node::Aggregate(_) => Type::Vector,
            Node::Range { .. } | Node::Subquery { .. } => Type::Matrix,
            Node::Call { function, .. } => function.returns,
            Node::Binary(binary) => match (binary.lhs.kind(), binary.rhs.kind()) {
                (Type::Scalar, Type::Scalar) => Type::Scalar,
                _ => Type::Vector,
            },
            Node::Unary { expr, .. } | Node::Paren(expr) => expr.kind(),
        }
    }

    /// Itself without the parentheses around it.
    pub fn bare(&self) -> &Self {
        match &self.node {
            Node::Paren(expr) => expr.bare(),
            _ => self,
        }
    }

    /// What it is made of, in the order in which it is written.
    pub fn children(&self) -> Vec<&Self> {
        match &self.node {
            Node::Number { .. } | Node::Text(_) | Node::Vector(_) | Node::Range { .. } => Vec::new(),
            Node::Subquery { expr, .. } | Node::Unary { expr, .. } | Node::Paren(expr) => vec![expr],
            Node::Aggregate(aggregate) => {
                aggregate.param.iter().chain([&aggregate.expr]).map(|e| &**e).collect()
            }
            Node::Call { args, .. } => args.iter().collect(),
            Node::Binary(binary) => vec![&binary.lhs, &binary.rhs],
        }
    }

    /// All selectors in it.
    pub fn selectors(&self) -> Vec<&Selector> {
        match &self.node {
            Node::Vector(selector) | Node::Range { selector, .. } => vec![selector],
            _ => self.children().into_iter().flat_map(Self::selectors).collect(),
        }
    }
}
