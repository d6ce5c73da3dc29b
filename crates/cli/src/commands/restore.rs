//! `backstay restore`: a stack's data from a snapshot, put back where it was or into a folder.

use std::{collections::BTreeSet, time::Duration};

use backstay_api::{
    Empty,
    v1::{ListSnapshots, Paging, RestoreFrom, RestoreRequest, RestoreView, SnapshotsQuery, StartRestore},
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

/// Put a stack's data back from a proven snapshot. In place, a safety snapshot is made first: the way back.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("from").args(["at", "before_deployment", "snapshot"])))]
pub(crate) struct Restore {
    /// The node, and the stack where the node has snapshots of several
    #[arg(value_name = "NODE[/STACK]")]
    whose: String,
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
    /// Into this new folder of the node, an absolute path; the stack is not touched [default: where it was]
    #[arg(long, value_name = "FOLDER")]
    to: Option<String>,
    /// Older data of this could make a validator sign twice, and no other copy of its keys runs
    #[arg(long, value_name = "NODE/STACK")]
    confirm: Option<String>,
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
        let api = cx.api()?;
        let (dry_run, yes, no_wait) = (self.dry_run, self.yes, self.no_wait);
        let mut request = self.request(&api, cx).await?;
        request.dry_run = true;
        let planned = api.call::<StartRestore>(Empty {}, Empty {}, request.clone()).await?;
        if dry_run {
            cx.ui.data(&planned, || {
                let dim = style::DIM;
                format!(
                    "{}\n{dim}Nothing was changed.{dim:#}\n",
                    plan(&planned, &request.destination, &cx.frame())
                )
            })?;
            return done();
        }
        cx.ui.say(plan(&planned, &request.destination, &cx.frame()));
        if !yes && !cx.ui.confirm("Put this back?")? {
            return Err(CliError::new(ErrorCode::BS8010, "nothing was put back"));
        }
        if let Some(say) = planned.confirm.as_ref().filter(|say| request.confirm.as_ref() != Some(say)) {
            let why = "This could make a validator sign twice.";
            request.confirm = Some(cx.ui.typed(why, say)?);
        }
        // What was shown, though a newer one may be there by now.
        request.from = RestoreFrom::Snapshot(planned.snapshot.kept.snapshot.id.to_string());
        request.dry_run = false;
        request.id = Some(cx.world.mint());
        let mut begun = begin(request.clone(), &api).await?;
        let Some(job) = begun.job.clone().filter(|_| !no_wait) else {
            cx.ui.data(&begun, || match &begun.job {
                Some(job) => backup::jobs(std::slice::from_ref(job), &cx.frame()),
                None => String::new(),
            })?;
            return done();
        };
        let jobs = until_ended(vec![job], &api, cx).await?;
        begun.job = jobs.first().cloned();
        cx.ui.data(&begun, || ended(&begun, &request.destination))?;
        ended_well(&jobs)
    }

    async fn request(self, api: &Api, cx: &Context) -> Result<RestoreRequest, CliError> {
        let (node, stack) = whose(&self.whose)?;
        let now = cx.frame().now;
        let from = if let Some(text) = &self.at {
            RestoreFrom::At(time::past(text, &now)?)
        } else if let Some(text) = &self.before_deployment {
            RestoreFrom::BeforeDeployment(lookup::deployment(api, text).await?)
        } else if let Some(id) = self.snapshot {
            RestoreFrom::Snapshot(id)
        } else {
            RestoreFrom::Latest
        };
        let stack = match (&stack, &from) {
            (None, RestoreFrom::Snapshot(_)) => None,
            (None, _) => Some(only_stack(&node, api).await?),
            (Some(stack), _) => Some(stack.clone()),
        };
        let destination = match self.to {
            None => Destination::InPlace,
            Some(path) if path.starts_with('/') && path.len() > 1 => Destination::Folder { path },
            Some(path) => {
                let detail = format!("`{path}` is no absolute path: --to names a folder of the node");
                return Err(CliError::argument(detail).hint("such as --to /var/tmp/restored"));
            }
        };
        Ok(RestoreRequest {
            id: None,
            node: Some(node),
            stack,
            from,
            items: self.items,
            paths: self.paths.iter().map(|path| path.trim_matches('/').to_owned()).collect(),
            destination,
            dry_run: true,
            confirm: self.confirm,
        })
    }
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

/// The stack of a node that has snapshots of one alone.
async fn only_stack(node: &str, api: &Api) -> Result<StackName, CliError> {
    // By its snapshots, not by what it runs: a node that has just come back runs nothing yet.
    let query = |paging: Paging| SnapshotsQuery {
        node: Some(node.to_owned()),
        limit: paging.limit,
        cursor: paging.cursor,
        ..SnapshotsQuery::default()
    };
    let found = api.all::<ListSnapshots, _>(query).await?;
    let stacks: BTreeSet<_> = found.into_iter().filter_map(|one| one.kept.snapshot.tags.stack).collect();
    let stacks: Vec<_> = stacks.into_iter().collect();
    match &stacks[..] {
        [one] => Ok(one.clone()),
        [] => Err(CliError::new(ErrorCode::BS9017, format!("there is no snapshot of {node}"))
            .hint(format!("backstay backup now {node}"))),
        several => {
            let lines: Vec<_> =
                several.iter().map(|stack| format!("backstay restore {node}/{stack}")).collect();
            Err(CliError::argument(format!("{node} has snapshots of several stacks: say of which"))
                .hint(lines.join("\n")))
        }
    }
}

/// Asks for the restore; again under the same id while the hub does not answer, so that nothing is done twice.
async fn begin(request: RestoreRequest, api: &Api) -> Result<RestoreView, CliError> {
    for _ in 1..ATTEMPTS {
        match api.call::<StartRestore>(Empty {}, Empty {}, request.clone()).await {
            Err(error) if error.exit() == Exit::Unreachable => tokio::time::sleep(PAUSE).await,
            answered => return answered,
        }
    }
    api.call::<StartRestore>(Empty {}, Empty {}, request).await
}

/// What would happen, in plain words.
fn plan(planned: &RestoreView, destination: &Destination, frame: &Frame) -> String {
    let (dim, warn) = (style::DIM, style::WARN);
    let snapshot = &planned.snapshot.kept.snapshot;
    let (node, stack) = (&planned.node_name, &planned.stack);
    let mut text = heading(&format!("Restore {stack} on {node}"));
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
        (Destination::InPlace | Destination::WithDeployment { .. }, _) => {}
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
