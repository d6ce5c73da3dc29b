//! `backstay restore`: a stack's data from a snapshot, put back where it was or into a folder.

mod everything;

use std::{collections::BTreeSet, time::Duration};

use backstay_api::{
    Empty,
    v1::{
        BackupJobView, ListSnapshots, Paging, RestoreFrom, RestoreRequest, RestoreView, SnapshotsQuery,
        StartRestore,
    },
};
use backstay_types::{ErrorCode, StackName, backup::Destination};
use clap::{ArgGroup, Args};

use super::{
    Outcome,
    backup::{ended_well, short, until_ended},
    done,
};
use crate::{
    api::Api,
    context::Context,
    error::{CliError, Exit},
    lookup, time,
    ui::{Frame, style, when, words},
    views::{backup, fields::heading},
};

/// How often, and after which pause, it is asked for again while the hub does not answer.
const ATTEMPTS: usize = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// Put data of stacks back from proven snapshots. In place, a safety snapshot is made first: the way back.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("from").args(["at", "before_deployment", "snapshot"])))]
pub(crate) struct Restore {
    /// The node, and the stack where the node has snapshots of several; may be given several times
    #[arg(value_name = "NODE[/STACK]", required_unless_present = "everything")]
    whose: Vec<String>,
    /// All stacks of these nodes that there are snapshots of. Those that a node does not run yet wait until it does
    #[arg(long, conflicts_with_all = ["before_deployment", "snapshot", "items", "paths"])]
    all: bool,
    /// All stacks of all nodes that there are snapshots of, each where it was
    #[arg(
        long,
        conflicts_with_all =
            ["whose", "all", "before_deployment", "snapshot", "items", "paths", "on", "to"]
    )]
    everything: bool,
    /// With --everything: only the nodes that this label selector matches
    #[arg(long, value_name = "SELECTOR", requires = "everything")]
    nodes: Option<String>,
    /// The newest snapshot that was begun then or before [default: the newest]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The snapshot that was made for a deployment, or else the newest from before it began
    #[arg(long, value_name = "ID")]
    before_deployment: Option<String>,
    /// This snapshot, by its id or the first 8 digits or more of it
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
    /// Only this item of `[[backup]]`; may be given several times
    #[arg(long = "item", value_name = "NAME")]
    items: Vec<String>,
    /// Only this path, as `backstay backup files` shows it; may be given several times
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<String>,
    /// On this node, in the place of what it has of the stack, or with --to into a folder of it [default: where it is from]
    #[arg(long, value_name = "NODE")]
    on: Option<String>,
    /// Into this new folder of the node, an absolute path; the stack is not touched [default: where it was]
    #[arg(long, value_name = "FOLDER")]
    to: Option<String>,
    /// Older data of this could make a validator sign twice, and no other copy of its keys runs; may be given several times
    #[arg(long, value_name = "NODE/STACK")]
    confirm: Vec<String>,
    /// Only show what it would come to
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Do not wait
    #[arg(long)]
    no_wait: bool,
}

