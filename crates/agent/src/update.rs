//! The agent's own update: a new program into the slot that is not used, tried under the loader's eye, kept when it has
//! shown that it works.

use std::{
    env, fs,
    fs::File,
    io::{self, Write as _},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use backstay_agent_core::Input;
use backstay_api::{
    Empty,
    agent::{AgentBuildPath, GetAgentBuild, ReportBody},
    statement::DesiredAgent,
};
use backstay_loader::{Slot, State};
use backstay_types::{AgentBuild, AgentOutcome, Digest};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use crate::{
    AgentError,
    crash::crash_point,
    daemon::{Contact, Event, View},
    disk::{check_space, private_dir, sync_dir},
    tasks::Machine,
};

/// No agent is larger, whatever is signed: one with all its symbols is not.
const LARGEST: u64 = 512 << 20;
/// How long a download may take.
const DOWNLOAD: Duration = Duration::from_secs(1800);
/// How long the core may take to answer.
const PING: Duration = Duration::from_secs(60);
/// The pause after something that may work later.
const LATER: Duration = Duration::from_secs(300);

/// Where agents are kept, as the loader says.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    dir: PathBuf,
    slot: Slot,
    loader: PathBuf,
    installed: PathBuf,
}

impl Slots {
    /// What the loader said; none when this agent was not started by one.
    pub(crate) fn from_loader() -> Option<Self> {
        let path = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let slot = match env::var("BACKSTAY_SLOT").ok()?.as_str() {
            "a" => Slot::A,
            "b" => Slot::B,
            _ => Slot::Installed,
        };
        let (dir, loader) = (path("BACKSTAY_SLOTS")?, path("BACKSTAY_LOADER")?);
        Some(Self { dir, slot, loader, installed: path("BACKSTAY_INSTALLED")? })
    }

    /// Becomes the loader, which becomes an agent. Returns only when that fails.
    pub(crate) fn load(&self) -> AgentError {
        let mut command = Command::new(&self.loader);
        command.arg(&self.dir).arg(&self.installed).args(env::args_os().skip(1));
        AgentError::io(&self.loader)(command.exec())
    }

    fn state(&self) -> io::Result<State> {
        Ok(State::read(&self.dir)?.unwrap_or_default())
    }
}

/// Looks after updates.
#[derive(Debug)]
pub(crate) struct Updater {
    slots: Option<Slots>,
    machine: Machine,
    view: watch::Receiver<View>,
    events: mpsc::Sender<Event>,
    contact: Contact,
    /// What was told last, so that it is said once.
    told: Option<(DesiredAgent, AgentOutcome)>,
    own: Option<Digest>,
}

/// What to do about an agent that is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    Tell(AgentOutcome),
    Install(AgentBuild),
}

impl Updater {
    pub(crate) fn new(
        slots: Option<Slots>,
        machine: Machine,
        view: watch::Receiver<View>,
        events: mpsc::Sender<Event>,
        contact: Contact,
    ) -> Self {
        Self { slots, machine, view, events, contact, told: None, own: None }
    }

    /// Ends when another agent is to be started in this one's place.
    pub(crate) async fn run(mut self) -> Result<(), AgentError> {
        if let Some(slots) = &self.slots {
            private_dir(&slots.dir).map_err(AgentError::io(&slots.dir))?;
        }
        if let Some(slots) = self.slots.clone()
            && !self.prove(&slots).await?
        {
            return Ok(());
        }
        loop {
            let view = self.view.borrow_and_update().clone();
            let mut pause = None;
            if let Some(desired) = &view.agent {
                match self.next(desired, view.settled).await? {
                    Next::Nothing => {}
                    Next::Tell(outcome) => self.tell(desired, outcome).await,
                    Next::Install(build) => {
                        if self.install(&build).await? {
                            return Ok(());
                        }
                        pause = Some(LATER);
                    }
                }
            }
            match pause {
                Some(pause) => sleep(pause).await,
                None if self.view.changed().await.is_err() => std::future::pending().await,
                None => {}
            }
        }
    }

