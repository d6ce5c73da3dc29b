//! Moving stacks from one node to another, with their data.

use backstay_types::{
    CommitId, Migration, MigrationId, MigrationState, NodeName, StackName, backup::BackupProgress,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Page;
use crate::endpoint::endpoints;

endpoints! {
    /// Moves stacks from one node to another with their data, or says what that would be. Each is copied while it runs, then
    /// stopped, saved once more, and started on the other node with all that was written.
    StartMigration = Post "/api/v1/migrations" Operator (body: MigrationRequest) -> MigrationPlan;
    /// Migrations, newest first.
    ListMigrations = Get "/api/v1/migrations" Viewer (query: MigrationsQuery) -> Page<MigrationView>;
    /// One migration.
    GetMigration = Get "/api/v1/migrations/{migration}" Viewer (path: MigrationPath) -> MigrationView;
    /// Ends a migration: what has not come to run on the other node runs again where it was, with the data that stayed there.
    AbortMigration = Post "/api/v1/migrations/{migration}/abort" Operator
        (path: MigrationPath, body: AbortMigrationRequest) -> MigrationView;
}

/// What is to move.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MigrationRequest {
    /// The id that the migration gets; the hub's choice when absent. Asked twice under one id, it is begun once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<MigrationId>,
    /// Name or id of the node that stacks leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Name or id of the node that they come to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// A migration whose stacks go back to where they were, with what was written since; `from` and `to` are absent then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub back: Option<MigrationId>,
    /// Only these stacks; all that the node runs when empty.
    pub stacks: Vec<StackName>,
    /// The name of the node that they leave, typed by a person who knows that it is gone for good and that nothing runs there:
    /// it is not asked, and its newest proven snapshots are what moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_gone: Option<String>,
    /// `NODE/STACK`, typed by a person, where a snapshot older than what was signed could make a validator sign twice.
    pub confirm: Vec<String>,
    /// Why.
    pub reason: String,
    /// Only says what would be.
    pub dry_run: bool,
}

/// What a migration is, in plain words.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MigrationPlan {
    /// The node that stacks leave.
    pub from: NodeName,
    /// The node that they come to.
    pub to: NodeName,
    /// What becomes of each stack.
    pub stacks: Vec<StackMove>,
    /// What a person has to type first.
    pub confirm: Vec<String>,
    /// The migration, where it was begun.
    pub migration: Option<MigrationView>,
}

/// What becomes of a stack that moves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StackMove {
    /// The stack.
    pub stack: StackName,
    /// A commit that carries what it runs.
    pub commit: CommitId,
    /// What moves.
    pub moves: Vec<String>,
    /// What the move costs.
    pub costs: Vec<String>,
    /// What does not move, and is for a person to see to.
    pub stays: Vec<String>,
    /// What is lost, or may be.
    pub lost: Vec<String>,
}

/// A migration as it stands.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MigrationView {
    /// The migration.
    #[serde(flatten)]
    pub migration: Migration,
    /// How it stands as a whole.
    pub state: MigrationState,
    /// How far the jobs are that it waits for.
    pub progress: Vec<StackProgress>,
    /// Whether stacks of it can go back: they run on the other node, and nothing has moved them on.
    pub can_go_back: bool,
    /// What `[[assign]]` in `fleet.toml` does not say yet of where stacks run now.
    pub unsaid: Vec<String>,
}

/// How far the job of a stack is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StackProgress {
    /// The stack.
    pub stack: StackName,
    /// How far.
    pub progress: BackupProgress,
}

/// Which migration.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MigrationPath {
    /// Its id.
    pub migration: MigrationId,
}

/// Which migrations.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MigrationsQuery {
    /// Only those that lead from this node or to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// At most this many items; 100 when absent, 1000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// How a migration ends.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AbortMigrationRequest {
    /// The name of the node that stacks were to come to, typed by a person who knows that it is gone for good and that nothing
    /// runs there: without it, that is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_gone: Option<String>,
    /// Why.
    pub reason: String,
}
