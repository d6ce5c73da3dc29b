//! The constraints that concern one stack, read once for a whole step.

use backstay_manifest::Window;
use backstay_types::{Constraint, ConstraintOrigin, Effect, ReleaseId, Scope, StackName, Timestamp};

use crate::{
    constraint::in_force,
    promotion::Within,
    reach::Reach,
    snapshot::{NodeFacts, Reason, Share, StackFacts},
};

/// What constraints say of a stack's nodes.
#[derive(Debug)]
pub struct Policy {
    /// Pins, the newest first.
    pins: Vec<(Reach, ReleaseId, Reason)>,
    resting: Vec<(Reach, Rest)>,
    freezes: Vec<(Reach, Reason)>,
    windows: Vec<Shutter>,
    assigned: Vec<Reach>,
    /// The stack; none where this is about nodes whatever they run.
    stack: Option<StackName>,
    within: Within,
    /// When the next of all this begins or ends, as far as that is known.
    changes_at: Option<Timestamp>,
    /// The words for a release that the branch asks for, or why it may not be planned.
    pub(crate) branch: Reason,
    /// The words for a node that no assignment selects.
    pub(crate) unassigned: Reason,
}

/// What a pin asks of a share of its stack.
fn pinned_to(share: &Share, release: ReleaseId) -> Option<ReleaseId> {
    match share {
        Share::All => Some(release),
        Share::Together { parts, .. } => (!parts.contains(&release)).then_some(release),
        Share::Part { pins, .. } => pins.get(&release).copied(),
    }
}

/// A node that keeps what it runs, whatever is asked of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rest {
    /// Whether it counts nowhere meanwhile.
    pub maintenance: bool,
    /// Why.
    pub reason: Reason,
}

/// A window as it is now.
#[derive(Debug)]
struct Shutter {
    nodes: Reach,
    open: bool,
    changes_at: Option<Timestamp>,
    /// The words for a node that may not begin.
    reason: Reason,
}

impl Shutter {
    fn of(window: &Window, now: Timestamp) -> Self {
        let (open, changes_at) = (window.is_open(now), window.changes_at(now));
        let next =
            changes_at.map_or("it never opens".to_owned(), |at| format!("it opens {}", window.shown(at)));
        let reason = format!("outside its maintenance window; {next}").into();
        Self { nodes: Reach::of(&window.nodes), open, changes_at, reason }
    }
}

impl Policy {
    /// Reads what concerns `stack` at `now`.
    pub fn new(stack: &StackFacts, constraints: &[Constraint], now: Timestamp) -> Self {
        let (branch, unassigned) = match &stack.release {
            Ok(_) => ("the deployed branch asks for it".into(), None),
            Err(reason) => (
                match stack.within.branch() {
                    None => format!("the branch's release is {reason}").into(),
                    Some(branch) => {
                        format!("the release of branch `{branch}`, which it follows, is {reason}").into()
                    }
                },
                stack.assignments.is_empty().then(|| format!("the stack is {reason}").into()),
            ),
        };
        let mut policy = Self {
            pins: Vec::new(),
            resting: Vec::new(),
            freezes: Vec::new(),
            windows: stack.windows.iter().map(|window| Shutter::of(window, now)).collect(),
            stack: Some(stack.name.clone()),
            within: stack.within.clone(),
            assigned: stack.assignments.iter().map(|assignment| Reach::of(&assignment.nodes)).collect(),
            changes_at: None,
            branch,
            unassigned: unassigned.unwrap_or_else(|| "no assignment selects this node".into()),
        };
        policy.take_all(Some(stack), constraints, now);
        policy
    }

    /// Reads what concerns nodes whatever they run.
    pub(crate) fn of_nodes(constraints: &[Constraint], now: Timestamp) -> Self {
        let mut policy = Self {
            pins: Vec::new(),
            resting: Vec::new(),
            freezes: Vec::new(),
            windows: Vec::new(),
            stack: None,
            within: Within::Everyone,
            assigned: Vec::new(),
            changes_at: None,
            branch: "nothing is asked for".into(),
            unassigned: "nothing is assigned".into(),
        };
        policy.take_all(None, constraints, now);
        policy
    }

    fn take_all(&mut self, stack: Option<&StackFacts>, constraints: &[Constraint], now: Timestamp) {
        let mut newest_first: Vec<_> = constraints.iter().filter(|c| in_force(c, now)).collect();
        newest_first.sort_by_key(|c| std::cmp::Reverse(c.id));
        for constraint in newest_first {
            self.take(stack, constraint);
        }
        let ends = constraints
            .iter()
            .flat_map(|c| [c.from, c.until])
            .chain(self.windows.iter().map(|w| w.changes_at));
        self.changes_at = ends.flatten().filter(|at| *at > now).min();
    }

