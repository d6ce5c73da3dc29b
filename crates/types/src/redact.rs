//! Finding what looks like a secret in text: to refuse it in Git, to hide it in summaries.
//!
//! Two kinds of evidence: the form of a known credential (certain), and a value under a name that
//! speaks of secrets (likely, when the value looks random). Nothing here says that a text is free
//! of secrets.

use std::ops::Range;

/// What stands in the place of a secret.
pub const HIDDEN: &str = "[hidden]";

/// Something in a text that looks like a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where it is, in bytes.
    pub range: Range<usize>,
    /// What it looks like, such as `a GitHub token`.
    pub what: &'static str,
    /// How sure that is.
    pub certainty: Certainty,
}

/// How sure it is that something is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// A value under a name that speaks of secrets; it may be a placeholder.
    Named,
    /// The same, and the value looks random.
    Likely,
    /// The form of a known credential.
    Certain,
}

/// Known credentials: what they begin with, how many characters follow at least, what they are.
const KNOWN: [(&str, usize, &str); 22] = [
    ("ghp_", 30, "a GitHub token"),
    ("gho_", 30, "a GitHub token"),
    ("ghu_", 30, "a GitHub token"),
    ("ghs_", 30, "a GitHub token"),
    ("ghr_", 30, "a GitHub token"),
    ("github_pat_", 40, "a GitHub token"),
    ("glpat-", 18, "a GitLab token"),
    ("AKIA", 16, "an AWS access key"),
    ("ASIA", 16, "an AWS access key"),
    ("xoxb-", 20, "a Slack token"),
    ("xoxp-", 20, "a Slack token"),
    ("xapp-", 20, "a Slack token"),
    ("sk-ant-", 20, "an Anthropic key"),
    ("sk-proj-", 20, "an OpenAI key"),
    ("sk-or-v1-", 20, "an OpenRouter key"),
    ("sk_live_", 16, "a Stripe key"),
    ("rk_live_", 16, "a Stripe key"),
    ("AIza", 35, "a Google API key"),
    ("npm_", 36, "an npm token"),
    ("hvs.", 20, "a Vault token"),
    ("AGE-SECRET-KEY-1", 50, "an age key"),
    ("whsec_", 24, "a webhook secret"),
];

/// Ends of names whose values are secrets, without `_`, `-` and `.`, in lower case.
const NAMES: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "credential",
    "credentials",
    "signingkey",
    "encryptionkey",
];

/// Parts of values that are placeholders, in lower case.
const PLACEHOLDERS: [&str; 10] =
    ["change", "example", "placeholder", "your", "xxxx", "dummy", "sample", "todo", "replace", "insert"];

/// Everything in a text that looks like a secret, by place, without overlaps.
pub fn find(text: &str) -> Vec<Finding> {
    let mut found = private_keys(text);
    found.extend(known(text));
    found.extend(addresses(text));
    found.extend(bearers(text));
    found.extend(named(text));
    found.sort_by_key(|finding| (finding.range.start, std::cmp::Reverse(finding.certainty)));
    let mut end = 0;
    found.retain(|finding| {
        let keep = finding.range.start >= end && !finding.range.is_empty();
        if keep {
            end = finding.range.end;
        }
        keep
    });
    found
}

/// The lines of a text, without their ends, with everything that looks like a secret replaced by [`HIDDEN`]: as
/// [`redact`], but as many lines as the text has.
pub fn lines(text: &str) -> Vec<String> {
    let found = find(text);
    let mut start = 0;
    let line = |line: &str| {
        let range = start..start + line.len();
        start = range.end;
        let mut out = String::with_capacity(line.len());
        let mut from = range.start;
        let here = |finding: &&Finding| finding.range.start < range.end && finding.range.end > range.start;
        for finding in found.iter().filter(here) {
            out.push_str(&text[from..finding.range.start.max(from)]);
            out.push_str(HIDDEN);
            from = finding.range.end.min(range.end);
        }
        out.push_str(&text[from..range.end]);
        out.truncate(out.trim_end_matches(['\n', '\r']).len());
        out
    };
    text.split_inclusive('\n').map(line).collect()
}

/// The text with everything that looks like a secret replaced by [`HIDDEN`].
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for finding in find(text) {
        out.push_str(&text[from..finding.range.start]);
        out.push_str(HIDDEN);
        from = finding.range.end;
    }
    out.push_str(&text[from..]);
    out
}

