//! The ways in which the hub comes to write about agents' programs.

use backstay_api::{Binary, Empty, v1};
use backstay_client::ClientError;
use backstay_types::{AgentUpdateState, ErrorCode};

use super::{
    place::Place,
    ways::{Again, Way},
};

fn upload(place: &Place) -> Result<(), ClientError> {
    let mut program = vec![0; 64];
    program[..4].copy_from_slice(b"\x7fELF");
    program[18] = 62;
    let query = v1::UploadAgentQuery { version: "2".into(), arch: "x86_64".into() };
    place.call::<v1::UploadAgent>(&Empty {}, &query, &Binary(program)).map(drop)
}

fn update(place: &Place) -> Result<(), ClientError> {
    let body = v1::UpdateAgentsRequest { version: "2".into(), waves: vec![100], soak_seconds: None };
    place.call::<v1::UpdateAgents>(&Empty {}, &Empty {}, &body).map(drop)
}

fn view(place: &Place) -> v1::AgentsView {
    place.call::<v1::GetAgents>(&Empty {}, &Empty {}, &Empty {}).unwrap()
}

fn is(place: &Place, state: AgentUpdateState) -> usize {
    usize::from(view(place).update.is_some_and(|update| update.state == state))
}

fn uploaded(place: &mut Place) {
    place.start();
    upload(place).unwrap();
}

pub(super) const UPLOAD_AGENT: Way = Way {
    endpoints: &["UploadAgent"],
    prepare: Place::start,
    act: upload,
    count: |place| view(place).builds.len(),
    again: Again::Same,
    event: "agent_kept",
};

pub(super) const UPDATE_AGENTS: Way = Way {
    endpoints: &["UpdateAgents"],
    prepare: uploaded,
    act: update,
    count: |place| is(place, AgentUpdateState::Running),
    again: Again::Refused(ErrorCode::BS4005),
    event: "agent_update_changed",
};

pub(super) const HALT_AGENTS: Way = Way {
    endpoints: &["HaltAgents"],
    prepare: |place| {
        uploaded(place);
        update(place).unwrap();
    },
    act: |place| {
        let body = v1::HaltAgentsRequest { reason: "smoke".into() };
        place.call::<v1::HaltAgents>(&Empty {}, &Empty {}, &body).map(drop)
    },
    count: |place| is(place, AgentUpdateState::Halted),
    again: Again::Refused(ErrorCode::BS4005),
    event: "agent_update_changed",
};
