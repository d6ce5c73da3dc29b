//! YAML as a tree of values with places. Aliases and merge keys are resolved.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::{Problem, code, read::text};

/// How much aliases may unfold to, in YAML events: far more than any real file, far less than a bomb.
const MAX_REPLAYED: usize = 50_000;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Yaml,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

#[derive(Debug, Clone)]
pub(crate) enum Yaml {
    Null,
    Bool(bool),
    /// Numbers and texts alike, as Compose takes either for most fields; numbers as written in decimal.
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

/// Parses one YAML document.
pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Node, Problem> {
    let text = text(file, bytes)?;
    let alias_limits = serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED };
    let options = serde_saphyr::options! { with_snippet: false, alias_limits: alias_limits };
    match serde_saphyr::from_str_with_options::<Option<Raw>>(text, options) {
        Ok(Some(raw)) => Ok(raw.into_node()),
        Ok(None) => Ok(Node { value: Yaml::Null, line: 1, column: 1 }),
        Err(error) => {
            let place = error.location();
            let number = |n: u64| u32::try_from(n).unwrap_or(0);
            let message = error.without_snippet().to_string();
            // The place has fields of its own.
            let message = message.split(" at line ").next().unwrap_or_default();
            Err(Problem::error(code::YAML_SYNTAX, file, format!("not valid YAML: {message}"))
                .at(place.map_or(0, |p| number(p.line())), place.map_or(0, |p| number(p.column()))))
        }
    }
}

impl Node {
    /// The value under a key of a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// A map's entries; none of anything else.
    pub(crate) fn entries(&self) -> &[(String, Node)] {
        match &self.value {
            Yaml::Map(entries) => entries,
            _ => &[],
        }
    }

    /// A list's items; none of anything else.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Yaml::List(items) => items,
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Yaml::Text(text) => Some(text),
            Yaml::Bool(true) => Some("true"),
            Yaml::Bool(false) => Some("false"),
            _ => None,
        }
    }

    /// Whether it is true, also when written as a text.
    pub(crate) fn is_true(&self) -> bool {
        self.text() == Some("true")
    }

    /// What it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Yaml::Null => "nothing",
            Yaml::Bool(_) => "true or false",
            Yaml::Text(_) => "a text or number",
            Yaml::List(_) => "a list",
            Yaml::Map(_) => "a map",
        }
    }

    /// As JSON, for what is handed on unread.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Yaml::Null => serde_json::Value::Null,
            Yaml::Bool(value) => (*value).into(),
            Yaml::Text(text) => text.as_str().into(),
            Yaml::List(items) => items.iter().map(Node::to_json).collect(),
            Yaml::Map(entries) => entries.iter().map(|(k, v)| (k.clone(), v.to_json())).collect(),
        }
    }

    /// Changes every text in it.
    pub(crate) fn each_text(&mut self, change: &mut dyn FnMut(&mut String, u32, u32)) {
        match &mut self.value {
            Yaml::Text(text) => change(text, self.line, self.column),
            Yaml::List(items) => items.iter_mut().for_each(|node| node.each_text(change)),
            Yaml::Map(entries) => entries.iter_mut().for_each(|(_, node)| node.each_text(change)),
            Yaml::Null | Yaml::Bool(_) => {}
        }
    }
}

/// What the deserialiser sees: every value wrapped with its place.
struct Raw(Spanned<RawValue>);

enum RawValue {
    Null,
    Bool(bool),
    Text(String),
    List(Vec<Raw>),
    Map(Vec<(String, Raw)>),
}

impl Raw {
    fn into_node(self) -> Node {
        let place = self.0.defined;
        let number = |n: u64| u32::try_from(n).unwrap_or(0);
        let value = match self.0.value {
            RawValue::Null => Yaml::Null,
            RawValue::Bool(value) => Yaml::Bool(value),
            RawValue::Text(text) => Yaml::Text(text),
            RawValue::List(items) => Yaml::List(items.into_iter().map(Raw::into_node).collect()),
            RawValue::Map(entries) => {
                Yaml::Map(entries.into_iter().map(|(key, raw)| (key, raw.into_node())).collect())
            }
        };
        Node { value, line: number(place.line()), column: number(place.column()) }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Spanned::deserialize(from).map(Self)
    }
}

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = RawValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_none<E>(self) -> Result<RawValue, E> {
        Ok(RawValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<RawValue, D::Error> {
        from.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawValue, E> {
        Ok(RawValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawValue, E> {
        Ok(RawValue::Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawValue, E> {
        Ok(RawValue::Text(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<RawValue, E> {
        Ok(RawValue::Text(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<RawValue, E> {
        Ok(RawValue::Text(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<RawValue, E> {
        Ok(RawValue::Text(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<RawValue, E> {
        Ok(RawValue::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<RawValue, E> {
        Ok(RawValue::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<RawValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element()? {
            items.push(item);
        }
        Ok(RawValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<RawValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = from.next_key::<RawValue>()? {
            let key = match key {
                RawValue::Text(text) => text,
                RawValue::Bool(value) => value.to_string(),
                _ => return Err(A::Error::custom("a key is not a text")),
            };
            entries.push((key, from.next_value()?));
        }
        Ok(RawValue::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get<'a>(node: &'a Node, path: &str) -> &'a Node {
        path.split('.').fold(node, |node, key| node.get(key).unwrap())
    }

    #[test]
    fn anchors_and_merge_keys_are_resolved() {
        let text = "x-base: &base\n  image: web:1\n  restart: always\nservices:\n  a:\n    <<: *base\n    restart: 'no'\n  b: *base\n  c:\n    <<: [*base, {ports: [80]}]\n";
        let node = parse("compose.yaml", text.as_bytes()).unwrap();
        assert_eq!(get(&node, "services.a.image").text(), Some("web:1"));
        assert_eq!(get(&node, "services.a.restart").text(), Some("no"));
        assert_eq!(get(&node, "services.b.restart").text(), Some("always"));
        assert_eq!(get(&node, "services.c.ports").items()[0].text(), Some("80"));
        assert_eq!(get(&node, "services.a.image").line, 2);
    }

    #[test]
    fn errors_have_places() {
        let problem = parse("compose.yaml", b"services:\n  web:\n    image: [1, 2\n  db: 3\n").unwrap_err();
        assert_eq!(problem.code, code::YAML_SYNTAX);
        assert!(problem.line.is_some() && problem.column.is_some(), "{problem:?}");
        let problem = parse("compose.yaml", b"a: 1\na: 2\n").unwrap_err();
        assert_eq!(problem.line, Some(2), "{problem:?}");
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let before = vec![format!("*a{}", level - 1); 10].join(",");
            text.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert!(parse("compose.yaml", text.as_bytes()).is_err());
    }

    #[test]
    fn empty_is_null() {
        assert!(matches!(parse("c", b"").unwrap().value, Yaml::Null));
        assert!(matches!(parse("c", b"# nothing\n").unwrap().value, Yaml::Null));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[a-c:\\- \n\\[\\]{}&*<!'\"#|>,]{0,80}") {
            let _ = parse("c", &bytes);
            let _ = parse("c", text.as_bytes());
        }
    }
}
