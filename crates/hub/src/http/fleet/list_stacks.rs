//! `GET /api/v1/stacks`

use std::collections::{BTreeMap, HashMap};

use backstay_api::v1::{ListStacks, Page, StackView, VersionCount};
use backstay_store::{nodes, releases, repositories, rollouts, stacks};
use backstay_types::{Repository, StackName, TreeDigest};

use crate::{
    app::App,
    http::{ApiError, Call, paging},
};

/// All stacks, by name, with who runs what.
pub(crate) async fn list_stacks(call: Call<ListStacks>) -> Result<Page<StackView>, ApiError> {
    let mut store = call.app.store.read();
    let names: HashMap<_, _> = repositories::list(&mut store).await?.into_iter().map(named).collect();
    let found = stacks::list(&mut store).await?;
    let wanted: Vec<_> = found.iter().filter_map(|stack| stack.release).collect();
    let known = releases::many(&mut store, &wanted).await?;
    let known: HashMap<_, _> = known.into_iter().map(|release| (release.id, release)).collect();
    let running = running(&call.app, nodes::active(&mut store).await?.iter().map(|node| node.id));
    let mut views = Vec::with_capacity(found.len());
    for stack in found {
        let counts = running.get(&stack.name).into_iter().flatten();
        views.push(StackView {
            repository: names.get(&stack.repository).cloned().unwrap_or_default(),
            release: stack.release.and_then(|id| known.get(&id).cloned()),
            rollout: rollouts::list(&mut store, Some(&stack.name), None, 1).await?.pop(),
            nodes: counts.map(|(tree, nodes)| VersionCount { tree: *tree, nodes: *nodes }).collect(),
            stack: stack.name,
        });
    }
    Ok(paging::whole(views))
}

fn named(repository: Repository) -> (backstay_types::RepositoryId, String) {
    (repository.id, repository.name.to_string())
}

/// How many nodes run which tree of which stack, by what they said last.
fn running(
    app: &App,
    nodes: impl Iterator<Item = backstay_types::NodeId>,
) -> BTreeMap<StackName, BTreeMap<TreeDigest, u64>> {
    let mut counts: BTreeMap<StackName, BTreeMap<TreeDigest, u64>> = BTreeMap::new();
    for node in nodes {
        for observed in app.live.seen(node).observed.unwrap_or_default() {
            if let Some(tree) = observed.current {
                *counts.entry(observed.stack).or_default().entry(tree).or_default() += 1;
            }
        }
    }
    counts
}
