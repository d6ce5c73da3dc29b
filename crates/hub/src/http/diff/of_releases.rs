//! `GET /api/v1/stacks/{stack}/diff`

use backstay_api::v1::GetReleaseDiff;
use backstay_types::{Release, diff::Diff};

use crate::http::{ApiError, Call};

/// What differs between two releases of a stack.
pub(crate) async fn of_releases(call: Call<GetReleaseDiff>) -> Result<Diff, ApiError> {
    let Call { app, path, query, .. } = call;
    let mut store = app.store.read();
    let found = backstay_store::releases::of_stack(&mut store, &path.stack, None, u32::MAX).await?;
    let (from, to) = (pick(&found, &query.from, "from")?, pick(&found, &query.to, "to")?);
    Ok(app.engine.release_diff(from, to).await?)
}

/// The release whose tree, or whose id, begins with these digits.
fn pick<'a>(found: &'a [Release], digits: &str, name: &str) -> Result<&'a Release, ApiError> {
    let digits = digits.to_lowercase();
    if digits.len() < 4 {
        return Err(ApiError::invalid(name, "expected at least 4 digits of a tree"));
    }
    let fits = |release: &&Release| {
        release.tree.to_string().starts_with(&digits) || release.id.to_string().starts_with(&digits)
    };
    let mut fitting = found.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(ApiError::missing("release of this stack", digits)),
        (Some(_), Some(_)) => {
            Err(ApiError::invalid(name, format!("`{digits}` fits more than one release: give more digits")))
        }
    }
}
