//! For each invariant a bug that breaks it, put in beside the product: the simulation finds it.

use std::time::Duration;

use backstay_sim::{
    Happening, Invariant, Kind, Make, Opens, Planned, Planted, Scenario, Stage, Strategy, Window, Zone, run,
    shrink,
};

/// Three nodes in two waves, the first of one node, and what happens to them at which second.
fn scenario(happenings: Vec<(u64, Happening)>) -> Scenario {
    let planned = |(number, (at, what))| Planned { number, at: Duration::from_secs(at), what };
    Scenario {
        seed: 5,
        nodes: 3,
        stacks: 1,
        strategy: Strategy {
            waves: &["ring=first", "100%"],
            soak: Duration::ZERO,
            min_sample: 1,
            success_percent: 50,
            failed_percent: 0,
            max_updating: None,
            returns: false,
        },
        bake: Duration::ZERO,
        happenings: happenings.into_iter().enumerate().map(planned).collect(),
        calm_at: Duration::from_secs(1200),
        begin: "2026-03-01T00:00:00Z",
        windows: Vec::new(),
        windows_stay: true,
        stages: Vec::new(),
        divided: false,
    }
}

fn push(push: usize, kind: Kind) -> Happening {
    Happening::Push { push, kind, stack: 0, part: push }
}

fn for_seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// With the bug it is found by what must catch it; without it nothing is.
fn found(planted: Planted, by: Invariant, happenings: Vec<(u64, Happening)>) {
    found_in(&scenario(happenings), planted, by);
}

fn found_in(scenario: &Scenario, planted: Planted, by: Invariant) {
    let sound = run(scenario, None, false).unwrap();
    assert_eq!(sound.violation, None, "{}", sound.trace.join("\n"));
    let broken = run(scenario, Some(planted), false).unwrap();
    let found = broken.violation.as_ref().map(|violation| violation.invariant);
    assert_eq!(found, Some(by), "{:?}\n{}", broken.violation, broken.trace.join("\n"));
    assert!(Planted::ALL.contains(&(planted, by)));
}

#[test]
fn a_journal_that_lies() {
    let power = Happening::PowerLoss { node: 0, lasts: for_seconds(10) };
    found(Planted::LyingJournal, Invariant::NeverOlder, vec![(300, power)]);
}

#[test]
fn a_release_that_is_not_synced() {
    let power = |node| Happening::PowerLoss { node, lasts: for_seconds(10) };
    let happenings = vec![(60, push(0, Kind::Good)), (300, power(0)), (301, power(1)), (302, power(2))];
    found(Planted::UnsyncedRelease, Invariant::Working, happenings);
}

#[test]
fn the_way_back_is_pruned() {
    found(Planted::PrunesTheWayBack, Invariant::Working, vec![(60, push(0, Kind::Good))]);
}

/// Three bad releases, one after the other: the node of the first wave goes into safe mode.
fn three_bad() -> Vec<(u64, Happening)> {
    (0..3).map(|n| (60 + 200 * n as u64, push(n, Kind::Unhealthy))).collect()
}

#[test]
fn a_safe_mode_of_which_nobody_hears() {
    found(Planted::KeepsSilent, Invariant::Told, three_bad());
}

#[test]
fn a_broken_node_that_goes_on() {
    // Its way back cannot be taken while nobody can start anything.
    let silent = Happening::RuntimeSilent { node: 0, lasts: for_seconds(400) };
    let happenings = vec![(60, push(0, Kind::Unhealthy)), (75, silent)];
    found(Planted::GoesOnBroken, Invariant::Told, happenings);
}

#[test]
fn a_freeze_that_nobody_keeps_to() {
    let freeze = Happening::Freeze { lasts: for_seconds(400) };
    found(Planted::IgnoresLimits, Invariant::Confined, vec![(60, freeze), (90, push(0, Kind::Good))]);
}

#[test]
fn updates_that_are_off_only_in_name() {
    let off = Happening::UpdatesOff { lasts: for_seconds(400) };
    found(Planted::IgnoresLimits, Invariant::Confined, vec![(60, off), (90, push(0, Kind::Good))]);
}

#[test]
fn an_order_that_waits_for_a_node_until_its_windows_have_closed() {
    let window = window(Opens::Every(15), 5, Zone::Utc);
    let cut = Happening::Partition { nodes: vec![0], out: true, back: true, lasts: for_seconds(620) };
    let mut scenario = in_windows("2026-03-01T00:00:00Z", window, 910);
    scenario.happenings.push(Planned { number: 1, at: for_seconds(880), what: cut });
    scenario.calm_at = for_seconds(1700);
    found_in(&scenario, Planted::KeepsOrders, Invariant::InTime);
}