    fn take(&mut self, stack: Option<&StackFacts>, constraint: &Constraint) {
        let reach = match &constraint.scope {
            // What is planned here is planned for one part of the fleet.
            Scope::Environment { environment } => {
                let here = stack.and_then(|stack| stack.within.environment());
                (here == Some(environment)).then_some(Reach::Everyone)
            }
            scope => Reach::of_scope(scope),
        };
        let Some(reach) = reach else { return };
        // What a repository says is about its own stacks.
        let of_another = |repository| stack.is_none_or(|stack| stack.repository != repository);
        if matches!(constraint.origin, ConstraintOrigin::Manifest { repository } if of_another(repository)) {
            return;
        }
        let because =
            |what: &str| Reason::from(format!("{what} by {}: {}", constraint.by, constraint.reason));
        let is_it = |of: &StackName| stack.is_some_and(|stack| stack.name == *of);
        let concerns = |of: &Option<StackName>| of.as_ref().is_none_or(is_it);
        match &constraint.effect {
            Effect::Pin { stack: of, release } if is_it(of) => {
                // Of a pin to all of the stack each part follows its own; one to a part is nothing to the others.
                if let Some(release) = stack.and_then(|stack| pinned_to(&stack.share, *release)) {
                    self.pins.push((reach, release, because("pinned")));
                }
            }
            Effect::Freeze { stack: of } if concerns(of) => self.freezes.push((reach, because("frozen"))),
            Effect::UpdatesOff { stack: of } if concerns(of) => {
                let rest = Rest { maintenance: false, reason: because("updates are off, set") };
                self.resting.push((reach, rest));
            }
            Effect::Maintenance => {
                let rest = Rest { maintenance: true, reason: because("in maintenance, set") };
                self.resting.push((reach, rest));
            }
            // Those are about releases: see `standing`; and these about nodes as such: see `Leavers`, `Followers` and `Movers`.
            Effect::Hold { .. } | Effect::Ban { .. } | Effect::Decommission | Effect::Follow { .. } => {}
            Effect::RunsHere { .. } | Effect::RunsNot { .. } => {}
            Effect::Pin { .. } | Effect::Freeze { .. } | Effect::UpdatesOff { .. } => {}
        }
    }

    /// Why a node keeps what it runs, if it does. Maintenance goes before updates that are merely off.
    pub fn rest(&self, node: &NodeFacts) -> Option<&Rest> {
        let mine = || self.resting.iter().filter(|(reach, _)| reach.concerns(node)).map(|(_, rest)| rest);
        mine().find(|rest| rest.maintenance).or_else(|| mine().next())
    }

    /// Whether a node is meant to run the stack.
    pub fn is_assigned(&self, node: &NodeFacts) -> bool {
        let Some(stack) = self.stack.as_ref().filter(|_| node.leaving.is_none()) else { return false };
        let said = || self.assigned.iter().any(|reach| reach.concerns(node));
        node.moved(stack).map_or_else(said, |moved| moved.here.is_some()) && self.within.holds(stack, node)
    }

    /// What a node is pinned to, and why; of several pins the newest. A pin of everyone is for those that run the stack as the
    /// fleet does: who was told to follow another branch was named, and is moved off it only by a pin that names it too.
    pub fn pin(&self, node: &NodeFacts, assigned: bool) -> Option<(ReleaseId, &Reason)> {
        let mine = |reach: &Reach| match reach {
            Reach::Everyone => assigned && self.within.branch().is_none(),
            _ => reach.concerns(node),
        };
        self.pins.iter().find(|(reach, ..)| mine(reach)).map(|(_, release, reason)| (*release, reason))
    }

    /// Why nothing forward may begin on a node now, if it may not: a freeze, or all of its windows are closed. A node
    /// that no window is for may always begin.
    pub fn held_back(&self, node: &NodeFacts) -> Option<&Reason> {
        let freeze = self.freezes.iter().find(|(reach, _)| reach.concerns(node)).map(|(_, reason)| reason);
        freeze.or_else(|| self.outside(node))
    }

    fn outside(&self, node: &NodeFacts) -> Option<&Reason> {
        let mut first: Option<&Shutter> = None;
        for window in self.windows.iter().filter(|window| window.nodes.concerns(node)) {
            if window.open {
                return None;
            }
            let sooner = |known: &Shutter| {
                window.changes_at.is_some_and(|at| known.changes_at.is_none_or(|known| at < known))
            };
            if first.is_none_or(sooner) {
                first = Some(window);
            }
        }
        first.map(|window| &window.reason)
    }

    /// When the next freeze, pin or window begins or ends, as far as that is known.
    pub fn changes_at(&self) -> Option<Timestamp> {
        self.changes_at
    }

    /// Why nothing forward may advance anywhere, if it may not.
    pub fn frozen(&self) -> Option<&Reason> {
        self.freezes.iter().find(|(reach, _)| matches!(reach, Reach::Everyone)).map(|(_, reason)| reason)
    }
}
