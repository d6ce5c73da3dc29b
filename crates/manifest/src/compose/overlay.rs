//! The override document that Compose is given beside the stack's own file.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Bind, Compose, MountPlan, Service, classify::Source};

/// What an override document is made from.
#[derive(Debug, Clone, Default)]
pub struct OverrideInput {
    /// The folder in which tracked mounts are kept by digest.
    pub mounts: String,
    /// The folder in which folders of parts that are reloaded are kept by name.
    pub live: String,
    /// The folder of the stack's state.
    pub state: String,
    /// The file to use for `env_file` entries that are not in Git.
    pub env_file: Option<String>,
    /// What to set for each service.
    pub services: BTreeMap<String, ServiceOverlay>,
}

/// What to set for a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceOverlay {
    /// The image as a local id, such as `sha256:…`.
    pub image: Option<String>,
    /// Labels to add.
    pub labels: BTreeMap<String, String>,
    /// Variables to add.
    pub environment: BTreeMap<String, String>,
}

/// Writes the override document. The same input gives the same bytes. Services that the Compose file
/// does not have are left out. It is YAML in JSON's syntax, but for Compose's own tag `!override`
/// (2.24.4 or newer) where an `env_file` must be replaced.
pub fn override_document(compose: &Compose, plan: &MountPlan, input: &OverrideInput) -> String {
    let services: Vec<String> = compose
        .services
        .iter()
        .filter_map(|(name, service)| {
            let fields = service_fields(name, service, plan, input);
            (!fields.is_empty()).then(|| format!("{}:{{{}}}", quote(name), fields.join(",")))
        })
        .collect();
    let mut parts = vec![format!("\"services\":{{{}}}", services.join(","))];
    for (key, sources) in [("configs", &plan.configs), ("secrets", &plan.secrets)] {
        if !sources.is_empty() {
            let entries: Map<_, _> = sources
                .iter()
                .map(|(name, source)| (name.clone(), json!({ "file": host_path(source, plan, input) })))
                .collect();
            parts.push(format!("{}:{}", quote(key), escaped(entries.into())));
        }
    }
    format!("{{{}}}\n", parts.join(","))
}

fn service_fields(name: &str, service: &Service, plan: &MountPlan, input: &OverrideInput) -> Vec<String> {
    let mut fields = Vec::new();
    if let Some(overlay) = input.services.get(name) {
        if let Some(image) = &overlay.image {
            fields.push(format!("\"image\":{}", escaped(image.as_str().into())));
        }
        for (key, pairs) in [("labels", &overlay.labels), ("environment", &overlay.environment)] {
            if !pairs.is_empty() {
                fields.push(format!("{}:{}", quote(key), escaped(json!(pairs))));
            }
        }
    }
    if let Some(binds) = plan.binds.get(name) {
        let volumes = binds.iter().map(|(bind, source)| volume(bind, source, plan, input)).collect();
        fields.push(format!("\"volumes\":{}", escaped(volumes)));
    }
    fields.extend(env_files(service, plan, input));
    fields
}

fn volume(bind: &Bind, source: &Source, plan: &MountPlan, input: &OverrideInput) -> Value {
    let mut volume = bind.extra.clone();
    volume.insert("type".to_owned(), "bind".into());
    volume.insert("source".to_owned(), host_path(source, plan, input).into());
    volume.insert("target".to_owned(), bind.target.as_str().into());
    if bind.read_only {
        volume.insert("read_only".to_owned(), true.into());
    }
    if !matches!(source, Source::State(_)) {
        // What comes from Git must be there: Docker would make an empty folder in its place.
        let options = volume.entry("bind").or_insert_with(|| json!({}));
        if let Value::Object(options) = options {
            options.insert("create_host_path".to_owned(), false.into());
        }
    }
    volume.into()
}

/// `env_file` lists are joined by Compose, so a list with files that are not there must be replaced as a whole.
fn env_files(service: &Service, plan: &MountPlan, input: &OverrideInput) -> Option<String> {
    let replacement = input.env_file.as_ref()?;
    if !service.env_files.iter().any(|file| plan.untracked_env.contains(&file.path)) {
        return None;
    }
    let files = service
        .env_files
        .iter()
        .map(|file| match plan.untracked_env.contains(&file.path) {
            true => json!({ "path": replacement, "required": true }),
            false => json!({ "path": file.path, "required": file.required }),
        })
        .collect();
    Some(format!("\"env_file\": !override {}", escaped(files)))
}

fn host_path(source: &Source, plan: &MountPlan, input: &OverrideInput) -> String {
    match source {
        Source::Tracked(index) => {
            plan.tracked.get(*index).map_or_else(String::new, |mount| mount.source(&input.mounts))
        }
        Source::Live(index) => {
            plan.live.get(*index).map_or_else(String::new, |mount| format!("{}/{}", input.live, mount.name()))
        }
        Source::State(path) if path.is_empty() => input.state.clone(),
        Source::State(path) => format!("{}/{path}", input.state),
    }
}

fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

/// JSON text in which every dollar sign is doubled: Compose looks for references here too.
fn escaped(value: Value) -> String {
    fn walk(value: &mut Value) {
        match value {
            Value::String(text) => *text = text.replace('$', "$$"),
            Value::Array(items) => items.iter_mut().for_each(walk),
            Value::Object(entries) => entries.values_mut().for_each(walk),
            _ => {}
        }
    }
    let mut value = value;
    walk(&mut value);
    value.to_string()
}
