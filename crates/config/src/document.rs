//! The JSON schema, and the documented example made from it.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::Settings;

/// The JSON schema of the settings file.
pub fn schema() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut schema = settings.into_generator().into_root_schema_for::<Settings>().to_value();
    schema["title"] = "Settings of Backstay".into();
    schema
}

/// A file with every key, its documentation and its default, commented out.
pub fn example() -> String {
    let mut text = String::from(
        "# Settings of Backstay. Every key may be left out; what stands here are the defaults.\n\
         # A variable BACKSTAY_<SECTION>_<KEY> goes before the file: BACKSTAY_HUB_LISTEN=127.0.0.1:9000.\n",
    );
    for (section, schema) in properties(&schema()) {
        text.push('\n');
        comment(&mut text, &schema);
        text.push_str(&format!("[{section}]\n"));
        for (key, schema) in properties(&schema) {
            comment(&mut text, &schema);
            let value =
                schema.get("default").filter(|value| !value.is_null()).or_else(|| schema["examples"].get(0));
            text.push_str(&format!("# {key} = {}\n", value.map(as_toml).unwrap_or_default()));
        }
    }
    text
}

/// What is known below an object of the schema, by name.
pub(crate) fn properties(schema: &Value) -> Map<String, Value> {
    schema["properties"].as_object().cloned().unwrap_or_default()
}

/// A value as the file has it: tables are written otherwise there than in JSON.
fn as_toml(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|(key, value)| format!("{key} = {}", as_toml(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        plain => plain.to_string(),
    }
}

fn comment(text: &mut String, schema: &Value) {
    for line in schema["description"].as_str().unwrap_or_default().lines() {
        text.push_str(&format!("# {line}\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_means_the_defaults_and_so_does_the_file_without_its_comments() {
        let example = example();
        assert!(example.contains("# listen = \"127.0.0.1:8484\""), "{example}");
        assert!(example.contains("# hold = \"1m\""), "{example}");
        let default = toml::to_string(&Settings::default()).unwrap();
        let parse = |text: &str| toml::to_string(&crate::parse("x.toml", text, []).unwrap()).unwrap();
        assert_eq!(parse(&example), default);
        let keys = example.lines().filter_map(|line| line.strip_prefix("# "));
        let keys = keys.filter(|line| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')));
        let optional = [
            "database",
            "public_url",
            "run_dir",
            "ca_file",
            "target",
            "second =",
            "max_bytes",
            "program",
            "bytes_per",
            "backup_program",
            "known_secrets",
            "folder",
        ];
        for key in keys.filter(|line| !optional.iter().any(|name| line.starts_with(name))) {
            let name = key.split_once(" = ").unwrap().0;
            assert!(default.contains(&format!("{name} = ")), "{key}");
        }
    }

    #[test]
    fn every_key_is_documented() {
        for (section, schema) in properties(&schema()) {
            assert!(schema["description"].is_string(), "{section}");
            for (key, schema) in properties(&schema) {
                assert!(schema["description"].is_string(), "{section}.{key}");
            }
        }
    }
}
