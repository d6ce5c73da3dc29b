//! Repositories, work trees and the Git host, as tests use them.

use backstay_testkit::{BareRepository, CommitSpec, GitServer, WorkTree, scratch_dir};

#[test]
fn commits_carry_trailers_that_git_itself_reads() {
    let dir = scratch_dir();
    let bare = BareRepository::create(&dir.path().join("fleet.git"));
    let tree = WorkTree::clone_from(&bare.url(), &dir.path().join("work"));
    tree.write("stacks/web/compose.yaml", "services: {}\n")
        .write_executable("stacks/web/validate", "#!/bin/sh\n");
    let commit = tree.commit(
        &CommitSpec::new("Add web")
            .trailer("Backstay-Conversation", "one")
            .trailer("Backstay-Conversation", "two"),
    );
    tree.push();
    assert_eq!(bare.tip("main").as_deref(), Some(commit.as_str()));
    let values = bare.git(&["log", "-1", "--format=%(trailers:key=Backstay-Conversation,valueonly)", "main"]);
    assert_eq!(values.trim(), "one\ntwo");
    assert!(bare.git(&["ls-tree", "-r", "main"]).contains("100755"));
    assert_eq!(bare.file("main", "stacks/web/compose.yaml").as_deref(), Some("services: {}"));
    assert_eq!(bare.file("main", "nothing"), None);
}

#[test]
fn branches_squash_merge_rebase_and_are_forced() {
    let dir = scratch_dir();
    let bare = BareRepository::create(&dir.path().join("fleet.git"));
    let tree = WorkTree::clone_from(&bare.url(), &dir.path().join("work"));
    let base = tree.write("a", "1\n").commit(&CommitSpec::new("Base"));
    tree.push().branch("topic", "main");
    tree.write("b", "1\n").commit(&CommitSpec::new("One"));
    tree.write("b", "2\n").commit(&CommitSpec::new("Two"));
    tree.switch("main").write("a", "2\n").commit(&CommitSpec::new("Meanwhile"));
    tree.switch("topic").rebase("main");
    assert_eq!(tree.read("a"), "2\n");
    tree.switch("main");
    let squashed = tree.squash("topic", &CommitSpec::new("One and two"));
    assert_eq!(tree.git(&["rev-list", "--count", &format!("{base}..{squashed}")]), "2");
    tree.push().reset(&base).write("c", "1\n");
    let rewritten = tree.commit(&CommitSpec::new("Another history"));
    assert!(tree.try_git(&["push", "--quiet", "origin", "HEAD"]).is_err());
    tree.push_force();
    assert_eq!(bare.tip("main"), Some(rewritten));
    tree.branch("other", "main").write("d", "1\n").commit(&CommitSpec::new("D"));
    tree.switch("main").write("e", "1\n").commit(&CommitSpec::new("E"));
    tree.merge("other");
    assert_eq!(tree.git(&["rev-list", "--parents", "-1", "HEAD"]).split(' ').count(), 3);
}

#[test]
fn a_host_takes_pushes_refuses_protected_branches_and_comes_and_goes() {
    let Some(mut host) = GitServer::require() else { return };
    let dir = scratch_dir();
    let bare = host.repository("fleet");
    let tree = WorkTree::clone_from(&host.url("fleet"), &dir.path().join("work"));
    let first = tree.write("a", "1\n").commit(&CommitSpec::new("First"));
    tree.push();
    assert_eq!(bare.tip("main"), Some(first.clone()));

    bare.protect("main");
    tree.write("a", "2\n").commit(&CommitSpec::new("Second"));
    let refused = tree.try_git(&["push", "origin", "HEAD"]).expect_err("main is protected");
    assert!(refused.output.contains("open a merge request"), "{refused}");
    tree.git(&["push", "--quiet", "origin", "HEAD:refs/heads/topic"]);
    assert_eq!(bare.tip("main"), Some(first));
    let reviewed = tree.head();
    tree.push_as_maintainer();
    assert_eq!(bare.tip("main"), Some(reviewed));
    bare.unprotect();
    tree.write("a", "3\n").commit(&CommitSpec::new("Third"));

    host.stop();
    assert!(tree.try_git(&["fetch"]).is_err());
    host.start();
    tree.push();
    assert_eq!(bare.tip("main"), Some(tree.head()));
    let again = WorkTree::clone_from(&host.url("fleet"), &dir.path().join("again"));
    assert_eq!(again.read("a"), "3\n");
}

#[test]
fn a_host_with_a_login_lets_nobody_in_without() {
    let Some(host) = GitServer::require_with_login("fleet", "open-sesame") else { return };
    let dir = scratch_dir();
    host.repository("fleet");
    let tree = WorkTree::clone_from(&host.url_with_login("fleet"), &dir.path().join("work"));
    tree.write("a", "1\n").commit(&CommitSpec::new("First"));
    tree.push();
    assert!(tree.try_git(&["ls-remote", &host.url("fleet")]).is_err());
    assert!(tree.try_git(&["ls-remote", &host.url_with_login("fleet")]).is_ok());
}
