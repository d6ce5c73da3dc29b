//! Deployments, with their steps and containers.

pub(crate) mod hours;
mod latest;
mod parts;
mod read;
mod write;

use backstay_types::Deployment;

use crate::{Result, db::Row};

pub use hours::{Hour, by_hour};
pub use latest::{LatestOfPart, latest_of_parts, note_parts};
pub use parts::{SeenContainer, add_step, containers_of, find_container, steps, steps_digest};
pub use read::{
    Filter, broken, count_by_state, failed_of_others, first_of_release, get, latest, latest_of_all,
    latest_of_node, list, many, of_rollout, open, open_before, previous_good, ran_at, ran_last, ran_well,
    run_by,
};
pub use write::{advance, finish, finish_given_up, insert, start};

const WHAT: &str = "deployment";

pub(crate) fn read_row(row: &Row) -> Result<Deployment> {
    Ok(Deployment {
        id: row.get("id")?,
        node: row.get("node_id")?,
        stack: row.get("stack")?,
        release: row.get("release_id")?,
        rollout: row.get("rollout_id")?,
        previous: row.opt("previous")?,
        state: row.json("state_json")?,
        created_at: row.get("created_at")?,
        started_at: row.opt("started_at")?,
        finished_at: row.opt("finished_at")?,
        containers: row.json("containers")?,
        data: row.opt_json("data")?,
    })
}
