//! The OpenAPI document as a page: made here, without scripts and without asking anyone else for anything.

use std::fmt::Write as _;

use serde_json::Value;

const STYLE: &str = "\
:root{color-scheme:light dark;font:15px/1.5 system-ui,sans-serif}\
body{max-width:62rem;margin:2rem auto;padding:0 1rem}\
code,pre{font-family:ui-monospace,monospace;font-size:.9em}\
pre{overflow-x:auto;padding:.6rem;border:1px solid #8884;border-radius:.3rem}\
details{border-bottom:1px solid #8883;padding:.4rem 0}\
summary{cursor:pointer}\
summary b{display:inline-block;min-width:4rem}\
.role{float:right;opacity:.7}\
table{border-collapse:collapse}td,th{text-align:left;padding:.15rem .8rem .15rem 0;vertical-align:top}";

/// The page of an OpenAPI document.
pub(crate) fn page(document: &Value) -> String {
    let mut html = String::new();
    let title = text(&document["info"]["title"]);
    let version = text(&document["info"]["version"]);
    let _ = write!(
        html,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title} API</title><style>{STYLE}</style><h1>{title} API</h1>\
         <p>Version {version}. The same as a document: <a href=openapi.json>openapi.json</a>. \
         Calls carry <code>Authorization: Bearer</code> and a token of the role shown, or a higher one.</p>"
    );
    for (path, item) in object(&document["paths"]) {
        for (method, operation) in object(item) {
            write_operation(&mut html, path, method, operation);
        }
    }
    html.push_str("<h2>Types</h2>");
    for (name, schema) in object(&document["components"]["schemas"]) {
        let _ = write!(
            html,
            "<details id=\"{0}\"><summary><code>{0}</code> {1}</summary>{2}</details>",
            escape(name),
            text(&schema["description"]),
            pretty(schema)
        );
    }
    html.push_str("</html>");
    html
}

fn write_operation(html: &mut String, path: &str, method: &str, operation: &Value) {
    let _ = write!(
        html,
        "<details id=\"{}\"><summary><b>{}</b><code>{}</code> <span class=role>{}</span><br>{}</summary>",
        text(&operation["operationId"]),
        method.to_ascii_uppercase(),
        escape(path),
        text(&operation["x-role"]),
        text(&operation["summary"]),
    );
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parameters.is_empty() {
        html.push_str("<table><tr><th>Parameter<th>In<th>Meaning</tr>");
        for parameter in parameters {
            let _ = write!(
                html,
                "<tr><td><code>{}</code><td>{}<td>{}</tr>",
                text(&parameter["name"]),
                text(&parameter["in"]),
                text(&parameter["schema"]["description"]),
            );
        }
        html.push_str("</table>");
    }
    write_body(html, "Request", &operation["requestBody"]);
    write_body(html, "Response", &operation["responses"]["200"]);
    html.push_str("</details>");
}

fn write_body(html: &mut String, what: &str, body: &Value) {
    for (media, content) in object(&body["content"]) {
        let reference = content["schema"]["$ref"].as_str().and_then(|r| r.rsplit('/').next());
        let _ = write!(html, "<p>{what}: <code>{}</code> ", escape(media));
        match reference {
            Some(name) => {
                let _ = write!(html, "<a href=\"#{0}\">{0}</a></p>", escape(name));
            }
            None if content["schema"].is_object() => {
                let _ = write!(html, "</p>{}", pretty(&content["schema"]));
            }
            None => html.push_str("</p>"),
        }
    }
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn pretty(value: &Value) -> String {
    format!("<pre>{}</pre>", escape(&serde_json::to_string_pretty(value).unwrap_or_default()))
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_is_shown_and_nothing_is_fetched_from_elsewhere() {
        let page = page(&backstay_api::openapi());
        for declaration in backstay_api::declarations() {
            assert!(page.contains(&format!("<details id=\"{}\">", declaration.name)), "{}", declaration.name);
        }
        for word in ["<script", "<link", "@import", "url(", "src=", "href=\"h", "href=h"] {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
