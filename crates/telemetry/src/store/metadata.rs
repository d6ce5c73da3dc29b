//! Kind, help and unit of metrics, as senders say them. Senders repeat it, so that a file that is written now and then is
//! enough.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{StoreError, disk};
use crate::Metadata;

/// So many metrics are known by kind and help; further ones are stored without.
const MOST: usize = 50_000;
/// The longest help that is kept, in bytes.
const LONGEST: usize = 4096;

/// What is known of metrics.
pub(super) struct MetadataBook {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    metrics: BTreeMap<String, Vec<Metadata>>,
    changed: bool,
}

impl MetadataBook {
    /// What the file has; nothing when it is not there or cannot be read, since senders say it again.
    pub(super) fn open(path: PathBuf) -> Self {
        let metrics = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let known = Known { metrics: metrics.unwrap_or_default(), changed: false };
        Self { path, known: Mutex::new(known) }
    }

    /// Takes in what a sender says.
    pub(super) fn learn(&self, said: impl IntoIterator<Item = (String, Metadata)>) {
        let mut known = self.lock();
        for (metric, mut metadata) in said {
            if metadata.help.len() > LONGEST {
                let end = metadata.help.floor_char_boundary(LONGEST);
                metadata.help.truncate(end);
            }
            let all = &mut known.metrics;
            if all.get(&metric).is_some_and(|there| there.contains(&metadata))
                || (all.len() >= MOST && !all.contains_key(&metric))
            {
                continue;
            }
            // What was said last is what it is.
            all.insert(metric, vec![metadata]);
            known.changed = true;
        }
    }

    /// What is known of all metrics, or of one.
    pub(super) fn read(&self, metric: Option<&str>) -> BTreeMap<String, Vec<Metadata>> {
        let known = self.lock();
        match metric {
            None => known.metrics.clone(),
            Some(name) => {
                known.metrics.get(name).map(|all| (name.to_owned(), all.clone())).into_iter().collect()
            }
        }
    }

    /// Writes the file when something is new.
    pub(super) fn save(&self) -> Result<(), StoreError> {
        let text = {
            let mut known = self.lock();
            if !known.changed {
                return Ok(());
            }
            known.changed = false;
            serde_json::to_vec(&known.metrics).unwrap_or_default()
        };
        disk::replace(&self.path, &text).map_err(|error| {
            self.lock().changed = true;
            StoreError::io("write", &self.path)(error)
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
