//! What a seed stands for: a fleet, how its rollouts go out, and everything that will happen to it.

use std::time::Duration;

use crate::{
    chance::Chance,
    content::{Kind, PARTS},
    program::Make,
    stage::Stage,
    window::{Hours, Window},
};

/// A run, before it runs.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The seed of all chance in it.
    pub seed: u64,
    /// How many nodes there are.
    pub nodes: usize,
    /// How many stacks.
    pub stacks: usize,
    /// `fleet.toml`'s `[rollout]`.
    pub strategy: Strategy,
    /// How long a release is watched after it became healthy.
    pub bake: Duration,
    /// What happens, each with its time and the place that it had when the scenario was made.
    pub happenings: Vec<Planned>,
    /// When nothing bad happens any more.
    pub calm_at: Duration,
    /// When it begins, by clocks that are right: RFC 3339.
    pub begin: &'static str,
    /// Maintenance windows in `fleet.toml`.
    pub windows: Vec<Window>,
    /// Whether they are still there once all is calm.
    pub windows_stay: bool,
    /// Environments in `fleet.toml`.
    pub stages: Vec<Stage>,
    /// Whether its stacks are divided into parts, each with releases and rollouts of its own.
    pub divided: bool,
}

/// Something that will happen.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Its number in the scenario of its seed.
    pub number: usize,
    /// When.
    pub at: Duration,
    /// What.
    pub what: Happening,
}

/// How rollouts go out.
#[derive(Debug, Clone)]
pub struct Strategy {
    /// Waves as `fleet.toml` writes them; none is one wave.
    pub waves: &'static [&'static str],
    /// How long a wave is watched.
    pub soak: Duration,
    /// With fewer attempts than this any failure stops it.
    pub min_sample: u32,
    /// The share of the nodes of open waves that has to run it before the next one begins, in percent.
    pub success_percent: u32,
    /// The share of failures above which it stops, in percent.
    pub failed_percent: u32,
    /// How many nodes may be updating at once.
    pub max_updating: Option<u32>,
    /// Whether nodes go back when it stops.
    pub returns: bool,
}

/// Something that happens.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the fields say what they are")]
pub enum Happening {
    /// Somebody, or an assistant, pushes a change; `push` is what it is called by.
    Push { push: usize, kind: Kind, stack: usize, part: usize },
    /// The conversation behind a push is undone.
    Undo { push: usize },
    /// A push is held.
    Hold { push: usize },
    /// Every rollout that runs is paused for a while.
    Pause { lasts: Duration },
    /// Everything is stopped for a while.
    Stop { lasts: Duration },
    /// Everything is frozen for a while: nothing forward begins.
    Freeze { lasts: Duration },
    /// The updates of the node of the first ring are off for a while.
    UpdatesOff { lasts: Duration },
    /// The node of the first ring is pinned for a while to what did well last.
    Pin { stack: usize, lasts: Duration },
    /// All nodes are pinned to what did well last, until so much time has passed.
    PinAll { stack: usize, lasts: Duration },
    /// A person lets in what may enter environments where a person has to.
    Promote,
    /// A new agent is brought to the fleet.
    Agent { number: usize, make: Make },
    /// `fleet.toml` is pushed with an error in it, and mended later.
    Misspell { lasts: Duration },
    /// A stack's folder is gone from the branch for a while; nobody said that stacks may be removed.
    Vanish { stack: usize, lasts: Duration },
    /// The agent's process dies; it is started again at once.
    AgentDies { node: usize },
    /// A node's power goes, and comes back.
    PowerLoss { node: usize, lasts: Duration },
    /// Some nodes are cut off, in one direction or both.
    Partition { nodes: Vec<usize>, out: bool, back: bool, lasts: Duration },
    /// A node's line is slow.
    Slow { node: usize, factor: u32, lasts: Duration },
    /// Messages are lost, doubled and late everywhere.
    Lossy { permille: u64, lasts: Duration },
    /// A node's disk is full until somebody makes room.
    DiskFull { node: usize, lasts: Duration },
    /// A node's disk can only be read.
    ReadOnly { node: usize, lasts: Duration },
    /// A node's container engine does not answer.
    RuntimeSilent { node: usize, lasts: Duration },
    /// A node's clock is set wrong, by so many seconds, and set right later.
    NodeClock { node: usize, seconds: i64, lasts: Duration },
    /// The hub's clock is set wrong.
    HubClock { seconds: i64, lasts: Duration },
    /// The hub is killed between two things that it does.
    HubDown { lasts: Duration },
    /// The hub dies in the middle of something: when it next asks for the time or a random number so many times.
    HubDies { beats: u32, lasts: Duration },
    /// The Git host is away.
    GitAway { lasts: Duration },
    /// Packs from the hub arrive damaged.
    Corrupt { lasts: Duration },
    /// Somebody kills a stack's processes, or deletes the release before, or points a link elsewhere.
    Vandal { node: usize, how: u8 },
    /// A node is given a statement that it had before, as a cache or a thief of keys would.
    Replay { node: usize },
    /// A node's journal is lost.
    JournalLost { node: usize },
}

