use proptest::prelude::*;

use super::*;

const SHA: &str = "0123456789012345678901234567890123456789";

fn parse(text: &str) -> Result<FleetManifest, Vec<Problem>> {
    FleetManifest::parse("fleet.toml", text.as_bytes())
}

fn only_problem(text: &str) -> Problem {
    let problems = parse(text).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].clone()
}

#[test]
fn reads_everything_that_it_knows() {
    let text = format!(
        "schema = 1\n[[assign]]\nstack = \"web\"\nnodes = \"role=web,region in (eu,us)\"\nchannel = \"stable\"\n[[channel]]\nname = \"stable\"\n[rollout]\nmax_updating = \"20%\"\n[[pin]]\nstack = \"web\"\nnodes = \"name=n1\"\ncommit = \"{SHA}\"\nreason = \"why\"\nuntil = 2027-01-31T12:00:00Z\n[prune]\nenabled = true\nmax = 3\n"
    );
    let fleet = parse(&text).unwrap();
    assert_eq!(fleet.assignments[0].nodes.to_string(), "role=web,region in (eu,us)");
    assert_eq!(fleet.assignments[0].line, 2);
    assert_eq!(fleet.rollout.max_updating, Some(MaxUpdating::Percent(20)));
    assert_eq!(fleet.pins[0].until, Some("2027-01-31T12:00:00Z".parse().unwrap()));
    assert!(fleet.prune.enabled);
    assert_eq!(fleet.prune.max, Some(MaxUpdating::Count(3)));
}

#[test]
fn a_strategy_is_read_whole() {
    let text = "[rollout]\nwaves = [\"ring=sandbox\", \"5%\", \"100%\"]\nsoak = \"15m\"\nmin_sample = 7\nmin_success = \"80%\"\non_stop = \"return\"\n[[rollout.stop]]\nwhen = \"offline_ratio>=0.5\"\n[[rollout.stop]]\nwhen = \"failed > 3\"\n";
    let strategy = parse(text).unwrap().rollout.strategy;
    assert_eq!(strategy.waves, ["ring=sandbox", "5%", "100%"]);
    assert_eq!((strategy.soak_seconds, strategy.min_sample, strategy.min_success_percent), (900, 7, 80));
    assert_eq!(strategy.on_stop, backstay_types::OnStop::Return);
    assert_eq!(strategy.stop, ["offline_ratio >= 0.5", "failed > 3"]);
    assert_eq!(parse("").unwrap().rollout.strategy, backstay_types::RolloutStrategy::default());
}

#[test]
fn nothing_said_means_every_stack_everywhere() {
    let fleet = parse("").unwrap();
    assert!(fleet.is_assigned(&"web".parse().unwrap(), &"n1".parse().unwrap(), &Labels::default()));
    assert!(!fleet.prune.enabled);
    let fleet = parse("[[assign]]\nstack = \"db\"\nnodes = \"\"\n").unwrap();
    assert!(!fleet.is_assigned(&"web".parse().unwrap(), &"n1".parse().unwrap(), &Labels::default()));
}

#[test]
fn pins_end() {
    let text = format!(
        "[[pin]]\nstack = \"web\"\nnodes = \"\"\ncommit = \"{SHA}\"\nreason = \"r\"\nuntil = \"2027-01-31T12:00:00Z\"\n"
    );
    let fleet = parse(&text).unwrap();
    let (stack, node, labels) = ("web".parse().unwrap(), "n1".parse().unwrap(), Labels::default());
    let count = |at: &str| fleet.pins_of(&stack, &node, &labels, at.parse().unwrap()).count();
    assert_eq!(count("2027-01-31T11:59:59Z"), 1);
    assert_eq!(count("2027-01-31T12:00:00Z"), 0);
}

