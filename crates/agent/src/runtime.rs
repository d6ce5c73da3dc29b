//! What runs stacks: Docker Compose, systemd, and processes that are supervised here.

pub(crate) mod compose;
mod follow;
pub(crate) mod process;
pub(crate) mod systemd;

use std::{collections::BTreeMap, io};

use backstay_agent_core::{Finding, Prepared};
use backstay_api::agent::LogLine;
use backstay_manifest::Part;
use backstay_types::{Container, Digest, FailureKind, ImageId, StackName, Step, TreeDigest};

pub(crate) use self::follow::{Cursor, NewLines};
use self::{compose::Compose, process::Process, systemd::Systemd};
use crate::{
    backup::DataPlan,
    disk::{Layout, audit::Gently},
    step::{Context, Fail, Failed, Loaded},
};

/// What a runtime makes of a release before it can run.
#[derive(Debug)]
pub(crate) struct Made {
    /// The runtime's name for the stack.
    pub(crate) project: String,
    /// For each service what it runs, and a digest over all that makes it what it is.
    pub(crate) services: BTreeMap<String, (ImageId, Digest)>,
    /// Over all that it was made from.
    pub(crate) inputs: Digest,
    /// What people should know about it, a line each.
    pub(crate) notes: Vec<String>,
}

/// What a runtime can do. Making, starting and stopping happen in a child; looking happens in the agent.
pub(crate) trait Runtime {
    /// Validates the runtime's part of a release and has everything here that it needs. `base` is over files
    /// and values; with a `known` of the same inputs nothing is done twice.
    async fn prepare(
        &self,
        cx: &mut Context,
        release: &Loaded,
        base: Digest,
        known: Option<&Prepared>,
    ) -> Result<Made, Failed>;

    /// Runs a release instead of whatever runs of its stack. Services that are the same keep running.
    async fn up(
        &self,
        cx: &mut Context,
        release: &Loaded,
        prepared: &Prepared,
        step: Step,
    ) -> Result<Vec<Container>, Failed>;

    /// Stops a stack and removes its containers; its data stays.
    async fn down(
        &self,
        cx: &mut Context,
        stack: &StackName,
        tree: Option<TreeDigest>,
        project: &str,
    ) -> Result<(), Failed>;

    /// What runs of a stack.
    async fn observe(
        &self,
        layout: &Layout,
        stack: &StackName,
        prepared: &Prepared,
    ) -> io::Result<Vec<Container>>;

    /// How what runs of a stack is set up otherwise than it was prepared. Nothing, where a runtime cannot tell more
    /// than a light look does.
    async fn compare(
        &self,
        _cx: &mut Context,
        _release: &Loaded,
        _prepared: &Prepared,
        _gently: &mut Gently,
    ) -> Result<Vec<Finding>, Failed> {
        Ok(Vec::new())
    }

    /// Makes services anew, whether they changed or not.
    async fn recreate(
        &self,
        cx: &mut Context,
        release: &Loaded,
        prepared: &Prepared,
        _services: &[String],
    ) -> Result<(), Failed> {
        self.up(cx, release, prepared, Step::Return).await.map(drop)
    }

    /// Services that see files of parts that are reloaded, of those parts that are meant.
    fn services_that_see(
        &self,
        _release: &Loaded,
        _meant: &dyn Fn(&Part) -> bool,
    ) -> Result<Vec<String>, Failed> {
        Ok(Vec::new())
    }

    /// Whether everything is here to run it again.
    async fn can_run(&self, prepared: &Prepared) -> io::Result<bool>;

    /// The last lines of a stack's logs, oldest first for each service.
    async fn logs(
        &self,
        layout: &Layout,
        stack: &StackName,
        prepared: &Prepared,
        wanted: LogsWanted<'_>,
    ) -> io::Result<Vec<LogLine>>;

    /// What its logs have that is new since a place, at most so many lines of each service; the last ones when
    /// there is none.
    async fn new_logs(
        &self,
        layout: &Layout,
        stack: &StackName,
        prepared: &Prepared,
        after: Option<&Cursor>,
        most: usize,
    ) -> io::Result<NewLines>;
}

