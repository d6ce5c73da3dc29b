//! What must hold, and what is said when it does not.

use std::{fmt, str::FromStr};

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// A node has a release that works, and the way back to one while another is tried.
    Working,
    /// A node that is without a working release is in safe mode, and who is in safe mode has said so, and why.
    Told,
    /// Failures stay in the waves and limits that the plan allows.
    Confined,
    /// Nothing forward begins outside the windows of its node.
    InTime,
    /// Who is pinned runs what the pin says and nothing else.
    Pinned,
    /// A release enters an environment only when those before have run it.
    Promoted,
    /// What moves a part leaves the others as they are.
    Apart,
    /// No node is ever without an agent that works, and a bad one comes to few.
    Agents,
    /// What is held, undone or banned does not come back.
    StaysAway,
    /// What has not proved itself is not taken for good.
    Proven,
    /// What was acknowledged is not lost.
    Acknowledged,
    /// Nothing is done twice.
    Once,
    /// Once faults stop, everything comes to rest where it should.
    Converges,
    /// What is not known removes nothing.
    UnknownRemovesNothing,
    /// What a node holds never gets older.
    NeverOlder,
    /// The ledger is as it was sealed.
    Ledger,
    /// The hub or an agent does not fail by itself.
    Sound,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::Working,
        Self::Told,
        Self::Confined,
        Self::InTime,
        Self::Pinned,
        Self::Promoted,
        Self::Apart,
        Self::Agents,
        Self::StaysAway,
        Self::Proven,
        Self::Acknowledged,
        Self::Once,
        Self::Converges,
        Self::UnknownRemovesNothing,
        Self::NeverOlder,
        Self::Ledger,
        Self::Sound,
    ];
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Working => "a node has a release that works",
            Self::Told => "who is in safe mode says so, and why",
            Self::Confined => "failures stay in their wave",
            Self::InTime => "nothing forward begins outside its windows",
            Self::Pinned => "who is pinned runs that and nothing else",
            Self::Promoted => "what enters an environment has run in those before",
            Self::Apart => "what moves a part leaves the others alone",
            Self::Agents => "nobody is without a working agent",
            Self::StaysAway => "what is held, undone or banned stays away",
            Self::Proven => "what has not proved itself is not taken for good",
            Self::Acknowledged => "what was acknowledged is not lost",
            Self::Once => "nothing is done twice",
            Self::Converges => "everything converges",
            Self::UnknownRemovesNothing => "unknown removes nothing",
            Self::NeverOlder => "what a node holds never gets older",
            Self::Ledger => "the ledger is as it was sealed",
            Self::Sound => "hub and agents do not fail by themselves",
        })
    }
}

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What was seen.
    pub what: String,
}

/// A bug that is put in on purpose, outside the product's own code, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Planted {
    /// A node's journal says that it is durable when it is not.
    LyingJournal,
    /// Releases are renamed into place before their content is synced.
    UnsyncedRelease,
    /// Old releases are deleted with the way back among them.
    PrunesTheWayBack,
    /// An agent says nothing of its safe mode.
    KeepsSilent,
    /// An agent whose update and way back failed goes on as if nothing had been.
    GoesOnBroken,
    /// The hub says yes to a freeze and does not keep to it.
    IgnoresLimits,
    /// The hub does not know of windows.
    IgnoresWindows,
    /// The hub does not know of dates of blackout.
    IgnoresBlackout,
    /// The hub takes every clock for one that shows UTC.
    KnowsOneClock,
    /// The hub says yes to a pin and does not keep to it.
    IgnoresPins,
    /// The hub says yes to the end of a pin and keeps to it all the same.
    KeepsPins,
    /// The hub lets into environments whatever comes next.
    LetsAllIn,
    /// The hub does not wait for an environment's soak.
    SkipsSoak,
    /// The hub lets in by itself what a person has to.
    OpensDoors,
    /// The hub does not know of environments.
    KnowsOneStage,
    /// The hub moves all parts with one.
    MixesParts,
    /// The hub does not know what parts need of each other.
    ForgetsNeeds,
    /// The loader does not count how often it starts an agent.
    CountsNoStrikes,
    /// A new agent is put where the one is that works.
    OverwritesGood,
    /// The hub asks all nodes at once to run a new agent.
    AsksEveryone,
    /// The hub takes every word of a new agent for a good one.
    HearsOnlyGood,
    /// Gates open by themselves.
    OpenGates,
    /// The hub opens the next wave once one node has done well, however many are away.
    OpensForOne,
    /// The hub says yes to an emergency stop and does not keep to it.
    IgnoresStop,
    /// The hub says yes to a pause and does not keep to it.
    IgnoresPause,
    /// The hub leaves standing what it ordered before an emergency stop, and before windows closed.
    KeepsOrders,
    /// The hub forgets holds and bans when it is started again.
    ForgetsHolds,
    /// The hub acknowledges some reports without taking them.
    AcksTooSoon,
    /// Nodes call healthy whatever runs.
    BlindProbes,
    /// What stopped is noted as a success.
    CallsItGood,
    /// An undo takes its content to everyone at once, whatever it is.
    RushesBack,
    /// The hub takes what was made last for the oldest.
    LosesOrder,
    /// An agent that was started again does not know what it has done.
    DoesItAgain,
    /// An agent is never woken by time.
    Sleeps,
    /// A repository that cannot be read is taken for an empty one.
    UnknownIsEmpty,
    /// An agent takes any statement that is signed.
    TakesAnything,
    /// Somebody edits the ledger.
    EditsLedger,
}

