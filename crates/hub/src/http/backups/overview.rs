//! `GET /api/v1/backups`: backups at a glance.

use backstay_api::v1::{
    BackupHealth, BackupSettingsView, BackupTargetView, BackupWarning, BackupsView, GetBackups, KeepView,
};
use backstay_config::TargetSettings;
use backstay_store::backups::jobs::{self, Wanted};
use backstay_types::backup::BackupJobState;

use super::{
    job_views,
    standing::{Standing, standing},
};
use crate::{
    app::App,
    http::{ApiError, Call},
};

/// How many nodes are named one by one.
const NAMED: usize = 20;

/// All of it in one answer.
pub(crate) async fn get_backups(call: Call<GetBackups>) -> Result<BackupsView, ApiError> {
    let app = call.app;
    let all = standing(&app).await?;
    let mut store = app.store.read();
    let state = |state, limit| Wanted { state: Some(state), limit, ..Wanted::default() };
    let running = jobs::list(&mut store, &state(BackupJobState::Running, 100)).await?;
    let queued =
        jobs::open(&mut store).await?.iter().filter(|job| job.state == BackupJobState::Queued).count();
    Ok(BackupsView {
        settings: settings_view(&app),
        nodes: all.all.iter().filter(|one| one.node.is_some()).count() as u64,
        by_state: all.by_state(),
        last_90_days: all.rate(),
        oldest_proven_at: all.oldest_proven_at(),
        drills_90_days: all.drill_rate(),
        oldest_drilled_at: all.oldest_drilled_at(),
        restore_ms: all.restore_ms(),
        bytes: all.bytes,
        running: job_views(&mut store, running).await?,
        queued: queued as u64,
        warnings: warnings(&app, &all).await?,
    })
}

/// What a person should do something about, most urgent first.
pub(crate) async fn warnings(app: &App, all: &Standing) -> Result<Vec<BackupWarning>, ApiError> {
    let settings = &app.settings.backup;
    let mut found = Vec::new();
    if settings.target.is_none() {
        return Ok(found);
    }
    let mut say = |node: Option<&backstay_types::NodeName>, text: String| {
        found.push(BackupWarning { node: node.cloned(), text });
    };
    let bad = |one: &&super::standing::Stands| {
        matches!(
            one.state,
            BackupHealth::Damaged
                | BackupHealth::Failed
                | BackupHealth::Full
                | BackupHealth::Late
                | BackupHealth::Unproven
        ) || one.node.is_none() && one.state != BackupHealth::Good
    };
    for second in [false, true] {
        if let Some(why) = app.backups.not_used.get(second) {
            say(None, why);
        }
    }
    for one in all.all.iter().filter(bad).take(NAMED) {
        let node = one.node.as_ref().map(|(_, name, _)| name);
        say(node, format!("{}: {}", one.name(), one.why));
    }
    for (one, stack, drill) in all.drills().filter(|(_, _, drill)| drill.failed_in_a_row > 0).take(NAMED) {
        let node = one.node.as_ref().map(|(_, name, _)| name);
        let why = drill.last_failure.as_deref().unwrap_or_default();
        say(node, format!("{}: the last drill of {stack} failed: {why}", one.name()));
    }
    for one in all.all.iter().filter(|one| one.lost.is_some()).take(NAMED) {
        let node = one.node.as_ref().map(|(_, name, _)| name);
        if let Some(lost) = one.lost_data() {
            say(node, format!("{}: {lost}", one.name()));
        }
    }
    let second = settings.second.is_some();
    for one in all.all.iter().filter(|one| !one.troubles(second).is_empty()).take(NAMED) {
        let node = one.node.as_ref().map(|(_, name, _)| name);
        for (what, _) in one.troubles(second) {
            say(node, format!("{}: {what}", one.name()));
        }
    }
    if app.engine.recovery_key().await?.is_none() {
        let text = "there is no recovery key: once this hub is lost, nobody can open any backup; \
                    `backstay backup recovery-key` makes one";
        say(None, text.to_owned());
    }
    let second = app.backups.second.get();
    if second.needs_a_person() {
        say(None, second.words());
    }
    Ok(found)
}

pub(super) fn target_view(app: &App, target: &TargetSettings, second: bool) -> BackupTargetView {
    let (hub_can_delete, note) = if second {
        let second = app.backups.second.get();
        (second.can_delete(), second.words())
    } else {
        (true, "nodes cannot delete here; whoever takes over the hub can".to_owned())
    };
    BackupTargetView {
        place: target.place(),
        hub_can_delete,
        note,
        not_used: app.backups.not_used.get(second),
    }
}

fn settings_view(app: &App) -> Option<BackupSettingsView> {
    let settings = &app.settings.backup;
    let target = settings.target.as_ref()?;
    Some(BackupSettingsView {
        target: target_view(app, target, false),
        second: settings.second.as_ref().map(|site| target_view(app, site, true)),
        every_seconds: settings.every.as_secs(),
        keep: KeepView {
            days: settings.keep_days,
            hourly: settings.keep_hourly,
            daily: settings.keep_daily,
            weekly: settings.keep_weekly,
            monthly: settings.keep_monthly,
            at_least: settings.keep_at_least,
        },
        max_bytes: settings.max_bytes,
        max_bytes_per_node: settings.max_bytes_per_node,
        read_all_every_seconds: settings.read_all_every.as_secs(),
        parallel: settings.parallel,
        bytes_per_second: settings.bytes_per_second,
        drill_every_seconds: settings.drill_every.as_secs(),
    })
}
