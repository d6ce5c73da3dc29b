//! PostgreSQL as tests use it.

use backstay_testkit::{Database, PostgresServer};

#[test]
fn each_database_is_empty_and_apart() {
    let (Some(one), Some(two)) = (Database::require(), Database::require()) else { return };
    one.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    two.sql("CREATE TABLE t (n int)");
    assert_eq!(one.sql("SELECT count(*) FROM t"), "1");
    assert_eq!(two.sql("SELECT count(*) FROM t"), "0");
    let version: u32 = one.sql("SHOW server_version_num").parse().expect("a number");
    assert!(version >= 160_000, "{version}");
    let name = one.url().rsplit('/').next().map(str::to_owned).expect("a name");
    drop(one);
    assert_eq!(two.sql(&format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'")), "0");
}

#[test]
fn a_server_of_its_own_stops_and_comes_back_with_its_rows() {
    let Some(server) = PostgresServer::require() else { return };
    server.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (7)");
    server.stop();
    let gone = server.url().replace("postgres://postgres@", "http://");
    assert!(backstay_testkit::http::get(&gone).is_err());
    server.start();
    assert_eq!(server.sql("SELECT n FROM t"), "7");
}
