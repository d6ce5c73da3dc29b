//! `/api/v1/backups/recovery-key`: only its public part is ever here.

use backstay_api::v1::{
    GetRecoveryKey, GetRepositoryRecovery, RecoveryKeyView, RepositoryRecovery, SetRecoveryKey,
};
use backstay_store::backups::repositories;
use backstay_types::{ErrorCode, Secret};

use super::whose;
use crate::{
    app::App,
    backups::{check_recipient, open_password, seal},
    http::{ApiError, Call},
};

/// Which, and what it opens.
pub(crate) async fn get(call: Call<GetRecoveryKey>) -> Result<RecoveryKeyView, ApiError> {
    view(&call.app).await
}

/// From now on this one.
pub(crate) async fn set(call: Call<SetRecoveryKey>) -> Result<RecoveryKeyView, ApiError> {
    let Call { app, caller, body, .. } = call;
    let recipient = body.recipient.trim();
    check_recipient(recipient).map_err(|why| ApiError::invalid("recipient", why))?;
    app.engine.set_recovery_key(recipient, body.replace, &caller.by()).await?;
    app.backups.wake.notify_one();
    view(&app).await
}

async fn view(app: &App) -> Result<RecoveryKeyView, ApiError> {
    let recipient = app.engine.recovery_key().await?;
    let known = repositories::list(&mut app.store.read()).await?;
    let sealed = known.iter().filter(|one| recipient.is_some() && one.facts.sealed_to == recipient).count();
    Ok(RecoveryKeyView { recipient, sealed: sealed as u64, unsealed: (known.len() - sealed) as u64 })
}

/// What opens one, for its owner alone.
pub(crate) async fn of_repository(call: Call<GetRepositoryRecovery>) -> Result<RepositoryRecovery, ApiError> {
    let Call { app, path, .. } = call;
    let place = app.backups.place.as_ref();
    let place =
        place.ok_or_else(|| ApiError::new(ErrorCode::BS9011, "backups are not set up at this hub"))?;
    let whose = whose(&app, &path.node).await?;
    let kept = repositories::get(&mut app.store.read(), whose).await?;
    let kept = kept.ok_or_else(|| ApiError::missing("repository of", &path.node))?;
    let recipient = app.engine.recovery_key().await?.ok_or_else(|| {
        ApiError::new(ErrorCode::BS9018, "no recovery key is set")
            .with_hint("`backstay backup recovery-key` makes one")
    })?;
    let password = open_password(&app.keys, whose, &kept.sealed);
    let password = password.ok_or_else(|| ApiError::internal("the repository's password does not open"))?;
    let sealed = seal(&password, &recipient).map_err(ApiError::internal)?;
    let sealed = String::from_utf8(sealed).map_err(ApiError::internal)?;
    Ok(RepositoryRecovery { place: place.place_of(whose), sealed: Secret::new(sealed) })
}
