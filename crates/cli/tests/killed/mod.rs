//! The hub's crash matrix: `kill -9` of the real program in each of its write paths, on each side of each commit,
//! and right after an answer. Each row names a way to write, the point at which the hub dies, and what must be
//! there after a restart. Then the client, who had no answer, asks again in the same words: what it asked for is
//! there exactly once, the ledger says so once, and its chain holds.

mod agents;
mod backups;
mod follow;
mod members;
mod moves;
mod people;
mod place;
mod rollouts;
mod ways;

use std::collections::BTreeSet;

use backstay_api::{Method, declarations};
use place::Place;
use ways::{Again, Way};

/// What must be there when the hub is back, before anybody asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// Nothing of it.
    Absent,
    /// All of it, once.
    There,
    /// It comes by itself: the hub takes up what it was about to do.
    Comes,
}

/// All ways by name.
mod way {
    pub(super) use super::{
        agents::*, backups::*, follow::*, members::*, moves::*, people::*, rollouts::*, ways::*,
    };
}

/// A row for each: name, way, point, what must be there.
macro_rules! rows {
    ($($name:ident: $way:ident $point:literal => $after:ident;)*) => {
        $(#[test]
        fn $name() {
            row(&way::$way, $point, After::$after);
        })*

        const ROWS: &[(&Way, &str)] = &[$((&way::$way, $point)),*];
    };
}