impl Planted {
    /// All of them, with what must catch them.
    pub const ALL: [(Self, Invariant); 39] = [
        (Self::LyingJournal, Invariant::NeverOlder),
        (Self::UnsyncedRelease, Invariant::Working),
        (Self::PrunesTheWayBack, Invariant::Working),
        (Self::KeepsSilent, Invariant::Told),
        (Self::GoesOnBroken, Invariant::Told),
        (Self::IgnoresLimits, Invariant::Confined),
        (Self::IgnoresWindows, Invariant::InTime),
        (Self::IgnoresBlackout, Invariant::InTime),
        (Self::KnowsOneClock, Invariant::InTime),
        (Self::KeepsOrders, Invariant::InTime),
        (Self::IgnoresPins, Invariant::Pinned),
        (Self::KeepsPins, Invariant::Converges),
        (Self::LetsAllIn, Invariant::Promoted),
        (Self::SkipsSoak, Invariant::Promoted),
        (Self::OpensDoors, Invariant::Promoted),
        (Self::KnowsOneStage, Invariant::Promoted),
        (Self::MixesParts, Invariant::Apart),
        (Self::ForgetsNeeds, Invariant::Apart),
        (Self::CountsNoStrikes, Invariant::Agents),
        (Self::OverwritesGood, Invariant::Agents),
        (Self::AsksEveryone, Invariant::Agents),
        (Self::HearsOnlyGood, Invariant::Agents),
        (Self::IgnoresLimits, Invariant::Agents),
        (Self::OpenGates, Invariant::Confined),
        (Self::OpensForOne, Invariant::Confined),
        (Self::IgnoresStop, Invariant::Confined),
        (Self::IgnoresPause, Invariant::Confined),
        (Self::KeepsOrders, Invariant::Confined),
        (Self::ForgetsHolds, Invariant::StaysAway),
        (Self::AcksTooSoon, Invariant::Acknowledged),
        (Self::BlindProbes, Invariant::Proven),
        (Self::CallsItGood, Invariant::Proven),
        (Self::RushesBack, Invariant::Proven),
        (Self::LosesOrder, Invariant::Converges),
        (Self::DoesItAgain, Invariant::Once),
        (Self::Sleeps, Invariant::Converges),
        (Self::UnknownIsEmpty, Invariant::UnknownRemovesNothing),
        (Self::TakesAnything, Invariant::NeverOlder),
        (Self::EditsLedger, Invariant::Ledger),
    ];
}

impl FromStr for Planted {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(planted, _)| format!("{planted:?}").eq_ignore_ascii_case(text));
        found.map(|(planted, _)| *planted).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|(planted, _)| format!("{planted:?}")).collect();
            format!("`{text}`: expected one of {}", known.join(", "))
        })
    }
}
