//! `backstay emergency-stop`: nothing forward begins anywhere until it is lifted.

use backstay_api::{
    Empty,
    v1::{EmergencyStopRequest, EmergencyStopView, GetEmergencyStop, SetEmergencyStop},
};
use clap::Args;

use super::{Outcome, done};
use crate::{context::Context, ui::Frame};

/// Without options: whether everything is stopped.
#[derive(Debug, Args)]
pub(crate) struct EmergencyStop {
    /// Stop everything, for this reason. What runs keeps running, and undos go through
    #[arg(long, value_name = "WHY")]
    reason: Option<String>,
    /// Lift the stop, for this reason
    #[arg(long, value_name = "WHY", conflicts_with = "reason")]
    lift: Option<String>,
}

impl EmergencyStop {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let request = match (self.reason, self.lift) {
            (Some(reason), _) => Some(EmergencyStopRequest { stopped: true, reason }),
            (None, Some(reason)) => Some(EmergencyStopRequest { stopped: false, reason }),
            (None, None) => None,
        };
        let view = match request {
            Some(request) => api.call::<SetEmergencyStop>(Empty {}, Empty {}, request).await?,
            None => api.call::<GetEmergencyStop>(Empty {}, Empty {}, Empty {}).await?,
        };
        cx.ui.data(&view, || words(&view, &cx.frame()))?;
        done()
    }
}

/// Whether everything is stopped, why, and what ends it.
pub(crate) fn words(view: &EmergencyStopView, frame: &Frame) -> String {
    if !view.stopped {
        return "Nothing is stopped.\n".to_owned();
    }
    let by = view.by.as_deref().unwrap_or("somebody");
    let since = view.since.map(|at| frame.exactly(at)).unwrap_or_default();
    let why = view.reason.as_deref().unwrap_or_default();
    format!(
        "Everything is stopped, by {by} since {since}: {why}\nWhat runs keeps running, and undos go through. `backstay emergency-stop --lift WHY` ends it.\n"
    )
}
