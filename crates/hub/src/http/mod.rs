//! The API over HTTP. One endpoint a file; [`router`] lists them all.
//!
//! What is deliberately not here: decisions. Handlers read the store for lists
//! and call the engine for everything that changes what runs. What an endpoint is
//! called, and who may call it, stands in `backstay-api` and is not said again.

mod agent;
mod backups;
mod call;
mod compress;
mod conversations;
mod deployments;
mod diff;
mod docs_page;
mod encoded;
mod environments;
mod error;
pub(crate) mod events;
mod find;
mod fleet;
mod gate;
mod graph;
mod hub;
mod input;
mod kept;
mod logs;
mod migrations;
pub(crate) mod names;
mod page;
mod paging;
mod prometheus;
mod releases;
mod route;
mod telemetry;
mod timeline;
mod undo;
mod users;

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::Request, middleware::from_fn_with_state, response::Response};
use backstay_api::{
    agent::{
        CheckIn, FinishBackup, GetAgentBuild, GetPack, JoinNode, NextBackup, SendAnswer, SendBackupProgress,
        SendReports,
    },
    v1,
};
use backstay_types::ErrorCode;

pub(crate) use self::{
    backups::standing::LastLook,
    call::{Call, Reply},
    encoded::Encoded,
    error::ApiError,
    events::ServerEvent,
    gate::Hosts,
    hub::create_token::create as create_token,
    hub::levels::levels,
    kept::Kept,
};
use self::{
    gate::RequestId,
    route::{Limits, Routes},
};
use crate::{app::App, error::HubError};

/// For answers that take Git or a whole plan.
const LONG: Duration = Duration::from_secs(600);