rows! {
    // The life of a node.
    join_before: JOIN "hub/http/agent/join.before" => Absent;
    join_after: JOIN "hub/http/agent/join.after" => There;
    join_answered: JOIN "answered" => There;
    reports_before: REPORTS "engine/reports.before" => Absent;
    reports_after: REPORTS "engine/reports.after" => There;
    reports_answered: REPORTS "answered" => There;
    pack_before: PACK "hub/packs.before" => Absent;
    pack_after: PACK "hub/packs.after" => There;
    leave_safe_mode_before: LEAVE_SAFE_MODE "engine/safe_mode.before" => Absent;
    leave_safe_mode_after: LEAVE_SAFE_MODE "engine/safe_mode.after" => There;
    leave_safe_mode_answered: LEAVE_SAFE_MODE "answered" => There;
    label_before: LABEL "engine/labels.before" => Absent;
    label_after: LABEL "engine/labels.after" => There;
    label_answered: LABEL "answered" => There;
    label_many_before: LABEL_MANY "engine/labels.before" => Absent;
    label_many_after: LABEL_MANY "engine/labels.after" => There;
    decommission_before: DECOMMISSION "engine/decommission.before" => Absent;
    decommission_after: DECOMMISSION "engine/decommission.after" => There;
    decommission_answered: DECOMMISSION "answered" => There;
    decommission_at_once_before: DECOMMISSION_AT_ONCE "engine/decommission.before" => Absent;
    decommission_at_once_after: DECOMMISSION_AT_ONCE "engine/decommission.after" => There;
    cancel_decommission_before: CANCEL_DECOMMISSION "engine/decommission.before" => Absent;
    cancel_decommission_after: CANCEL_DECOMMISSION "engine/decommission.after" => There;
    cancel_decommission_answered: CANCEL_DECOMMISSION "answered" => There;
    revoke_node_before: REVOKE_NODE "hub/http/fleet/revoke_node.before" => Absent;
    revoke_node_after: REVOKE_NODE "hub/http/fleet/revoke_node.after" => There;
    revoke_node_answered: REVOKE_NODE "answered" => There;
    // Soft state: the agent says it again when asked, and is asked when it was lost.
    flush_before: SOFT_STATE "hub/background/flush.before" => Absent;
    flush_after: SOFT_STATE "hub/background/flush.after" => There;

    // A move to another node.
    migrate_before: MIGRATE "engine/migrations/mod.before" => Absent;
    migrate_after: MIGRATE "engine/migrations/mod.after" => There;
    migrate_answered: MIGRATE "answered" => There;
    migrate_on_before: MIGRATE_ON "engine/migrations/advance.before" => Comes;
    migrate_on_after: MIGRATE_ON "engine/migrations/advance.after" => There;
    abort_migration_before: ABORT_MIGRATION "engine/migrations/mod.before" => Absent;
    abort_migration_after: ABORT_MIGRATION "engine/migrations/mod.after" => There;
    abort_migration_answered: ABORT_MIGRATION "answered" => There;

    // Tokens.
    join_token_before: JOIN_TOKEN "hub/http/fleet/create_join_token.before" => Absent;
    join_token_after: JOIN_TOKEN "hub/http/fleet/create_join_token.after" => There;
    join_token_answered: JOIN_TOKEN "answered" => There;
    create_token_before: CREATE_TOKEN "hub/http/hub/create_token.before" => Absent;
    create_token_after: CREATE_TOKEN "hub/http/hub/create_token.after" => There;
    create_token_answered: CREATE_TOKEN "answered" => There;
    revoke_token_before: REVOKE_TOKEN "hub/http/hub/revoke_token.before" => Absent;
    revoke_token_after: REVOKE_TOKEN "hub/http/hub/revoke_token.after" => There;
    revoke_token_answered: REVOKE_TOKEN "answered" => There;

    // Repositories.
    add_repository_before: ADD_REPOSITORY "engine/repositories.before" => Absent;
    add_repository_after: ADD_REPOSITORY "engine/repositories.after" => There;
    add_repository_sync_before: ADD_REPOSITORY "engine/sync.before" => There;
    add_repository_sync_after: ADD_REPOSITORY "engine/sync.after" => There;
    add_repository_answered: ADD_REPOSITORY "answered" => There;
    sync_before: SYNC "engine/sync.before" => Comes;
    sync_after: SYNC "engine/sync.after" => There;
    sync_answered: SYNC "answered" => There;
    sync_nothing_new_before: SYNC_NOTHING_NEW "engine/undo/upstream.before" => There;
    sync_nothing_new_after: SYNC_NOTHING_NEW "engine/undo/upstream.after" => There;
    accept_rewrite_before: ACCEPT_REWRITE "engine/sync.before" => Absent;
    accept_rewrite_after: ACCEPT_REWRITE "engine/sync.after" => There;
    accept_rewrite_answered: ACCEPT_REWRITE "answered" => There;
    warned_before: WARNED "engine/warnings.before" => Comes;
    warned_after: WARNED "engine/warnings.after" => There;
    rewritten_before: REWRITTEN "engine/sync.before" => Comes;
    rewritten_after: REWRITTEN "engine/sync.after" => There;
    plan_before: PLAN "engine/reconcile.before" => Comes;
    plan_after: PLAN "engine/reconcile.after" => There;
    plan_parts_before: PLAN_PARTS "engine/parts.before" => Comes;
    plan_parts_after: PLAN_PARTS "engine/parts.after" => Comes;

    // Rollouts.
    pause_before: PAUSE "engine/rollouts.before" => Absent;
    pause_after: PAUSE "engine/rollouts.after" => There;
    pause_answered: PAUSE "answered" => There;
    resume_before: RESUME "engine/rollouts.before" => Absent;
    resume_after: RESUME "engine/rollouts.after" => There;
    resume_answered: RESUME "answered" => There;
    promote_before: PROMOTE "engine/rollouts.before" => Absent;
    promote_after: PROMOTE "engine/rollouts.after" => There;
    promote_answered: PROMOTE "answered" => There;
    abort_before: ABORT "engine/rollouts.before" => Absent;
    abort_after: ABORT "engine/rollouts.after" => There;
    abort_answered: ABORT "answered" => There;
    override_before: OVERRIDE "engine/rollouts.before" => Absent;
    override_after: OVERRIDE "engine/rollouts.after" => There;
    override_answered: OVERRIDE "answered" => There;
    let_in_before: LET_IN "engine/environments.before" => Absent;
    let_in_after: LET_IN "engine/environments.after" => There;
    let_in_answered: LET_IN "answered" => There;
    emergency_stop_before: EMERGENCY_STOP "engine/emergency.before" => Absent;
    emergency_stop_after: EMERGENCY_STOP "engine/emergency.after" => There;
    emergency_stop_answered: EMERGENCY_STOP "answered" => There;

    // Holds.
    hold_before: HOLD "engine/holds.before" => Absent;
    hold_after: HOLD "engine/holds.after" => There;
    hold_answered: HOLD "answered" => There;
    hold_conversation_before: HOLD_CONVERSATION "engine/holds.before" => Absent;
    hold_conversation_after: HOLD_CONVERSATION "engine/holds.after" => There;
    limit_before: LIMIT "engine/limits.before" => Absent;
    limit_after: LIMIT "engine/limits.after" => There;
    limit_answered: LIMIT "answered" => There;
    follow_read_before: FOLLOW "engine/branches.before" => Absent;
    follow_read_after: FOLLOW "engine/branches.after" => Absent;
    follow_before: FOLLOW "engine/limits.before" => Absent;
    follow_after: FOLLOW "engine/limits.after" => There;
    follow_answered: FOLLOW "answered" => There;
    branch_moved_before: BRANCH_MOVED "engine/branches.before" => Comes;
    branch_moved_after: BRANCH_MOVED "engine/branches.after" => There;
    branch_gone_before: BRANCH_GONE "engine/branches.before" => Comes;
    branch_gone_after: BRANCH_GONE "engine/branches.after" => There;
    lift_before: LIFT "engine/holds.before" => Absent;
    lift_after: LIFT "engine/holds.after" => There;
    lift_answered: LIFT "answered" => There;

    // Conversations.
    webhook_before: WEBHOOK "hub/http/conversations/receive_webhook.before" => Absent;
    webhook_after: WEBHOOK "hub/http/conversations/receive_webhook.after" => There;
    webhook_answered: WEBHOOK "answered" => There;
    conversation_before: CONVERSATION "engine/conversations.before" => Absent;
    conversation_after: CONVERSATION "engine/conversations.after" => There;
    conversation_answered: CONVERSATION "answered" => There;

    // Undos.
    undo_before: UNDO "engine/undo/act.before" => Absent;
    undo_after: UNDO "engine/undo/act.after" => There;
    undo_answered: UNDO "answered" => There;
    undo_push_before: UNDO "engine/undo/push.before" => There;
    undo_push_after: UNDO "engine/undo/push.after" => There;
    undo_last_before: UNDO_LAST "engine/undo/act.before" => Absent;
    undo_last_after: UNDO_LAST "engine/undo/act.after" => There;
    undo_last_planned: UNDO_LAST "engine/reconcile.before" => There;
    undo_conflicted_before: UNDO_CONFLICTED "engine/undo/act.before" => Absent;
    undo_conflicted_after: UNDO_CONFLICTED "engine/undo/act.after" => There;
    resolve_undo_before: RESOLVE_UNDO "engine/undo/act.before" => Absent;
    resolve_undo_after: RESOLVE_UNDO "engine/undo/act.after" => There;
    resolve_undo_answered: RESOLVE_UNDO "answered" => There;
    undo_settle_before: UNDO_SETTLES "engine/undo/settle.before" => Comes;
    undo_settle_after: UNDO_SETTLES "engine/undo/settle.after" => There;
    undo_replay_before: UNDO_REPLAYED "engine/undo/upstream.before" => Comes;
    undo_replay_after: UNDO_REPLAYED "engine/undo/upstream.after" => Comes;

    // The ledger: what is recorded is sealed, once, whenever the sealer dies.
    seal_before: HOLD "store/ledger/seal.before" => There;
    seal_after: HOLD "store/ledger/seal.after" => There;

    // Who may sign in.
    create_user_before: CREATE_USER "hub/http/users/create.before" => Absent;
    create_user_after: CREATE_USER "hub/http/users/create.after" => There;
    create_user_answered: CREATE_USER "answered" => There;
    update_user_before: UPDATE_USER "hub/http/users/update.before" => Absent;
    update_user_after: UPDATE_USER "hub/http/users/update.after" => There;
    update_user_answered: UPDATE_USER "answered" => There;
    reset_user_before: RESET_USER "hub/http/users/reset.before" => Absent;
    reset_user_after: RESET_USER "hub/http/users/reset.after" => There;
    reset_user_answered: RESET_USER "answered" => There;
    open_link_before: OPEN_LINK "hub/http/users/create_open_link.before" => Absent;
    open_link_after: OPEN_LINK "hub/http/users/create_open_link.after" => There;
    open_link_answered: OPEN_LINK "answered" => There;
    sign_in_by_link_before: SIGN_IN_BY_LINK "hub/http/users/sign_in_by_link.before" => Absent;
    sign_in_by_link_after: SIGN_IN_BY_LINK "hub/http/users/sign_in_by_link.after" => There;
    sign_in_by_link_answered: SIGN_IN_BY_LINK "answered" => There;
    sign_in_before: SIGN_IN "hub/http/users/sign_in.before" => Absent;
    sign_in_after: SIGN_IN "hub/http/users/sign_in.after" => There;
    sign_in_answered: SIGN_IN "answered" => There;
    sign_out_before: SIGN_OUT "hub/http/users/sign_out.before" => Absent;
    sign_out_after: SIGN_OUT "hub/http/users/sign_out.after" => There;
    sign_out_answered: SIGN_OUT "answered" => There;
    sign_out_everywhere_before: SIGN_OUT_EVERYWHERE "hub/http/users/sign_out_everywhere.before" => Absent;
    sign_out_everywhere_after: SIGN_OUT_EVERYWHERE "hub/http/users/sign_out_everywhere.after" => There;
    sign_out_everywhere_answered: SIGN_OUT_EVERYWHERE "answered" => There;
    change_password_before: CHANGE_PASSWORD "hub/http/users/change_password.before" => Absent;
    change_password_after: CHANGE_PASSWORD "hub/http/users/change_password.after" => There;
    change_password_answered: CHANGE_PASSWORD "answered" => There;
    sign_in_try_before: SIGN_IN "hub/auth/tries.before" => Absent;
    sign_in_try_after: SIGN_IN "hub/auth/tries.after" => Absent;
    session_seen_before: SESSION_SEEN "hub/auth/session.before" => Absent;
    session_seen_after: SESSION_SEEN "hub/auth/session.after" => There;

    // Agents' programs.
    upload_agent_before: UPLOAD_AGENT "engine/agents.before" => Absent;
    upload_agent_after: UPLOAD_AGENT "engine/agents.after" => There;
    upload_agent_answered: UPLOAD_AGENT "answered" => There;
    update_agents_before: UPDATE_AGENTS "engine/agents.before" => Absent;
    update_agents_after: UPDATE_AGENTS "engine/agents.after" => There;
    update_agents_answered: UPDATE_AGENTS "answered" => There;
    halt_agents_before: HALT_AGENTS "engine/agents.before" => Absent;
    halt_agents_after: HALT_AGENTS "engine/agents.after" => There;
    halt_agents_answered: HALT_AGENTS "answered" => There;

    // Backups.
    start_backup_before: START_BACKUP "engine/backups/jobs.before" => Absent;
    start_backup_after: START_BACKUP "engine/backups/jobs.after" => There;
    start_backup_answered: START_BACKUP "answered" => There;
    cancel_backup_before: CANCEL_BACKUP "engine/backups/jobs.before" => Absent;
    cancel_backup_after: CANCEL_BACKUP "engine/backups/jobs.after" => There;
    cancel_backup_answered: CANCEL_BACKUP "answered" => There;
    finish_backup_before: FINISH_BACKUP "engine/backups/jobs.before" => Absent;
    finish_backup_after: FINISH_BACKUP "engine/backups/jobs.after" => There;
    finish_backup_answered: FINISH_BACKUP "answered" => There;
    hold_snapshot_before: HOLD_SNAPSHOT "engine/backups/repositories.before" => Absent;
    hold_snapshot_after: HOLD_SNAPSHOT "engine/backups/repositories.after" => There;
    hold_snapshot_answered: HOLD_SNAPSHOT "answered" => There;
    release_snapshot_before: RELEASE_SNAPSHOT "engine/backups/repositories.before" => Absent;
    release_snapshot_after: RELEASE_SNAPSHOT "engine/backups/repositories.after" => There;
    ask_upkeep_before: ASK_UPKEEP "engine/backups/jobs.before" => Absent;
    ask_upkeep_after: ASK_UPKEEP "engine/backups/jobs.after 3" => There;
    ask_upkeep_answered: ASK_UPKEEP "answered" => There;
    accept_target_before: ACCEPT_TARGET "engine/backups/repositories.before" => Absent;
    accept_target_after: ACCEPT_TARGET "engine/backups/repositories.after" => Comes;
    accept_target_answered: ACCEPT_TARGET "answered" => Comes;
    set_recovery_key_before: SET_RECOVERY_KEY "engine/backups/repositories.before" => Absent;
    set_recovery_key_after: SET_RECOVERY_KEY "engine/backups/repositories.after" => There;
    set_recovery_key_answered: SET_RECOVERY_KEY "answered" => There;
    backup_turn_before: START "engine/backups/schedule.before" => There;
    backup_turn_after: START "engine/backups/schedule.after" => There;
    upkeep_before: START "engine/backups/upkeep.before" => There;
    upkeep_after: START "engine/backups/upkeep.after" => There;

    // The start, on an empty folder.
    start_before: START "hub/start.before" => There;
    start_after: START "hub/start.after" => There;
    start_token_before: START "hub/http/hub/create_token.before" => There;
    start_token_after: START "hub/http/hub/create_token.after" => There;
    housekeeping_before: START "hub/background/housekeeping.before" => There;
    housekeeping_after: START "hub/background/housekeeping.after" => There;
}