/// Everyone's window, by a clock, and a push at this second.
fn in_windows(begin: &'static str, window: Window, pushed: u64) -> Scenario {
    let windows = vec![window];
    Scenario { begin, windows, windows_stay: false, ..scenario(vec![(pushed, push(0, Kind::Good))]) }
}

fn window(opens: Opens, minutes: i64, zone: Zone) -> Window {
    Window { nodes: "", opens, seconds: minutes * 60, zone, blackout: None }
}

#[test]
fn windows_that_nobody_knows_of() {
    let window = window(Opens::Every(15), 5, Zone::Utc);
    found_in(&in_windows("2026-03-01T00:00:00Z", window, 360), Planted::IgnoresWindows, Invariant::InTime);
}

#[test]
fn a_blackout_that_nobody_knows_of() {
    let window = window(Opens::Every(10), 8, Zone::Kathmandu);
    let window = Window { blackout: Some([(2027, 1, 1), (2027, 1, 1)]), ..window };
    // Ten minutes before midnight there.
    found_in(&in_windows("2026-12-31T18:05:00Z", window, 700), Planted::IgnoresBlackout, Invariant::InTime);
}

#[test]
fn a_clock_that_is_taken_for_another() {
    // A quarter to six ahead, and half past is at a quarter past.
    let window = window(Opens::Every(30), 5, Zone::Kathmandu);
    found_in(&in_windows("2026-03-01T00:14:30Z", window, 500), Planted::KnowsOneClock, Invariant::InTime);
}

#[test]
fn a_pin_that_nobody_keeps_to() {
    let pin = Happening::Pin { stack: 0, lasts: for_seconds(400) };
    found(Planted::IgnoresPins, Invariant::Pinned, vec![(100, pin), (200, push(0, Kind::Good))]);
}

#[test]
fn a_pin_that_never_ends() {
    let pin = Happening::Pin { stack: 0, lasts: for_seconds(4000) };
    found(Planted::KeepsPins, Invariant::Converges, vec![(100, pin), (200, push(0, Kind::Good))]);
}

/// The first node is the one before the others, and what is pushed to it is watched for five minutes.
fn in_stages(by_hand: bool, happenings: Vec<(u64, Happening)>) -> Scenario {
    let first =
        Stage { name: "dev", nodes: "ring=first", test: false, after: &[], soak: 300, by_hand: false };
    let next = Stage { name: "prod", nodes: "ring=rest", after: &["dev"], soak: 0, by_hand, ..first };
    Scenario { stages: vec![first, next], ..scenario(happenings) }
}

#[test]
fn a_release_that_is_let_in_everywhere() {
    let scenario = in_stages(false, vec![(500, push(0, Kind::Slow))]);
    found_in(&scenario, Planted::LetsAllIn, Invariant::Promoted);
}

#[test]
fn a_release_that_is_let_in_too_soon() {
    found_in(&in_stages(false, vec![(500, push(0, Kind::Good))]), Planted::SkipsSoak, Invariant::Promoted);
}

#[test]
fn a_release_that_nobody_let_in() {
    let happenings = vec![(500, push(0, Kind::Good)), (1100, Happening::Promote)];
    found_in(&in_stages(true, happenings), Planted::OpensDoors, Invariant::Promoted);
}

#[test]
fn environments_that_nobody_knows_of() {
    found_in(
        &in_stages(false, vec![(500, push(0, Kind::Good))]),
        Planted::KnowsOneStage,
        Invariant::Promoted,
    );
}

/// Parts `alpha` (0 and 1), `beta` (2), which comes after it, and what is left (3 and 4).
fn in_parts(pushes: [(u64, usize, Kind); 2]) -> Scenario {
    let pushes = pushes.into_iter().enumerate();
    let push = |(push, (at, part, kind))| (at, Happening::Push { push, kind, stack: 0, part });
    Scenario { divided: true, ..scenario(pushes.map(push).collect()) }
}

#[test]
fn parts_that_are_moved_with_another() {
    let scenario = in_parts([(300, 0, Kind::Slow), (302, 3, Kind::Slow)]);
    found_in(&scenario, Planted::MixesParts, Invariant::Apart);
}

