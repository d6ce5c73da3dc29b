//! One line for people about a tool call.

use backstay_types::redact::redact;
use serde_json::Value;

/// The most characters of a summary.
const LONGEST: usize = 200;
/// The most bytes that are looked at for one.
const MAX_BYTES: usize = 16 << 10;

/// Parameters that say best what a call does, best first.
const TELLING: [&str; 12] = [
    "command",
    "cmd",
    "file_path",
    "filePath",
    "path",
    "notebook_path",
    "url",
    "query",
    "pattern",
    "description",
    "message",
    "prompt",
];

/// `Tool: what`, on one line, without secrets.
pub(crate) fn tool_call(tool: &str, params: Option<&Value>, error: Option<&str>) -> String {
    let what = params.map(telling).unwrap_or_default();
    let mut text = if what.is_empty() { tool.to_owned() } else { format!("{tool}: {what}") };
    if let Some(error) = error.filter(|error| !error.is_empty()) {
        text = format!("{text} → {error}");
    }
    line(&text)
}

/// Any text on one line, without secrets, cut to length.
pub(crate) fn line(text: &str) -> String {
    let mut end = text.len().min(MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // Secrets first: what is cut in the middle could not be recognised any more.
    let text = redact(&text[..end]);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let text = words.join(" ");
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some(_) => {
            let cut: String = text.chars().take(LONGEST - 1).collect();
            format!("{cut}…")
        }
    }
}

fn telling(params: &Value) -> String {
    match params {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Object(map) => {
            let found = TELLING.iter().find_map(|key| map.get(*key).and_then(Value::as_str));
            found.map_or_else(
                || if map.is_empty() { String::new() } else { params.to_string() },
                str::to_owned,
            )
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn says_what_a_call_does() {
        let call = |params: Value| tool_call("Bash", Some(&params), None);
        assert_eq!(call(json!({"description": "list", "command": "ls\n-la"})), "Bash: ls -la");
        assert_eq!(call(json!({"x": 1})), "Bash: {\"x\":1}");
        assert_eq!(call(json!({})), "Bash");
        assert_eq!(tool_call("exec", None, Some("exit 1")), "exec → exit 1");
    }

    #[test]
    fn hides_secrets_before_it_cuts() {
        let command = format!("{} --password hunter2hunter2", "x".repeat(170));
        let text = tool_call("Bash", Some(&json!({ "command": command })), None);
        assert!(!text.contains("hunter") && text.contains("[hid"), "{text}");
    }

    proptest! {
        #[test]
        fn is_one_line_of_bounded_length(text in ".{0,400}") {
            let line = line(&text);
            prop_assert!(line.chars().count() <= LONGEST && !line.chars().any(char::is_control));
        }
    }
}
