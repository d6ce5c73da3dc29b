//! Files that are made from code, so that they cannot drift: `generate` writes them, `check-generated` compares.

use std::{env, fs, path::PathBuf, process::Command};

use crate::metadata::Workspace;

/// A file of the repository, and how it is made.
struct Generated {
    path: &'static str,
    make: fn(&Workspace) -> Result<String, String>,
}

const FILES: &[Generated] = &[
    Generated { path: "openapi/backstay.json", make: |_| Ok(pretty(&backstay_api::openapi())) },
    Generated { path: "docs/config.schema.json", make: |_| Ok(pretty(&backstay_config::schema())) },
    Generated { path: "docs/config.example.toml", make: |_| Ok(backstay_config::example()) },
    Generated { path: "docs/cli.md", make: cli_reference },
];

/// What the program says of itself. Asked of the program, since linking the hub into this one would be slow.
fn cli_reference(workspace: &Workspace) -> Result<String, String> {
    let mut backstay = backstay();
    backstay.args(["internal", "generate-cli-reference"]).current_dir(&workspace.root);
    let output = backstay.output().map_err(|error| error.to_string())?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

/// The program: in `BACKSTAY_BIN_DIR` where everything has just been built, else by way of cargo.
fn backstay() -> Command {
    if let Some(dir) = env::var_os("BACKSTAY_BIN_DIR") {
        return Command::new(PathBuf::from(dir).join("backstay"));
    }
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--package", "backstay-cli", "--bin", "backstay", "--"]);
    cargo
}

/// Writes what is not as the code makes it.
///
/// # Errors
/// When something cannot be made or written.
pub(crate) fn write() -> Result<(), String> {
    for (path, text) in stale()? {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
        }
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Compares.
///
/// # Errors
/// With the names of the files that are not as the code makes them.
pub(crate) fn check() -> Result<(), String> {
    let stale = stale()?;
    if stale.is_empty() {
        println!("{} generated files are as the code makes them", FILES.len());
        return Ok(());
    }
    let names: Vec<_> = stale.iter().map(|(path, _)| path.display().to_string()).collect();
    Err(format!("not as the code makes them, run `cargo xtask generate`:\n  {}", names.join("\n  ")))
}

/// Files that differ from what the code makes, with what they should be.
fn stale() -> Result<Vec<(PathBuf, String)>, String> {
    let workspace = Workspace::read()?;
    let mut stale = Vec::new();
    for file in FILES {
        let path = workspace.root.join(file.path);
        let text = (file.make)(&workspace).map_err(|error| format!("{}: {error}", file.path))?;
        if fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            stale.push((path, text));
        }
    }
    Ok(stale)
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
