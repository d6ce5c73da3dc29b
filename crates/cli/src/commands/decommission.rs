//! `backstay nodes decommission`: out of the fleet, in order.

use backstay_api::{
    Empty,
    v1::{
        CancelDecommission, DecommissionNode, DecommissionPlan, DecommissionRequest, LiftRequest, NodePath,
    },
};
use clap::Args;

use super::{Outcome, done};
use crate::{
    api::Api,
    context::Context,
    error::CliError,
    ui::{Cell, Frame, Table, style},
};

/// Options of `nodes decommission`.
#[derive(Debug, Args)]
pub(crate) struct Decommission {
    /// Name or id
    node: String,
    /// Why
    #[arg(long, value_name = "WHY", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Revoke it at once, and leave running what it runs
    #[arg(long, conflicts_with = "cancel")]
    keep_running: bool,
    /// Let a node stay that is being taken out; what was taken away there already comes back
    #[arg(long, conflicts_with = "dry_run")]
    cancel: bool,
    /// Change nothing; say what would be taken away and what stays
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Decommission {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        if self.cancel {
            return self.cancel(&api, cx).await;
        }
        let looked = self.send(&api, true).await?;
        if self.dry_run {
            cx.ui.data(&looked, || view(&looked, self.keep_running, &cx.frame()))?;
            return done();
        }
        cx.ui.say(view(&looked, self.keep_running, &cx.frame()).trim_end());
        if !self.yes && !cx.ui.confirm(&format!("Take node {} out of the fleet?", looked.node))? {
            return Err(CliError::argument("nothing was changed"));
        }
        let plan = self.send(&api, false).await?;
        cx.ui.data(&plan, || said(&plan))?;
        done()
    }

    async fn send(&self, api: &Api, dry_run: bool) -> Result<DecommissionPlan, CliError> {
        let path = NodePath { node: self.node.clone() };
        let reason = self.reason.clone().unwrap_or_default();
        let request = DecommissionRequest { reason, keep_running: self.keep_running, dry_run };
        api.call::<DecommissionNode>(path, Empty {}, request).await
    }

    async fn cancel(self, api: &Api, cx: &Context) -> Outcome {
        let path = NodePath { node: self.node.clone() };
        let request = LiftRequest { reason: self.reason.unwrap_or_default() };
        let answer = api.call::<CancelDecommission>(path, Empty {}, request).await?;
        cx.ui.data(&answer, || {
            format!("Node {} stays. What was taken away there already comes back.\n", self.node)
        })?;
        done()
    }
}

fn view(plan: &DecommissionPlan, keep_running: bool, frame: &Frame) -> String {
    if plan.stacks.is_empty() {
        return format!("Node {} runs nothing; it is revoked at once.\n", plan.node);
    }
    let mut table = Table::new(["STACK", "COMMIT", "~TAKEN AWAY", "~STAYS"]);
    for one in &plan.stacks {
        let taken = match (keep_running, one.containers.is_empty()) {
            (true, _) => "nothing".to_owned(),
            (false, true) => "what runs of it".to_owned(),
            (false, false) => one.containers.join(", "),
        };
        let mut stays = one.volumes.iter().map(|volume| format!("volume {volume}")).collect::<Vec<_>>();
        stays.push(format!("stacks/{}/state", one.stack));
        table.row([
            Cell::styled(one.stack.to_string(), style::NAME),
            one.commit.as_ref().map_or_else(|| "-".to_owned(), |commit| commit.short().to_owned()).into(),
            taken.into(),
            stays.join(", ").into(),
        ]);
    }
    let mut text = frame.table(&table);
    text.push_str(match keep_running {
        true => "\nIt is revoked at once, and all of this keeps running. Data and volumes stay.\n",
        false => {
            "\nNothing new begins there, this is taken away when the node next checks in, and then it is revoked. \
             Data and volumes stay.\n"
        }
    });
    text
}

fn said(plan: &DecommissionPlan) -> String {
    let node = &plan.node;
    if plan.revoked {
        return format!("Node {node} is out of the fleet. What it runs keeps running.\n");
    }
    format!(
        "Node {node} is being taken out of the fleet (`backstay nodes show {node}`). Until it is out: \
         `backstay nodes decommission {node} --cancel --reason WHY`; if it never comes back: \
         `backstay nodes revoke {node}`.\n"
    )
}