    /// When this agent is on trial: waits until it has shown that it works, and says so to the loader. False when it
    /// has not in time.
    async fn prove(&self, slots: &Slots) -> Result<bool, AgentError> {
        let fail = |error| AgentError::io(&slots.dir)(error);
        let on_trial = |state: &State| state.trial.as_ref().is_some_and(|trial| trial.slot == slots.slot);
        if !on_trial(&slots.state().map_err(fail)?) {
            return Ok(true);
        }
        let (began, within) = (Instant::now(), self.machine.settings.update_confirm_within);
        tracing::info!(slot = slots.slot.word(), "this agent is on trial until the hub has answered it");
        while !(self.contact.has_heard() && self.core_turns().await) {
            if began.elapsed() > within {
                tracing::error!("it has not shown that it works; the loader decides what is started next");
                return Ok(false);
            }
            sleep(Duration::from_millis(250)).await;
        }
        crash_point("update.confirm.before");
        let mut state = slots.state().map_err(fail)?;
        state.confirm();
        while let Err(error) = state.write(&slots.dir) {
            tracing::error!(%error, "that this agent works cannot be written down; it is tried again");
            sleep(Duration::from_secs(5)).await;
        }
        crash_point("update.confirm.after");
        tracing::info!(slot = slots.slot.word(), "this agent works and is kept");
        Ok(true)
    }

    /// Whether the core's loop still goes round.
    async fn core_turns(&self) -> bool {
        let (done, turned) = oneshot::channel();
        let sent = self.events.send(Event::Statement(Input::Tick, done)).await.is_ok();
        sent && tokio::time::timeout(PING, turned).await.is_ok_and(|turned| turned.is_ok())
    }

    async fn next(&mut self, desired: &DesiredAgent, settled: bool) -> Result<Next, AgentError> {
        let own = match self.own {
            Some(own) => own,
            None => {
                let hash = || Digest::of_reader(File::open("/proc/self/exe")?);
                let hashed = tokio::task::spawn_blocking(hash).await;
                let hashed = hashed.map_err(|error| AgentError::Other(error.to_string()))?;
                self.own.insert(hashed.map_err(AgentError::io("/proc/self/exe"))?.0).to_owned()
            }
        };
        let state = match &self.slots {
            Some(slots) => Some(slots.state().map_err(AgentError::io(&slots.dir))?),
            None => None,
        };
        Ok(decide(desired, env::consts::ARCH, own, state.as_ref(), settled))
    }

    async fn tell(&mut self, desired: &DesiredAgent, outcome: AgentOutcome) {
        let told = (desired.clone(), outcome);
        if self.told.as_ref() == Some(&told) {
            return;
        }
        let (update, version) = (desired.update, desired.version.clone());
        let body = ReportBody::AgentUpdate { update, version, outcome: told.1.clone() };
        let _ = self.events.send(Event::Input(Input::Tell(body))).await;
        self.told = Some(told);
    }

    /// Puts a program into the slot that is not used and on trial. False when that has to wait.
    async fn install(&mut self, build: &AgentBuild) -> Result<bool, AgentError> {
        let Some(slots) = self.slots.clone() else { return Ok(false) };
        match self.bring(&slots, build).await {
            Ok(()) => Ok(true),
            Err(reason) => {
                tracing::warn!(
                    version = build.version,
                    reason,
                    "the agent cannot be updated now; it is tried again"
                );
                Ok(false)
            }
        }
    }

    async fn bring(&self, slots: &Slots, build: &AgentBuild) -> Result<(), String> {
        check_space(&slots.dir, build.bytes, self.machine.settings.disk_margin_bytes)?;
        let growing = slots.dir.join(".new");
        self.download(build, &growing).await?;
        crash_point("update.downloaded");
        let text = |error: io::Error| error.to_string();
        let mut state = slots.state().map_err(text)?;
        // Only the slot that nothing is started from.
        let slot = state.good.other();
        place(&growing, &slots.dir, slot).map_err(text)?;
        crash_point("update.placed");
        state.try_out(slot, build.sha256.to_string());
        state.write(&slots.dir).map_err(text)?;
        crash_point("update.trial");
        tracing::info!(version = build.version, slot = slot.word(), "a new agent is tried");
        Ok(())
    }