const MINUTE: u64 = 60;
/// Of a thousand seeds so many have stacks that are divided into parts.
const PARTED: u64 = 120;

impl Scenario {
    /// The scenario of a seed.
    pub fn of_seed(seed: u64) -> Self {
        let mut chance = Chance::of(seed, "scenario");
        let nodes = usize::try_from(chance.between(3, 7)).unwrap_or(3);
        let stacks = if chance.permille(350) { 2 } else { 1 };
        let calm_at = chance.seconds(20 * MINUTE, 45 * MINUTE);
        let mut strategy = Strategy::draw(&mut chance);
        strategy.success_percent = *Chance::of(seed, "success").pick(&[50, 50, 30, 80, 100]);
        let bake = if chance.coin() { chance.seconds(20, 120) } else { Duration::ZERO };
        let bake = Duration::from_secs(bake.as_secs());
        let hours = Self::draw_hours(&mut Chance::of(seed, "hours"));
        let mut scenario = Self {
            seed,
            nodes,
            stacks,
            strategy,
            bake,
            happenings: Vec::new(),
            calm_at,
            begin: hours.begin,
            windows: hours.windows.to_vec(),
            windows_stay: hours.stay,
            stages: Self::draw_stages(&mut Chance::of(seed, "stages")),
            divided: false,
        };
        // Through environments a stack goes as a whole.
        scenario.divided = scenario.stages.is_empty() && Chance::of(seed, "parts").permille(PARTED);
        scenario.draw_work(&mut Chance::of(seed, "work"));
        scenario.draw_faults(&mut Chance::of(seed, "faults"));
        // Each has chance of its own, so that seeds without it stay what they were.
        scenario.draw_pins(&mut Chance::of(seed, "pins"));
        scenario.draw_promotions(&mut Chance::of(seed, "promotions"));
        scenario.draw_agents(&mut Chance::of(seed, "agents"));
        scenario.number();
        scenario
    }

    /// The same with only those of its happenings that have these numbers, on so many nodes.
    pub fn only(&self, numbers: &[usize], nodes: usize) -> Self {
        let keep = |planned: &&Planned| numbers.contains(&planned.number);
        let happenings = self.happenings.iter().filter(keep).cloned().collect();
        Self { happenings, nodes: nodes.clamp(1, self.nodes), ..self.clone() }
    }

    /// The same, with so many times as much time between what happens.
    pub fn stretched(mut self, by: u32) -> Self {
        self.happenings.iter_mut().for_each(|planned| planned.at *= by);
        self.calm_at *= by;
        self
    }

    /// Whether somebody limits what the first node runs, for a while.
    pub(crate) fn limits_the_first(&self) -> bool {
        let limits = |planned: &Planned| {
            matches!(
                planned.what,
                Happening::UpdatesOff { .. } | Happening::Pin { .. } | Happening::PinAll { .. }
            )
        };
        self.happenings.iter().any(limits)
    }

    fn at(&self, chance: &mut Chance) -> Duration {
        chance.seconds(90, self.calm_at.as_secs() - 60)
    }

