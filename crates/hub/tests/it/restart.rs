//! Stopping, starting again, and what keeps a hub from starting.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use backstay_api::{
    Empty, Role,
    agent::{CheckInRequest, Report, ReportBody, ReportsRequest, SendReports},
    v1::{GetHub, GetNode, ListRepositories, NodePath, ResolveConversation, ResolveConversationRequest},
};
use backstay_hub::{ADMIN_TOKEN_FILE, Hub, HubError, URL_FILE};
use backstay_types::{ErrorCode, ForeignId, NodeState};

use crate::harness::{Agent, TestHub, hello};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_everything_that_was_acknowledged() {
    let hub = TestHub::start().await;
    let viewer = hub.token(Role::Viewer).await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    let (_, repository) = hub.repository().await;
    let request = ResolveConversationRequest {
        id: ForeignId { tool: "openclaw".into(), kind: "session_id".into(), value: "s1".into() },
    };
    let conversation = hub.admin().call::<ResolveConversation>(&Empty {}, &Empty {}, &request).await.unwrap();
    let report = Report {
        id: hub.world().mint(),
        at: hub.world().now(),
        body: ReportBody::StatementRefused { reason: "expired".into() },
    };
    let reports = ReportsRequest { reports: vec![report] };
    agent.client.call::<SendReports>(&Empty {}, &Empty {}, &reports).await.unwrap();
    let before =
        hub.client(Some(viewer.clone())).call::<GetHub>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    let admin_token = hub.hub.admin_token().clone();

    let hub = hub.restart().await;
    assert_eq!(hub.hub.admin_token(), &admin_token);
    let after = hub.client(Some(viewer)).call::<GetHub>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!((after.key_fingerprint, after.epoch), (before.key_fingerprint, before.epoch));
    assert!(after.ledger.seq >= before.ledger.seq);
    let listed = hub.admin().call::<ListRepositories>(&Empty {}, &Empty {}, &Empty {}).await.unwrap().items;
    assert_eq!((&listed[0].id, &listed[0].tip), (&repository.id, &repository.tip));
    let again = hub.admin().call::<ResolveConversation>(&Empty {}, &Empty {}, &request).await.unwrap();
    assert_eq!(again.id, conversation.id);

    // The agent goes on with what it has, on the new address.
    let agent = Agent { client: hub.client(Some(agent.joined.credential.clone())), joined: agent.joined };
    let path = NodePath { node: "web-1".into() };
    let node = async || hub.admin().call::<GetNode>(&path, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(node().await.state, NodeState::Unknown, "the hub has only just started");
    assert!(node().await.facts.is_some(), "what was said before is still shown");
    let answer = agent.check_in(CheckInRequest { observed: None, facts: None, ..hello(0) }).await;
    assert!(answer.resend, "the hub has forgotten what it runs");
    assert!(!agent.say_hello().await.resend);
    assert_eq!(node().await.state, NodeState::Online);
    let repeated = agent.client.call::<SendReports>(&Empty {}, &Empty {}, &reports).await.unwrap();
    assert_eq!(repeated.accepted, [reports.reports[0].id]);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_planned_for_soon_after_a_restart() {
    let hub = TestHub::start().await;
    let first = hub.join("web-1").await;
    first.say_hello().await;
    hub.repository().await;
    let waits = CheckInRequest { observed: None, facts: None, ..hello(20_000) };
    assert!(first.check_in(waits).await.statement.is_some(), "something was planned just before");
    let hub = hub.restart().await;
    let agent = hub.join("web-2").await;
    agent.say_hello().await;
    let asked = std::time::Instant::now();
    let answer = agent.check_in(CheckInRequest { observed: None, facts: None, ..hello(20_000) }).await;
    assert!(answer.statement.is_some());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_folder_is_private_and_held_by_one_hub() {
    let hub = TestHub::start().await;
    let folder = hub.hub.data_dir().to_owned();
    for name in [ADMIN_TOKEN_FILE, URL_FILE, "signing.key", "sealing.key", "hub.lock"] {
        let mode = fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_to_string(folder.join(URL_FILE)).unwrap().trim(), hub.hub.url());
    let second = Hub::start(hub.settings(), hub.world()).await.unwrap_err();
    assert!(matches!(second, HubError::Held { .. }) && second.code() == ErrorCode::BS7004, "{second}");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_a_hub_from_starting_is_said_by_name() {
    let hub = TestHub::start().await;
    let mut taken = hub.settings();
    taken.hub.listen = hub.hub.address();
    taken.hub.data_dir = hub.path().join("other");
    let error = Hub::start(taken.clone(), hub.world()).await.unwrap_err();
    assert!(error.code() == ErrorCode::BS7006 && error.to_string().contains("127.0.0.1:"), "{error}");

    let mut settings = hub.settings();
    let folder = hub.hub.data_dir().to_owned();
    let world = hub.world();
    let TestHub { hub, folder: kept, .. } = hub;
    hub.stop().await;
    // Keys that the database's nodes do not know.
    fs::rename(folder.join("signing.key"), folder.join("signing.key.old")).unwrap();
    let error = Hub::start(settings.clone(), world.clone()).await.unwrap_err();
    assert!(matches!(error, HubError::ForeignKey), "{error}");
    fs::rename(folder.join("signing.key.old"), folder.join("signing.key")).unwrap();
    // A lost admin token is made again.
    fs::remove_file(folder.join(ADMIN_TOKEN_FILE)).unwrap();
    let again = Hub::start(settings.clone(), world.clone()).await.unwrap();
    assert!(fs::read_to_string(folder.join(ADMIN_TOKEN_FILE)).unwrap().starts_with("bst."));
    again.stop().await;

    settings.hub.database_url_file = Some(kept.path().join("missing"));
    let error = Hub::start(settings.clone(), world.clone()).await.unwrap_err();
    assert!(error.code() == ErrorCode::BS7003 && error.to_string().contains("missing"), "{error}");
    let location = kept.path().join("elsewhere.db");
    fs::write(kept.path().join("missing"), format!("sqlite:{}\n", location.display())).unwrap();
    let error = Hub::start(settings, world).await.map(drop);
    assert!(error.is_ok() && location.exists(), "{error:?}");
}
