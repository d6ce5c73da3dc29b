//! `backstay init`: from an existing Compose repository to one that the hub follows.

use std::{
    fs,
    path::{Path, PathBuf},
};

use backstay_api::{
    Empty,
    v1::{AddRepository, AddRepositoryRequest, ListRepositories},
};
use backstay_types::{ErrorCode, Repository, RepositoryName};
use clap::Args;
use serde::Serialize;

use super::{
    Outcome,
    check::{self, Findings},
    done,
    repos::absolute,
    track::git_hooks as git,
};
use crate::{
    context::Context,
    error::CliError,
    ui::{count, style, words},
};

/// Follow an existing Compose repository: check it, add it to the hub, say what happens next.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The repository's folder
    #[arg(default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// A name for it [default: the folder's]
    #[arg(long)]
    name: Option<RepositoryName>,
    /// The branch to deploy [default: the one that is checked out]
    #[arg(long)]
    branch: Option<String>,
    /// Git addresses for the hub [default: `origin`, or the folder itself]
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Where stacks are [default: `stacks` and `roles`]
    #[arg(long, value_name = "FOLDER")]
    stacks: Option<String>,
    /// Also write a fleet.toml that assigns each stack to all nodes, to be changed by hand
    #[arg(long)]
    write_fleet: bool,
    /// Only check and explain
    #[arg(long)]
    dry_run: bool,
}

/// What came of it, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    findings: Findings,
    repository: Option<Repository>,
    fleet_toml: Option<PathBuf>,
}

impl Init {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let root = git::git(&self.dir, &["rev-parse", "--show-toplevel"]).map_err(|error| {
            error.hint(format!(
                "Backstay follows Git: `git init {}`, commit, then run this again",
                self.dir.display()
            ))
        })?;
        let root = PathBuf::from(root);
        let findings = check::look(&root, self.stacks.as_deref(), None, cx.frame().now.timestamp())?;
        if !findings.ok {
            cx.ui.say(check::view(&findings));
            return Err(check::refusal(&findings));
        }
        let fleet_toml =
            if self.write_fleet && !self.dry_run { write_fleet(&root, &findings)? } else { None };
        let repository = if self.dry_run { None } else { Some(self.add(&root, cx).await?) };
        let report = Report { findings, repository, fleet_toml };
        cx.ui.data(&report, || explain(&report))?;
        done()
    }

    /// Adds it to the hub, or finds that it is there.
    async fn add(&self, root: &Path, cx: &Context) -> Result<Repository, CliError> {
        let api = cx.api()?;
        let name = self.name.clone().unwrap_or_else(|| check::name(root));
        let endpoints = self.endpoints(root);
        let known = api.get::<ListRepositories>().await?.items;
        if let Some(one) = known.into_iter().find(|one| one.name == name) {
            if one.endpoints.iter().any(|endpoint| endpoints.contains(endpoint)) {
                return Ok(one);
            }
            let detail =
                format!("the hub has another repository called {name}, at {}", one.endpoints.join(", "));
            return Err(
                CliError::new(ErrorCode::BS4005, detail).hint("give this one another name with --name")
            );
        }
        let request = AddRepositoryRequest {
            name: name.to_string(),
            endpoints,
            branch: self.branch.clone().or_else(|| branch(root)),
            stacks_path: self.stacks.clone(),
            credential: None,
        };
        api.call::<AddRepository>(Empty {}, Empty {}, request).await
    }

    fn endpoints(&self, root: &Path) -> Vec<String> {
        if !self.addresses.is_empty() {
            return self.addresses.iter().map(|one| absolute(one.clone(), Path::new("."))).collect();
        }
        let origin = git::git(root, &["remote", "get-url", "origin"]).ok().filter(|url| !url.is_empty());
        vec![absolute(origin.unwrap_or_else(|| root.display().to_string()), root)]
    }
}

fn branch(root: &Path) -> Option<String> {
    git::git(root, &["symbolic-ref", "--short", "HEAD"]).ok()
}

/// Writes `fleet.toml` where there is none.
fn write_fleet(root: &Path, findings: &Findings) -> Result<Option<PathBuf>, CliError> {
    let path = root.join("fleet.toml");
    if path.exists() {
        return Ok(None);
    }
    fs::write(&path, fleet_toml(&findings.stacks)).map_err(|e| CliError::file("write", &path, e))?;
    Ok(Some(path))
}

fn fleet_toml(stacks: &[String]) -> String {
    let mut text = "# Which nodes run which stack. Without this file every node runs every stack.\n\
                    # Selectors are label selectors as in Kubernetes, such as \"role=web,region in (eu,us)\";\n\
                    # \"name=web-1\" is one node, and an empty one is every node.\n"
        .to_owned();
    for stack in stacks {
        text.push_str(&format!("\n[[assign]]\nstack = \"{stack}\"\nnodes = \"\"\n"));
    }
    text
}

fn explain(report: &Report) -> String {
    let (good, bold, dim) = (style::GOOD, style::BOLD, style::DIM);
    let stacks = &report.findings.stacks;
    let mut text = check::view(&report.findings);
    text.push('\n');
    let Some(repository) = &report.repository else {
        text.push_str(&format!(
            "{dim}Nothing was added. Without --dry-run the hub would follow it.{dim:#}\n"
        ));
        return text;
    };
    if let Some(detail) = words::repository_detail(&repository.health) {
        let warn = style::WARN;
        text.push_str(&format!(
            "{warn}{} was added, but the hub cannot read it yet:{warn:#} {detail}\n\
             It tries again by itself; `backstay repos list` shows how it stands.\n",
            repository.name
        ));
        return text;
    }
    text.push_str(&format!(
        "{good}The hub follows {}{good:#}, branch {}, from {}.\n\
         Its {} go to the nodes that are assigned to them{}.\n",
        repository.name,
        repository.branch,
        repository.endpoints.join(", "),
        count(stacks.len(), "stack"),
        if report.fleet_toml.is_some() { "" } else { "; without a fleet.toml that is every node" },
    ));
    if let Some(path) = &report.fleet_toml {
        text.push_str(&format!("Wrote {}: change who runs what, commit and push it.\n", path.display()));
    }
    text.push_str(&format!(
        "\nFrom now on each push is deployed, and a release that is not healthy goes back by itself.\n\
         {dim}Look{dim:#}             {bold}backstay status{bold:#}, {bold}backstay timeline --follow{bold:#}\n\
         {dim}Name who did it{dim:#}  {bold}backstay track install{bold:#}\n\
         {dim}Take it back{dim:#}     {bold}backstay rollback --last --dry-run{bold:#}\n"
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_fleet_manifest_is_one_that_we_read() {
        let text = fleet_toml(&["web".to_owned(), "shop".to_owned()]);
        let manifest = backstay_manifest::FleetManifest::parse("fleet.toml", text.as_bytes()).unwrap();
        assert_eq!(manifest.assignments.len(), 2);
        let node = "n1".parse().unwrap();
        assert!(manifest.is_assigned(&"shop".parse().unwrap(), &node, &backstay_types::Labels::default()));
    }
}
