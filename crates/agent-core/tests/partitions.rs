//! Partitions as scripts: the hub goes and comes while updates are asked for, begun, bad, repeated, late and out of
//! order. Each row says what happens and what must run in the end; what must hold holds after every word of it.
//!
//! The words: a tree's name (the hub asks for it), `undo:x` (as a way back), `say` (the node gets what the hub said
//! last), `again` (the same once more), `stale` (what the hub said before comes late), `renew` (signed again), `cut:6m`
//! (no hub for so long), `back` (it answers, with its signed time), `settle`, `until:probe` (all goes well until then),
//! `done`, `fail`, `restart`, `reboot`, `acked` (the hub has all reports), `pass:1h` (time, with a hub).
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{collections::BTreeSet, time::Duration};

use backstay_agent_core::Input;
use backstay_api::{agent::ReportBody, statement::Statement};
use backstay_types::{FailureKind, Step};
use support::{HOUR, Node, rollback, run, tree};

/// A row for each: name, what happens, what runs in the end, how many outages are reported.
macro_rules! rows {
    ($($name:ident: $script:literal => $end:literal, $outages:literal;)*) => {$(
        #[test]
        fn $name() {
            let end = Play::new().play($script);
            assert_eq!(end, ($end, $outages), $script);
        }
    )*};
}

rows! {
    // Nothing is asked for meanwhile.
    short_and_quiet: "cut:4m back settle" => "a", 0;
    five_minutes_and_quiet: "cut:5m back settle" => "a", 1;
    an_hour_and_quiet: "cut:61m back settle" => "a", 1;
    a_day_and_quiet: "cut:25h back settle renew" => "a", 1;
    a_year_and_quiet: "cut:8760h back settle renew" => "a", 1;
    two_in_a_row: "cut:6m back settle cut:2h back settle" => "a", 2;
    flapping: "cut:1m back cut:1m back cut:1m back cut:4m back settle" => "a", 0;

    // An update is said just before.
    cut_before_fetching: "b say cut:10m settle back" => "b", 1;
    cut_while_probing: "b say until:probe cut:10m settle back" => "b", 1;
    cut_before_a_bad_one_fails: "bad say until:probe cut:2h fail settle back" => "a", 1;
    cut_while_it_goes_back: "bad say until:probe fail cut:2h settle back" => "a", 1;
    cut_beyond_its_expiry_before_it_began: "b cut:2h say settle" => "a", 0;
    cut_beyond_its_expiry_while_fetching: "b say cut:2h done settle back" => "a", 1;
    and_renewed_when_the_hub_is_back: "b say cut:2h done settle back renew settle" => "b", 1;
    cut_beyond_its_expiry_while_watched: "b say until:probe cut:25h settle back" => "b", 1;

    // An update is said meanwhile, and comes when the hub is back.
    said_meanwhile: "cut:10m b back say settle" => "b", 1;
    two_said_meanwhile: "cut:10m b c back say settle" => "c", 1;
    said_and_taken_back_meanwhile: "cut:10m b undo:a back say settle" => "a", 1;
    bad_one_said_meanwhile: "cut:1h bad back say until:probe fail settle" => "a", 1;
    newer_one_while_it_fetches: "b say cut:10m c back say settle" => "c", 1;
    newer_one_while_it_probes: "b say until:probe cut:10m c back say settle" => "c", 1;
    undone_while_it_probes: "b say until:probe cut:10m undo:a back say settle" => "a", 1;

    // Twice, late, out of order.
    twice: "b say again again settle again" => "b", 0;
    twice_across_a_cut: "b say settle cut:10m back again again settle" => "b", 1;
    late_after_a_newer_one: "b say settle c say stale settle" => "c", 0;
    late_across_a_cut: "b say settle cut:10m c back say stale settle stale" => "c", 1;
    late_while_the_newer_one_is_begun: "b c say until:probe stale settle" => "c", 0;
    renewed_out_of_order: "b say renew stale renew settle again" => "b", 0;

    // With restarts, reboots and lost acknowledgements.
    restarted_in_a_cut: "b say until:probe cut:10m restart settle back" => "b", 1;
    rebooted_in_a_cut: "b say until:probe cut:10m reboot settle back" => "b", 1;
    rebooted_twice_in_a_cut: "b say until:probe cut:10m reboot until:probe reboot settle back" => "a", 1;
    rebooted_before_it_is_noticed: "cut:4m reboot cut:4m back settle" => "a", 0;
    rebooted_after_it_is_noticed: "cut:6m reboot cut:1m back settle" => "a", 1;
    reports_are_told_again: "b say settle cut:10m restart back again settle acked again" => "b", 1;
    said_to_one_that_was_just_started: "cut:25h reboot b back say settle" => "b", 1;
}

