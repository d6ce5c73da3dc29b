//! Whom a selector reaches, asked for a whole fleet: most nodes share their labels with many others.

use std::cell::{Cell, OnceCell};

use backstay_manifest::Selector;
use backstay_types::Scope;

use crate::snapshot::{NodeFacts, tag_of};

/// For so many kinds of labels answers are kept, each in the one place where it can be.
const KINDS: usize = 1024;

/// Whom something concerns.
#[derive(Debug)]
pub(crate) enum Reach {
    /// Everyone.
    Everyone,
    /// Nodes by their labels alone, with the answers so far.
    Labels(Selector, Answers),
    /// Nodes with one of some names, by what stands for the names.
    Names(Selector, Vec<u64>),
    /// Any others.
    Others(Selector),
}

/// Answers by what stands for the labels; without room until the first is asked for, since most of what is read for a
/// step concerns other stacks.
#[derive(Debug, Default)]
pub(crate) struct Answers(OnceCell<Box<[Answer]>>);

/// What stands for labels, and the answer for them.
type Answer = Cell<Option<(u64, bool)>>;

impl Answers {
    /// The answer, known or found out.
    fn of(&self, labels: u64, ask: impl FnOnce() -> bool) -> bool {
        // Any bits will do: they are a hash's.
        let room = self.0.get_or_init(|| vec![Answer::new(None); KINDS].into());
        let kept = &room[labels as usize % KINDS];
        match kept.get() {
            Some((of, answer)) if of == labels => answer,
            _ => {
                let answer = ask();
                kept.set(Some((labels, answer)));
                answer
            }
        }
    }
}

impl Reach {
    /// Of a selector.
    pub(crate) fn of(selector: &Selector) -> Self {
        let selector = selector.clone();
        if selector.is_everything() {
            return Self::Everyone;
        }
        if !selector.asks_for_name() {
            return Self::Labels(selector, Answers::default());
        }
        match selector.names().map(|names| names.into_iter().map(tag_of).collect::<Vec<_>>()) {
            Some(mut tags) => {
                tags.sort_unstable();
                Self::Names(selector, tags)
            }
            None => Self::Others(selector),
        }
    }

    /// Of a scope. A selector that cannot be read reaches nobody: what cannot be understood changes nothing. Who is in an
    /// environment is known where a stack is planned for it.
    pub(crate) fn of_scope(scope: &Scope) -> Option<Self> {
        match scope {
            Scope::Fleet => Some(Self::Everyone),
            Scope::Nodes { selector } => selector.parse().ok().map(|selector| Self::of(&selector)),
            Scope::Environment { .. } => None,
        }
    }

    /// Whether it reaches a node.
    pub(crate) fn concerns(&self, node: &NodeFacts) -> bool {
        match self {
            Self::Everyone => true,
            Self::Others(selector) => node.is_in(selector),
            Self::Names(selector, tags) => {
                tags.binary_search(&node.tags.name).is_ok() && node.is_in(selector)
            }
            Self::Labels(selector, answers) => answers.of(node.tags.labels, || node.is_in(selector)),
        }
    }
}

#[cfg(test)]
mod tests {
    use backstay_types::{Id as _, Labels, NodeId};

    use super::*;

    #[test]
    fn the_answer_is_that_of_the_selector() {
        let nodes: Vec<_> = (0..60_u128)
            .map(|n| {
                let labels = [format!("ring={}", n % 3), format!("serial={}", n % 20)];
                let labels = Labels::parse(labels.iter().map(String::as_str)).unwrap();
                NodeFacts::new(
                    NodeId::from_uuid(uuid::Uuid::from_u128(n)),
                    format!("n{n}").parse().unwrap(),
                    labels,
                )
            })
            .collect();
        for text in [
            "",
            "ring=1",
            "name=n7",
            "name in (n1,n2,n50),ring=2",
            "name!=n3",
            "ring notin (0,1)",
            "!ring",
            "name",
        ] {
            let selector: Selector = text.parse().unwrap();
            let reach = Reach::of(&selector);
            for node in nodes.iter().chain(&nodes) {
                assert_eq!(reach.concerns(node), node.is_in(&selector), "{text}: {}", node.name());
            }
        }
        assert!(Reach::of_scope(&Scope::Nodes { selector: "a in (".into() }).is_none());
    }
}
