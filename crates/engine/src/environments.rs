//! Environments: which release each is meant to run, and letting releases in.

use std::collections::HashMap;

use backstay_manifest::{Environment, Promotion};
use backstay_plan::{
    Entry, EnvironmentFacts, Inputs, Origin, Passing, StackFacts, Verdict, Within, passing, taken_back_by,
    verdicts,
};
use backstay_store::{
    Executor, StoreError, Tx,
    environments::{self, EnvironmentRelease},
    releases, repositories, stacks,
};
use backstay_types::{
    Constraint, ConstraintOrigin, Effect, EnvironmentName, Event, Refs, Release, ReleaseId, RepositoryName,
    Scope, StackName, Timestamp, UndoId,
};

use crate::{
    Engine, EngineError,
    reconcile::{Known, Loaded},
    sync::StackRecord,
};

/// Who lets releases in where no person has to.
pub(crate) const BY_ITSELF: &str = "promotion";
/// Who asks for what is in an environment that nothing is let into.
pub(crate) const THE_BRANCH: &str = "branch";

/// What environments are meant to run, by stack and environment.
pub(crate) type Asked = HashMap<(StackName, EnvironmentName), EnvironmentRelease>;

/// An environment and how far its stacks are.
#[derive(Debug, Clone)]
pub struct EnvironmentState {
    /// As the manifest has it.
    pub environment: Environment,
    /// The repository whose manifest has it.
    pub repository: RepositoryName,
    /// How many nodes are in it.
    pub nodes: u64,
    /// Its stacks, by name.
    pub stacks: Vec<EnvironmentStack>,
}

/// A stack in an environment.
#[derive(Debug, Clone)]
pub struct EnvironmentStack {
    /// The stack.
    pub stack: StackName,
    /// The release that the environment is meant to run.
    pub release: Option<Release>,
    /// Since when, who let it in, and why.
    pub asked: Option<EnvironmentRelease>,
    /// How far its nodes have come with it.
    pub passing: Passing,
    /// The release that comes next.
    pub next: Option<Release>,
    /// Whether that may enter as soon as a person says so.
    pub ready: bool,
    /// Why the next has not entered, or why there is none.
    pub why: String,
}

/// A release to be let in by a person.
#[derive(Debug, Clone)]
pub struct WantedPromotion {
    /// The stack.
    pub stack: StackName,
    /// Where to.
    pub environment: EnvironmentName,
    /// The release: that which comes next there.
    pub release: ReleaseId,
    /// Why.
    pub reason: String,
    /// Whatever the environments before say.
    pub force: bool,
}

