//! What stacks declare of their data, and which of them use the same.

use std::collections::{BTreeMap, BTreeSet};

use backstay_manifest::{BackupItem, BackupSource, Fleet, Migrations};
use backstay_types::StackName;

/// What stacks declare of their data: where they are now, and where they go.
#[derive(Debug, Default)]
pub(super) struct Declared {
    pub(super) items: BTreeMap<StackName, Vec<BackupItem>>,
    pub(super) forward_only: BTreeSet<StackName>,
    /// Stacks that use the same data.
    pub(super) shared: BTreeMap<StackName, BTreeSet<StackName>>,
}

impl Declared {
    /// Takes in what the manifests of a repository say.
    pub(super) fn read(&mut self, fleet: &Fleet) {
        for (name, stack) in &fleet.stacks {
            let backups = &stack.manifest.backups;
            if backups.migrations == Migrations::ForwardOnly {
                self.forward_only.insert(name.clone());
            }
            let known = self.items.entry(name.clone()).or_default();
            for item in &backups.items {
                match known.iter_mut().find(|one| one.name == item.name) {
                    // Either of them is enough to ask a person.
                    Some(one) => {
                        one.double_sign |= item.double_sign;
                        one.exclude.extend(
                            item.exclude
                                .iter()
                                .filter(|p| !one.exclude.contains(p))
                                .cloned()
                                .collect::<Vec<_>>(),
                        );
                    }
                    None => known.push(item.clone()),
                }
            }
        }
        for (name, stack) in &fleet.stacks {
            for (other, of_other) in fleet.stacks.iter().filter(|(other, _)| *other != name) {
                let said = |one: &backstay_manifest::Stack, names: &StackName| {
                    one.manifest.backups.items.iter().any(|item| item.shared_with.contains(names))
                };
                if said(stack, other) || said(of_other, name) || same_data(stack, of_other) {
                    self.shared.entry(name.clone()).or_default().insert(other.clone());
                }
            }
        }
    }

    pub(super) fn items(&self, stack: &StackName) -> &[BackupItem] {
        self.items.get(stack).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Whether two stacks use a volume, a path or a database that is the same on any one node.
fn same_data(one: &backstay_manifest::Stack, other: &backstay_manifest::Stack) -> bool {
    let volumes = |stack: &backstay_manifest::Stack| -> BTreeSet<String> {
        let named = stack.compose.iter().flat_map(|compose| compose.volumes.values().flatten().cloned());
        named.collect()
    };
    if !volumes(one).is_disjoint(&volumes(other)) {
        return true;
    }
    let items = |stack: &backstay_manifest::Stack| stack.manifest.backups.items.clone();
    items(one).iter().any(|a| items(other).iter().any(|b| same_place(&a.what, &b.what)))
}

fn same_place(one: &BackupSource, other: &BackupSource) -> bool {
    let absolute = |what: &BackupSource| match what {
        BackupSource::Path { path, volume: None } | BackupSource::Sqlite { path, volume: None } => {
            path.starts_with('/').then(|| path.clone())
        }
        _ => None,
    };
    match (one, other) {
        (BackupSource::Postgres(one), BackupSource::Postgres(other)) => {
            let server =
                |source: &backstay_manifest::PostgresSource| (source.host.clone(), source.port.clone());
            let same = one.database.is_none() || other.database.is_none() || one.database == other.database;
            one.service.is_none() && other.service.is_none() && server(one) == server(other) && same
        }
        _ => match (absolute(one), absolute(other)) {
            (Some(one), Some(other)) => {
                let (one, other) = (std::path::Path::new(&one), std::path::Path::new(&other));
                one.starts_with(other) || other.starts_with(one)
            }
            _ => false,
        },
    }
}
