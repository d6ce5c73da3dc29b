//! `backstay audit verify --file`: without a hub.

use crate::support::Place;

#[test]
fn a_file_that_is_not_a_ledger_is_refused_with_its_line() {
    let place = Place::new();
    let path = place.write("ledger.jsonl", "\n{\"seq\": 1}\n");
    let ran = place.backstay(&["audit", "verify", "--file", path.to_str().unwrap()]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("error[BS8006]") && ran.err.contains("ledger.jsonl:2"), "{}", ran.err);
}

#[test]
fn an_empty_ledger_holds_unless_an_entry_of_it_is_known() {
    let place = Place::new();
    let path = place.write("ledger.jsonl", "");
    let path = path.to_str().unwrap();
    assert_eq!(place.backstay(&["audit", "verify", "--file", path]).code, 0);
    let head = format!("7:{}", "ab".repeat(32));
    let ran = place.backstay(&["audit", "verify", "--file", path, "--contains", &head]);
    assert!(ran.code == 1 && ran.err.contains("entry 7 is known"), "{}", ran.err);
    assert_eq!(place.backstay(&["audit", "verify", "--file", path, "--contains", "7"]).code, 2);
}