impl Engine {
    /// A stack once for each environment, and for the nodes that are in none; as it is where there are no environments.
    pub(crate) async fn within_environments(
        &self,
        ex: &mut impl Executor,
        base: StackFacts,
        (stack, record): (&stacks::Stack, &StackRecord),
        known: Known<'_>,
    ) -> Result<Vec<StackFacts>, EngineError> {
        let Known { releases, constraints, asked, now, .. } = known;
        if record.environments.is_empty() {
            return Ok(vec![base]);
        }
        let mut all = Vec::new();
        let mut earlier = Vec::new();
        for environment in &record.environments {
            let row = asked.get(&(stack.name.clone(), environment.name.clone()));
            let mut facts = EnvironmentFacts {
                name: environment.name.clone(),
                nodes: environment.nodes.clone(),
                earlier: earlier.clone(),
                after: environment.after.clone(),
                by_hand: environment.promotion == Promotion::ByHand,
                soak: environment.soak,
                asked: row.map(|row| row.release),
                since: row.map(|row| row.since),
                // What an undo brought here was not let in past anything.
                turn: row.filter(|row| row.undo.is_none()).map(|row| row.turn),
                undone: None,
            };
            earlier.push(environment.nodes.clone());
            let mut line = base.clone();
            let elsewhere = |constraint: &&Constraint| match &constraint.scope {
                Scope::Environment { environment: of } => *of != environment.name,
                Scope::Fleet | Scope::Nodes { .. } => false,
            };
            let here: Vec<_> = constraints.iter().filter(|c| !elsewhere(c)).cloned().collect();
            line.pin_origins = crate::reconcile::pin_origins(&stack.name, &here, releases);
            if environment.after.is_empty() {
                facts.asked = stack.release;
                let noted = row.filter(|row| Some(row.release) == stack.release);
                (facts.since, facts.turn) = (noted.map(|row| row.since), noted.map(|row| row.turn));
            } else {
                let let_in = row.and_then(|row| releases.get(&row.release));
                facts.undone = self.taken_back(ex, &facts, let_in, constraints, now).await?;
                line.release = match let_in {
                    _ if !stack.present => base.release.clone(),
                    None => Err(format!("not let into `{}` yet", environment.name)),
                    Some(found) => self.standing_in(ex, found, constraints, now).await?.map(|()| found.id),
                };
                if let Some((row, found)) = row.zip(let_in) {
                    line.origin = origin(row, found);
                }
            }
            let from = facts.asked.and_then(|id| releases.get(&id));
            let name = Some(&environment.name);
            line.go_back = self.go_back(ex, record, (from, name), known).await?;
            line.within = Within::Environment(facts);
            all.push(line);
        }
        let release = base.release.clone().and(Err("for no environment that this node is in".to_owned()));
        all.push(StackFacts { release, go_back: None, within: Within::Outside(earlier), ..base });
        Ok(all)
    }

    /// What an environment is to run at once, because an undo took back something that is in what it runs: the last that did
    /// well there and is without it. What came to the branch meanwhile was not let in here, by nobody.
    async fn taken_back(
        &self,
        ex: &mut impl Executor,
        environment: &EnvironmentFacts,
        known: Option<&Release>,
        constraints: &[Constraint],
        now: Timestamp,
    ) -> Result<Option<(ReleaseId, UndoId)>, EngineError> {
        let Some(known) = known else { return Ok(None) };
        if self.standing_in(ex, known, constraints, now).await?.is_ok() {
            return Ok(None);
        }
        for constraint in constraints {
            let (ConstraintOrigin::Undo { undo }, Effect::Hold { .. }) =
                (&constraint.origin, &constraint.effect)
            else {
                continue;
            };
            if self.standing_in(ex, known, std::slice::from_ref(constraint), now).await?.is_err() {
                let name = Some(&environment.name);
                let good = self.last_good(ex, &known.stack, name, constraints, now).await?;
                return Ok(good.map(|good| (good.id, *undo)));
            }
        }
        Ok(None)
    }

    /// Lets in what may enter. Whether there was anything.
    pub(crate) async fn let_in(
        &self,
        tx: &mut Tx,
        loaded: &Loaded,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let mut any = self.follow_branch(tx, loaded, now).await?;
        for verdict in verdicts(&loaded.snapshot) {
            let (reason, undo) = match verdict.entry {
                Entry::Enters(reason) => (reason, None),
                Entry::Undo(undo) => (taken_back_by(undo), Some(undo)),
                Entry::Has | Entry::ByHand(_) | Entry::Not(_) => continue,
            };
            let (Some(release), Some((stack, environment))) = (verdict.next, place(loaded, verdict.stack))
            else {
                continue;
            };
            let row = EnvironmentRelease {
                stack,
                environment,
                release,
                since: now,
                by: BY_ITSELF.to_owned(),
                reason,
                undo,
                turn: 0,
                inputs: serde_json::to_value(verdict.inputs.map(Inputs::Entry)).map_err(StoreError::from)?,
            };
            self.enter(tx, loaded.releases.get(&release), &row, false).await?;
            any = true;
        }
        Ok(any)
    }

