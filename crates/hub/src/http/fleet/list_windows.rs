//! `GET /api/v1/windows`

use backstay_api::v1::{ListWindows, Page, WindowView};
use backstay_engine::WindowSeen;
use backstay_store::repositories;

use crate::http::{ApiError, Call, paging};

/// Maintenance windows, those that open or close soonest first.
pub(crate) async fn list_windows(call: Call<ListWindows>) -> Result<Page<WindowView>, ApiError> {
    let known = repositories::list(&mut call.app.store.read()).await?;
    let view = |seen: WindowSeen| {
        let repository = known.iter().find(|one| one.id == seen.repository);
        WindowView {
            repository: repository.map(|one| one.name.to_string()).unwrap_or_default(),
            line: seen.window.line,
            stacks: seen.stacks,
            selector: seen.window.nodes.to_string(),
            nodes: seen.nodes,
            opens: seen.window.opens.to_string(),
            lasts: backstay_manifest::format_duration(seen.window.lasts),
            time_zone: seen.window.time_zone.to_string(),
            blackout: seen.window.blackout.iter().map(ToString::to_string).collect(),
            open: seen.open,
            changes_at: seen.changes_at,
        }
    };
    Ok(paging::whole(call.app.engine.windows().await?.into_iter().map(view).collect()))
}
