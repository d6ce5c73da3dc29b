//! Looking at a repository before it is followed: in a mirror that is thrown away.

use std::path::PathBuf;

use backstay_manifest::{self as manifest, Selector};
use backstay_source::{Credential, Endpoint, Mirror, MirrorConfig};
use backstay_store::{nodes, stacks};
use backstay_types::{
    CommitId, Labels, NodeName, Repository, RepositoryHealth, StackName, Timestamp, tree::below,
};

use crate::{
    Engine, EngineError, NewRepository,
    mirrors::blocking,
    sync::{TipError, assignment, read_whole},
};

/// What is in a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// The branch that would be followed.
    pub branch: String,
    /// Its tip.
    pub tip: Option<CommitId>,
    /// Its stacks, by name.
    pub stacks: Vec<CheckedStack>,
    /// What is wrong with it as a whole.
    pub problems: Vec<String>,
}

/// A stack in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedStack {
    /// Its name.
    pub name: StackName,
    /// Its folder.
    pub path: String,
    /// For which nodes.
    pub assignment: Vec<Selector>,
    /// How many of the nodes there are now that is.
    pub nodes: u64,
    /// What is wrong with it, or likely to be.
    pub problems: Vec<String>,
}

/// A folder that is gone when this is.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, folder = %self.0.display(), "a mirror made for a look could not be removed");
        }
    }
}

impl Engine {
    /// Fetches a repository that might be added and reads it whole. Nothing is kept; what is wrong with it is in the
    /// answer.
    ///
    /// # Errors
    /// When an address or the branch cannot be used, or none can be reached.
    pub async fn check_repository(&self, new: NewRepository) -> Result<Checked, EngineError> {
        let endpoints: Vec<_> = new.endpoints.iter().map(|e| Endpoint::parse(e)).collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            return Err(EngineError::Invalid("a repository needs at least one address".to_owned()));
        }
        let credential = new.sealed_credential.as_deref();
        let credential = credential.and_then(|sealed| self.inner.presence.unseal(sealed));
        let credential = credential.map(|token| Credential { username: None, token });
        let branch = match new.branch.clone() {
            Some(branch) => branch,
            None => self.default_branch(&endpoints, new.sealed_credential.as_deref()).await?,
        };
        let followed = self.is_followed(&new.name).await?;
        let mut store = self.inner.store.read();
        let there: Vec<(NodeName, Labels)> =
            nodes::active(&mut store).await?.into_iter().map(|node| (node.name, node.labels)).collect();
        let taken: Vec<_> = stacks::list(&mut store).await?.into_iter().map(|stack| stack.name).collect();
        let id = self.inner.world.mint();
        let repository = Repository {
            id,
            name: new.name,
            endpoints: endpoints.iter().map(ToString::to_string).collect(),
            branch: branch.clone(),
            stacks_path: new.stacks_path,
            tip: None,
            health: RepositoryHealth::New,
            fetched_at: None,
            created_at: self.inner.world.now(),
            warnings: Vec::new(),
        };
        let dir = self.inner.mirrors.scratch(id);
        let now = self.inner.world.now();
        let config =
            MirrorConfig { ssh: self.inner.mirrors.ssh().cloned(), ..MirrorConfig::of(&repository)? };
        let mut found = blocking(move || {
            let scratch = Scratch(dir);
            let mirror = Mirror::open_or_init(&scratch.0, config)?;
            let tip = mirror.fetch(credential.as_ref())?.tip;
            read(&mirror, &repository, tip, &there, now)
        })
        .await?;
        found.branch = branch;
        if followed {
            found.problems.push("a repository of this name is followed already".to_owned());
        }
        for stack in found.stacks.iter_mut().filter(|stack| taken.contains(&stack.name)) {
            stack.problems.push(format!("there is a stack `{}` in another repository already", stack.name));
        }
        Ok(found)
    }
}

/// Everything that is in a tip. Blocks.
fn read(
    mirror: &Mirror,
    repository: &Repository,
    tip: CommitId,
    nodes: &[(NodeName, Labels)],
    now: Timestamp,
) -> Result<Checked, backstay_source::SourceError> {
    let mut checked = Checked { tip: Some(tip.clone()), ..Checked::default() };
    let (fleet, entries) = match read_whole(mirror, repository, &tip) {
        Ok(whole) => whole,
        Err(TipError::Source(error)) => return Err(error),
        Err(TipError::Invalid(problems)) => {
            checked.problems = problems.iter().map(line).collect();
            return Ok(checked);
        }
    };
    let problems =
        manifest::check::check(&fleet, &entries, &|path| mirror.read(&tip, path).ok(), Some(nodes), now);
    let mut rest: Vec<_> = problems.iter().map(|problem| (problem.file.clone(), line(problem))).collect();
    for stack in fleet.stacks.values() {
        let own = |file: &str| !stack.path.is_empty() && below(&stack.path, file).is_some();
        let mine = rest.extract_if(.., |(file, _)| own(file)).map(|(_, text)| text).collect();
        let assignment = assignment(&fleet, &stack.name);
        let runs =
            |(name, labels): &&(NodeName, Labels)| assignment.iter().any(|one| one.matches(name, labels));
        checked.stacks.push(CheckedStack {
            name: stack.name.clone(),
            path: stack.path.clone(),
            nodes: nodes.iter().filter(runs).count() as u64,
            assignment,
            problems: mine,
        });
    }
    checked.problems = rest.into_iter().map(|(_, text)| text).collect();
    Ok(checked)
}

fn line(problem: &manifest::Problem) -> String {
    match &problem.hint {
        Some(hint) => format!("{problem}: {hint}"),
        None => problem.to_string(),
    }
}
