//! Releases and how they behave: what is in a tree says it.

use std::{fmt::Write as _, time::Duration};

use backstay_types::tree::TreeFile;

/// How many parts a stack has, each a file with one line, so that a change of one can be taken back without the others.
pub(crate) const PARTS: usize = 5;

/// Into which parts a stack is divided, where it is: the parts of its content that each has. What no part names is the
/// first's.
pub(crate) const DIVISION: [(&str, &[usize]); 3] = [("base", &[3, 4]), ("alpha", &[0, 1]), ("beta", &[2])];
/// The part that needs another, and the other.
pub(crate) const NEEDS: &str = "beta";
pub(crate) const NEEDED: &str = "alpha";

/// What a change does to the release that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Nothing bad.
    Good,
    /// Nothing bad, but it takes its time to become healthy.
    Slow,
    /// It is not valid on any node.
    Invalid,
    /// It does not start.
    Start,
    /// It starts and never becomes healthy.
    Unhealthy,
    /// It becomes healthy and does not stay so.
    Bake,
    /// It takes the machine down some time after it was started.
    Crash,
    /// It fills the disk.
    Fill,
    /// It fails on nodes with the label `kind=odd` and does well on the others.
    Some,
    /// Its image is not to be had.
    Image,
}

impl Kind {
    const ALL: [(Self, &str); 10] = [
        (Self::Good, "good"),
        (Self::Slow, "slow"),
        (Self::Invalid, "invalid"),
        (Self::Start, "start"),
        (Self::Unhealthy, "unhealthy"),
        (Self::Bake, "bake"),
        (Self::Crash, "crash"),
        (Self::Fill, "fill"),
        (Self::Some, "some"),
        (Self::Image, "image"),
    ];

    /// Its word in a tree.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("good", |(_, word)| word)
    }

    fn of(word: &str) -> Self {
        Self::ALL.iter().find(|(_, own)| *own == word).map_or(Self::Good, |(kind, _)| *kind)
    }
}

/// A part of a stack as it is in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    /// Tells changes of the same kind apart: the number of the push that brought it, 0 for the beginning.
    pub(crate) push: usize,
}

impl Part {
    fn does_well(&self, odd: bool) -> bool {
        match self.kind {
            Kind::Good | Kind::Slow => true,
            Kind::Some => !odd,
            _ => false,
        }
    }
}

/// What a tree says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) parts: Vec<Part>,
    pub(crate) bake: Duration,
}

impl Content {
    /// Reads a tree's files.
    pub(crate) fn of(files: &[TreeFile]) -> Self {
        let text = |name: &str| {
            let file = files.iter().find(|file| file.path == name);
            file.map(|file| String::from_utf8_lossy(&file.content).into_owned()).unwrap_or_default()
        };
        let parts = (0..PARTS)
            .map(|part| {
                let line = text(&part_name(part));
                let (kind, push) = line.trim().split_once(' ').unwrap_or(("good", "0"));
                Part { kind: Kind::of(kind), push: push.parse().unwrap_or(0) }
            })
            .collect();
        let bake = text("stack.toml").lines().find_map(|line| {
            let seconds = line.strip_prefix("for = \"")?.strip_suffix("s\"")?;
            seconds.parse().ok().map(Duration::from_secs)
        });
        Self { parts, bake: bake.unwrap_or_default() }
    }

    /// Whether something of this kind is in it.
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.parts.iter().any(|part| part.kind == kind)
    }

    /// Whether what a push brought is in it.
    pub(crate) fn contains(&self, push: usize) -> bool {
        push != 0 && self.parts.iter().any(|part| part.push == push)
    }

    /// Whether it does well on a node for good.
    pub(crate) fn does_well(&self, odd: bool) -> bool {
        self.parts.iter().all(|part| part.does_well(odd))
    }

    /// What a part of a divided stack has of it.
    pub(crate) fn part(&self, name: &str) -> Vec<&Part> {
        let own = DIVISION.iter().find(|(own, _)| *own == name).map_or(&[][..], |(_, places)| places);
        own.iter().filter_map(|place| self.parts.get(*place)).collect()
    }

    /// Whether a part of a divided stack does well on a node for good.
    pub(crate) fn part_does_well(&self, name: &str, odd: bool) -> bool {
        self.part(name).iter().all(|part| part.does_well(odd))
    }

    /// Whether a node on which it came to a good end must have looked away: it never does well there, not even for a while.
    pub(crate) fn never_does_well(&self, odd: bool) -> bool {
        self.parts.iter().any(|part| match part.kind {
            Kind::Invalid | Kind::Start | Kind::Unhealthy | Kind::Bake | Kind::Image => true,
            Kind::Some => odd,
            Kind::Good | Kind::Slow | Kind::Crash | Kind::Fill => false,
        })
    }

    /// In words.
    pub(crate) fn describe(&self) -> String {
        let mut text = String::new();
        for part in self.parts.iter().filter(|part| part.push != 0) {
            let _ =
                write!(text, "{}{}.{}", if text.is_empty() { "" } else { " " }, part.kind.word(), part.push);
        }
        if text.is_empty() { "first".to_owned() } else { text }
    }
}

/// The files of a stack as it is at first: path and text.
pub(crate) fn first_files(stack: &str, bake: Duration, divided: bool) -> Vec<(String, String)> {
    let mut manifest =
        "runtime = \"process\"\n[[process]]\nname = \"main\"\ncommand = [\"./serve\"]\n".to_owned();
    if !bake.is_zero() {
        let _ = write!(manifest, "[bake]\nfor = \"{}s\"\n", bake.as_secs());
    }
    for (name, places) in DIVISION.iter().skip(1).filter(|_| divided) {
        let paths: Vec<_> = places.iter().map(|place| format!("\"{}\"", part_name(*place))).collect();
        let _ = write!(manifest, "[[part]]\nname = \"{name}\"\npaths = [{}]\n", paths.join(", "));
        if *name == NEEDS {
            let _ = write!(manifest, "[[part.requires]]\npart = \"{NEEDED}\"\n");
        }
    }
    let mut files = vec![
        (format!("stacks/{stack}/serve"), format!("#!/bin/sh\n# {stack}\nexec sleep 1000\n")),
        (format!("stacks/{stack}/stack.toml"), manifest),
    ];
    files.extend(
        (0..PARTS).map(|part| (format!("stacks/{stack}/{}", part_name(part)), part_text(Kind::Good, 0))),
    );
    files
}

/// A part's file in the stack's folder.
pub(crate) fn part_name(part: usize) -> String {
    format!("part-{part}")
}

/// A part's text.
pub(crate) fn part_text(kind: Kind, push: usize) -> String {
    format!("{} {push}\n", kind.word())
}
