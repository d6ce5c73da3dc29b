//! `docs/cli.md` is what the program itself says.

use crate::support::{Place, root};

#[test]
fn the_reference_is_up_to_date() {
    let ran = Place::new().backstay(&["internal", "generate-cli-reference"]);
    let committed = std::fs::read_to_string(root().join("docs/cli.md")).unwrap_or_default();
    assert!(committed == ran.out, "docs/cli.md is out of date: run `cargo xtask generate`");
}
