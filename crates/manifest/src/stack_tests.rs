use proptest::prelude::*;

use super::*;
use crate::{LogPattern, Restart, StopSignal};

fn compose(text: &str) -> Result<StackManifest, Vec<Problem>> {
    StackManifest::parse("stacks/web/stack.toml", text.as_bytes(), Some("compose.yaml"))
}

fn bare(text: &str) -> Result<StackManifest, Vec<Problem>> {
    StackManifest::parse("stacks/api/stack.toml", text.as_bytes(), None)
}

const PROCESS: &str = "runtime = \"process\"\n[[process]]\nname = \"api\"\ncommand = [\"./serve\"]\n";

#[test]
fn defaults_are_those_of_a_plain_compose_folder() {
    assert_eq!(compose("").unwrap(), StackManifest::of_compose("compose.yaml"));
}

#[test]
fn reads_probes_and_bake() {
    let text = "project = \"shop\"\n[[probe]]\nhttp = \"http://127.0.0.1:18789/startupz\"\nevery = \"2s\"\nsuccesses = 3\nwithin = \"90s\"\nstart_grace = \"1s\"\nstatus = 204\n[[probe]]\ntcp = \"127.0.0.1:${PORT}\"\n[[probe]]\ncommand = [\"./check\", \"--fast\"]\n[[probe]]\nlog = \"ready in *ms\"\nservice = \"web\"\n[bake]\nfor = \"2m\"\n";
    let manifest = compose(text).unwrap();
    assert_eq!(manifest.bake, Duration::from_secs(120));
    let [http, tcp, command, log] = &manifest.probes[..] else { panic!("{manifest:?}") };
    assert_eq!(
        http.kind,
        ProbeKind::Http { url: "http://127.0.0.1:18789/startupz".to_owned(), status: Some(204) }
    );
    assert_eq!(
        (http.successes, http.within, http.start_grace),
        (3, Duration::from_secs(90), Duration::from_secs(1))
    );
    assert_eq!(tcp.kind, ProbeKind::Tcp { address: "127.0.0.1:${PORT}".to_owned() });
    assert!(matches!(&command.kind, ProbeKind::Command { argv } if argv.len() == 2));
    let values = crate::Variables::complete([("PORT".to_owned(), backstay_types::Secret::new("80"))].into());
    assert_eq!(tcp.rendered(&values).unwrap().kind, ProbeKind::Tcp { address: "127.0.0.1:80".to_owned() });
    let pattern = LogPattern::new("ready in *ms").unwrap();
    assert_eq!(log.kind, ProbeKind::Log { pattern, service: Some("web".to_owned()) });
}

#[test]
fn a_unit_is_named_as_systemd_names_it() {
    let read = |unit: &str| compose(&format!("[[probe]]\nsystemd = '{unit}'\n"));
    for unit in ["nginx.service", "nginx", "getty@tty1.service", r"mnt-a\x2db.mount", "${UNIT}"] {
        assert_eq!(read(unit).unwrap().probes[0].kind, ProbeKind::Systemd { unit: unit.to_owned() });
    }
    for unit in ["", "--now", "a b", "a;b", "../x"] {
        assert!(read(unit).unwrap_err()[0].message.contains("not the name of a unit"), "{unit}");
    }
}

#[test]
fn reads_processes() {
    let text = "runtime = \"process\"\n[[process]]\nname = \"api\"\ncommand = [\"./serve\", \"--port\", \"${PORT}\"]\nworking_dir = \"app\"\nstop_signal = \"INT\"\nstop_grace = \"3s\"\nrestart = \"on-failure\"\n[process.environment]\nLEVEL = \"${LEVEL:-info}\"\n";
    let manifest = bare(text).unwrap();
    assert!(manifest.probes.is_empty());
    let process = &manifest.processes()[0];
    assert_eq!((process.stop_signal, process.restart), (StopSignal::Int, Restart::OnFailure));
    let values = [("PORT".to_owned(), backstay_types::Secret::new("80"))].into();
    let rendered = process.rendered(&crate::Variables::complete(values)).unwrap();
    assert_eq!(rendered.command, ["./serve", "--port", "80"]);
    assert_eq!(rendered.environment["LEVEL"], "info");
}

