//! `backstay-agent apply`: a bundle instead of the network. It is verified whole before anything is touched; then its
//! packs are laid down, its images loaded, and the agent takes up its statement as it would the hub's.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read, Write as _},
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use backstay_agent_core::{Journal, Verdict, judge};
use backstay_api::{
    bundle::{BundleError, Head, Part, PartContent},
    statement::{DesiredAction, Statement},
};
use backstay_config::AgentSettings;
use backstay_types::{Digest, ErrorCode};
use rustix::process::{Signal, kill_process};
use tokio::time::sleep;

use crate::{
    AgentError, Identity, child, daemon,
    disk::{AgentLock, JournalDb, Layout, check_space, private_dir, running_agent, sync_dir, write_atomic},
    settings,
};

/// How long the stacks of a bundle may take to come to their end.
const PATIENCE: Duration = Duration::from_secs(3600);
/// How long an agent may take to notice that it has a statement.
const NOTICE: Duration = Duration::from_secs(60);

/// Applies a bundle; what came of it, for people.
pub(crate) async fn apply(settings: AgentSettings, bundle: &Path) -> Result<String, AgentError> {
    let layout = settings::layout(&settings);
    let identity = Identity::load(&layout)?;
    let mut file = BufReader::new(File::open(bundle).map_err(AgentError::io(bundle))?);
    let head = Head::read(&mut file, &identity.verifying_key()?).map_err(refused)?;
    let statement = head.statement.open(&identity.verifying_key()?).map_err(|e| refused(e.into()))?;
    check_use(&layout, &identity, &statement)?;
    for part in &head.parts {
        verify(&mut file, part)?;
    }
    if file.read(&mut [0]).map_err(AgentError::io(bundle))? != 0 {
        return Err(damaged("there is more in it than it says"));
    }
    layout.create().map_err(AgentError::io(layout.data()))?;
    let bytes = head.parts.iter().map(|part| part.bytes).sum();
    check_space(layout.data(), bytes, settings.disk_margin_bytes)
        .map_err(|reason| AgentError::Bundle { code: ErrorCode::BS3001, reason })?;
    lay_down(&layout, &head, bundle, &identity).await?;
    let text = serde_json::to_vec(&head.statement).map_err(|e| AgentError::Other(e.to_string()))?;
    write_atomic(&layout.inbox(), &text, 0o600).map_err(AgentError::io(layout.inbox()))?;
    take_up(settings, &layout, &statement).await
}

/// Whether the node would take the statement at all.
fn check_use(layout: &Layout, identity: &Identity, statement: &Statement) -> Result<(), AgentError> {
    let journal = journal(layout)?;
    if statement.node != identity.node {
        let reason = format!(
            "the bundle is for node {}, this is {} ({})",
            statement.node, identity.node, identity.name
        );
        return Err(AgentError::Bundle { code: ErrorCode::BS3017, reason });
    }
    if let Verdict::Refused { reason } = judge(journal.held.as_ref(), statement, identity.node) {
        return Err(AgentError::Bundle { code: ErrorCode::BS3018, reason: format!("the bundle: {reason}") });
    }
    let now = crate::system().now();
    if statement.expires_at <= now {
        let reason = format!("the bundle could be taken up until {}; it is {now} here", statement.expires_at);
        return Err(AgentError::Bundle { code: ErrorCode::BS3018, reason });
    }
    Ok(())
}

fn journal(layout: &Layout) -> Result<Journal, AgentError> {
    let path = layout.journal();
    Ok(if path.exists() { JournalDb::read(&path)?.0 } else { Journal::default() })
}

/// Reads a part, and says whether it is what the head says.
fn verify(from: &mut impl Read, part: &Part) -> Result<(), AgentError> {
    let (found, bytes) =
        Digest::of_reader(from.take(part.bytes)).map_err(|error| refused(BundleError::Io(error)))?;
    if bytes < part.bytes {
        return Err(damaged("it is cut short"));
    }
    if found != part.sha256 {
        return Err(damaged(&format!("{} has another SHA-256 than it should", name(&part.content))));
    }
    Ok(())
}

fn name(content: &PartContent) -> String {
    match content {
        PartContent::Pack { tree } => format!("the pack of tree {}", tree.short()),
        PartContent::Image { name } => format!("image {name}"),
    }
}

