//! The OpenAPI 3.1 document, made from the declarations.

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::{
    Problem, Role, SESSION_COOKIE,
    agent::LogLine,
    body::Media,
    endpoint::{Declaration, Method, declarations},
    v1,
};

/// The whole document.
pub fn openapi() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut generator = settings.into_generator();
    let problem = generator.subschema_for::<Problem>();
    let mut paths = Map::new();
    for declaration in declarations() {
        let method = match declaration.method {
            Method::Get => "get",
            Method::Post => "post",
            Method::Delete => "delete",
        };
        let item = paths.entry(declaration.path).or_insert_with(|| json!({}));
        item[method] = operation(&declaration, &mut generator, &problem);
    }
    streamed(&mut generator);
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Backstay",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": SESSION_COOKIE },
            },
        },
    })
}

/// What server-sent events carry: no endpoint's answer names these.
fn streamed(generator: &mut SchemaGenerator) {
    generator.subschema_for::<v1::EventsHello>();
    generator.subschema_for::<v1::DatabaseState>();
    generator.subschema_for::<v1::NodesChanged>();
    generator.subschema_for::<v1::Touched>();
    generator.subschema_for::<LogLine>();
}

fn operation(declaration: &Declaration, generator: &mut SchemaGenerator, problem: &Schema) -> Value {
    let mut parameters = parameters("path", declaration.path_schema, generator);
    parameters.extend(self::parameters("query", declaration.query_schema, generator));
    let mut operation = json!({
        "operationId": declaration.name,
        "summary": declaration.summary.trim(),
        "x-role": declaration.role,
        "parameters": parameters,
        "responses": {
            "200": { "description": "Done.", "content": content(declaration.response, generator) },
            "default": {
                "description": "An error with its code.",
                "content": { "application/problem+json": { "schema": problem } },
            },
        },
    });
    if declaration.method == Method::Post {
        operation["requestBody"] =
            json!({ "required": true, "content": content(declaration.request, generator) });
    }
    match declaration.role {
        Role::Public | Role::Webhook => {}
        Role::Agent => operation["security"] = json!([{ "bearer": [] }]),
        Role::Viewer | Role::Operator | Role::Admin => {
            operation["security"] = json!([{ "bearer": [] }, { "session": [] }]);
        }
    }
    operation
}

fn content(
    (schema, media): (fn(&mut SchemaGenerator) -> Schema, Media),
    generator: &mut SchemaGenerator,
) -> Value {
    match media {
        Media::Json => json!({ media.content_type(): { "schema": schema(generator) } }),
        Media::Binary => json!({ media.content_type(): {} }),
        Media::Text | Media::Html | Media::Events => {
            json!({ media.content_type(): { "schema": { "type": "string" } } })
        }
    }
}

/// The fields of a struct as parameters.
fn parameters(
    place: &str,
    schema: fn(&mut SchemaGenerator) -> Schema,
    generator: &mut SchemaGenerator,
) -> Vec<Value> {
    let reference = schema(generator);
    let name =
        reference.get("$ref").and_then(Value::as_str).and_then(|r| r.rsplit('/').next()).unwrap_or_default();
    let Some(object) = generator.definitions().get(name).cloned() else { return Vec::new() };
    let required = object["required"].as_array().cloned().unwrap_or_default();
    let Some(properties) = object["properties"].as_object() else { return Vec::new() };
    properties
        .iter()
        .map(|(name, schema)| {
            json!({
                "name": name,
                "in": place,
                "required": place == "path" || required.iter().any(|r| r == name),
                "schema": schema,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_in_a_path_is_declared() {
        let document = openapi();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (_, operation) in item.as_object().unwrap() {
                let declared: Vec<_> = operation["parameters"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .filter(|p| p["in"] == "path")
                    .map(|p| p["name"].as_str().unwrap())
                    .collect();
                let named: Vec<_> =
                    path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
                let (mut declared, mut named) = (declared, named);
                declared.sort_unstable();
                named.sort_unstable();
                assert_eq!(declared, named, "{path}");
            }
        }
    }

    #[test]
    fn names_and_routes_are_unique() {
        let all = declarations();
        for (i, a) in all.iter().enumerate() {
            for b in &all[i + 1..] {
                assert_ne!(a.name, b.name);
                assert!(a.path != b.path || a.method != b.method, "{}", a.path);
            }
        }
    }
}