#[test]
fn json_and_back() {
    for manifest in [compose("[[probe]]\ntcp = \"a:1\"\n").unwrap(), bare(PROCESS).unwrap()] {
        let json = serde_json::to_string(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<StackManifest>(&json).unwrap(), manifest);
    }
}

#[test]
fn what_is_wrong_is_told_with_line_and_expectation() {
    let probe = |rest: &str| format!("[[probe]]\n{rest}\n");
    let process = |rest: &str| format!("{PROCESS}{rest}\n");
    for (text, code, line, part) in [
        ("runtime = \"compse\"\n".to_owned(), code::WRONG_VALUE, 1, "`compose`, `process`"),
        ("runtime = 1\n".to_owned(), code::WRONG_TYPE, 1, "a string"),
        ("project = \"My Shop\"\n".to_owned(), code::WRONG_VALUE, 1, "a-z"),
        ("compose_file = \"../x\"\n".to_owned(), code::WRONG_VALUE, 1, "inside the stack"),
        (probe("every = \"2s\""), code::MISSING_KEY, 1, "exactly one of"),
        (probe("http = \"http://x\"\ntcp = \"x:1\""), code::WRONG_VALUE, 3, "http and tcp"),
        (probe("http = \"127.0.0.1:80\""), code::WRONG_VALUE, 2, "http://host:port/path"),
        (probe("tcp = \"80\""), code::WRONG_VALUE, 2, "host:port"),
        (probe("command = \"./check\""), code::WRONG_TYPE, 2, "a list of strings"),
        (probe("command = []"), code::WRONG_VALUE, 2, "a program"),
        (probe("log = \"*\""), code::WRONG_VALUE, 2, "a text to look for"),
        (probe("container = false"), code::WRONG_VALUE, 2, "true"),
        (probe("container = true\nevery = \"2\""), code::WRONG_VALUE, 3, "not a duration"),
        (probe("container = true\nevery = 2"), code::WRONG_TYPE, 3, "a string"),
        (probe("container = true\nevery = \"0s\""), code::WRONG_VALUE, 3, "more than nothing"),
        (probe("container = true\nsuccesses = 0"), code::WRONG_VALUE, 3, "from 1 to 1000"),
        (probe("container = true\nstart_grace = \"2m\""), code::WRONG_VALUE, 3, "shorter than `within`"),
        (probe("container = true\nevry = \"2s\""), code::UNKNOWN_KEY, 3, "evry"),
        ("[bake]\n".to_owned(), code::MISSING_KEY, 1, "how long"),
        ("[[process]]\nname = \"x\"\n".to_owned(), code::UNKNOWN_KEY, 1, "process"),
        (process("stop_signal = \"KILLL\""), code::WRONG_VALUE, 5, "SIGTERM"),
        (process("restart = \"never\""), code::WRONG_VALUE, 5, "on-failure"),
        (process("working_dir = \"/etc\""), code::WRONG_VALUE, 5, "inside the release"),
        (process("[process.environment]\n\"A B\" = \"\""), code::WRONG_VALUE, 5, "cannot be a variable"),
        (
            process("[[process]]\nname = \"api\"\ncommand = [\"x\"]"),
            code::DUPLICATE_NAME,
            2,
            "different names",
        ),
        (process("[[probe]]\ncontainer = true"), code::WRONG_VALUE, 5, "process runtime"),
        (process("[[probe]]\nlog = \"x\"\nservice = \"web\""), code::WRONG_VALUE, 5, "no process"),
    ] {
        let problems = compose(&text).unwrap_err();
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        let problem = &problems[0];
        assert_eq!((problem.code, problem.line), (code, Some(line)), "{text}: {problem}");
        assert!(problem.message.contains(part), "{text}: {problem}");
    }
    assert_eq!(bare("").unwrap_err()[0].code, code::MISSING_KEY);
    assert_eq!(bare("runtime = \"process\"\n").unwrap_err()[0].field.as_deref(), Some("process"));
    assert_eq!(bare("runtime = \"compose\"\n").unwrap_err()[0].field.as_deref(), Some("compose_file"));
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "[\\[\\]a-z=\"{}\n., 0-9_]{0,120}") {
        let _ = StackManifest::parse("s", &bytes, None);
        let _ = compose(&text);
        let _ = compose(&format!("{PROCESS}{text}"));
        let _ = compose(&format!("[[probe]]\n{text}"));
    }
}
