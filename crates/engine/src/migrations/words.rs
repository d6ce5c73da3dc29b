//! A migration in plain words: what moves, what the stop costs, what does not move.

use std::time::Duration;

use backstay_api::v1::{MigrationPlan, StackMove};
use backstay_manifest::{BackupSource, Compose, StackManifest, Variables, compose, format_duration};
use backstay_store::backups::{jobs, snapshots};
use backstay_types::{Release, TWO_EPOCHS, tree::in_folder};

use super::{Candidate, WantedMigration, cannot};
use crate::{Engine, EngineError, mirrors::blocking};

/// What a release says of itself, as far as it can be read without a node's values.
struct Declared {
    manifest: Option<StackManifest>,
    compose: Option<Compose>,
    /// Whether it needs values of its node.
    template: bool,
}

impl Engine {
    async fn read_declared(&self, release: &Release) -> Result<Declared, EngineError> {
        let mirror = self.inner.mirrors.of(&self.repository(release.repository).await?)?;
        let (commit, path) = (release.commit.clone(), release.path.clone());
        blocking(move || {
            let read = |file: &str| mirror.try_read(&commit, &in_folder(&path, file));
            let mut compose = None;
            let mut name = None;
            for file in compose::FILE_NAMES {
                if let Some(bytes) = read(file)? {
                    compose = Compose::parse(file, &bytes, &Variables::partial(Default::default())).ok();
                    name = Some(file);
                    break;
                }
            }
            let manifest =
                read("stack.toml")?.and_then(|text| StackManifest::parse("stack.toml", &text, name).ok());
            Ok(Declared { manifest, compose, template: read(".env.template")?.is_some() })
        })
        .await
    }

    /// Whether all that a stack declares can be put in place on another node.
    pub(super) async fn check_data(&self, one: &Candidate) -> Result<(), EngineError> {
        let declared = self.read_declared(&one.release).await?;
        let Some(manifest) = &declared.manifest else { return Ok(()) };
        let stack = &one.runs.stack;
        for item in &manifest.backups.items {
            let Some(why) = item.what.not_in_place() else { continue };
            return Err(cannot(format!("{stack}: item `{}` cannot be put in place: {why}", item.name)));
        }
        Ok(())
    }

    pub(super) async fn worded_migration(
        &self,
        want: &WantedMigration,
        found: &[Candidate],
    ) -> Result<MigrationPlan, EngineError> {
        let (mut stacks, mut confirm) = (Vec::new(), Vec::new());
        for one in found {
            stacks.push(self.worded_move(want, one).await?);
            if want.from_gone && one.double_sign {
                confirm.push(format!("{}/{}", want.from.name, one.runs.stack));
            }
        }
        let (from, to) = (want.from.name.clone(), want.to.name.clone());
        Ok(MigrationPlan { from, to, stacks, confirm, migration: None })
    }

