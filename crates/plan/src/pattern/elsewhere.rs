//! The same failure in other stacks: then the release alone is hardly to blame.

use std::collections::{BTreeMap, BTreeSet};

use backstay_types::{ErrorGroup, FailureKind, NodeName, SameElsewhere, StackName, Step};

use super::{MOST_NAMES, reason::same_for_all};

const MOST_STACKS: usize = 5;

/// An attempt at another stack that failed about when the rollout did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherFailure {
    /// The stack.
    pub stack: StackName,
    /// The node.
    pub node: NodeName,
    /// The step.
    pub step: Step,
    /// What kind of failure.
    pub failure: FailureKind,
    /// Why, in the node's words.
    pub reason: String,
}

/// Says of each group of failures which other stacks have it too.
pub(super) fn find(stack: &StackName, groups: &mut [ErrorGroup], others: &[OtherFailure]) {
    let mut nodes: BTreeMap<Key, BTreeMap<&StackName, BTreeSet<&NodeName>>> = BTreeMap::new();
    for other in others.iter().filter(|other| other.stack != *stack) {
        let same = of_any_stack(&same_for_all(&other.reason, &other.node), &other.stack);
        let of = nodes.entry(key(same, other.step, other.failure)).or_default();
        of.entry(&other.stack).or_default().insert(&other.node);
    }
    for group in groups {
        let own = key(of_any_stack(&group.reason, stack), group.step, group.failure);
        let Some(found) = nodes.get(&own) else { continue };
        group.elsewhere = found
            .iter()
            .map(|(stack, nodes)| SameElsewhere {
                stack: (*stack).clone(),
                nodes: nodes.len() as u64,
                names: nodes.iter().take(MOST_NAMES).map(|name| (*name).clone()).collect(),
            })
            .collect();
        // The sort keeps those with as many nodes in the order of their names.
        group.elsewhere.sort_by_key(|one| std::cmp::Reverse(one.nodes));
        group.elsewhere.truncate(MOST_STACKS);
    }
}

/// One as a line.
pub(super) fn describe(one: &SameElsewhere) -> String {
    let nodes = if one.nodes == 1 { "1 node".to_owned() } else { format!("{} nodes", one.nodes) };
    format!("stack {} failed in that way too, on {nodes}", one.stack)
}

/// A failure as it is compared. Steps and kinds have no order of their own; their names do.
type Key = (String, String, String);

fn key(same: String, step: Step, failure: FailureKind) -> Key {
    (same, format!("{step:?}"), format!("{failure:?}"))
}

/// A reason as it would read of any stack: its name as a word becomes `<stack>`.
fn of_any_stack(same: &str, stack: &StackName) -> String {
    // The reason has its numbers taken out already, and so the name has to be looked for.
    let name = without_numbers(stack.as_str());
    let mut out = String::new();
    let mut rest = same;
    while !rest.is_empty() {
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
        let (word, after) = match end {
            0 => rest.split_at(rest.chars().next().map_or(1, char::len_utf8)),
            end => rest.split_at(end),
        };
        out.push_str(if word == name { "<stack>" } else { word });
        rest = after;
    }
    out
}

fn without_numbers(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            '0'..='9' if out.ends_with('N') => {}
            '0'..='9' => out.push('N'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_stacks_own_name_does_not_make_a_failure_another() {
        let of = |reason: &str, stack: &str| {
            let same = same_for_all(reason, &"n1".parse().unwrap());
            of_any_stack(&same, &stack.parse().unwrap())
        };
        let shop = of("registry.example/shop:1.2 cannot be pulled: no route to host", "shop");
        assert_eq!(shop, "registry.example/<stack>:N.N cannot be pulled: no route to host");
        assert_eq!(of("registry.example/db-12:7.0 cannot be pulled: no route to host", "db-12"), shop);
        // Only as a word: a stack may be called as a part of another.
        assert_eq!(of("a day at the bar", "a"), "<stack> day at the bar");
        assert_eq!(of("web-server is gone", "web"), "web-server is gone");
    }
}
