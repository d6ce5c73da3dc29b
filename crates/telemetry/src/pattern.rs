//! Regular expressions as PromQL has them: RE2's syntax, matching the whole text.
//!
//! Rust's syntax differs in a few places. What RE2 reads in another way is rewritten before it is compiled, so that an
//! expression either means the same here or is refused.

use std::fmt;

use regex::bytes::{Captures, Regex, RegexBuilder};

/// A regular expression that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a regular expression of RE2's syntax: {what}")]
pub struct PatternError {
    /// As it was written.
    pub pattern: String,
    /// What is wrong with it.
    pub what: String,
}

/// A compiled regular expression that matches whole texts.
#[derive(Clone)]
pub struct Pattern {
    text: Box<str>,
    fixed: Option<Box<[Box<str>]>>,
    regex: Regex,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is not one of RE2's syntax, or compiling it takes too much memory.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let wrong = |what: String| PatternError { pattern: text.to_owned(), what };
        let rewritten = rewritten(text).map_err(|what| wrong(what.to_owned()))?;
        // First alone: `a)(b` would be well formed between the brackets below.
        let build = |pattern: &str| RegexBuilder::new(pattern).size_limit(COMPILED_BYTES).build();
        build(&rewritten).map_err(|e| wrong(last_line(&e)))?;
        let regex = build(&format!("^(?s:{rewritten})$")).map_err(|e| wrong(last_line(&e)))?;
        Ok(Self { text: text.into(), fixed: fixed(text), regex })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        match &self.fixed {
            Some(fixed) => fixed.iter().any(|fixed| **fixed == *text),
            None => self.regex.is_match(text.as_bytes()),
        }
    }

    /// The template with `$1`, `${name}` and the like replaced by what matched, when the whole text matches.
    pub fn expand(&self, text: &str, template: &str) -> Option<String> {
        let captures: Captures<'_> = self.regex.captures(text.as_bytes())?;
        let mut expanded = Vec::new();
        captures.expand(template.as_bytes(), &mut expanded);
        Some(String::from_utf8_lossy(&expanded).into_owned())
    }

    /// The only texts that can match, when the pattern is an alternation of plain texts.
    pub fn fixed_values(&self) -> Option<Vec<&str>> {
        Some(self.fixed.as_ref()?.iter().map(|value| &**value).collect())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

/// A pattern comes with a query: it may not take the memory of the hub.
const COMPILED_BYTES: usize = 4 << 20;

/// What makes a text more than itself, `|` apart.
const META: &[char] = &['\\', '.', '+', '*', '?', '(', ')', '[', ']', '{', '}', '^', '$'];

fn fixed(text: &str) -> Option<Box<[Box<str>]>> {
    (!text.contains(META)).then(|| text.split('|').map(Into::into).collect())
}

/// The compiler's errors are drawn over several lines; the last one says what is wrong.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// The same in Rust's syntax.
fn rewritten(text: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = match c {
            '\\' => escape(rest, Place::Outside, &mut out)?,
            '[' => class(rest, &mut out)?,
            '{' => brace(rest, &mut out),
            '(' => group(rest, &mut out)?,
            _ => take(rest, c, &mut out),
        };
    }
    Ok(out)
}

fn take<'a>(rest: &'a str, c: char, out: &mut String) -> &'a str {
    out.push(c);
    &rest[c.len_utf8()..]
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Outside,
    Class,
}

/// `\d`, `\w`, `\s` and `\b` know ASCII only; `\Q…\E` quotes; any escaped punctuation is itself; `\123` is octal.
fn escape<'a>(rest: &'a str, place: Place, out: &mut String) -> Result<&'a str, &'static str> {
    let after = &rest[1..];
    let Some(c) = after.chars().next() else { return Err("it ends with a backslash") };
    let next = &after[c.len_utf8()..];
    let class = |inside: &str, negated: bool| match (place, negated) {
        (Place::Class, false) => inside.to_owned(),
        (_, false) => format!("[{inside}]"),
        (_, true) => format!("[^{inside}]"),
    };
    match c {
        'd' | 'D' => out.push_str(&class("0-9", c == 'D')),
        'w' | 'W' => out.push_str(&class("0-9A-Za-z_", c == 'W')),
        's' | 'S' => out.push_str(&class(r"\t\n\x0C\r\x20", c == 'S')),
        'b' if place == Place::Outside => out.push_str("(?-u:\\b)"),
        'B' if place == Place::Outside => out.push_str("(?-u:\\B)"),
        'A' | 'z' if place == Place::Outside => out.extend(['\\', c]),
        'Q' if place == Place::Outside => {
            let end = next.find("\\E");
            out.push_str(&regex::escape(&next[..end.unwrap_or(next.len())]));
            return Ok(end.map_or("", |end| &next[end + 2..]));
        }
        '0'..='7' => return octal(after, out),
        'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'x' | 'p' | 'P' => out.extend(['\\', c]),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => hex(u32::from(c), out),
        _ => return Err("it has an escape that RE2 does not know"),
    }
    Ok(next)
}