impl Restore {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        if self.everything {
            return everything::run(self, cx).await;
        }
        let api = cx.api()?;
        let confirmed = self.confirm.clone();
        let (dry_run, yes, no_wait, single) = (self.dry_run, self.yes, self.no_wait, self.is_single());
        let all = self.all;
        let mut wanted = Vec::new();
        for request in self.requests(&api, cx).await? {
            match api.call::<StartRestore>(Empty {}, Empty {}, request.clone()).await {
                // Some of all that was ever saved is of stacks that are gone.
                Err(error) if all && error.code() == ErrorCode::BS9053 => cx.ui.note(format!("{error}.")),
                planned => wanted.push((request, planned?)),
            }
        }
        if wanted.is_empty() {
            return Err(CliError::new(ErrorCode::BS9053, "no stack of it runs there"));
        }
        let frame = cx.frame();
        let text: String =
            wanted.iter().map(|(asked, planned)| plan(planned, &asked.destination, &frame)).collect();
        if dry_run {
            let planned: Vec<_> = wanted.into_iter().map(|(_, planned)| planned).collect();
            let dim = style::DIM;
            shown(cx, &planned, single, || format!("{text}\n{dim}Nothing was changed.{dim:#}\n"))?;
            return done();
        }
        cx.ui.say(text);
        if !yes && !cx.ui.confirm("Put this back?")? {
            return Err(CliError::new(ErrorCode::BS8010, "nothing was put back"));
        }
        let mut begun = Vec::new();
        for (mut request, planned) in wanted {
            request.confirm = said(planned.confirm.as_deref(), &confirmed, cx)?;
            // What was shown, though a newer one may be there by now.
            request.from = RestoreFrom::Snapshot(planned.snapshot.kept.snapshot.id.to_string());
            request.dry_run = false;
            request.id = Some(cx.world.mint());
            begun.push((begin(request.clone(), &api).await?, request.destination));
        }
        let jobs: Vec<_> = begun.iter().filter_map(|(view, _)| view.job.clone()).collect();
        if no_wait || begun.iter().any(|(view, _)| view.waits) {
            let views: Vec<_> = begun.into_iter().map(|(view, _)| view).collect();
            shown(cx, &views, single, || waiting(&views, &jobs, &frame))?;
            return done();
        }
        let jobs = until_ended(jobs, &api, cx).await?;
        for (view, _) in &mut begun {
            let id = view.job.as_ref().map(|job| job.job.id);
            view.job = jobs.iter().find(|job| Some(job.job.id) == id).cloned();
        }
        let views: Vec<_> = begun.iter().map(|(view, _)| view.clone()).collect();
        shown(cx, &views, single, || begun.iter().map(|(view, to)| ended(view, to)).collect())?;
        ended_well(&jobs)
    }

    /// Whether it is about one stack, by the way it is asked for.
    fn is_single(&self) -> bool {
        self.whose.len() == 1 && !self.all
    }

    async fn requests(self, api: &Api, cx: &Context) -> Result<Vec<RestoreRequest>, CliError> {
        let now = cx.frame().now;
        let single = self.is_single();
        let from = if let Some(text) = &self.at {
            RestoreFrom::At(time::past(text, &now)?)
        } else if let Some(text) = &self.before_deployment {
            RestoreFrom::BeforeDeployment(lookup::deployment(api, text).await?)
        } else if let Some(id) = &self.snapshot {
            RestoreFrom::Snapshot(id.clone())
        } else {
            RestoreFrom::Latest
        };
        if let (RestoreFrom::Snapshot(_), false) = (&from, single) {
            return Err(CliError::argument("--snapshot names one snapshot: name one node or stack with it"));
        }
        let mut stacks = Vec::new();
        for text in &self.whose {
            let (node, stack) = whose(text)?;
            match (stack, &from, self.all) {
                (Some(_), _, true) => {
                    let detail = format!("`{text}` names a stack: --all takes all of a node");
                    return Err(CliError::argument(detail));
                }
                (None, _, true) => {
                    let all = stacks_of(&node, api).await?;
                    stacks.extend(all.into_iter().map(|stack| (node.clone(), Some(stack))));
                }
                (None, RestoreFrom::Snapshot(_), false) => stacks.push((node, None)),
                (None, _, false) => {
                    let stack = only_stack(&node, api).await?;
                    stacks.push((node, Some(stack)));
                }
                (Some(stack), _, false) => stacks.push((node, Some(stack))),
            }
        }
        let mut requests = Vec::new();
        for (node, stack) in stacks {
            let destination = self.destination(single, &node, stack.as_ref())?;
            requests.push(RestoreRequest {
                id: None,
                node: Some(node),
                stack,
                from: from.clone(),
                items: self.items.clone(),
                paths: self.paths.iter().map(|path| path.trim_matches('/').to_owned()).collect(),
                on: self.on.clone(),
                destination,
                dry_run: true,
                confirm: None,
            });
        }
        Ok(requests)
    }

    /// Several go into a folder each.
    fn destination(
        &self,
        single: bool,
        node: &str,
        stack: Option<&StackName>,
    ) -> Result<Destination, CliError> {
        match (&self.to, stack) {
            (None, _) => Ok(Destination::InPlace),
            (Some(path), _) if !path.starts_with('/') || path.len() < 2 => {
                let detail = format!("`{path}` is no absolute path: --to names a folder of the node");
                Err(CliError::argument(detail).hint("such as --to /var/tmp/restored"))
            }
            (Some(path), Some(stack)) if !single => {
                Ok(Destination::Folder { path: format!("{}/{node}/{stack}", path.trim_end_matches('/')) })
            }
            (Some(path), _) => Ok(Destination::Folder { path: path.clone() }),
        }
    }
}

