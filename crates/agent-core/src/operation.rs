//! How an operation moves from one phase to the next. Each transition consumes the phase it leaves.

use backstay_types::{Container, DeploymentId, DeploymentState};

use crate::{
    action::Failure,
    journal::{
        Activating, Baking, BootId, Exchanging, Phase, Prepared, Probing, ReturnCause, Returning, Saving,
    },
};

impl Saving {
    /// Intent to put data in place.
    pub(crate) fn exchange(self) -> Exchanging {
        Exchanging { prepared: self.prepared }
    }

    /// Intent to switch, in this boot.
    pub(crate) fn activate(self, boot: BootId) -> Activating {
        Activating { prepared: self.prepared, boot, attempt: 1 }
    }
}

impl Exchanging {
    /// The data is in place.
    pub(crate) fn exchanged(self) -> Saving {
        Saving { prepared: self.prepared }
    }
}

impl Activating {
    /// The runtime took it.
    pub(crate) fn activated(self) -> Probing {
        Probing { prepared: self.prepared, boot: self.boot, attempt: self.attempt }
    }

    /// The agent was interrupted here: once it tries again, then it goes back.
    pub(crate) fn interrupted(self, boot: BootId) -> Phase {
        if self.attempt > 1 {
            return Phase::Returning(Returning::new(self.prepared, interrupted_twice()));
        }
        Phase::Activating(Self { prepared: self.prepared, boot, attempt: self.attempt + 1 })
    }
}

impl Probing {
    /// All probes are content.
    pub(crate) fn healthy(self, containers: Vec<Container>) -> Baking {
        Baking { prepared: self.prepared, boot: self.boot, attempt: self.attempt, containers }
    }

    /// The agent was interrupted here. In the same boot it asks again from zero. A new boot may be
    /// the release's doing: it counts as an interruption of the start.
    pub(crate) fn interrupted(self, boot: BootId) -> Phase {
        if self.boot == boot {
            return Phase::Probing(self);
        }
        Activating { prepared: self.prepared, boot: self.boot, attempt: self.attempt }.interrupted(boot)
    }
}

impl Baking {
    /// As [`Probing::interrupted`]; watching begins again with the probes.
    pub(crate) fn interrupted(self, boot: BootId) -> Phase {
        Probing { prepared: self.prepared, boot: self.boot, attempt: self.attempt }.interrupted(boot)
    }
}

impl Returning {
    pub(crate) fn new(prepared: Prepared, cause: ReturnCause) -> Self {
        Self { prepared, cause, failures: 0 }
    }

    /// A try failed.
    pub(crate) fn failed(self) -> Self {
        Self { failures: self.failures + 1, ..self }
    }
}

impl ReturnCause {
    pub(crate) fn failed(failure: Failure) -> Self {
        Self::Failed { step: failure.step, failure: failure.kind, reason: failure.reason }
    }

    /// How the deployment ended when the way back was taken. Going back is never success.
    pub(crate) fn returned(self, note: &str) -> DeploymentState {
        match self {
            Self::Failed { step, failure, reason } => {
                DeploymentState::RolledBack { step, failure, reason: format!("{reason}{note}") }
            }
            Self::Superseded { .. } => DeploymentState::Superseded,
        }
    }

    /// How the deployment ended when the way back failed too.
    pub(crate) fn broken(self, also: &str) -> DeploymentState {
        let (step, failure, reason) = match self {
            Self::Failed { step, failure, reason } => (step, failure, reason),
            Self::Superseded { by } => (
                backstay_types::Step::Return,
                backstay_types::FailureKind::Other,
                format!("deployment {by} asked for what ran before"),
            ),
        };
        DeploymentState::Broken { step, failure, reason: format!("{reason}; the way back failed: {also}") }
    }

    /// Why, in one line.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Failed { reason, .. } => reason.clone(),
            Self::Superseded { by } => superseded(*by),
        }
    }
}

pub(crate) fn superseded(by: DeploymentId) -> String {
    format!("deployment {by} is newer")
}

fn interrupted_twice() -> ReturnCause {
    ReturnCause::Failed {
        step: backstay_types::Step::Activate,
        failure: backstay_types::FailureKind::Interrupted,
        reason: "the agent or the machine went down twice while the release was being started".to_owned(),
    }
}

impl Phase {
    /// Where an operation goes on after the agent was interrupted.
    pub(crate) fn interrupted(self, boot: BootId) -> Self {
        match self {
            Self::Activating(phase) => phase.interrupted(boot),
            Self::Probing(phase) => phase.interrupted(boot),
            Self::Baking(phase) => phase.interrupted(boot),
            other => other,
        }
    }
}
