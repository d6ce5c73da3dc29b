//! Parts of a stack at a tip: their versions, which of them a commit touches, and what is kept of them.

use std::collections::BTreeMap;

use backstay_manifest as manifest;
use backstay_source::{ChangeFacts, Mirror, SourceError, StackTree};
use backstay_types::{
    CommitId, PartName, Release, ReleaseId,
    tree::{below, in_folder},
};

use super::{
    Tip,
    records::{Rules, StackRecord},
};
use crate::parts::{Divided, PartRecord, divided};

/// No more versions of releases of parts are kept.
const MOST_VERSIONS: usize = 500;

/// A stack's tree, and how it is divided.
#[derive(Debug)]
pub(crate) struct Content {
    tree: StackTree,
    pub(crate) divided: Option<Divided>,
    /// The versions that its parts say.
    versions: BTreeMap<PartName, manifest::Version>,
}

impl Content {
    pub(crate) fn whole(&self) -> (&StackTree, Option<&Divided>) {
        (&self.tree, self.divided.as_ref())
    }

    /// That of a stack at a commit, where it goes out in parts. Blocks.
    pub(crate) fn read(
        mirror: &Mirror,
        at: &CommitId,
        folder: &str,
        parts: &manifest::Parts,
    ) -> Result<Self, SourceError> {
        let mut versions = BTreeMap::new();
        for part in parts.iter() {
            let Some(place) = &part.version else { continue };
            let text = mirror.try_read(at, &in_folder(folder, &place.file))?;
            versions
                .extend(text.and_then(|text| place.read(&text)).map(|version| (part.name.clone(), version)));
        }
        let (tree, divided) = (mirror.stack_tree(at, folder)?, divided(mirror, at, folder, parts)?);
        Ok(Self { tree, divided, versions })
    }
}

/// The parts of a stack that a commit touches itself.
pub(crate) fn parts_of(facts: &ChangeFacts, folder: &str, divided: &Divided) -> Vec<PartName> {
    let own: Vec<_> = facts.own_paths().into_iter().filter_map(|path| below(folder, path)).collect();
    let touches = |name: &&PartName| own.iter().any(|path| divided.declared.is_of(path, name));
    divided.trees.keys().filter(touches).cloned().collect()
}

/// What is kept of a stack's parts, and the versions that their releases say.
pub(super) fn part_records(
    tip: &Tip,
    stack: &manifest::Stack,
    content: &Content,
    release: &Release,
    brought: &[&ChangeFacts],
    old: Option<&StackRecord>,
) -> (Vec<PartRecord>, BTreeMap<ReleaseId, manifest::Version>) {
    let mut versions = old.map(|old| old.versions.clone()).unwrap_or_default();
    let Some(divided) = &content.divided else { return (Vec::new(), BTreeMap::new()) };
    let mut records = Vec::new();
    for (name, id) in &release.parts {
        let declared = stack.manifest.parts.named(name);
        let named = declared.and_then(|part| part.channel.as_deref());
        let own = named.and_then(|name| tip.fleet.manifest.channel(name));
        let rules = Rules::of_part(&tip.fleet, stack, own);
        let channel = named.or(rules.channel).map(str::to_owned);
        let before = old.and_then(|old| old.parts.iter().find(|part| part.name == *name));
        let newest = brought.iter().rev().find(|facts| parts_of(facts, &stack.path, divided).contains(name));
        let newest = newest.map(|facts| (facts.commit.clone(), facts.undo.first().copied()));
        let known = before.map(|part| (part.commit.clone(), part.undo));
        let (commit, undo) = newest.or(known).unwrap_or_else(|| (tip.commit.clone(), None));
        let version = content.versions.get(name).cloned();
        versions.extend(version.clone().map(|version| (*id, version)));
        records.push(PartRecord {
            name: name.clone(),
            release: *id,
            commit,
            undo,
            strategy: rules.strategy,
            max_updating: rules.max_updating,
            channel,
            requires: declared.map(|part| part.requires.clone()).unwrap_or_default(),
            version,
        });
    }
    while versions.len() > MOST_VERSIONS {
        versions.pop_first();
    }
    (records, versions)
}