    async fn worded_move(&self, want: &WantedMigration, one: &Candidate) -> Result<StackMove, EngineError> {
        let declared = self.read_declared(&one.release).await?;
        let (stack, from, to) = (one.runs.stack.clone(), &want.from.name, &want.to.name);
        let mut lost = Vec::new();
        if let Some(proven) = one.proven {
            let kept = snapshots::get(&mut self.inner.store.read(), Some(want.from.id), proven).await?;
            let at = kept.map(|kept| kept.snapshot.at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
            lost.push(format!(
                "what was written on {from} since {}: that is its newest proven snapshot",
                at.unwrap_or_default()
            ));
            lost.push(format!(
                "if {from} is not gone, {stack} runs on both: it is stopped there as soon as it is heard from"
            ));
        }
        Ok(StackMove {
            commit: one.release.commit.clone(),
            moves: moves(&declared),
            costs: self.costs(want, one, &declared).await?,
            stays: stays(&declared, from.as_str(), to.as_str()),
            lost,
            stack,
        })
    }

    /// What the stop costs, as far as that can be told.
    async fn costs(
        &self,
        want: &WantedMigration,
        one: &Candidate,
        declared: &Declared,
    ) -> Result<Vec<String>, EngineError> {
        let (stack, from, to) = (&one.runs.stack, &want.from.name, &want.to.name);
        if want.from_gone {
            return Ok(vec![format!("{stack} runs nowhere until {to} has fetched its data and started it")]);
        }
        let mut costs = vec![
            format!(
                "while {stack} runs, its data is copied and fetched to {to}: both nodes need room for it"
            ),
            format!(
                "then {stack} stands still while {from} saves what was written since, and {to} fetches that, the release and \
                 the images that it does not have yet, and starts it"
            ),
        ];
        let mut read = self.inner.store.read();
        let at = self.inner.world.now();
        if let Some(kept) = snapshots::proven_at(&mut read, Some(want.from.id), Some(stack), at).await? {
            let job = match kept.job {
                Some(id) => jobs::get(&mut read, id).await?,
                None => None,
            };
            let took = job.and_then(|job| Some(job.ended_at?.duration_since(job.started_at?)));
            let took = took.and_then(|took| Duration::try_from(took).ok());
            let took = took.map(|took| format!("; saving it took {}", format_duration(whole(took))));
            costs.push(format!(
                "its newest snapshot has {} of data{}",
                crate::undo::data::bytes(kept.snapshot.bytes),
                took.unwrap_or_default()
            ));
        }
        let declared = declared.manifest.iter().filter(|_| declared.compose.is_none());
        let items = declared.flat_map(|manifest| &manifest.backups.items);
        for item in items.filter(|item| matches!(item.what, BackupSource::Command(_))) {
            costs.push(format!(
                "`{}` is asked for its data just before {stack} is stopped, since it may have to ask what runs: have nothing \
                 write to it meanwhile",
                item.name
            ));
        }
        if one.double_sign {
            costs.push(format!(
                "its keys rest for two epochs between the two nodes: it stands still for {} at least",
                format_duration(TWO_EPOCHS)
            ));
        }
        Ok(costs)
    }
}

fn moves(declared: &Declared) -> Vec<String> {
    let items = declared.manifest.iter().flat_map(|manifest| &manifest.backups.items);
    let mut moves: Vec<_> = items
        .map(|item| {
            let left: Vec<_> = item.exclude.iter().map(|pattern| pattern.as_str()).collect();
            match left.is_empty() {
                true => format!("`{}`", item.name),
                false => format!("`{}`, without {}", item.name, left.join(", ")),
            }
        })
        .collect();
    if declared.manifest.as_ref().is_some_and(|manifest| manifest.backups.off) {
        return vec!["no data: its backups are off".to_owned()];
    }
    if moves.is_empty() {
        let volumes = declared.compose.iter().flat_map(|compose| compose.volumes.keys());
        moves.extend(volumes.map(|volume| format!("volume `{volume}`")));
        moves.push("what its relative paths keep in the stack's state folder".to_owned());
    }
    moves
}

fn stays(declared: &Declared, from: &str, to: &str) -> Vec<String> {
    let mut stays = Vec::new();
    let items: Vec<_> = declared.manifest.iter().flat_map(|manifest| &manifest.backups.items).collect();
    if let Some(compose) = &declared.compose {
        let saved =
            |volume: &str| items.is_empty() || items.iter().any(|item| item.what.volume() == Some(volume));
        let undeclared: Vec<_> = compose.volumes.keys().filter(|volume| !saved(volume)).cloned().collect();
        if !undeclared.is_empty() {
            stays.push(format!("volumes that no `[[backup]]` names: {}", undeclared.join(", ")));
        }
        let mut paths: Vec<_> = compose
            .services
            .values()
            .flat_map(|service| &service.binds)
            .filter(|bind| bind.source.starts_with('/') && !bind.read_only)
            .map(|bind| bind.source.clone())
            .filter(|path| !items.iter().any(|item| covers(&item.what, path)))
            .collect();
        paths.sort();
        paths.dedup();
        if !paths.is_empty() {
            stays.push(format!("paths of {from} that no `[[backup]]` names: {}", paths.join(", ")));
        }
        let mut ports: Vec<_> = compose.services.values().flat_map(|service| service.ports.clone()).collect();
        ports.sort();
        if !ports.is_empty() {
            stays.push(format!(
                "its address: {} are published on {to} then; names and proxies that lead to {from} are yours to change",
                ports.join(", ")
            ));
        }
    } else {
        stays.push(format!("its address: names and proxies that lead to {from} are yours to change"));
    }
    if declared.template {
        stays.push(format!(
            "values of `.env.template`: {to} needs its own, secrets among them, before it can start"
        ));
    }
    stays.push(format!(
        "the data on {from}: it stays there until somebody removes it, and is what a move that fails goes back to"
    ));
    stays
}

fn covers(what: &BackupSource, path: &str) -> bool {
    match what {
        BackupSource::Path { path: saved, volume: None }
        | BackupSource::Sqlite { path: saved, volume: None } => std::path::Path::new(path).starts_with(saved),
        _ => false,
    }
}

fn whole(took: Duration) -> Duration {
    Duration::from_secs(took.as_secs().max(1))
}
