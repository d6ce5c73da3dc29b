//! Text into tokens.

use super::{
    ast::Span,
    error::ParseError,
    literal::{duration, number, unquoted},
};

/// A token, and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// A name or a keyword: which one, its place decides.
    Word(String),
    Number(f64),
    /// Milliseconds, as `1h30m` was written.
    Duration(i64),
    Text(String),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Two-letter signs first, so that `<=` is not `<` and `=`.
const SIGNS: &[&str] = &[
    "==", "!=", "=~", "!~", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "%", "^", "(", ")", "{", "}", "[",
    "]", ",", ":", "@",
];

/// All tokens, [`Kind::End`] at the end.
///
/// # Errors
/// At the first character that begins no token, or a literal that cannot be read.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ParseError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut brackets = 0_usize;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if matches!(c, ' ' | '\t' | '\n' | '\r') {
            at += 1;
            continue;
        }
        if c == '#' {
            at += rest.find(['\n', '\r']).unwrap_or(rest.len());
            continue;
        }
        let (kind, len) =
            token(rest, c, brackets > 0).map_err(|(what, len)| ParseError::new(at, at + len, what))?;
        match kind {
            Kind::Sign("[") => brackets += 1,
            Kind::Sign("]") => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        tokens.push(Token { kind, span: Span::new(at, at + len) });
        at += len;
    }
    tokens.push(Token { kind: Kind::End, span: Span::new(at, at) });
    Ok(tokens)
}

type Wrong = (String, usize);

fn token(rest: &str, c: char, in_brackets: bool) -> Result<(Kind, usize), Wrong> {
    let digit_follows = rest[c.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
    match c {
        '0'..='9' => number_or_duration(rest),
        '.' if digit_follows => number_or_duration(rest),
        '"' | '\'' | '`' => string(rest, c),
        ':' if in_brackets => Ok((Kind::Sign(":"), 1)),
        c if c.is_ascii_alphabetic() || c == '_' || c == ':' => {
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            let len = rest.find(|c| !word(c)).unwrap_or(rest.len());
            Ok((Kind::Word(rest[..len].to_owned()), len))
        }
        c => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            Some(sign) => Ok((Kind::Sign(sign), sign.len())),
            None => Err((format!("unexpected character: {c:?}"), c.len_utf8())),
        },
    }
}

fn number_or_duration(rest: &str) -> Result<(Kind, usize), Wrong> {
    let len = literal_len(rest);
    let literal = &rest[..len];
    let bad = || (format!("bad number or duration syntax: {literal:?}"), len);
    if let Some(value) = number(literal) {
        return Ok((Kind::Number(value), len));
    }
    match duration(literal) {
        Some(Ok(ms)) => Ok((Kind::Duration(ms), len)),
        Some(Err(what)) => Err((what, len)),
        None => Err(bad()),
    }
}

/// Letters, digits, `_` and `.`; a sign only right after the `e` of a decimal number.
fn literal_len(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let decimal = !(rest.starts_with("0x") || rest.starts_with("0X"));
    let mut len = 0;
    while let Some(&b) = bytes.get(len) {
        let exponent = |at: usize| {
            let digits = |b: &u8| b.is_ascii_digit() || *b == b'.' || *b == b'_';
            decimal && matches!(bytes[at], b'e' | b'E') && bytes[..at].iter().all(digits)
        };
        let sign = matches!(b, b'+' | b'-') && len > 0 && exponent(len - 1);
        if !(b.is_ascii_alphanumeric() || b == b'_' || b == b'.' || sign) {
            break;
        }
        len += 1;
    }
    len
}

fn string(rest: &str, quote: char) -> Result<(Kind, usize), Wrong> {
    let raw = quote == '`';
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if !raw => drop(chars.next()),
            '\n' if !raw => break,
            c if c == quote => {
                let inner = &rest[1..at];
                let text = match raw {
                    true => Ok(inner.to_owned()),
                    false => unquoted(inner, quote),
                };
                return text.map(|text| (Kind::Text(text), at + 1)).map_err(|what| (what, at + 1));
            }
            _ => {}
        }
    }
    Err((if raw { "unterminated raw string" } else { "unterminated quoted string" }.to_owned(), 1))
}
