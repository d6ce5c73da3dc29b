//! Which of two agents is started, remembered in one small file: the format that loader and agent share.
//!
//! A new agent is put into the slot that is not used, and is on trial: the loader counts each start before it makes it,
//! durably, and after [`STRIKES`] starts without the agent's word that it works goes back to the one before. The loader
//! is never replaced by the agent and does nothing else, so that there is nothing in it that a release could break.
//!
//! Absent on purpose: every dependency, and anything that takes a decision about content. The agent verifies what it
//! puts into a slot.

mod load;

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

pub use load::run;

/// So often an agent on trial is started.
pub const STRIKES: u32 = 3;
/// So many failures are remembered.
const FAILURES: usize = 20;

/// Where an agent is started from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Slot {
    /// The one that was installed with the loader.
    #[default]
    Installed,
    /// The first slot.
    A,
    /// The second slot.
    B,
}

impl Slot {
    /// Its word in the file, and its name in the folder.
    pub fn word(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::A => "a",
            Self::B => "b",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Installed, Self::A, Self::B].into_iter().find(|slot| slot.word() == word)
    }

    /// The slot that a new agent goes into while this one is used.
    pub fn other(self) -> Self {
        if self == Self::A { Self::B } else { Self::A }
    }
}

/// An agent on trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Where it is.
    pub slot: Slot,
    /// How often it was started.
    pub starts: u32,
    /// SHA-256 of its program.
    pub sha256: String,
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The agent that is known to work.
    pub good: Slot,
    /// The one that has yet to show that it does.
    pub trial: Option<Trial>,
    /// Those that did not: SHA-256, and why.
    pub failed: Vec<(String, String)>,
    /// Lines that this version does not know; they are kept.
    pub other: Vec<String>,
}

impl State {
    fn path(dir: &Path) -> PathBuf {
        dir.join("state")
    }

