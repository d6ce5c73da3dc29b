//! Environments as scenarios have them.

use crate::{chance::Chance, window::selects};

/// An environment of a scenario's fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Its name.
    pub name: &'static str,
    /// Its nodes, unless a stage before has them.
    pub nodes: &'static str,
    /// Whether its nodes are there for tests: all others come after it.
    pub test: bool,
    /// The environments that a release comes from, as the manifest names them.
    pub after: &'static [&'static str],
    /// How long a release is watched here before it goes on, in seconds.
    pub soak: u64,
    /// Whether a person lets releases in.
    pub by_hand: bool,
}

const fn stage(name: &'static str, nodes: &'static str, after: &'static [&'static str]) -> Stage {
    Stage { name, nodes, test: false, after, soak: 0, by_hand: false }
}

impl Stage {
    /// The environments of a fleet.
    pub(crate) fn draw(chance: &mut Chance) -> Vec<Self> {
        const LAB: Stage = Stage { test: true, ..stage("lab", "ring=first", &[]) };
        const ALL: [&[Stage]; 4] = [
            &[LAB, stage("prod", "ring=rest", &[])],
            &[stage("dev", "kind=odd", &[]), stage("prod", "kind=even", &["dev"])],
            &[LAB, stage("staging", "kind=odd", &[]), stage("prod", "ring=rest", &["staging"])],
            &[
                stage("dev", "ring=first", &[]),
                stage("prod-eu", "kind=odd", &["dev"]),
                stage("prod-us", "ring=rest", &["dev", "prod-eu"]),
            ],
        ];
        let mut stages = chance.pick(&ALL).to_vec();
        let soak = *chance.pick(&[0, 60, 300]);
        let last = stages.len() - 1;
        for stage in &mut stages[..last] {
            stage.soak = soak;
        }
        stages[last].by_hand = chance.permille(300);
        stages
    }

    /// The stage that a node is in.
    pub(crate) fn of(stages: &[Self], node: usize) -> Option<&Self> {
        stages.iter().find(|stage| selects(stage.nodes, node))
    }

    /// The stages that a release comes from: of those that are for tests all do.
    pub(crate) fn before<'a>(&self, stages: &'a [Self]) -> Vec<&'a Self> {
        let is_before = |other: &&Self| self.after.contains(&other.name) || (other.test && !self.test);
        stages.iter().filter(is_before).collect()
    }

    /// As `fleet.toml` says it.
    pub(crate) fn to_toml(self) -> String {
        let Self { name, nodes, test, after, soak, by_hand } = self;
        let mut text = format!("[[environment]]\nname = \"{name}\"\nnodes = \"{nodes}\"\n");
        if test {
            text.push_str("test = true\n");
        }
        if !after.is_empty() {
            let after: Vec<_> = after.iter().map(|name| format!("\"{name}\"")).collect();
            text.push_str(&format!("after = [{}]\n", after.join(", ")));
        }
        if soak > 0 {
            text.push_str(&format!("soak = \"{soak}s\"\n"));
        }
        if by_hand {
            text.push_str("promotion = \"by hand\"\n");
        }
        text
    }
}