    async fn download(&self, build: &AgentBuild, to: &Path) -> Result<(), String> {
        let path = AgentBuildPath { sha256: build.sha256 };
        let limit = build.bytes.min(LARGEST);
        let started =
            self.machine.hub.download::<GetAgentBuild>(&path, &Empty {}, &Empty {}, DOWNLOAD, limit).await;
        let mut download = started.map_err(|error| error.to_string())?;
        let text = |error: io::Error| error.to_string();
        let mut file = File::create(to).map_err(text)?;
        while let Some(chunk) = download.chunk().await.map_err(|error| error.to_string())? {
            file.write_all(chunk.as_ref()).map_err(text)?;
        }
        file.sync_all().map_err(text)?;
        let found = File::open(to).and_then(Digest::of_reader).map_err(text)?.0;
        if found == build.sha256 {
            return Ok(());
        }
        let _ = fs::remove_file(to);
        Err(format!("what came has SHA-256 {} instead of {}", found.short(), build.sha256.short()))
    }
}

fn place(growing: &Path, dir: &Path, slot: Slot) -> io::Result<()> {
    fs::set_permissions(growing, fs::Permissions::from_mode(0o755))?;
    File::open(growing)?.sync_all()?;
    fs::rename(growing, dir.join(slot.word()))?;
    sync_dir(dir)
}

/// What to do about an agent that is asked for. Pure.
fn decide(desired: &DesiredAgent, arch: &str, own: Digest, state: Option<&State>, settled: bool) -> Next {
    let left = |reason: &str| Next::Tell(AgentOutcome::Left { reason: reason.to_owned() });
    let Some(build) = desired.builds.iter().find(|build| build.arch == arch) else {
        return left(&format!("there is no program for {arch}"));
    };
    if build.sha256 == own {
        return Next::Tell(AgentOutcome::Updated);
    }
    let Some(state) = state else {
        return left("the agent was not started by backstay-loader, so it cannot update itself");
    };
    if let Some(why) = state.why_failed(&build.sha256.to_string()) {
        return Next::Tell(AgentOutcome::Failed { reason: why.to_owned() });
    }
    // What is being deployed comes to its end first.
    if settled { Next::Install(build.clone()) } else { Next::Nothing }
}

#[cfg(test)]
mod tests {
    use backstay_types::{AgentUpdateId, Id as _};

    use super::*;

    fn desired() -> DesiredAgent {
        let build = |arch: &str| AgentBuild {
            version: "2".into(),
            arch: arch.into(),
            sha256: Digest::of(arch.as_bytes()),
            bytes: 1,
        };
        DesiredAgent {
            update: AgentUpdateId::from_uuid(uuid::Uuid::from_u128(1)),
            version: "2".into(),
            builds: vec![build("x86_64"), build("aarch64")],
        }
    }

    #[test]
    fn it_is_decided_by_digest_and_by_what_failed_before() {
        let (own, state) = (Digest::of(b"old"), State::default());
        let next = |arch, own, state, settled| decide(&desired(), arch, own, state, settled);
        assert!(matches!(next("aarch64", own, Some(&state), true), Next::Install(b) if b.arch == "aarch64"));
        assert_eq!(next("aarch64", own, Some(&state), false), Next::Nothing);
        assert_eq!(next("aarch64", Digest::of(b"aarch64"), None, true), Next::Tell(AgentOutcome::Updated));
        assert!(matches!(next("riscv64", own, Some(&state), true), Next::Tell(AgentOutcome::Left { .. })));
        assert!(matches!(next("aarch64", own, None, true), Next::Tell(AgentOutcome::Left { .. })));
        let failed = vec![(Digest::of(b"aarch64").to_string(), "it did not start".to_owned())];
        let state = State { failed, ..State::default() };
        let expected = AgentOutcome::Failed { reason: "it did not start".into() };
        assert_eq!(next("aarch64", own, Some(&state), true), Next::Tell(expected));
        assert!(matches!(next("x86_64", own, Some(&state), true), Next::Install(_)));
    }
}