    /// Reads it. None when there is none.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(Self::path(dir)) {
            Ok(text) => Ok(Some(Self::parse(&text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes it durable, whole or not at all.
    ///
    /// # Errors
    /// When the folder cannot be written; what was there before is there still.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        let beside = dir.join(".state.tmp");
        let mut file = File::create(&beside)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()?;
        drop(file);
        fs::rename(&beside, Self::path(dir))?;
        File::open(dir)?.sync_all()
    }

    fn parse(text: &str) -> Self {
        let mut state = Self::default();
        for line in text.lines() {
            let mut words = line.splitn(4, ' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("good"), Some(slot), None, None) if Slot::parse(slot).is_some() => {
                    state.good = Slot::parse(slot).unwrap_or_default();
                }
                (Some("trial"), Some(slot), Some(starts), Some(sha256)) => {
                    let trial = Slot::parse(slot).zip(starts.parse().ok());
                    state.trial =
                        trial.map(|(slot, starts)| Trial { slot, starts, sha256: sha256.to_owned() });
                }
                (Some("failed"), Some(sha256), why, more) => {
                    let why = [why, more].into_iter().flatten().collect::<Vec<_>>().join(" ");
                    state.failed.push((sha256.to_owned(), why));
                }
                (Some(""), ..) | (None, ..) => {}
                _ => state.other.push(line.to_owned()),
            }
        }
        state
    }

    fn text(&self) -> String {
        let mut text = format!("good {}\n", self.good.word());
        // Writing to a string does not fail.
        if let Some(Trial { slot, starts, sha256 }) = &self.trial {
            let _ = writeln!(text, "trial {} {starts} {sha256}", slot.word());
        }
        for (sha256, why) in &self.failed {
            let _ = writeln!(text, "failed {sha256} {}", why.replace('\n', " "));
        }
        for line in &self.other {
            let _ = writeln!(text, "{line}");
        }
        text
    }

    /// The slot to start from now. Says what has to be durable before that, in `self`; true when it changed.
    pub fn start(&mut self) -> (Slot, bool) {
        match &mut self.trial {
            None => (self.good, false),
            Some(trial) if trial.starts < STRIKES => {
                trial.starts += 1;
                (trial.slot, true)
            }
            Some(_) => {
                self.give_up(&format!("it was started {STRIKES} times and did not confirm that it works"));
                (self.good, true)
            }
        }
    }

    /// Puts a program on trial that is in a slot. One that is on trial there already has the starts that it has had: that
    /// it was put there again, since another had to be started meanwhile, is no new beginning.
    pub fn try_out(&mut self, slot: Slot, sha256: String) {
        let same = self.trial.take().filter(|trial| (trial.slot, &trial.sha256) == (slot, &sha256));
        let starts = same.map_or(0, |trial| trial.starts);
        self.trial = Some(Trial { slot, starts, sha256 });
    }

    /// The agent on trial is not tried any more.
    pub fn give_up(&mut self, why: &str) {
        if let Some(trial) = self.trial.take() {
            self.failed.push((trial.sha256, why.to_owned()));
            let surplus = self.failed.len().saturating_sub(FAILURES);
            self.failed.drain(..surplus);
        }
    }

    /// The agent on trial works: it is the one that is started from now on.
    pub fn confirm(&mut self) {
        if let Some(trial) = self.trial.take() {
            self.good = trial.slot;
        }
    }

    /// Why an agent is not tried again, when it is not.
    pub fn why_failed(&self, sha256: &str) -> Option<&str> {
        self.failed.iter().find(|(known, _)| known == sha256).map(|(_, why)| why.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_trial() -> State {
        let trial = Trial { slot: Slot::B, starts: 0, sha256: "beef".into() };
        State { good: Slot::A, trial: Some(trial), ..State::default() }
    }

    #[test]
    fn three_strikes_and_back_to_what_worked() {
        let mut state = on_trial();
        for starts in 1..=STRIKES {
            assert_eq!(state.start(), (Slot::B, true));
            // The machine goes down after each.
            state = State::parse(&state.text());
            assert_eq!(state.trial.as_ref().unwrap().starts, starts);
        }
        assert_eq!(state.start(), (Slot::A, true));
        assert!(state.why_failed("beef").unwrap().contains("3 times"));
        assert_eq!(state.start(), (Slot::A, false));
        assert_eq!(State::parse(&state.text()), state);
    }

    /// A start that could not be counted was not made: the one before ran, and brought the same program again.
    #[test]
    fn one_that_is_put_on_trial_again_has_had_its_starts() {
        let mut state = on_trial();
        state.start();
        state.try_out(Slot::B, "beef".into());
        for _ in 1..STRIKES {
            assert_eq!(state.start().0, Slot::B);
        }
        assert_eq!(state.start().0, Slot::A);
        state.try_out(Slot::B, "cafe".into());
        assert_eq!(state.trial.unwrap().starts, 0);
    }

    #[test]
    fn one_that_confirms_is_the_good_one() {
        let mut state = on_trial();
        state.start();
        state.confirm();
        assert_eq!((state.start(), state.why_failed("beef")), ((Slot::B, false), None));
    }

    #[test]
    fn it_is_written_whole_and_what_is_unknown_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(State::read(dir.path()).unwrap(), None);
        let mut state = on_trial();
        state.other.push("told 019a 1".into());
        state.give_up("first\nsecond");
        state.write(dir.path()).unwrap();
        let read = State::read(dir.path()).unwrap().unwrap();
        assert_eq!(read.failed, [("beef".to_owned(), "first second".to_owned())]);
        assert_eq!(read.other, ["told 019a 1"]);
    }

    #[test]
    fn nonsense_starts_what_was_installed() {
        for text in ["", "\0\0\0\0", "good", "good c", "trial b x y", "trial b", "good a b c d e"] {
            let mut state = State::parse(text);
            assert_eq!(state.start().0, Slot::Installed, "{text:?}");
        }
    }
}
