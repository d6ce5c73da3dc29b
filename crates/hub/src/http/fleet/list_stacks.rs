//! `GET /api/v1/stacks`

use std::collections::HashMap;

use backstay_api::v1::{ListStacks, Page, StackView};
use backstay_store::{releases, repositories, rollouts, stacks};
use backstay_types::Repository;

use crate::{
    http::{ApiError, Call, paging},
    live::Census,
};

/// All stacks, by name, with who runs what.
pub(crate) async fn list_stacks(call: Call<ListStacks>) -> Result<Page<StackView>, ApiError> {
    let mut store = call.app.store.read();
    let names: HashMap<_, _> = repositories::list(&mut store).await?.into_iter().map(named).collect();
    let found = stacks::list(&mut store).await?;
    let wanted: Vec<_> = found.iter().filter_map(|stack| stack.release).collect();
    let known = releases::many(&mut store, &wanted).await?;
    let known: HashMap<_, _> = known.into_iter().map(|release| (release.id, release)).collect();
    let census = Census::take(&call.app, &mut store).await?;
    let mut views = Vec::with_capacity(found.len());
    for stack in found {
        views.push(StackView {
            repository: names.get(&stack.repository).cloned().unwrap_or_default(),
            release: stack.release.and_then(|id| known.get(&id).cloned()),
            rollout: rollouts::newest_of_fleet(&mut store, &stack.name).await?,
            nodes: census.versions(&stack.name),
            stack: stack.name,
        });
    }
    Ok(paging::whole(views))
}

fn named(repository: Repository) -> (backstay_types::RepositoryId, String) {
    (repository.id, repository.name.to_string())
}
