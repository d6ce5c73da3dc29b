//! Following logs: through the node's own check-in, each line once, for as long as somebody looks.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use backstay_e2e::Fleet;
use backstay_testkit::{eventually, http};

const STACK: &str = r#"runtime = "process"

[[process]]
name = "counter"
command = ["./count"]
stop_grace = "1s"
"#;
/// Says a number every 20 ms, in two pieces, and goes on where it was when it is started again.
const COUNT: &str = "#!/bin/sh\nn=0\nwhile true; do n=$((n + 1)); printf 'n='; echo $n; sleep 0.02; done\n";

/// A fleet of one whose stack counts.
fn counting() -> Option<Fleet> {
    let fleet = Fleet::of(1).start()?;
    fleet.tree.write("stacks/web/stack.toml", STACK).write_executable("stacks/web/count", COUNT);
    fleet.commit("Count", None);
    fleet.follow();
    fleet.settle();
    Some(fleet)
}

/// `backstay logs --follow` with its output in a file.
struct Follower<'a> {
    fleet: &'a Fleet,
    name: &'static str,
    child: Child,
}

impl<'a> Follower<'a> {
    fn start(fleet: &'a Fleet, name: &'static str, args: &[&str]) -> Self {
        let out = fs::File::create(fleet.dir().join(name)).unwrap();
        let err = fs::File::create(fleet.dir().join(format!("{name}.err"))).unwrap();
        let mut command: Command = fleet.cli.command(&["--json", "logs", "alpha/web", "--follow"]);
        let child = command.args(args).stdout(out).stderr(err).stdin(Stdio::null()).spawn().unwrap();
        Self { fleet, name, child }
    }

    fn numbers(&self) -> Vec<u64> {
        let text = fs::read_to_string(self.fleet.dir().join(self.name)).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let number = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["text"].as_str().unwrap().strip_prefix("n=").unwrap().parse().unwrap()
        };
        whole.lines().map(number).collect()
    }

    /// Waits for so many more lines; all so far are in order, without a gap and without a repetition.
    fn goes_on(&self, more: usize) -> Vec<u64> {
        let before = self.numbers().len();
        let found = eventually("more lines", || {
            let found = self.numbers();
            if found.len() >= before + more { Ok(found) } else { Err(format!("{} lines", found.len())) }
        });
        assert!(found.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{}: {found:?}", self.name);
        found
    }
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many check-ins were answered with a question.
fn asked(fleet: &Fleet) -> u64 {
    let text = http::get(&format!("{}/metrics", fleet.hub.url())).unwrap().body;
    let line = text.lines().find(|line| line.contains("check_ins_total") && line.contains("\"asked\""));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64)
}

#[test]
fn followers_see_each_line_once_through_a_restart_of_the_agent() {
    let Some(mut fleet) = counting() else { return };
    let mut node = fleet.nodes.pop().unwrap();
    {
        let first = Follower::start(&fleet, "first", &["--lines", "5"]);
        first.goes_on(30);
        let second = Follower::start(&fleet, "second", &["--lines", "3"]);
        second.goes_on(30);
        // What runs outlives its agent, and so does the place in its log.
        node.kill_agent();
        thread::sleep(Duration::from_millis(600));
        node.start_agent();
        first.goes_on(60);
        second.goes_on(60);
        let (before, lines) = (asked(&fleet), first.numbers().len());
        first.goes_on(60);
        let (questions, lines) = (asked(&fleet) - before, first.numbers().len() - lines);
        assert!(
            questions <= lines as u64 / 4,
            "one row of questions for both: {questions} for {lines} lines"
        );
    }
    // Nobody looks any more, and nobody asks.
    thread::sleep(Duration::from_secs(2));
    let before = asked(&fleet);
    assert!(before > 0);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(asked(&fleet), before);
    drop(node);
}

#[test]
fn a_follower_waits_for_the_hub_and_ends_when_the_node_goes() {
    let Some(mut fleet) = counting() else { return };
    let mut node = fleet.nodes.pop().unwrap();
    let unknown = fleet.cli.output(&["logs", "alpha/nothing", "--follow"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("BS4005"), "{unknown:?}");
    let out = fleet.dir().join("out");
    let said = fleet.dir().join("said");
    let mut command = fleet.cli.command(&["logs", "alpha/web", "-f"]);
    command.stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&said).unwrap());
    let mut follower = command.spawn().unwrap();
    let more = || {
        let before = fs::read_to_string(&out).unwrap().lines().count();
        eventually("more lines", || {
            let now = fs::read_to_string(&out).unwrap().lines().count();
            if now > before + 20 { Ok(()) } else { Err(now.to_string()) }
        });
    };
    more();
    fleet.hub.kill();
    fleet.hub.restart();
    more();
    assert!(fs::read_to_string(&said).unwrap().contains("asking again"));
    node.kill_agent();
    let status = eventually("the follower to end", || match follower.try_wait().unwrap() {
        Some(status) => Ok(status),
        None => Err("it runs".to_owned()),
    });
    let said = fs::read_to_string(&said).unwrap();
    assert!(!status.success() && said.contains("BS4009"), "{said}");
}
