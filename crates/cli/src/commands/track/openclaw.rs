//! OpenClaw's plugin: its files in the extensions folder, its entry in the gateway's settings.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use backstay_types::Secret;
use jsonc_parser::cst::CstRootNode;
use serde_json::json;

use super::{
    State,
    claude::remove_property,
    settings::{SettingsFile, give, input},
};
use crate::{error::CliError, paths};

/// The plugin's id, which is also its folder's name.
const ID: &str = "backstay";

/// A file of the plugin, from `plugins/openclaw`.
macro_rules! plugin_files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../../../../plugins/openclaw/", $name)))),*]
    };
}

/// The plugin: what its `package.json` says belongs to it.
const FILES: [(&str, &str); 10] = plugin_files![
    "index.js",
    "openclaw.plugin.json",
    "package.json",
    "src/entry.js",
    "src/env.js",
    "src/sender.js",
    "src/settings.js",
    "src/signature.js",
    "src/snapshot.js",
    "src/spool.js",
];

/// OpenClaw on this machine.
#[derive(Debug)]
pub(super) struct OpenClaw {
    file: SettingsFile,
    folder: PathBuf,
}

impl OpenClaw {
    /// The gateway's settings and state, where it would look for them itself.
    pub(super) fn find() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let state = set("OPENCLAW_STATE_DIR").unwrap_or_else(|| paths::home().join(".openclaw"));
        let config = set("OPENCLAW_CONFIG_PATH").unwrap_or_else(|| state.join("openclaw.json"));
        Self::new(config, &state)
    }

    fn new(config: PathBuf, state: &Path) -> Self {
        Self { file: SettingsFile::at(config), folder: state.join("extensions").join(ID) }
    }

    /// Whether it is used on this machine.
    pub(super) fn is_there(&self) -> bool {
        self.file.path().exists()
    }

    /// The settings file.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Whether the plugin is in place.
    pub(super) fn status(&self) -> Result<State, CliError> {
        if !self.is_there() {
            return Ok(State::NoTool);
        }
        let there = self.hub()?.is_some() && self.folder.join("openclaw.plugin.json").is_file();
        Ok(if there { State::Installed } else { State::Absent })
    }

    /// Whether the plugin is in place for this hub, in this version.
    pub(super) fn has(&self, hub: &str) -> Result<bool, CliError> {
        let same = |(name, text): &(&str, &str)| {
            fs::read_to_string(self.folder.join(name)).is_ok_and(|have| have == *text)
        };
        Ok(self.hub()?.as_deref() == Some(hub) && FILES.iter().all(same))
    }

    fn hub(&self) -> Result<Option<String>, CliError> {
        let settings = self.file.read()?;
        Ok(settings["plugins"]["entries"][ID]["config"]["hub"].as_str().map(str::to_owned))
    }

    /// Puts the plugin's files and entry in place.
    pub(super) fn install(&self, hub: &str, secret: &Secret) -> Result<(), CliError> {
        self.write_plugin().map_err(|e| CliError::file("write", &self.folder, e))?;
        let entry = json!({ "enabled": true, "config": { "hub": hub, "secret": secret.expose() } });
        self.file.change(|root| {
            let entries =
                root.object_value_or_set().object_value_or_set("plugins").object_value_or_set("entries");
            remove_property(&entries, ID);
            entries.append(ID, input(&entry));
        })
    }

    /// Writes the plugin's files, for whoever the gateway runs as.
    fn write_plugin(&self) -> io::Result<()> {
        let owner = fs::metadata(self.file.path()).ok();
        for (name, text) in FILES {
            let path = self.folder.join(name);
            let parent = path.parent().unwrap_or(&self.folder);
            fs::create_dir_all(parent)?;
            fs::write(&path, text)?;
            give(&path, owner.as_ref())?;
            give(parent, owner.as_ref())?;
        }
        let extensions = self.folder.parent().unwrap_or(&self.folder);
        give(&self.folder, owner.as_ref()).and_then(|()| give(extensions, owner.as_ref()))
    }

    /// Takes both out again.
    pub(super) fn uninstall(&self) -> Result<(), CliError> {
        self.file.restore(take_out)?;
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CliError::file("remove", &self.folder, error))
            }
            _ => {
                // The folder above goes too when we were the only extension; with others in it this fails.
                let _ = self.folder.parent().map(fs::remove_dir);
                Ok(())
            }
        }
    }
}

