//! Whose commits a rollout brought.

use backstay_types::{Blame, Change, CommitId, Sureness};

/// The conversations with certain links to the commits, in order of their first, and the commits without one.
pub(super) fn blame(brought: &[Change]) -> (Vec<Blame>, Vec<CommitId>) {
    let mut blamed: Vec<Blame> = Vec::new();
    let mut unlinked = Vec::new();
    for change in brought {
        let mut links = change.links.iter().filter(|link| link.source.is_certain()).peekable();
        if links.peek().is_none() {
            unlinked.push(change.commit.clone());
        }
        for link in links {
            match blamed.iter_mut().find(|blame| blame.conversation == link.conversation) {
                Some(blame) => {
                    blame.source = blame.source.min(link.source);
                    if blame.commits.last() != Some(&change.commit) {
                        blame.commits.push(change.commit.clone());
                    }
                }
                None => blamed.push(Blame {
                    conversation: link.conversation,
                    source: link.source,
                    commits: vec![change.commit.clone()],
                    sure: Sureness::OneOf,
                }),
            }
        }
    }
    if let [only] = &mut blamed[..]
        && unlinked.is_empty()
    {
        only.sure = Sureness::Only;
    }
    (blamed, unlinked)
}