#[test]
fn unknown_keys_name_line_and_nearest() {
    let problem = only_problem("[[assign]]\nstack = \"web\"\nnodes = \"\"\nchanel = \"x\"\n");
    assert_eq!((problem.code, problem.line, problem.column), (code::UNKNOWN_KEY, Some(4), Some(1)));
    assert_eq!(problem.field.as_deref(), Some("assign.chanel"));
    assert_eq!(problem.hint.as_deref(), Some("did you mean `channel`?"));
    // Keys of later schemas are not read over.
    assert_eq!(only_problem("[rollout]\nwindow = \"15m\"\n").code, code::UNKNOWN_KEY);
}

#[test]
fn wrong_values_name_the_place_and_what_was_expected() {
    for (text, code, line, part) in [
        ("[[assign]\n", code::TOML_SYNTAX, 1, "not valid TOML"),
        ("assign = 3\n", code::WRONG_TYPE, 1, "[[assign]]"),
        (
            "[[assign]]\nstack = 3\nnodes = \"\"\n",
            code::WRONG_TYPE,
            2,
            "expected a string, found a whole number",
        ),
        ("[[assign]]\nnodes = \"\"\n", code::MISSING_KEY, 1, "the name of a stack"),
        ("[[assign]]\nstack = \"Web/\"\nnodes = \"\"\n", code::BAD_STACK_NAME, 2, "cannot be the name"),
        ("[[assign]]\nstack = \"web\"\nnodes = \"a in b\"\n", code::BAD_SELECTOR, 3, "column 6"),
        ("[rollout]\nmax_updating = \"0%\"\n", code::WRONG_VALUE, 2, "100%"),
        ("[rollout.fleet]\nmax_updating = 3\n", code::WRONG_VALUE, 2, "a share"),
        ("[rollout]\nmax_updating = 0\n", code::WRONG_VALUE, 2, "from 1"),
        ("[rollout]\nmax_updating = true\n", code::WRONG_TYPE, 2, "20%"),
        ("[rollout]\nwaves = [\"5%\", \"5%\", \"100%\"]\n", code::WRONG_VALUE, 2, "expected more"),
        ("[rollout]\nwaves = [\"5%\", \"50%\"]\n", code::WRONG_VALUE, 2, "\"100%\" at the end"),
        ("[rollout]\nwaves = [\"120%\", \"100%\"]\n", code::WRONG_VALUE, 2, "\"1%\" to \"100%\""),
        ("[rollout]\nwaves = [\"a in b\", \"100%\"]\n", code::WRONG_VALUE, 2, "or a label selector"),
        ("[rollout]\nsoak = \"15m\"\n", code::WRONG_VALUE, 2, "fewer than two"),
        ("[rollout]\non_stop = \"explode\"\n", code::WRONG_VALUE, 2, "keep"),
        ("[rollout]\nmin_sample = 0\n", code::WRONG_VALUE, 2, "from 1"),
        ("[rollout]\nmin_success = \"50%\"\n", code::WRONG_VALUE, 2, "no wave follows another"),
        (
            "[rollout]\nwaves = [\"5%\", \"100%\"]\nmin_success = \"0%\"\n",
            code::WRONG_VALUE,
            3,
            "\"1%\" to \"100%\"",
        ),
        ("[[rollout.stop]]\nwhen = \"max(failed_ratio) > 0.1\"\n", code::WRONG_VALUE, 2, "expected such as"),
        ("[[rollout.stop]]\nwhen = \"best(x) > 0.1\"\n", code::WRONG_VALUE, 2, "expected such as"),
        ("[[rollout.stop]]\nwhen = \"failed_ratio > 5\"\n", code::WRONG_VALUE, 2, "from 0 to 1"),
        ("[[rollout.stop]]\nwhen = \"failed < 5\"\n", code::WRONG_VALUE, 2, "too little of it is no harm"),
        ("[[rollout.stop]]\n", code::MISSING_KEY, 1, "what stops it"),
        ("[prune]\nenabled = \"yes\"\n", code::WRONG_TYPE, 2, "true or false"),
        ("schema = 5\n", code::SCHEMA_TOO_NEW, 1, "at most 4"),
        (
            "[[pin]]\nstack=\"a\"\nnodes=\"\"\ncommit=\"abc\"\nreason=\"r\"\n",
            code::WRONG_VALUE,
            4,
            "40 or 64",
        ),
    ] {
        let problem = only_problem(text);
        assert_eq!((problem.code, problem.line), (code, Some(line)), "{text}: {problem}");
        assert!(problem.message.contains(part), "{text}: {problem}");
    }
}