    /// Notes since when the environments that follow the branch are meant to run what it asks for.
    async fn follow_branch(&self, tx: &mut Tx, loaded: &Loaded, now: Timestamp) -> Result<bool, EngineError> {
        let mut any = false;
        for facts in &loaded.snapshot.stacks {
            let Within::Environment(environment) = &facts.within else { continue };
            let (Some(release), None, true) =
                (environment.asked, environment.since, environment.after.is_empty())
            else {
                continue;
            };
            let row = EnvironmentRelease {
                stack: facts.name.clone(),
                environment: environment.name.clone(),
                release,
                since: now,
                by: THE_BRANCH.to_owned(),
                reason: "the deployed branch asks for it".to_owned(),
                undo: None,
                turn: 0,
                inputs: serde_json::Value::Null,
            };
            environments::put(tx, &row).await?;
            any = true;
        }
        Ok(any)
    }

    async fn enter(
        &self,
        tx: &mut Tx,
        release: Option<&Release>,
        row: &EnvironmentRelease,
        forced: bool,
    ) -> Result<(), EngineError> {
        environments::put(tx, row).await?;
        let refs = Refs {
            stack: Some(row.stack.clone()),
            release: Some(row.release),
            repository: release.map(|release| release.repository),
            commit: release.map(|release| release.commit.clone()),
            undo: row.undo,
            ..Refs::default()
        };
        let event = Event::ReleasePromoted {
            environment: row.environment.clone(),
            reason: row.reason.clone(),
            by: row.by.clone(),
            forced,
        };
        tx.record(event, refs)?;
        Ok(())
    }

