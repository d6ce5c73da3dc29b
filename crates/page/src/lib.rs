//! The files of the hub's page, as `scripts/page` built them into `web/dist`. They are part of the program; without
//! them a page says how to build it.

use std::borrow::Cow;

/// What the page may do: load its own files and talk to its own hub. Nothing inline, nothing from elsewhere, no frames.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const INDEX: &str = "index.html";
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><title>Backstay</title>\
    <h1>The page is not part of this build</h1>\
    <p>Run <code>scripts/page</code> (it needs Node 20), build again, and start the hub again. Everything else works: \
    <a href=\"/docs\">the API</a>, and the command line.</p></html>";

#[derive(rust_embed::RustEmbed)]
#[folder = "../../web/dist"]
struct Dist;

/// A file as it is to be sent.
#[derive(Debug, Clone)]
pub struct File {
    /// The bytes, compressed when `encoding` says so.
    pub bytes: Cow<'static, [u8]>,
    /// Its media type.
    pub content_type: &'static str,
    /// `br` or `gzip`.
    pub encoding: Option<&'static str>,
    /// Changes when the content does, in quotes.
    pub etag: String,
    /// How long it may be kept.
    pub cache_control: &'static str,
}

/// The file at a path of the hub such as `/` or `/assets/index-1a2b.js`. `accepts` is the request's `Accept-Encoding`.
pub fn find(path: &str, accepts: &str) -> Option<File> {
    let name = match path.strip_prefix('/')? {
        "" | INDEX => INDEX,
        // What was compressed is asked for by the name of what it was made from.
        name if name.ends_with(".br") || name.ends_with(".gz") || name.starts_with('.') => return None,
        name => name,
    };
    let Some(plain) = Dist::get(name) else { return (name == INDEX).then(not_built) };
    let compressed = [("br", "br"), ("gzip", "gz")].into_iter().find_map(|(encoding, suffix)| {
        let wanted =
            accepts.split(',').any(|one| one.split(';').next().unwrap_or_default().trim() == encoding);
        let found = if wanted { Dist::get(&format!("{name}.{suffix}")) } else { None };
        found.map(|file| (encoding, file.data))
    });
    let hash: String =
        plain.metadata.sha256_hash().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let (encoding, bytes) = match compressed {
        Some((encoding, bytes)) => (Some(encoding), bytes),
        None => (None, plain.data),
    };
    Some(File {
        bytes,
        content_type: content_type(name),
        encoding,
        etag: format!("\"{hash}{}\"", encoding.map(|encoding| format!("-{encoding}")).unwrap_or_default()),
        // The names of assets hold a digest of their content.
        cache_control: if name.starts_with("assets/") {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        },
    })
}

fn not_built() -> File {
    File {
        bytes: Cow::Borrowed(NOT_BUILT.as_bytes()),
        content_type: content_type(INDEX),
        encoding: None,
        etag: "\"not-built\"".to_owned(),
        cache_control: "no-store",
    }
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_first_page() {
        for path in ["/", "/index.html"] {
            let file = find(path, "").unwrap();
            assert_eq!((file.content_type, file.encoding), ("text/html; charset=utf-8", None));
            assert!(!file.cache_control.contains("immutable"));
        }
        for path in
            ["", "/nothing", "/../Cargo.toml", "/.gitkeep", "/assets/", "//etc/passwd", "/index.html.br"]
        {
            assert!(find(path, "br").is_none(), "{path}");
        }
    }

    #[test]
    fn every_file_that_was_built_is_found_plain_and_compressed() {
        for name in
            Dist::iter().filter(|name| ![".br", ".gz", ".gitkeep"].iter().any(|end| name.ends_with(end)))
        {
            let path = format!("/{name}");
            let (plain, small) = (find(&path, "").unwrap(), find(&path, "gzip, deflate, br;q=1.0").unwrap());
            assert_eq!((plain.encoding, small.encoding), (None, Some("br")), "{name}");
            assert_ne!(plain.etag, small.etag);
            assert_ne!(plain.content_type, "application/octet-stream", "{name}");
            assert_eq!(name.starts_with("assets/"), plain.cache_control.contains("immutable"), "{name}");
        }
    }

    #[test]
    fn nothing_of_the_page_is_inline() {
        let file = find("/", "").unwrap();
        let text = String::from_utf8_lossy(&file.bytes);
        assert!(
            !text.contains("<style") && !text.contains(" style=") && !text.contains("<script>"),
            "{text}"
        );
    }
}
