//! The example repository is read without a single problem.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use backstay_manifest::{Entry, Listing, check, compose, discover};
use backstay_types::{Labels, tree::Mode};

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn the_example_is_what_its_readme_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fleet");
    let mut paths = Vec::new();
    files(&root, &mut paths);
    let name = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    let entries: Vec<Entry> = paths
        .iter()
        .map(|path| Entry {
            path: name(path),
            mode: Mode::File.number(),
            size: path.metadata().unwrap().len(),
        })
        .collect();
    let read = |path: &str| fs::read(root.join(path)).ok();
    let repository = "example".parse().unwrap();
    let listing = Listing { repository: &repository, stacks_path: None, entries: &entries };
    let fleet = discover(listing, &read).unwrap();

    let labels = Labels::parse(["role=web", "region=eu", "ring=canary"]).unwrap();
    let nodes = [("n1".parse().unwrap(), labels.clone()), ("n2".parse().unwrap(), Labels::default())];
    assert_eq!(
        check::check(&fleet, &entries, &read, Some(&nodes), "2026-11-21T10:00:00Z".parse().unwrap()),
        []
    );
    let runs = |at: usize| {
        fleet.assigned(&nodes[at].0, &nodes[at].1).map(|s| s.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((runs(0), runs(1)), (vec!["cache".to_owned(), "web".to_owned()], vec!["cache".to_owned()]));

    let web = &fleet.stacks[&"web".parse().unwrap()];
    assert_eq!(web.env.as_ref().unwrap().needed(), ["SITE_NAME"]);
    assert_eq!(
        compose::classify(
            fleet.stacks[&"cache".parse().unwrap()].compose.as_ref().unwrap(),
            &[],
            &backstay_manifest::Parts::default()
        )
        .unwrap()
        .state,
        ["data"]
    );
}