/// What a person has to say first: as an option said it, or typed now.
fn said(wanted: Option<&str>, confirmed: &[String], cx: &Context) -> Result<Option<String>, CliError> {
    match wanted {
        Some(say) if !confirmed.iter().any(|said| said == say) => {
            Ok(Some(cx.ui.typed("This could make a validator sign twice.", say)?))
        }
        said => Ok(said.map(str::to_owned)),
    }
}

/// One alone is shown as it is, several as a list.
fn shown(
    cx: &Context,
    views: &[RestoreView],
    single: bool,
    text: impl FnOnce() -> String,
) -> Result<(), CliError> {
    match views {
        [one] if single => cx.ui.data(one, text),
        several => cx.ui.data(&several, text),
    }
}

/// What is not followed to its end.
fn waiting(views: &[RestoreView], jobs: &[BackupJobView], frame: &Frame) -> String {
    let mut text = backup::jobs(jobs, frame);
    for view in views.iter().filter(|view| view.waits) {
        let (stack, node) = (&view.stack, &view.node_name);
        text.push_str(&format!("The data of {stack} is put in its place before {node} starts it.\n"));
    }
    text
}

/// A node, and a stack where one is given.
fn whose(text: &str) -> Result<(String, Option<StackName>), CliError> {
    let (node, stack) = match text.split_once('/') {
        Some((node, stack)) => (node, Some(stack)),
        None => (text, None),
    };
    if node == "hub" {
        return Err(CliError::argument("the hub's own state is not put back by itself while it runs")
            .hint("`backstay hub restore` brings a lost hub back: docs/runbooks/lost-hub.md"));
    }
    if node.is_empty() {
        return Err(CliError::argument(format!("`{text}` names no node: expected NODE or NODE/STACK")));
    }
    let stack = stack.map(str::parse).transpose();
    let stack =
        stack.map_err(|error| CliError::argument(format!("`{text}` names no stack")).with_source(error))?;
    Ok((node.to_owned(), stack))
}

/// The stacks of a node that there are snapshots of.
pub(super) async fn stacks_of(node: &str, api: &Api) -> Result<Vec<StackName>, CliError> {
    // By its snapshots, not by what it runs: a node that has just come back runs nothing yet.
    let query = |paging: Paging| SnapshotsQuery {
        node: Some(node.to_owned()),
        limit: paging.limit,
        cursor: paging.cursor,
        ..SnapshotsQuery::default()
    };
    let found = api.all::<ListSnapshots, _>(query).await?;
    let stacks: BTreeSet<_> = found.into_iter().filter_map(|one| one.kept.snapshot.tags.stack).collect();
    if stacks.is_empty() {
        return Err(CliError::new(ErrorCode::BS9017, format!("there is no snapshot of {node}"))
            .hint(format!("backstay backup now {node}")));
    }
    Ok(stacks.into_iter().collect())
}

