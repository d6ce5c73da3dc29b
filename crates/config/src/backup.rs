//! `[backup]`

use std::{fs, path::PathBuf, time::Duration};

use backstay_types::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Complaint, check_range};

const SECTION: &str = "backup";
const DAY_MS: u64 = 86_400_000;

/// Where the hub keeps backups of all nodes and of itself, how often they are made, and what is kept of them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackupSettings {
    /// Where repositories are: `{ folder = "/…" }`, or `{ s3 = { endpoint, region, bucket, prefix, access_key,
    /// secret_key_file } }`. Without it there are no backups.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TargetSettings>", example = example())]
    pub target: Option<TargetSettings>,
    /// Where copies of them are, written the same way: better with another provider, and with a key that cannot delete.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TargetSettings>", example = second_example())]
    pub second: Option<TargetSettings>,
    /// Whether the key of the second target can delete there. That it cannot is tried, with a small file, when the hub
    /// starts and once a week.
    pub second_can_delete: bool,
    /// How often each node's data is saved.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub every: Duration,
    /// Over how long nodes are spread, so that not all begin at once. Each has its own place in it.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub jitter: Duration,
    /// Days after which nothing is kept but `keep_at_least`, what is held, and what an undo needs.
    pub keep_days: u32,
    /// Of so many hours that have one, the newest snapshot of the hour is kept; each stack on each node for itself.
    pub keep_hourly: u32,
    /// Of so many days that have one, the newest of the day. UTC, as all of these.
    pub keep_daily: u32,
    /// Of so many weeks that have one, the newest of the week.
    pub keep_weekly: u32,
    /// Of so many months that have one, the newest of the month.
    pub keep_monthly: u32,
    /// So many proven snapshots are kept however old they are.
    pub keep_at_least: u32,
    /// How many bytes a node's repository may take. From then on only what must be kept stays, and the schedule makes no
    /// new backups of the node; nothing that is needed is ever deleted for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 100_000_000_000u64)]
    pub max_bytes_per_node: Option<u64>,
    /// The same for all repositories together. The hub's own state is always saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 10_000_000_000_000u64)]
    pub max_bytes: Option<u64>,
    /// Within how long all data is read back once, a part of it each day.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub read_all_every: Duration,
    /// The program that works on repositories; `backstay-backup` beside this program when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = "/usr/lib/backstay/backstay-backup")]
    pub program: Option<PathBuf>,
    /// How many bytes of memory that program may use.
    pub memory_bytes: u64,
    /// How long a backup, a restore or one run of that program may take.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub deadline: Duration,
    /// How many nodes make backups at once.
    pub parallel: u32,
    /// How often each stack of each node is drilled: its newest proven snapshot is restored to scratch, compared and, where
    /// the stack allows it, started. `0s`: only by hand.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub drill_every: Duration,
    /// How many bytes a second a node may send or fetch; as fast as it goes when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 10_000_000u64)]
    pub bytes_per_second: Option<u64>,
}

/// A place for repositories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetSettings {
    /// A folder of the hub's machine, absolute. Better on another disk than its data folder.
    Folder(#[schemars(with = "String")] PathBuf),
    /// A bucket that speaks S3.
    S3(S3Settings),
}

/// A bucket that speaks S3: Garage, Backblaze B2, AWS and many others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Settings {
    /// Such as `https://s3.eu-central-003.backblazeb2.com`.
    pub endpoint: String,
    /// Such as `eu-central-003`.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// A folder in it; may be empty.
    #[serde(default)]
    pub prefix: String,
    /// The key's id.
    pub access_key: String,
    /// The key. Better in `secret_key_file`.
    #[serde(default, skip_serializing)]
    pub secret_key: Option<Secret>,
    /// A file that holds the key; only the hub's user may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub secret_key_file: Option<PathBuf>,
}

impl S3Settings {
    /// The key, from the settings or its file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn key(&self) -> std::io::Result<Secret> {
        match (&self.secret_key, &self.secret_key_file) {
            (Some(key), _) => Ok(key.clone()),
            (None, Some(path)) => Ok(Secret::new(fs::read_to_string(path)?.trim())),
            (None, None) => Err(std::io::Error::other("neither secret_key nor secret_key_file is set")),
        }
    }
}

impl TargetSettings {
    /// The place as people should see it.
    pub fn place(&self) -> String {
        match self {
            Self::Folder(path) => path.display().to_string(),
            Self::S3(s3) => {
                let prefix = s3.prefix.trim_matches('/');
                let slash = if prefix.is_empty() { "" } else { "/" };
                format!("s3:{}/{}{slash}{prefix}", s3.endpoint.trim_end_matches('/'), s3.bucket)
            }
        }
    }

