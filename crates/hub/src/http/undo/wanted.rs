//! From what was asked to what the engine takes.

use std::collections::BTreeMap;

use backstay_api::v1::{SelectorRequest, UndoRequest};
use backstay_engine::WantedUndo;
use backstay_manifest::Selector;
use backstay_types::UndoSelector;

use crate::{app::App, http::ApiError};

/// The longest reason, in bytes.
const LONGEST: usize = 2000;

/// What is wanted, with commits found by their first digits.
pub(in crate::http) async fn wanted(app: &App, request: UndoRequest) -> Result<WantedUndo, ApiError> {
    let UndoRequest {
        id: _,
        selector,
        scope,
        reason,
        include_guesses,
        with_data,
        without_data,
        shared_data,
        confirm,
    } = request;
    if reason.len() > LONGEST {
        return Err(ApiError::invalid("reason", format!("expected at most {LONGEST} bytes")));
    }
    if let Some(nodes) = &scope.nodes {
        nodes.parse::<Selector>().map_err(|e| ApiError::invalid("scope.nodes", e))?;
    }
    let selector = match selector {
        SelectorRequest::Exact(selector) => selector,
        SelectorRequest::Commit { to_commit } => {
            let (repository, to) = app.engine.find_commit(&to_commit).await?;
            UndoSelector::Commit { repository, to }
        }
    };
    let mut guesses = Vec::with_capacity(include_guesses.len());
    for prefix in include_guesses {
        guesses.push(app.engine.find_commit(&prefix).await?.1);
    }
    Ok(WantedUndo {
        selector,
        scope,
        reason,
        include_guesses: guesses,
        resolutions: BTreeMap::new(),
        with_data,
        without_data,
        shared_data,
        confirm,
    })
}
