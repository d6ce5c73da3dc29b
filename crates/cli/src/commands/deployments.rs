//! `backstay deployments`: the newest, or one with its steps.

use backstay_api::{
    Empty,
    v1::{
        DeploymentDetail, DeploymentPath, DeploymentView, DeploymentsQuery, GetDeployment, ListDeployments,
    },
};
use backstay_types::{StackName, StepOutcome};
use clap::Args;

use super::{Outcome, done};
use crate::{
    context::Context,
    ids, lookup,
    ui::{Cell, Frame, Table, style, when, words},
    views::fields::{Fields, heading, section},
};

/// Deployments, newest first; with an id, that one with its steps.
#[derive(Debug, Args)]
pub(crate) struct Deployments {
    /// A deployment, to see its steps
    #[arg(conflicts_with_all = ["node", "stack", "rollout", "conversation"])]
    deployment: Option<String>,
    /// Only on this node
    #[arg(long)]
    node: Option<String>,
    /// Only of this stack
    #[arg(long)]
    stack: Option<StackName>,
    /// Only of this rollout
    #[arg(long)]
    rollout: Option<String>,
    /// Only those that this conversation caused
    #[arg(long)]
    conversation: Option<String>,
    /// The most to show
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

impl Deployments {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        if let Some(text) = &self.deployment {
            let path = DeploymentPath { deployment: lookup::deployment(&api, text).await? };
            let detail = api.call::<GetDeployment>(path, Empty {}, Empty {}).await?;
            cx.ui.data(&detail, || view_one(&detail, &cx.frame()))?;
            return done();
        }
        let mut query =
            DeploymentsQuery { node: self.node, stack: self.stack, ..DeploymentsQuery::default() };
        query.limit = Some(self.limit);
        if let Some(text) = &self.rollout {
            query.rollout = Some(lookup::rollout(&api, text).await?);
        }
        if let Some(text) = &self.conversation {
            query.conversation = Some(lookup::conversation(&api, text).await?);
        }
        let page = api.call::<ListDeployments>(Empty {}, query, Empty {}).await?;
        cx.ui.data(&page.items, || view_list(&page.items, &cx.frame()))?;
        done()
    }
}

/// Deployments in a table.
pub(crate) fn view_list(deployments: &[DeploymentView], frame: &Frame) -> String {
    if deployments.is_empty() {
        return "No deployments.\n".to_owned();
    }
    let mut table = Table::new(["ID", "NODE", "STACK", "STATE", "COMMIT", "WHEN", "~CONVERSATIONS"]);
    for view in deployments {
        let deployment = &view.deployment;
        table.row([
            Cell::styled(ids::short(deployment.id), style::NAME),
            view.node_name.to_string().into(),
            deployment.stack.to_string().into(),
            words::deployment(&deployment.state),
            view.commit.short().into(),
            frame
                .when(deployment.finished_at.or(deployment.started_at).unwrap_or(deployment.created_at))
                .into(),
            lookup::shorts(&view.conversations).into(),
        ]);
    }
    frame.table(&table)
}

fn view_one(detail: &DeploymentDetail, frame: &Frame) -> String {
    let view = &detail.view;
    let deployment = &view.deployment;
    let mut text = heading(&format!("Deployment {}", deployment.id));
    let mut fields = Fields::default();
    fields.add("stack", deployment.stack.to_string()).add("node", view.node_name.to_string());
    fields.add("it", words::deployment_sentence(&deployment.state));
    fields.add("release", format!("{} (commit {})", view.tree.short(), view.commit.short()));
    fields.maybe("before", deployment.previous.map(|tree| tree.short()));
    fields.add("rollout", deployment.rollout.to_string());
    let conversations = view.conversations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    fields.maybe("because of", Some(conversations).filter(|text| !text.is_empty()));
    fields.add("planned", frame.exactly(deployment.created_at));
    fields.maybe("ended", deployment.finished_at.map(|at| frame.exactly(at)));
    text.push_str(&fields.render());
    text.push_str(&steps(detail, frame));
    text
}

fn steps(detail: &DeploymentDetail, frame: &Frame) -> String {
    if detail.steps.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["  STEP", "", "TOOK", "~DETAIL"]);
    for step in &detail.steps {
        let outcome = match step.outcome {
            StepOutcome::Done => Cell::styled("done", style::GOOD),
            StepOutcome::Skipped => Cell::styled("skipped", style::DIM),
            StepOutcome::Failed => Cell::styled("failed", style::BAD),
        };
        let name = format!("  {}", words::step(step.step));
        table.row([name.into(), outcome, when::millis(step.millis).into(), step.detail.clone().into()]);
    }
    format!("{}{}", section("Steps"), frame.table(&table))
}
