//! What happened, as places in lists: small enough to be put in order before it is written.

use backstay_types::World;

use super::{DAYS, Dice, Sizes, fleet::Fleet};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Something that happened, so many milliseconds after the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Happening {
    pub(super) at: i64,
    pub(super) what: What,
}

/// What happened, with places in the lists of [`History`] and [`Fleet`]. Of one moment, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// The repository was added.
    Repository,
    /// A node joined.
    Joined(usize),
    /// A conversation was heard of.
    Opened(usize),
    /// A commit was seen.
    Commit(usize),
    /// A release was made of it.
    Release(usize),
    /// Nodes began to move to it.
    Rollout(usize),
    /// What a node should run changed, for a deployment.
    Planned(usize),
    /// A deployment began.
    Started(usize),
    /// It ended.
    Finished(usize),
    /// All were there, or it stopped.
    RolloutEnded(usize),
    /// A conversation ended.
    Closed(usize),
    /// What a node runs departed from what should (`true`), or came back.
    Drift(usize, bool),
    /// What a node should run changed for another reason.
    Desired(usize),
}

/// A release and the nodes that moved to it.
#[derive(Debug, Clone)]
pub(super) struct Rollout {
    pub(super) stack: usize,
    pub(super) at: i64,
    /// Where its deployments begin and end in [`History::deployments`].
    pub(super) deployments: std::ops::Range<usize>,
    pub(super) end: RolloutEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RolloutEnd {
    Succeeded,
    Halted,
    Running,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Deployment {
    pub(super) node: usize,
    pub(super) rollout: usize,
    pub(super) planned: i64,
    pub(super) started: i64,
    pub(super) finished: i64,
    pub(super) outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Pending,
    Running,
    Succeeded,
    RolledBack,
    Failed,
    /// Failed by the node's own fault, which stops no rollout.
    DiskFull,
}

/// A commit; the first ones are of the rollouts, in their order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commit {
    pub(super) at: i64,
    pub(super) conversation: usize,
}

/// What happened to a fleet in a month.
#[derive(Debug)]
pub(super) struct History {
    pub(super) rollouts: Vec<Rollout>,
    pub(super) deployments: Vec<Deployment>,
    pub(super) commits: Vec<Commit>,
    /// All of it, in order.
    pub(super) happenings: Vec<Happening>,
}

impl History {
    /// A history of this size.
    pub(super) fn of(fleet: &Fleet, sizes: Sizes, world: &World) -> Self {
        let dice = Dice::of(world);
        let mut history = Self {
            rollouts: Vec::new(),
            deployments: Vec::new(),
            commits: Vec::new(),
            happenings: Vec::new(),
        };
        for stack in 0..fleet.stacks.len() {
            history.tell_stack(fleet, stack, &dice);
        }
        history.tell_conversations(sizes.conversations, &dice);
        history.tell_fleet(fleet, sizes, &dice);
        history.happenings.sort_unstable();
        history
    }

    fn happens(&mut self, at: i64, what: What) {
        self.happenings.push(Happening { at, what });
    }

    /// Releases of a stack that reach all its nodes, the first and the last among them, and some that stop early.
    fn tell_stack(&mut self, fleet: &Fleet, stack: usize, dice: &Dice) {
        let (all, nodes) = (fleet.stacks[stack].deployments, fleet.stacks[stack].nodes.len());
        let whole = (all / nodes).saturating_sub(1).max(1);
        let mut left = all.saturating_sub(whole * nodes);
        let mut sizes = vec![nodes; whole.saturating_sub(2)];
        while left > 0 {
            let size = left.min((nodes / 6).max(1));
            sizes.insert(dice.below(sizes.len() + 1), size);
            left -= size;
        }
        sizes.insert(0, nodes);
        if whole > 1 {
            sizes.push(nodes);
        }
        let mut times: Vec<i64> = sizes.iter().map(|_| working_time(dice)).collect();
        times.sort_unstable();
        let last = sizes.len() - 1;
        for (i, (size, at)) in sizes.into_iter().zip(times).enumerate() {
            let end = match () {
                // One is under way now.
                () if i == last && fleet.stacks[stack].name.as_str() == "gateway" => RolloutEnd::Running,
                () if size < nodes => RolloutEnd::Halted,
                () => RolloutEnd::Succeeded,
            };
            let at = if end == RolloutEnd::Running { DAYS * DAY - 6 * MINUTE } else { at };
            let chosen = fleet.stacks[stack].nodes.iter().copied().take(size);
            self.tell_rollout(stack, at, chosen, (end, i == last), dice);
        }
    }