    fn add(&mut self, at: Duration, what: Happening) {
        self.happenings.push(Planned { number: 0, at, what });
    }

    fn number(&mut self) {
        self.happenings.sort_by_key(|planned| planned.at);
        for (number, planned) in self.happenings.iter_mut().enumerate() {
            planned.number = number;
        }
    }

    /// What people and assistants do.
    fn draw_work(&mut self, chance: &mut Chance) {
        let pushes = usize::try_from(chance.between(2, 4)).unwrap_or(3);
        let mut times: Vec<_> = (0..pushes).map(|_| self.at(chance)).collect();
        times.sort();
        for (push, at) in times.iter().enumerate() {
            let (stack, part) = (chance.index(self.stacks), chance.index(PARTS));
            let kind = draw_kind(chance);
            self.add(*at, Happening::Push { push, kind, stack, part });
            let after = *at + chance.seconds(5, 15 * MINUTE);
            if after + Duration::from_secs(60) < self.calm_at {
                if chance.permille(if kind == Kind::Good { 150 } else { 350 }) {
                    self.add(after, Happening::Undo { push });
                } else if chance.permille(120) {
                    self.add(after, Happening::Hold { push });
                }
            }
        }
        let lasts = chance.seconds(30, 20 * MINUTE);
        let at = self.at(chance);
        match chance.below(8) {
            0 => self.add(at, Happening::Pause { lasts }),
            1 => self.add(at, Happening::Stop { lasts }),
            2 => self.add(at, Happening::Misspell { lasts }),
            3 => {
                let stack = chance.index(self.stacks);
                self.add(at, Happening::Vanish { stack, lasts });
            }
            4 => self.add(at, Happening::Freeze { lasts }),
            5 => self.add(at, Happening::UpdatesOff { lasts }),
            6 => {
                let stack = chance.index(self.stacks);
                self.add(at, Happening::Pin { stack, lasts });
            }
            _ => {}
        }
    }

    fn draw_hours(chance: &mut Chance) -> Hours {
        if chance.permille(120) { Hours::draw(chance) } else { Hours::ALWAYS }
    }

    fn draw_stages(chance: &mut Chance) -> Vec<Stage> {
        if chance.permille(130) { Stage::draw(chance) } else { Vec::new() }
    }

    fn draw_promotions(&mut self, chance: &mut Chance) {
        if self.stages.iter().any(|stage| stage.by_hand) {
            for _ in 0..chance.between(1, 3) {
                let at = self.at(chance);
                self.add(at, Happening::Promote);
            }
        }
    }

    /// New agents, more of them bad than good.
    fn draw_agents(&mut self, chance: &mut Chance) {
        if !chance.permille(130) {
            return;
        }
        for number in 0..usize::try_from(chance.between(1, 3)).unwrap_or(1) {
            let at = self.at(chance);
            let makes = [
                Make::Works,
                Make::Works,
                Make::Dies,
                Make::Hangs,
                Make::Deaf,
                Make::DiesOnSome,
                Make::NoProgram,
            ];
            let make = *chance.pick(&makes);
            self.add(at, Happening::Agent { number, make });
        }
    }

    /// Pins that end by themselves, or only when everything has come to rest with them.
    fn draw_pins(&mut self, chance: &mut Chance) {
        if !chance.permille(100) {
            return;
        }
        let (at, stack) = (self.at(chance), chance.index(self.stacks));
        let pin = if chance.coin() {
            Happening::PinAll { stack, lasts: chance.seconds(60, 40 * MINUTE) }
        } else {
            Happening::Pin { stack, lasts: self.calm_at }
        };
        self.add(at, pin);
    }

    fn draw_faults(&mut self, chance: &mut Chance) {
        let faults = chance.between(3, 8);
        for _ in 0..faults {
            let at = self.at(chance);
            let fault = self.draw_fault(chance);
            self.add(at, fault);
        }
    }

