//! Deployments counted by hour and stack, with every write: those of a month are read at once however many there were.

use std::collections::BTreeMap;

use backstay_types::{Deployment, DeploymentId, StackName, Timestamp};

use crate::{
    Result, StoreError, Tx,
    db::{Executor, Row, query},
    dialect,
    value::Bind as _,
};

/// Seconds.
const HOUR: i64 = 3600;
const COUNTS: &str = "CAST(SUM(planned) AS BIGINT) AS n, CAST(SUM(failures) AS BIGINT) AS failures \
                      FROM deployment_hours WHERE hour >= ";

/// Deployments that were planned within an hour, or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hour {
    /// When it began.
    pub at: Timestamp,
    /// How many.
    pub deployments: u64,
    /// How many of them ended without their release running.
    pub failures: u64,
}

/// Deployments by hour, from the one that `since` is in, oldest first; hours without any are left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_hour(ex: &mut impl Executor, since: Timestamp) -> Result<Vec<Hour>> {
    let mut select = query("SELECT hour AS bucket, ");
    select.push(COUNTS).push_bind(number(since)).push(" GROUP BY hour ORDER BY hour");
    select.all(ex, |row| read(row, 1)).await
}

/// The same by stack and so many hours together, from the hour of the one time to that of the other.
pub(crate) async fn by_stack(
    ex: &mut impl Executor,
    (since, until): (Timestamp, Timestamp),
    stack: Option<&StackName>,
    hours: u32,
) -> Result<Vec<(StackName, Hour)>> {
    let mut select = query("SELECT stack, hour / ");
    select.push_bind(i64::from(hours)).push(" AS bucket, ").push(COUNTS);
    select.push_bind(number(since)).push(" AND hour <= ").push_bind(number(until));
    if let Some(stack) = stack {
        select.push(" AND stack = ").push_bind(stack);
    }
    select.push(" GROUP BY 1, 2 ORDER BY 2");
    select.all(ex, |row| Ok((row.get("stack")?, read(row, hours)?))).await
}

/// The hour that a time is in, counted as the table does.
fn number(at: Timestamp) -> i64 {
    at.as_second().div_euclid(HOUR)
}

fn read(row: &Row, hours: u32) -> Result<Hour> {
    let at = Timestamp::from_second(row.get::<i64>("bucket")? * i64::from(hours) * HOUR);
    let at = at.map_err(|e| StoreError::corrupt("hour", e))?;
    Ok(Hour { at, deployments: row.get("n")?, failures: row.get("failures")? })
}

/// Counts deployments that were just planned.
pub(super) async fn count_planned(tx: &mut Tx, deployments: &[Deployment]) -> Result<()> {
    // In order, so that two hubs that write at the same time never wait for each other in a circle.
    let mut counts: BTreeMap<(i64, &StackName), [i64; 2]> = BTreeMap::new();
    for one in deployments {
        let [planned, failures] = counts.entry((number(one.created_at), &one.stack)).or_default();
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
