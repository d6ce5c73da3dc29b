//! Settings files of other tools: JSON with whatever their owners like (comments, order, trailing commas),
//! changed where they must be and nowhere else, and put back exactly as they were.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use backstay_types::{Digest, ErrorCode};
use jsonc_parser::{
    ParseOptions,
    cst::{CstInputValue, CstRootNode},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{error::CliError, paths};

/// A settings file.
#[derive(Debug)]
pub(super) struct SettingsFile {
    path: PathBuf,
    records: PathBuf,
}

/// What was there before, and what we left.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    path: PathBuf,
    /// The whole text; none when there was no file.
    before: Option<String>,
    /// Digest of the text as we left it.
    after: Digest,
    /// Its permissions before; others than its owner and group lose theirs while it holds a secret.
    mode: Option<u32>,
}

impl SettingsFile {
    /// The file at `path`, there or not.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, records: state_dir() }
    }

    #[cfg(test)]
    pub(super) fn with_records(path: PathBuf, records: PathBuf) -> Self {
        Self { path, records }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its content as data; an empty object when there is no file.
    pub(super) fn read(&self) -> Result<Value, CliError> {
        let root = self.parse(self.text()?.as_deref().unwrap_or("{}"))?;
        Ok(root.to_serde_value().unwrap_or(Value::Null))
    }

    /// Changes it, remembering how it was.
    pub(super) fn change(&self, change: impl FnOnce(&CstRootNode)) -> Result<(), CliError> {
        let before = self.text()?;
        let root = self.parse(before.as_deref().unwrap_or("{\n}\n"))?;
        change(&root);
        let after = root.to_string();
        if before.as_deref() == Some(&after) {
            return Ok(());
        }
        let mode = fs::metadata(&self.path).ok().map(|meta| meta.permissions().mode() & 0o777);
        // The first record stays: it is how the file was before any of our changes.
        let (before, first_mode) = match self.record()? {
            Some(record)
                if before.as_ref().is_some_and(|text| Digest::of(text.as_bytes()) == record.after) =>
            {
                (record.before, record.mode)
            }
            _ => (before, mode),
        };
        let digest = Digest::of(after.as_bytes());
        let record = Record { path: self.path.clone(), before, after: digest, mode: first_mode };
        let text = serde_json::to_string(&record)
            .map_err(|e| self.unusable("it cannot be remembered").with_source(e))?;
        write(&self.record_path(), &text, PRIVATE)?;
        write(&self.path, &after, mode.map_or(PRIVATE, |mode| mode & 0o770))
    }

    /// Takes a change back: the exact text from before when nobody has changed the file since, else by `remove`.
    pub(super) fn restore(&self, remove: impl FnOnce(&CstRootNode)) -> Result<(), CliError> {
        let Some(text) = self.text()? else { return self.forget() };
        let record = self.record()?;
        let mode = record.as_ref().and_then(|record| record.mode).unwrap_or(PRIVATE);
        match record {
            Some(record) if record.after == Digest::of(text.as_bytes()) => match record.before {
                Some(before) => write(&self.path, &before, mode)?,
                None => fs::remove_file(&self.path).map_err(|e| CliError::file("remove", &self.path, e))?,
            },
            _ => {
                let root = self.parse(&text)?;
                remove(&root);
                write(&self.path, &root.to_string(), mode)?;
            }
        }
        self.forget()
    }

    fn text(&self) -> Result<Option<String>, CliError> {
        match fs::read_to_string(&self.path) {
            Ok(text) if text.trim().is_empty() => Ok(None),
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CliError::file("read", &self.path, error)),
        }
    }

    fn parse(&self, text: &str) -> Result<CstRootNode, CliError> {
        let options = ParseOptions { allow_missing_commas: false, ..ParseOptions::default() };
        let root = CstRootNode::parse(text, &options).map_err(|e| self.unusable(&e.to_string()))?;
        if root.object_value().is_none() {
            return Err(self.unusable("expected an object"));
        }
        Ok(root)
    }

    fn unusable(&self, why: &str) -> CliError {
        CliError::new(ErrorCode::BS8011, format!("{}: {why}", self.path.display()))
            .hint("mend the file, then run this again; nothing was changed")
    }

    fn record_path(&self) -> PathBuf {
        let name = Digest::of(self.path.as_os_str().as_encoded_bytes()).short();
        self.records.join(format!("{name}.json"))
    }

    fn record(&self) -> Result<Option<Record>, CliError> {
        let path = self.record_path();
        match fs::read_to_string(&path) {
            // A record that cannot be read is as good as none: what we put in is then removed piece by piece.
            Ok(text) => Ok(serde_json::from_str(&text).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CliError::file("read", &path, error)),
        }
    }

    fn forget(&self) -> Result<(), CliError> {
        let path = self.record_path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CliError::file("remove", &path, error))
            }
            _ => Ok(()),
        }
    }
}

