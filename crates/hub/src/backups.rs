//! Backups: where repositories are, who has an order, the program that works on repositories.
//!
//! The hub alone holds what opens the targets. It never links what reads a repository: that is a program of its own.

mod append_only;
mod child;
mod chores;
mod growth;
mod hints;
mod marker;
mod own_state;
mod recovery;
mod refusals;
mod repair;
mod restore;
pub(crate) mod room;
mod second;
mod worker;

pub use self::recovery::open as open_sealed;
pub use self::restore::{RestoredHub, WantedHub, restore_hub};

use std::path::PathBuf;

use backstay_config::{BackupSettings, TargetSettings};
use backstay_engine::backups::{BackupRules, Ceiling, DrillRhythm, Keep, Rhythm, UpkeepRules, Whose};
use backstay_objects::{Bucket, Folder, ObjectError, ObjectName, Objects, S3, Spool};
use backstay_types::{
    Secret, World,
    backup::job::{Repository, Target},
};
use tokio::sync::{Notify, Semaphore};

pub(crate) use self::{
    append_only::{SecondTarget, watch as watch_second},
    child::{Child, ChildError},
    growth::Growth,
    hints::Hints,
    marker::{For, NotUsed, TargetError, watch as watch_targets},
    recovery::{check_recipient, seal},
    refusals::Refusals,
    restore::{is_half, restored, taken_up},
    worker::work,
};
use crate::{HubError, http::LastLook, keys::Keys};

/// How many files come in at once: each is a file in the spool while it does.
const UPLOADS: usize = 64;

/// What the hub has for backups.
#[derive(Debug)]
pub(crate) struct Backups {
    /// Where repositories are; absent when backups are not set up.
    pub(crate) place: Option<Place>,
    /// Nodes with an order.
    pub(crate) hints: Hints,
    /// Attempts of nodes to change what is there.
    pub(crate) refusals: Refusals,
    /// How all backups stood when that was looked at last.
    pub(crate) last_look: LastLook,
    /// Who looks after repositories looks again.
    pub(crate) wake: Notify,
    /// Why targets are not used now.
    pub(crate) not_used: NotUsed,
    /// Who looks whether targets are the known ones looks again.
    pub(crate) look_at_targets: Notify,
    /// What a thief of this hub could do at the second target.
    pub(crate) second: SecondTarget,
    /// What nodes have written.
    pub(crate) growth: Growth,
    /// What each node has coming in.
    pub(crate) rooms: room::Rooms,
}

/// Where repositories are.
#[derive(Debug)]
pub(crate) struct Place {
    settings: BackupSettings,
    target: Site,
    second: Option<Site>,
    /// Content on its way in.
    pub(crate) spool: Spool,
    /// Room for content on its way in.
    pub(crate) uploads: Semaphore,
    /// Where the hub keeps its own.
    pub(crate) data_dir: PathBuf,
    /// For indexes and trees of repositories.
    cache: PathBuf,
    program: PathBuf,
}

/// A target, opened.
#[derive(Debug)]
struct Site {
    settings: TargetSettings,
    key: Option<Secret>,
    objects: Objects,
    /// By which it is known.
    seen: marker::Seen,
}

impl Backups {
    /// As the settings say. Nothing is asked of a target yet.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub(crate) fn new(
        settings: &BackupSettings,
        data_dir: &std::path::Path,
        world: &World,
    ) -> Result<Self, HubError> {
        let place = match &settings.target {
            None => None,
            Some(target) => Some(Place::new(settings, target, data_dir, world)?),
        };
        Ok(Self {
            second: SecondTarget::new(place.as_ref()),
            place,
            growth: Growth::default(),
            rooms: room::Rooms::default(),
            hints: Hints::default(),
            refusals: Refusals::default(),
            last_look: LastLook::default(),
            wake: Notify::new(),
            not_used: NotUsed::default(),
            look_at_targets: Notify::new(),
        })
    }
}

impl Place {
    fn new(
        settings: &BackupSettings,
        target: &TargetSettings,
        data_dir: &std::path::Path,
        world: &World,
    ) -> Result<Self, HubError> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |source: ObjectError| HubError::BackupTarget { what, source: Box::new(source) }
        };
        let second = settings.second.as_ref().map(Site::open).transpose();
        Ok(Self {
            target: Site::open(target).map_err(failed("backup.target"))?,
            second: second.map_err(failed("backup.second"))?,
            spool: Spool::open(&data_dir.join("backup-spool"), world.clone()).map_err(failed("the spool"))?,
            uploads: Semaphore::new(UPLOADS),
            data_dir: data_dir.to_owned(),
            cache: data_dir.join("backup-cache"),
            program: program(settings),
            settings: settings.clone(),
        })
    }

    /// The files of the target.
    pub(crate) fn objects(&self) -> &Objects {
        &self.target.objects
    }

    /// The settings.
    pub(crate) fn settings(&self) -> &BackupSettings {
        &self.settings
    }

    /// A repository at the target, for the program.
    pub(crate) fn repository(&self, whose: Whose, password: Secret) -> Repository {
        self.at(&self.target, whose, password, "first")
    }

    /// The same at the second target.
    pub(crate) fn second_repository(&self, whose: Whose, password: Secret) -> Option<Repository> {
        self.second.as_ref().map(|second| self.at(second, whose, password, "second"))
    }

    fn at(&self, site: &Site, whose: Whose, password: Secret, which: &str) -> Repository {
        let cache = self.cache.join(which);
        Repository { target: site.target(whose), password, cache: Some(cache.display().to_string()) }
    }

    /// The program that works on repositories.
    pub(crate) fn child(&self) -> Child {
        Child {
            program: self.program.clone(),
            memory_bytes: self.settings.memory_bytes,
            deadline: self.settings.deadline,
        }
    }

    /// Where a repository is, as restic wants it.
    pub(crate) fn place_of(&self, whose: Whose) -> String {
        format!("{}/{}", self.target.settings.place().trim_end_matches('/'), name_of(whose))
    }

    /// The files of the second target.
    pub(crate) fn second_objects(&self) -> Option<&Objects> {
        self.second.as_ref().map(|site| &site.objects)
    }
}

