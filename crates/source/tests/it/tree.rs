//! Files, releases and packs.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use backstay_source::SourceError;
use backstay_types::{
    CommitId, ErrorCode,
    tree::{self, TreeError, TreeFile},
};

use crate::support::{Fleet, fetch};

#[test]
fn a_release_is_what_its_folder_holds() {
    let fleet = Fleet::new();
    fleet.write("stacks/web/config/a-b", "1");
    fleet.write("stacks/web/config/a/b", "2");
    fleet.write("stacks/web/validate", "#!/bin/sh\n");
    let validate = fleet.work().join("stacks/web/validate");
    std::fs::set_permissions(&validate, std::fs::Permissions::from_mode(0o755)).unwrap();
    fleet.write("stacks/other/compose.yaml", "x");
    let first = fleet.commit("Fill");
    let second = fleet.change("stacks/other/compose.yaml", "y");
    fleet.publish();
    let mirror = fleet.mirror();
    fetch(&mirror);

    let web = mirror.stack_tree(&first, "stacks/web").unwrap();
    assert_eq!(web, mirror.stack_tree(&second, "stacks/web/").unwrap());
    assert_ne!(
        mirror.stack_tree(&first, "stacks/other").unwrap().digest,
        mirror.stack_tree(&second, "stacks/other").unwrap().digest
    );
    let files = mirror.stack_files(&first, "stacks/web").unwrap();
    assert_eq!(tree::digest(&files).unwrap(), web.digest);
    assert_eq!((web.files, web.bytes), (4, files.iter().map(|file| file.content.len() as u64).sum()));
    let pack = mirror.pack(&first, "stacks/web").unwrap();
    let mut unpacked: Vec<TreeFile> = Vec::new();
    tree::unpack(&pack[..], web.digest, &mut unpacked).unwrap();
    assert_eq!(unpacked, files);
    assert_eq!(unpacked.iter().find(|file| file.path == "validate").unwrap().mode, tree::Mode::Executable);

    let listed: Vec<String> =
        mirror.tree_at(&first, "stacks/web").unwrap().entries.into_iter().map(|entry| entry.path).collect();
    assert_eq!(listed, ["compose.yaml", "config/a-b", "config/a/b", "validate"]);
    assert_eq!(mirror.tree_at(&first, "").unwrap().entries.len(), 5);
    assert_eq!(mirror.tree_at(&first, "nowhere").unwrap().entries, []);
    assert_eq!(mirror.try_read(&first, "stacks/web/nothing").unwrap(), None);
    assert_eq!(mirror.read(&first, "nothing").unwrap_err().code(), ErrorCode::BS2008);
}

#[test]
fn links_and_submodules_are_refused_by_name() {
    let fleet = Fleet::new();
    symlink("/etc/passwd", fleet.work().join("stacks/web/link")).unwrap();
    let linked = fleet.commit("Link");
    fleet.git(&["rm", "-q", "-f", "stacks/web/link"]);
    let head = fleet.head();
    fleet.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},stacks/web/module")]);
    fleet.git(&["commit", "-q", "-m", "Submodule"]);
    let submodule = fleet.head();
    fleet.publish();
    let mirror = fleet.mirror();
    fetch(&mirror);
    for (commit, name, mode) in [(&linked, "link", 0o120_000), (&submodule, "module", 0o160_000)] {
        let error = mirror.stack_tree(commit, "stacks/web").unwrap_err();
        assert_eq!(error.code(), ErrorCode::BS2009);
        let SourceError::Tree { source: TreeError::Mode { path, mode: found }, .. } = error else {
            panic!("{error}")
        };
        assert_eq!((path.as_str(), found), (name, mode));
        assert!(mirror.pack(commit, "stacks/web").is_err());
        assert!(mirror.read(commit, &format!("stacks/web/{name}")).is_err());
        assert_eq!(mirror.tree_at(commit, "stacks/web").unwrap().entries.len(), 2);
    }
    // A file behind the link is not reached through it.
    assert_eq!(mirror.try_read(&linked, "stacks/web/link/x").unwrap(), None);
}

