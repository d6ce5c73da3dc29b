//! `backstay backup recovery-key`: what opens all backups once there is no hub any more.

use std::path::{Path, PathBuf};

use backstay_api::{
    Empty,
    v1::{GetRecoveryKey, RecoveryKeyView, SetRecoveryKey, SetRecoveryKeyRequest},
};
use backstay_types::{ErrorCode, Secret};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{
    Outcome, done,
    identity::{Identity, write_once},
};
use crate::{
    api::Api,
    context::Context,
    error::{CliError, Exit},
    ui::style,
};

/// The owner's recovery key: made on this machine; the hub gets its public part alone.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct RecoveryKey {
    #[command(subcommand)]
    action: Option<Action>,
    /// Only say which key is set and what it opens, as `show` does
    #[arg(long, conflicts_with_all = ["out", "replace", "recipient"])]
    show: bool,
    #[command(flatten)]
    make: Make,
}

/// What about it.
#[derive(Debug, Subcommand)]
enum Action {
    /// Make one, and have the hub seal every repository's password to it; so without a word too
    Make(Make),
    /// Which is set, and what it opens
    Show,
    /// Whether a key is the one that opens the backups of this hub
    Check(Check),
}

/// Options of `recovery-key make`.
#[derive(Debug, Args)]
struct Make {
    /// Have them sealed to a key that you have, by its public part, instead of a new one
    #[arg(long, value_name = "AGE1…", conflicts_with = "out")]
    recipient: Option<String>,
    /// Write it to this new file, readable by you alone [default: print it]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Take the place of the one that is set: that opens only what it was sealed to before
    #[arg(long)]
    replace: bool,
}

/// Options of `recovery-key check`.
#[derive(Debug, Args)]
struct Check {
    /// The file with the key
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
}

/// What `--json` prints of a key that was made.
#[derive(Debug, Serialize)]
struct Made {
    #[serde(flatten)]
    view: RecoveryKeyView,
    /// Its secret part, where it was not written to a file.
    identity: Option<Secret>,
    /// Where its secret part is.
    file: Option<PathBuf>,
}

impl RecoveryKey {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        match self.action {
            None if self.show => show(cx).await,
            None => make(self.make, cx).await,
            Some(Action::Make(command)) => make(command, cx).await,
            Some(Action::Show) => show(cx).await,
            Some(Action::Check(command)) => check(&command.identity, cx).await,
        }
    }
}

async fn show(cx: &Context) -> Outcome {
    let key = cx.api()?.get::<GetRecoveryKey>().await?;
    cx.ui.data(&key, || view(&key))?;
    done()
}

async fn check(path: &Path, cx: &Context) -> Outcome {
    let identity = Identity::read(path)?;
    let key = cx.api()?.get::<GetRecoveryKey>().await?;
    let set = key.recipient.as_deref();
    if set != Some(identity.recipient().as_str()) {
        let set = set.map_or_else(|| "none is set".to_owned(), |set| format!("{set} is set"));
        let detail = format!("{} holds {}, and {set} at this hub", path.display(), identity.recipient());
        return Err(CliError::new(ErrorCode::BS9018, detail).hint(
            "look for the file of the key that is set; without it, make another one:\n\
             backstay backup recovery-key make --out FILE --replace",
        ));
    }
    cx.ui.data(&key, || format!("{} is the key of this hub.\n{}", path.display(), view(&key)))?;
    done()
}