/// Which log lines.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LogsWanted<'a> {
    /// Only of this service.
    pub(crate) service: Option<&'a str>,
    /// At most so many of each.
    pub(crate) lines: usize,
    /// Only those since the service was last started.
    pub(crate) since_start: bool,
}

/// The runtime of a stack.
#[derive(Debug)]
pub(crate) enum Runtimes {
    Compose(Compose),
    Process(Process),
    Systemd(Systemd),
}

/// Calls a method of whichever it is.
macro_rules! each {
    ($self:ident, $runtime:ident => $call:expr) => {
        match $self {
            Self::Compose($runtime) => $call,
            Self::Process($runtime) => $call,
            Self::Systemd($runtime) => $call,
        }
    };
}

impl Runtimes {
    /// The runtime with this name.
    pub(crate) fn new(name: &str) -> Result<Self, Failed> {
        match name {
            "compose" => Ok(Self::Compose(Compose::new())),
            "process" => Ok(Self::Process(Process)),
            "systemd" => Ok(Self::Systemd(Systemd)),
            other => {
                let reason = format!("this agent has no runtime called `{other}`");
                Err(Fail::of(Step::Validate, FailureKind::Invalid, reason))
            }
        }
    }

    pub(crate) async fn prepare(
        &self,
        cx: &mut Context,
        release: &Loaded,
        base: Digest,
        known: Option<&Prepared>,
    ) -> Result<Made, Failed> {
        each!(self, runtime => runtime.prepare(cx, release, base, known).await)
    }

    pub(crate) async fn up(
        &self,
        cx: &mut Context,
        release: &Loaded,
        prepared: &Prepared,
        step: Step,
    ) -> Result<Vec<Container>, Failed> {
        each!(self, runtime => runtime.up(cx, release, prepared, step).await)
    }

    pub(crate) async fn down(
        &self,
        cx: &mut Context,
        stack: &StackName,
        tree: Option<TreeDigest>,
        project: &str,
    ) -> Result<(), Failed> {
        each!(self, runtime => runtime.down(cx, stack, tree, project).await)
    }

    pub(crate) async fn observe(
        &self,
        layout: &Layout,
        stack: &StackName,
        prepared: &Prepared,
    ) -> io::Result<Vec<Container>> {
        each!(self, runtime => runtime.observe(layout, stack, prepared).await)
    }

    pub(crate) async fn compare(
        &self,
        cx: &mut Context,
        release: &Loaded,
        prepared: &Prepared,
        gently: &mut Gently,
    ) -> Result<Vec<Finding>, Failed> {
        each!(self, runtime => runtime.compare(cx, release, prepared, gently).await)
    }

    pub(crate) async fn recreate(
        &self,
        cx: &mut Context,
        release: &Loaded,
        prepared: &Prepared,
        services: &[String],
    ) -> Result<(), Failed> {
        each!(self, runtime => runtime.recreate(cx, release, prepared, services).await)
    }

    pub(crate) fn services_that_see(
        &self,
        release: &Loaded,
        meant: &dyn Fn(&Part) -> bool,
    ) -> Result<Vec<String>, Failed> {
        each!(self, runtime => runtime.services_that_see(release, meant))
    }

    pub(crate) async fn can_run(&self, prepared: &Prepared) -> io::Result<bool> {
        each!(self, runtime => runtime.can_run(prepared).await)
    }

    pub(crate) async fn logs(
        &self,
        layout: &Layout,
        stack: &StackName,
        prepared: &Prepared,
        wanted: LogsWanted<'_>,
    ) -> io::Result<Vec<LogLine>> {
        each!(self, runtime => runtime.logs(layout, stack, prepared, wanted).await)
    }

    pub(crate) async fn new_logs(
        &self,
        layout: &Layout,
        stack: &StackName,
        prepared: &Prepared,
        after: Option<&Cursor>,
        most: usize,
    ) -> io::Result<NewLines> {
        each!(self, runtime => runtime.new_logs(layout, stack, prepared, after, most).await)
    }
}

