//! The ways in which the hub comes to write.

use backstay_api::{
    Binary, Empty,
    agent::{GetPack, PackPath, Report, ReportBody, ReportsRequest, SendReports},
    v1,
};
use backstay_client::ClientError;
use backstay_testkit::CommitSpec;
use backstay_types::{
    Deployment, DeploymentState, ErrorCode, Id as _, NodeState, PushState, RepositoryHealth, Secret,
    Timestamp, Undo, UndoId, UndoScope, UndoSelector, UndoState,
};

use super::place::Place;

/// A way to write.
pub(super) struct Way {
    /// The endpoints that it tries.
    pub(super) endpoints: &'static [&'static str],
    /// Brings about the state before.
    pub(super) prepare: fn(&mut Place),
    /// Asks for the write; the same when asked again.
    pub(super) act: fn(&Place) -> Result<(), ClientError>,
    /// How many times what was asked for is there.
    pub(super) count: fn(&Place) -> usize,
    /// What comes of asking again for what is there.
    pub(super) again: Again,
    /// The kind of the ledger's entry about it; empty where there is none, or several.
    pub(super) event: &'static str,
}

/// What comes of asking again for what is there.
#[derive(Clone, Copy)]
pub(super) enum Again {
    /// The same answer, and nothing more.
    Same,
    /// No, since it is there.
    Refused(ErrorCode),
    /// Another of its kind: the secret of the first was never told, and nobody can use it.
    More,
}

type Done = Result<(), ClientError>;

fn items<T>(answer: Result<v1::Page<T>, ClientError>) -> Vec<T> {
    answer.unwrap().items
}

pub(super) const JOIN: Way = Way {
    endpoints: &["JoinNode"],
    prepare: |place| {
        place.start();
        place.join_token();
    },
    act: Place::try_join,
    count: |place| nodes(place).len(),
    again: Again::Same,
    event: "node_joined",
};

pub(super) fn nodes(place: &Place) -> Vec<v1::NodeView> {
    items(place.call::<v1::ListNodes>(&Empty {}, &v1::NodesQuery::default(), &Empty {}))
}

pub(super) const REVOKE_NODE: Way = Way {
    endpoints: &["RevokeNode"],
    prepare: |place| {
        place.start();
        place.join();
        place.notes.borrow_mut().remove("online");
    },
    act: |place| {
        let path = v1::NodePath { node: "n1".to_owned() };
        place.call::<v1::RevokeNode>(&path, &Empty {}, &Empty {}).map(drop)
    },
    count: |place| nodes(place).iter().filter(|node| node.state == NodeState::Revoked).count(),
    again: Again::Refused(ErrorCode::BS4005),
    event: "node_revoked",
};

pub(super) const LEAVE_SAFE_MODE: Way = Way {
    endpoints: &["LeaveSafeMode"],
    prepare: |place| {
        place.start();
        place.keep("safe mode", "yes");
        place.join();
    },
    act: |place| {
        let path = v1::NodePath { node: "n1".to_owned() };
        let body = v1::LeaveSafeModeRequest { reason: "mended".to_owned() };
        place.call::<v1::LeaveSafeMode>(&path, &Empty {}, &body).map(drop)
    },
    count: |place| nodes(place).iter().filter(|node| node.leaving_safe_mode).count(),
    again: Again::Same,
    event: "safe_mode_leave_asked",
};

pub(super) const SOFT_STATE: Way = Way {
    endpoints: &[],
    prepare: |place| {
        place.start();
        place.join_token();
        // It says nothing by itself after a restart: what is there then comes from the database.
        place.try_join().unwrap();
    },
    act: |place| {
        place.hello();
        Ok(())
    },
    count: |place| nodes(place).iter().filter(|node| node.last_seen_at.is_some()).count(),
    again: Again::Same,
    event: "",
};

/// A node with a deployment that waits for it.
pub(super) fn with_deployment(place: &mut Place) {
    place.start();
    place.join();
    place.try_follow().unwrap();
    place.eventually("a deployment", || !deployments(place).is_empty());
}

fn deployments(place: &Place) -> Vec<Deployment> {
    let query = v1::DeploymentsQuery::default();
    let found = items(place.call::<v1::ListDeployments>(&Empty {}, &query, &Empty {}));
    found.into_iter().map(|view| view.deployment).collect()
}

