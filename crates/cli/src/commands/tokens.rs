//! `backstay tokens`: of the API, and secrets of webhook sources.

use backstay_api::{
    Empty, Role,
    v1::{CreateToken, CreateTokenRequest, ListTokens, RevokeToken, Token, TokenKind, TokenPath},
};
use clap::{Args, Subcommand, ValueEnum};

use super::{Outcome, done};
use crate::{
    context::Context,
    error::CliError,
    ids, lookup, time,
    ui::{Cell, Frame, Table, style},
};

/// Tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum Tokens {
    /// Make a token of the API, or a secret of a webhook source; shown once
    Create(Create),
    /// All tokens, without their secrets
    List,
    /// Take a token away
    Revoke(Revoke),
}

/// Options of `tokens create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What it is for, in words
    name: String,
    #[command(flatten)]
    opens: Opens,
    /// When it stops working, such as `30 days` or `2026-12-31` [default: never]
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
}

/// What a token opens.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Opens {
    /// The API, with this role
    #[arg(long)]
    role: Option<ApiRole>,
    /// Deliveries of this webhook source: openclaw, claude-code, github, gitlab, gitea or cloudevents
    #[arg(long, value_name = "SOURCE")]
    webhook: Option<String>,
}

/// Roles that a token of the API can have.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ApiRole {
    /// Reads everything but secrets.
    Viewer,
    /// Deploys, undoes, holds.
    Operator,
    /// Manages nodes, repositories and tokens.
    Admin,
}

/// Options of `tokens revoke`.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Its id
    token: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Tokens {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        match self {
            Self::Create(command) => create(command, cx).await,
            Self::List => {
                let page = cx.api()?.get::<ListTokens>().await?;
                cx.ui.data(&page.items, || view_list(&page.items, &cx.frame()))?;
                done()
            }
            Self::Revoke(command) => revoke(command, cx).await,
        }
    }
}

async fn create(command: Create, cx: &Context) -> Outcome {
    let api = cx.api()?;
    let kind = match (command.opens.role, command.opens.webhook) {
        (Some(role), _) => TokenKind::Api { role: role.into() },
        (None, Some(source)) => TokenKind::Webhook { source },
        (None, None) => return Err(CliError::argument("give --role or --webhook")),
    };
    let now = cx.frame().now;
    let expires = command.expires.as_deref().map(|text| time::life(text, &now)).transpose()?;
    let expires_in_seconds = expires.map(|life| life.as_secs());
    let request = CreateTokenRequest { name: command.name, kind, expires_in_seconds };
    let created = api.call::<CreateToken>(Empty {}, Empty {}, request).await?;
    cx.ui.data(&created, || {
        let (bold, dim) = (style::BOLD, style::DIM);
        let address = match &created.token.kind {
            TokenKind::Webhook { source } => format!("\n\n{dim}Deliveries go to {}/hooks/{source}{dim:#}", api.url()),
            TokenKind::Api { .. } => String::new(),
        };
        let secret = created.secret.expose();
        format!("{bold}{secret}{bold:#}\n\n{dim}It is not shown again: the hub cannot read it back.{dim:#}{address}\n")
    })?;
    done()
}

async fn revoke(command: Revoke, cx: &Context) -> Outcome {
    let api = cx.api()?;
    let token = lookup::token(&api, &command.token).await?;
    if !command.yes
        && !cx.ui.confirm(&format!("Revoke token {token}? What uses it stops working at once."))?
    {
        return Err(CliError::argument("nothing was revoked"));
    }
    api.call::<RevokeToken>(TokenPath { token }, Empty {}, Empty {}).await?;
    cx.ui.say(format!("Token {token} is revoked."));
    done()
}

impl From<ApiRole> for Role {
    fn from(role: ApiRole) -> Self {
        match role {
            ApiRole::Viewer => Self::Viewer,
            ApiRole::Operator => Self::Operator,
            ApiRole::Admin => Self::Admin,
        }
    }
}

fn view_list(tokens: &[Token], frame: &Frame) -> String {
    if tokens.is_empty() {
        return "No tokens.\n".to_owned();
    }
    let mut table = Table::new(["ID", "OPENS", "MADE", "UNTIL", "~NAME"]);
    for token in tokens {
        let opens = match &token.kind {
            TokenKind::Api { role } => format!("api, as {role:?}").to_lowercase(),
            TokenKind::Webhook { source } => format!("webhook {source}"),
        };
        let until = match (token.revoked_at, token.expires_at) {
            (Some(at), _) => format!("revoked {}", frame.when(at)),
            (None, Some(at)) => frame.when(at),
            (None, None) => "-".to_owned(),
        };
        let shade = if token.revoked_at.is_some() { style::DIM } else { style::PLAIN };
        table.row([
            Cell::styled(ids::short(token.id), style::NAME),
            Cell::styled(opens, shade),
            frame.when(token.created_at).into(),
            until.into(),
            token.name.clone().into(),
        ]);
    }
    frame.table(&table)
}