fn private_keys(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("-----BEGIN ").map(|at| from + at) {
        let line = text[at..].lines().next().unwrap_or_default();
        from = at + "-----BEGIN ".len();
        if !line.contains("PRIVATE KEY") {
            continue;
        }
        // Without an end all that follows is taken for the key.
        let end = text[from..].find("-----END ").map(|end| from + end + "-----END ".len());
        let end = end.map_or(text.len(), |end| end + text[end..].find("-----").map_or(0, |at| at + 5));
        found.push(Finding { range: at..end, what: "a private key", certainty: Certainty::Certain });
        from = end;
    }
    found
}

fn known(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |prefix: &str, least: usize, what, is_part: fn(u8) -> bool| {
        for (at, _) in text.match_indices(prefix) {
            let inside_word = at > 0 && text.as_bytes()[at - 1].is_ascii_alphanumeric();
            let tail = text.as_bytes()[at + prefix.len()..].iter().take_while(|&&b| is_part(b)).count();
            if !inside_word && tail >= least {
                let range = at..at + prefix.len() + tail;
                found.push(Finding { range, what, certainty: Certainty::Certain });
            }
        }
    };
    for (prefix, least, what) in KNOWN {
        add(prefix, least, what, |b| b.is_ascii_alphanumeric() || b"_-+/=".contains(&b));
    }
    add("eyJ", 60, "a JSON web token", |b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    found
}

/// Passwords in addresses: `scheme://user:password@host`.
fn addresses(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("://") {
        let start = at + 3;
        let end = text[start..].find(|c: char| c.is_whitespace() || "/\"'`<>?#".contains(c));
        let authority = &text[start..end.map_or(text.len(), |end| start + end)];
        if let Some((user, _)) = authority.rsplit_once('@')
            && let Some((name, password)) = user.split_once(':')
            && !is_reference(password)
        {
            let range = start + name.len() + 1..start + user.len();
            let certainty = if is_placeholder(password) { Certainty::Named } else { Certainty::Likely };
            found.push(Finding { range, what: "a password in an address", certainty });
        }
    }
    found
}

fn bearers(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for scheme in ["Bearer ", "bearer ", "Basic "] {
        for (at, _) in text.match_indices(scheme) {
            let start = at + scheme.len();
            let len = text.as_bytes()[start..]
                .iter()
                .take_while(|&&b| b.is_ascii_graphic() && !b"\"'`,;".contains(&b))
                .count();
            let value = &text[start..start + len];
            if len >= 12 && !is_reference(value) {
                let certainty = if looks_random(value) { Certainty::Likely } else { Certainty::Named };
                found.push(Finding { range: start..start + len, what: "an authorization header", certainty });
            }
        }
    }
    found
}

/// Values of names that speak of secrets: `NAME=value`, `"name": "value"`, `--name value`.
fn named(text: &str) -> Vec<Finding> {
    let bytes = text.as_bytes();
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let len = bytes[at..].iter().take_while(|&&b| is_name(b)).count();
        if len == 0 {
            at += 1;
            continue;
        }
        let name = &text[at..at + len];
        at += len;
        if is_secret_name(name)
            && let Some(range) = value_after(bytes, at, name.starts_with('-'))
        {
            let value = &text[range.clone()];
            if value.len() >= 4 && !is_reference(value) {
                let certainty = if looks_random(value) { Certainty::Likely } else { Certainty::Named };
                found.push(Finding {
                    range: range.clone(),
                    what: "a value under a secret's name",
                    certainty,
                });
                at = range.end;
            }
        }
    }
    found
}

fn is_secret_name(name: &str) -> bool {
    let plain: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect();
    NAMES.iter().any(|end| plain.ends_with(end))
}

/// The bytes of the value that belongs to a name ending at `at`.
fn value_after(bytes: &[u8], at: usize, option: bool) -> Option<Range<usize>> {
    let skip = |at: usize, set: &[u8]| at + bytes[at..].iter().take_while(|b| set.contains(b)).count();
    // `"name"` and `\"name\"` inside another string.
    let after_name = skip(at, b"\\\"'");
    let sign = skip(after_name, b" \t");
    let start = match bytes.get(sign) {
        Some(b'=' | b':') => skip(sign + 1, b" \t"),
        Some(_) if option && sign > after_name => sign,
        _ => return None,
    };
    let quoted = skip(start, b"\\\"'");
    let ends: &[u8] = if quoted > start { b"\"'\\\n" } else { b" \t\r\n\"'\\,;&)}]" };
    let len = bytes[quoted..].iter().take_while(|b| !ends.contains(b)).count();
    Some(quoted..quoted + len)
}