/// The node reports that its newest deployment has succeeded; always in the same words.
pub(super) fn report(place: &Place) -> Done {
    let deployment = deployments(place)[0].id;
    let id =
        |n: u128| backstay_types::ReportId::from_uuid(uuid::Uuid::from_u128(deployment.uuid().as_u128() ^ n));
    let at: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    let reports = vec![
        Report { id: id(1), at, body: ReportBody::DeploymentStarted { deployment, previous: None } },
        Report {
            id: id(2),
            at,
            body: ReportBody::DeploymentFinished {
                deployment,
                state: DeploymentState::Succeeded,
                containers: Vec::new(),
            },
        },
    ];
    place.call_as_node::<SendReports>(&Empty {}, &ReportsRequest { reports }).map(drop)
}

pub(super) const REPORTS: Way = Way {
    endpoints: &["SendReports"],
    prepare: with_deployment,
    act: report,
    count: |place| {
        deployments(place).iter().filter(|found| found.state == DeploymentState::Succeeded).count()
    },
    again: Again::Same,
    event: "deployment_finished",
};

pub(super) const PACK: Way = Way {
    endpoints: &["GetPack"],
    prepare: with_deployment,
    act: |place| {
        let path = v1::DeploymentPath { deployment: deployments(place)[0].id };
        let tree = place.call::<v1::GetDeployment>(&path, &Empty {}, &Empty {}).unwrap().view.tree;
        let pack = place.call_as_node::<GetPack>(&PackPath { pack: format!("{tree}.pack") }, &Empty {})?;
        assert!(!pack.0.is_empty());
        Ok(())
    },
    count: |place| {
        let names = std::fs::read_dir(place.dir.path().join("hub/packs")).unwrap();
        names.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "pack")).count()
    },
    again: Again::Same,
    event: "",
};

pub(super) const JOIN_TOKEN: Way = Way {
    endpoints: &["CreateJoinToken"],
    prepare: Place::start,
    act: |place| {
        let body = v1::CreateJoinTokenRequest::default();
        place.call::<v1::CreateJoinToken>(&Empty {}, &Empty {}, &body).map(drop)
    },
    count: |place| token_changes(place, "made the join token"),
    again: Again::More,
    event: "token_changed",
};

/// How many entries of the ledger, sealed or soon to be, say this of a token.
fn token_changes(place: &Place, text: &str) -> usize {
    std::thread::sleep(std::time::Duration::from_millis(150));
    let query = v1::TimelineQuery { kind: Some("token_changed".to_owned()), ..v1::TimelineQuery::default() };
    let entries = items(place.call::<v1::ListTimeline>(&Empty {}, &query, &Empty {}));
    entries.iter().filter(|entry| serde_json::to_string(entry).unwrap().contains(text)).count()
}

fn tokens(place: &Place) -> Vec<v1::Token> {
    let mut all = items(place.call::<v1::ListTokens>(&Empty {}, &Empty {}, &Empty {}));
    all.retain(|token| token.name == "a token");
    all
}

fn create_token(place: &Place) -> Result<v1::CreatedToken, ClientError> {
    let body = v1::CreateTokenRequest {
        name: "a token".to_owned(),
        kind: v1::TokenKind::Api { role: backstay_api::Role::Viewer },
        expires_in_seconds: None,
    };
    place.call::<v1::CreateToken>(&Empty {}, &Empty {}, &body)
}

pub(super) const CREATE_TOKEN: Way = Way {
    endpoints: &["CreateToken"],
    prepare: Place::start,
    act: |place| create_token(place).map(drop),
    count: |place| tokens(place).len(),
    again: Again::More,
    event: "token_changed",
};

pub(super) const REVOKE_TOKEN: Way = Way {
    endpoints: &["RevokeToken"],
    prepare: |place| {
        place.start();
        place.keep("token", create_token(place).unwrap().token.id);
    },
    act: |place| {
        let path = v1::TokenPath { token: place.note("token").parse().unwrap() };
        place.call::<v1::RevokeToken>(&path, &Empty {}, &Empty {}).map(drop)
    },
    count: |place| tokens(place).iter().filter(|token| token.revoked_at.is_some()).count(),
    again: Again::Refused(ErrorCode::BS4005),
    event: "token_changed",
};

