//! Jobs and snapshots.

use backstay_api::v1::{BackupJobView, SnapshotView};
use backstay_types::backup::{
    BackupJobState, BackupProgress, BackupReason, BackupTask, Destination, DrillReport, DrillResult,
    DrillStart, DrillVerdict, ItemOutcome, ItemResult, Snapshot, WorkOutcome,
    job::{Problem, Pruned},
};

use super::fields::{Fields, heading, section};
use crate::{
    commands::backup::short,
    ids,
    ui::{Cell, Frame, Table, count, style, words},
};

/// Snapshots in a table.
pub(crate) fn snapshots(found: &[SnapshotView], frame: &Frame) -> String {
    if found.is_empty() {
        return "No snapshots.\n".to_owned();
    }
    let mut table = Table::new(["SNAPSHOT", "NODE", "STACK", "WHEN", "PROOF", "SIZE", "ADDED", "~WHY"]);
    for one in found {
        let snapshot = &one.kept.snapshot;
        table.row([
            Cell::styled(short(snapshot.id), style::NAME),
            node_of(snapshot).into(),
            stack_of(snapshot).into(),
            frame.when(snapshot.at).into(),
            proof(one),
            words::bytes(snapshot.bytes).into(),
            words::bytes(snapshot.added_bytes).into(),
            why(one).into(),
        ]);
    }
    frame.table(&table)
}

fn proof(one: &SnapshotView) -> Cell {
    match one.kept.damaged_at {
        Some(_) => Cell::styled("DAMAGED", style::BAD),
        None => words::proof(one.kept.snapshot.proof),
    }
}

fn why(one: &SnapshotView) -> String {
    let mut text = words::backup_reason(one.kept.snapshot.tags.reason).to_owned();
    if let Some(hold) = &one.kept.hold {
        text.push_str(&format!("; kept: {}", hold.reason));
    }
    if one.kept.claimed_at.is_some_and(|at| at != one.kept.snapshot.at) {
        text.push_str("; its date cannot be");
    }
    if !one.node_is_there {
        text.push_str("; its node is gone");
    }
    text
}

fn node_of(snapshot: &Snapshot) -> String {
    let tags = &snapshot.tags;
    let name = tags.node_name.as_ref().map(ToString::to_string);
    name.or_else(|| tags.node.map(ids::short)).unwrap_or_else(|| "hub".to_owned())
}