    fn draw_fault(&self, chance: &mut Chance) -> Happening {
        let node = chance.index(self.nodes);
        let lasts = chance.seconds(5, 12 * MINUTE);
        match chance.below(31) {
            0..=2 => Happening::AgentDies { node },
            3..=6 => Happening::PowerLoss { node, lasts: chance.seconds(5, 5 * MINUTE) },
            7..=9 => {
                let mut nodes: Vec<_> = (0..self.nodes).filter(|_| chance.permille(400)).collect();
                nodes.push(node);
                let way = chance.below(3);
                Happening::Partition { nodes, out: way != 1, back: way != 2, lasts }
            }
            10 => Happening::Slow { node, factor: u32::try_from(chance.between(5, 60)).unwrap_or(5), lasts },
            11..=12 => Happening::Lossy { permille: chance.between(50, 500), lasts },
            13..=14 => Happening::DiskFull { node, lasts },
            15 => Happening::ReadOnly { node, lasts },
            16 => Happening::RuntimeSilent { node, lasts },
            17..=18 => {
                let year = 365 * 24 * 3600;
                let seconds = *chance.pick(&[-50 * year, -3600, -30, 45, 7200, 40 * 3600, year]);
                Happening::NodeClock { node, seconds, lasts }
            }
            19..=21 => Happening::HubDown { lasts },
            22..=23 => Happening::HubDies { beats: u32::try_from(chance.between(0, 60)).unwrap_or(0), lasts },
            24..=25 => Happening::GitAway { lasts },
            26 => Happening::Corrupt { lasts },
            27 => Happening::Vandal { node, how: u8::try_from(chance.below(3)).unwrap_or(0) },
            28 => Happening::Replay { node },
            29 => Happening::JournalLost { node },
            _ => Happening::HubClock { seconds: *chance.pick(&[-3600, -600, -90, 60]), lasts },
        }
    }
}

fn draw_kind(chance: &mut Chance) -> Kind {
    match chance.below(16) {
        0..=5 => Kind::Good,
        6 => Kind::Slow,
        7 => Kind::Invalid,
        8 => Kind::Start,
        9..=10 => Kind::Unhealthy,
        11 => Kind::Bake,
        12 => Kind::Crash,
        13 => Kind::Fill,
        14 => Kind::Some,
        _ => Kind::Image,
    }
}

impl Strategy {
    fn draw(chance: &mut Chance) -> Self {
        const WAVES: [&[&str]; 5] = [
            &[],
            &["50%", "100%"],
            &["ring=first", "100%"],
            &["20%", "60%", "100%"],
            &["ring=first", "50%", "100%"],
        ];
        let waves = *chance.pick(&WAVES);
        let soak = if waves.len() > 1 && chance.coin() { chance.between(10, 300) } else { 0 };
        Self {
            waves,
            soak: Duration::from_secs(soak),
            min_sample: *chance.pick(&[1, 3, 20]),
            success_percent: 50,
            failed_percent: *chance.pick(&[0, 5, 30, 60]),
            max_updating: *chance.pick(&[None, None, Some(1), Some(2)]),
            returns: chance.permille(300),
        }
    }

    /// As `fleet.toml` says it.
    pub(crate) fn to_toml(&self) -> String {
        let mut lines = vec!["[rollout]".to_owned()];
        if !self.waves.is_empty() {
            let waves: Vec<_> = self.waves.iter().map(|wave| format!("\"{wave}\"")).collect();
            lines.push(format!("waves = [{}]", waves.join(", ")));
        }
        if !self.soak.is_zero() {
            lines.push(format!("soak = \"{}s\"", self.soak.as_secs()));
        }
        lines.push(format!("min_sample = {}", self.min_sample));
        if self.waves.len() > 1 {
            lines.push(format!("min_success = \"{}%\"", self.success_percent));
        }
        if let Some(max) = self.max_updating {
            lines.push(format!("max_updating = {max}"));
        }
        if self.returns {
            lines.push("on_stop = \"return\"".to_owned());
        }
        lines.push("[[rollout.stop]]".to_owned());
        lines.push(format!("when = \"failed_ratio > {}\"", f64::from(self.failed_percent) / 100.0));
        lines.join("\n") + "\n"
    }
}
