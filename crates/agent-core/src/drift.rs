//! What departs from what should be.

use std::fmt;

use backstay_types::{Container, Figures, ImageId, StackHealth, StackName};

use crate::journal::{Committed, Links, Prepared, StackRecord};

/// What was seen of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The stack.
    pub stack: StackName,
    /// Where its links point.
    pub links: Links,
    /// Its containers; an error when nobody could tell, which is not the same as none.
    pub containers: Result<Vec<Container>, String>,
    /// Whether the folder of the release that should run is there.
    pub release: bool,
    /// Whether the way back is open: folder and images of the previous release are there.
    pub previous: bool,
    /// What it says about itself.
    pub figures: Figures,
}

/// A departure from what should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deviation {
    /// Links point elsewhere.
    Links,
    /// The release that should run is gone from the disk.
    Release,
    /// Something does not run, or runs another image.
    Runtime(String),
    /// The way back is closed.
    Previous,
    /// It cannot be told what runs.
    Unknown(String),
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Links => f.write_str("the links `current` or `previous` pointed elsewhere"),
            Self::Release => f.write_str("the folder of the running release was gone"),
            Self::Runtime(what) => f.write_str(what),
            Self::Previous => f.write_str("the previous release or its images were gone"),
            Self::Unknown(why) => write!(f, "what runs could not be told: {why}"),
        }
    }
}

/// Compares what was seen with what should be.
pub fn deviations(record: &StackRecord, links: Links, seen: &Seen) -> Vec<Deviation> {
    let mut found = Vec::new();
    if seen.links != links {
        found.push(Deviation::Links);
    }
    let Some(committed) = &record.committed else { return found };
    if !seen.release {
        found.push(Deviation::Release);
    }
    match &seen.containers {
        Ok(containers) => {
            let departed = runtime_deviations(committed, containers);
            // The same images may be set up as the other release has them; of what was found here it is not known.
            if departed.is_empty() && record.trouble.astray {
                let left = "the way back had failed: what ran may have been the release that failed";
                found.push(Deviation::Runtime(left.to_owned()));
            }
            found.extend(departed);
        }
        Err(why) => found.push(Deviation::Unknown(why.clone())),
    }
    if record.previous.is_some() && !seen.previous {
        found.push(Deviation::Previous);
    }
    found
}

fn runtime_deviations(committed: &Committed, containers: &[Container]) -> Vec<Deviation> {
    let Some(prepared) = &committed.prepared else {
        // Found here without a journal: what its services are is not known, but that nothing of it runs is.
        let nothing = !containers.iter().any(|c| c.running);
        return nothing.then(|| Deviation::Runtime("nothing of it ran".to_owned())).into_iter().collect();
    };
    let deviation = |text: String| Some(Deviation::Runtime(text));
    prepared
        .services
        .iter()
        .filter_map(|(name, service)| {
            // One that had ended by the time of the commit was meant to.
            let may_rest = committed.containers.iter().any(|c| &c.service == name && !c.running);
            let mine: Vec<_> = containers.iter().filter(|c| &c.service == name).collect();
            if mine.is_empty() {
                return if may_rest { None } else { deviation(format!("`{name}` was gone")) };
            }
            if let Some(other) = mine.iter().find(|c| c.image != service.image) {
                return deviation(format!(
                    "`{name}` ran {} instead of {}",
                    short(&other.image),
                    short(&service.image)
                ));
            }
            let stopped = !may_rest && mine.iter().any(|c| !c.running);
            if stopped { deviation(format!("`{name}` did not run")) } else { None }
        })
        .collect()
}

/// Whether every service runs the image that it should.
///
/// # Errors
/// Names the first that does not.
pub fn same_images(prepared: &Prepared, containers: &[Container]) -> Result<(), String> {
    for (name, service) in &prepared.services {
        let mut mine = containers.iter().filter(|c| &c.service == name).peekable();
        if mine.peek().is_none() {
            return Err(format!("`{name}` is not there"));
        }
        if let Some(other) = mine.find(|c| c.image != service.image) {
            return Err(format!(
                "`{name}` runs {} instead of {}",
                short(&other.image),
                short(&service.image)
            ));
        }
    }
    Ok(())
}

/// A stack's health, and why.
pub(crate) fn health(record: &StackRecord, links: Links, seen: Option<&Seen>) -> (StackHealth, String) {
    let Some(seen) = seen else { return (StackHealth::Unknown, "not looked at yet".to_owned()) };
    let containers = match &seen.containers {
        Ok(containers) => containers,
        Err(why) => return (StackHealth::Unknown, why.clone()),
    };
    let found = deviations(record, links, seen);
    let ill = containers.iter().find(|c| c.health.as_deref() == Some("unhealthy"));
    let detail = found
        .iter()
        .map(ToString::to_string)
        .chain(ill.map(|c| format!("`{}` is unhealthy", c.service)))
        .collect::<Vec<_>>()
        .join("; ");
    let down = record.committed.is_none() || !containers.iter().any(|c| c.running);
    let health = match (down, detail.is_empty()) {
        (true, _) => StackHealth::Down,
        (false, false) => StackHealth::Degraded,
        (false, true) => StackHealth::Healthy,
    };
    (health, detail)
}

fn short(image: &ImageId) -> &str {
    let text = image.0.strip_prefix("sha256:").unwrap_or(&image.0);
    text.get(..12).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use backstay_types::{Digest, Timestamp};

    use super::*;

    #[test]
    fn of_what_was_found_without_a_journal_it_is_known_whether_it_runs() {
        let tree = Digest::of(b"a");
        let found = Committed {
            tree,
            target: None,
            deployment: None,
            prepared: None,
            containers: Vec::new(),
            at: Timestamp::UNIX_EPOCH,
        };
        let record = StackRecord { committed: Some(found), ..StackRecord::default() };
        let links = Links { current: Some(tree), previous: None };
        let container = |running| Container {
            service: "main".to_owned(),
            id: "1".to_owned(),
            name: "main".to_owned(),
            image: ImageId("a".to_owned()),
            running,
            health: None,
            deployment: None,
        };
        let seen = |containers| {
            let stack = "web".parse().unwrap();
            Seen {
                stack,
                links,
                containers: Ok(containers),
                release: true,
                previous: false,
                figures: Default::default(),
            }
        };
        let nothing = [Deviation::Runtime("nothing of it ran".to_owned())];
        assert_eq!(deviations(&record, links, &seen(vec![])), nothing);
        assert_eq!(deviations(&record, links, &seen(vec![container(false)])), nothing);
        assert_eq!(deviations(&record, links, &seen(vec![container(true)])), []);
    }
}