struct Play {
    node: Node,
    /// All that the hub ever said, oldest first.
    said: Vec<Statement>,
    deployments: u128,
    silent: Duration,
    newest: u64,
}

impl Play {
    /// A node that runs `a`, near its hub.
    fn new() -> Self {
        let mut play =
            Self { node: Node::new(), said: Vec::new(), deployments: 0, silent: Duration::ZERO, newest: 0 };
        play.node.heard(true);
        play.node.settle();
        play.play("a say settle acked");
        play
    }

    fn play(&mut self, script: &str) -> (&'static str, usize) {
        for word in script.split_whitespace() {
            self.word(word);
            self.check(word);
        }
        let web = "web".parse().unwrap();
        let committed = self.node.journal.stacks.get(&web).and_then(|r| r.committed.as_ref()).map(|c| c.tree);
        let end = ["a", "b", "c", "bad"].into_iter().find(|name| committed == Some(tree(name)));
        let outages = |body: &ReportBody| matches!(body, ReportBody::Outage { .. });
        (end.unwrap_or("nothing"), self.node.told.iter().filter(|report| outages(&report.body)).count())
    }

    fn word(&mut self, word: &str) {
        let (word, what) = word.split_once(':').unwrap_or((word, ""));
        match word {
            "a" | "b" | "c" | "bad" => self.ask(word, false),
            "undo" => self.ask(what, true),
            "say" | "again" => self.give(self.said.last().cloned()),
            "stale" => {
                let older = self.said.len().checked_sub(2).and_then(|at| self.said.get(at));
                self.give(older.cloned());
            }
            "renew" => {
                let last = self.said.last().unwrap().clone();
                let renewed = self.node.make(last.stacks, last.epoch, last.generation, HOUR);
                self.said.push(renewed.clone());
                self.give(Some(renewed));
            }
            "cut" => {
                let whole = backstay_manifest::parse_duration(what).unwrap();
                let step = (whole / 10).max(Duration::from_secs(1));
                for _ in 0..10 {
                    self.silent += step;
                    self.node.pass(step);
                    let silent = self.silent;
                    self.node.input(Input::Silence { silent });
                }
            }
            "pass" => self.node.pass(backstay_manifest::parse_duration(what).unwrap()),
            "back" => {
                self.silent = Duration::ZERO;
                self.node.heard(true);
            }
            "settle" => self.node.settle(),
            "until" => {
                self.node.until(what);
                assert!(self.node.is_running(what), "{}", self.node.log);
            }
            "done" => self.node.succeed(),
            "fail" => self.node.fail(Step::Probe, FailureKind::Unhealthy),
            "restart" | "reboot" => {
                // How long there was no hub before is not known any more.
                self.silent = Duration::ZERO;
                self.node.restart(word == "reboot");
            }
            "acked" => {
                let ids = self.node.spool.iter().map(|report| report.id).collect();
                self.node.input(Input::Acked(ids));
            }
            other => panic!("`{other}` is not a word"),
        }
    }

    fn ask(&mut self, name: &str, back: bool) {
        self.deployments += 1;
        let desired = run("web", name, self.deployments);
        let desired = if back { rollback(desired) } else { desired };
        let statement = self.node.statement(vec![desired]);
        self.said.push(statement);
    }

    fn give(&mut self, statement: Option<Statement>) {
        let statement = statement.unwrap();
        self.newest = self.newest.max(statement.generation);
        self.node.give(statement);
    }

    fn check(&self, word: &str) {
        let node = &self.node;
        assert_eq!(node.core.journal(), &node.journal, "{word}: something is known that is not durable");
        // What was newest is held, whatever came after it.
        assert_eq!(node.journal.held.as_ref().map_or(0, |held| held.generation), self.newest, "{word}");
        // Once it ran, it never stops running.
        let web = "web".parse().unwrap();
        if self.deployments > 1 {
            assert!(
                node.links.get(&web).is_some_and(|links| links.current.is_some()),
                "{word}: {}",
                node.log
            );
        }
        let (mut begun, mut ended) = (BTreeSet::new(), BTreeSet::new());
        for report in &node.told {
            match &report.body {
                ReportBody::DeploymentStarted { deployment, .. } => {
                    assert!(begun.insert(*deployment), "{word}: it began twice");
                }
                ReportBody::DeploymentFinished { deployment, .. } => {
                    assert!(ended.insert(*deployment), "{word}: it ended twice");
                }
                ReportBody::Outage { from, to, .. } => assert!(from <= to, "{word}"),
                _ => {}
            }
        }
        assert!(ended.is_subset(&begun), "{word}");
    }
}