pub(super) const ADD_REPOSITORY: Way = Way {
    endpoints: &["AddRepository"],
    prepare: Place::start,
    act: Place::try_follow,
    count: |place| usize::from(place.repository().is_some()),
    again: Again::Refused(ErrorCode::BS4005),
    event: "repository_added",
};

/// A hub that follows the repository.
fn following(place: &mut Place) {
    place.start();
    place.try_follow().unwrap();
    assert_eq!(place.repository().unwrap().health, RepositoryHealth::Ok);
}

/// How many releases of the stack there are but the first.
fn new_releases(place: &Place) -> usize {
    let path = v1::StackPath { stack: "web".parse().unwrap() };
    let found = place.call::<v1::ListReleases>(&path, &v1::Paging::default(), &Empty {});
    items(found).len().saturating_sub(1)
}

pub(super) const SYNC: Way = Way {
    endpoints: &["SyncRepository"],
    prepare: |place| {
        following(place);
        place.change("two", "2", None);
    },
    act: Place::try_sync,
    count: new_releases,
    again: Again::Same,
    event: "change_seen",
};

pub(super) const SYNC_NOTHING_NEW: Way = Way {
    endpoints: &["SyncRepository"],
    prepare: |place| {
        following(place);
        let fetched = place.repository().unwrap().fetched_at.unwrap();
        place.keep("fetched", fetched);
    },
    act: Place::try_sync,
    // It was fetched again: by the request, or with the first poll after the start.
    count: |place| {
        let before: Timestamp = place.note("fetched").parse().unwrap();
        let synced = || place.repository().unwrap().fetched_at.unwrap() > before;
        if place.notes.borrow().contains_key("asked") {
            place.eventually("another fetch", synced);
            return 1;
        }
        place.keep("asked", "yes");
        usize::from(synced())
    },
    again: Again::Same,
    event: "",
};

pub(super) const ACCEPT_REWRITE: Way = Way {
    endpoints: &["AcceptRewrite"],
    prepare: |place| {
        following(place);
        place.change("two", "2", None);
        place.try_sync().unwrap();
        place.tree.reset("HEAD~1");
        rewrite_to(place);
        place.try_sync().unwrap();
        let health = place.repository().unwrap().health;
        assert!(matches!(health, RepositoryHealth::Rewritten { .. }), "{health:?}");
    },
    act: |place| {
        let path = v1::RepositoryPath { repository: "fleet".to_owned() };
        let body = v1::AcceptRewriteRequest { tip: place.note("rewritten").parse().unwrap() };
        place.call::<v1::AcceptRewrite>(&path, &Empty {}, &body).map(drop)
    },
    count: |place| {
        let tip = place.repository().unwrap().tip.unwrap().to_string();
        usize::from(tip == place.note("rewritten"))
    },
    again: Again::Refused(ErrorCode::BS4005),
    event: "change_seen",
};

fn rewrite_to(place: &Place) {
    place.tree.write("stacks/web/app.conf", "another\n");
    let commit = place.tree.commit(&backstay_testkit::CommitSpec::new("Another history"));
    place.tree.push_force();
    place.keep("rewritten", commit);
}

pub(super) const REWRITTEN: Way = Way {
    endpoints: &["SyncRepository"],
    prepare: |place| {
        following(place);
        place.change("two", "2", None);
        place.try_sync().unwrap();
        place.tree.reset("HEAD~1");
        rewrite_to(place);
    },
    act: Place::try_sync,
    count: |place| {
        let health = place.repository().unwrap().health;
        usize::from(matches!(health, RepositoryHealth::Rewritten { .. }))
    },
    again: Again::Same,
    event: "repository_health_changed",
};

