//! Environments, and letting releases into them.

use backstay_api::v1::{
    EnvironmentReleaseView, EnvironmentStackView, EnvironmentView, Environments, ListEnvironments,
    PromoteStack,
};
use backstay_engine::{EnvironmentStack, EnvironmentState, WantedPromotion};
use backstay_manifest::Promotion;
use backstay_types::Release;

use crate::http::{ApiError, Call, reason};

/// Every environment.
pub(crate) async fn list(call: Call<ListEnvironments>) -> Result<Environments, ApiError> {
    let found = call.app.engine.environments().await?;
    Ok(Environments { environments: found.into_iter().map(view).collect() })
}

/// Lets a release into an environment.
pub(crate) async fn promote(call: Call<PromoteStack>) -> Result<EnvironmentView, ApiError> {
    let Call { app, path, body, caller, .. } = call;
    let why = reason(&body.reason)?.to_owned();
    let want = WantedPromotion {
        stack: path.stack.clone(),
        environment: body.environment.clone(),
        release: body.release,
        reason: why,
        force: body.force,
    };
    app.engine.promote(&want, &caller.by()).await?;
    let found = app.engine.environments().await?.into_iter().find(|state| {
        state.environment.name == body.environment && state.stacks.iter().any(|one| one.stack == path.stack)
    });
    found.map(view).ok_or_else(|| ApiError::missing("environment", &body.environment))
}

fn view(state: EnvironmentState) -> EnvironmentView {
    let EnvironmentState { environment, repository, nodes, stacks } = state;
    EnvironmentView {
        name: environment.name,
        repository,
        of: environment.nodes.to_string(),
        nodes,
        after: environment.after,
        by_hand: environment.promotion == Promotion::ByHand,
        soak_seconds: environment.soak.as_secs(),
        test: environment.test,
        stacks: stacks.into_iter().map(stack_view).collect(),
    }
}

fn stack_view(one: EnvironmentStack) -> EnvironmentStackView {
    let EnvironmentStack { stack, release, asked, passing, next, ready, why } = one;
    EnvironmentStackView {
        stack,
        release: release.map(release_view),
        since: asked.as_ref().map(|asked| asked.since),
        by: asked.as_ref().map(|asked| asked.by.clone()),
        reason: asked.as_ref().map(|asked| asked.reason.clone()),
        undo: asked.and_then(|asked| asked.undo),
        nodes: passing.nodes,
        run: passing.run,
        failed: passing.failed,
        missing: passing.missing,
        next: next.map(release_view),
        ready,
        why,
    }
}

fn release_view(release: Release) -> EnvironmentReleaseView {
    EnvironmentReleaseView { release: release.id, tree: release.tree, commit: release.commit }
}