impl Site {
    fn open(settings: &TargetSettings) -> Result<Self, ObjectError> {
        match settings {
            TargetSettings::Folder(path) => {
                let objects = Objects::Folder(Folder::new(path.clone()));
                Ok(Self { settings: settings.clone(), key: None, objects, seen: marker::Seen::default() })
            }
            TargetSettings::S3(s3) => {
                let place = settings.place();
                let key = s3.key().map_err(|source| ObjectError::Io { place, source })?;
                let bucket = Bucket {
                    endpoint: s3.endpoint.clone(),
                    region: s3.region.clone(),
                    bucket: s3.bucket.clone(),
                    prefix: s3.prefix.clone(),
                    access_key: s3.access_key.clone(),
                    secret_key: key.clone(),
                };
                let objects = Objects::S3(S3::new(&bucket)?);
                Ok(Self {
                    settings: settings.clone(),
                    key: Some(key),
                    objects,
                    seen: marker::Seen::default(),
                })
            }
        }
    }

    fn target(&self, whose: Whose) -> Target {
        let name = name_of(whose);
        match (&self.settings, &self.key) {
            (TargetSettings::S3(s3), Some(key)) => Target::S3 {
                endpoint: s3.endpoint.clone(),
                region: s3.region.clone(),
                bucket: s3.bucket.clone(),
                prefix: format!("{}/{name}", s3.prefix.trim_matches('/')).trim_matches('/').to_owned(),
                access_key: s3.access_key.clone(),
                secret_key: key.clone(),
            },
            (TargetSettings::Folder(path), _) => {
                Target::Folder { path: path.join(&name).display().to_string() }
            }
            // An S3 site is never opened without its key.
            (TargetSettings::S3(_), None) => Target::Folder { path: String::new() },
        }
    }
}

/// A repository's folder at a target.
pub(crate) fn name_of(whose: Whose) -> String {
    whose.map_or_else(|| "hub".to_owned(), |node| format!("nodes/{node}"))
}

/// A repository's folder at a target, as a name of files.
///
/// # Errors
/// Never: ids fit.
pub(crate) fn folder_of(whose: Whose) -> Result<ObjectName, ObjectError> {
    name_of(whose).parse()
}

/// The file beside the repositories that opens one with the recovery key.
pub(crate) fn recovery_file(whose: Whose) -> Result<ObjectName, ObjectError> {
    let name = whose.map_or_else(|| "hub".to_owned(), |node| node.to_string());
    format!("recovery/{name}.age").parse()
}

/// Opens a password that the hub's key sealed.
pub(crate) fn open_password(keys: &Keys, whose: Whose, sealed: &str) -> Option<Secret> {
    keys.open(sealed, &context(whose)).inspect_err(|error| tracing::error!(%error)).ok()
}

/// What a repository's passwords are sealed for.
pub(crate) fn context(whose: Whose) -> String {
    format!("backup password of {}", name_of(whose))
}

fn program(settings: &BackupSettings) -> PathBuf {
    let beside = || {
        let own = std::env::current_exe().ok();
        own.and_then(|own| Some(own.parent()?.join("backstay-backup")))
            .unwrap_or_else(|| "backstay-backup".into())
    };
    settings.program.clone().unwrap_or_else(beside)
}

/// How much room repositories may take.
pub(crate) fn ceiling(settings: &BackupSettings) -> Ceiling {
    Ceiling { all: settings.max_bytes, each: settings.max_bytes_per_node }
}

/// The rules that the settings say, when backups are set up.
pub(crate) fn rules(settings: &BackupSettings) -> Option<BackupRules> {
    settings.target.as_ref()?;
    Some(BackupRules {
        rhythm: Rhythm { every: settings.every, jitter: settings.jitter, parallel: settings.parallel },
        keep: Keep {
            days: settings.keep_days,
            hourly: settings.keep_hourly,
            daily: settings.keep_daily,
            weekly: settings.keep_weekly,
            monthly: settings.keep_monthly,
            at_least: settings.keep_at_least,
        },
        upkeep: UpkeepRules { read_all_every: settings.read_all_every, second: settings.second.is_some() },
        drills: DrillRhythm { every: settings.drill_every, parallel: settings.parallel },
        ceiling: ceiling(settings),
        deadline: settings.deadline,
    })
}