#[test]
fn a_part_that_comes_before_what_it_needs() {
    let scenario = in_parts([(300, 0, Kind::Unhealthy), (302, 2, Kind::Good)]);
    found_in(&scenario, Planted::ForgetsNeeds, Invariant::Apart);
}

fn agent(number: usize, make: Make) -> Happening {
    Happening::Agent { number, make }
}

#[test]
fn an_agent_whose_starts_nobody_counts() {
    found(Planted::CountsNoStrikes, Invariant::Agents, vec![(100, agent(0, Make::Dies))]);
}

#[test]
fn an_agent_that_is_put_over_the_one_that_works() {
    let happenings = vec![(100, agent(0, Make::Works)), (700, agent(1, Make::Dies))];
    found(Planted::OverwritesGood, Invariant::Agents, happenings);
}

#[test]
fn an_agent_for_everyone_at_once() {
    found(Planted::AsksEveryone, Invariant::Agents, vec![(100, agent(0, Make::Works))]);
}

#[test]
fn an_agent_that_failed_and_goes_on() {
    found(Planted::HearsOnlyGood, Invariant::Agents, vec![(100, agent(0, Make::NoProgram))]);
}

#[test]
fn an_agent_that_comes_in_spite_of_a_freeze() {
    let freeze = Happening::Freeze { lasts: for_seconds(400) };
    found(Planted::IgnoresLimits, Invariant::Agents, vec![(60, freeze), (100, agent(0, Make::Works))]);
}

#[test]
fn gates_that_open_by_themselves() {
    found(Planted::OpenGates, Invariant::Confined, vec![(60, push(0, Kind::Unhealthy))]);
}

#[test]
fn a_wave_that_opens_for_one_node() {
    let nodes = vec![1, 2, 3, 4, 5];
    let cut = Happening::Partition { nodes, out: true, back: true, lasts: for_seconds(700) };
    let base = scenario(vec![(50, cut), (60, push(0, Kind::Good))]);
    let strategy = Strategy { waves: &["80%", "100%"], ..base.strategy.clone() };
    found_in(&Scenario { nodes: 7, strategy, ..base }, Planted::OpensForOne, Invariant::Confined);
}

#[test]
fn an_emergency_stop_that_nobody_keeps_to() {
    let stop = Happening::Stop { lasts: for_seconds(400) };
    found(Planted::IgnoresStop, Invariant::Confined, vec![(60, stop), (90, push(0, Kind::Good))]);
}

#[test]
fn a_pause_that_nobody_keeps_to() {
    // The first wave takes its time: the second is due while the rollout is paused.
    let pause = Happening::Pause { lasts: for_seconds(400) };
    found(Planted::IgnoresPause, Invariant::Confined, vec![(60, push(0, Kind::Slow)), (66, pause)]);
}

#[test]
fn an_order_that_an_emergency_stop_leaves_standing() {
    // The node of the first wave is away when it is ordered, and when everything is stopped; then it comes back.
    let cut = Happening::Partition { nodes: vec![0], out: true, back: true, lasts: for_seconds(600) };
    let stop = Happening::Stop { lasts: for_seconds(800) };
    let happenings = vec![(50, cut), (60, push(0, Kind::Good)), (200, stop)];
    found(Planted::KeepsOrders, Invariant::Confined, happenings);
}

#[test]
fn holds_that_are_forgotten() {
    let down = Happening::HubDown { lasts: for_seconds(20) };
    let happenings = vec![(100, push(0, Kind::Slow)), (102, Happening::Hold { push: 0 }), (300, down)];
    found(Planted::ForgetsHolds, Invariant::StaysAway, happenings);
}

#[test]
fn reports_that_are_acknowledged_too_soon() {
    let pushes = (0..5).map(|n| (60 + 100 * n as u64, push(n, Kind::Good)));
    let down = Happening::HubDown { lasts: for_seconds(20) };
    found(Planted::AcksTooSoon, Invariant::Acknowledged, pushes.chain([(700, down)]).collect());
}

#[test]
fn probes_that_look_away() {
    found(Planted::BlindProbes, Invariant::Proven, vec![(60, push(0, Kind::Unhealthy))]);
}

#[test]
fn a_failure_that_is_called_good() {
    found(Planted::CallsItGood, Invariant::Proven, vec![(60, push(0, Kind::Unhealthy))]);
}

