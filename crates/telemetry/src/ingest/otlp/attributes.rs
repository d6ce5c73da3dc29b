//! Attributes as labels.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};

use super::names;
use crate::{Labels, LabelsBuilder, METRIC_NAME};

/// Labels of a resource: what is on each of its series, and what only `target_info` has.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// `job` and `instance`, as far as the resource says them.
    pub(super) own: LabelsBuilder,
    /// All of it, when something is left beside what names the target.
    pub(super) info: Option<Labels>,
}

const SERVICE: &str = "service.name";
const NAMESPACE: &str = "service.namespace";
const INSTANCE: &str = "service.instance.id";

impl Target {
    pub(super) fn of(attributes: &[KeyValue]) -> Self {
        let get = |name: &str| {
            attributes.iter().find(|pair| pair.key == name).map(|pair| text(pair.value.as_ref()))
        };
        let mut own = LabelsBuilder::default();
        let mut named = false;
        if let Some(service) = get(SERVICE).filter(|service| !service.is_empty()) {
            let namespace = get(NAMESPACE).filter(|namespace| !namespace.is_empty());
            let job = namespace.map_or_else(|| service.clone(), |namespace| format!("{namespace}/{service}"));
            own.set("job", job);
            named = true;
        }
        if let Some(instance) = get(INSTANCE).filter(|instance| !instance.is_empty()) {
            own.set("instance", instance);
            named = true;
        }
        let rest: Vec<_> = attributes
            .iter()
            .filter(|pair| ![SERVICE, NAMESPACE, INSTANCE].contains(&&*pair.key))
            .cloned()
            .collect();
        let info = (named && !rest.is_empty()).then(|| {
            let mut info = add(&own, &rest);
            info.set(METRIC_NAME, "target_info");
            info.build()
        });
        Self { own, info }
    }
}

/// Adds attributes to labels. Those that come to the same name are put together, as in Prometheus; what is there before
/// stays.
pub(super) fn add(labels: &LabelsBuilder, attributes: &[KeyValue]) -> LabelsBuilder {
    let mut sorted: Vec<_> = attributes.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    let mut by_name: BTreeMap<String, String> = BTreeMap::new();
    for pair in sorted {
        let value = text(pair.value.as_ref());
        by_name
            .entry(names::label(&pair.key))
            .and_modify(|there| {
                there.push(';');
                there.push_str(&value);
            })
            .or_insert(value);
    }
    let before = labels.clone().build();
    let mut labels = labels.clone();
    for (name, value) in by_name {
        if !name.is_empty() && before.get(&name).is_none() && name != METRIC_NAME {
            labels.set(name, value);
        }
    }
    labels
}

/// A value as text: lists and maps as JSON.
pub(crate) fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        None => String::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(value) => match json(value) {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        },
    }
}

/// A value as JSON.
pub(crate) fn json(value: &Value) -> serde_json::Value {
    let of = |value: &AnyValue| value.value.as_ref().map_or(serde_json::Value::Null, json);
    match value {
        Value::StringValue(text) => text.as_str().into(),
        Value::BoolValue(value) => (*value).into(),
        Value::IntValue(value) => (*value).into(),
        Value::DoubleValue(value) => (*value).into(),
        Value::ArrayValue(list) => list.values.iter().map(of).collect(),
        Value::KvlistValue(list) => serde_json::Value::Object(
            list.values
                .iter()
                .map(|pair| (pair.key.clone(), pair.value.as_ref().map_or(serde_json::Value::Null, of)))
                .collect(),
        ),
        Value::BytesValue(bytes) => {
            use base64::Engine as _;
            base64::prelude::BASE64_STANDARD.encode(bytes).into()
        }
        // A place in a table that only profiles have.
        Value::StringValueStrindex(_) => serde_json::Value::Null,
    }
}