/// The commit brings something that someone should look at: a pin whose time is over.
pub(super) const WARNED: Way = Way {
    endpoints: &["SyncRepository"],
    prepare: |place| {
        following(place);
        let commit = place.repository().unwrap().tip.unwrap();
        let pin = format!(
            "[[pin]]\nstack = \"web\"\nnodes = \"\"\ncommit = \"{commit}\"\nreason = \"r\"\nuntil = 2020-01-01T00:00:00Z\n"
        );
        place.tree.write("fleet.toml", &pin).commit(&CommitSpec::new("Pin it, too late"));
        place.tree.push_as_maintainer();
    },
    act: Place::try_sync,
    count: |place| {
        let warnings = place.repository().unwrap().warnings;
        warnings.iter().filter(|one| one.code == ErrorCode::BS1207.as_str()).count()
    },
    again: Again::Same,
    event: "",
};

pub(super) const PLAN: Way = Way {
    endpoints: &["SyncRepository"],
    prepare: |place| {
        place.start();
        place.join();
        place.try_follow().unwrap();
        place.eventually("a deployment", || !deployments(place).is_empty());
        succeed(place);
        place.change("two", "2", None);
    },
    act: Place::try_sync,
    count: |place| deployments(place).len() - 1,
    again: Again::Same,
    event: "rollout_started",
};

/// A change of two parts at once: a node moves one of them at a time, to a tree that no commit of the branch has.
pub(super) const PLAN_PARTS: Way = Way {
    endpoints: &["SyncRepository"],
    prepare: |place| {
        let parts = "[[part]]\nname = \"settings\"\npaths = [\"app.conf\"]\n";
        place.tree.write("stacks/web/stack.toml", parts).commit(&CommitSpec::new("In parts"));
        place.tree.push_as_maintainer();
        place.start();
        place.join();
        place.try_follow().unwrap();
        place.eventually("a deployment", || !deployments(place).is_empty());
        succeed(place);
        let compose = "stacks/web/compose.yaml";
        place.tree.write(compose, &place.tree.read(compose).replace("web:1", "web:2"));
        place.change("two", "2", None);
    },
    act: Place::try_sync,
    count: |place| deployments(place).len() - 1,
    again: Again::Same,
    event: "",
};

fn constraints(place: &Place) -> Vec<backstay_types::Constraint> {
    let query = v1::ConstraintsQuery { all: Some(true), ..Default::default() };
    items(place.call::<v1::ListConstraints>(&Empty {}, &query, &Empty {}))
}

fn hold(place: &Place, commit: Option<String>, conversation: Option<String>) -> Done {
    let body = v1::CreateHoldRequest {
        commit,
        conversation: conversation.map(|id| id.parse().unwrap()),
        reason: "not on a Friday".to_owned(),
        until: None,
    };
    place.call::<v1::CreateHold>(&Empty {}, &Empty {}, &body).map(drop)
}

pub(super) const HOLD: Way = Way {
    endpoints: &["CreateHold"],
    prepare: following,
    act: |place| hold(place, Some(place.tree.head()), None),
    count: |place| constraints(place).len(),
    again: Again::Same,
    event: "constraint_set",
};

pub(super) const HOLD_CONVERSATION: Way = Way {
    endpoints: &["CreateHold"],
    prepare: |place| {
        following(place);
        let id = place.conversation("session-a").unwrap();
        place.change("two", "2", Some(&id));
        place.try_sync().unwrap();
        place.keep("conversation", id);
    },
    act: |place| hold(place, None, Some(place.note("conversation"))),
    count: |place| constraints(place).len(),
    again: Again::Same,
    event: "constraint_set",
};

pub(super) const LIFT: Way = Way {
    endpoints: &["LiftConstraint"],
    prepare: |place| {
        following(place);
        hold(place, Some(place.tree.head()), None).unwrap();
    },
    act: |place| {
        let path = v1::ConstraintPath { constraint: constraints(place)[0].id };
        let body = v1::LiftRequest { reason: "it is Monday".to_owned() };
        place.call::<v1::LiftConstraint>(&path, &Empty {}, &body).map(drop)
    },
    count: |place| constraints(place).iter().filter(|found| found.lifted_at.is_some()).count(),
    again: Again::Refused(ErrorCode::BS4005),
    event: "constraint_lifted",
};

