//! Starting an agent.

use std::{
    env,
    ffi::OsString,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use crate::{Slot, State};

/// The program: takes the agent's place as the agent. `arguments` are SLOTS, the folder of both slots and of their state,
/// INSTALLED, the agent that came with the loader, and what the agent is given. It does not stay: whoever restarts what it
/// started runs it again, and that is how starts are counted. Returns only when no agent can be started.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let (Some(slots), Some(installed)) = (arguments.next(), arguments.next()) else {
        say("usage: backstay-loader SLOTS INSTALLED [ARGUMENTS]…");
        return ExitCode::from(2);
    };
    let load = Load { slots: slots.into(), installed: installed.into(), arguments: arguments.collect() };
    load.run();
    ExitCode::FAILURE
}

struct Load {
    slots: PathBuf,
    installed: PathBuf,
    arguments: Vec<OsString>,
}

impl Load {
    /// Returns only when no agent can be started.
    fn run(&self) {
        let mut state = match State::read(&self.slots) {
            Ok(state) => state.unwrap_or_default(),
            Err(error) => {
                say(&format!("{}: {error}", self.slots.display()));
                State::default()
            }
        };
        let good = state.good;
        let (mut slot, changed) = state.start();
        if changed && let Err(error) = state.write(&self.slots) {
            // A start that cannot be counted is not made: without the count nothing would end the trial.
            say(&format!("{}: {error}; the agent that is known to work is started", self.slots.display()));
            slot = good;
        }
        let failed = self.start(slot);
        if slot != good {
            state.give_up(&failed);
            if let Err(error) = state.write(&self.slots) {
                say(&format!("{}: {error}", self.slots.display()));
            }
        }
        for slot in [good, good.other(), Slot::Installed] {
            self.start(slot);
        }
    }

    /// Becomes the agent of a slot. Returns why not.
    fn start(&self, slot: Slot) -> String {
        let path = match slot {
            Slot::Installed => self.installed.clone(),
            Slot::A | Slot::B => self.slots.join(slot.word()),
        };
        let mut command = Command::new(&path);
        command.args(&self.arguments).arg0("backstay-agent");
        command.env("BACKSTAY_SLOTS", &self.slots).env("BACKSTAY_SLOT", slot.word());
        command.env("BACKSTAY_LOADER", own_path()).env("BACKSTAY_INSTALLED", &self.installed);
        let why = format!("{} cannot be started: {}", path.display(), command.exec());
        say(&why);
        why
    }
}

fn own_path() -> PathBuf {
    env::current_exe().unwrap_or_else(|_| Path::new("backstay-loader").to_owned())
}

fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "backstay-loader: {text}");
}