/// The stack of a node that has snapshots of one alone.
async fn only_stack(node: &str, api: &Api) -> Result<StackName, CliError> {
    match &stacks_of(node, api).await?[..] {
        [one] => Ok(one.clone()),
        several => {
            let lines: Vec<_> =
                several.iter().map(|stack| format!("backstay restore {node}/{stack}")).collect();
            Err(CliError::argument(format!("{node} has snapshots of several stacks: say of which, or --all"))
                .hint(lines.join("\n")))
        }
    }
}

/// Asks for the restore; again under the same id while the hub does not answer, so that nothing is done twice.
pub(super) async fn begin(request: RestoreRequest, api: &Api) -> Result<RestoreView, CliError> {
    persistently(async || api.call::<StartRestore>(Empty {}, Empty {}, request.clone()).await).await
}

/// Asks again while the hub does not answer; what is asked for must carry an id.
async fn persistently<T>(ask: impl AsyncFn() -> Result<T, CliError>) -> Result<T, CliError> {
    for _ in 1..ATTEMPTS {
        match ask().await {
            Err(error) if error.exit() == Exit::Unreachable => tokio::time::sleep(PAUSE).await,
            answered => return answered,
        }
    }
    ask().await
}

/// What would happen, in plain words.
fn plan(planned: &RestoreView, destination: &Destination, frame: &Frame) -> String {
    let (dim, warn) = (style::DIM, style::WARN);
    let snapshot = &planned.snapshot.kept.snapshot;
    let (node, stack) = (&planned.node_name, &planned.stack);
    let of = planned.of_node.as_ref().map(|of| format!(" from {of}")).unwrap_or_default();
    let mut text = heading(&format!("Restore {stack}{of} on {node}"));
    text.push_str(&format!(
        "  {dim}from{dim:#}  snapshot {}, {}: {}, {}\n  {dim}proof{dim:#} {}: {}\n",
        short(snapshot.id),
        frame.exactly(snapshot.at),
        words::backup_reason(snapshot.tags.reason),
        words::bytes(snapshot.bytes),
        words::proof(snapshot.proof).text(),
        words::proof_sentence(snapshot.proof),
    ));
    for (at, step) in planned.steps.iter().enumerate() {
        text.push_str(&format!("  {}. {step}\n", at + 1));
    }
    for lost in &planned.lost {
        text.push_str(&format!("  {warn}!{warn:#} {lost}\n"));
    }
    if *destination == Destination::InPlace {
        let age = when::relative(snapshot.at, frame.now.timestamp());
        text.push_str(&format!(
            "  {warn}!{warn:#} {stack} goes back to {age}. What is there now comes back with:\n      \
             backstay restore {node}/{stack} --snapshot ID   {dim}the safety snapshot's; it is named at the end{dim:#}\n"
        ));
    }
    text
}

/// How it ended.
fn ended(begun: &RestoreView, destination: &Destination) -> String {
    let Some(job) = &begun.job else { return String::new() };
    let mut text = format!("{}.\n", backup::sentence(job));
    if let Some(work) = job.job.result.as_ref().and_then(|result| result.work.as_ref()) {
        text.push_str(&backup::lost(work));
    }
    let dim = style::DIM;
    match (destination, backup::safety(job)) {
        (Destination::Folder { path }, _) => {
            text.push_str(&format!("{dim}It is in{dim:#} {path} {dim}on{dim:#} {}\n", begun.node_name));
        }
        (Destination::InPlace, Some(safety)) => text.push_str(&format!(
            "{dim}What was there before comes back with:{dim:#} backstay restore {}/{} --snapshot {}\n",
            begun.node_name,
            begun.stack,
            short(safety.id)
        )),
        _ => {}
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_named_with_or_without_a_stack() {
        let read =
            |text: &str| whose(text).ok().map(|(node, stack)| (node, stack.map(|one| one.to_string())));
        assert_eq!(read("n1"), Some(("n1".to_owned(), None)));
        assert_eq!(read("n1/web"), Some(("n1".to_owned(), Some("web".to_owned()))));
        for wrong in ["", "/web", "n1/", "n1/We b", "n1/a/b", "hub", "hub/web"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
