//! A target is known again by a file of its own, with an id that the hub has kept since it first used it. Where that file
//! is missing, a disk is not mounted or somebody has emptied the target; where it is another one, it is another target.
//! Nothing is made anew there until somebody says so: backups that seem to be gone would be, for the hub.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backstay_config::TargetSettings;
use backstay_engine::{EngineError, backups::KnownTarget};
use backstay_objects::{ObjectError, ObjectName, Objects};
use backstay_types::{Digest, World};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::{Place, Site};
use crate::app::App;

/// The file, at the target's root.
const FILE: &str = "backstay-target.json";
/// The file says what it is to whoever finds it.
const ABOUT: &str =
    "A hub of Backstay knows this backup target by this file. Without it, it uses the target no more.";
/// A bucket that was seen is trusted for so long; a folder is looked at each time.
const TRUSTED: Duration = Duration::from_secs(60);
/// How often it is looked at targets when nobody wants anything of them; at buckets as often as they are trusted.
const EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    id: String,
    #[serde(default)]
    about: String,
}

/// Why a target is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// It is not the one that is known.
    #[error("{0}")]
    Unknown(String),
    /// It does not answer, or not as it should.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// What is known of it cannot be read.
    #[error(transparent)]
    Hub(#[from] EngineError),
}

/// What was seen of a target last.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Option<(String, Instant)>>);

impl Seen {
    fn get(&self) -> Option<(String, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, id: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((id, Instant::now()));
    }

    fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Why targets are not used now, as was found when it was looked at them last.
#[derive(Debug, Default)]
pub(crate) struct NotUsed(Mutex<[Option<String>; 2]>);

impl NotUsed {
    /// Of the target, or of the second one.
    pub(crate) fn get(&self, second: bool) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(second)].clone()
    }

    /// Gives whether that is news.
    fn set(&self, second: bool, why: Option<String>) -> bool {
        let known = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(second)];
        let is_news = *known != why;
        *known = why;
        is_news
    }
}

/// What for it is looked at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// To know how it stands: one that was never used stays so.
    Look,
    /// Something is made there, or taken for gone. One that was never used is known from now on.
    Make,
    /// A file is written there, as happens often: a bucket that was seen lately is trusted.
    Write,
}

impl Place {
    /// Makes sure that the target, or the second one, is the one that is known.
    ///
    /// # Errors
    /// When it is not, or that cannot be told: nothing may be made there.
    pub(crate) async fn is_known(&self, app: &App, second: bool, why: For) -> Result<(), TargetError> {
        let site = if second { self.second.as_ref() } else { Some(&self.target) };
        let Some(site) = site else { return Ok(()) };
        let looked = site.is_known(app, second, why).await;
        if matches!(looked, Err(TargetError::Unknown(_))) {
            site.seen.forget();
            if why != For::Look {
                // So that it is said.
                app.backups.look_at_targets.notify_one();
            }
        }
        looked
    }
}

impl Site {
    /// Whether it is a bucket that was known a moment ago. Folders are looked at each time: that costs nothing.
    fn is_trusted(&self) -> bool {
        let is_bucket = matches!(self.settings, TargetSettings::S3(_));
        is_bucket && self.seen.get().is_some_and(|(_, at)| at.elapsed() < TRUSTED)
    }

    async fn is_known(&self, app: &App, second: bool, why: For) -> Result<(), TargetError> {
        if why == For::Write && self.is_trusted() {
            return Ok(());
        }
        let found = read(&self.objects).await?;
        if let Some((seen, _)) = self.seen.get()
            && found.as_ref() == Some(&seen)
        {
            self.seen.set(seen);
            return Ok(());
        }
        let place = self.settings.place();
        let known = app.engine.known_target(&place).await?;
        let id = match (known, found) {
            (Some(known), Some(found)) if known.written && known.id != found => {
                return Err(TargetError::Unknown(not_known(&place, Some(&found), second)));
            }
            (Some(known), None) if known.written => {
                return Err(TargetError::Unknown(not_known(&place, None, second)));
            }
            (_, None) if why == For::Look => return Ok(()),
            // Whoever has written it: a hub that was restored, or one whose memory of this was lost, finds it there.
            (_, Some(found)) => found,
            (_, None) => self.named(app, &place).await?,
        };
        app.engine.know_target(&place, &KnownTarget { id: id.clone(), written: true }).await?;
        self.seen.set(id);
        Ok(())
    }

    /// Writes the file at a target that was never used. The id is kept before, so that all hubs write the same.
    async fn named(&self, app: &App, place: &str) -> Result<String, TargetError> {
        let id = app.engine.name_target(place, new_id(&app.world)).await?;
        let marker = Marker { id: id.clone(), about: ABOUT.to_owned() };
        let text = serde_json::to_vec_pretty(&marker).unwrap_or_default();
        self.objects.replace(&file()?, text).await?;
        Ok(id)
    }
}

fn new_id(world: &World) -> String {
    Digest::from_bytes(world.random::<32>()).to_string()
}

fn file() -> Result<ObjectName, ObjectError> {
    FILE.parse()
}

/// The id at a target. What cannot be read as one is not the known one, either.
async fn read(objects: &Objects) -> Result<Option<String>, ObjectError> {
    let text = match objects.get(&file()?).await {
        // Taken away while it was read.
        Err(ObjectError::Missing(_)) => None,
        text => text?,
    };
    Ok(text.map(|text| {
        let marker = serde_json::from_slice::<Marker>(&text);
        marker.map_or_else(|_| format!("unreadable: {FILE}"), |marker| marker.id)
    }))
}

fn not_known(place: &str, found: Option<&str>, second: bool) -> String {
    let (which, command) = match second {
        true => ("second backup target", "`backstay backup accept-target --second`"),
        false => ("backup target", "`backstay backup accept-target`"),
    };
    let what = match found {
        None => format!("{FILE} is missing there: is its disk mounted?"),
        Some(found) => format!("{FILE} there is another one's ({found}): is the right disk mounted?"),
    };
    format!(
        "the {which} {place} is not the one that this hub knows. {what} Nothing is made there until it is; when it is meant to \
         begin anew there, {command} says so"
    )
}

/// Looks at the targets until the hub stops, so that it is said when one is not there, and that it is back.
pub(crate) async fn watch(app: Arc<App>) {
    let Some(place) = &app.backups.place else { return };
    loop {
        for (second, site) in [(false, Some(&place.target)), (true, place.second.as_ref())] {
            if site.is_none_or(Site::is_trusted) {
                continue;
            }
            let why = match place.is_known(&app, second, For::Look).await {
                Ok(()) => None,
                Err(TargetError::Unknown(why)) => Some(why),
                // That it does not answer is told by whoever wants something of it.
                Err(_) => continue,
            };
            if app.backups.not_used.set(second, why.clone()) {
                match why {
                    Some(why) => tracing::error!("backups: {why}"),
                    None => tracing::info!(second, "backups: the target is the one that is known"),
                }
                app.backups.wake.notify_one();
            }
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            () = app.backups.look_at_targets.notified() => {}
            () = app.stopping.cancelled() => return,
        }
    }
}
