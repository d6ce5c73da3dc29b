//! `backstay environments` and `backstay promote`.

use backstay_api::{
    Empty,
    v1::{
        EnvironmentReleaseView, EnvironmentStackView, EnvironmentView, ListEnvironments, PromoteStack,
        PromoteStackRequest, StackPath,
    },
};
use backstay_types::{EnvironmentName, ErrorCode, StackName};
use clap::Args;

use super::{Outcome, done};
use crate::{
    context::Context,
    error::CliError,
    ui::{Cell, Frame, Table, style},
    views::fields::heading,
};

/// Environments in their order: which release is where, and why the next is not.
#[derive(Debug, Args)]
pub(crate) struct Environments {
    /// Only of this stack
    #[arg(long)]
    stack: Option<StackName>,
}

/// Let the release that comes next into an environment.
#[derive(Debug, Args)]
pub(crate) struct Promote {
    /// The stack
    stack: StackName,
    /// The environment
    #[arg(long)]
    to: EnvironmentName,
    /// Why
    #[arg(long)]
    reason: String,
    /// Although the environments before do not run it as they should; recorded. What is held or banned stays out
    #[arg(long)]
    force: bool,
}

impl Environments {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let mut found = api.call::<ListEnvironments>(Empty {}, Empty {}, Empty {}).await?.environments;
        if let Some(only) = &self.stack {
            found.iter_mut().for_each(|one| one.stacks.retain(|stack| stack.stack == *only));
        }
        cx.ui.data(&found, || view_list(&found, &cx.frame()))?;
        done()
    }
}

impl Promote {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let found = api.call::<ListEnvironments>(Empty {}, Empty {}, Empty {}).await?.environments;
        let mut of_name = found.iter().filter(|one| one.name == self.to);
        let stack = of_name.find_map(|one| one.stacks.iter().find(|stack| stack.stack == self.stack));
        let stack = stack.ok_or_else(|| {
            let message = format!("`{}` has no environment `{}`", self.stack, self.to);
            CliError::new(ErrorCode::BS4004, message).hint("`backstay environments` lists them")
        })?;
        let next = stack.next.as_ref().ok_or_else(|| {
            let message = format!("nothing comes next to `{}`: {}", self.to, stack.why);
            CliError::new(ErrorCode::BS4005, message)
        })?;
        let body = PromoteStackRequest {
            environment: self.to,
            release: next.release,
            reason: self.reason,
            force: self.force,
        };
        let view = api.call::<PromoteStack>(StackPath { stack: self.stack }, Empty {}, body).await?;
        cx.ui.data(&view, || view_one(&view, &cx.frame()))?;
        done()
    }
}

fn view_list(environments: &[EnvironmentView], frame: &Frame) -> String {
    if environments.is_empty() {
        return "No environments: a release goes to all nodes by its waves.\n".to_owned();
    }
    environments.iter().map(|environment| view_one(environment, frame)).collect::<Vec<_>>().join("\n")
}

fn view_one(environment: &EnvironmentView, frame: &Frame) -> String {
    let mut text = heading(environment.name.as_str());
    let after: Vec<_> = environment.after.iter().map(EnvironmentName::as_str).collect();
    let from = match (after.is_empty(), environment.by_hand) {
        (true, _) => "follows the branch".to_owned(),
        (false, true) => format!("after {}, by hand", after.join(" and ")),
        (false, false) => format!("after {}", after.join(" and ")),
    };
    let test = if environment.test { ", for tests" } else { "" };
    text.push_str(&format!("  {} ({} nodes), {from}{test}\n", environment.of, environment.nodes));
    let mut table = Table::new(["STACK", "RELEASE", "SINCE", "RUN IT", "FAILED", "NEXT", "WHY"]);
    for stack in &environment.stacks {
        table.row([
            Cell::styled(stack.stack.to_string(), style::NAME),
            commit(stack.release.as_ref()).into(),
            stack.since.map(|at| frame.when(at)).unwrap_or_default().into(),
            format!("{} of {}", stack.run, stack.nodes).into(),
            stack.failed.to_string().into(),
            next(stack).into(),
            stack.why.clone().into(),
        ]);
    }
    text.push_str(&frame.table(&table));
    text
}

fn next(stack: &EnvironmentStackView) -> String {
    match (&stack.next, stack.ready) {
        (None, _) => String::new(),
        (Some(_), true) => format!("{}, ready", commit(stack.next.as_ref())),
        (Some(_), false) => commit(stack.next.as_ref()),
    }
}

fn commit(release: Option<&EnvironmentReleaseView>) -> String {
    release.map_or_else(|| "none".to_owned(), |release| release.commit.short().to_owned())
}
