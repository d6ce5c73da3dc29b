//! Webhooks: verified before read, taken once, kept whether understood or not.

use std::time::Duration;

use backstay_api::{
    Empty,
    v1::{
        ConversationPath, DeliveriesQuery, Delivery, GetConversation, ListConversations, ListDeliveries,
        Paging, RevokeToken, TokenKind, TokenPath,
    },
};
use backstay_ingest::sign_standard;
use backstay_types::{RepositoryHealth, Secret};
use reqwest::Response;
use serde_json::{Value, json};

use crate::harness::{TestHub, http};

/// A source with a secret.
struct Sender<'a> {
    hub: &'a TestHub,
    secret: Secret,
}

impl<'a> Sender<'a> {
    async fn new(hub: &'a TestHub, source: &str) -> Self {
        Self { hub, secret: hub.create_token(TokenKind::Webhook { source: source.into() }).await.secret }
    }

    /// Signs `signed` and sends `body`.
    async fn send_openclaw(&self, id: &str, signed: &[u8], body: Vec<u8>) -> Response {
        let at = self.hub.world().now().as_second();
        let signature = sign_standard(&self.secret, id, at, signed).unwrap();
        http()
            .post(format!("{}/hooks/openclaw", self.hub.hub.url()))
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", at.to_string())
            .header("webhook-signature", signature)
            .body(body)
            .send()
            .await
            .unwrap()
    }

    async fn send(&self, id: &str, body: &Value) -> Response {
        let bytes = serde_json::to_vec(body).unwrap();
        self.send_openclaw(id, &bytes, bytes.clone()).await
    }
}

async fn deliveries(hub: &TestHub, unrecognised: bool) -> Vec<Delivery> {
    let query = DeliveriesQuery { unrecognised: unrecognised.then_some(true), ..Default::default() };
    hub.admin().call::<ListDeliveries>(&Empty {}, &query, &Empty {}).await.unwrap().items
}

