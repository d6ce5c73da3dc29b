//! Hiding secrets in lines before anything of them is written.
//!
//! Three layers, each with a counter: secrets that the hub knows, forms and names that speak of secrets (as everywhere in
//! the project: [`backstay_types::redact`]), and words that look random and stand alone. What is hidden cannot be brought
//! back.

use std::sync::LazyLock;

use backstay_types::{
    Secret,
    redact::{self, HIDDEN},
};
use regex::Regex;
use serde_json::Value;

use super::record::LogRecord;

/// How many secrets were hidden, by what told them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Hidden {
    /// The hub knows them.
    pub known: u64,
    /// Their form, or the name before them.
    pub pattern: u64,
    /// They look random.
    pub entropy: u64,
}

impl Hidden {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.known + self.pattern + self.entropy
    }
}

/// A known secret is hidden from this length on, in bytes: shorter ones stand in ordinary words.
const SHORTEST: usize = 8;

/// What the patterns could find begins with or holds one of these: most lines have none, and are left alone at once.
static HINT: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = "(?i:key|passw|passphrase|secret|token|credential)";
    let forms = "://|[Bb]earer |Basic |-----BEGIN |gh[pousr]_|github_pat_|glpat-|A[KS]IA|xox[bp]-|xapp-|sk-|[sr]k_live_|AIza|\
                 npm_|hvs\\.|AGE-SECRET|whsec_|eyJ";
    Regex::new(&format!("{names}|{forms}")).ok()
});

/// A long word of letters and digits, as keys are; hexadecimal ones are digests and ids.
static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new("[A-Za-z0-9_+/=-]{32,}").ok());

/// Hides secrets.
#[derive(Debug, Default)]
pub struct Redactor {
    known: Option<Regex>,
}

impl Redactor {
    /// One that knows some secrets.
    pub fn new(known: &[Secret]) -> Self {
        let mut texts: Vec<&str> =
            known.iter().map(Secret::expose).filter(|text| text.len() >= SHORTEST).collect();
        // Of two that begin alike the longer one is hidden.
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let any = texts.iter().map(|text| regex::escape(text)).collect::<Vec<_>>().join("|");
        Self { known: (!texts.is_empty()).then(|| Regex::new(&any).ok()).flatten() }
    }

    /// Hides what is in a record.
    pub fn record(&self, record: &mut LogRecord) -> Hidden {
        let mut hidden = Hidden::default();
        self.text(&mut record.body, &mut hidden);
        if !record.attributes.is_empty() {
            match serde_json::from_str::<Value>(&record.attributes) {
                Ok(mut value) => {
                    let before = hidden.total();
                    self.value(&mut value, &mut hidden);
                    if hidden.total() > before {
                        record.attributes = value.to_string();
                    }
                }
                // Not what it should be: as text.
                Err(_) => self.text(&mut record.attributes, &mut hidden),
            }
        }
        for field in record.fields.iter_mut().filter(|field| !field.is_empty()) {
            let mut text = field.to_string();
            let before = hidden.total();
            self.certain(&mut text, &mut hidden);
            if hidden.total() > before {
                *field = text.into();
            }
        }
        hidden
    }

    /// Hides what is in a text.
    pub fn text(&self, text: &mut String, hidden: &mut Hidden) {
        self.certain(text, hidden);
        if text.len() >= 32
            && let Some(word) = &*WORD
        {
            replace(text, word, looks_random, &mut hidden.entropy);
        }
    }

    /// Without what only looks random: ids of traces and releases do too.
    fn certain(&self, text: &mut String, hidden: &mut Hidden) {
        if let Some(known) = &self.known {
            replace(text, known, |_| true, &mut hidden.known);
        }
        if HINT.as_ref().is_some_and(|hint| !hint.is_match(text)) {
            return;
        }
        let found = redact::find(text);
        if !found.is_empty() {
            hidden.pattern += found.len() as u64;
            *text = redact::redact(text);
        }
    }

