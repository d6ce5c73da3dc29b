//! `[agent]`

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Complaint, check_range};

/// Where the agent keeps things and what it may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AgentSettings {
    /// The folder of everything that the agent keeps: journal, releases, state of stacks.
    #[schemars(with = "String")]
    pub data_dir: PathBuf,
    /// The folder with the node's own values, `<stack>.env` each, readable by the agent's user alone.
    #[schemars(with = "String")]
    pub env_dir: PathBuf,
    /// The folder in which units of systemd are installed.
    #[schemars(with = "String")]
    pub unit_dir: PathBuf,
    /// A folder in memory for rendered values. `/run/backstay` for root, `run` in the data folder otherwise, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = "/run/backstay")]
    pub run_dir: Option<PathBuf>,
    /// Certificate authorities (PEM) to trust for the hub instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = "/etc/backstay/hub-ca.pem")]
    pub ca_file: Option<PathBuf>,
    /// How often to look whether what runs is what should.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub check_every: Duration,
    /// How often to compare everything with what was signed: files, permissions, images, how containers are set up.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub deep_check_every: Duration,
    /// How many bytes a second that may read; 0 is as fast as the disk.
    pub deep_check_bytes_per_second: u64,
    /// So often the same departure is put right before a person is asked.
    pub drift_heals: u32,
    /// How long the hub may be away before the newest signed statement is read from Git, and how often it is read then.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub statement_from_git_after: Duration,
    /// Git addresses to read statements from besides those that the stacks here come from.
    pub statement_endpoints: Vec<String>,
    /// How long a new agent has to show that it works: to be answered by the hub. After three tries the one before is
    /// started again.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub update_confirm_within: Duration,
    /// How often the machine is measured for the hub.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub figures_every: Duration,
    /// How many releases of a stack to keep besides the running and the previous one.
    pub keep_releases: u32,
    /// How many bytes must stay free besides twice the size of a release.
    pub disk_margin_bytes: u64,
    /// How long a stack's own `validate` may take.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub validate_timeout: Duration,
    /// How long the hub may send nothing of a release before Git is asked.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub fetch_timeout: Duration,
    /// How long to wait after a failed update before the next of that stack is tried; six times as long after each that
    /// fails in a row, an hour at most.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub failure_pause: Duration,
    /// How long the hub may be silent before it counts as an outage, of which it is told afterwards.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub outage_after: Duration,
    /// What starts the container engine again when it has not answered for a minute, program and arguments, such as
    /// `["systemctl", "restart", "docker"]`. When empty it is waited for.
    pub engine_restart: Vec<String>,
    /// How long the agent may be stuck before it ends itself, to be started again.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub watchdog: Duration,
    /// Whether this node is meant to have no hub. One is asked for at most once an hour then.
    pub airgapped: bool,
    /// How large the log of a process may grow before it is rotated; one old log is kept.
    pub log_bytes: u64,
    /// Whether the data of stacks is saved and put back when the hub asks for it, and before deployments.
    pub backups: bool,
    /// The program that does it; `backstay-backup` beside the agent's own program when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = "/usr/local/bin/backstay-backup")]
    pub backup_program: Option<PathBuf>,
    /// How far it stands back for others: 0 (not at all) to 19, for the processor; above 0 it also takes the disk only when nobody
    /// else wants it.
    pub backup_nice: u32,
    /// How many bytes a second it may send or fetch; 0 is no limit but the hub's.
    pub backup_bytes_per_second: u64,
    /// How much memory it may use before it is ended; 0 is no limit.
    pub backup_memory_bytes: u64,
    /// How large its cache of the repository's index may grow before it is begun anew; 0 is no limit.
    pub backup_cache_bytes: u64,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("/var/lib/backstay"),
            env_dir: PathBuf::from("/etc/backstay/env"),
            unit_dir: PathBuf::from("/etc/systemd/system"),
            run_dir: None,
            ca_file: None,
            check_every: Duration::from_secs(300),
            deep_check_every: Duration::from_secs(3600),
            deep_check_bytes_per_second: 8 << 20,
            drift_heals: 3,
            statement_from_git_after: Duration::from_secs(600),
            statement_endpoints: Vec::new(),
            update_confirm_within: Duration::from_secs(600),
            figures_every: Duration::from_secs(60),
            keep_releases: 3,
            disk_margin_bytes: 500_000_000,
            validate_timeout: Duration::from_secs(60),
            fetch_timeout: Duration::from_secs(60),
            failure_pause: Duration::from_secs(5),
            outage_after: Duration::from_secs(300),
            engine_restart: Vec::new(),
            watchdog: Duration::from_secs(180),
            airgapped: false,
            log_bytes: 10 << 20,
            backups: true,
            backup_program: None,
            backup_nice: 10,
            backup_bytes_per_second: 0,
            backup_memory_bytes: 1 << 30,
            backup_cache_bytes: 1 << 30,
        }
    }
}

impl AgentSettings {
    pub(crate) fn check(&self) -> Result<(), Complaint> {
        let folders = [
            ("data_dir", Some(&self.data_dir)),
            ("env_dir", Some(&self.env_dir)),
            ("unit_dir", Some(&self.unit_dir)),
            ("run_dir", self.run_dir.as_ref()),
            ("backup_program", self.backup_program.as_ref()),
        ];
        for (key, folder) in folders {
            if folder.is_some_and(|folder| !folder.is_absolute()) {
                return Err(Complaint::new("agent", key, "expected an absolute path"));
            }
        }
        check_range("agent", "check_every", self.check_every, 1_000..=86_400_000)?;
        check_range("agent", "deep_check_every", self.deep_check_every, 1_000..=30 * 86_400_000)?;
        check_range("agent", "statement_from_git_after", self.statement_from_git_after, 1_000..=86_400_000)?;
        check_range("agent", "update_confirm_within", self.update_confirm_within, 1_000..=86_400_000)?;
        check_range("agent", "figures_every", self.figures_every, 1_000..=86_400_000)?;
        check_range("agent", "validate_timeout", self.validate_timeout, 1_000..=3_600_000)?;
        // Failing over to Git within two minutes is promised.
        check_range("agent", "fetch_timeout", self.fetch_timeout, 1_000..=90_000)?;
        check_range("agent", "failure_pause", self.failure_pause, 100..=3_600_000)?;
        check_range("agent", "watchdog", self.watchdog, 1_000..=86_400_000)?;
        check_range("agent", "outage_after", self.outage_after, 1_000..=3_600_000)?;
        if self.log_bytes < 4096 {
            return Err(Complaint::new("agent", "log_bytes", "expected at least 4096"));
        }
        if self.backup_nice > 19 {
            return Err(Complaint::new("agent", "backup_nice", "expected 0 to 19"));
        }
        if self.backup_memory_bytes > 0 && self.backup_memory_bytes < 64 << 20 {
            return Err(Complaint::new(
                "agent",
                "backup_memory_bytes",
                "expected 0, or at least 67108864 (64 MiB)",
            ));
        }
        Ok(())
    }
}
