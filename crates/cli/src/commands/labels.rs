//! `backstay nodes label`: the labels of nodes that have joined, in kubectl's words.

use std::collections::BTreeMap;

use backstay_api::{
    Empty,
    v1::{
        AssignedStack, LabelNode, LabelNodes, LabelNodesRequest, LabelledNode, LabelsRequest, MovedStack,
        NodePath,
    },
};
use clap::Args;

use super::{Outcome, done};
use crate::{
    api::Api,
    context::Context,
    error::CliError,
    ui::{Cell, Frame, Table, count, style},
};

/// Options of `nodes label`.
#[derive(Debug, Args)]
#[command(override_usage = "backstay nodes label [OPTIONS] NODE KEY=VALUE|KEY-...\n       \
    backstay nodes label [OPTIONS] --where SELECTOR KEY=VALUE|KEY-...")]
pub(crate) struct Label {
    /// The node's name or id (not with --where), then labels: `ring=canary` sets one, `region-` takes one off
    #[arg(required = true, value_name = "NODE|LABEL")]
    words: Vec<String>,
    /// All nodes that this label selector matches, or none of them
    #[arg(long = "where", value_name = "SELECTOR")]
    selector: Option<String>,
    /// Why
    #[arg(long, value_name = "WHY")]
    reason: Option<String>,
    /// Change nothing; say who would come to run what else
    #[arg(long)]
    dry_run: bool,
}

impl Label {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let (node, words) = match &self.selector {
            Some(_) => (None, &self.words[..]),
            None => (self.words.first(), self.words.get(1..).unwrap_or_default()),
        };
        if let Some(word) = node.filter(|word| word.contains('=') || word.ends_with('-')) {
            return Err(CliError::argument(format!("`{word}` is a label: expected a node's name before it"))
                .hint("for several nodes at once: --where SELECTOR"));
        }
        let (set, remove) = read(words)?;
        let labels = LabelsRequest { set, remove, reason: self.reason, dry_run: self.dry_run };
        let labelled = send(&cx.api()?, node, self.selector, labels).await?;
        cx.ui.data(&labelled, || view(&labelled, self.dry_run, &cx.frame()))?;
        done()
    }
}

async fn send(
    api: &Api,
    node: Option<&String>,
    selector: Option<String>,
    labels: LabelsRequest,
) -> Result<Vec<LabelledNode>, CliError> {
    match (node, selector) {
        (Some(node), None) => {
            let path = NodePath { node: node.clone() };
            Ok(vec![api.call::<LabelNode>(path, Empty {}, labels).await?])
        }
        (_, nodes) => {
            let request = LabelNodesRequest { nodes: nodes.unwrap_or_default(), labels };
            Ok(api.call::<LabelNodes>(Empty {}, Empty {}, request).await?.items)
        }
    }
}

/// Labels to set, and keys to take off.
type Words = (BTreeMap<String, String>, Vec<String>);

/// Reads `key=value` and `key-`.
fn read(words: &[String]) -> Result<Words, CliError> {
    let (mut set, mut remove) = (BTreeMap::new(), Vec::new());
    for word in words {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) => {
                if set.insert(key.to_owned(), value.to_owned()).is_some() {
                    return Err(CliError::argument(format!("`{key}` is set twice")));
                }
            }
            (None, Some(key)) if !key.is_empty() => remove.push(key.to_owned()),
            (None, _) => {
                return Err(CliError::argument(format!("`{word}` is no label"))
                    .hint("`ring=canary` sets one, `ring-` takes it off"));
            }
        }
    }
    if set.is_empty() && remove.is_empty() {
        return Err(
            CliError::argument("no labels were given").hint("`ring=canary` sets one, `ring-` takes it off")
        );
    }
    Ok((set, remove))
}

fn view(labelled: &[LabelledNode], dry_run: bool, frame: &Frame) -> String {
    let mut table = Table::new(["NODE", "~LABELS", "~STACKS"]);
    let mut changed = 0;
    for one in labelled {
        let differs = one.before != one.after;
        changed += usize::from(differs);
        let stacks: Vec<_> = one.stacks.iter().map(moved).collect();
        table.row([
            Cell::styled(one.node.to_string(), style::NAME),
            if differs { difference(one) } else { "as they were".to_owned() }.into(),
            if stacks.is_empty() { "as before".to_owned() } else { stacks.join("; ") }.into(),
        ]);
    }
    let mut text = frame.table(&table);
    text.push_str(&match dry_run {
        true => format!("\n{} would change. Nothing was changed.\n", count(changed, "node")),
        false => format!("\n{} changed. Rollouts under way keep their waves.\n", count(changed, "node")),
    });
    text
}

fn difference(one: &LabelledNode) -> String {
    let set = one.after.iter().filter(|(key, value)| one.before.get(key) != Some(value));
    let set = set.map(|(key, value)| match one.before.get(key) {
        Some(before) => format!("{key}={value} (was {before})"),
        None => format!("{key}={value}"),
    });
    let removed = one.before.iter().filter(|(key, _)| one.after.get(key).is_none());
    set.chain(removed.map(|(key, _)| format!("{key}-"))).collect::<Vec<_>>().join(" ")
}

fn moved(one: &MovedStack) -> String {
    let stack = &one.stack;
    let at = |place: &AssignedStack| {
        let commit =
            place.commit.as_ref().map_or_else(|| "what it runs".to_owned(), |c| c.short().to_owned());
        match &place.environment {
            Some(environment) => format!("{environment} ({commit})"),
            None => commit,
        }
    };
    match (&one.before, &one.after) {
        (None, Some(after)) => format!("comes to run {stack}: {}", at(after)),
        (Some(_), None) if one.taken_away => format!("{stack} is taken away, its data stays"),
        (Some(_), None) => format!("{stack} is no longer assigned: left as it is"),
        (Some(before), Some(after)) => format!("{stack}: from {} to {}", at(before), at(after)),
        (None, None) => stack.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_kubectl_does() {
        let words = |words: &[&str]| read(&words.iter().map(|&w| w.to_owned()).collect::<Vec<_>>());
        let (set, remove) = words(&["ring=canary", "region-", "a=", "x=1-"]).unwrap();
        let pairs: Vec<_> = set.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", ""), ("ring", "canary"), ("x", "1-")]);
        assert_eq!(remove, ["region"]);
        for wrong in [&["ring"][..], &["-"], &[], &["a=1", "a=2"]] {
            assert!(words(wrong).is_err(), "{wrong:?}");
        }
    }
}
