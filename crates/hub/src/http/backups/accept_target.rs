//! `POST /api/v1/backups/target/accept`

use backstay_api::v1::{AcceptBackupTarget, BackupTargetView};
use backstay_types::ErrorCode;

use super::overview::target_view;
use crate::{
    backups::{For, TargetError},
    http::{ApiError, Call},
};

/// From now on what is there is what should be there.
pub(crate) async fn accept(call: Call<AcceptBackupTarget>) -> Result<BackupTargetView, ApiError> {
    let Call { app, caller, body, .. } = call;
    let settings = &app.settings.backup;
    let target = if body.second { settings.second.as_ref() } else { settings.target.as_ref() };
    let Some(target) = target else {
        let which = if body.second { "a second backup target" } else { "backups" };
        return Err(ApiError::new(ErrorCode::BS9011, format!("{which}: not set up at this hub")));
    };
    let place = app.backups.place.as_ref().ok_or_else(|| ApiError::new(ErrorCode::BS9011, "no target"))?;
    match place.is_known(&app, body.second, For::Look).await {
        // Asked twice, it is done once.
        Ok(()) => {}
        Err(TargetError::Unknown(_)) => {
            app.engine.accept_target(&target.place(), &caller.by()).await?;
            app.backups.look_at_targets.notify_one();
        }
        Err(TargetError::Objects(error)) => return Err(ApiError::new(ErrorCode::BS9016, error.to_string())),
        Err(TargetError::Hub(error)) => return Err(error.into()),
    }
    // What was found before this.
    Ok(BackupTargetView { not_used: None, ..target_view(&app, target, body.second) })
}