/// Whether a value points to where the secret is instead of being it.
fn is_reference(value: &str) -> bool {
    value.starts_with(['$', '<', '{', '/', '%', '*', '.'])
        || value.contains("${")
        || value.contains("{{")
        || value == HIDDEN
}

fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    PLACEHOLDERS.iter().any(|word| lower.contains(word))
}

/// At least 16 characters, letters and digits mixed, hardly repeating, and no placeholder.
fn looks_random(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    value.len() >= 16 && digits >= 2 && letters >= 4 && !is_placeholder(value) && bits_per_byte(value) >= 3.2
}

fn bits_per_byte(value: &str) -> f64 {
    let mut counts = [0u32; 256];
    for byte in value.bytes() {
        counts[usize::from(byte)] += 1;
    }
    let len = f64::from(u32::try_from(value.len()).unwrap_or(u32::MAX));
    counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| f64::from(count) / len)
        .map(|p| -p * p.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Put together here so that the project's own source holds nothing that looks like one.
    fn fake(prefix: &str, len: usize) -> String {
        let body = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4";
        format!("{prefix}{}", &body.repeat(2)[..len])
    }

    #[test]
    fn known_forms_are_certain() {
        for (prefix, least, what) in KNOWN {
            let text = format!("key is {} ok", fake(prefix, least + 2));
            let found = find(&text);
            assert_eq!(
                (found.len(), found[0].what, found[0].certainty),
                (1, what, Certainty::Certain),
                "{text}"
            );
            assert_eq!(redact(&text), "key is [hidden] ok");
        }
        let pem = format!("a\n-----BEGIN {0}-----\nxyz\n-----END {0}-----\nb", "OPENSSH PRIVATE KEY");
        assert_eq!(redact(&pem), "a\n[hidden]\nb");
        assert!(find("-----BEGIN CERTIFICATE-----\nxyz\n-----END CERTIFICATE-----").is_empty());
    }

    #[test]
    fn named_values_are_hidden() {
        let random = fake("", 24);
        for (text, expected) in [
            (format!("DB_PASSWORD={random} x"), "DB_PASSWORD=[hidden] x"),
            (format!("{{\"apiKey\": \"{random}\", \"a\": 1}}"), "{\"apiKey\": \"[hidden]\", \"a\": 1}"),
            (format!("login --password {random} --user me"), "login --password [hidden] --user me"),
            (format!("export MY.TOKEN='{random}'"), "export MY.TOKEN='[hidden]'"),
            (format!("{{\\\"token\\\":\\\"{random}\\\"}}"), "{\\\"token\\\":\\\"[hidden]\\\"}"),
            (
                "curl -H 'Authorization: Bearer abcdefghijkl1234'".to_owned(),
                "curl -H 'Authorization: Bearer [hidden]'",
            ),
            ("postgres://app:hunter2@db/x".to_owned(), "postgres://app:[hidden]@db/x"),
        ] {
            assert_eq!(redact(&text), expected);
        }
    }

    #[test]
    fn references_and_ordinary_words_stay() {
        for text in [
            "DB_PASSWORD=${DB_PASSWORD}",
            "password: {{ vault }}",
            "TOKEN=$TOKEN",
            "password_file: /run/secrets/x",
            "max_tokens: 4096",
            "the token was accepted",
            "https://host/a@b:c",
            "secret:",
            "PASSWORD=",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn placeholders_are_only_named() {
        let certainty = |text: &str| find(text)[0].certainty;
        assert_eq!(certainty("PASSWORD=changeme"), Certainty::Named);
        assert_eq!(certainty("API_TOKEN=your-token-goes-here-123456"), Certainty::Named);
        assert_eq!(certainty(&format!("API_TOKEN={}", fake("", 20))), Certainty::Likely);
    }

    proptest! {
        #[test]
        fn never_panics_and_hides_for_good(text in ".*", odd in "(password|token|=|:|\"|'|\\\\|é| |://|@|Bearer ){0,12}") {
            for text in [text, odd] {
                for finding in find(&text) {
                    prop_assert!(text.is_char_boundary(finding.range.start) && text.is_char_boundary(finding.range.end));
                }
                let _ = redact(&text);
            }
        }

        #[test]
        fn a_named_secret_never_survives(value in "[a-zA-Z0-9]{8,40}", before in "[a-z ]{0,10}", after in "[a-z ]{0,10}") {
            let text = format!("{before} X_SECRET={value} {after}");
            prop_assert!(!redact(&text).contains(&value));
        }
    }
}
