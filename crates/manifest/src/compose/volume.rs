//! The two syntaxes of a service's `volumes`.

use super::{Bind, yaml::Node};

/// What a `volumes` entry mounts.
pub(super) enum Mount {
    Bind(Bind),
    Named {
        volume: String,
        target: String,
    },
    /// Anonymous volumes, tmpfs, pipes: nothing on the host to care for.
    Other,
}

/// Reads an entry; `Err` says what was expected.
pub(super) fn read(node: &Node) -> Result<Mount, String> {
    match node.text() {
        Some(text) => short(text, node),
        None => long(node),
    }
}

/// `[SOURCE:]TARGET[:MODE]`.
fn short(text: &str, node: &Node) -> Result<Mount, String> {
    let parts = split(text);
    let (source, target, mode) = match parts[..] {
        [_] => return Ok(Mount::Other),
        [source, target] => (source, target, ""),
        [source, target, mode] => (source, target, mode),
        _ => return Err(format!("`{text}`: expected SOURCE:TARGET or SOURCE:TARGET:MODE")),
    };
    if source.is_empty() || target.is_empty() {
        return Err(format!("`{text}`: expected SOURCE:TARGET or SOURCE:TARGET:MODE"));
    }
    let target = target.to_owned();
    if !is_path(source) {
        return Ok(Mount::Named { volume: source.to_owned(), target });
    }
    let modes: Vec<&str> = mode.split(',').filter(|mode| !mode.is_empty()).collect();
    let mut bind = serde_json::Map::from_iter([("create_host_path".to_owned(), true.into())]);
    for mode in &modes {
        match *mode {
            "z" | "Z" => bind.insert("selinux".to_owned(), (*mode).into()),
            "shared" | "slave" | "private" | "rshared" | "rslave" | "rprivate" => {
                bind.insert("propagation".to_owned(), (*mode).into())
            }
            _ => None,
        };
    }
    let extra = serde_json::Map::from_iter([("bind".to_owned(), bind.into())]);
    Ok(Mount::Bind(Bind {
        source: source.to_owned(),
        target,
        read_only: modes.contains(&"ro"),
        extra,
        line: node.line,
        column: node.column,
    }))
}

/// Splits at colons outside `${…}`.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut depth) = (0, 0usize);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// Compose takes a source for a path when it begins like one; everything else is a volume's name.
fn is_path(source: &str) -> bool {
    source.starts_with(['.', '/', '~', '$'])
}

fn long(node: &Node) -> Result<Mount, String> {
    let text = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
    if node.entries().is_empty() {
        return Err(format!(
            "expected a text or a map with `type`, `source` and `target`, found {}",
            node.kind()
        ));
    }
    let target = text("target").ok_or("expected `target`, the path in the container")?;
    let source = text("source");
    match (text("type").as_deref(), source) {
        (Some("bind"), Some(source)) => {
            let extra = ["bind", "consistency"]
                .into_iter()
                .filter_map(|key| Some((key.to_owned(), node.get(key)?.to_json())))
                .collect();
            let read_only = node.get("read_only").is_some_and(Node::is_true);
            Ok(Mount::Bind(Bind { source, target, read_only, extra, line: node.line, column: node.column }))
        }
        (Some("bind"), None) => Err("expected `source`, the path on the host".to_owned()),
        (Some("volume"), Some(volume)) => Ok(Mount::Named { volume, target }),
        (None, _) => Err("expected `type`: bind, volume, tmpfs, image, npipe or cluster".to_owned()),
        _ => Ok(Mount::Other),
    }
}
