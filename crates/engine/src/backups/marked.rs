//! Data whose older copy could make a validator sign twice: what of it a restore would put back.

use std::collections::BTreeSet;

use backstay_manifest::{BackupItem, BackupSource};
use backstay_store::releases;
use backstay_types::{NodeId, StackName, TreeDigest};

use super::elsewhere;
use crate::{Engine, EngineError, mirrors::blocking};

impl Engine {
    /// What a restore of these items and paths, or of everything where none is `named`, would put back that could make a
    /// validator sign twice, by what is declared in any of these releases. An item that holds what is marked counts as
    /// that. Of a release that is not known here nothing can be told: it is named as what may be marked.
    ///
    /// # Errors
    /// When the store or the mirror fails.
    pub async fn double_sign(
        &self,
        stack: &StackName,
        trees: &[TreeDigest],
        named: &[String],
    ) -> Result<BTreeSet<String>, EngineError> {
        let (mut items, mut unknown) = (Vec::new(), BTreeSet::new());
        for tree in trees {
            let Some(release) = releases::by_tree(&mut self.inner.store.read(), stack, *tree).await? else {
                let text =
                    format!("release {}, of which this hub does not know what it declares,", tree.short());
                unknown.insert(text);
                continue;
            };
            let repository = self.repository(release.repository).await?;
            let mirror = self.inner.mirrors.of(&repository)?;
            let saved =
                blocking(move || crate::parts::saved_at(&mirror, &release.commit, &release.path)).await?;
            items.extend(saved);
        }
        let mut marked = marked(&items, named);
        marked.extend(unknown);
        Ok(marked)
    }
}

impl Engine {
    /// Which items of these, or of all where none is `named`, cannot be put back where they came from, and why, by what
    /// the release declares that a node runs.
    ///
    /// # Errors
    /// When the store or the mirror fails.
    pub async fn not_in_place(
        &self,
        node: NodeId,
        stack: &StackName,
        named: &[String],
    ) -> Result<Vec<String>, EngineError> {
        let mut read = self.inner.store.read();
        let Some(runs) = elsewhere::runs(&mut read, node, stack).await? else { return Ok(Vec::new()) };
        let Some(release) = releases::get(&mut read, runs.release).await? else { return Ok(Vec::new()) };
        let mirror = self.inner.mirrors.of(&self.repository(release.repository).await?)?;
        let items = blocking(move || crate::parts::saved_at(&mirror, &release.commit, &release.path)).await?;
        let is_named = |item: &&BackupItem| {
            let of = |text: &String| text.split('/').next() == Some(item.name.as_str());
            named.is_empty() || named.iter().any(of)
        };
        let stuck = items.iter().filter(is_named);
        Ok(stuck.filter_map(|item| Some(format!("`{}`: {}", item.name, item.what.not_in_place()?))).collect())
    }
}

/// The marked items of which something would be put back.
fn marked(items: &[BackupItem], named: &[String]) -> BTreeSet<String> {
    let concerned =
        |item: &&BackupItem| named.is_empty() || named.iter().any(|text| holds(items, text, item));
    let marked = items.iter().filter(|item| item.double_sign);
    marked.filter(concerned).map(|item| item.name.clone()).collect()
}

/// Whether what somebody named, an item or a path in it, may hold something of an item. What no release declares was found
/// by a node itself: it may.
fn holds(items: &[BackupItem], text: &str, item: &BackupItem) -> bool {
    let (name, below) = text.split_once('/').unwrap_or((text, ""));
    if name == item.name {
        return true;
    }
    let mut same = items.iter().filter(|one| one.name == name).peekable();
    same.peek().is_none() || same.any(|one| meet(place(one, below), place(item, "")))
}

/// Where data is: in which volume, or below the stack's state folder, and the folders down to it.
type Place = (Option<String>, Vec<String>);

fn place(item: &BackupItem, below: &str) -> Option<Place> {
    let (volume, path) = match &item.what {
        BackupSource::Volume { volume } => (Some(volume.clone()), ""),
        BackupSource::Path { path, volume } | BackupSource::Sqlite { path, volume } => {
            (volume.clone(), path.as_str())
        }
        BackupSource::Postgres(_) | BackupSource::Command(_) | BackupSource::Openclaw { .. } => return None,
    };
    let parts = path.split('/').chain(below.split('/'));
    let parts = parts.filter(|part| !matches!(*part, "" | ".")).map(str::to_owned);
    Some((volume, parts.collect()))
}

/// Whether one of them is in the other. Dumps and what commands print are files of nobody else.
fn meet(one: Option<Place>, other: Option<Place>) -> bool {
    let (Some((volume, one)), Some((other_volume, other))) = (one, other) else { return false };
    volume == other_volume && one.iter().zip(&other).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use backstay_manifest::StackManifest;

    use super::*;

    #[test]
    fn what_encloses_marked_data_is_marked() {
        let text = "[[backup]]\nvolume = \"validator\"\n\
                    [[backup]]\nname = \"protection\"\nvolume = \"validator\"\npath = \"slashing/db\"\n\
                    double_sign = true\n[[backup]]\npath = \"logs\"\n[[backup]]\npath = \"keys\"\n\
                    double_sign = true\n";
        let compose = Some("compose.yaml");
        let manifest = StackManifest::parse("stack.toml", text.as_bytes(), compose).unwrap();
        let items = manifest.backups.items;
        let found = |named: &[&str]| -> Vec<String> {
            let named: Vec<String> = named.iter().map(|text| (*text).to_owned()).collect();
            marked(&items, &named).into_iter().collect()
        };
        assert_eq!(found(&[]), ["keys", "protection"]);
        assert_eq!(found(&["validator"]), ["protection"], "the volume that it is in");
        assert_eq!(found(&["validator/slashing"]), ["protection"]);
        assert_eq!(found(&["validator/slashing/db/one"]), ["protection"], "a part of it");
        assert_eq!(found(&["validator/other"]), Vec::<String>::new());
        assert_eq!(found(&["logs"]), Vec::<String>::new());
        assert_eq!(found(&["protection/x"]), ["protection"]);
        assert_eq!(found(&["found"]), ["keys", "protection"], "nobody declared what that is");
    }
}
