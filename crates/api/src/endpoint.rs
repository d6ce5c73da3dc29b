//! What an endpoint is, and the list of all of them.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::body::Media;

/// HTTP methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Makes or does.
    Post,
    /// Takes away.
    Delete,
}

/// Who may call an endpoint. A route cannot be declared without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Anyone who can reach the hub.
    Public,
    /// A tool whose delivery carries a signature or token of its own.
    Webhook,
    /// A joined node, for itself only.
    Agent,
    /// Reads everything but secrets.
    Viewer,
    /// Deploys, undoes, holds.
    Operator,
    /// Manages nodes, repositories and tokens.
    Admin,
}

/// No content: an empty path, query, request or response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

/// An endpoint. Implemented by the `endpoints!` macro, once for each.
pub trait Endpoint: 'static {
    /// Operation name in OpenAPI, such as `list_nodes`.
    const NAME: &'static str;
    /// One line for the documentation.
    const SUMMARY: &'static str;
    /// HTTP method.
    const METHOD: Method;
    /// Path with parameters in braces, such as `/api/v1/nodes/{node}`.
    const PATH: &'static str;
    /// Who may call it.
    const ROLE: Role;
    /// Path parameters; field names are the names in braces.
    type Path: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// Query parameters.
    type Query: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// Request body.
    type Request: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// Response body.
    type Response: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;
}

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// An endpoint as data, for router checks and OpenAPI.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// See [`Endpoint::NAME`].
    pub name: &'static str,
    /// See [`Endpoint::SUMMARY`].
    pub summary: &'static str,
    /// See [`Endpoint::METHOD`].
    pub method: Method,
    /// See [`Endpoint::PATH`].
    pub path: &'static str,
    /// See [`Endpoint::ROLE`].
    pub role: Role,
    pub(crate) path_schema: SchemaOf,
    pub(crate) query_schema: SchemaOf,
    pub(crate) request: (SchemaOf, Media),
    pub(crate) response: (SchemaOf, Media),
}

impl Declaration {
    /// The declaration of `E`.
    pub fn of<E: Endpoint>() -> Self {
        Self {
            name: E::NAME,
            summary: E::SUMMARY,
            method: E::METHOD,
            path: E::PATH,
            role: E::ROLE,
            path_schema: SchemaGenerator::subschema_for::<E::Path>,
            query_schema: SchemaGenerator::subschema_for::<E::Query>,
            request: (SchemaGenerator::subschema_for::<E::Request>, Media::of::<E::Request>()),
            response: (SchemaGenerator::subschema_for::<E::Response>, Media::of::<E::Response>()),
        }
    }
}

impl Declaration {
    /// The names of its query parameters.
    pub fn query_names(&self) -> Vec<String> {
        let schema = self.query_schema;
        let mut generator = schemars::generate::SchemaSettings::draft2020_12()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator();
        let schema = schema(&mut generator);
        let properties = schema.get("properties").and_then(|properties| properties.as_object());
        properties.map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
    }
}

/// Every endpoint of the hub.
pub fn declarations() -> Vec<Declaration> {
    let mut all = crate::agent::declarations();
    all.extend(crate::v1::declarations());
    all
}

/// Declares endpoints: one marker type each, and `declarations()` over all of the module's.
macro_rules! endpoints {
    ($($(#[doc = $summary:literal])+ $name:ident = $method:ident $path:literal $role:ident
        ($($part:ident: $type:ty),* $(,)?) -> $response:ty;)*) => {
        $(
            $(#[doc = $summary])+
            #[derive(Debug, Clone, Copy)]
            pub struct $name;

            impl $crate::endpoint::Endpoint for $name {
                const NAME: &'static str = stringify!($name);
                const SUMMARY: &'static str = concat!($($summary),+);
                const METHOD: $crate::endpoint::Method = $crate::endpoint::Method::$method;
                const PATH: &'static str = $path;
                const ROLE: $crate::endpoint::Role = $crate::endpoint::Role::$role;
                type Path = $crate::endpoint::pick!(path $($part: $type),*);
                type Query = $crate::endpoint::pick!(query $($part: $type),*);
                type Request = $crate::endpoint::pick!(body $($part: $type),*);
                type Response = $response;
            }
        )*

        pub(crate) fn declarations() -> Vec<$crate::endpoint::Declaration> {
            vec![$($crate::endpoint::Declaration::of::<$name>()),*]
        }
    };
}

/// The type of the named part, or [`Empty`].
macro_rules! pick {
    (path path: $type:ty $(, $($rest:tt)*)?) => { $type };
    (query query: $type:ty $(, $($rest:tt)*)?) => { $type };
    (body body: $type:ty $(, $($rest:tt)*)?) => { $type };
    ($want:ident $other:ident: $type:ty $(, $($rest:tt)*)?) => { $crate::endpoint::pick!($want $($($rest)*)?) };
    ($want:ident) => { $crate::endpoint::Empty };
}

pub(crate) use endpoints;
pub(crate) use pick;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_known_by_name() {
        let names = |name: &str| {
            let all = declarations();
            all.iter().find(|d| d.name == name).map(Declaration::query_names).unwrap_or_default()
        };
        assert_eq!(names("ListConversations"), ["cursor", "limit"]);
        assert_eq!(names("GetWhy"), ["file", "line", "node", "stack"]);
        assert!(names("GetHub").is_empty());
    }
}