#[test]
fn paths_that_are_not_text_or_not_allowed_are_named() {
    let fleet = Fleet::new();
    let blob = fleet.git(&["hash-object", "-w", "/dev/null"]);
    let commit_with = |name: &[u8]| {
        let tree = [b"100644 ".as_slice(), name, b"\0", &hex::decode(&blob).unwrap()].concat();
        let path = fleet.dir.path().join("tree");
        std::fs::write(&path, tree).unwrap();
        let args = ["hash-object", "-w", "-t", "tree", "--literally", path.to_str().unwrap()];
        let stack = fleet.git(&args);
        fleet.git(&["read-tree", "--reset", "HEAD"]);
        fleet.git(&["read-tree", "--prefix=stacks/odd/", &stack]);
        let tree = fleet.git(&["write-tree"]);
        let parent = fleet.head();
        let commit = fleet.git(&["commit-tree", &tree, "-p", parent.as_str(), "-m", "odd"]);
        fleet.git(&["push", "-q", "-f", "origin", &format!("{commit}:main")]);
        commit.parse().unwrap()
    };
    let mirror = fleet.mirror();
    let latin: CommitId = commit_with(b"caf\xe9");
    fetch(&mirror);
    let error = mirror.stack_tree(&latin, "stacks/odd").unwrap_err();
    assert!(error.to_string().contains("caf\\xE9"), "{error}");
    assert_eq!(mirror.tree_at(&latin, "stacks").unwrap().unreadable, ["odd/caf\\xE9"]);
    assert!(mirror.stack_tree(&latin, "stacks/web").is_ok());
    let facts = mirror.facts(&latin).unwrap();
    assert_eq!(facts.touched, [["stacks/odd/caf\\xE9"]]);
    for name in [b"a\\b".as_slice(), b"a\nb"] {
        let commit: CommitId = commit_with(name);
        fetch(&mirror);
        assert!(mirror.stack_tree(&commit, "stacks/odd").is_err());
    }
}

#[test]
fn paths_from_outside_are_checked() {
    let fleet = Fleet::new();
    let mirror = fleet.mirror();
    let tip = fetch(&mirror);
    for path in ["../etc/passwd", "/etc/passwd", "stacks/../x", "a//b", ".git/config", "a\0b", "a\nb"] {
        assert!(mirror.read(&tip, path).is_err(), "{path:?}");
        assert!(mirror.stack_tree(&tip, path).is_err(), "{path:?}");
        assert!(mirror.with_file(&tip, path, Some(b"x")).is_err(), "{path:?}");
    }
    let unknown: CommitId = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
    assert_eq!(mirror.read(&unknown, "x").unwrap_err().code(), ErrorCode::BS2007);
    let other_format: CommitId = "01".repeat(32).parse().unwrap();
    assert_eq!(mirror.read(&other_format, "x").unwrap_err().code(), ErrorCode::BS2007);
}

#[test]
fn huge_files_are_not_read() {
    let fleet = Fleet::new();
    fleet.git(&["config", "core.compression", "1"]);
    let file = std::fs::File::create(fleet.work().join("stacks/web/huge")).unwrap();
    file.set_len((64 << 20) + 1).unwrap();
    let commit = fleet.commit("Huge");
    fleet.publish();
    let mirror = fleet.mirror();
    fetch(&mirror);
    for error in [
        mirror.read(&commit, "stacks/web/huge").unwrap_err(),
        mirror.stack_tree(&commit, "stacks/web").unwrap_err(),
        mirror.pack(&commit, "stacks/web").unwrap_err(),
    ] {
        assert_eq!(error.code(), ErrorCode::BS2010, "{error}");
    }
    assert!(mirror.facts(&commit).unwrap().patch.is_some());
}

#[test]
fn drafts_can_be_read_like_commits() {
    let fleet = Fleet::new();
    let mirror = fleet.mirror();
    let tip = fetch(&mirror);
    let one = mirror.with_file(&tip, "fleet.toml", Some(b"[[pin]]\n")).unwrap();
    let two = mirror.with_file(&one, "stacks/web/extra/x", Some(b"x")).unwrap();
    assert_eq!(mirror.read(&two, "fleet.toml").unwrap(), b"[[pin]]\n");
    assert_eq!(mirror.stack_tree(&two, "stacks/web").unwrap().files, 2);
    assert_eq!(mirror.try_read(&tip, "fleet.toml").unwrap(), None);
    let back = mirror.with_file(&two, "stacks/web/extra/x", None).unwrap();
    let back = mirror.with_file(&back, "fleet.toml", None).unwrap();
    assert_eq!(back, mirror.draft_of(&tip).unwrap());
    // Nothing of it is in the mirror.
    assert!(fleet.mirror().stack_tree(&tip, "stacks/web").is_ok());
    let objects = fleet.git_in(mirror.dir(), &["count-objects"]);
    assert!(objects.starts_with("0 objects"), "{objects}");
}