pub(super) const WEBHOOK: Way = Way {
    endpoints: &["ReceiveWebhook"],
    prepare: |place| {
        place.start();
        let body = v1::CreateTokenRequest {
            name: "hooks".to_owned(),
            kind: v1::TokenKind::Webhook { source: "claude-code".to_owned() },
            expires_in_seconds: None,
        };
        let made = place.call::<v1::CreateToken>(&Empty {}, &Empty {}, &body).unwrap();
        place.keep("hook secret", made.secret.expose());
    },
    act: |place| {
        let event =
            r#"{"session_id":"s-1","cwd":"/nowhere","hook_event_name":"SessionStart","source":"startup"}"#;
        let path = v1::WebhookPath { source: "claude-code".to_owned() };
        let secret = Secret::new(place.note("hook secret"));
        let body = Binary(event.as_bytes().to_vec());
        place.call_as::<v1::ReceiveWebhook>(Some(secret.expose()), &path, &Empty {}, &body).map(drop)
    },
    count: |place| {
        let query = v1::DeliveriesQuery::default();
        items(place.call::<v1::ListDeliveries>(&Empty {}, &query, &Empty {})).len()
    },
    again: Again::Same,
    event: "conversation_opened",
};

pub(super) const CONVERSATION: Way = Way {
    endpoints: &["ResolveConversation"],
    prepare: Place::start,
    act: |place| place.conversation("session-a").map(drop),
    count: |place| {
        let query = v1::Paging::default();
        items(place.call::<v1::ListConversations>(&Empty {}, &query, &Empty {})).len()
    },
    again: Again::Same,
    event: "conversation_opened",
};

fn undos(place: &Place) -> Vec<Undo> {
    items(place.call::<v1::ListUndos>(&Empty {}, &v1::Paging::default(), &Empty {}))
}

fn undo(place: &Place, selector: UndoSelector) -> Done {
    let body = v1::UndoRequest {
        id: Some(UndoId::from_uuid(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001))),
        selector: v1::SelectorRequest::Exact(selector),
        scope: UndoScope::default(),
        reason: "it was bad".to_owned(),
        include_guesses: Vec::new(),
        with_data: false,
        without_data: Vec::new(),
        shared_data: Vec::new(),
        confirm: Vec::new(),
    };
    place.call::<v1::CreateUndo>(&Empty {}, &Empty {}, &body).map(drop)
}

pub(super) const UNDO: Way = Way {
    endpoints: &["CreateUndo"],
    prepare: |place| {
        following(place);
        place.change("two", "2", None);
        let a = place.conversation("session-a").unwrap();
        place.change("nine", "9", Some(&a));
        place.try_sync().unwrap();
        place.keep("conversation", a);
    },
    act: undo_conversation,
    count: count_undos,
    again: Again::Same,
    event: "undo_pushed",
};

/// How many undos there are; each comes upstream, once, whoever was killed on the way.
fn count_undos(place: &Place) -> usize {
    let found = undos(place);
    if !found.is_empty() && place.notes.borrow().contains_key("asked") {
        place.eventually("upstream has it", || {
            undos(place).iter().all(|u| u.plan.repositories.iter().all(|r| r.push == PushState::Done))
        });
        let made = place.upstream.git(&["log", "--format=%H", "--grep=Backstay-Undo", "main"]);
        assert_eq!(made.lines().count(), found.len(), "{made}");
        let text = place.upstream.file("main", "stacks/web/app.conf").unwrap();
        assert!(text.contains("nine") && text.contains("2\n"), "only the last change is taken back: {text}");
    }
    place.keep("asked", "yes");
    found.len()
}

/// Asked twice, the last change but one would go too.
pub(super) const UNDO_LAST: Way = Way {
    endpoints: &["CreateUndo"],
    prepare: |place| {
        with_deployment(place);
        for (n, (from, to)) in [("two", "2"), ("nine", "9")].into_iter().enumerate() {
            succeed(place);
            place.change(from, to, None);
            place.try_sync().unwrap();
            place.eventually("the change is deployed", || deployments(place).len() == n + 2);
        }
        succeed(place);
    },
    act: |place| undo(place, UndoSelector::Last),
    count: count_undos,
    again: Again::Same,
    event: "undo_pushed",
};

/// The newest deployment has succeeded, and the hub is at rest.
fn succeed(place: &Place) {
    report(place).unwrap();
    place.eventually("rest", || deployments(place)[0].state == DeploymentState::Succeeded);
    std::thread::sleep(std::time::Duration::from_millis(150));
}

