//! `backstay repos`: add, list, show, fetch, accept a rewritten history.

use std::{
    fs,
    path::{Path, PathBuf},
};

use backstay_api::{
    Empty,
    v1::{
        AcceptRewrite, AcceptRewriteRequest, AddRepository, AddRepositoryRequest, GetHub, ListRepositories,
        RepositoryPath, SyncRepository,
    },
};
use backstay_types::{CommitId, ErrorCode, Repository, RepositoryHealth, Secret};
use clap::{Args, Subcommand};

use super::{Outcome, done};
use crate::{
    context::Context,
    error::CliError,
    ui::{Cell, Frame, Table, count, style, words},
};

/// Repositories.
#[derive(Debug, Subcommand)]
pub(crate) enum Repos {
    /// Add a repository and fetch it at once
    Add(Add),
    /// All repositories and the state of their mirrors
    List,
    /// One repository, with everything in it that someone should look at
    Show(Show),
    /// Fetch a repository now, and look it over
    Sync(Sync),
    /// Accept that upstream rewrote the branch's history
    Accept(Accept),
    /// The hub's public ssh key, for the Git host (a deploy key with write access, so that undos can be pushed)
    Key,
}

/// Options of `repos add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    /// A name for it
    name: String,
    /// Git addresses in order of preference: https, ssh, or a local path
    #[arg(required = true, value_name = "ADDRESS")]
    endpoints: Vec<String>,
    /// The branch to deploy [default: the repository's own default]
    #[arg(long)]
    branch: Option<String>,
    /// Where stacks are [default: `stacks` and `roles`]
    #[arg(long, value_name = "FOLDER")]
    stacks: Option<String>,
    /// A file with a token for https addresses
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,
}

/// Options of `repos show`.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Name or id
    repository: String,
}

/// Options of `repos sync`.
#[derive(Debug, Args)]
pub(crate) struct Sync {
    /// Name or id
    repository: String,
}

/// Options of `repos accept`.
#[derive(Debug, Args)]
pub(crate) struct Accept {
    /// Name or id
    repository: String,
    /// The new tip as you looked at it; refused when upstream has moved since [default: the one that was found]
    #[arg(long, value_name = "SHA")]
    tip: Option<CommitId>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Repos {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        match self {
            Self::Add(command) => add(command, cx).await,
            Self::List => list(cx).await,
            Self::Show(command) => {
                let all = cx.api()?.get::<ListRepositories>().await?.items;
                show(find(&all, &command.repository)?, cx)
            }
            Self::Sync(command) => sync(command, cx).await,
            Self::Accept(command) => accept(command, cx).await,
            Self::Key => key(cx).await,
        }
    }
}

async fn add(command: Add, cx: &Context) -> Outcome {
    let credential = match &command.credential_file {
        None => None,
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|e| CliError::file("read", path, e))?;
            Some(Secret::new(text.trim()))
        }
    };
    let request = AddRepositoryRequest {
        name: command.name,
        endpoints: command.endpoints.into_iter().map(|one| absolute(one, Path::new("."))).collect(),
        branch: command.branch,
        stacks_path: command.stacks,
        credential,
    };
    let repository = cx.api()?.call::<AddRepository>(Empty {}, Empty {}, request).await?;
    show(&repository, cx)
}

async fn key(cx: &Context) -> Outcome {
    let hub = cx.api()?.get::<GetHub>().await?;
    let Some(key) = hub.ssh_public_key else {
        let detail = "the hub has no ssh key of its own";
        return Err(CliError::new(ErrorCode::BS2003, detail)
            .hint("install ssh-keygen where the hub runs, and start the hub again"));
    };
    cx.ui.data(&key, || format!("{key}\n"))?;
    done()
}

/// A local path as the hub, which runs elsewhere on this machine, must see it. `base` is what it is relative to.
pub(crate) fn absolute(address: String, base: &Path) -> String {
    let remote = address.contains("://") || address.split('/').next().is_some_and(|host| host.contains(':'));
    if remote {
        return address;
    }
    let path = base.join(&address);
    // One that is not there yet stays as it is written.
    let path = fs::canonicalize(&path).or_else(|_| std::path::absolute(&path));
    path.map_or(address, |path| path.display().to_string())
}

async fn list(cx: &Context) -> Outcome {
    let page = cx.api()?.get::<ListRepositories>().await?;
    cx.ui.data(&page.items, || view_list(&page.items, &cx.frame()))?;
    done()
}

async fn sync(command: Sync, cx: &Context) -> Outcome {
    let path = RepositoryPath { repository: command.repository };
    let repository = cx.api()?.call::<SyncRepository>(path, Empty {}, Empty {}).await?;
    show(&repository, cx)
}