/// Endpoints that are no row's, and why.
const WRITE_NOTHING: [(&str, &str); 14] = [
    ("NextBackup", "it hands out what `start_backup_…` keeps, the same until the outcome was taken"),
    ("SendBackupProgress", "the newest replaces the one before; the next comes in ten seconds"),
    (
        "StartDrill",
        "it keeps jobs in the transaction of `start_backup_…`, with snapshots that a target has proven",
    ),
    (
        "StartRestore",
        "it keeps a job in the transaction of `start_backup_…`, of a snapshot that a target has proven",
    ),
    (
        "RestoreEverything",
        "it keeps jobs in the transaction of `start_backup_…`, of snapshots that a target has proven",
    ),
    ("CheckIn", "what it hears is kept in memory and flushed: `flush_…`"),
    ("SendAnswer", "an answer goes to who waits for it, and that one is gone with the hub"),
    ("PlanResolvedUndo", "it looks"),
    ("PlanUndo", "it looks"),
    ("ExportBundle", "it looks"),
    ("PlanUndoDiff", "it looks"),
    ("CheckRepository", "it looks, in a mirror that the next start removes"),
    ("TestWebhook", "what it sends is a delivery: `webhook_…`"),
    ("LookAtLink", "it looks"),
];

fn row(way: &Way, point: &str, after: After) {
    let mut place = Place::new();
    (way.prepare)(&mut place);
    let position = place.position();
    assert_eq!((way.count)(&place), 0, "before");
    let answer = if point == "answered" {
        let answer = (way.act)(&place);
        place.kill();
        answer
    } else {
        place.die_at(point);
        let answer = (way.act)(&place);
        place.wait_killed(point);
        answer
    };
    assert!(point != "answered" || answer.is_ok(), "{answer:?}");
    place.start();
    match after {
        After::Absent => assert_eq!((way.count)(&place), 0, "after {point}"),
        After::There => assert_eq!((way.count)(&place), 1, "after {point}"),
        After::Comes => place.eventually("it comes by itself", || (way.count)(&place) == 1),
    }
    let mut wanted = 1;
    match ((way.count)(&place), way.again) {
        (0, _) | (_, Again::Same) => (way.act)(&place).unwrap(),
        (_, Again::More) => {
            (way.act)(&place).unwrap();
            wanted = 2;
        }
        (_, Again::Refused(code)) => {
            let error = (way.act)(&place).unwrap_err();
            assert_eq!(error.problem().map(|problem| problem.code), Some(code), "{error:?}");
        }
    }
    place.eventually("it is there exactly once", || (way.count)(&place) == wanted);
    place.ledger_says(way.event, wanted, position);
}

