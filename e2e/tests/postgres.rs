//! The loop with a hub on PostgreSQL.
#![allow(clippy::unwrap_used, reason = "tests")]

use backstay_e2e::{Fleet, stacks::conf};
use backstay_testkit::Database;

#[test]
fn the_loop_on_postgres() {
    let Some(database) = Database::require() else { return };
    let Some(fleet) = Fleet::of(2).database(&database.url()).start() else { return };
    let mut fleet = fleet.with_process_stack();
    assert_eq!(fleet.cli.json(&["status"])["hub"]["database"], "postgres");
    let (a, b) = (fleet.api.conversation("session-a"), fleet.api.conversation("session-b"));
    fleet.change(a, 2, "A2");
    fleet.change(b, 8, "B8");
    fleet.hub.kill();
    fleet.hub.restart();
    let undo = fleet.rollback(&["--conversation", &a.to_string()]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    fleet.all_serve(&conf(&[(8, "B8")]));
    assert_eq!(fleet.upstream_conf(), conf(&[(8, "B8")]));
    fleet.cli.run(&["audit", "verify"]);
    let kept: u64 = database.sql("SELECT count(*) FROM ledger").parse().unwrap();
    assert!(kept > 10, "{kept}");
}