#[test]
fn an_undo_that_takes_everyone_along() {
    // Both are on their way to the first wave; without the one it is content that nobody has ever had.
    let happenings =
        vec![(100, push(0, Kind::Good)), (102, push(1, Kind::Slow)), (112, Happening::Undo { push: 0 })];
    found(Planted::RushesBack, Invariant::Proven, happenings);
}

#[test]
fn a_hub_that_loses_the_order() {
    // What the nodes do is noted all the same: it is what takes them down that is planned without end.
    found(Planted::LosesOrder, Invariant::Converges, vec![(60, push(0, Kind::Crash))]);
}

#[test]
fn an_agent_that_does_it_again() {
    found(Planted::DoesItAgain, Invariant::Once, vec![(300, Happening::AgentDies { node: 1 })]);
}

#[test]
fn an_agent_that_sleeps() {
    found(Planted::Sleeps, Invariant::Converges, vec![(300, Happening::Vandal { node: 1, how: 0 })]);
}

#[test]
fn a_repository_that_is_taken_for_empty() {
    let misspelt = Happening::Misspell { lasts: for_seconds(400) };
    let happenings = vec![(200, misspelt), (300, Happening::JournalLost { node: 1 })];
    found(Planted::UnknownIsEmpty, Invariant::UnknownRemovesNothing, happenings);
}

#[test]
fn a_statement_that_is_older() {
    let happenings = vec![(60, push(0, Kind::Good)), (400, Happening::Replay { node: 0 })];
    found(Planted::TakesAnything, Invariant::NeverOlder, happenings);
}

#[test]
fn a_ledger_that_somebody_edits() {
    let down = Happening::HubDown { lasts: for_seconds(20) };
    found(Planted::EditsLedger, Invariant::Ledger, vec![(300, down)]);
}

#[test]
fn there_is_a_bug_for_every_invariant() {
    // An engine or a core that fails by itself is seen as it is: there is nothing to judge.
    let caught = |of: &Invariant| *of == Invariant::Sound || Planted::ALL.iter().any(|(_, by)| by == of);
    assert!(Invariant::ALL.iter().all(caught));
    // And a test of its own for every row.
    let tests: String = include_str!("planted.rs").split_whitespace().collect();
    for (planted, by) in Planted::ALL {
        let row = format!("Planted::{planted:?},Invariant::{by:?}");
        assert!(tests.contains(&row), "no test plants {planted:?} to be found by {by:?}");
    }
}

#[test]
fn a_failing_run_is_made_small() {
    let planted = Some(Planted::TakesAnything);
    let scenario = scenario(vec![
        (60, push(0, Kind::Good)),
        (90, Happening::AgentDies { node: 2 }),
        (120, Happening::Lossy { permille: 100, lasts: for_seconds(60) }),
        (200, push(1, Kind::Unhealthy)),
        (300, Happening::GitAway { lasts: for_seconds(30) }),
        (400, Happening::Replay { node: 0 }),
        (500, Happening::HubDown { lasts: for_seconds(20) }),
    ]);
    let violation = run(&scenario, planted, false).unwrap().violation.unwrap();
    let small = shrink(&scenario, &violation, planted, 40).unwrap();
    assert_eq!(small.violation.invariant, violation.invariant);
    assert!(small.scenario.happenings.len() <= 2, "{:#?}", small.scenario.happenings);
    assert_eq!(small.scenario.nodes, 1);
    let numbers: Vec<_> = small.scenario.happenings.iter().map(|planned| planned.number).collect();
    let again = run(&scenario.only(&numbers, 1), planted, false).unwrap();
    assert_eq!(again.violation, Some(small.violation), "its command runs it again");
}

#[test]
fn a_run_with_windows_is_made_small() {
    let happenings = vec![
        (60, Happening::AgentDies { node: 2 }),
        (120, Happening::Lossy { permille: 100, lasts: for_seconds(60) }),
        (360, push(0, Kind::Good)),
        (500, Happening::HubDown { lasts: for_seconds(20) }),
    ];
    let windows = vec![window(Opens::Every(15), 5, Zone::Utc)];
    let scenario = Scenario { windows, ..scenario(happenings) };
    let planted = Some(Planted::IgnoresWindows);
    let violation = run(&scenario, planted, false).unwrap().violation.unwrap();
    assert_eq!(violation.invariant, Invariant::InTime);
    let small = shrink(&scenario, &violation, planted, 40).unwrap();
    let left: Vec<_> = small.scenario.happenings.iter().map(|planned| planned.number).collect();
    assert_eq!((left, small.scenario.nodes), (vec![2], 1));
}