#[test]
fn a_stack_goes_out_by_the_channel_that_its_assignment_names() {
    let channels =
        "[[channel]]\nname = \"stable\"\nwaves = [\"5%\", \"100%\"]\n[[channel]]\nname = \"early\"\n";
    let assign = |stack: &str, nodes: &str, rest: &str| {
        format!("[[assign]]\nstack = \"{stack}\"\nnodes = \"{nodes}\"\n{rest}")
    };
    let stable = "channel = \"stable\"\n";
    let fleet = assign("web", "a=b", "") + &assign("web", "a=c", stable) + &assign("db", "", "") + channels;
    let fleet = parse(&fleet).unwrap();
    let channel =
        |stack: &str| fleet.channel_of(&stack.parse().unwrap()).map(|channel| channel.name.as_str());
    assert_eq!((channel("web"), channel("db")), (Some("stable"), None));

    let wrong = only_problem(&(assign("web", "", "channel = \"stabel\"\n") + channels));
    assert_eq!((wrong.code, wrong.line), (code::WRONG_VALUE, Some(4)));
    assert_eq!(wrong.field.as_deref(), Some("assign.channel"));
    assert_eq!(wrong.message, "no channel is called `stabel`: expected one of stable, early");
    assert_eq!(wrong.hint.as_deref(), Some("did you mean `stable`?"));
    let none = only_problem(&assign("web", "", stable));
    assert_eq!(none.line, Some(4));
    assert!(none.message.contains("expected none, or a [[channel]] of this name"), "{none}");

    let two = assign("web", "a=b", stable) + &assign("web", "a=c", "channel = \"early\"\n") + channels;
    let two = only_problem(&two);
    assert_eq!((two.code, two.line), (code::WRONG_VALUE, Some(8)));
    assert!(two.message.starts_with("`web` goes out by channel `stable` (line 4): "), "{two}");
}

#[test]
fn all_problems_are_told_at_once() {
    let problems = parse("[[assign]]\nstak = \"web\"\n[prune]\nenabled = 1\n").unwrap_err();
    assert_eq!(problems.len(), 4, "{problems:?}");
}

#[test]
fn a_share_is_at_least_one_node() {
    assert_eq!(MaxUpdating::Percent(20).of(3), 1);
    assert_eq!(MaxUpdating::Percent(20).of(10), 2);
    assert_eq!(MaxUpdating::Percent(100).of(u32::MAX), u32::MAX);
    assert_eq!(MaxUpdating::Count(5).of(3), 5);
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]a-z=\"'{}\n.,0-9#-]{0,120}") {
        let _ = FleetManifest::parse("fleet.toml", &bytes);
        let _ = parse(&text);
    }

    #[test]
    fn whatever_stands_under_a_known_key_is_read_or_refused(
        key in prop_oneof![Just("assign"), Just("rollout"), Just("pin"), Just("prune"), Just("schema")],
        value in prop_oneof![Just("1"), Just("-5"), Just("99999999999999999999"), Just("1.5"), Just("\"x\""), Just("true"),
            Just("[]"), Just("[[]]"), Just("[{}]"), Just("{}"), Just("2027-01-01"), Just("[{stack = 1}]")],
    ) {
        if let Err(problems) = parse(&format!("{key} = {value}\n")) {
            prop_assert!(!problems.is_empty() && problems.iter().all(|p| p.line == Some(1)), "{:?}", problems);
        }
    }
}
