//! The two assistants, as the hub hears of them: events of their tools through the real webhook receiver.

use backstay_api::{
    Binary, Empty,
    v1::{
        CreateToken, CreateTokenRequest, ReceiveWebhook, ResolveConversation, ResolveConversationRequest,
        TokenKind, WebhookPath,
    },
};
use backstay_types::{ConversationId, ErrorCode, ForeignId, TokenId, World};
use serde_json::{Value, json};

use crate::{api::Api, error::CliError};

/// An assistant in a conversation.
#[derive(Debug)]
pub(super) struct Assistant {
    /// `A` or `B`.
    pub(super) letter: char,
    /// Its tool, for people.
    pub(super) tool: &'static str,
    kind: Kind,
    session: String,
    receiver: Api,
    /// The variables that its tool sets for the commands that it runs.
    pub(super) env: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    ClaudeCode,
    OpenClaw,
}

impl Kind {
    fn source(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::OpenClaw => "openclaw",
        }
    }
}

impl Assistant {
    /// Conversation A, in Claude Code.
    pub(super) async fn claude_code(api: &Api, world: &World) -> Result<Self, CliError> {
        let session = world.mint::<TokenId>().to_string();
        let env = vec![("CLAUDE_CODE_SESSION_ID", session.clone())];
        Self::new('A', "Claude Code", Kind::ClaudeCode, session, env, api).await
    }

    /// Conversation B, in OpenClaw.
    pub(super) async fn openclaw(api: &Api) -> Result<Self, CliError> {
        let session = "agent:main:main".to_owned();
        let env =
            vec![("BACKSTAY_SESSION_TOOL", "openclaw".to_owned()), ("BACKSTAY_SESSION_KEY", session.clone())];
        Self::new('B', "OpenClaw", Kind::OpenClaw, session, env, api).await
    }

    async fn new(
        letter: char,
        tool: &'static str,
        kind: Kind,
        session: String,
        env: Vec<(&'static str, String)>,
        api: &Api,
    ) -> Result<Self, CliError> {
        let request = CreateTokenRequest {
            name: format!("demo: {tool}"),
            kind: TokenKind::Webhook { source: kind.source().to_owned() },
            expires_in_seconds: None,
        };
        let secret = api.call::<CreateToken>(Empty {}, Empty {}, request).await?.secret;
        let receiver = Api::new(api.url(), Some(secret), std::time::Duration::from_secs(10))?;
        Ok(Self { letter, tool, kind, session, receiver, env })
    }

    /// Its session begins.
    pub(super) async fn begins(&self, world: &World) -> Result<(), CliError> {
        let event = match self.kind {
            Kind::ClaudeCode => self.hook("SessionStart", json!({ "source": "startup" })),
            Kind::OpenClaw => {
                let event = json!({ "sessionId": "demo", "sessionKey": self.session });
                self.batch(world, "session_start", event)
            }
        };
        self.send(event).await
    }

    /// It has run `git commit`.
    pub(super) async fn committed(&self, subject: &str, commit: &str, world: &World) -> Result<(), CliError> {
        let command = format!("git commit --all --message \"{subject}\" && git push");
        let said =
            format!("[main {}] {subject}\n 1 file changed, 1 insertion(+), 1 deletion(-)\n", &commit[..7]);
        let event = match self.kind {
            Kind::ClaudeCode => self.hook(
                "PostToolUse",
                json!({
                    "tool_name": "Bash",
                    "tool_input": { "command": command },
                    "tool_use_id": format!("toolu_{}", &commit[..12]),
                    "tool_response": { "stdout": said, "stderr": "", "interrupted": false },
                    "duration_ms": 40,
                }),
            ),
            Kind::OpenClaw => {
                let event = json!({
                    "toolName": "exec",
                    "params": { "command": command },
                    "toolCallId": format!("call_{}", &commit[..12]),
                    "result": { "content": [{ "type": "text", "text": said }] },
                    "durationMs": 40,
                });
                self.batch(world, "after_tool_call", event)
            }
        };
        self.send(event).await
    }

    /// The conversation's id, as the hub knows it.
    pub(super) async fn conversation(&self, api: &Api) -> Result<ConversationId, CliError> {
        let kind = match self.kind {
            Kind::ClaudeCode => "session_id",
            Kind::OpenClaw => "session_key",
        };
        let tool = self.kind.source().to_owned();
        let id = ForeignId { tool, kind: kind.to_owned(), value: self.session.clone() };
        let request = ResolveConversationRequest { id };
        Ok(api.call::<ResolveConversation>(Empty {}, Empty {}, request).await?.id)
    }

    /// An event as Claude Code's hooks post it.
    fn hook(&self, name: &str, more: Value) -> Value {
        let mut event = json!({
            "session_id": self.session,
            "transcript_path": "/dev/null",
            "cwd": "fleet",
            "permission_mode": "default",
            "hook_event_name": name,
        });
        if let (Some(event), Some(more)) = (event.as_object_mut(), more.as_object()) {
            event.extend(more.clone());
        }
        event
    }

    /// An event as OpenClaw's plugin posts it.
    fn batch(&self, world: &World, hook: &str, event: Value) -> Value {
        let context = json!({ "agentId": "main", "sessionKey": self.session, "sessionId": "demo" });
        let id = world.mint::<TokenId>().to_string();
        let at = world.now().to_string();
        json!({
            "schema": 1,
            "plugin": env!("CARGO_PKG_VERSION"),
            "events": [{ "id": id, "hook": hook, "at": at, "event": event, "context": context }],
        })
    }

    async fn send(&self, event: Value) -> Result<(), CliError> {
        let body = serde_json::to_vec(&event)
            .map_err(|e| CliError::new(ErrorCode::BS8013, "cannot write JSON").with_source(e))?;
        let path = WebhookPath { source: self.kind.source().to_owned() };
        self.receiver.call::<ReceiveWebhook>(path, Empty {}, Binary(body)).await.map(drop)
    }
}