    fn tell_rollout(
        &mut self,
        stack: usize,
        at: i64,
        nodes: impl Iterator<Item = usize>,
        (end, last): (RolloutEnd, bool),
        dice: &Dice,
    ) {
        let rollout = self.rollouts.len();
        let first = self.deployments.len();
        self.happens(at - 2_000, What::Release(rollout));
        self.happens(at, What::Rollout(rollout));
        let mut finished_last = at;
        for (i, node) in nodes.enumerate() {
            let wave = (i / 50).min(60) as i64;
            let planned = at + 10 + wave * 15_000;
            let started = planned + 200 + dice.below(1_500) as i64;
            let finished = started + 2_000 + dice.below(18_000) as i64;
            let outcome = outcome(end, last, wave, dice);
            let number = self.deployments.len();
            self.happens(planned, What::Planned(number));
            if outcome != Outcome::Pending {
                self.happens(started, What::Started(number));
            }
            if !matches!(outcome, Outcome::Pending | Outcome::Running) {
                self.happens(finished, What::Finished(number));
                finished_last = finished_last.max(finished);
            }
            self.deployments.push(Deployment { node, rollout, planned, started, finished, outcome });
        }
        if end != RolloutEnd::Running {
            self.happens(finished_last + 50, What::RolloutEnded(rollout));
        }
        self.rollouts.push(Rollout { stack, at, deployments: first..self.deployments.len(), end });
    }

    /// Commits of all rollouts and some that change no stack, by conversations that each made a few in a row.
    fn tell_conversations(&mut self, conversations: usize, dice: &Dice) {
        let more = (conversations * 3 / 2).saturating_sub(self.rollouts.len());
        let mut times: Vec<i64> = self.rollouts.iter().map(|rollout| rollout.at - 4_000).collect();
        times.extend((0..more).map(|_| working_time(dice)));
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_unstable_by_key(|&commit| times[commit]);
        self.commits = times.iter().map(|&at| Commit { at, conversation: 0 }).collect();
        for (place, &commit) in order.iter().enumerate() {
            self.commits[commit].conversation = place * conversations / order.len();
            self.happens(times[commit], What::Commit(commit));
        }
        for conversation in 0..conversations {
            let own = order.iter().filter(|&&commit| self.commits[commit].conversation == conversation);
            let (first, last) = own.fold((i64::MAX, 0), |(first, last), &commit| {
                (first.min(times[commit]), last.max(times[commit]))
            });
            self.happens(first - MINUTE - dice.below(1_800_000) as i64, What::Opened(conversation));
            if dice.in_thousand(850) {
                self.happens(last + 30_000 + dice.below(600_000) as i64, What::Closed(conversation));
            }
        }
    }

    /// What happens to nodes, until there are as many entries as were asked for.
    fn tell_fleet(&mut self, fleet: &Fleet, sizes: Sizes, dice: &Dice) {
        self.happens(0, What::Repository);
        for node in 0..fleet.nodes.len() {
            self.happens(0, What::Joined(node));
        }
        let end = usize::try_from(DAYS * DAY - HOUR).unwrap_or(0);
        for _ in 0..sizes.events / 100 {
            let (node, at) = (dice.below(fleet.nodes.len()), HOUR + dice.below(end) as i64 - HOUR / 2);
            self.happens(at, What::Drift(node, true));
            self.happens(at + 30_000, What::Drift(node, false));
        }
        while self.happenings.len() < sizes.events {
            let (node, at) = (dice.below(fleet.nodes.len()), dice.below(end) as i64);
            self.happens(at, What::Desired(node));
        }
    }
}

fn outcome(end: RolloutEnd, last: bool, wave: i64, dice: &Dice) -> Outcome {
    match end {
        RolloutEnd::Running if wave >= 4 => Outcome::Pending,
        RolloutEnd::Running if wave == 3 => Outcome::Running,
        RolloutEnd::Halted if dice.in_thousand(300) => Outcome::RolledBack,
        RolloutEnd::Halted if dice.in_thousand(50) => Outcome::Failed,
        RolloutEnd::Succeeded if !last && dice.in_thousand(8) => Outcome::DiskFull,
        _ => Outcome::Succeeded,
    }
}

/// A time at which people work, an hour before the end at the latest and two hours after the beginning.
fn working_time(dice: &Dice) -> i64 {
    let day = dice.below(usize::try_from(DAYS).unwrap_or(1)) as i64;
    let hour = if dice.in_thousand(800) { 8 + dice.below(12) } else { 2 + dice.below(20) } as i64;
    day * DAY + hour * HOUR + dice.below(3_600_000) as i64
}
