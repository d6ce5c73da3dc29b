//! Whether the second target keeps what is written to it, also from this hub. That the settings say so is not enough:
//! it is tried with a small file, when the hub starts and once a week.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::sleep;

use super::Place;
use crate::app::App;

/// How often it is tried.
const EVERY: Duration = Duration::from_secs(7 * 86_400);
/// When the target did not answer.
const AGAIN: Duration = Duration::from_secs(600);
/// The file that it is tried with: where it stays, it stays for good, so it is always the same.
const FILE: &str = "append-only-test";

/// What a thief of this hub could do at the second target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Second {
    /// There is none.
    #[default]
    None,
    /// The settings say that what this hub holds can delete there.
    CanDelete,
    /// The settings say that it cannot, and that was not tried yet, or could not be: why.
    Untried(Option<String>),
    /// The settings say that it cannot, and it can.
    CanDeleteAfterAll,
    /// It was tried, and it cannot.
    AppendOnly,
}

impl Second {
    fn said(place: &Place) -> Self {
        let settings = place.settings();
        match (&settings.second, settings.second_can_delete) {
            (None, _) => Self::None,
            (Some(_), true) => Self::CanDelete,
            (Some(_), false) => Self::Untried(None),
        }
    }

    /// Whether it must be taken for one at which this hub can delete.
    pub(crate) fn can_delete(&self) -> bool {
        *self != Self::AppendOnly
    }

    /// The same in words, and what to do about it.
    pub(crate) fn words(&self) -> String {
        const MEND: &str =
            "give `backup.second` a key that can neither delete nor overwrite, or a bucket with object lock";
        match self {
            Self::None => {
                "there is no second target: who takes over this hub or its target can delete all backups"
                    .to_owned()
            }
            Self::CanDelete => {
                format!(
                    "what this hub holds can delete at the second target too; {MEND}, and set second_can_delete = false"
                )
            }
            Self::Untried(None) => {
                "whether this hub can delete at the second target was not tried yet".to_owned()
            }
            Self::Untried(Some(why)) => {
                format!("whether this hub can delete at the second target cannot be tried: {why}")
            }
            Self::CanDeleteAfterAll => {
                format!(
                    "the settings say that this hub cannot delete at the second target, and it can; {MEND}"
                )
            }
            Self::AppendOnly => "neither nodes nor the hub can delete here: it was tried".to_owned(),
        }
    }

    /// Whether a person should do something about it.
    pub(crate) fn needs_a_person(&self) -> bool {
        !matches!(self, Self::AppendOnly | Self::Untried(None))
    }
}

/// What is known of the second target.
#[derive(Debug, Default)]
pub(crate) struct SecondTarget(Mutex<Second>);

impl SecondTarget {
    /// As the settings say; nothing was tried.
    pub(crate) fn new(place: Option<&Place>) -> Self {
        Self(Mutex::new(place.map(Second::said).unwrap_or_default()))
    }

    pub(crate) fn get(&self) -> Second {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, second: Second) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = second;
    }
}

/// Tries it until the hub stops.
pub(crate) async fn watch(app: Arc<App>) {
    let Some(place) = &app.backups.place else { return };
    loop {
        let second = match Second::said(place) {
            Second::Untried(_) => found_out(place).await,
            said => said,
        };
        if second.needs_a_person() {
            tracing::warn!("backups: {}", second.words());
        } else {
            tracing::info!("backups: {}", second.words());
        }
        let pause = if matches!(second, Second::Untried(_)) { AGAIN } else { EVERY };
        app.backups.second.set(second);
        tokio::select! {
            () = sleep(pause) => {}
            () = app.stopping.cancelled() => return,
        }
    }
}

async fn found_out(place: &Place) -> Second {
    let Some(site) = &place.second else { return Second::None };
    let tried = match FILE.parse() {
        Ok(name) => site.objects.is_append_only(&name).await,
        Err(error) => Err(error),
    };
    match tried {
        Ok(true) => Second::AppendOnly,
        Ok(false) => Second::CanDeleteAfterAll,
        Err(error) => Second::Untried(Some(error.to_string())),
    }
}