async fn accept(command: Accept, cx: &Context) -> Outcome {
    let api = cx.api()?;
    let all = api.get::<ListRepositories>().await?.items;
    let repository = find(&all, &command.repository)?;
    let RepositoryHealth::Rewritten { found } = &repository.health else {
        return Err(CliError::new(
            ErrorCode::BS4005,
            format!("the history of {} was not rewritten: there is nothing to accept", repository.name),
        ));
    };
    let tip = command.tip.unwrap_or_else(|| found.clone());
    let old = repository.tip.as_ref().map_or("nothing", CommitId::short);
    let question = format!(
        "Upstream of {} was rewritten: {old} is no longer part of {}. Deploy {} from now on?",
        repository.name,
        repository.branch,
        tip.short()
    );
    if !command.yes && !cx.ui.confirm(&question)? {
        return Err(CliError::argument("nothing was accepted"));
    }
    let path = RepositoryPath { repository: repository.id.to_string() };
    let repository = api.call::<AcceptRewrite>(path, Empty {}, AcceptRewriteRequest { tip }).await?;
    show(&repository, cx)
}

fn find<'a>(all: &'a [Repository], wanted: &str) -> Result<&'a Repository, CliError> {
    let is_it = |r: &&Repository| r.name.as_str() == wanted || r.id.to_string() == wanted;
    all.iter().find(is_it).ok_or_else(|| {
        CliError::new(ErrorCode::BS4004, format!("there is no repository `{wanted}`"))
            .hint("`backstay repos list` names them all")
    })
}

fn show(repository: &Repository, cx: &Context) -> Outcome {
    let view = || view_table(std::slice::from_ref(repository), &cx.frame()) + &view_warnings(repository);
    cx.ui.data(repository, view)?;
    done()
}

/// How many things someone should look at in repositories, and where they are listed; nothing where there are none.
pub(crate) fn view_warned(repositories: &[Repository]) -> String {
    let warn = style::WARN;
    let line = |one: &Repository| {
        let name = &one.name;
        let found = count(one.warnings.len(), "warning");
        format!("{warn}{name}{warn:#}: {found}; `backstay repos show {name}` lists what to look at\n")
    };
    repositories.iter().filter(|one| !one.warnings.is_empty()).map(line).collect()
}

/// Everything that someone should look at in a repository, with what to do.
fn view_warnings(repository: &Repository) -> String {
    let (warn, dim) = (style::WARN, style::DIM);
    let mut text = String::new();
    for one in &repository.warnings {
        text.push_str(&format!("\n{warn}warning{warn:#} {one}\n"));
        if let Some(hint) = &one.hint {
            text.push_str(&format!("  {dim}{hint}{dim:#}\n"));
        }
    }
    if !text.is_empty() {
        text.push_str("\nNothing of this keeps it from being deployed.\n");
    }
    text
}

/// Repositories in a table, what is wrong with those that are not well, and in which there is something to look at.
pub(crate) fn view_list(repositories: &[Repository], frame: &Frame) -> String {
    let warned = view_warned(repositories);
    let space = if warned.is_empty() { "" } else { "\n" };
    format!("{}{space}{warned}", view_table(repositories, frame))
}

fn view_table(repositories: &[Repository], frame: &Frame) -> String {
    if repositories.is_empty() {
        return "No repositories yet. `backstay repos add NAME ADDRESS` adds one; `backstay init` too.\n"
            .to_owned();
    }
    let mut table = Table::new(["REPOSITORY", "BRANCH", "TIP", "STATE", "FETCHED", "~ADDRESS"]);
    for one in repositories {
        table.row([
            Cell::styled(one.name.to_string(), style::NAME),
            one.branch.clone().into(),
            one.tip.as_ref().map_or("-", CommitId::short).into(),
            words::repository(&one.health),
            one.fetched_at.map_or_else(|| "never".to_owned(), |at| frame.when(at)).into(),
            one.endpoints.join(" ").into(),
        ]);
    }
    let mut text = frame.table(&table);
    for one in repositories {
        if let Some(detail) = words::repository_detail(&one.health) {
            let bad = style::BAD;
            text.push_str(&format!(
                "\n{bad}{}{bad:#}: {detail}\nNothing changes on any node meanwhile.\n",
                one.name
            ));
        }
        if matches!(one.health, RepositoryHealth::Rewritten { .. }) {
            text.push_str(&format!("Look at it, then: backstay repos accept {}\n", one.name));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_paths_become_absolute() {
        let base = Path::new("/srv");
        for remote in ["https://example.org/a.git", "ssh://git@example.org/a", "git@example.org:a/b.git"] {
            assert_eq!(absolute(remote.to_owned(), base), remote);
        }
        assert_eq!(absolute("fleet".to_owned(), base), "/srv/fleet");
        assert_eq!(absolute("/var/fleet".to_owned(), base), "/var/fleet");
        let dir = tempfile::tempdir().unwrap();
        let inside = dir.path().join("work");
        fs::create_dir(&inside).unwrap();
        let whole = fs::canonicalize(dir.path()).unwrap().display().to_string();
        assert_eq!(absolute("..".to_owned(), &inside), whole);
    }
}