/// The whole API.
///
/// # Errors
/// When a declared endpoint has no handler, or two.
pub(crate) fn router(app: Arc<App>) -> Result<Router, HubError> {
    let routes = Routes::new(app.clone());
    let routes = agent_routes(routes, &app);
    let routes = fleet_routes(routes);
    let routes = record_routes(routes);
    let routes = hub_routes(routes);
    let routes = user_routes(routes);
    let routes = backup_routes(routes);
    let router = routes.finish().map_err(HubError::Routes)?;
    Ok(router
        .merge(agent::repository::routes(app.clone()))
        .merge(telemetry::receive::routes(app.clone()))
        .merge(telemetry::receive_logs::routes(app.clone()))
        .merge(prometheus::routes(app.clone()))
        .fallback(elsewhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(compress::layer())
        .layer(from_fn_with_state(app, gate::pass)))
}

fn agent_routes(routes: Routes, app: &App) -> Routes {
    let held = app.hold() + Duration::from_secs(30);
    routes
        .on_with::<JoinNode, _, _, _>(|limits| limits.body(64 << 10), agent::join::join)
        .on_with::<CheckIn, _, _, _>(|limits| limits.held(held).body(4 << 20), agent::check_in::check_in)
        .on_with::<SendReports, _, _, _>(|limits| limits.body(16 << 20), agent::send_reports::send_reports)
        .on_with::<SendAnswer, _, _, _>(|limits| limits.body(32 << 20), agent::send_answer::send_answer)
        .on_with::<GetAgentBuild, _, _, _>(|limits| limits.time(LONG), agent::get_build::get_build)
        .on_with::<GetPack, _, _, _>(|limits| limits.time(LONG), agent::get_pack::get_pack)
        .on_with::<NextBackup, _, _, _>(|limits| limits.body(64 << 10), agent::backups::next_backup)
        .on_with::<SendBackupProgress, _, _, _>(|limits| limits.body(64 << 10), agent::backups::send_progress)
        .on_with::<FinishBackup, _, _, _>(|limits| limits.body(16 << 20), agent::backups::finish)
}

fn fleet_routes(routes: Routes) -> Routes {
    let long = |limits: Limits| limits.time(LONG);
    let logs = |limits: Limits| limits.time(deployments::logs::WAIT + Duration::from_secs(5));
    routes
        .on::<v1::ListNodes, _, _, _>(fleet::list_nodes::list_nodes)
        .on::<v1::GetNode, _, _, _>(fleet::get_node::get_node)
        .on::<v1::GetAgents, _, _, _>(fleet::agents::get_agents)
        .on::<v1::GetAgentDecisions, _, _, _>(fleet::agents::get_agent_decisions)
        .on_with::<v1::UploadAgent, _, _, _>(
            |limits| limits.time(LONG).body(fleet::agents::LARGEST),
            fleet::agents::upload_agent,
        )
        .on::<v1::UpdateAgents, _, _, _>(fleet::agents::update_agents)
        .on::<v1::HaltAgents, _, _, _>(fleet::agents::halt_agents)
        .on_with::<v1::ExportBundle, _, _, _>(long, fleet::export_bundle::export_bundle)
        .on::<v1::ListDrift, _, _, _>(fleet::list_drift::list_drift)
        .on::<v1::RevokeNode, _, _, _>(fleet::revoke_node::revoke_node)
        .on::<v1::DecommissionNode, _, _, _>(fleet::decommission::decommission)
        .on::<v1::CancelDecommission, _, _, _>(fleet::decommission::cancel)
        .on::<v1::GetInventory, _, _, _>(fleet::inventory::inventory)
        .on::<v1::LabelNode, _, _, _>(fleet::label_nodes::label_node)
        .on::<v1::LabelNodes, _, _, _>(fleet::label_nodes::label_nodes)
        .on::<v1::LeaveSafeMode, _, _, _>(fleet::leave_safe_mode::leave_safe_mode)
        .on::<v1::CreateJoinToken, _, _, _>(fleet::create_join_token::create_join_token)
        .on::<v1::ListRepositories, _, _, _>(fleet::list_repositories::list_repositories)
        .on_with::<v1::AddRepository, _, _, _>(long, fleet::add_repository::add_repository)
        .on_with::<v1::CheckRepository, _, _, _>(long, fleet::check_repository::check_repository)
        .on_with::<v1::SyncRepository, _, _, _>(long, fleet::sync_repository::sync_repository)
        .on_with::<v1::AcceptRewrite, _, _, _>(long, fleet::accept_rewrite::accept_rewrite)
        .on::<v1::ListStacks, _, _, _>(fleet::list_stacks::list_stacks)
        .on::<v1::GetStack, _, _, _>(releases::get_stack::get_stack)
        .on_with::<v1::GetRelease, _, _, _>(long, releases::get::get)
        .on_with::<v1::GetReleaseFile, _, _, _>(long, releases::get_file::get_file)
        .on::<v1::ListReleases, _, _, _>(fleet::list_releases::list_releases)
        .on::<v1::ListConstraints, _, _, _>(fleet::list_constraints::list_constraints)
        .on::<v1::CreateHold, _, _, _>(fleet::create_hold::create_hold)
        .on::<v1::CreateConstraint, _, _, _>(fleet::create_constraint::create_constraint)
        .on::<v1::ListBranches, _, _, _>(fleet::list_branches::list_branches)
        .on::<v1::ListWindows, _, _, _>(fleet::list_windows::list_windows)
        .on::<v1::LiftConstraint, _, _, _>(fleet::lift_constraint::lift_constraint)
        .on::<v1::ListDeployments, _, _, _>(deployments::list::list)
        .on::<v1::GetDeployment, _, _, _>(deployments::get::get)
        .on::<v1::ListRollouts, _, _, _>(deployments::list_rollouts::list_rollouts)
        .on::<v1::ListEnvironments, _, _, _>(environments::list)
        .on::<v1::PromoteStack, _, _, _>(environments::promote)
        .on::<v1::GetRollout, _, _, _>(deployments::get_rollout::get_rollout)
        .on::<v1::GetRolloutDecisions, _, _, _>(deployments::get_decisions::get_decisions)
        .on::<v1::PauseRollout, _, _, _>(deployments::steer::pause)
        .on::<v1::ResumeRollout, _, _, _>(deployments::steer::resume)
        .on::<v1::PromoteRollout, _, _, _>(deployments::steer::promote)
        .on::<v1::AbortRollout, _, _, _>(deployments::steer::abort)
        .on::<v1::OverrideRollout, _, _, _>(deployments::steer::override_rollout)
        .on::<v1::GetFleetHealth, _, _, _>(deployments::steer::get_health)
        .on::<v1::GetEmergencyStop, _, _, _>(deployments::steer::get_stop)
        .on::<v1::SetEmergencyStop, _, _, _>(deployments::steer::set_stop)
        .on_with::<v1::GetLogs, _, _, _>(logs, deployments::logs::logs)
        .on::<v1::FollowLogs, _, _, _>(deployments::follow_logs::follow_logs)
}

fn record_routes(routes: Routes) -> Routes {
    let long = |limits: Limits| limits.time(LONG);
    let large = |limits: Limits| limits.time(LONG).body(64 << 20);
    let followed = |limits: Limits| limits.held(timeline::list::LONGEST + Duration::from_secs(30));
    routes
        .on::<v1::ListConversations, _, _, _>(conversations::list::list)
        .on::<v1::GetConversation, _, _, _>(conversations::get::get)
        .on::<v1::ResolveConversation, _, _, _>(conversations::resolve::resolve)
        .on::<v1::ListDeliveries, _, _, _>(conversations::list_deliveries::list_deliveries)
        .on_with::<v1::ReceiveWebhook, _, _, _>(
            |limits| limits.body(25 << 20),
            conversations::receive_webhook::receive_webhook,
        )
        .on_with::<v1::ListTimeline, _, _, _>(followed, timeline::list::list)
        .on::<v1::GetRelated, _, _, _>(timeline::related::related)
        .on_with::<v1::GetWhy, _, _, _>(long, timeline::why::why)
        .on::<v1::ExportLedger, _, _, _>(timeline::export::export)
        .on::<v1::GetGraph, _, _, _>(graph::get::get)
        .on_with::<v1::GetWhyFile, _, _, _>(long, timeline::why_file::why_file)
        .on_with::<v1::GetChangeDiff, _, _, _>(long, diff::of_change::of_change)
        .on_with::<v1::GetReleaseDiff, _, _, _>(long, diff::of_releases::of_releases)
        .on_with::<v1::PlanUndoDiff, _, _, _>(long, diff::of_undo::planned)
        .on_with::<v1::GetUndoDiff, _, _, _>(long, diff::of_undo::made)
        .on::<v1::ListWebhooks, _, _, _>(conversations::list_webhooks::list_webhooks)
        .on::<v1::TestWebhook, _, _, _>(conversations::test_webhook::test_webhook)
        .on::<v1::FollowEvents, _, _, _>(page::follow_events::follow_events)
        .on::<v1::GetOverview, _, _, _>(page::overview::overview)
        .on::<v1::ListNodeRows, _, _, _>(page::node_rows::node_rows)
        .on::<v1::Search, _, _, _>(page::search::search)
        .on_with::<v1::PlanUndo, _, _, _>(long, undo::plan::plan)
        .on_with::<v1::CreateUndo, _, _, _>(long, undo::create::create)
        .on::<v1::ListUndos, _, _, _>(undo::list::list)
        .on::<v1::GetUndo, _, _, _>(undo::get::get)
        .on_with::<v1::PlanResolvedUndo, _, _, _>(large, undo::resolve::plan)
        .on_with::<v1::ResolveUndo, _, _, _>(large, undo::resolve::resolve)
}

fn hub_routes(routes: Routes) -> Routes {
    routes
        .on::<v1::GetHub, _, _, _>(hub::get::get)
        .on::<v1::ListTokens, _, _, _>(hub::list_tokens::list_tokens)
        .on::<v1::CreateToken, _, _, _>(hub::create_token::create_token)
        .on::<v1::RevokeToken, _, _, _>(hub::revoke_token::revoke_token)
        .on::<v1::Healthz, _, _, _>(hub::health::healthz)
        .on::<v1::Readyz, _, _, _>(hub::health::readyz)
        .on::<v1::GetMetrics, _, _, _>(hub::metrics::metrics)
        .on::<v1::GetTelemetry, _, _, _>(telemetry::view::get)
        .on_with::<v1::SearchLogs, _, _, _>(|limits| limits.time(LONG), logs::search::search)
        .on_with::<v1::TailLogs, _, _, _>(|limits| limits.time(LONG), logs::tail::tail)
        .on_with::<v1::CountLogs, _, _, _>(|limits| limits.time(LONG), logs::count::count)
        .on_with::<v1::ExportLogs, _, _, _>(|limits| limits.time(LONG), logs::export::export)
        .on_with::<v1::ExportTelemetry, _, _, _>(|limits| limits.time(LONG), telemetry::export::export)
        .on::<v1::GetOpenApi, _, _, _>(hub::docs::open_api)
        .on::<v1::GetDocs, _, _, _>(hub::docs::docs)
}

fn user_routes(routes: Routes) -> Routes {
    let small = |limits: Limits| limits.body(16 << 10);
    routes
        .on::<v1::GetSession, _, _, _>(users::get_session::get_session)
        .on_with::<v1::SignIn, _, _, _>(small, users::sign_in::sign_in)
        .on_with::<v1::SignInByLink, _, _, _>(small, users::sign_in_by_link::sign_in_by_link)
        .on_with::<v1::LookAtLink, _, _, _>(small, users::look_at_link::look_at_link)
        .on::<v1::SignOut, _, _, _>(users::sign_out::sign_out)
        .on::<v1::SignOutEverywhere, _, _, _>(users::sign_out_everywhere::sign_out_everywhere)
        .on_with::<v1::ChangePassword, _, _, _>(small, users::change_password::change_password)
        .on::<v1::CreateOpenLink, _, _, _>(users::create_open_link::create_open_link)
        .on::<v1::ListUsers, _, _, _>(users::list::list)
        .on::<v1::CreateUser, _, _, _>(users::create::create)
        .on::<v1::UpdateUser, _, _, _>(users::update::update)
        .on::<v1::ResetUser, _, _, _>(users::reset::reset)
}

fn backup_routes(routes: Routes) -> Routes {
    routes
        .on::<v1::GetBackups, _, _, _>(backups::overview::get_backups)
        .on::<v1::ListBackupStatus, _, _, _>(backups::status::list_status)
        .on::<v1::ListSnapshots, _, _, _>(backups::snapshots::list)
        .on::<v1::GetSnapshot, _, _, _>(backups::snapshots::get)
        .on::<v1::HoldSnapshot, _, _, _>(backups::snapshots::hold)
        .on::<v1::ReleaseSnapshot, _, _, _>(backups::snapshots::release)
        .on::<v1::AskSnapshotFiles, _, _, _>(backups::snapshots::ask_files)
        .on::<v1::GetSnapshotFiles, _, _, _>(backups::snapshots::files)
        .on::<v1::ListBackupJobs, _, _, _>(backups::jobs::list)
        .on::<v1::GetBackupJob, _, _, _>(backups::jobs::get)
        .on::<v1::CancelBackupJob, _, _, _>(backups::jobs::cancel)
        .on::<v1::StartBackup, _, _, _>(backups::start::start)
        .on::<v1::StartDrill, _, _, _>(backups::start::drill)
        .on::<v1::VerifyBackups, _, _, _>(backups::start::verify)
        .on::<v1::PruneBackups, _, _, _>(backups::start::prune)
        .on::<v1::StartRestore, _, _, _>(backups::restore::start)
        .on::<v1::RestoreEverything, _, _, _>(backups::restore_everything::start)
        .on::<v1::AcceptBackupTarget, _, _, _>(backups::accept_target::accept)
        .on::<v1::StartMigration, _, _, _>(migrations::start::start)
        .on::<v1::ListMigrations, _, _, _>(migrations::read::list)
        .on::<v1::GetMigration, _, _, _>(migrations::read::get)
        .on::<v1::AbortMigration, _, _, _>(migrations::abort::abort)
        .on::<v1::GetRecoveryKey, _, _, _>(backups::recovery::get)
        .on::<v1::SetRecoveryKey, _, _, _>(backups::recovery::set)
        .on::<v1::GetRepositoryRecovery, _, _, _>(backups::recovery::of_repository)
}

/// The page's files, and nothing else, where the API has nothing.
async fn elsewhere(request: Request) -> Response {
    if let Some(file) = page::files::file(&request) {
        return file;
    }
    let detail = format!("there is nothing at `{}`", request.uri().path());
    let error = ApiError::new(ErrorCode::BS4004, detail).with_hint("`/docs` lists what there is");
    error.into_response(&id_of(&request))
}

async fn wrong_method(request: Request) -> Response {
    let detail = format!("`{}` does not take {}", request.uri().path(), request.method());
    ApiError::new(ErrorCode::BS4012, detail).into_response(&id_of(&request))
}

fn id_of(request: &Request) -> RequestId {
    request.extensions().get::<RequestId>().cloned().unwrap_or_default()
}

/// A reason that someone has to give: what is recorded should say something in a year.
fn reason(text: &str) -> Result<&str, ApiError> {
    let text = text.trim();
    if (1..=2000).contains(&text.len()) {
        Ok(text)
    } else {
        Err(ApiError::invalid("reason", "expected 1 to 2000 bytes"))
    }
}
