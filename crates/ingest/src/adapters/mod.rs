//! One adapter for each tool.

mod claude_code;
pub(crate) mod cloudevents;
mod git_hosts;
mod gitea;
mod github;
mod gitlab;
mod openclaw;

use serde_json::Value;

use crate::{Incoming, Normalised, Scheme};

/// Where a delivery comes from: the last part of its path, `/hooks/<name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Our plugin for OpenClaw.
    OpenClaw,
    /// Claude Code's hooks.
    ClaudeCode,
    /// GitHub's webhooks.
    GitHub,
    /// GitLab's webhooks.
    GitLab,
    /// Gitea's and Forgejo's webhooks.
    Gitea,
    /// CloudEvents 1.0 of ours.
    CloudEvents,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::OpenClaw, Self::ClaudeCode, Self::GitHub, Self::GitLab, Self::Gitea, Self::CloudEvents];

    /// Its name in paths and settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenClaw => "openclaw",
            Self::ClaudeCode => "claude-code",
            Self::GitHub => "github",
            Self::GitLab => "gitlab",
            Self::Gitea => "gitea",
            Self::CloudEvents => "cloudevents",
        }
    }

    /// The source of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.name() == name)
    }

    /// The ways in which it may prove itself. A delivery with a `webhook-signature` is held against
    /// Standard Webhooks wherever that is allowed, so that a bearer token cannot be tried beside it.
    pub const fn schemes(self) -> &'static [Scheme] {
        match self {
            Self::OpenClaw | Self::CloudEvents | Self::ClaudeCode => {
                &[Scheme::StandardWebhooks, Scheme::Bearer]
            }
            Self::GitHub => &[Scheme::GitHub],
            Self::GitLab => &[Scheme::GitLab, Scheme::StandardWebhooks],
            Self::Gitea => &[Scheme::Gitea],
        }
    }

    /// The scheme that a delivery asks to be held against.
    pub fn scheme_of(self, incoming: &Incoming<'_>) -> Scheme {
        let schemes = self.schemes();
        let signed = incoming.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("webhook-signature"));
        let [first, rest @ ..] = schemes else { return Scheme::StandardWebhooks };
        match (signed, rest) {
            (true, _) if schemes.contains(&Scheme::StandardWebhooks) => Scheme::StandardWebhooks,
            (false, [second]) if *first == Scheme::StandardWebhooks => *second,
            _ => *first,
        }
    }
}

/// The events of a delivery that was verified; never none.
pub fn normalise(source: Source, incoming: &Incoming<'_>) -> Vec<Normalised> {
    let events = if source == Source::CloudEvents {
        cloudevents::normalise(incoming)
    } else {
        match serde_json::from_slice(incoming.body) {
            Ok(body) => from_json(source, incoming, &body),
            Err(error) => vec![Normalised::unrecognised(format!("not JSON: {error}"))],
        }
    };
    if events.is_empty() { vec![Normalised::ignored("nothing in it")] } else { events }
}

fn from_json(source: Source, incoming: &Incoming<'_>, body: &Value) -> Vec<Normalised> {
    match source {
        Source::OpenClaw => openclaw::normalise(body),
        Source::ClaudeCode => vec![claude_code::normalise(body)],
        Source::GitHub => vec![github::normalise(incoming, body)],
        Source::GitLab => vec![gitlab::normalise(incoming, body)],
        Source::Gitea => vec![gitea::normalise(incoming, body)],
        Source::CloudEvents => cloudevents::normalise(incoming),
    }
}
