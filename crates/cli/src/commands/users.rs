//! `backstay users`: people who may sign in on the page.

use backstay_api::{
    Empty,
    v1::{
        CreateUser, CreateUserRequest, ListUsers, ResetUser, UpdateUser, UpdateUserRequest, User, UserPath,
    },
};
use backstay_types::{Secret, UserName};
use clap::{Args, Subcommand};

use super::{Outcome, done, tokens::ApiRole};
use crate::{
    context::Context,
    error::CliError,
    ui::{Cell, Frame, Table, style},
};

/// Users.
#[derive(Debug, Subcommand)]
pub(crate) enum Users {
    /// All users
    List,
    /// Make a user, and print the link with which the person sets a password
    Add(Add),
    /// Keep a user from signing in; all sessions end at once
    Disable(Disable),
    /// Let a disabled user in again
    Enable(Named),
    /// Give a user another role; it holds at once, in open sessions too
    Role(Role),
    /// Print a link with which a user sets a new password
    Link(Named),
}

/// Options of `users add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// The name: a-z, 0-9, `-`, `_` and `.`
    name: UserName,
    /// What the user may do
    #[arg(long, default_value = "viewer")]
    role: ApiRole,
}

/// Options of `users disable`.
#[derive(Debug, Args)]
pub(crate) struct Disable {
    /// The user's name or id
    name: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Which user.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The user's name or id
    name: String,
}

/// Options of `users role`.
#[derive(Debug, Args)]
pub(crate) struct Role {
    /// The user's name or id
    name: String,
    /// What the user may do from now on
    role: ApiRole,
}

impl Users {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        match self {
            Self::List => list(cx).await,
            Self::Add(command) => add(command, cx).await,
            Self::Disable(command) => disable(command, cx).await,
            Self::Enable(Named { name }) => {
                let change = UpdateUserRequest { role: None, disabled: Some(false) };
                update(name, change, cx, |user| format!("{} may sign in again.", user.name)).await
            }
            Self::Role(Role { name, role }) => {
                let change = UpdateUserRequest { role: Some(role.into()), disabled: None };
                let said = |user: &User| format!("{} is {} now.", user.name, word(user));
                update(name, change, cx, said).await
            }
            Self::Link(Named { name }) => link(name, cx).await,
        }
    }
}

async fn list(cx: &Context) -> Outcome {
    let page = cx.api()?.get::<ListUsers>().await?;
    cx.ui.data(&page.items, || view_list(&page.items, &cx.frame()))?;
    done()
}

async fn add(command: Add, cx: &Context) -> Outcome {
    let request = CreateUserRequest { name: command.name, role: command.role.into() };
    let made = cx.api()?.call::<CreateUser>(Empty {}, Empty {}, request).await?;
    cx.ui.data(&made, || view_link(&made.link, made.user.name.as_str()))?;
    done()
}

async fn link(name: String, cx: &Context) -> Outcome {
    let made = cx.api()?.call::<ResetUser>(UserPath { user: name.clone() }, Empty {}, Empty {}).await?;
    cx.ui.data(&made, || view_link(&made.link, &name))?;
    done()
}

async fn disable(command: Disable, cx: &Context) -> Outcome {
    let Disable { name, yes } = command;
    if !yes && !cx.ui.confirm(&format!("Disable {name}? All sessions end at once."))? {
        return Err(CliError::argument("nobody was disabled"));
    }
    let change = UpdateUserRequest { role: None, disabled: Some(true) };
    update(name, change, cx, |user| {
        format!("{} is disabled. API tokens are apart from users: `backstay tokens list`.", user.name)
    })
    .await
}

async fn update(
    name: String,
    change: UpdateUserRequest,
    cx: &Context,
    said: impl FnOnce(&User) -> String,
) -> Outcome {
    let user = cx.api()?.call::<UpdateUser>(UserPath { user: name }, Empty {}, change).await?;
    cx.ui.data(&user, || format!("{}\n", said(&user)))?;
    done()
}

fn word(user: &User) -> String {
    format!("{:?}", user.role).to_lowercase()
}

fn view_link(link: &Secret, name: &str) -> String {
    let (bold, dim) = (style::BOLD, style::DIM);
    format!(
        "{bold}{}{bold:#}\n\n{dim}With it {name} sets a password. It works once, for a day; whoever has it \
         becomes {name}.{dim:#}\n",
        link.expose()
    )
}

fn view_list(users: &[User], frame: &Frame) -> String {
    if users.is_empty() {
        return "No users.\n".to_owned();
    }
    let mut table = Table::new(["NAME", "ROLE", "MADE", "SIGNED IN", "~STATE"]);
    for user in users {
        let shade = if user.disabled_at.is_some() { style::DIM } else { style::PLAIN };
        let state =
            user.disabled_at.map_or_else(|| "-".to_owned(), |at| format!("disabled {}", frame.when(at)));
        table.row([
            Cell::styled(user.name.to_string(), style::NAME),
            Cell::styled(word(user), shade),
            frame.when(user.created_at).into(),
            user.last_sign_in_at.map_or_else(|| "never".to_owned(), |at| frame.when(at)).into(),
            state.into(),
        ]);
    }
    frame.table(&table)
}
