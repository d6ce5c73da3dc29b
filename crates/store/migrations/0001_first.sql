-- Portable between SQLite and PostgreSQL. Times are microseconds since 1970,
-- booleans 0 or 1, ids and commit ids lower-case text, JSON is TEXT.

CREATE TABLE hub_state (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    token BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- The ledger: what is recorded waits in ledger_pending until it is sealed.

CREATE TABLE ledger_pending (
    ord BIGINT NOT NULL,
    id TEXT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    refs TEXT NOT NULL,
    salt BLOB NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX ledger_pending_ord ON ledger_pending (ord, id);

CREATE TABLE ledger (
    seq BIGINT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    conversation_id TEXT,
    repository_id TEXT,
    commit_id TEXT,
    stack TEXT,
    release_id TEXT,
    rollout_id TEXT,
    deployment_id TEXT,
    node_id TEXT,
    undo_id TEXT,
    constraint_id TEXT,
    body_hash TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE INDEX ledger_at ON ledger (at);
CREATE INDEX ledger_kind ON ledger (kind, seq);
CREATE INDEX ledger_conversation ON ledger (conversation_id, seq) WHERE conversation_id IS NOT NULL;
CREATE INDEX ledger_repository ON ledger (repository_id, seq) WHERE repository_id IS NOT NULL;
CREATE INDEX ledger_commit ON ledger (commit_id, seq) WHERE commit_id IS NOT NULL;
CREATE INDEX ledger_stack ON ledger (stack, seq) WHERE stack IS NOT NULL;
CREATE INDEX ledger_release ON ledger (release_id, seq) WHERE release_id IS NOT NULL;
CREATE INDEX ledger_rollout ON ledger (rollout_id, seq) WHERE rollout_id IS NOT NULL;
CREATE INDEX ledger_deployment ON ledger (deployment_id, seq) WHERE deployment_id IS NOT NULL;
CREATE INDEX ledger_node ON ledger (node_id, seq) WHERE node_id IS NOT NULL;
CREATE INDEX ledger_undo ON ledger (undo_id, seq) WHERE undo_id IS NOT NULL;
CREATE INDEX ledger_constraint ON ledger (constraint_id, seq) WHERE constraint_id IS NOT NULL;

-- A row of the chain whose body was erased has no row here.
CREATE TABLE ledger_bodies (
    seq BIGINT NOT NULL PRIMARY KEY,
    salt BLOB NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE ledger_head (
    one BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL,
    day BIGINT NOT NULL,
    digest TEXT NOT NULL
);

CREATE TABLE ledger_segments (
    number BIGINT NOT NULL PRIMARY KEY,
    day BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    hash TEXT NOT NULL,
    digest TEXT NOT NULL
);

CREATE TABLE repositories (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    endpoints TEXT NOT NULL,
    branch TEXT NOT NULL,
    stacks_path TEXT,
    tip TEXT,
    health TEXT NOT NULL,
    fetched_at BIGINT,
    created_at BIGINT NOT NULL,
    credential TEXT,
    warnings TEXT NOT NULL
);

CREATE TABLE conversations (
    id TEXT NOT NULL PRIMARY KEY,
    tool TEXT NOT NULL,
    title TEXT,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX conversations_last_seen ON conversations (last_seen_at, id);

CREATE TABLE foreign_ids (
    tool TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    PRIMARY KEY (tool, kind, value)
);
CREATE INDEX foreign_ids_conversation ON foreign_ids (conversation_id);

CREATE TABLE deliveries (
    id TEXT NOT NULL PRIMARY KEY,
    source TEXT NOT NULL,
    key TEXT NOT NULL,
    received_at BIGINT NOT NULL,
    headers TEXT NOT NULL,
    body BLOB NOT NULL,
    bytes BIGINT NOT NULL,
    events BIGINT NOT NULL,
    unrecognised TEXT,
    UNIQUE (source, key)
);
CREATE INDEX deliveries_source ON deliveries (source, id);
CREATE INDEX deliveries_received ON deliveries (received_at);
CREATE INDEX deliveries_unrecognised ON deliveries (id) WHERE unrecognised IS NOT NULL;

CREATE TABLE tool_events (
    id TEXT NOT NULL PRIMARY KEY,
    conversation_id TEXT,
    delivery_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    summary TEXT NOT NULL,
    commits TEXT NOT NULL
);
CREATE INDEX tool_events_conversation ON tool_events (conversation_id, at, id);
CREATE INDEX tool_events_delivery ON tool_events (delivery_id);
CREATE INDEX tool_events_at ON tool_events (at);

CREATE TABLE tool_event_commits (
    commit_text TEXT NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (commit_text, event_id)
);
CREATE INDEX tool_event_commits_event ON tool_event_commits (event_id);

CREATE TABLE changes (
    repository_id TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    parents TEXT NOT NULL,
    author_name TEXT NOT NULL,
    author_email TEXT NOT NULL,
    authored_at BIGINT NOT NULL,
    committed_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    subject TEXT NOT NULL,
    stacks TEXT NOT NULL,
    reverts TEXT NOT NULL,
    undo_id TEXT,
    patch_digest TEXT,
    position BIGINT,
    landed_at BIGINT,
    PRIMARY KEY (repository_id, commit_id)
);
CREATE INDEX changes_commit ON changes (commit_id);
CREATE INDEX changes_position ON changes (repository_id, position) WHERE position IS NOT NULL;
CREATE INDEX changes_patch ON changes (repository_id, patch_digest) WHERE patch_digest IS NOT NULL;
CREATE INDEX changes_undo ON changes (undo_id) WHERE undo_id IS NOT NULL;
CREATE INDEX changes_committed ON changes (committed_at);

CREATE TABLE change_reverts (
    repository_id TEXT NOT NULL,
    reverted TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    PRIMARY KEY (repository_id, reverted, commit_id)
);

CREATE TABLE change_links (
    repository_id TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    conversation_id TEXT NOT NULL,
    source TEXT NOT NULL,
    strength BIGINT NOT NULL,
    PRIMARY KEY (repository_id, commit_id, conversation_id)
);
CREATE INDEX change_links_conversation ON change_links (conversation_id);
CREATE INDEX change_links_commit ON change_links (commit_id);

-- Ids that a commit names and whose conversation is not known yet.
CREATE TABLE change_foreign (
    repository_id TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (repository_id, commit_id, tool, kind, value)
);
CREATE INDEX change_foreign_value ON change_foreign (tool, kind, value);

CREATE TABLE releases (
    id TEXT NOT NULL PRIMARY KEY,
    stack TEXT NOT NULL,
    tree TEXT NOT NULL,
    repository_id TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    path TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    -- Empty for a whole stack.
    part TEXT NOT NULL,
    -- How the stack is divided; empty where it moves as one.
    layout TEXT NOT NULL,
    -- The releases of its parts, by name.
    parts TEXT NOT NULL,
    UNIQUE (stack, tree, part, layout)
);
CREATE INDEX releases_stack ON releases (stack, id);
CREATE INDEX releases_tree ON releases (tree);

CREATE TABLE release_commits (
    release_id TEXT NOT NULL,
    repository_id TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    PRIMARY KEY (release_id, repository_id, commit_id)
);
CREATE INDEX release_commits_commit ON release_commits (commit_id);

CREATE TABLE stacks (
    name TEXT NOT NULL PRIMARY KEY,
    repository_id TEXT NOT NULL,
    path TEXT NOT NULL,
    release_id TEXT,
    assignment TEXT NOT NULL,
    manifest TEXT NOT NULL,
    present BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX stacks_repository ON stacks (repository_id);

-- `environment` is empty where there are none, `part` where the stack moves as one.
CREATE TABLE rollouts (
    id TEXT NOT NULL PRIMARY KEY,
    stack TEXT NOT NULL,
    environment TEXT NOT NULL,
    -- Which nodes follow instead of the deployed one; empty for the fleet's own.
    branch TEXT NOT NULL,
    part TEXT NOT NULL,
    release_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    cause_repository_id TEXT,
    cause_commit_id TEXT,
    cause_undo_id TEXT,
    cause_migration_id TEXT,
    state TEXT NOT NULL,
    max_updating BIGINT,
    strategy TEXT NOT NULL,
    cuts TEXT NOT NULL,
    wave BIGINT NOT NULL,
    paused TEXT,
    overridden TEXT,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX rollouts_stack ON rollouts (stack, id);
CREATE INDEX rollouts_environment ON rollouts (stack, environment, id);
CREATE INDEX rollouts_running ON rollouts (id) WHERE state = 'running';
CREATE INDEX rollouts_halted ON rollouts (created_at) WHERE state = 'halted';
CREATE INDEX rollouts_release ON rollouts (release_id);
CREATE INDEX rollouts_cause_commit ON rollouts (cause_commit_id) WHERE cause_commit_id IS NOT NULL;
CREATE INDEX rollouts_cause_undo ON rollouts (cause_undo_id) WHERE cause_undo_id IS NOT NULL;
CREATE INDEX rollouts_completed ON rollouts (stack, finished_at) WHERE state = 'succeeded';

-- Who is in a wave that goes by labels, as it was when the rollout began.
CREATE TABLE rollout_members (
    rollout_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    wave BIGINT NOT NULL,
    PRIMARY KEY (rollout_id, node_id)
);

-- What each environment is meant to run.
CREATE TABLE environment_releases (
    stack TEXT NOT NULL,
    environment TEXT NOT NULL,
    release_id TEXT NOT NULL,
    since BIGINT NOT NULL,
    let_in_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    undo_id TEXT,
    -- In which order releases of a stack came to its environments, whatever the clock said.
    turn BIGINT NOT NULL,
    -- What that was decided from, for the decisions of the rollout that follows.
    inputs TEXT NOT NULL,
    PRIMARY KEY (stack, environment)
);

-- Branches that nodes follow instead of the deployed one, with what was read of a stack there. `base` is the highest place
-- on the deployed branch that it contains.
CREATE TABLE branches (
    stack TEXT NOT NULL,
    branch TEXT NOT NULL,
    repository_id TEXT NOT NULL,
    tip TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    release_id TEXT NOT NULL,
    manifest_schema BIGINT NOT NULL,
    base BIGINT,
    health TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (stack, branch)
);

-- Commits that the branch had beyond the deployed one when the stack was read there.
CREATE TABLE branch_commits (
    stack TEXT NOT NULL,
    branch TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    PRIMARY KEY (stack, branch, commit_id)
);

-- What each decision about a rollout was made from. `topic` says what one that waits waits for.
CREATE TABLE rollout_decisions (
    rollout_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    reason TEXT NOT NULL,
    decided_by TEXT,
    inputs TEXT NOT NULL,
    snapshot TEXT,
    topic TEXT,
    PRIMARY KEY (rollout_id, number)
);

-- What the failures of stopped rollouts have in common; looked at again while attempts are open.
CREATE TABLE rollout_patterns (
    rollout_id TEXT NOT NULL PRIMARY KEY,
    open BIGINT NOT NULL,
    body TEXT NOT NULL
);

CREATE TABLE deployments (
    id TEXT NOT NULL PRIMARY KEY,
    node_id TEXT NOT NULL,
    stack TEXT NOT NULL,
    release_id TEXT NOT NULL,
    rollout_id TEXT NOT NULL,
    previous TEXT,
    state TEXT NOT NULL,
    state_json TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    containers TEXT NOT NULL,
    -- The data that goes into place with it: of an undo, or what is to be there before the stack first starts.
    data TEXT
);
CREATE INDEX deployments_node ON deployments (node_id, stack, id);
CREATE INDEX deployments_stack ON deployments (stack, id);
CREATE INDEX deployments_rollout ON deployments (rollout_id, id);
CREATE INDEX deployments_release ON deployments (release_id, id);
CREATE INDEX deployments_created ON deployments (created_at, stack, state, node_id);
CREATE INDEX deployments_broken ON deployments (id) WHERE state = 'broken';
CREATE INDEX deployments_open ON deployments (id) WHERE state IN ('pending', 'running');
CREATE INDEX deployments_good ON deployments (node_id, stack, id, finished_at) WHERE state = 'succeeded';

-- Deployments by the hour, since 1970, in which they were planned. Kept with every write to `deployments`, so that a
-- month of a large fleet is drawn without reading each of them.
CREATE TABLE deployment_hours (
    hour BIGINT NOT NULL,
    stack TEXT NOT NULL,
    planned BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    PRIMARY KEY (hour, stack)
);

-- The newest deployment of each node and stack.
CREATE TABLE deployment_latest (
    node_id TEXT NOT NULL,
    stack TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    PRIMARY KEY (node_id, stack)
);
-- The same for each part of those that are divided; `part` is empty for attempts that moved all of it.
CREATE TABLE deployment_latest_parts (
    node_id TEXT NOT NULL,
    stack TEXT NOT NULL,
    part TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    PRIMARY KEY (node_id, stack, part)
);

CREATE INDEX deployment_latest_stack ON deployment_latest (stack, node_id);

CREATE TABLE deployment_steps (
    deployment_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    step TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    millis BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL,
    PRIMARY KEY (deployment_id, number)
);

CREATE TABLE deployment_containers (
    container_id TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    service TEXT NOT NULL,
    PRIMARY KEY (container_id, deployment_id)
);
CREATE INDEX deployment_containers_deployment ON deployment_containers (deployment_id);

CREATE TABLE nodes (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    labels TEXT NOT NULL,
    joined_at BIGINT NOT NULL,
    revoked_at BIGINT,
    credential_hash TEXT NOT NULL UNIQUE
);

CREATE TABLE node_soft (
    node_id TEXT NOT NULL PRIMARY KEY,
    last_seen_at BIGINT NOT NULL,
    facts TEXT,
    observed TEXT,
    safety TEXT
);

-- Operators' words that nodes may leave safe mode, until these say that they did.
CREATE TABLE safe_mode_leaves (
    node_id TEXT NOT NULL PRIMARY KEY,
    word TEXT NOT NULL,
    at BIGINT NOT NULL
);

CREATE TABLE desired (
    node_id TEXT NOT NULL PRIMARY KEY,
    epoch BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    digest TEXT NOT NULL,
    statement TEXT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE desired_agents (
    node_id TEXT NOT NULL PRIMARY KEY,
    update_id TEXT NOT NULL
);

CREATE TABLE agent_builds (
    sha256 TEXT NOT NULL PRIMARY KEY,
    version TEXT NOT NULL,
    arch TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    content BLOB NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE agent_update_nodes (
    update_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    outcome TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (update_id, node_id)
);

-- Decisions about updates of agents, with what they were made from.
CREATE TABLE agent_decisions (
    update_id TEXT NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    state TEXT NOT NULL,
    wave BIGINT NOT NULL,
    reason TEXT NOT NULL,
    decided_by TEXT,
    inputs TEXT NOT NULL,
    PRIMARY KEY (update_id, number)
);

CREATE TABLE desired_stacks (
    node_id TEXT NOT NULL,
    stack TEXT NOT NULL,
    release_id TEXT NOT NULL,
    deployment_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (node_id, stack)
);
CREATE INDEX desired_stacks_stack ON desired_stacks (stack, release_id);
CREATE INDEX desired_stacks_release ON desired_stacks (release_id);

CREATE TABLE constraints (
    id TEXT NOT NULL PRIMARY KEY,
    scope TEXT NOT NULL,
    -- Of nodes; of an environment it is the name.
    selector TEXT,
    effect TEXT NOT NULL,
    stack TEXT,
    branch TEXT,
    release_id TEXT,
    repository_id TEXT,
    commit_id TEXT,
    tree TEXT,
    reason TEXT NOT NULL,
    set_by TEXT NOT NULL,
    origin TEXT NOT NULL,
    origin_undo_id TEXT,
    origin_repository_id TEXT,
    origin_migration_id TEXT,
    created_at BIGINT NOT NULL,
    from_at BIGINT,
    until_at BIGINT,
    lifted_at BIGINT
);
CREATE INDEX constraints_open ON constraints (id) WHERE lifted_at IS NULL;
CREATE INDEX constraints_undo ON constraints (origin_undo_id) WHERE origin_undo_id IS NOT NULL;
CREATE INDEX constraints_repository ON constraints (origin_repository_id) WHERE origin_repository_id IS NOT NULL;
CREATE INDEX constraints_migration ON constraints (origin_migration_id) WHERE origin_migration_id IS NOT NULL;

-- Moves of stacks from node to node: where each stack is on its way is in `migration`, as JSON.
CREATE TABLE migrations (
    id TEXT NOT NULL PRIMARY KEY,
    from_node_id TEXT NOT NULL,
    to_node_id TEXT NOT NULL,
    -- Raised with every change, so that nobody writes over what another wrote.
    version BIGINT NOT NULL,
    migration TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX migrations_open ON migrations (id) WHERE finished_at IS NULL;
CREATE INDEX migrations_from ON migrations (from_node_id, id);
CREATE INDEX migrations_to ON migrations (to_node_id, id);

CREATE TABLE undos (
    id TEXT NOT NULL PRIMARY KEY,
    selector TEXT NOT NULL,
    scope TEXT NOT NULL,
    asked_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    plan TEXT NOT NULL,
    state TEXT NOT NULL,
    state_json TEXT NOT NULL,
    request TEXT NOT NULL,
    conversation_id TEXT,
    deployment_id TEXT,
    of_undo_id TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX undos_created ON undos (created_at);
CREATE INDEX undos_open ON undos (id) WHERE finished_at IS NULL;
CREATE INDEX undos_conversation ON undos (conversation_id) WHERE conversation_id IS NOT NULL;
CREATE INDEX undos_deployment ON undos (deployment_id) WHERE deployment_id IS NOT NULL;
CREATE INDEX undos_of_undo ON undos (of_undo_id) WHERE of_undo_id IS NOT NULL;

-- Commits that an undo takes back (made = 0) and those it made (made = 1).
CREATE TABLE undo_commits (
    undo_id TEXT NOT NULL,
    repository_id TEXT NOT NULL,
    commit_id TEXT NOT NULL,
    made BIGINT NOT NULL,
    PRIMARY KEY (undo_id, repository_id, commit_id)
);
CREATE INDEX undo_commits_commit ON undo_commits (commit_id);

CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    role TEXT,
    source TEXT,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    sealed TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    used_at BIGINT,
    used_by TEXT
);
CREATE INDEX tokens_source ON tokens (source) WHERE source IS NOT NULL;

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    password TEXT,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT,
    last_sign_in_at BIGINT
);

-- Of a user, or without one of who owns the machine. What has ended has no row.
CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    user_id TEXT,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expires ON sessions (expires_at);

CREATE TABLE sign_in_links (
    id TEXT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    kind TEXT NOT NULL,
    user_id TEXT,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sign_in_links_expires ON sign_in_links (expires_at);

-- Failures to sign in, by the hash of a name or of an address.
CREATE TABLE sign_in_tries (
    subject TEXT NOT NULL PRIMARY KEY,
    failures BIGINT NOT NULL,
    last_at BIGINT NOT NULL
);
CREATE INDEX sign_in_tries_last ON sign_in_tries (last_at);

CREATE TABLE reports (
    id TEXT NOT NULL PRIMARY KEY,
    node_id TEXT NOT NULL,
    received_at BIGINT NOT NULL
);
CREATE INDEX reports_received ON reports (received_at);

-- Backups. An empty node_id is the hub's own state, an empty stack as well.

CREATE TABLE backup_repositories (
    node_id TEXT NOT NULL PRIMARY KEY,
    -- Two passwords, sealed with the hub's key: its own and the node's.
    sealed TEXT NOT NULL,
    node_sealed TEXT NOT NULL,
    made_at BIGINT,
    bytes BIGINT NOT NULL,
    damaged BIGINT NOT NULL,
    -- While a hub takes out what is damaged; apart from the facts, which others change meanwhile.
    repairing_until BIGINT,
    facts TEXT NOT NULL
);

-- When backups of a node were made, and how that went.
CREATE TABLE backup_history (
    node_id TEXT NOT NULL PRIMARY KEY,
    history TEXT NOT NULL
);

-- When each stack of a node was drilled, and how that went.
CREATE TABLE backup_drills (
    node_id TEXT NOT NULL,
    stack TEXT NOT NULL,
    history TEXT NOT NULL,
    PRIMARY KEY (node_id, stack)
);

CREATE TABLE backup_snapshots (
    node_id TEXT NOT NULL,
    id TEXT NOT NULL,
    at BIGINT NOT NULL,
    stack TEXT NOT NULL,
    -- 0 created, 1 matched, 2 verified, 3 replicated, 4 drilled.
    proof BIGINT NOT NULL,
    snapshot TEXT NOT NULL,
    deployment_id TEXT,
    job_id TEXT,
    heard_at BIGINT NOT NULL,
    -- The date that it has at the target, where the hub does not take it for when it was begun.
    claimed_at BIGINT,
    verified_at BIGINT,
    copy_id TEXT,
    drilled_at BIGINT,
    damaged_at BIGINT,
    hold TEXT,
    PRIMARY KEY (node_id, id)
);
CREATE INDEX backup_snapshots_id ON backup_snapshots (id);
CREATE INDEX backup_snapshots_at ON backup_snapshots (at, id);
CREATE INDEX backup_snapshots_node ON backup_snapshots (node_id, at);
CREATE INDEX backup_snapshots_proof ON backup_snapshots (proof, node_id);
CREATE INDEX backup_snapshots_deployment ON backup_snapshots (deployment_id) WHERE deployment_id IS NOT NULL;

CREATE TABLE backup_jobs (
    id TEXT NOT NULL PRIMARY KEY,
    node_id TEXT NOT NULL,
    task TEXT NOT NULL,
    -- Whether a node does it.
    of_node BIGINT NOT NULL,
    state TEXT NOT NULL,
    deployment_id TEXT,
    asked_at BIGINT NOT NULL,
    ended_at BIGINT,
    job TEXT NOT NULL,
    files TEXT,
    -- The stack that must not start on the node before the data of this restore is in place, for as long as that is so.
    awaited_by TEXT
);
CREATE INDEX backup_jobs_open ON backup_jobs (node_id, id) WHERE ended_at IS NULL;
CREATE INDEX backup_jobs_node ON backup_jobs (node_id, id);
CREATE INDEX backup_jobs_ended ON backup_jobs (ended_at, task) WHERE ended_at IS NOT NULL;
CREATE INDEX backup_jobs_awaited ON backup_jobs (node_id, awaited_by) WHERE awaited_by IS NOT NULL;
CREATE INDEX backup_jobs_deployment ON backup_jobs (deployment_id) WHERE deployment_id IS NOT NULL;