/// Where it is remembered what was there.
fn state_dir() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    state.unwrap_or_else(|| paths::home().join(".local/state")).join("backstay/track")
}

/// For its owner alone.
const PRIVATE: u32 = 0o600;

/// Written beside and moved into place, so that nobody ever reads half a file. It stays whose it was.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CliError> {
    // Through a link, so that a file kept elsewhere stays there.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let parent = target.parent().unwrap_or(Path::new("."));
    let new = target.with_extension("backstay-new");
    let write = || {
        fs::create_dir_all(parent)?;
        let owner = fs::metadata(&target).ok();
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE).open(&new)?;
        file.write_all(text.as_bytes())?;
        give(&new, owner.as_ref())?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&new, &target)
    };
    write().map_err(|e| CliError::file("write", path, e))
}

/// Gives a file to the owner of another: root may install for the user that a tool runs as.
pub(super) fn give(path: &Path, owner: Option<&fs::Metadata>) -> io::Result<()> {
    let Some(owner) = owner.filter(|_| rustix::process::geteuid().is_root()) else { return Ok(()) };
    std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))
}

/// JSON as the editor wants it.
pub(super) fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(value) => CstInputValue::Number(value.to_string()),
        Value::String(value) => CstInputValue::String(value.clone()),
        Value::Array(values) => CstInputValue::Array(values.iter().map(input).collect()),
        Value::Object(fields) => {
            CstInputValue::Object(fields.iter().map(|(key, value)| (key.clone(), input(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEIRS: &str = "{\n  // mine\n  \"model\": \"x\",\n  'b': [1, 2,],\n}\n";

    fn file(dir: &Path, text: Option<&str>) -> SettingsFile {
        let path = dir.join("settings.json");
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        SettingsFile::with_records(path, dir.join("records"))
    }

    fn add(root: &CstRootNode) {
        root.object_value_or_set().append("ours", true.into());
    }

    fn remove(root: &CstRootNode) {
        if let Some(property) = root.object_value().and_then(|object| object.get("ours")) {
            property.remove();
        }
    }

    #[test]
    fn a_change_is_taken_back_to_the_byte() {
        for before in [Some(THEIRS), Some("{}"), Some("{\"a\":1}"), None] {
            let dir = tempfile::tempdir().unwrap();
            let file = file(dir.path(), before);
            file.change(add).unwrap();
            assert_eq!(file.read().unwrap()["ours"], true);
            let mode = || fs::metadata(file.path()).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode() & 0o007, 0, "a secret is in it");
            file.restore(remove).unwrap();
            assert_eq!(fs::read_to_string(file.path()).ok().as_deref(), before);
            assert!(before.is_none() || mode() == 0o644);
        }
    }

    #[test]
    fn what_others_changed_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path(), Some(THEIRS));
        file.change(add).unwrap();
        let text = fs::read_to_string(file.path()).unwrap().replace("\"x\"", "\"y\"");
        fs::write(file.path(), text).unwrap();
        file.restore(remove).unwrap();
        let text = fs::read_to_string(file.path()).unwrap();
        assert!(text.contains("// mine") && text.contains("\"y\"") && !text.contains("ours"), "{text}");
    }

    #[test]
    fn several_changes_are_taken_back_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path(), Some(THEIRS));
        file.change(add).unwrap();
        file.change(|root| {
            root.object_value_or_set().append("more", 1_usize.into());
        })
        .unwrap();
        file.restore(remove).unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), THEIRS);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_left_alone() {
        for text in ["{", "[]", "{\"a\": }", "nonsense"] {
            let dir = tempfile::tempdir().unwrap();
            let file = file(dir.path(), Some(text));
            let error = file.change(add).unwrap_err();
            assert_eq!(error.code(), ErrorCode::BS8011);
            assert_eq!(fs::read_to_string(file.path()).unwrap(), text);
        }
    }
}
