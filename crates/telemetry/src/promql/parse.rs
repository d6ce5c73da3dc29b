//! Tokens into a tree, by the strength of operators.

use super::{
    ast::{Aggregate, AggregateOp, At, Binary, BinaryOp, Expr, Matching, Node, Selector, Shift, Side, Span},
    check::check,
    error::ParseError,
    function::{Function, UNSUPPORTED},
    lex::{Kind, Token, tokens},
    literal::seconds,
};
use crate::{METRIC_NAME, MatchOp, Matcher};

/// How many expressions may lie within each other: each takes a part of the stack when it is read, evaluated and
/// dropped.
pub(super) const DEEPEST: u16 = 200;

/// How long a query may be, in bytes.
const LONGEST: usize = 64 << 10;

type Parsed<T> = Result<T, ParseError>;

/// Reads a query.
///
/// # Errors
/// When it is no PromQL, or uses what is not supported; the error says where.
pub fn parse(query: &str) -> Parsed<Expr> {
    let parsed = read(query, |parser| {
        let expr = parser.expr(0)?;
        parser.end()?;
        check(&expr)?;
        Ok(expr)
    });
    parsed.map_err(|e| e.within(query))
}

/// Reads a selector of series alone, such as `up{job="x"}`.
///
/// # Errors
/// When it is none; the error says where.
pub fn parse_selector(query: &str) -> Parsed<Vec<Matcher>> {
    let parsed = read(query, |parser| {
        let expr = parser.primary()?;
        parser.end()?;
        let Node::Vector(selector) = expr.node else {
            return Err(ParseError::at(expr.span, "expected a selector of series"));
        };
        Ok(selector.matchers)
    });
    parsed.map_err(|e| e.within(query))
}

fn read<T>(query: &str, with: impl FnOnce(&mut Parser) -> Parsed<T>) -> Parsed<T> {
    if query.len() > LONGEST {
        return Err(ParseError::new(0, query.len(), format!("the query is longer than {LONGEST} bytes")));
    }
    with(&mut Parser { tokens: tokens(query)?, next: 0, depth: 0 })
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    /// Of the calls of `expr` within each other.
    depth: u16,
}

impl Parser {
    fn peek(&self) -> &Token {
        // The last token is the end, and it is never passed.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek().kind, Kind::Sign(found) if found == sign)
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        if found {
            self.take();
        }
        found
    }