/// What a release has of data that is saved.
pub(crate) fn data(release: &Loaded) -> Result<DataPlan, Failed> {
    if let backstay_manifest::Runtime::Compose(_) = release.manifest.runtime {
        return compose::data(release);
    }
    let mut backups = release.manifest.backups.clone();
    backups.items = release.manifest.saved(None);
    let (runtime, project) = (release.manifest.runtime.name().to_owned(), release.stack.to_string());
    let exclusive = release.manifest.exclusive;
    Ok(DataPlan { backups, runtime, project, volumes: BTreeMap::new(), uses: Vec::new(), exclusive })
}

/// Takes down what runtimes other than this one run of a stack. A release may change from one to another, and none can
/// take the other's place: a service of both would be there twice, or find its port taken.
pub(crate) async fn leave_others(cx: &mut Context, stack: &StackName, runtime: &str) -> Result<(), Failed> {
    if runtime != "process" && process::is_known(&cx.layout, stack) {
        Process.down(cx, stack, None, "").await?;
    }
    if runtime != "systemd" {
        Systemd.down(cx, stack, None, "").await?;
    }
    if runtime != "compose" {
        compose::leave(cx, stack).await?;
    }
    // What is started after this outlives its starter, and must not keep others from working.
    cx.lock.inherit(false).map_err(Fail::io(Step::Return, "the work lock"))
}

/// The runtimes that work on this machine, by name.
pub(crate) async fn working() -> Vec<String> {
    let mut working = vec!["process".to_owned()];
    if compose::Engine::new().ping().await {
        working.push("compose".to_owned());
    }
    if systemd::works() {
        working.push("systemd".to_owned());
    }
    working.sort();
    working
}

/// Deletes packs that came by hand once their releases are here.
fn prune_bundled(cx: &Context, stack: &StackName) {
    for entry in std::fs::read_dir(cx.layout.bundled()).into_iter().flatten().flatten() {
        let path = entry.path();
        let tree = path.file_stem().and_then(|stem| stem.to_str()?.parse::<TreeDigest>().ok());
        if tree.is_some_and(|tree| cx.layout.release(stack, tree).is_dir()) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Deletes all releases of a stack but some, with what was kept for them.
pub(crate) async fn prune(cx: &mut Context, stack: &StackName, keep: &[TreeDigest]) -> Result<(), Failed> {
    let dir = cx.layout.releases(stack);
    let fail = |error| Fail::io(Step::Commit, "old releases cannot be removed")(error);
    cx.layout.sweep_stack(stack).map_err(fail)?;
    prune_bundled(cx, stack);
    // What runs may have been started from a release before parts of it were switched.
    let used = process::used(&cx.layout, stack).map_err(fail)?;
    let is_used = |tree: &TreeDigest| used.iter().any(|dir| dir.starts_with(cx.layout.release(stack, *tree)));
    let mut doomed = Vec::new();
    match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => {
            for entry in entries.map_err(fail)? {
                let name = entry.map_err(fail)?.file_name();
                let tree = name.to_str().and_then(|name| name.parse::<TreeDigest>().ok());
                doomed.extend(tree.filter(|tree| !keep.contains(tree) && !is_used(tree)));
            }
        }
    }
    if doomed.is_empty() {
        return Ok(());
    }
    Compose::new().release(stack, keep).await;
    for tree in doomed {
        for file in [cx.layout.rendered(stack, tree), cx.layout.overlay(stack, tree)] {
            let _ = std::fs::remove_file(file);
        }
        crate::disk::audit::forget(&cx.layout.lists(stack), tree);
        crate::disk::remove_dir(&cx.layout.release(stack, tree)).map_err(fail)?;
        crate::crash::crash_point("prune.removed");
    }
    compose::prune_mounts(cx, stack, keep).map_err(fail)?;
    systemd::prune_files(cx, stack, keep).map_err(fail)
}