/// A batch as the plugin sends it: a payload of the adapter's tests.
fn batch() -> Value {
    let fixture = include_str!("../../../ingest/fixtures/openclaw/batch.json");
    serde_json::from_str::<Value>(fixture).unwrap()["body"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_answers_well_and_changes_nothing() {
    let hub = TestHub::start().await;
    let sender = Sender::new(&hub, "openclaw").await;
    let body = batch();
    let first: Value = sender.send("m1", &body).await.json().await.unwrap();
    assert_eq!(first["replay"], false);
    let admin = hub.admin();
    let list = async || {
        let page = admin.call::<ListConversations>(&Empty {}, &Paging::default(), &Empty {}).await.unwrap();
        page.items
    };
    let conversations = list().await;
    assert_eq!(conversations.len(), 1);
    let path = ConversationPath { conversation: conversations[0].conversation.id.to_string() };
    let detail = admin.call::<GetConversation>(&path, &Empty {}, &Empty {}).await.unwrap();
    assert!(detail.events.len() > 1);

    for _ in 0..3 {
        let again = sender.send("m1", &body).await;
        assert_eq!(again.status().as_u16(), 200);
        let again: Value = again.json().await.unwrap();
        assert_eq!((&again["replay"], &again["delivery"]), (&json!(true), &first["delivery"]));
    }
    let after = admin.call::<GetConversation>(&path, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(after.events, detail.events);
    assert_eq!(after.view.conversation, detail.view.conversation);
    assert_eq!(deliveries(&hub, false).await.len(), 1);

    // The same conversation by the tool's own id.
    let id = &detail.view.conversation.foreign_ids[0];
    let path = ConversationPath { conversation: format!("{}/{}/{}", id.tool, id.kind, id.value) };
    let found = admin.call::<GetConversation>(&path, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(found.view.conversation.id, detail.view.conversation.id);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_as_it_should_be_is_refused_unread() {
    let hub = TestHub::start().await;
    let sender = Sender::new(&hub, "openclaw").await;
    let body = serde_json::to_vec(&batch()).unwrap();
    for at in (0..body.len()).step_by(41) {
        let mut mutated = body.clone();
        mutated[at] ^= 1;
        let response = sender.send_openclaw("m1", &body, mutated).await;
        assert_eq!(response.status().as_u16(), 401, "byte {at}");
    }
    let stale = hub.world().now().as_second() - 301;
    let signature = sign_standard(&sender.secret, "m1", stale, &body).unwrap();
    let response = http()
        .post(format!("{}/hooks/openclaw", hub.hub.url()))
        .header("webhook-id", "m1")
        .header("webhook-timestamp", stale.to_string())
        .header("webhook-signature", signature)
        .body(body.clone())
        .send()
        .await
        .unwrap();
    assert!(matches!(response.status().as_u16(), 400 | 401));
    let unsigned =
        http().post(format!("{}/hooks/openclaw", hub.hub.url())).body(body.clone()).send().await.unwrap();
    assert!(matches!(unsigned.status().as_u16(), 400 | 401));
    // A source without a secret lets nothing in, and one that there is not is not there.
    let bearer = |source: &str| {
        let url = format!("{}/hooks/{source}", hub.hub.url());
        http().post(url).bearer_auth(sender.secret.expose()).body(body.clone()).send()
    };
    assert_eq!(bearer("claude-code").await.unwrap().status().as_u16(), 503);
    assert_eq!(bearer("nobody").await.unwrap().status().as_u16(), 404);
    assert!(deliveries(&hub, false).await.is_empty());
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_secrets_are_valid_while_they_are_exchanged() {
    let hub = TestHub::start().await;
    let old = hub.create_token(TokenKind::Webhook { source: "openclaw".into() }).await;
    let new = Sender::new(&hub, "openclaw").await;
    let old_sender = Sender { hub: &hub, secret: old.secret.clone() };
    let body = batch();
    assert_eq!(old_sender.send("m1", &body).await.status().as_u16(), 200);
    assert_eq!(new.send("m2", &body).await.status().as_u16(), 200);
    let path = TokenPath { token: old.token.id };
    hub.admin().call::<RevokeToken>(&path, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(old_sender.send("m3", &body).await.status().as_u16(), 401);
    assert_eq!(new.send("m4", &body).await.status().as_u16(), 200);
    // Secrets are not in the database as they are.
    let database = std::fs::read(hub.hub.data_dir().join("hub.db")).unwrap();
    let wal = std::fs::read(hub.hub.data_dir().join("hub.db-wal")).unwrap_or_default();
    let secret = new.secret.expose().trim_start_matches("whsec_").as_bytes();
    for bytes in [&database, &wal] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_kept_and_shown() {
    let hub = TestHub::start().await;
    let sender = Sender::new(&hub, "openclaw").await;
    for (id, body) in [("a", &b"not json"[..]), ("b", b"{}"), ("c", b""), ("d", b"\xff\xfe"), ("e", b"[[[[")]
    {
        let response = sender.send_openclaw(id, body, body.to_vec()).await;
        assert_eq!(response.status().as_u16(), 200, "{id}");
    }
    let kept = deliveries(&hub, true).await;
    assert_eq!(kept.len(), 5);
    assert!(kept.iter().all(|delivery| delivery.unrecognised.is_some() && delivery.events == 0));
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_makes_the_hub_read_the_repository_at_once() {
    let hub = TestHub::with(|settings| settings.source.poll_every = Duration::from_secs(86_400)).await;
    let (git, repository) = hub.repository().await;
    assert_eq!(repository.health, RepositoryHealth::Ok);
    let commit = git.commit("stacks/shop/README", "hello\n", "Explain");
    let sender = Sender::new(&hub, "gitlab").await;
    let body = json!({
        "object_kind": "push",
        "ref": "refs/heads/main",
        "before": repository.tip,
        "after": commit,
        "checkout_sha": commit,
        "project": { "git_http_url": git.0.display().to_string(), "git_ssh_url": git.0.display().to_string() },
        "commits": [],
    });
    let response = http()
        .post(format!("{}/hooks/gitlab", hub.hub.url()))
        .header("x-gitlab-event", "Push Hook")
        .header("x-gitlab-token", sender.secret.expose())
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status().as_u16(), 200, "{}", response.text().await.unwrap());
    let admin = hub.admin();
    for _ in 0..100 {
        let page =
            admin.call::<backstay_api::v1::ListRepositories>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
        if page.items[0].tip.as_ref().is_some_and(|tip| tip.as_str() == commit) {
            hub.hub.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the push was not followed; deliveries: {:?}", deliveries(&hub, false).await);
}
