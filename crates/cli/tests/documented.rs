//! Every command that the documents, the page and the program's own texts name is one that the program takes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::support::{program, root};

/// A command as it is written somewhere.
struct Written {
    place: String,
    words: Vec<String>,
    /// In a block to be copied: all that it needs must be there. In a sentence it may be cut short.
    whole: bool,
}

#[test]
fn every_command_in_the_documents_is_understood() {
    let mut found = Vec::new();
    for file in documents() {
        let text = fs::read_to_string(&file).unwrap();
        found.extend(in_markdown(&shown(&file), &text));
    }
    assert!(found.iter().filter(|one| one.whole).count() > 100, "the blocks are not found any more");
    let wrong: Vec<_> = found.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), found.len(), wrong.join("\n"));
}

#[test]
fn every_command_that_the_programs_and_the_page_name_is_understood() {
    let mut found = Vec::new();
    for file in sources() {
        let text = fs::read_to_string(&file).unwrap();
        for (at, line) in text.lines().enumerate() {
            spans(&format!("{}:{}", shown(&file), at + 1), line, &mut found);
        }
    }
    assert!(found.len() > 50, "the sources are not found any more");
    let wrong: Vec<_> = found.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), found.len(), wrong.join("\n"));
}

#[test]
fn the_readme_lists_every_guide_and_runbook() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mut found = Vec::new();
    walk(&root().join("docs/guides"), &["md"], &mut found);
    walk(&root().join("docs/runbooks"), &["md"], &mut found);
    assert!(found.len() > 10);
    let missing: Vec<_> =
        found.iter().map(|file| shown(file)).filter(|file| !readme.contains(&format!("]({file})"))).collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
}

#[test]
fn commands_are_found_as_people_write_them() {
    let text = "Ask `backstay nodes` or `backstay logs NODE STACK`.\n```sh\n$ backstay status   # at a glance\n\
                A=b sudo ./backstay join --hub x \\\n  bsj.…\nbackstay why 'a b' | grep backstay && backstay undos ID\n\
                # backstay-agent apply FILE\nExecStart=/bin/backstay hub\n# /etc/backstay\n```\n";
    let found: Vec<_> = in_markdown("x.md", text)
        .into_iter()
        .map(|one| (one.place, one.words.join("|"), one.whole))
        .collect();
    let expected = [
        ("x.md:1", "backstay|nodes", false),
        ("x.md:1", "backstay|logs|node|stack", false),
        ("x.md:3", "backstay|status", true),
        ("x.md:4", "backstay|join|--hub|x|bsj.…", true),
        ("x.md:6", "backstay|why|a b", true),
        ("x.md:6", "backstay|undos|id", true),
        ("x.md:7", "backstay-agent|apply|file", true),
        ("x.md:8", "backstay|hub", true),
    ];
    assert_eq!(found, expected.map(|(place, words, whole)| (place.to_owned(), words.to_owned(), whole)));
    let is_wrong = |words: &str, whole| {
        let words = words.split(' ').map(str::to_owned).collect();
        wrong(&Written { place: String::new(), words, whole }).is_some()
    };
    for line in ["backstay logs node stack", "backstay deployments list --node n", "backstay-agent aply x"] {
        assert!(is_wrong(line, false), "{line}");
    }
    assert!(is_wrong("backstay freeze add --reason x --until someday", true));
    assert!(is_wrong("backstay hold lift id", true) && !is_wrong("backstay hold lift id", false));
    assert!(!is_wrong("backstay freeze add --reason x --until friday", true));
}

/// Who follows a guide gets the unit that is shipped and tested, and no copy of a part of it.
#[test]
fn the_guides_install_the_agent_by_the_unit_that_is_shipped() {
    const UNIT: &str = "deploy/systemd/backstay-agent.service";
    let unit = fs::read_to_string(root().join(UNIT)).unwrap();
    let program =
        "ExecStart=/usr/local/bin/backstay-loader /var/lib/backstay/agents /usr/local/bin/backstay-agent run";
    for line in ["KillMode=process\n", "Type=notify\n", "WatchdogSec=", program] {
        assert!(unit.contains(line), "{line}: {unit}");
    }
    for guide in ["docs/guides/updating-agents.md", "docs/guides/running-the-hub.md"] {
        assert!(fs::read_to_string(root().join(guide)).unwrap().contains(UNIT), "{guide}");
    }
    for file in documents() {
        let text = fs::read_to_string(&file).unwrap();
        let copy =
            text.lines().find(|line| line.starts_with("ExecStart=") && line.contains("backstay-agent"));
        assert_eq!(copy, None, "{}", shown(&file));
    }
}

fn documents() -> Vec<PathBuf> {
    let mut found: Vec<_> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root().join(name)).into();
    walk(&root().join("docs"), &["md"], &mut found);
    walk(&root().join("examples"), &["md"], &mut found);
    found
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        walk(&entry.unwrap().path().join("src"), &["rs"], &mut found);
    }
    walk(&root().join("web/src"), &["svelte", "ts"], &mut found);
    found
}

