//! `GET /api/v1/backups/nodes`: how each node's backups stand.

use std::collections::BTreeMap;

use backstay_api::v1::{BackupStatus, ListBackupStatus, Page, StackBackups};
use backstay_store::backups::{jobs, snapshots};
use backstay_types::{
    StackName,
    backup::{KeptSnapshot, Proof},
};

use super::{
    job_views,
    standing::{Stands, standing},
    whose_filter,
};
use crate::{
    app::App,
    http::{ApiError, Call, paging},
};

/// What needs a person first; the hub's own before all.
pub(crate) async fn list_status(call: Call<ListBackupStatus>) -> Result<Page<BackupStatus>, ApiError> {
    let Call { app, query, .. } = call;
    let limit = paging::limit(query.limit)?;
    let from: usize = paging::cursor(query.cursor.as_deref())?.unwrap_or(0);
    let whose = whose_filter(&app, query.node.as_deref()).await?;
    let all = standing(&app).await?;
    let fits = |one: &&Stands| {
        whose.is_none_or(|whose| one.whose() == whose) && query.state.is_none_or(|state| one.state == state)
    };
    let chosen: Vec<&Stands> = all.all.iter().filter(fits).collect();
    let mut items = Vec::new();
    let mut next = None;
    for (index, one) in chosen.iter().enumerate().skip(from) {
        if items.len() >= limit as usize {
            next = Some(index.to_string());
            break;
        }
        let status = status(&app, one).await?;
        let has = |stack: &StackName| status.stacks.iter().any(|one| one.stack.as_ref() == Some(stack));
        if query.stack.as_ref().is_none_or(has) {
            items.push(status);
        }
    }
    Ok(Page { items, next })
}

async fn status(app: &App, one: &Stands) -> Result<BackupStatus, ApiError> {
    let mut store = app.store.read();
    let kept = snapshots::of(&mut store, one.whose()).await?;
    let open = jobs::open_of(&mut store, one.whose()).await?;
    let open = open.into_iter().max_by_key(|job| (job.started_at.is_some(), std::cmp::Reverse(job.id)));
    let since = one.node.as_ref().map(|(id, _, since)| (*id, *since));
    Ok(BackupStatus {
        node: one.whose(),
        name: one.name(),
        state: one.state,
        why: one.why.clone(),
        stacks: by_stack(app, one, &kept),
        proven_at: one.proven_at,
        history: one.history.clone(),
        next_at: app.engine.next_backup_at(since, &one.history).ok(),
        job: job_views(&mut store, open.into_iter().collect()).await?.pop(),
        repository: one.facts.clone(),
        damaged: one.facts.damaged.clone(),
        last_90_days: one.rate,
        drills_90_days: one.drill_rate,
    })
}

/// Snapshots, newest first, by their stack.
fn by_stack(app: &App, of: &Stands, kept: &[KeptSnapshot]) -> Vec<StackBackups> {
    let mut stacks: BTreeMap<Option<StackName>, StackBackups> = BTreeMap::new();
    for one in kept {
        let stack = one.snapshot.tags.stack.clone();
        let entry = stacks.entry(stack.clone()).or_insert_with(|| StackBackups {
            stack,
            snapshots: 0,
            newest: None,
            proven: None,
            drill: None,
            next_drill_at: None,
        });
        entry.snapshots += 1;
        if entry.newest.is_none() {
            entry.newest = Some(one.snapshot.clone());
        }
        if entry.proven.is_none() && one.snapshot.proof >= Proof::Verified && one.damaged_at.is_none() {
            entry.proven = Some(one.snapshot.clone());
        }
    }
    // When one was heard of first: from then on it is anybody's turn.
    let since = |stack: &StackName| {
        let fits = |one: &&KeptSnapshot| {
            one.snapshot.tags.stack.as_ref() == Some(stack)
                && one.snapshot.proof >= Proof::Verified
                && one.damaged_at.is_none()
        };
        kept.iter().filter(fits).map(|one| one.heard_at).min()
    };
    for (stack, entry) in &mut stacks {
        let (Some(stack), Some(node)) = (stack, of.whose()) else { continue };
        entry.drill = of.drills.iter().find(|(known, _)| known == stack).map(|(_, drill)| drill.clone());
        let history = entry.drill.clone().unwrap_or_default();
        entry.next_drill_at = since(stack)
            .and_then(|since| app.engine.next_drill((node, stack), since, &history).ok().flatten());
    }
    stacks.into_values().collect()
}
