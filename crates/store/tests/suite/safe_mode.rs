//! Operators' words that nodes may leave safe mode.

use backstay_store::safe_mode;
use backstay_types::{LeaveSafeMode, NodeId, SafeModeId};

use crate::fixture::{Fixture, both};

async fn a_word_is_kept_until_the_node_has_obeyed_it(t: Fixture) {
    let (node, other): (NodeId, NodeId) = (t.mint(), t.mint());
    let (first, second): (SafeModeId, SafeModeId) = (t.mint(), t.mint());
    let word = |safe_mode| LeaveSafeMode { safe_mode, by: "op".into(), reason: "mended".into() };
    let mut tx = t.begin().await;
    safe_mode::set_leave(&mut tx, node, &word(first), t.later()).await.unwrap();
    safe_mode::set_leave(&mut tx, node, &word(second), t.later()).await.unwrap();
    safe_mode::set_leave(&mut tx, other, &word(first), t.later()).await.unwrap();
    let kept = safe_mode::leaves(&mut tx).await.unwrap();
    assert_eq!((kept[&node].word.safe_mode, kept[&other].word.safe_mode), (second, first));
    // What a node says of an earlier time in safe mode takes back no later word.
    safe_mode::forget_leave(&mut tx, node, first).await.unwrap();
    assert_eq!(safe_mode::leaves(&mut tx).await.unwrap().len(), 2);
    safe_mode::forget_leave(&mut tx, node, second).await.unwrap();
    let kept = safe_mode::leaves(&mut tx).await.unwrap();
    assert!(kept.contains_key(&other) && !kept.contains_key(&node));
}

both!(a_word_is_kept_until_the_node_has_obeyed_it);