#[test]
fn every_endpoint_that_writes_has_its_rows() {
    let covered: BTreeSet<_> = ROWS.iter().flat_map(|(way, _)| way.endpoints).copied().collect();
    let exempt: BTreeSet<_> = WRITE_NOTHING.iter().map(|(name, _)| *name).collect();
    let all: BTreeSet<_> =
        declarations().iter().filter(|d| d.method != Method::Get).map(|d| d.name).collect();
    let uncovered: Vec<_> = all.difference(&covered).filter(|name| !exempt.contains(*name)).collect();
    assert!(uncovered.is_empty(), "no row kills the hub in {uncovered:?}");
    assert!(covered.is_disjoint(&exempt));
}

#[test]
fn every_place_that_begins_a_transaction_has_its_rows() {
    let mut writers = BTreeSet::new();
    for part in ["engine", "hub", "store"] {
        let folder = crate::support::root().join("crates").join(part).join("src");
        place::sources(&folder, &mut |path, text| {
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let below = path.strip_prefix(&folder).unwrap().with_extension("");
            if code.contains("store.begin()") {
                writers.insert(format!("{part}/{}", below.display()));
            }
        });
    }
    assert!(writers.len() > 15, "{writers:?}");
    for side in ["before", "after"] {
        let points: BTreeSet<_> = ROWS.iter().map(|(_, point)| *point).collect();
        let uncovered: Vec<_> =
            writers.iter().filter(|w| !points.contains(format!("{w}.{side}").as_str())).collect();
        assert!(uncovered.is_empty(), "no row kills the hub {side} a commit of {uncovered:?}");
    }
}
