//! The ways in which the hub comes to write about rollouts that people steer.

use backstay_api::{Empty, v1};
use backstay_client::ClientError;
use backstay_types::{ErrorCode, Rollout, RolloutState};

use super::{
    place::Place,
    ways::{Again, Way},
};

const WAVES: &str = "[rollout]\nwaves = [\"name=somebody-else\", \"50%\", \"100%\"]\nsoak = \"1h\"\n";

/// A rollout in waves under way: its node has been told, and has said nothing yet.
fn under_way(place: &mut Place) {
    place.tree.write("fleet.toml", WAVES);
    place.change("two", "2", None);
    place.start();
    place.join();
    place.try_follow().unwrap();
    place.eventually("a rollout in its second wave", || rollout(place).is_some_and(|found| found.wave == 1));
    place.keep("rollout", rollout(place).unwrap().id);
}

fn rollout(place: &Place) -> Option<Rollout> {
    let found = place.call::<v1::ListRollouts>(&Empty {}, &v1::RolloutsQuery::default(), &Empty {}).unwrap();
    found.items.into_iter().next().map(|view| view.rollout)
}

fn path(place: &Place) -> v1::RolloutPath {
    v1::RolloutPath { rollout: place.note("rollout").parse().unwrap() }
}

fn why() -> v1::RolloutReason {
    v1::RolloutReason { reason: "not on a Friday".to_owned() }
}

fn pause(place: &Place) -> Result<(), ClientError> {
    place.call::<v1::PauseRollout>(&path(place), &Empty {}, &why()).map(drop)
}

fn is_paused(place: &Place) -> bool {
    rollout(place).unwrap().paused.is_some()
}

pub(super) const PAUSE: Way = Way {
    endpoints: &["PauseRollout"],
    prepare: under_way,
    act: pause,
    count: |place| usize::from(is_paused(place)),
    again: Again::Same,
    event: "rollout_paused",
};

pub(super) const RESUME: Way = Way {
    endpoints: &["ResumeRollout"],
    prepare: |place| {
        under_way(place);
        pause(place).unwrap();
    },
    act: |place| place.call::<v1::ResumeRollout>(&path(place), &Empty {}, &why()).map(drop),
    count: |place| usize::from(!is_paused(place)),
    again: Again::Same,
    event: "rollout_paused",
};

pub(super) const PROMOTE: Way = Way {
    endpoints: &["PromoteRollout"],
    prepare: under_way,
    act: |place| {
        let body = v1::PromoteRequest { wave: 1, reason: "no time to wait".to_owned() };
        place.call::<v1::PromoteRollout>(&path(place), &Empty {}, &body).map(drop)
    },
    count: |place| usize::from(rollout(place).unwrap().wave == 2),
    again: Again::Same,
    event: "rollout_wave_opened",
};

pub(super) const OVERRIDE: Way = Way {
    endpoints: &["OverrideRollout"],
    prepare: under_way,
    act: |place| place.call::<v1::OverrideRollout>(&path(place), &Empty {}, &why()).map(drop),
    count: |place| usize::from(rollout(place).unwrap().overridden.is_some()),
    again: Again::Same,
    event: "rollout_overridden",
};

pub(super) const LIMIT: Way = Way {
    endpoints: &["CreateConstraint"],
    prepare: Place::start,
    act: |place| {
        let body = v1::CreateConstraintRequest {
            effect: v1::NewEffect::Freeze { stack: None },
            nodes: None,
            reason: "the end of the year".to_owned(),
            from: None,
            until: None,
        };
        place.call::<v1::CreateConstraint>(&Empty {}, &Empty {}, &body).map(drop)
    },
    count: |place| {
        let query = v1::ConstraintsQuery { all: Some(true), ..Default::default() };
        place.call::<v1::ListConstraints>(&Empty {}, &query, &Empty {}).unwrap().items.len()
    },
    again: Again::Same,
    event: "constraint_set",
};

pub(super) const ABORT: Way = Way {
    endpoints: &["AbortRollout"],
    prepare: under_way,
    act: |place| place.call::<v1::AbortRollout>(&path(place), &Empty {}, &why()).map(drop),
    count: |place| usize::from(rollout(place).unwrap().state == RolloutState::Halted),
    again: Again::Refused(ErrorCode::BS4005),
    event: "rollout_state_changed",
};

pub(super) const EMERGENCY_STOP: Way = Way {
    endpoints: &["SetEmergencyStop"],
    prepare: Place::start,
    act: |place| {
        let body = v1::EmergencyStopRequest { stopped: true, reason: "smoke".to_owned() };
        place.call::<v1::SetEmergencyStop>(&Empty {}, &Empty {}, &body).map(drop)
    },
    count: |place| {
        let found = place.call::<v1::GetEmergencyStop>(&Empty {}, &Empty {}, &Empty {}).unwrap();
        usize::from(found.stopped)
    },
    again: Again::Same,
    event: "emergency_stop_set",
};

const ENVIRONMENTS: &str = "[[environment]]\nname = \"dev\"\nnodes = \"name=somebody\"\n[[environment]]\nname = \"prod\"\nnodes = \"name=somebody-else\"\nafter = [\"dev\"]\n";

/// An environment that waits for another, which nobody has tried anything in.
fn waiting(place: &mut Place) {
    place.tree.write("fleet.toml", ENVIRONMENTS);
    place.change("two", "2", None);
    place.start();
    place.try_follow().unwrap();
    place.eventually("a release that comes next", || prod(place).is_some_and(|stack| stack.next.is_some()));
    place.keep("release", prod(place).unwrap().next.unwrap().release);
}

fn prod(place: &Place) -> Option<v1::EnvironmentStackView> {
    let found = place.call::<v1::ListEnvironments>(&Empty {}, &Empty {}, &Empty {}).unwrap().environments;
    found.into_iter().find(|one| one.name.as_str() == "prod")?.stacks.into_iter().next()
}

pub(super) const LET_IN: Way = Way {
    endpoints: &["PromoteStack"],
    prepare: waiting,
    act: |place| {
        let path = v1::StackPath { stack: "web".parse().unwrap() };
        let body = v1::PromoteStackRequest {
            environment: "prod".parse().unwrap(),
            release: place.note("release").parse().unwrap(),
            reason: "nobody is in dev".to_owned(),
            force: true,
        };
        place.call::<v1::PromoteStack>(&path, &Empty {}, &body).map(drop)
    },
    count: |place| usize::from(prod(place).unwrap().release.is_some()),
    again: Again::Same,
    event: "release_promoted",
};