/// Two conversations in one line; taking back the first conflicts.
fn entangled(place: &mut Place) {
    following(place);
    let (a, b) = (place.conversation("session-a").unwrap(), place.conversation("session-b").unwrap());
    place.change("two", "2 by a", Some(&a));
    place.change("2 by a", "2 by b", Some(&b));
    place.try_sync().unwrap();
    place.keep("conversation", a);
}

fn undo_conversation(place: &Place) -> Done {
    let conversation = place.note("conversation").parse().unwrap();
    undo(place, UndoSelector::Conversation { conversation, meaning: backstay_types::Meaning::OnlyIts })
}

pub(super) const UNDO_CONFLICTED: Way = Way {
    endpoints: &["CreateUndo"],
    prepare: entangled,
    act: undo_conversation,
    count: |place| undos(place).iter().filter(|undo| undo.state == UndoState::Conflicted).count(),
    again: Again::Same,
    event: "undo_requested",
};

pub(super) const RESOLVE_UNDO: Way = Way {
    endpoints: &["ResolveUndo"],
    prepare: |place| {
        entangled(place);
        undo_conversation(place).unwrap();
    },
    act: |place| {
        let path = v1::UndoPath { undo: undos(place)[0].id };
        let files = [("fleet:stacks/web/app.conf".to_owned(), Some("resolved\n".to_owned()))].into();
        place
            .call::<v1::ResolveUndo>(
                &path,
                &Empty {},
                &v1::ResolveUndoRequest { files, ..Default::default() },
            )
            .map(drop)
    },
    count: |place| undos(place).iter().filter(|undo| undo.state != UndoState::Conflicted).count(),
    again: Again::Refused(ErrorCode::BS4005),
    event: "undo_pushed",
};

pub(super) const UNDO_SETTLES: Way = Way {
    endpoints: &[],
    prepare: |place| {
        with_deployment(place);
        succeed(place);
        place.change("two", "2", None);
        place.try_sync().unwrap();
        place.eventually("the change is deployed", || deployments(place).len() == 2);
        succeed(place);
        undo(place, UndoSelector::Last).unwrap();
        place.eventually("the undo is deployed", || deployments(place).len() == 3);
        place.eventually("it is upstream", || undos(place)[0].plan.repositories[0].push == PushState::Done);
    },
    act: report,
    count: |place| undos(place).iter().filter(|undo| undo.state == UndoState::Verified).count(),
    again: Again::Same,
    event: "undo_state_changed",
};

pub(super) const UNDO_REPLAYED: Way = Way {
    endpoints: &["SyncRepository"],
    prepare: |place| {
        following(place);
        let a = place.conversation("session-a").unwrap();
        place.change("two", "2", Some(&a));
        place.try_sync().unwrap();
        place.keep("conversation", a);
        place.upstream.protect("main");
        undo_conversation(place).unwrap();
        place.eventually("it is refused", || {
            matches!(undos(place)[0].plan.repositories[0].push, PushState::AwaitingMerge { .. })
        });
        place.keep("onto", place.change("nine", "9", None));
    },
    act: Place::try_sync,
    count: |place| {
        let onto = place.note("onto");
        let on_top = undos(place).iter().filter(|u| u.plan.repositories[0].base.to_string() == onto).count();
        // What is deployed is the undo on top of the new tip, and not the tip itself.
        let tip = place.repository().unwrap().tip.unwrap().to_string();
        usize::from(
            on_top == 1 && undos(place)[0].plan.repositories[0].commit.as_ref().unwrap().to_string() == tip,
        )
    },
    again: Again::Same,
    event: "",
};

pub(super) const START: Way = Way {
    endpoints: &[],
    prepare: |_| {},
    act: |place| {
        if place.notes.borrow().contains_key("began") {
            // Asked again: it serves, and its administrator is let in.
            assert!(!items(place.call::<v1::ListTokens>(&Empty {}, &Empty {}, &Empty {})).is_empty());
            return Ok(());
        }
        place.keep("began", "yes");
        place.start_to_die();
        Ok(())
    },
    count: |place| usize::from(place.notes.borrow().contains_key("began")),
    again: Again::Same,
    event: "",
};
