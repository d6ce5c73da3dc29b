//! `GET /api/v1/stacks/{stack}`

use std::collections::HashMap;

use backstay_api::v1::{GetStack, StackDetail, StackPart, StackRelease, StackRun, StackView};
use backstay_manifest::Selector;
use backstay_store::{
    Reader, changes, constraints, figures, nodes, releases, repositories, rollouts, stacks,
};
use backstay_types::{Constraint, Effect, Release, ReleaseId, StackHealth, StackName, TreeDigest};

use crate::{
    app::App,
    http::{ApiError, Call},
    live::{Census, badness},
};

/// So many nodes are named.
const NODES: usize = 1000;
/// So many releases.
const RELEASES: u32 = 100;

/// One stack: who runs what, what was released, what limits it.
pub(crate) async fn get_stack(call: Call<GetStack>) -> Result<StackDetail, ApiError> {
    let app = call.app;
    let mut store = app.store.read();
    let stack = stacks::get(&mut store, &call.path.stack).await?;
    let stack = stack.ok_or_else(|| ApiError::missing("stack", &call.path.stack))?;
    let repository = repositories::get(&mut store, stack.repository).await?;
    let census = Census::take(&app, &mut store).await?;
    let release = match stack.release {
        Some(id) => releases::get(&mut store, id).await?,
        None => None,
    };
    let mut runs = runs(&app, &mut store, &stack.name).await?;
    let total = runs.len() as u64;
    runs.truncate(NODES);
    let history = history(&app, &mut store, &census, &stack.name).await?;
    let assigned: Vec<Selector> = serde_json::from_str(&stack.assignment).map_err(ApiError::internal)?;
    Ok(StackDetail {
        view: StackView {
            repository: repository.map(|one| one.name.to_string()).unwrap_or_default(),
            release,
            rollout: rollouts::newest_of_fleet(&mut store, &stack.name).await?,
            nodes: census.versions(&stack.name),
            stack: stack.name.clone(),
        },
        path: stack.path,
        present: stack.present,
        channel: app.engine.stack_channel(&stack.name).await?,
        assignment: in_words(&assigned),
        constraints: concerning(&app, &mut store, &stack.name).await?,
        runs,
        total,
        history,
        parts: parts(&app, &mut store, &stack.name).await?,
    })
}

async fn parts(app: &App, store: &mut Reader, stack: &StackName) -> Result<Vec<StackPart>, ApiError> {
    let mut parts = Vec::new();
    for part in app.engine.stack_parts(stack).await? {
        let newest = rollouts::newest_of_part(store, stack, &part.name).await?;
        parts.push(StackPart {
            standing: app.engine.standing(&part.release).await?,
            name: part.name,
            channel: part.channel,
            release: part.release,
            commit: part.commit,
            version: part.version,
            requires: part.requires,
            rollout: newest,
        });
    }
    Ok(parts)
}

/// For which nodes, in words.
pub(in crate::http) fn in_words(assigned: &[Selector]) -> String {
    let words: Vec<_> = assigned.iter().map(ToString::to_string).collect();
    match words.as_slice() {
        [] => "no nodes".to_owned(),
        all if all.iter().any(String::is_empty) => "all nodes".to_owned(),
        some => some.join(" or "),
    }
}

/// Those in trouble first, then by name.
async fn runs(app: &App, store: &mut Reader, stack: &StackName) -> Result<Vec<StackRun>, ApiError> {
    let wanted = app.roster.trees(store).await?;
    let now = app.world.now();
    let mut runs = Vec::new();
    for (id, name) in nodes::names(store).await? {
        let desired = wanted.get(&(id, stack.clone())).copied();
        let found = app.live.with(id, |seen| {
            let observed = seen.and_then(|seen| seen.observed.as_deref()).unwrap_or_default();
            let one = observed.iter().find(|one| one.stack == *stack)?;
            Some((one.current, one.health, one.detail.clone()))
        });
        if desired.is_none() && found.is_none() {
            continue;
        }
        let (tree, health, detail): (Option<TreeDigest>, _, _) =
            found.unwrap_or((None, StackHealth::Unknown, String::new()));
        runs.push(StackRun {
            node: name,
            state: app.live.state(id, false, now),
            tree,
            desired,
            health,
            detail,
        });
    }
    runs.sort_by_key(|run| std::cmp::Reverse((badness(run.health), run.tree != run.desired)));
    Ok(runs)
}

async fn history(
    app: &App,
    store: &mut Reader,
    census: &Census,
    stack: &StackName,
) -> Result<Vec<StackRelease>, ApiError> {
    let found = releases::of_stack(store, stack, None, RELEASES).await?;
    let ids: Vec<ReleaseId> = found.iter().map(|release| release.id).collect();
    let conversations = figures::conversations_of_releases(store, &ids).await?;
    let mut subjects = HashMap::new();
    for release in &found {
        let known = changes::get(store, release.repository, &release.commit).await?;
        subjects.extend(known.map(|known| (release.id, known.change.subject)));
    }
    let mut history = Vec::with_capacity(found.len());
    for release in found {
        let Release { id, tree, .. } = release;
        history.push(StackRelease {
            standing: app.engine.standing(&release).await?,
            subject: subjects.remove(&id).unwrap_or_default(),
            conversations: conversations.get(&id).cloned().unwrap_or_default(),
            nodes: census.running(stack, tree),
            release,
        });
    }
    Ok(history)
}

/// Pins and bans of the stack, and holds of changes to it.
async fn concerning(app: &App, store: &mut Reader, stack: &StackName) -> Result<Vec<Constraint>, ApiError> {
    let mut found = Vec::new();
    for constraint in constraints::in_force(store, app.world.now()).await? {
        let concerns = match &constraint.effect {
            Effect::Maintenance | Effect::Decommission => false,
            effect @ (Effect::Freeze { .. } | Effect::UpdatesOff { .. }) => {
                effect.stack().is_none_or(|of| of == stack)
            }
            Effect::Pin { stack: of, .. }
            | Effect::Follow { stack: of, .. }
            | Effect::RunsHere { stack: of, .. }
            | Effect::RunsNot { stack: of }
            | Effect::Ban { stack: of, .. } => of == stack,
            Effect::Hold { repository, commit } => {
                let known = changes::get(store, *repository, commit).await?;
                known.is_some_and(|known| known.change.stacks.contains(stack))
            }
        };
        if concerns {
            found.push(constraint);
        }
    }
    Ok(found)
}
