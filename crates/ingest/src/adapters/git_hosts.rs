//! What the push events of Git hosts have in common.

use backstay_types::CommitId;
use serde_json::Value;

use crate::{Normalised, RepositoryPushed, What, json::text};

/// A push from a body with `ref`, `before` and `after`; `urls` names the fields of `repository` that
/// hold its addresses.
pub(super) fn push(body: &Value, repository: &str, urls: &[&str]) -> Normalised {
    match read(body, repository, urls) {
        Ok(pushed) => Normalised { key: None, at: None, what: What::Pushed(pushed) },
        Err(reason) => Normalised::unrecognised(reason),
    }
}

fn read(body: &Value, repository: &str, urls: &[&str]) -> Result<RepositoryPushed, String> {
    let reference = text(body, "ref").ok_or("a push without `ref`")?.to_owned();
    let holder = body.get(repository).ok_or_else(|| format!("a push without `{repository}`"))?;
    let urls: Vec<String> = urls.iter().filter_map(|key| text(holder, key)).map(str::to_owned).collect();
    if urls.is_empty() {
        return Err(format!("a push without any address in `{repository}`"));
    }
    Ok(RepositoryPushed { urls, reference, before: commit(body, "before")?, after: commit(body, "after")? })
}

/// The commit under a key; zeroes stand for none.
fn commit(body: &Value, key: &str) -> Result<Option<CommitId>, String> {
    let id = text(body, key).ok_or_else(|| format!("a push without `{key}`"))?;
    if id.bytes().all(|b| b == b'0') {
        return Ok(None);
    }
    id.parse().map(Some).map_err(|error: backstay_types::DigestError| format!("`{key}`: {error}"))
}