    fn check(&self, key: &'static str) -> Result<(), Complaint> {
        let wrong = |message: &str| Err(Complaint::new(SECTION, key, message));
        match self {
            Self::Folder(path) if !path.is_absolute() => wrong("expected an absolute path"),
            Self::Folder(_) => Ok(()),
            Self::S3(s3) if !["http://", "https://"].iter().any(|p| s3.endpoint.starts_with(p)) => {
                wrong("endpoint: expected http://… or https://…")
            }
            Self::S3(s3) if s3.bucket.is_empty() || s3.bucket.contains('/') => {
                wrong("bucket: expected a name without slashes")
            }
            Self::S3(s3) if s3.secret_key.is_some() == s3.secret_key_file.is_some() => {
                wrong("give either secret_key or secret_key_file")
            }
            Self::S3(_) => Ok(()),
        }
    }
}

fn example() -> serde_json::Value {
    serde_json::json!({ "folder": "/srv/backups" })
}

fn second_example() -> serde_json::Value {
    serde_json::json!({ "s3": {
        "endpoint": "https://s3.eu-central-003.backblazeb2.com",
        "region": "eu-central-003",
        "bucket": "backstay",
        "prefix": "fleet",
        "access_key": "0031…",
        "secret_key_file": "/etc/backstay/s3-key",
    }})
}

impl Default for BackupSettings {
    fn default() -> Self {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self {
            target: None,
            second: None,
            second_can_delete: true,
            every: hours(6),
            jitter: hours(1),
            keep_days: 90,
            keep_hourly: 24,
            keep_daily: 14,
            keep_weekly: 8,
            keep_monthly: 3,
            keep_at_least: 3,
            max_bytes_per_node: None,
            max_bytes: None,
            read_all_every: hours(28 * 24),
            program: None,
            memory_bytes: 1 << 30,
            deadline: hours(3),
            parallel: 8,
            drill_every: hours(30 * 24),
            bytes_per_second: None,
        }
    }
}

impl BackupSettings {
    pub(crate) fn check(&self) -> Result<(), Complaint> {
        let wrong = |key, message: &str| Err(Complaint::new(SECTION, key, message));
        for (key, target) in [("target", &self.target), ("second", &self.second)] {
            if let Some(target) = target {
                target.check(key)?;
            }
        }
        if self.second.is_some() && (self.target.is_none() || self.target == self.second) {
            return wrong("second", "expected another place than target, which must be set too");
        }
        check_range(SECTION, "every", self.every, 60_000..=30 * DAY_MS)?;
        check_range(SECTION, "jitter", self.jitter, 0..=30 * DAY_MS)?;
        check_range(SECTION, "read_all_every", self.read_all_every, DAY_MS..=366 * DAY_MS)?;
        check_range(SECTION, "deadline", self.deadline, 1_000..=7 * DAY_MS)?;
        if !self.drill_every.is_zero() {
            check_range(SECTION, "drill_every", self.drill_every, 60_000..=366 * DAY_MS)?;
        }
        if self.jitter > self.every {
            return wrong("jitter", "expected no more than `every`");
        }
        if self.keep_at_least == 0 {
            return wrong("keep_at_least", "expected at least 1");
        }
        if self.parallel == 0 {
            return wrong("parallel", "expected at least 1");
        }
        if self.memory_bytes < 128 << 20 {
            return wrong("memory_bytes", "expected at least 134217728 (128 MiB)");
        }
        if self.program.as_ref().is_some_and(|path| !path.is_absolute()) {
            return wrong("program", "expected an absolute path");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BackupSettings, String> {
        crate::parse("x.toml", text, []).map(|all| all.backup).map_err(|error| error.to_string())
    }

    #[test]
    fn a_folder_and_a_bucket() {
        let settings = read(
            "[backup]\ntarget = { folder = \"/srv/b\" }\n\
             second = { s3 = { endpoint = \"https://s3.x\", region = \"r\", bucket = \"b\", prefix = \"p\", \
             access_key = \"a\", secret_key = \"s\" } }",
        )
        .unwrap();
        assert_eq!(settings.target.unwrap().place(), "/srv/b");
        let second = settings.second.unwrap();
        assert_eq!(second.place(), "s3:https://s3.x/b/p");
        assert!(!format!("{second:?}").contains("\"s\""), "a secret is not shown");
        assert!(!toml::to_string(&second).unwrap().contains("secret_key ="));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        for (text, says) in [
            ("target = { folder = \"b\" }", "absolute"),
            ("target = { tape = \"b\" }", "tape"),
            ("second = { folder = \"/b\" }", "another place"),
            ("every = \"6h\"\njitter = \"7h\"", "jitter"),
            ("keep_at_least = 0", "at least 1"),
            (
                "target = { s3 = { endpoint = \"x\", region = \"\", bucket = \"b\", access_key = \"a\" } }",
                "endpoint",
            ),
        ] {
            let error = read(&format!("[backup]\n{text}")).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