/// Puts packs where the agent looks first, and has Docker load the images.
async fn lay_down(
    layout: &Layout,
    head: &Head,
    bundle: &Path,
    identity: &Identity,
) -> Result<(), AgentError> {
    let dir = layout.bundled();
    private_dir(&dir).map_err(AgentError::io(&dir))?;
    let mut file = BufReader::new(File::open(bundle).map_err(AgentError::io(bundle))?);
    Head::read(&mut file, &identity.verifying_key()?).map_err(refused)?;
    for part in &head.parts {
        let to = match &part.content {
            PartContent::Pack { tree } => layout.bundled_pack(*tree),
            PartContent::Image { .. } => dir.join("image.tar"),
        };
        let growing = to.with_extension("tmp");
        copy(&mut file, part.bytes, &growing).map_err(AgentError::io(&growing))?;
        // The file may have been changed since it was verified.
        let (found, _) =
            File::open(&growing).and_then(Digest::of_reader).map_err(AgentError::io(&growing))?;
        if found != part.sha256 {
            let _ = fs::remove_file(&growing);
            return Err(damaged(&format!("{} changed while it was read", name(&part.content))));
        }
        fs::rename(&growing, &to).map_err(AgentError::io(&to))?;
        if let PartContent::Image { name } = &part.content {
            let loaded = load(&to, name).await;
            let _ = fs::remove_file(&to);
            loaded?;
        }
    }
    sync_dir(&dir).map_err(AgentError::io(dir))
}

fn copy(from: &mut impl Read, bytes: u64, to: &Path) -> io::Result<()> {
    let mut file = File::create(to)?;
    io::copy(&mut from.take(bytes), &mut file)?;
    file.flush()?;
    file.sync_all()
}

async fn load(file: &Path, name: &str) -> Result<(), AgentError> {
    let mut docker = tokio::process::Command::new("docker");
    docker.args(["image", "load", "--quiet", "--input"]).arg(file);
    docker.env_clear().envs(child::environment()).stdin(Stdio::null()).kill_on_drop(true);
    let output =
        docker.output().await.map_err(|e| AgentError::Other(format!("`docker` cannot be started: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(AgentError::Other(format!("image {name} cannot be loaded: {said}")))
}

/// Tells the agent that runs here, or is the agent until all is done.
async fn take_up(
    settings: AgentSettings,
    layout: &Layout,
    statement: &Statement,
) -> Result<String, AgentError> {
    let free = match AgentLock::take(layout) {
        Ok(lock) => {
            drop(lock);
            true
        }
        Err(AgentError::InUse(_)) => false,
        Err(error) => return Err(error),
    };
    if free {
        return tokio::select! {
            ended = daemon::run(settings, None) => {
                ended?;
                Err(AgentError::Other("the agent ended before the bundle was taken up".to_owned()))
            }
            said = wait(layout, statement) => said,
        };
    }
    let agent = running_agent(layout).ok_or_else(|| {
        AgentError::Other("the agent that runs here cannot be told apart; restart it".to_owned())
    })?;
    kill_process(agent, Signal::HUP)
        .map_err(|e| AgentError::Other(format!("the agent cannot be told: {e}")))?;
    wait(layout, statement).await
}

/// Waits until every stack of the statement has come to its end.
async fn wait(layout: &Layout, statement: &Statement) -> Result<String, AgentError> {
    let began = Instant::now();
    loop {
        sleep(Duration::from_millis(200)).await;
        let journal = journal(layout)?;
        let taken = journal.held.as_ref().is_some_and(|held| {
            (held.epoch, held.generation) >= (statement.epoch, statement.generation)
                && held.issued_at >= statement.issued_at
        });
        let patience = if taken { PATIENCE } else { NOTICE };
        if began.elapsed() > patience {
            let what =
                if taken { "its stacks have not come to their end" } else { "the agent has not taken it up" };
            return Err(AgentError::Other(format!(
                "{what} within {}",
                backstay_manifest::format_duration(patience)
            )));
        }
        let settled = statement.stacks.iter().all(|stack| {
            journal.stacks.get(&stack.stack).is_some_and(|record| record.is_settled(stack.deployment))
        });
        if taken && settled && journal.operation.is_none() {
            return outcome(&journal, statement);
        }
    }
}

fn outcome(journal: &Journal, statement: &Statement) -> Result<String, AgentError> {
    let (mut text, mut failed) = (String::new(), Vec::new());
    for wanted in &statement.stacks {
        let record = journal.stacks.get(&wanted.stack);
        let runs = record.and_then(|r| r.committed.as_ref()).map(|committed| committed.tree);
        match wanted.action {
            DesiredAction::Run if runs == Some(wanted.tree) => {
                text.push_str(&format!("{}: runs {}\n", wanted.stack, wanted.tree.short()));
            }
            DesiredAction::Remove if runs.is_none() => text.push_str(&format!("{}: removed\n", wanted.stack)),
            _ => {
                let why = record.and_then(|r| r.ended.as_ref()).map_or("", |ended| ended.reason.as_str());
                failed.push(format!("{}: {why}", wanted.stack));
            }
        }
    }
    if failed.is_empty() {
        return Ok(text);
    }
    Err(AgentError::Other(format!("what ran before runs again: {}", failed.join("; "))))
}

fn damaged(what: &str) -> AgentError {
    refused(BundleError::Damaged(what.to_owned()))
}

fn refused(error: BundleError) -> AgentError {
    let code = match &error {
        BundleError::Io(_) | BundleError::Damaged(_) => ErrorCode::BS3016,
        BundleError::Signature | BundleError::Statement(_) => ErrorCode::BS3017,
    };
    AgentError::Bundle { code, reason: error.to_string() }
}
