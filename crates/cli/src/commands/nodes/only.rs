//! `nodes list --only`: what a node can be, in the words of the page's filters.

use std::collections::BTreeSet;

use backstay_api::{
    Empty,
    v1::{ListNodeRows, NodeMark, NodeRowsQuery},
};
use backstay_types::{NodeId, NodeState, StackHealth};
use clap::ValueEnum;

use crate::{api::Api, error::CliError};

/// The most rows that the hub gives at once.
const ROWS: u32 = 1000;

/// What is so of a node, or of a stack on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Only {
    /// In safe mode
    SafeMode,
    /// Something on it departs from what should be
    #[value(alias = "drifting")]
    Drift,
    /// In maintenance
    Maintenance,
    /// Its updates are off
    UpdatesOff,
    /// Pinned, but not with everyone
    Pinned,
    /// Following another branch than the deployed one
    Following,
    /// Frozen, but not with everyone
    Frozen,
    /// Being taken out of the fleet
    Decommissioning,
    /// Heard from
    Online,
    /// Not heard from
    Offline,
    /// Joined, and not heard from yet
    Joined,
    /// The hub started too recently to say
    Unknown,
    /// Its credential was taken away
    Revoked,
    /// With a stack that is healthy
    Healthy,
    /// With a stack that is being deployed
    Deploying,
    /// With a stack that is not as it should be
    Degraded,
    /// With a stack that is down
    Down,
}

impl Only {
    /// The nodes of which it is so, among those that a selector matches.
    pub(crate) async fn find(
        self,
        api: &Api,
        selector: Option<&String>,
    ) -> Result<BTreeSet<NodeId>, CliError> {
        let mut found = BTreeSet::new();
        loop {
            let offset = u32::try_from(found.len()).unwrap_or(u32::MAX);
            let query = NodeRowsQuery {
                selector: selector.cloned(),
                offset: Some(offset),
                limit: Some(ROWS),
                ..self.query()
            };
            let rows = api.call::<ListNodeRows>(Empty {}, query, Empty {}).await?.rows;
            let before = found.len();
            found.extend(rows.iter().map(|row| row.id));
            if rows.len() < ROWS as usize || found.len() == before {
                return Ok(found);
            }
        }
    }

    fn query(self) -> NodeRowsQuery {
        let mark = |mark| NodeRowsQuery { only: Some(mark), ..NodeRowsQuery::default() };
        let state = |state| NodeRowsQuery { state: Some(state), ..NodeRowsQuery::default() };
        let health = |health| NodeRowsQuery { health: Some(health), ..NodeRowsQuery::default() };
        match self {
            Self::SafeMode => mark(NodeMark::SafeMode),
            Self::Drift => mark(NodeMark::Drift),
            Self::Maintenance => mark(NodeMark::Maintenance),
            Self::UpdatesOff => mark(NodeMark::UpdatesOff),
            Self::Pinned => mark(NodeMark::Pinned),
            Self::Following => mark(NodeMark::Following),
            Self::Frozen => mark(NodeMark::Frozen),
            Self::Decommissioning => mark(NodeMark::Decommissioning),
            Self::Online => state(NodeState::Online),
            Self::Offline => state(NodeState::Offline),
            Self::Joined => state(NodeState::Joined),
            Self::Unknown => state(NodeState::Unknown),
            Self::Revoked => state(NodeState::Revoked),
            Self::Healthy => health(StackHealth::Healthy),
            Self::Deploying => health(StackHealth::Deploying),
            Self::Degraded => health(StackHealth::Degraded),
            Self::Down => health(StackHealth::Down),
        }
    }
}
