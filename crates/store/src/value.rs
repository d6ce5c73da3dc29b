//! What goes into and comes out of columns: integers, texts and bytes, nothing else.

use std::fmt::Display;

use backstay_types::{
    AgentUpdateId, CommitId, ConstraintId, ConversationId, DeliveryId, DeploymentId, Digest, EnvironmentName,
    EventId, LinkId, MigrationId, NodeId, NodeName, PartName, ReleaseId, ReportId, RepositoryId,
    RepositoryName, RolloutId, SessionId, StackName, Timestamp, TokenId, UndoId, UserId, UserName,
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Result, StoreError};

/// A value on its way into a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// What can be bound to a placeholder.
pub(crate) trait Bind {
    fn value(self) -> Value;
}

/// What a column can be read as.
pub(crate) trait Column: Sized {
    /// The stored form.
    type Raw;
    fn from_raw(raw: Self::Raw) -> Result<Self, String>;
}

impl Bind for Value {
    fn value(self) -> Value {
        self
    }
}

impl<T: Bind> Bind for Option<T> {
    fn value(self) -> Value {
        self.map_or(Value::Null, Bind::value)
    }
}

impl Bind for &str {
    /// PostgreSQL has no NUL in texts, so that neither database gets one.
    fn value(self) -> Value {
        Value::Text(self.replace('\0', "\u{fffd}"))
    }
}

impl Bind for String {
    fn value(self) -> Value {
        if self.contains('\0') { self.as_str().value() } else { Value::Text(self) }
    }
}

impl Bind for &String {
    fn value(self) -> Value {
        self.as_str().value()
    }
}

impl Bind for &[u8] {
    fn value(self) -> Value {
        Value::Bytes(self.to_vec())
    }
}

impl Bind for i64 {
    fn value(self) -> Value {
        Value::Int(self)
    }
}

impl Bind for u64 {
    /// Sizes and counts; beyond 2^63 - 1 they stay there.
    fn value(self) -> Value {
        Value::Int(i64::try_from(self).unwrap_or(i64::MAX))
    }
}

impl Bind for u32 {
    fn value(self) -> Value {
        Value::Int(self.into())
    }
}

impl Bind for usize {
    fn value(self) -> Value {
        Value::Int(i64::try_from(self).unwrap_or(i64::MAX))
    }
}

impl Bind for bool {
    fn value(self) -> Value {
        Value::Int(self.into())
    }
}

impl Bind for Timestamp {
    fn value(self) -> Value {
        Value::Int(self.as_microsecond())
    }
}

impl Column for i64 {
    type Raw = i64;
    fn from_raw(raw: i64) -> Result<Self, String> {
        Ok(raw)
    }
}

impl Column for u64 {
    type Raw = i64;
    fn from_raw(raw: i64) -> Result<Self, String> {
        raw.try_into().map_err(|_| format!("{raw} is negative"))
    }
}

impl Column for u32 {
    type Raw = i64;
    fn from_raw(raw: i64) -> Result<Self, String> {
        raw.try_into().map_err(|_| format!("{raw} does not fit in 32 bits"))
    }
}

impl Column for bool {
    type Raw = i64;
    fn from_raw(raw: i64) -> Result<Self, String> {
        match raw {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(format!("{raw} is neither 0 nor 1")),
        }
    }
}

impl Column for Timestamp {
    type Raw = i64;
    fn from_raw(raw: i64) -> Result<Self, String> {
        Self::from_microsecond(raw).map_err(|e| e.to_string())
    }
}

impl Column for String {
    type Raw = String;
    fn from_raw(raw: String) -> Result<Self, String> {
        Ok(raw)
    }
}

impl Column for Vec<u8> {
    type Raw = Vec<u8>;
    fn from_raw(raw: Vec<u8>) -> Result<Self, String> {
        Ok(raw)
    }
}

macro_rules! texts {
    ($($type:ty),* $(,)?) => {$(
        impl Bind for $type {
            fn value(self) -> Value { Value::Text(self.to_string()) }
        }

        impl Bind for &$type {
            fn value(self) -> Value { Value::Text(self.to_string()) }
        }

        impl Column for $type {
            type Raw = String;
            fn from_raw(raw: String) -> Result<Self, String> { canonical(&raw) }
        }
    )*};
}

texts!(
    AgentUpdateId,
    CommitId,
    ConstraintId,
    ConversationId,
    DeliveryId,
    DeploymentId,
    Digest,
    EnvironmentName,
    PartName,
    EventId,
    LinkId,
    NodeId,
    NodeName,
    ReleaseId,
    ReportId,
    RepositoryId,
    RepositoryName,
    RolloutId,
    SessionId,
    StackName,
    TokenId,
    MigrationId,
    UndoId,
    UserId,
    UserName,
);

/// What goes into a column in which the empty text stands for none; [`Row::filled`](crate::db::Row::filled) reads it.
pub(crate) fn or_empty(value: Option<impl Bind>) -> Value {
    value.map_or_else(|| "".value(), Bind::value)
}

/// Parses a text that must be exactly as this build would write it, so that no byte of it can change unseen.
fn canonical<T: std::str::FromStr + Display>(raw: &str) -> Result<T, String>
where
    T::Err: Display,
{
    let value: T = raw.parse().map_err(|e: T::Err| e.to_string())?;
    if value.to_string() == raw { Ok(value) } else { Err(format!("`{raw}` is not in canonical form")) }
}

/// JSON text of a value.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    Ok(serde_json::to_string(value)?)
}

/// The word under which serde writes a unit variant.
pub(crate) fn word<T: Serialize>(value: &T) -> Result<String> {
    match serde_json::to_value(value)? {
        serde_json::Value::String(word) => Ok(word),
        other => Err(StoreError::corrupt("word", other)),
    }
}

/// The unit variant that serde writes as `word`.
pub(crate) fn from_word<T: DeserializeOwned>(word: String) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(|e| e.to_string())
}
