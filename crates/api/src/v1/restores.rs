//! A whole fleet's data put back at once.

use backstay_types::{BackupJobId, ErrorCode, NodeName, StackName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RestoreView;
use crate::endpoint::endpoints;

endpoints! {
    /// Puts the data of every stack of every node back in its place, or of the nodes that a selector names; or says what
    /// would be put back. All of it is asked for at once, or nothing.
    RestoreEverything = Post "/api/v1/backups/restores/everything" Operator
        (body: RestoreEverythingRequest) -> RestoreEverythingView;
}

/// Which nodes go back, and to when.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RestoreEverythingRequest {
    /// From this the jobs get their ids; the hub's choice when absent. Who asks again under the same id gets the same jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<BackupJobId>,
    /// Nodes by their labels, as in `role=assistant,region in (eu,us)`; all that are in the fleet when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
    /// Of each stack the newest proven snapshot that was begun then or before; now when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Each `NODE/STACK` where older data could make a validator sign twice, typed by a person.
    pub confirm: Vec<String>,
    /// Only says what would be put back.
    pub dry_run: bool,
}

/// What is put back, or would be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RestoreEverythingView {
    /// To when. Given as `at`, the same is meant later.
    pub at: Timestamp,
    /// What is put back, by node and stack.
    pub restores: Vec<RestoreView>,
    /// Stacks with snapshots of which nothing is put back, by node and stack.
    pub left_out: Vec<LeftOut>,
}

/// A stack of which nothing is put back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// The node.
    pub node_name: NodeName,
    /// The stack.
    pub stack: StackName,
    /// Why, as a code that docs/errors has a page of.
    pub code: ErrorCode,
    /// Why, in words.
    pub why: String,
}