    fn keyword(&self, keyword: &str) -> bool {
        matches!(&self.peek().kind, Kind::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = self.keyword(keyword);
        if found {
            self.take();
        }
        found
    }

    fn unexpected<T>(&self, context: &str, expected: &str) -> Parsed<T> {
        let token = self.peek();
        let what = match &token.kind {
            Kind::Word(word) => format!("{word:?}"),
            Kind::Number(value) => format!("number \"{value}\""),
            Kind::Duration(ms) => format!("duration \"{}\"", super::literal::duration_text(*ms)),
            Kind::Text(text) => format!("string {text:?}"),
            Kind::Sign(sign) => format!("\"{sign}\""),
            Kind::End => "end of input".to_owned(),
        };
        Err(ParseError::at(token.span, format!("unexpected {what} in {context}, expected {expected}")))
    }

    fn expect(&mut self, sign: &'static str, context: &str) -> Parsed<Span> {
        if !self.is_sign(sign) {
            return self.unexpected(context, &format!("\"{sign}\""));
        }
        Ok(self.take().span)
    }

    fn end(&self) -> Parsed<()> {
        match self.peek().kind {
            Kind::End => Ok(()),
            _ => self.unexpected("the query", "an operator or the end"),
        }
    }

    /// Operands and operators that bind at least as strongly as `least`.
    fn expr(&mut self, least: u8) -> Parsed<Expr> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(too_deep(self.peek().span));
        }
        let mut lhs = self.operand()?;
        while let Some(op) = self.operator().filter(|op| op.strength() >= least) {
            self.take();
            let (returns_bool, matching) = self.modifiers()?;
            // `^` binds to the right, all others to the left.
            let rhs = self.expr(if op == BinaryOp::Pow { op.strength() } else { op.strength() + 1 })?;
            let span = lhs.span.to(rhs.span);
            let (lhs_, rhs) = (Box::new(lhs), Box::new(rhs));
            lhs = node(span, Node::Binary(Binary { op, lhs: lhs_, rhs, returns_bool, matching }))?;
        }
        self.depth -= 1;
        Ok(lhs)
    }

    fn operator(&self) -> Option<BinaryOp> {
        match &self.peek().kind {
            Kind::Sign(sign) => BinaryOp::written(sign),
            Kind::Word(word) => BinaryOp::written(word),
            _ => None,
        }
    }

    fn operand(&mut self) -> Parsed<Expr> {
        let Kind::Sign(sign @ ("-" | "+")) = self.peek().kind else { return self.postfixed() };
        let start = self.take().span;
        // A sign binds as strongly as `*`: `-a ^ b` is `-(a ^ b)`.
        let expr = self.expr(BinaryOp::Pow.strength())?;
        let span = start.to(expr.span);
        match expr.node {
            Node::Number { value, as_duration } => {
                let value = if sign == "-" { -value } else { value };
                node(span, Node::Number { value, as_duration })
            }
            _ => node(span, Node::Unary { negative: sign == "-", expr: Box::new(expr) }),
        }
    }

    /// A primary with `[…]`, `offset` and `@` behind it.
    fn postfixed(&mut self) -> Parsed<Expr> {
        let mut expr = self.primary()?;
        loop {
            if self.is_sign("[") {
                expr = self.brackets(expr)?;
            } else if self.keyword("offset") {
                expr = self.offset(expr)?;
            } else if self.is_sign("@") {
                expr = self.at(expr)?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let token = self.peek().clone();
        match token.kind {
            Kind::Number(value) => {
                self.take();
                node(token.span, Node::Number { value, as_duration: false })
            }
            Kind::Duration(ms) => {
                self.take();
                #[expect(clippy::cast_precision_loss, reason = "a number of PromQL is a float")]
                node(token.span, Node::Number { value: ms as f64 / 1000.0, as_duration: true })
            }
            Kind::Text(text) => {
                self.take();
                node(token.span, Node::Text(text))
            }
            Kind::Sign("(") => {
                self.take();
                let expr = self.expr(0)?;
                let end = self.expect(")", "the query")?;
                node(token.span.to(end), Node::Paren(Box::new(expr)))
            }
            Kind::Sign("{") => self.selector(None, token.span),
            Kind::Word(word) => {
                self.take();
                self.word(&word, token.span)
            }
            Kind::End if self.next == 0 => Err(ParseError::at(token.span, "no expression found in input")),
            _ => self.unexpected("the query", "an expression"),
        }
    }

    fn word(&mut self, word: &str, span: Span) -> Parsed<Expr> {
        let lower = word.to_ascii_lowercase();
        let number = |value| node(span, Node::Number { value, as_duration: false });
        match &*lower {
            "inf" => return number(f64::INFINITY),
            "nan" => return number(f64::NAN),
            "bool" | "on" | "ignoring" | "group_left" | "group_right" | "atan2" => {
                return Err(ParseError::at(span, format!("unexpected <{lower}>, expected an expression")));
            }
            _ => {}
        }
        let grouped = self.keyword("by") || self.keyword("without");
        if let Some(op) = AggregateOp::named(word).filter(|_| grouped || self.is_sign("(")) {
            return self.aggregate(op, span);
        }
        if self.is_sign("(") {
            return self.call(word, span);
        }
        self.selector(Some(word.to_owned()), span)
    }

    fn aggregate(&mut self, op: AggregateOp, start: Span) -> Parsed<Expr> {
        let mut grouping = self.grouping()?;
        let (args, mut end) = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
            if grouping.is_some() {
                end = self.tokens[self.next - 1].span;
            }
        }
        let span = start.to(end);
        let expected = 1 + usize::from(op.param().is_some());
        if args.is_empty() {
            return Err(ParseError::at(span, "no arguments for aggregate expression provided"));
        }
        if args.len() != expected {
            let got = args.len();
            return Err(ParseError::at(
                span,
                format!(
                    "wrong number of arguments for aggregate expression provided, expected {expected}, got {got}"
                ),
            ));
        }
        let mut args = args.into_iter().map(Box::new);
        let param = op.param().and_then(|_| args.next());
        let Some(expr) = args.next() else { return self.unexpected("aggregation", "an expression") };
        let (grouping, without) = grouping.unwrap_or_default();
        node(span, Node::Aggregate(Aggregate { op, param, expr, grouping, without }))
    }

    fn grouping(&mut self) -> Parsed<Option<(Vec<String>, bool)>> {
        let without = self.keyword("without");
        if !without && !self.keyword("by") {
            return Ok(None);
        }
        self.take();
        Ok(Some((self.label_names("grouping opts")?, without)))
    }

    fn call(&mut self, name: &str, start: Span) -> Parsed<Expr> {
        let Some(function) = Function::named(name) else {
            let what = match UNSUPPORTED.contains(&name) {
                true => format!("{name}() is not supported"),
                false => format!("unknown function with name {name:?}"),
            };
            return Err(ParseError::at(start, what));
        };
        let (args, end) = self.arguments()?;
        node(start.to(end), Node::Call { function, args })
    }

    fn arguments(&mut self) -> Parsed<(Vec<Expr>, Span)> {
        self.expect("(", "aggregation")?;
        let mut args = Vec::new();
        while !self.is_sign(")") {
            args.push(self.expr(0)?);
            if !self.take_sign(",") {
                break;
            }
            if self.is_sign(")") {
                let what = "trailing commas not allowed in function call args";
                return Err(ParseError::at(self.peek().span, what));
            }
        }
        let end = self.expect(")", "function call")?;
        Ok((args, end))
    }

    fn modifiers(&mut self) -> Parsed<(bool, Matching)> {
        let returns_bool = self.take_keyword("bool");
        let mut matching = Matching::default();
        if self.keyword("on") || self.keyword("ignoring") {
            matching.on = self.take_keyword("on") || !self.take_keyword("ignoring");
            matching.labels = self.label_names("grouping opts")?;
            for (keyword, side) in [("group_left", Side::Left), ("group_right", Side::Right)] {
                if matching.many.is_none() && self.take_keyword(keyword) {
                    matching.many = Some(side);
                    if self.is_sign("(") {
                        matching.include = self.label_names("grouping opts")?;
                    }
                }
            }
        }
        for keyword in ["fill", "fill_left", "fill_right"] {
            let next = self.tokens.get(self.next + 1).map(|token| &token.kind);
            if self.keyword(keyword) && next == Some(&Kind::Sign("(")) {
                return Err(ParseError::at(self.peek().span, format!("{keyword} is not supported")));
            }
        }
        Ok((returns_bool, matching))
    }

    fn label_names(&mut self, context: &str) -> Parsed<Vec<String>> {
        self.expect("(", context)?;
        let mut names = Vec::new();
        while !self.is_sign(")") {
            match self.peek().kind.clone() {
                Kind::Word(word) if !word.contains(':') => names.push(word),
                Kind::Text(text) if !text.is_empty() => names.push(text),
                _ => return self.unexpected(context, "label"),
            }
            self.take();
            if !self.take_sign(",") && !self.is_sign(")") {
                return self.unexpected(context, "\",\" or \")\"");
            }
        }
        self.take();
        Ok(names)
    }

    fn selector(&mut self, name: Option<String>, start: Span) -> Parsed<Expr> {
        let mut matchers = Vec::new();
        let mut end = start;
        if self.take_sign("{") {
            while !self.is_sign("}") {
                matchers.push(self.matcher()?);
                if !self.take_sign(",") && !self.is_sign("}") {
                    return self.unexpected("label matching", "\",\" or \"}\"");
                }
            }
            end = self.take().span;
        }
        if let Some(name) = &name {
            matchers.push(Matcher::equal(METRIC_NAME, name));
        }
        node(start.to(end), Node::Vector(Selector { name, matchers, shift: Shift::default() }))
    }

    fn matcher(&mut self) -> Parsed<Matcher> {
        let token = self.peek().clone();
        let (name, quoted) = match token.kind {
            Kind::Word(word) if !word.contains(':') => (word, false),
            Kind::Text(text) => (text, true),
            _ => return self.unexpected("label matching", "identifier or \"}\""),
        };
        self.take();
        let op = match self.peek().kind {
            Kind::Sign("=") => MatchOp::Equal,
            Kind::Sign("!=") => MatchOp::NotEqual,
            Kind::Sign("=~") => MatchOp::Regex,
            Kind::Sign("!~") => MatchOp::NotRegex,
            Kind::Sign("," | "}") if quoted => return Ok(Matcher::equal(METRIC_NAME, &name)),
            _ => return self.unexpected("label matching", "label matching operator"),
        };
        self.take();
        let Kind::Text(value) = self.peek().kind.clone() else {
            return self.unexpected("label matching", "string");
        };
        let end = self.take().span;
        Matcher::new(&name, op, &value).map_err(|e| ParseError::at(token.span.to(end), e.to_string()))
    }

    /// `[5m]` or `[1h:1m]`.
    fn brackets(&mut self, expr: Expr) -> Parsed<Expr> {
        let open = self.take().span;
        let range = self.positive("subquery or range selector")?;
        if !self.take_sign(":") {
            let end = self.expect("]", "subquery or range")?;
            let wrong = |what: &str| Err(ParseError::at(open.to(end), what));
            let span = expr.span.to(end);
            return match expr.node {
                Node::Vector(selector) if selector.shift.at.is_some() => {
                    wrong("no @ modifiers allowed before range")
                }
                Node::Vector(selector) if selector.shift.offset != 0 => {
                    wrong("no offset modifiers allowed before range")
                }
                Node::Vector(selector) => node(span, Node::Range { selector, range }),
                _ => wrong("ranges only allowed for vector selectors"),
            };
        }
        let step = match self.is_sign("]") {
            true => None,
            false => Some(self.positive("subquery selector")?),
        };
        let end = self.expect("]", "subquery selector")?;
        let span = expr.span.to(end);
        node(span, Node::Subquery { expr: Box::new(expr), range, step, shift: Shift::default() })
    }

    fn offset(&mut self, mut expr: Expr) -> Parsed<Expr> {
        self.take();
        let negative = self.take_sign("-");
        if !negative {
            self.take_sign("+");
        }
        let ms = self.duration("offset")?;
        let wrong = "offset modifier must be preceded by an instant vector selector or range vector selector or a \
                     subquery";
        let Some(shift) = shift(&mut expr) else { return Err(ParseError::at(expr.span, wrong)) };
        if shift.offset != 0 {
            return Err(ParseError::at(expr.span, "offset may not be set multiple times"));
        }
        shift.offset = if negative { -ms } else { ms };
        expr.span.end = self.tokens[self.next - 1].span.end;
        Ok(expr)
    }

    fn at(&mut self, mut expr: Expr) -> Parsed<Expr> {
        self.take();
        let token = self.peek().clone();
        let time = |value: f64| match seconds(value) {
            Some(ms) => Ok(At::Time(ms)),
            None => {
                let what = format!("timestamp out of bounds for @ modifier: {value}");
                Err(ParseError::at(token.span, what))
            }
        };
        let named = |name: &str| matches!(&token.kind, Kind::Word(word) if word.eq_ignore_ascii_case(name));
        let at = match &token.kind {
            Kind::Number(value) => time(*value)?,
            #[expect(clippy::cast_precision_loss, reason = "milliseconds again in a moment")]
            Kind::Duration(ms) => time(*ms as f64 / 1000.0)?,
            Kind::Sign(sign @ ("-" | "+")) => {
                self.take();
                let Kind::Number(value) = self.peek().kind else { return self.unexpected("@", "timestamp") };
                time(if *sign == "-" { -value } else { value })?
            }
            Kind::Word(_) if named("start") => At::Start,
            Kind::Word(_) if named("end") => At::End,
            Kind::Word(_) if named("inf") || named("nan") => time(f64::NAN)?,
            _ => return self.unexpected("@", "timestamp"),
        };
        self.take();
        if matches!(at, At::Start | At::End) {
            self.expect("(", "@")?;
            self.expect(")", "@")?;
        }
        let wrong = "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
        let Some(shift) = shift(&mut expr) else { return Err(ParseError::at(expr.span, wrong)) };
        if shift.at.replace(at).is_some() {
            return Err(ParseError::at(expr.span, "@ <timestamp> may not be set multiple times"));
        }
        expr.span.end = self.tokens[self.next - 1].span.end;
        Ok(expr)
    }

    fn positive(&mut self, context: &str) -> Parsed<i64> {
        let span = self.peek().span;
        let ms = self.duration(context)?;
        match ms > 0 {
            true => Ok(ms),
            false => Err(ParseError::at(span, "duration must be greater than 0")),
        }
    }

    /// A duration, or a number of seconds.
    fn duration(&mut self, context: &str) -> Parsed<i64> {
        let span = self.peek().span;
        let ms = match self.peek().kind {
            Kind::Duration(ms) => ms,
            Kind::Number(value) => match seconds(value) {
                Some(ms) => ms,
                None => return Err(ParseError::at(span, "duration out of range")),
            },
            Kind::Sign("(" | "-" | "+") => {
                return Err(ParseError::at(span, "duration expressions are not supported"));
            }
            _ => return self.unexpected(context, "number or duration"),
        };
        self.take();
        if let Kind::Sign(sign @ ("*" | "/" | "%" | "^")) = self.peek().kind
            && context != "offset"
        {
            let what = format!("duration expressions are not supported: unexpected \"{sign}\"");
            return Err(ParseError::at(self.peek().span, what));
        }
        Ok(ms)
    }
}

/// The time that an expression is about, when it is one that can be shifted.
fn shift(expr: &mut Expr) -> Option<&mut Shift> {
    match &mut expr.node {
        Node::Vector(selector) | Node::Range { selector, .. } => Some(&mut selector.shift),
        Node::Subquery { shift, .. } => Some(shift),
        _ => None,
    }
}

fn node(span: Span, node: Node) -> Parsed<Expr> {
    let mut expr = Expr { node, span, depth: 1 };
    let deepest = expr.children().iter().map(|child| child.depth).max().unwrap_or(0);
    if deepest >= DEEPEST {
        return Err(too_deep(span));
    }
    expr.depth = deepest + 1;
    Ok(expr)
}

fn too_deep(span: Span) -> ParseError {
    ParseError::at(span, format!("more than {DEEPEST} expressions lie within each other"))
}
