//! Bodies on the wire: JSON for nearly all, bytes or text where that is what they are.

use std::any::Any;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Bytes, `application/octet-stream`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Binary(pub Vec<u8>);

/// Plain text, `text/plain`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Text(pub String);

/// A page for a browser, `text/html`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Html(pub String);

/// A stream of server-sent events, `text/event-stream`, written and read event by event as they happen. The
/// declaration's documentation says which names its events have and what the `data` of each is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Events(pub String);

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// As JSON.
    Json,
    /// As it is.
    Binary,
    /// As UTF-8 text.
    Text,
    /// As UTF-8 text for a browser.
    Html,
    /// As server-sent events.
    Events,
}

impl Media {
    /// How a `T` is written.
    pub fn of<T: JsonSchema>() -> Self {
        let name = T::schema_name();
        [(Binary::schema_name(), Self::Binary), (Text::schema_name(), Self::Text)]
            .into_iter()
            .chain([(Html::schema_name(), Self::Html), (Events::schema_name(), Self::Events)])
            .find_map(|(known, media)| (known == name).then_some(media))
            .unwrap_or(Self::Json)
    }

    /// The `Content-Type` that is sent.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Binary => "application/octet-stream",
            Self::Text => "text/plain; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Events => "text/event-stream",
        }
    }
}

/// Writes a body.
///
/// # Errors
/// When a `Serialize` of `T` fails; those of this crate do not.
pub fn encode<T: Serialize + 'static>(body: &T) -> Result<Vec<u8>, serde_json::Error> {
    let any: &dyn Any = body;
    let raw = any
        .downcast_ref::<Binary>()
        .map(|binary| binary.0.as_slice())
        .or_else(|| any.downcast_ref::<Text>().map(|text| text.0.as_bytes()))
        .or_else(|| any.downcast_ref::<Html>().map(|html| html.0.as_bytes()))
        .or_else(|| any.downcast_ref::<Events>().map(|events| events.0.as_bytes()));
    raw.map_or_else(|| serde_json::to_vec(body), |bytes| Ok(bytes.to_vec()))
}

/// Reads a body. An empty one stands for an object without fields.
///
/// # Errors
/// When the bytes are not a `T`; the message names line and column.
pub fn decode<T: DeserializeOwned + JsonSchema + 'static>(bytes: Vec<u8>) -> Result<T, serde_json::Error> {
    let text = |bytes| String::from_utf8(bytes).map_err(<serde_json::Error as serde::de::Error>::custom);
    let same = match Media::of::<T>() {
        Media::Json if bytes.is_empty() => return serde_json::from_slice(b"{}"),
        Media::Json => return serde_json::from_slice(&bytes),
        Media::Binary => same::<_, T>(Binary(bytes)),
        Media::Text => same(Text(text(bytes)?)),
        Media::Html => same(Html(text(bytes)?)),
        Media::Events => same(Events(text(bytes)?)),
    };
    same.ok_or_else(|| <serde_json::Error as serde::de::Error>::custom("two types share a schema name"))
}

/// `value` as a `T`, when that is what it is.
fn same<B: 'static, T: 'static>(value: B) -> Option<T> {
    let mut slot = Some(value);
    let any: &mut dyn Any = &mut slot;
    any.downcast_mut::<Option<T>>().and_then(Option::take)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Empty, v1::LiftRequest};

    #[test]
    fn bytes_and_text_travel_as_they_are() {
        let raw = vec![0, 159, 146, 150];
        assert_eq!(encode(&Binary(raw.clone())).unwrap(), raw);
        assert_eq!(decode::<Binary>(raw.clone()).unwrap(), Binary(raw.clone()));
        assert_eq!(encode(&Text("a\nb".into())).unwrap(), b"a\nb");
        assert_eq!(decode::<Html>(b"<p>".to_vec()).unwrap(), Html("<p>".into()));
        assert_eq!(Media::of::<Events>().content_type(), "text/event-stream");
        assert_eq!(encode(&Events("data: 1\n\n".into())).unwrap(), b"data: 1\n\n");
        assert!(decode::<Text>(raw).is_err());
    }

    #[test]
    fn json_is_json_and_nothing_is_an_empty_object() {
        assert_eq!(encode(&Empty {}).unwrap(), b"{}");
        assert_eq!(decode::<Empty>(Vec::new()).unwrap(), Empty {});
        assert!(decode::<LiftRequest>(Vec::new()).unwrap_err().to_string().contains("reason"));
    }
}