fn stack_of(snapshot: &Snapshot) -> String {
    snapshot.tags.stack.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// One snapshot.
pub(crate) fn snapshot(one: &SnapshotView, frame: &Frame) -> String {
    let (kept, snapshot) = (&one.kept, &one.kept.snapshot);
    let tags = &snapshot.tags;
    let mut fields = Fields::default();
    let gone = if one.node_is_there { "" } else { ", which is no longer in the fleet" };
    fields.add("of", format!("{} on {}{gone}", stack_of(snapshot), node_of(snapshot)));
    fields.add("begun", frame.exactly(snapshot.at));
    fields.maybe(
        "its date",
        kept.claimed_at.map(|at| format!("{}: not believed, it makes no other go", frame.exactly(at))),
    );
    fields.add("because", words::backup_reason(tags.reason));
    fields.maybe("deployment", tags.deployment.map(|id| id.to_string()));
    fields.maybe("conversation", tags.conversation.map(|id| id.to_string()));
    fields.maybe("release", tags.tree.map(|tree| tree.short()));
    let proof = words::proof(snapshot.proof).text();
    fields.add("proof", format!("{proof}: {}", words::proof_sentence(snapshot.proof)));
    fields.maybe(
        "damaged",
        kept.damaged_at.map(|at| format!("found {}: not restored any more", frame.exactly(at))),
    );
    fields.maybe("read back", kept.verified_at.map(|at| frame.exactly(at)));
    fields.maybe("copy", kept.copy.map(|id| format!("{} at the second target", short(id))));
    let files = count(usize::try_from(snapshot.files).unwrap_or(usize::MAX), "file");
    let (size, added) = (words::bytes(snapshot.bytes), words::bytes(snapshot.added_bytes));
    fields.add("holds", format!("{files}, {size}; added {added} to the repository"));
    fields.maybe("job", kept.job.map(ids::short));
    fields.maybe(
        "kept",
        kept.hold.as_ref().map(|hold| {
            let until = hold
                .until
                .map_or_else(|| "until released".to_owned(), |at| format!("until {}", frame.exactly(at)));
            format!("{}, by {}, {until}", hold.reason, hold.by)
        }),
    );
    let mut text = format!("{}{}", heading(&format!("Snapshot {}", snapshot.id)), fields.render());
    if tags.stack.is_some() {
        let (dim, id) = (style::DIM, short(snapshot.id));
        text.push_str(&format!(
            "\n{dim}What is in it{dim:#}  backstay backup files {id}\n{dim}Put it back{dim:#}    backstay restore {} --snapshot {id}\n",
            node_of(snapshot)
        ));
    }
    text
}

/// Jobs in a table.
pub(crate) fn jobs(found: &[BackupJobView], frame: &Frame) -> String {
    if found.is_empty() {
        return "No jobs.\n".to_owned();
    }
    let mut table = Table::new(["JOB", "NODE", "WHAT", "STATE", "WHEN", "BY", "~HOW"]);
    for one in found {
        let job = &one.job;
        table.row([
            Cell::styled(ids::short(job.id), style::NAME),
            one.node_name.clone().into(),
            words::backup_task(job.task.kind()).into(),
            words::backup_job(job.state),
            frame.when(job.ended_at.or(job.started_at).unwrap_or(job.asked_at)).into(),
            job.by.clone().into(),
            how(one).into(),
        ]);
    }
    frame.table(&table)
}

/// What a job came to, or how far it is.
fn how(one: &BackupJobView) -> String {
    let job = &one.job;
    match (job.state, &job.progress) {
        (BackupJobState::Queued, _) => String::new(),
        (BackupJobState::Running, Some(progress)) => how_far(progress),
        (BackupJobState::Running, None) => String::new(),
        (BackupJobState::Cancelled, _) if put_off(one) => format!("put off: {}", failure(one)),
        (BackupJobState::Cancelled, _) => {
            job.cancelled_by.as_ref().map(|by| format!("by {by}")).unwrap_or_default()
        }
        (BackupJobState::Failed, _) => failure(one),
        (BackupJobState::Done, _) => came_to(one),
    }
}

/// Whether it is a drill that made way for something else.
fn put_off(one: &BackupJobView) -> bool {
    report(one).is_some_and(|report| report.verdict == DrillVerdict::PutOff)
}

fn report(one: &BackupJobView) -> Option<&DrillReport> {
    one.job.result.as_ref()?.work.as_ref()?.drill.as_deref()
}

fn failure(one: &BackupJobView) -> String {
    let result = one.job.result.as_ref();
    let work = result.and_then(|result| result.work.as_ref());
    let told = result.and_then(|result| result.failed.clone());
    told.or_else(|| work.and_then(|work| work.failed.clone()))
        .or_else(|| work.and_then(|work| missing(work).next()).map(|(one, why, _)| item(one, why)))
        .unwrap_or_else(|| "not said why".to_owned())
}

fn came_to(one: &BackupJobView) -> String {
    let Some(result) = &one.job.result else { return String::new() };
    if let Some(pruned) = &result.pruned {
        let many = count(result.forgotten.len(), "snapshot");
        return match &one.job.task {
            BackupTask::Prune { dry_run: true } => {
                format!("{many} would go, {} in no use", words::bytes(pruned.unused_bytes))
            }
            _ => format!("{many} forgotten, {} freed", words::bytes(pruned.deleted_bytes)),
        };
    }
    if let Some(work) = &result.work {
        return work_done(&one.job.task, work);
    }
    if let Some(bytes) = result.bytes_read {
        return format!("{} read, all of it right", words::bytes(bytes));
    }
    result.files.map(|files| count(usize::try_from(files).unwrap_or(usize::MAX), "file")).unwrap_or_default()
}

fn work_done(task: &BackupTask, work: &WorkOutcome) -> String {
    if let Some(report) = &work.drill {
        return drilled(report);
    }
    let (files, bytes) = work.items.iter().fold((0, 0), |(files, bytes), item| match &item.result {
        ItemResult::Done { files: more, bytes: of_it, .. } => (files + more, bytes + of_it),
        ItemResult::Failed { .. } => (files, bytes),
    });
    let files = count(usize::try_from(files).unwrap_or(usize::MAX), "file");
    let what = format!("{files}, {}", words::bytes(bytes));
    match task {
        BackupTask::Restore(_) => format!("{what} put back"),
        _ if work.snapshots.is_empty() => "nothing to save".to_owned(),
        _ => {
            let ids: Vec<_> = work.snapshots.iter().map(|one| short(one.id)).collect();
            format!("{what}: {}", ids.join(" "))
        }
    }
}

/// What a drill that did not fail came to.
fn drilled(report: &DrillReport) -> String {
    if report.verdict == DrillVerdict::Off {
        return report.why.clone().unwrap_or_else(|| "there was nothing to be drilled".to_owned());
    }
    let files = count(usize::try_from(report.files).unwrap_or(usize::MAX), "file");
    let how = match &report.start {
        DrillStart::Yes => "compared, started and probed",
        DrillStart::No { .. } => "compared",
    };
    let took = crate::ui::when::millis(report.restore_ms);
    format!("{}: {files}, {} restored in {took}, {how}", report.stack, words::bytes(report.bytes))
}

/// The report of a drill.
pub(crate) fn drill(report: &DrillReport) -> String {
    let (good, bad, dim) = (style::GOOD, style::BAD, style::DIM);
    let clean = |text: &str| text.replace(char::is_control, " ");
    let mut fields = Fields::default();
    let millis = crate::ui::when::millis;
    fields.add("snapshot", format!("{} of {}", short(report.snapshot), report.stack));
    let files = count(usize::try_from(report.files).unwrap_or(usize::MAX), "file");
    fields
        .add("restored", format!("{files}, {} in {}", words::bytes(report.bytes), millis(report.restore_ms)));
    fields.maybe("digest", report.digest.map(|digest| digest.to_string()));
    fields.add(
        "started",
        match &report.start {
            DrillStart::Yes => "yes, cut off from everything but the node".to_owned(),
            DrillStart::No { why } => format!("no: {}", clean(why)),
        },
    );
    fields.add("took", millis(report.total_ms));
    let mut text = format!("{}{}", section("Drill"), fields.render());
    for check in &report.checks {
        let what = clean(&check.what);
        text.push_str(&match &check.result {
            DrillResult::Passed => format!("  {good}✓{good:#} {what}\n"),
            DrillResult::Failed { why, paths } => {
                let paths: String = paths.iter().map(|path| format!("      {}\n", clean(path))).collect();
                format!("  {bad}✗{bad:#} {what}: {}\n{paths}", clean(why))
            }
            DrillResult::LeftOut { why } => format!("  {dim}–{dim:#} {what}: {}\n", clean(why)),
        });
    }
    text
}

/// The reports of drills that have ended.
pub(crate) fn drills(jobs: &[BackupJobView]) -> String {
    let texts: Vec<_> = jobs.iter().filter_map(|one| Some((one, report(one)?))).collect();
    let texts =
        texts.into_iter().map(|(one, report)| format!("{}{}", heading(&one.node_name), drill(report)));
    texts.collect::<Vec<_>>().join("\n")
}

/// Which job it is, as a subject: `backup of n1`.
pub(crate) fn about(one: &BackupJobView) -> String {
    format!("{} of {}", words::backup_task(one.job.task.kind()), one.node_name)
}

/// A job that has ended, in a sentence.
pub(crate) fn sentence(one: &BackupJobView) -> String {
    let how = how(one);
    let state = match one.job.state {
        BackupJobState::Done => "done",
        BackupJobState::Failed => "failed",
        BackupJobState::Cancelled => "cancelled",
        BackupJobState::Queued => "waits",
        BackupJobState::Running => "runs",
    };
    if how.is_empty() {
        format!("{}: {state}", about(one))
    } else {
        format!("{}: {state}: {how}", about(one))
    }
}

/// A job that waits or runs, in a sentence.
pub(crate) fn under_way(one: &BackupJobView) -> String {
    let far = match (one.job.state, &one.job.progress) {
        (BackupJobState::Queued, _) if one.job.task.is_of_node() => {
            "waits for its turn, or for the node to ask".to_owned()
        }
        (BackupJobState::Queued, _) => "waits for its turn".to_owned(),
        (_, Some(progress)) => how_far(progress),
        (_, None) => "runs".to_owned(),
    };
    format!("{}: {far}", about(one))
}

fn how_far(progress: &BackupProgress) -> String {
    let mut text = words::backup_phase(progress.phase).to_owned();
    if let Some(stack) = &progress.stack {
        text.push_str(&format!(", {stack}"));
    }
    if progress.files > 0 || progress.files_total.is_some() {
        let of = |total: Option<String>| total.map(|total| format!(" of {total}")).unwrap_or_default();
        let files = of(progress.files_total.map(|total| total.to_string()));
        let bytes = of(progress.bytes_total.map(words::bytes));
        text.push_str(&format!(", {}{files} files, {}{bytes}", progress.files, words::bytes(progress.bytes)));
    }
    text
}

/// One job, with all that came of it.
pub(crate) fn job(one: &BackupJobView, frame: &Frame) -> String {
    let job = &one.job;
    let mut fields = Fields::default();
    fields.add("what", task(&job.task));
    let how = how(one);
    let how = if how.is_empty() { how } else { format!(": {how}") };
    fields.add("it", format!("{}{how}", words::backup_job(job.state).text()));
    fields.add("asked", format!("{}, by {}", frame.exactly(job.asked_at), job.by));
    fields.maybe("began", job.started_at.map(|at| frame.exactly(at)));
    fields.maybe("ended", job.ended_at.map(|at| frame.exactly(at)));
    let work = job.result.as_ref().and_then(|result| result.work.as_ref());
    let still = work.map_or(0, |work| work.still_ms);
    fields.maybe("stood still", (still > 0).then(|| crate::ui::when::millis(still)));
    let title = format!("{} {}", capital(&about(one)), ids::short(job.id));
    let mut text = format!("{}{}", heading(&title), fields.render());
    if let Some(result) = &job.result {
        if let Some(pruned) = &result.pruned {
            text.push_str(&self::pruned(pruned, matches!(job.task, BackupTask::Prune { dry_run: true })));
        }
        if !result.problems.is_empty() {
            text.push_str(&format!("{}{}", section("Wrong in the repository"), problems(&result.problems)));
        }
    }
    text.push_str(&work.map(|work| outcome(work, frame)).unwrap_or_default());
    text.push_str(&work.and_then(|work| work.drill.as_deref()).map(drill).unwrap_or_default());
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn task(task: &BackupTask) -> String {
    match task {
        BackupTask::Save(work) if work.stacks.is_empty() => {
            format!("makes snapshots ({})", words::backup_reason(work.reason))
        }
        BackupTask::Save(work) => {
            let stacks: Vec<_> = work.stacks.iter().map(ToString::to_string).collect();
            format!("makes snapshots of {} ({})", stacks.join(", "), words::backup_reason(work.reason))
        }
        BackupTask::Restore(work) => {
            let place = match &work.destination {
                Destination::InPlace if work.of_node.is_some() => "in the place of its own".to_owned(),
                Destination::InPlace => "where it was".to_owned(),
                Destination::BeforeStart { .. } => "before it starts".to_owned(),
                Destination::Ahead => "ahead of a move".to_owned(),
                Destination::WithDeployment { deployment } => {
                    format!("where it was, with deployment {}", crate::ids::short(*deployment))
                }
                Destination::Folder { path } => format!("into {path}"),
            };
            let of = if work.of_node.is_some() { "another node's " } else { "" };
            format!("puts {of}{} back {place}, from snapshot {}", work.stack, short(work.snapshot))
        }
        BackupTask::Drill(work) => {
            let files = if work.files_only { ", files only" } else { "" };
            format!(
                "tries whether {} can be put back from snapshot {}{files}",
                work.stack,
                short(work.snapshot)
            )
        }
        BackupTask::Verify { snapshots } if snapshots.is_empty() => {
            "reads back what is not proven yet".to_owned()
        }
        BackupTask::Verify { snapshots } => {
            let ids: Vec<_> = snapshots.iter().map(|id| short(*id)).collect();
            format!("reads back {}", ids.join(" "))
        }
        BackupTask::Check { read: None } => "checks the structure".to_owned(),
        BackupTask::Check { read: Some((0, 1)) } => "checks the structure and reads all data".to_owned(),
        BackupTask::Check { read: Some((part, parts)) } => {
            format!("checks the structure and reads part {} of {parts}", part + 1)
        }
        BackupTask::Prune { dry_run: true } => "says what retention would forget".to_owned(),
        BackupTask::Prune { dry_run: false } => {
            "forgets what retention does not keep, and frees it".to_owned()
        }
        BackupTask::Files { snapshot, path, .. } if path.is_empty() => format!("lists {}", short(*snapshot)),
        BackupTask::Files { snapshot, path, .. } => format!("lists {path} of {}", short(*snapshot)),
    }
}

/// What a node's work came to: snapshots, items, and all that is missing or damaged.
fn outcome(work: &WorkOutcome, frame: &Frame) -> String {
    let mut text = String::new();
    if !work.snapshots.is_empty() {
        text.push_str(&section("Snapshots"));
        text.push_str(&made_table(work.snapshots.iter().map(|one| (node_of(one), one)), frame));
    }
    text.push_str(&lost(work));
    text
}

/// Items that are missing or damaged, with their paths; nothing where all are well.
pub(crate) fn lost(work: &WorkOutcome) -> String {
    let bad = style::BAD;
    let mut text = String::new();
    for (one, why, paths) in missing(work) {
        text.push_str(&format!("  {bad}✗{bad:#} {}\n", item(one, why)));
        for path in paths {
            text.push_str(&format!("      {}\n", path.replace(char::is_control, " ")));
        }
    }
    if text.is_empty() { text } else { format!("{}{text}", section("Missing or damaged")) }
}

fn missing(work: &WorkOutcome) -> impl Iterator<Item = (&ItemOutcome, &str, &[String])> {
    work.items.iter().filter_map(|one| match &one.result {
        ItemResult::Failed { why, paths } => Some((one, why.as_str(), paths.as_slice())),
        ItemResult::Done { .. } => None,
    })
}

fn item(one: &ItemOutcome, why: &str) -> String {
    format!("{}/{}: {why}", one.stack, one.item)
}

/// Snapshots that jobs have made, and what is missing of them.
pub(crate) fn made(jobs: &[BackupJobView], frame: &Frame) -> String {
    let works: Vec<_> = jobs
        .iter()
        .filter_map(|one| Some((one.node_name.clone(), one.job.result.as_ref()?.work.as_ref()?)))
        .collect();
    let all: Vec<_> =
        works.iter().flat_map(|(name, work)| work.snapshots.iter().map(|one| (name.clone(), one))).collect();
    let mut text = match all.is_empty() {
        true => "No snapshot was made.\n".to_owned(),
        false => {
            let dim = style::DIM;
            format!(
                "{}{dim}The hub reads them back next; until then they are not restored.{dim:#}\n",
                made_table(all.into_iter(), frame)
            )
        }
    };
    works.iter().for_each(|(_, work)| text.push_str(&lost(work)));
    text
}

fn made_table<'a>(found: impl Iterator<Item = (String, &'a Snapshot)>, frame: &Frame) -> String {
    let mut table = Table::new(["SNAPSHOT", "NODE", "STACK", "PROOF", "FILES", "SIZE", "ADDED", "WHY"]);
    for (name, one) in found {
        table.row([
            Cell::styled(short(one.id), style::NAME),
            name.into(),
            stack_of(one).into(),
            words::proof(one.proof),
            one.files.to_string().into(),
            words::bytes(one.bytes).into(),
            words::bytes(one.added_bytes).into(),
            words::backup_reason(one.tags.reason).into(),
        ]);
    }
    frame.table(&table)
}

/// The snapshot that a restore made before it put anything in place: its way back.
pub(crate) fn safety(one: &BackupJobView) -> Option<&Snapshot> {
    let work = one.job.result.as_ref()?.work.as_ref()?;
    work.snapshots.iter().find(|snapshot| snapshot.tags.reason == BackupReason::Safety)
}

/// What a prune came to, or would.
pub(crate) fn pruned(pruned: &Pruned, dry_run: bool) -> String {
    let (before, unused) = (words::bytes(pruned.bytes_before), words::bytes(pruned.unused_bytes));
    let (deleted, marked) = (words::bytes(pruned.deleted_bytes), words::bytes(pruned.marked_bytes));
    let would = if dry_run { "would be " } else { "" };
    format!(
        "The repository takes {before}; {unused} of it no snapshot needs. {deleted} {would}freed now, {marked} {would}marked \
         and freed by a later run, a day after at the soonest.\n"
    )
}

/// What is wrong, a line each.
pub(crate) fn problems(found: &[Problem]) -> String {
    let clean = |text: &str| text.replace(char::is_control, " ");
    found.iter().map(|one| format!("  {}: {}\n", clean(&one.at), clean(&one.what))).collect()
}