fn walk(folder: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            walk(&path, extensions, found);
        } else if path.extension().is_some_and(|one| extensions.iter().any(|known| one == *known)) {
            found.push(path);
        }
    }
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}

/// The commands of a document: lines of its blocks, and what stands between backticks.
fn in_markdown(name: &str, text: &str) -> Vec<Written> {
    let mut found = Vec::new();
    let mut fenced = false;
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let place = format!("{name}:{}", at + 1);
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            let mut whole = line.trim().to_owned();
            while let Some(part) = whole.strip_suffix('\\') {
                whole = format!("{part}{}", lines.next().map_or("", |(_, next)| next.trim()));
            }
            for words in commands(&whole) {
                found.push(Written { place: place.clone(), words, whole: true });
            }
            spans(&place, &whole, &mut found);
        } else if !line.starts_with("**Usage:**") {
            spans(&place, line, &mut found);
        }
    }
    assert!(!fenced, "{name}: a block does not end");
    found
}

/// The commands between backticks of a line.
fn spans(place: &str, line: &str, found: &mut Vec<Written>) {
    for span in line.split('`').skip(1).step_by(2).filter(|span| span.contains(' ')) {
        for words in commands(span) {
            found.push(Written { place: place.to_owned(), words, whole: false });
        }
    }
}

/// The commands of ours among those of a line, each from its program's name on.
fn commands(line: &str) -> Vec<Vec<String>> {
    let line = line.strip_prefix("$ ").unwrap_or(line);
    let line = line.strip_prefix("# ").filter(|rest| rest.starts_with("backstay")).unwrap_or(line);
    let line = line.strip_prefix("ExecStart=").unwrap_or(line);
    shell_words(line).into_iter().filter_map(|words| ours(&words)).collect()
}

/// From the program's name on, where it is one of ours: past `sudo`, variables, and the loader with its two folders.
fn ours(words: &[String]) -> Option<Vec<String>> {
    let is_variable = |word: &str| {
        word.split_once('=').is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    };
    let mut rest: &[String] = words;
    loop {
        let first = rest.first()?;
        let name = first.rsplit('/').next()?;
        match name {
            "sudo" => rest = &rest[1..],
            "backstay-loader" => rest = rest.get(2..)?,
            // A message that puts the whole command in names none.
            "backstay" | "backstay-agent" if rest.get(1).is_some_and(|word| word == "{}") => return None,
            "backstay" | "backstay-agent" => {
                let rest = rest[1..].iter().filter_map(|word| plain(word));
                return Some(std::iter::once(name.to_owned()).chain(rest).collect());
            }
            _ if is_variable(first) => rest = &rest[1..],
            _ => return None,
        }
    }
}

/// A placeholder becomes what could stand there; brackets around what may be left out go.
fn plain(word: &str) -> Option<String> {
    let word: String = word.chars().filter(|c| !"[]<>{}".contains(*c)).collect();
    let is_placeholder =
        |part: &str| part.chars().all(|c| c.is_ascii_uppercase() || "_-".contains(c)) && part.len() > 1;
    let parts = word.split('/').map(|part| {
        if is_placeholder(part) && !part.starts_with('-') { part.to_lowercase() } else { part.to_owned() }
    });
    match parts.collect::<Vec<_>>().join("/").as_str() {
        "options" => None,
        // What a format string puts in.
        "" => Some("x".to_owned()),
        word => Some(word.to_owned()),
    }
}

/// The commands of a line of a shell, each as its words: quotes taken off, comments left out.
fn shell_words(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    let end = |word: &mut Option<String>, commands: &mut Vec<Vec<String>>| {
        if let (Some(word), Some(command)) = (word.take(), commands.last_mut()) {
            command.push(word);
        }
    };
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            (None, c) if c.is_whitespace() => end(&mut word, &mut commands),
            (None, '|' | '&' | ';') if word.is_none() => commands.push(Vec::new()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    end(&mut word, &mut commands);
    commands
}

/// What is wrong with a command, where something is.
fn wrong(one: &Written) -> Option<String> {
    let error = if one.words[0] == "backstay" { refused(one)? } else { refused_by_agent(&one.words)? };
    let line = error.lines().next().unwrap_or_default();
    Some(format!("  {}: {}: {line}", one.place, one.words.join(" ")))
}

fn refused(one: &Written) -> Option<String> {
    // In a sentence `…` stands for whatever the command is given.
    let cut =
        |words: &[String]| words.iter().filter(|word| one.whole || *word != "…").cloned().collect::<Vec<_>>();
    let words = if one.words.len() > 2 { cut(&one.words) } else { one.words.clone() };
    backstay_cli::refuses(words, !one.whole)
}

/// The agent's own program is asked for help: before it gives that, it looks at the words before.
fn refused_by_agent(words: &[String]) -> Option<String> {
    let agent = program().with_file_name("backstay-agent");
    assert!(agent.is_file(), "{} is not built: run `cargo build --workspace --bins` first", agent.display());
    let output = Command::new(agent).args(&words[1..]).arg("--help").output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}