async fn make(command: Make, cx: &Context) -> Outcome {
    let api = cx.api()?;
    let before = api.get::<GetRecoveryKey>().await?;
    if let Some(set) = before.recipient.filter(|_| !command.replace) {
        let detail = format!("there is a recovery key already: {set}");
        return Err(CliError::new(ErrorCode::BS9018, detail)
            .hint("nothing was made; --replace has every password sealed to a new one"));
    }
    if let Some(recipient) = command.recipient {
        let set = send(&api, SetRecoveryKeyRequest { recipient, replace: command.replace }).await?;
        cx.ui.data(&set, || view(&set))?;
        return done();
    }
    let identity = Identity::make();
    let at = cx.frame().now.date().to_string();
    if let Some(path) = &command.out {
        // Before the hub hears of it: nothing is ever sealed to a key that was lost on the way.
        write_once(path, &identity.text(api.url(), &at))?;
    }
    let request = SetRecoveryKeyRequest { recipient: identity.recipient(), replace: command.replace };
    let set = send(&api, request).await.map_err(|error| unset(error, command.out.as_deref()))?;
    let secret = command.out.is_none().then(|| identity.secret());
    let made = Made { view: set, identity: secret, file: command.out };
    // What is printed is the key's file and nothing else, so that it may be led into one.
    cx.ui.data(&made, || match &made.file {
        Some(path) => format!("The recovery key is in {}, readable by you alone.\n", path.display()),
        None => identity.text(api.url(), &at).expose().to_owned(),
    })?;
    if !cx.ui.json {
        let dim = style::DIM;
        cx.ui.note(format!(
            "\n{dim}It opens all backups without any hub, and nothing else does once the hub is lost. Keep two copies, off\n\
             the hub and off its target; the hub knows its public part alone. To try it:\n\
             backstay backup recovery-key check --identity FILE{dim:#}\n\n{}",
            view(&made.view).trim_end()
        ));
    }
    done()
}

async fn send(api: &Api, request: SetRecoveryKeyRequest) -> Result<RecoveryKeyView, CliError> {
    api.call::<SetRecoveryKey>(Empty {}, Empty {}, request).await
}

/// The hub has not taken a key. One that it surely does not know is of no use; one that it may know stays.
fn unset(error: CliError, file: Option<&Path>) -> CliError {
    let Some(path) = file else { return error };
    if error.exit() == Exit::Unreachable {
        return error.hint(format!(
            "{} stays: the hub may have heard of it. See: backstay backup recovery-key show",
            path.display()
        ));
    }
    if let Err(left) = std::fs::remove_file(path) {
        return error.hint(format!("{} holds a key that opens nothing; remove it ({left})", path.display()));
    }
    error
}

fn view(key: &RecoveryKeyView) -> String {
    let (good, bad) = (style::GOOD, style::BAD);
    let Some(recipient) = &key.recipient else {
        return format!(
            "{bad}No recovery key is set{bad:#}: once this hub is lost, nobody can open any backup.\n\
             Make one: backstay backup recovery-key make --out FILE\n"
        );
    };
    let repositories =
        |many: u64| if many == 1 { "1 repository".to_owned() } else { format!("{many} repositories") };
    let yet = match key.unsealed {
        0 => String::new(),
        many => format!(", {} not yet", repositories(many)),
    };
    format!("Set: {recipient}\n{good}It opens {}{good:#}{yet}.\n", repositories(key.sealed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_it_opens_or_that_there_is_none() {
        let text = |recipient: Option<&str>, sealed, unsealed| {
            let key = RecoveryKeyView { recipient: recipient.map(str::to_owned), sealed, unsealed };
            anstream::adapter::strip_str(&view(&key)).to_string()
        };
        assert!(text(None, 0, 3).contains("nobody can open any backup"));
        assert_eq!(text(Some("age1x"), 1, 0), "Set: age1x\nIt opens 1 repository.\n");
        assert_eq!(text(Some("age1x"), 2, 1), "Set: age1x\nIt opens 2 repositories, 1 repository not yet.\n");
    }

    #[test]
    fn a_key_that_the_hub_refused_is_gone_and_one_that_it_may_know_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for (code, stays) in [(ErrorCode::BS4003, false), (ErrorCode::BS8001, true)] {
            std::fs::write(&path, "key").unwrap();
            let error = unset(CliError::new(code, "no"), Some(&path));
            assert_eq!((error.code(), path.exists()), (code, stays));
        }
    }
}
