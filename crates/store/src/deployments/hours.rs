//! Deployments counted by hour and stack, with every write.

use std::collections::BTreeMap;

use backstay_types::{Deployment, DeploymentId, StackName};

use crate::{Result, Tx, db::query, dialect, value::Bind as _};

/// Microseconds.
const HOUR: i64 = 3_600_000_000;

/// Counts deployments that were just planned.
pub(super) async fn count_planned(tx: &mut Tx, deployments: &[Deployment]) -> Result<()> {
    // In order, so that two hubs that write at the same time never wait for each other in a circle.
    let mut counts: BTreeMap<(i64, &StackName), [i64; 2]> = BTreeMap::new();
    for one in deployments {
        let hour = one.created_at.as_microsecond().div_euclid(HOUR);
        let [planned, failures] = counts.entry((hour, &one.stack)).or_default();
        *planned += 1;
        *failures += i64::from(one.state.is_failure());
    }
    let rows = counts.into_iter().map(|((hour, stack), [planned, failures])| {
        vec![hour.value(), stack.as_str().value(), planned.value(), failures.value()]
    });
    dialect::bulk(
        tx,
        "INSERT INTO deployment_hours (hour, stack, planned, failures) VALUES ",
        " ON CONFLICT (hour, stack) DO UPDATE SET planned = deployment_hours.planned + excluded.planned, \
         failures = deployment_hours.failures + excluded.failures",
        rows.collect(),
    )
    .await
    .map(drop)
}

/// Counts one that has just ended without its release running.
pub(super) async fn count_failure(tx: &mut Tx, id: DeploymentId) -> Result<()> {
    query(
        "UPDATE deployment_hours SET failures = failures + 1 WHERE (hour, stack) = \
         (SELECT created_at / 3600000000, stack FROM deployments WHERE id = $1)",
    )
    .bind(id)
    .run_one(tx, super::WHAT, id)
    .await
}