    /// Every environment with its stacks, in the order of the manifests.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn environments(&self) -> Result<Vec<EnvironmentState>, EngineError> {
        let mut read = self.inner.store.read();
        let loaded = self.load(&mut read, self.inner.world.now()).await?;
        let stored = stacks::list(&mut read).await?;
        let mut all = Vec::new();
        for repository in repositories::list(&mut read).await? {
            let own = || stored.iter().filter(|stack| stack.repository == repository.id && stack.present);
            let record = own().find_map(|stack| loaded.records.get(&stack.name));
            for environment in record.map(|record| record.environments.clone()).unwrap_or_default() {
                let mut state = EnvironmentState {
                    repository: repository.name.clone(),
                    nodes: 0,
                    stacks: Vec::new(),
                    environment,
                };
                for stack in own() {
                    self.add_stack(&mut read, &loaded, stack, &mut state).await?;
                }
                all.push(state);
            }
        }
        Ok(all)
    }

    async fn add_stack(
        &self,
        ex: &mut impl Executor,
        loaded: &Loaded,
        stack: &stacks::Stack,
        state: &mut EnvironmentState,
    ) -> Result<(), EngineError> {
        let world = &loaded.snapshot;
        let of = |facts: &StackFacts| {
            facts.name == stack.name && facts.within.environment() == Some(&state.environment.name)
        };
        let Some(at) = world.stacks.iter().position(of) else { return Ok(()) };
        let facts = &world.stacks[at];
        let Within::Environment(environment) = &facts.within else { return Ok(()) };
        state.nodes = world.nodes.iter().filter(|node| facts.holds(node)).count() as u64;
        let asked = environment.asked;
        let verdict = verdicts(world).into_iter().find(|verdict| verdict.stack == at);
        let next = verdict.as_ref().and_then(|verdict| verdict.next);
        let mut found = HashMap::new();
        for release in releases::many(ex, &Vec::from_iter(asked.into_iter().chain(next))).await? {
            found.insert(release.id, release);
        }
        let key = (stack.name.clone(), environment.name.clone());
        state.stacks.push(EnvironmentStack {
            stack: stack.name.clone(),
            release: asked.and_then(|id| found.get(&id).cloned()),
            asked: loaded.asked.get(&key).cloned(),
            passing: asked.map(|id| passing(world, at, id)).unwrap_or_default(),
            next: next.and_then(|id| found.get(&id).cloned()),
            ready: verdict.as_ref().is_some_and(|verdict| matches!(verdict.entry, Entry::ByHand(_))),
            why: why(facts, verdict.as_ref()),
        });
        Ok(())
    }

    /// Lets a release in because a person says so: where it may, or by force. Asked twice, it is done once.
    ///
    /// # Errors
    /// When there is no such environment or it follows the branch, when another release comes next, or when it may not
    /// enter yet; a release that is held or banned enters nowhere, by no force.
    pub async fn promote(&self, want: &WantedPromotion, by: &str) -> Result<(), EngineError> {
        let _one = self.inner.planning.lock().await;
        let now = self.inner.world.now();
        let mut tx = self.inner.store.begin().await?;
        let loaded = self.load(&mut tx, now).await?;
        let name = &want.environment;
        let of = |facts: &StackFacts| facts.name == want.stack && facts.within.environment() == Some(name);
        let at = loaded.snapshot.stacks.iter().position(of);
        let at = at.ok_or_else(|| EngineError::not_found("environment of this stack", name))?;
        let Within::Environment(environment) = &loaded.snapshot.stacks[at].within else {
            return Err(EngineError::not_found("environment", name));
        };
        if environment.asked == Some(want.release) {
            return Ok(());
        }
        let verdict = verdicts(&loaded.snapshot).into_iter().find(|verdict| verdict.stack == at);
        let Some(Verdict { next, entry, .. }) = verdict else {
            return Err(EngineError::Conflict(format!(
                "`{name}` follows the branch: nothing is let into it"
            )));
        };
        let release = loaded.releases.get(&want.release).cloned();
        let release = release.filter(|release| release.stack == want.stack);
        let release =
            release.ok_or_else(|| EngineError::not_found("release before this environment", want.release))?;
        if next != Some(release.id) {
            return Err(EngineError::Conflict(format!("another release comes next to `{name}`: look again")));
        }
        let (reason, forced) = match entry {
            Entry::Not(why) if !want.force => {
                return Err(EngineError::Conflict(format!("it may not enter `{name}` yet: {why}")));
            }
            Entry::Not(why) => {
                let constraints = &loaded.snapshot.constraints;
                if let Err(reason) = self.standing_in(&mut tx, &release, constraints, now).await? {
                    return Err(EngineError::Conflict(format!("it may not enter `{name}`: {reason}")));
                }
                (format!("{}; although {why}", want.reason), true)
            }
            _ => (want.reason.clone(), false),
        };
        let row = EnvironmentRelease {
            stack: want.stack.clone(),
            environment: name.clone(),
            release: release.id,
            since: now,
            by: by.to_owned(),
            reason,
            undo: None,
            turn: 0,
            inputs: serde_json::Value::Null,
        };
        self.enter(&mut tx, Some(&release), &row, forced).await?;
        tx.commit().await?;
        self.changed_by_hand();
        Ok(())
    }
}

/// How what an environment is meant to run came to be asked for.
fn origin(row: &EnvironmentRelease, release: &Release) -> Origin {
    Origin::of(row.undo, release.repository, &release.commit)
}

fn place(loaded: &Loaded, stack: usize) -> Option<(StackName, EnvironmentName)> {
    let facts = loaded.snapshot.stacks.get(stack)?;
    Some((facts.name.clone(), facts.within.environment()?.clone()))
}

fn why(facts: &StackFacts, verdict: Option<&Verdict>) -> String {
    match (verdict.map(|verdict| &verdict.entry), &facts.release) {
        (_, Err(reason)) if verdict.is_none() => reason.clone(),
        (None, _) => "it follows the branch".to_owned(),
        (Some(Entry::Has), _) => "nothing newer comes from the environments before it".to_owned(),
        (Some(Entry::Enters(reason) | Entry::Not(reason)), _) => reason.clone(),
        (Some(Entry::Undo(undo)), _) => taken_back_by(*undo),
        (Some(Entry::ByHand(reason)), _) => format!("waits for `backstay promote`: {reason}"),
    }
}
