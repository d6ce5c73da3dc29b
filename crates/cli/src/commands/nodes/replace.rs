//! `backstay nodes replace`: a new machine in the place of a lost one, with what that had saved.

use backstay_api::{
    Empty,
    v1::{
        BackupJobsQuery, CreateJoinToken, CreateJoinTokenRequest, GetNode, JoinToken, ListBackupJobs,
        NodePath, Paging, RestoreFrom, RestoreRequest, RestoreView, RevokeNode, StartRestore,
    },
};
use backstay_types::{
    ErrorCode, NodeState, StackName,
    backup::{BackupJobState, BackupTask, BackupTaskKind, Destination},
};
use clap::Args;
use serde::Serialize;

use crate::{
    api::Api,
    commands::{
        Outcome, done,
        restore::{begin, stacks_of},
    },
    context::Context,
    error::CliError,
    time,
    ui::style,
};

/// Options of `nodes replace`.
#[derive(Debug, Args)]
pub(crate) struct Replace {
    /// Name or id of the one that is lost
    node: String,
    /// How long the token works with which the new machine joins, or until when
    #[arg(long, value_name = "TIME", default_value = "1h")]
    expires: String,
    /// Only show what would be put back
    #[arg(long)]
    dry_run: bool,
    /// That no other copy of the keys of a stack runs, where its data could make a validator sign twice
    #[arg(long, value_name = "NODE/STACK")]
    confirm: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// What was begun.
#[derive(Debug, Serialize)]
struct Replaced {
    node: String,
    /// With which the new machine joins; absent in a dry run.
    token: Option<JoinToken>,
    /// Stacks of which no snapshot is proven, so that nothing of theirs is put back.
    unproven: Vec<StackName>,
    /// What is put back once it runs.
    restores: Vec<RestoreView>,
}

impl Replace {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let node = api.call::<GetNode>(NodePath { node: self.node.clone() }, Empty {}, Empty {}).await?;
        let name = node.node.name.to_string();
        let life = time::life(&self.expires, &cx.frame().now)?;
        let (mut stacks, mut restores, mut unproven) = (Vec::new(), Vec::new(), Vec::new());
        for stack in to_put_back(&name, &api).await? {
            match api.call::<StartRestore>(Empty {}, Empty {}, request(&name, stack.clone(), true)).await {
                Err(error) if error.code() == ErrorCode::BS9017 => unproven.push(stack),
                // It was taken away before the machine was lost, and does not come back with the new one.
                Err(error) if error.code() == ErrorCode::BS9053 => {}
                planned => {
                    restores.push(planned?);
                    stacks.push(stack);
                }
            }
        }
        if self.dry_run {
            let replaced = Replaced { node: name, token: None, unproven, restores };
            cx.ui.data(&replaced, || said(&replaced, cx) + "Nothing was changed.\n")?;
            return done();
        }
        let question = format!(
            "Shut {name} out, and put the data of {} on the machine that joins under its name?",
            named(&stacks)
        );
        if !self.yes && !cx.ui.confirm(&question)? {
            return Err(CliError::new(ErrorCode::BS8010, "nothing was changed"));
        }
        let mut confirmed = Vec::new();
        for planned in &restores {
            confirmed.push(match &planned.confirm {
                Some(say) if !self.confirm.contains(say) => {
                    Some(cx.ui.typed("This could make a validator sign twice.", say)?)
                }
                said => said.clone(),
            });
        }
        if node.state != NodeState::Revoked {
            api.call::<RevokeNode>(NodePath { node: name.clone() }, Empty {}, Empty {}).await?;
        }
        restores.clear();
        for (stack, confirm) in stacks.into_iter().zip(confirmed) {
            let asked = RestoreRequest { id: Some(cx.world.mint()), confirm, ..request(&name, stack, false) };
            restores.push(begin(asked, &api).await?);
        }
        let asked = CreateJoinTokenRequest { expires_in_seconds: Some(life.as_secs()) };
        let token = api.call::<CreateJoinToken>(Empty {}, Empty {}, asked).await?;
        let replaced = Replaced { node: name, token: Some(token), unproven, restores };
        cx.ui.data(&replaced, || said(&replaced, cx) + &how_to_join(&replaced, &api, cx))?;
        done()
    }
}

fn request(node: &str, stack: StackName, dry_run: bool) -> RestoreRequest {
    RestoreRequest {
        id: None,
        node: Some(node.to_owned()),
        stack: Some(stack),
        from: RestoreFrom::Latest,
        items: Vec::new(),
        paths: Vec::new(),
        on: None,
        destination: Destination::InPlace,
        confirm: None,
        dry_run,
    }
}

/// The stacks with snapshots whose data does not wait for the new machine yet: asked twice, it is put back once.
async fn to_put_back(node: &str, api: &Api) -> Result<Vec<StackName>, CliError> {
    let mut stacks = match stacks_of(node, api).await {
        Err(error) if error.code() == ErrorCode::BS9017 => Vec::new(),
        found => found?,
    };
    let query = |paging: Paging| BackupJobsQuery {
        node: Some(node.to_owned()),
        task: Some(BackupTaskKind::Restore),
        state: Some(BackupJobState::Queued),
        limit: paging.limit,
        cursor: paging.cursor,
    };
    for view in api.all::<ListBackupJobs, _>(query).await? {
        if let BackupTask::Restore(work) = view.job.task
            && matches!(work.destination, Destination::InPlace | Destination::BeforeStart { .. })
        {
            stacks.retain(|stack| *stack != work.stack);
        }
    }
    Ok(stacks)
}

fn named(stacks: &[StackName]) -> String {
    match stacks {
        [] => "no stack".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn said(replaced: &Replaced, cx: &Context) -> String {
    let frame = cx.frame();
    let line = |view: &RestoreView| {
        let at = frame.exactly(view.snapshot.kept.snapshot.at);
        format!("The data of {} comes back as it was {at}, before {} runs it.\n", view.stack, view.node_name)
    };
    let mut text: String = replaced.restores.iter().map(line).collect();
    if text.is_empty() {
        text = format!("There is no more of {} to be put back.\n", replaced.node);
    }
    for stack in &replaced.unproven {
        let node = &replaced.node;
        text.push_str(&format!(
            "Nothing of {stack} is put back: no snapshot of it is proven (`backstay backup verify {node}`).\n"
        ));
    }
    text
}

fn how_to_join(replaced: &Replaced, api: &Api, cx: &Context) -> String {
    let Some(token) = &replaced.token else { return String::new() };
    let dim = style::DIM;
    format!(
        "{dim}On the new machine, until {}:{dim:#}\n\n  backstay join --hub {} --name {} {}\n\n{dim}How far it is:{dim:#} \
         backstay backup jobs --node {}\n",
        cx.frame().exactly(token.expires_at),
        api.url(),
        replaced.node,
        token.token.expose(),
        replaced.node,
    )
}
