//! Constraints.

use backstay_store::{StoreError, constraints};
use backstay_types::*;

use crate::fixture::{Fixture, both, commit, digest, stack};

fn constraint(t: &Fixture, effect: Effect, origin: ConstraintOrigin) -> Constraint {
    Constraint {
        id: t.mint(),
        scope: Scope::Fleet,
        effect,
        reason: "because".into(),
        by: "operator".into(),
        origin,
        created_at: t.later(),
        from: None,
        until: None,
        lifted_at: None,
    }
}

fn ban() -> Effect {
    Effect::Ban { stack: stack("web"), tree: digest("bad") }
}

async fn every_kind_comes_back(t: Fixture) {
    let nodes = Scope::Nodes { selector: "role=web,name!=a".into() };
    let pin = Effect::Pin { stack: stack("web"), release: t.mint() };
    let hold = Effect::Hold { repository: t.mint(), commit: commit("a") };
    let follow = Effect::Follow { stack: stack("web"), branch: "try/it".into() };
    let undo = ConstraintOrigin::Undo { undo: t.mint() };
    let manifest = ConstraintOrigin::Manifest { repository: t.mint() };
    let all = [
        Constraint { scope: nodes, until: Some(t.later()), ..constraint(&t, pin, undo) },
        constraint(&t, hold, manifest),
        constraint(&t, ban(), ConstraintOrigin::Rollout),
        Constraint { lifted_at: Some(t.later()), ..constraint(&t, ban(), ConstraintOrigin::Person) },
        Constraint {
            scope: Scope::Nodes { selector: "role=web".into() },
            ..constraint(&t, follow, ConstraintOrigin::Person)
        },
        Constraint {
            scope: Scope::Nodes { selector: "name=a".into() },
            ..constraint(&t, Effect::Decommission, ConstraintOrigin::Person)
        },
    ];
    let mut tx = t.begin().await;
    for c in &all {
        constraints::insert(&mut tx, c).await.unwrap();
        assert_eq!(constraints::get(&mut tx, c.id).await.unwrap().as_ref(), Some(c));
    }
    let ConstraintOrigin::Undo { undo } = all[0].origin else { unreachable!() };
    assert_eq!(constraints::of_undo(&mut tx, undo).await.unwrap(), all[..1]);
    let ConstraintOrigin::Manifest { repository } = all[1].origin else { unreachable!() };
    assert_eq!(constraints::of_repository(&mut tx, repository).await.unwrap(), all[1..2]);
    let page = constraints::list(&mut tx, Some(all[3].id), 2).await.unwrap();
    assert_eq!(page, [all[2].clone(), all[1].clone()]);
    assert!(matches!(constraints::insert(&mut tx, &all[0]).await, Err(StoreError::Conflict { .. })));
}

async fn in_force_until_its_end_or_until_it_is_lifted(t: Fixture) {
    let mut c = constraint(&t, ban(), ConstraintOrigin::Person);
    let (set, until) = (c.created_at, t.later());
    c.until = Some(until);
    let lifted = constraint(&t, ban(), ConstraintOrigin::Person);
    let lifted_at = t.later();
    let mut tx = t.begin().await;
    constraints::insert(&mut tx, &c).await.unwrap();
    constraints::insert(&mut tx, &lifted).await.unwrap();
    constraints::lift(&mut tx, lifted.id, lifted_at).await.unwrap();
    assert!(matches!(constraints::lift(&mut tx, lifted.id, t.later()).await, Err(StoreError::Stale { .. })));
    let mut ids = async |at: Timestamp| {
        let found = constraints::in_force(&mut tx, at).await.unwrap();
        found.into_iter().map(|c| c.id).collect::<Vec<_>>()
    };
    assert_eq!(
        ids(Timestamp::UNIX_EPOCH).await,
        [c.id],
        "a clock that was set back lifts nothing, nor sets it again"
    );
    assert_eq!(ids(set).await, [c.id]);
    assert_eq!(ids(until).await, [], "it ends at its end");
    assert_eq!(ids(lifted.created_at).await, [], "lifted is lifted");
    let run_out = constraints::run_out(&mut tx, until).await.unwrap();
    assert_eq!(run_out.iter().map(|c| c.id).collect::<Vec<_>>(), [c.id]);
    constraints::lift(&mut tx, c.id, until).await.unwrap();
    assert!(constraints::run_out(&mut tx, t.later()).await.unwrap().is_empty());
}

both!(every_kind_comes_back, in_force_until_its_end_or_until_it_is_lifted);