fn hex(code: u32, out: &mut String) {
    out.push_str(&format!("\\x{{{code:X}}}"));
}

/// `\0` and up to two more digits, or three digits; `\1` alone would be a back reference.
fn octal<'a>(digits: &'a str, out: &mut String) -> Result<&'a str, &'static str> {
    let len = digits.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
    if !digits.starts_with('0') && len < 2 {
        return Err("RE2 has no back references");
    }
    hex(u32::from_str_radix(&digits[..len], 8).unwrap_or(0), out);
    Ok(&digits[len..])
}

/// `[…]`: `[`, `&`, `-` and `~` are plain characters there, where Rust would nest and combine classes.
fn class<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, &'static str> {
    let mut rest = take(rest, '[', out);
    if rest.starts_with('^') {
        rest = take(rest, '^', out);
    }
    if rest.starts_with(']') {
        out.push_str("\\]");
        rest = &rest[1..];
    }
    loop {
        let Some(c) = rest.chars().next() else { return Err("a `[` is not closed") };
        rest = match c {
            ']' => return Ok(take(rest, ']', out)),
            '\\' => escape(rest, Place::Class, out)?,
            '[' if rest.starts_with("[:") && rest.contains(":]") => {
                let end = rest.find(":]").map_or(rest.len(), |end| end + 2);
                out.push_str(&rest[..end]);
                &rest[end..]
            }
            '[' | '&' | '~' => {
                out.push('\\');
                take(rest, c, out)
            }
            '-' if rest.starts_with("--") => return Err("a class has `--`"),
            _ => take(rest, c, out),
        };
    }
}

/// `{` that begins no repetition is itself.
fn brace<'a>(rest: &'a str, out: &mut String) -> &'a str {
    let inside = rest[1..].split('}').next().filter(|inside| inside.len() + 1 < rest.len()).unwrap_or("");
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if least.is_empty() || !number(least) || !number(most) {
        out.push('\\');
    }
    take(rest, '{', out)
}

/// `(?…)` with the flags that RE2 has.
fn group<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, &'static str> {
    if let Some(flags) = rest.strip_prefix("(?")
        && !flags.starts_with(['P', '<'])
    {
        let len = flags.find([':', ')']).ok_or("a `(` is not closed")?;
        if !flags[..len].chars().all(|c| "imsU-".contains(c)) {
            return Err("it has a flag that RE2 does not know");
        }
    }
    Ok(take(rest, '(', out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(text)
    }

    #[test]
    fn classes_are_ascii_as_in_re2() {
        assert!(matches(r"\d+", "12"));
        assert!(!matches(r"\d", "٣"));
        assert!(!matches(r"\w+", "ä"));
        assert!(matches(r"\W", "ä"));
        assert!(matches(r"[\w-]+", "a-b"));
        assert!(matches(r"[^\s]+", "a"));
        assert!(!matches(r"[\S]", " "));
        assert!(matches(r"\bfoo\b", "foo"));
    }

    #[test]
    fn what_rust_reads_in_another_way_means_what_re2_says() {
        assert!(matches(r"[[]", "["));
        assert!(matches(r"[a&&b]+", "a&b"));
        assert!(matches(r"a{,5}", "a{,5}"));
        assert!(matches(r"a{2,3}", "aaa"));
        assert!(matches(r"\<x\>\/\ ", "<x>/ "));
        assert!(matches(r"\Qa.b\E.", "a.bc"));
        assert!(matches(r"\x41\101", "AA"));
        assert!(matches(r"[]a]+", "]a"));
        assert!(matches(r"[[:alpha:]]+", "abc"));
        assert!(matches("a.b", "a\nb"));
    }

    #[test]
    fn what_re2_does_not_know_is_refused() {
        for pattern in [r"\1", r"(?x:a)", r"a)(b", "(", "[", r"\", r"\u0041", "(?=a)"] {
            assert!(Pattern::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn matches_are_put_into_a_template() {
        let pattern = Pattern::new("(.*)-(?P<last>.*)").unwrap();
        assert_eq!(pattern.expand("a-b", "${last}_$1"), Some("b_a".to_owned()));
        assert_eq!(pattern.expand("ab", "$1"), None);
    }
}