/// Removes our entry, and what is empty after that.
fn take_out(root: &CstRootNode) {
    let Some(settings) = root.object_value() else { return };
    let Some(plugins) = settings.object_value("plugins") else { return };
    let Some(entries) = plugins.object_value("entries") else { return };
    remove_property(&entries, ID);
    if entries.properties().is_empty() {
        remove_property(&plugins, "entries");
    }
    if plugins.properties().is_empty() {
        remove_property(&settings, "plugins");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEIRS: &str = "{\n  // the gateway\n  gateway: { port: 18789, },\n  plugins: { entries: { other: { enabled: true } } },\n}\n";

    fn openclaw(dir: &Path) -> OpenClaw {
        let state = dir.join("state");
        let config = state.join("openclaw.json");
        fs::create_dir_all(&state).unwrap();
        fs::write(&config, THEIRS).unwrap();
        let file = SettingsFile::with_records(config, dir.join("records"));
        OpenClaw { file, folder: state.join("extensions").join(ID) }
    }

    #[test]
    fn the_plugin_goes_in_beside_others_and_comes_out() {
        let dir = tempfile::tempdir().unwrap();
        let openclaw = openclaw(dir.path());
        let hub = "http://127.0.0.1:8484";
        assert_eq!(openclaw.status().unwrap(), State::Absent);
        for _ in 0..2 {
            openclaw.install(hub, &Secret::new("whsec_YWJj")).unwrap();
            assert!(openclaw.has(hub).unwrap() && !openclaw.has("http://other").unwrap());
        }
        let settings = openclaw.file.read().unwrap();
        let entries = &settings["plugins"]["entries"];
        assert_eq!(entries[ID]["config"], json!({ "hub": hub, "secret": "whsec_YWJj" }));
        assert_eq!(entries["other"]["enabled"], true);
        assert!(openclaw.folder.join("src/entry.js").is_file());
        openclaw.uninstall().unwrap();
        assert_eq!(fs::read_to_string(openclaw.path()).unwrap(), THEIRS);
        assert!(!openclaw.folder.exists() && !dir.path().join("state/extensions").exists());
    }

    #[test]
    fn other_extensions_and_later_changes_stay() {
        let dir = tempfile::tempdir().unwrap();
        let openclaw = openclaw(dir.path());
        openclaw.install("http://127.0.0.1:8484", &Secret::new("whsec_YWJj")).unwrap();
        fs::create_dir_all(dir.path().join("state/extensions/theirs")).unwrap();
        let text = fs::read_to_string(openclaw.path()).unwrap().replace("18789", "18790");
        fs::write(openclaw.path(), text).unwrap();
        openclaw.uninstall().unwrap();
        let text = fs::read_to_string(openclaw.path()).unwrap();
        assert!(
            text.contains("18790") && text.contains("// the gateway") && !text.contains("backstay"),
            "{text}"
        );
        assert!(dir.path().join("state/extensions/theirs").is_dir());
    }

    #[test]
    fn all_of_the_plugin_is_installed() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/openclaw");
        let sources = fs::read_dir(root.join("src")).unwrap();
        let mut wanted: Vec<_> =
            sources.map(|entry| format!("src/{}", entry.unwrap().file_name().to_string_lossy())).collect();
        wanted.extend(["index.js", "openclaw.plugin.json", "package.json"].map(str::to_owned));
        wanted.sort();
        assert_eq!(FILES.map(|(name, _)| name.to_owned()).to_vec(), wanted);
    }
}