    fn value(&self, value: &mut Value, hidden: &mut Hidden) {
        match value {
            Value::String(text) => self.text(text, hidden),
            Value::Array(list) => list.iter_mut().for_each(|value| self.value(value, hidden)),
            Value::Object(map) => {
                for (name, value) in map {
                    // A name that speaks of a secret hides all of its text, as `name=text` would.
                    match value {
                        Value::String(text) if speaks_of_a_secret(name, text) => {
                            hidden.pattern += 1;
                            HIDDEN.clone_into(text);
                        }
                        value => self.value(value, hidden),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn speaks_of_a_secret(name: &str, text: &str) -> bool {
    // As it would stand in a line, in quotes: what ends the value there does not end it here.
    let plain = text.replace(['"', '\'', '\\', '\n'], "x");
    let line = format!("{name}=\"{plain}\"");
    redact::find(&line).iter().any(|finding| finding.range.start == name.len() + 2)
}

fn replace(text: &mut String, what: &Regex, really: impl Fn(&str) -> bool, count: &mut u64) {
    let mut out: Option<String> = None;
    let mut from = 0;
    for found in what.find_iter(text).filter(|found| really(found.as_str())) {
        let out = out.get_or_insert_with(String::new);
        out.push_str(&text[from..found.start()]);
        out.push_str(HIDDEN);
        from = found.end();
        *count += 1;
    }
    if let Some(mut out) = out {
        out.push_str(&text[from..]);
        *text = out;
    }
}

/// Small and large letters and digits mixed, hardly repeating: no digest, no id, no path of words.
fn looks_random(word: &str) -> bool {
    let count = |is: fn(&u8) -> bool| word.bytes().filter(is).count();
    let (small, large, digits) =
        (count(u8::is_ascii_lowercase), count(u8::is_ascii_uppercase), count(u8::is_ascii_digit));
    // Paths and joined words have few changes of kind.
    let kind = |byte: u8| (byte.is_ascii_lowercase(), byte.is_ascii_uppercase(), byte.is_ascii_digit());
    let changes = word.as_bytes().windows(2).filter(|pair| kind(pair[0]) != kind(pair[1])).count();
    small.min(large) >= 5 && digits >= 3 && changes * 5 >= word.len() * 2 && bits_per_byte(word) >= 4.2
}

fn bits_per_byte(word: &str) -> f64 {
    let mut counts = [0_u32; 256];
    word.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let all = word.len() as f64;
    counts.iter().filter(|n| **n > 0).map(|n| f64::from(*n) / all).map(|p| -p * p.log2()).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Put together here so that the project's own source holds nothing that looks like a secret.
    fn random() -> String {
        "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0".to_owned()
    }

    fn hidden(redactor: &Redactor, body: &str, attributes: &str) -> (LogRecord, Hidden) {
        let mut record =
            LogRecord { body: body.into(), attributes: attributes.into(), ..LogRecord::default() };
        let hidden = redactor.record(&mut record);
        (record, hidden)
    }

    #[test]
    fn each_layer_hides_and_counts_its_own() {
        let redactor = Redactor::new(&[Secret::new("correct horse battery")]);
        let (record, count) = hidden(&redactor, "said correct horse battery.", "");
        assert_eq!((&*record.body, count.known), ("said [hidden].", 1));
        let (record, count) = hidden(&redactor, "postgres://app:hunter2@db/x is up", "");
        assert_eq!((&*record.body, count.pattern), ("postgres://app:[hidden]@db/x is up", 1));
        let (record, count) = hidden(&redactor, &format!("sent {} to b", random()), "");
        assert_eq!((&*record.body, count.entropy), ("sent [hidden] to b", 1));
        let attributes = serde_json::json!({
            "db": { "password": "two words" }, "n": 5, "list": [format!("x {}", random())], "plain": "text",
        });
        let (record, count) = hidden(&redactor, "", &attributes.to_string());
        let expected = serde_json::json!({
            "db": { "password": "[hidden]" }, "n": 5, "list": ["x [hidden]"], "plain": "text",
        });
        assert_eq!(serde_json::from_str::<Value>(&record.attributes).unwrap(), expected);
        assert_eq!(count, Hidden { known: 0, pattern: 1, entropy: 1 });
    }

    #[test]
    fn ids_digests_paths_and_ordinary_lines_stay() {
        let redactor = Redactor::new(&[Secret::new("short")]);
        for body in [
            "trace 4bf92f3577b34da6a3ce929d0e0e4736 deployment 019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b",
            "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "at com.example.shop.CheckoutServiceImplementationFactoryBean.create(Checkout.java:88)",
            "/usr/local/lib/python3.11/site-packages/AbstractBaseHandler/Handler2.py",
            "short and sweet, 200 OK",
        ] {
            let (record, count) = hidden(&redactor, body, "");
            assert_eq!((&*record.body, count), (body, Hidden::default()));
        }
    }

    proptest! {
        #[test]
        fn what_the_project_knows_as_a_secret_never_survives(
            before in "[a-zA-Z ]{0,12}",
            value in "[a-zA-Z0-9]{8,40}",
            name in "(X_SECRET|db.password|apiKey|API_TOKEN|--passphrase|credentials)",
            sign in "(=|: |=\")",
        ) {
            let redactor = Redactor::default();
            let (record, _) = hidden(&redactor, &format!("{before} {name}{sign}{value}"), "");
            prop_assert!(!record.body.contains(&value), "{}", record.body);
            let attributes = serde_json::json!({ "a": { name.clone(): value.clone() } }).to_string();
            let (record, _) = hidden(&redactor, "", &attributes);
            prop_assert!(!record.attributes.contains(&value), "{}", record.attributes);
        }

        #[test]
        fn known_ones_never_survive_and_nothing_panics(body in ".{0,60}", secret in ".{8,20}", tail in ".{0,20}") {
            let redactor = Redactor::new(&[Secret::new(secret.clone())]);
            let (record, _) = hidden(&redactor, &format!("{body}{secret}{tail}"), &body);
            prop_assert!(!record.body.contains(&secret));
            let again = hidden(&redactor, &record.body, &record.attributes).0;
            prop_assert_eq!(&again.attributes, &record.attributes);
        }
    }
}
