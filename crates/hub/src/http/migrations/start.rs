//! `POST /api/v1/migrations`

use backstay_api::v1::{MigrationPlan, MigrationRequest, StartMigration};
use backstay_engine::WantedMigration;
use backstay_store::migrations;
use backstay_types::{ErrorCode, Node};

use crate::{
    app::App,
    http::{ApiError, Call, find},
};

/// Begins one, or says what it would be.
pub(crate) async fn start(call: Call<StartMigration>) -> Result<MigrationPlan, ApiError> {
    let Call { app, caller, body, .. } = call;
    // Who had no answer asks again: what was begun then is in the way of every plan now.
    if let Some(id) = body.id.filter(|_| !body.dry_run)
        && let Some(known) = migrations::get(&mut app.store.read(), id).await?
    {
        let (from, to) = (known.migration.from.name.clone(), known.migration.to.name.clone());
        let begun = super::view(&mut app.store.read(), known.migration).await?;
        return Ok(MigrationPlan {
            from,
            to,
            stacks: Vec::new(),
            confirm: Vec::new(),
            migration: Some(begun),
        });
    }
    let want = wanted(&app, &body).await?;
    let mut plan = app.engine.plan_migration(&want).await?;
    if body.dry_run {
        return Ok(plan);
    }
    let migration = app.engine.migrate(&want, &caller.by()).await?;
    app.backups.wake.notify_one();
    plan.migration = Some(super::view(&mut app.store.read(), migration).await?);
    Ok(plan)
}

async fn wanted(app: &App, body: &MigrationRequest) -> Result<WantedMigration, ApiError> {
    let mut store = app.store.read();
    let (from, to, stacks) = match (body.back, &body.from, &body.to) {
        (Some(id), None, None) => {
            let of = app.engine.stacks_to_take_back(id).await?;
            let from = find::node(&mut store, &of.to.node.to_string()).await?;
            let to = find::node(&mut store, &of.from.node.to_string()).await?;
            let mut stacks: Vec<_> = of.stacks.into_iter().map(|one| one.stack).collect();
            if let Some(other) = body.stacks.iter().find(|stack| !stacks.contains(stack)) {
                let detail = format!("{other} does not run on {} because of migration {id}", from.name);
                return Err(ApiError::invalid("stacks", detail));
            }
            stacks.retain(|stack| body.stacks.is_empty() || body.stacks.contains(stack));
            (from, to, stacks)
        }
        (None, Some(from), Some(to)) => {
            let (from, to) = (find::node(&mut store, from).await?, find::node(&mut store, to).await?);
            (from, to, body.stacks.clone())
        }
        _ => {
            let detail = "expected `from` and `to`, or `back` with the migration that is to be taken back";
            return Err(ApiError::invalid("from", detail));
        }
    };
    let from_gone = typed(&from, body.from_gone.as_deref(), "from_gone")?;
    Ok(WantedMigration {
        id: body.id,
        from,
        to,
        back_of: body.back,
        stacks,
        from_gone,
        confirm: body.confirm.clone(),
        reason: body.reason.clone(),
    })
}

/// Whether somebody has typed a node's name, by which it is gone for good.
pub(super) fn typed(node: &Node, said: Option<&str>, field: &'static str) -> Result<bool, ApiError> {
    match said {
        None => Ok(false),
        Some(said) if said == node.name.as_str() => Ok(true),
        Some(_) => {
            let detail =
                format!("{field}: expected `{}`, typed by somebody who knows that it is gone", node.name);
            Err(ApiError::new(ErrorCode::BS9056, detail)
                .with_hint("a node that is only cut off goes on running what it ran"))
        }
    }
}
