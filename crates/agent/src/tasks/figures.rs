//! What a stack says about itself in numbers.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::Stdio,
    time::Duration,
};

use backstay_manifest::{FigureFrom, FigureSource};
use backstay_types::{Figures, StackName, TreeDigest};
use rustix::{
    fs::OFlags,
    process::{Pid, Signal, kill_process_group},
};
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};

use crate::{child, disk::Layout, step::read_rendered};

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A number is not longer than this, in bytes.
const LONGEST: u64 = 64;

/// Asks for all figures of a stack. One that cannot be had is left out: not known is not nought.
pub(super) async fn figures(
    layout: &Layout,
    stack: &StackName,
    tree: TreeDigest,
    sources: &[FigureSource],
) -> Figures {
    let mut found = Figures::default();
    for source in sources {
        let said = match &source.from {
            FigureFrom::Command(argv) => command(layout, stack, tree, argv).await,
            FigureFrom::File(path) => file(&layout.state(stack).join(path)),
        };
        match said.and_then(|text| number(&text)) {
            Ok(value) => {
                found.insert(&source.name, value);
            }
            Err(error) => tracing::warn!(%stack, figure = source.name, %error, "a figure is not known"),
        }
    }
    found
}

fn number(text: &str) -> Result<f64, String> {
    // Of the beginning of something longer nobody knows what it means.
    if text.len() as u64 > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| format!("`{}` is not a number", text.trim().escape_debug()))
}

fn file(path: &Path) -> Result<String, String> {
    read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads a plain file. A pipe or a device would be waited for, and the agent with it.
fn read(path: &Path) -> io::Result<String> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
    }
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    Ok(text)
}

async fn command(
    layout: &Layout,
    stack: &StackName,
    tree: TreeDigest,
    argv: &[String],
) -> Result<String, String> {
    let (program, arguments) = argv.split_first().ok_or("there is no command")?;
    let dir = layout.release(stack, tree);
    let program = if program.contains('/') { dir.join(program) } else { program.into() };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&dir).env_clear().env("PATH", child::PATH);
    command.envs(read_rendered(layout, stack, tree).iter().map(|(name, value)| (name, value.expose())));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    let mut running = command.spawn().map_err(|error| format!("it cannot be started: {error}"))?;
    let _group = Group(running.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let output = running.stdout.take().ok_or("it has no output")?;
    let mut text = String::new();
    let answered = async {
        output.take(LONGEST + 1).read_to_string(&mut text).await.map_err(|error| error.to_string())?;
        running.wait().await.map_err(|error| error.to_string())
    };
    match timeout(PATIENCE, answered).await {
        Ok(Ok(status)) if status.success() => Ok(text),
        Ok(Ok(status)) => Err(format!("it ended with {status}")),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// Kills what a command left behind.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use backstay_types::Digest;

    use super::*;

    fn source(name: &str, from: FigureFrom) -> FigureSource {
        FigureSource { name: name.to_owned(), from }
    }

    #[tokio::test]
    async fn numbers_are_known_and_everything_else_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), None, dir.path());
        let (stack, tree): (StackName, _) = ("web".parse().unwrap(), Digest::of(b"x"));
        std::fs::create_dir_all(layout.release(&stack, tree)).unwrap();
        std::fs::create_dir_all(layout.state(&stack).join("data")).unwrap();
        std::fs::write(layout.state(&stack).join("data/errors"), "0.25\n").unwrap();
        std::fs::write(layout.state(&stack).join("data/words"), "none").unwrap();
        let argv =
            |words: &[&str]| FigureFrom::Command(words.iter().map(|word| (*word).to_owned()).collect());
        let sources = [
            source("errors", FigureFrom::File("data/errors".into())),
            source("words", FigureFrom::File("data/words".into())),
            source("missing", FigureFrom::File("data/missing".into())),
            source("printed", argv(&["echo", "3"])),
            source("failing", argv(&["sh", "-c", "echo 1; exit 3"])),
            source("endless", argv(&["yes"])),
        ];
        let found = figures(&layout, &stack, tree, &sources).await;
        assert_eq!(found.iter().collect::<Vec<_>>(), [("errors", 0.25), ("printed", 3.0)]);
    }
}
