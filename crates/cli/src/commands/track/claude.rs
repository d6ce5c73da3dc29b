//! Claude Code's hooks in its settings: tool calls go to the hub as they happen.

use std::path::{Path, PathBuf};

use backstay_types::Secret;
use jsonc_parser::cst::{CstArray, CstNode, CstObject, CstRootNode};
use serde_json::{Value, json};

use super::{
    State,
    git_hooks::quoted,
    settings::{SettingsFile, input},
    webhook,
};
use crate::{error::CliError, paths};

/// Tools that change something; what only reads is not worth a delivery.
const TOOLS: &str = "Bash|Edit|MultiEdit|Write|NotebookEdit|mcp__.*";
/// Events that can be posted, each with the tools that it is about.
const POSTED: [(&str, Option<&str>); 4] =
    [("PostToolUse", Some(TOOLS)), ("PostToolUseFailure", Some(TOOLS)), ("Stop", None), ("SessionEnd", None)];
/// This event takes commands only.
const STARTED: &str = "SessionStart";
const START_COMMAND: &str = " --quiet track session-start";

/// Claude Code on this machine.
#[derive(Debug)]
pub(super) struct Claude {
    file: SettingsFile,
    there: bool,
}

impl Claude {
    /// Its settings: the user's, or those of a project that are not shared.
    pub(super) fn find(project: Option<&Path>) -> Self {
        let config = std::env::var_os("CLAUDE_CONFIG_DIR").filter(|dir| !dir.is_empty());
        let config = config.map_or_else(|| paths::home().join(".claude"), PathBuf::from);
        let there = config.is_dir();
        let path = match project {
            Some(repo) => std::path::absolute(repo)
                .unwrap_or_else(|_| repo.to_owned())
                .join(".claude/settings.local.json"),
            None => config.join("settings.json"),
        };
        Self { file: SettingsFile::at(path), there }
    }

    /// Whether it is used on this machine.
    pub(super) fn is_there(&self) -> bool {
        self.there || self.file.path().exists()
    }

    /// The settings file.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Whether our hooks are in place.
    pub(super) fn status(&self) -> Result<State, CliError> {
        if !self.is_there() {
            return Ok(State::NoTool);
        }
        let found = self.posted_to()?;
        Ok(if found.len() == POSTED.len() { State::Installed } else { State::Absent })
    }

    /// Whether all our hooks are in place for this address.
    pub(super) fn has(&self, url: &str) -> Result<bool, CliError> {
        let found = self.posted_to()?;
        Ok(found.len() == POSTED.len() && found.iter().all(|(found, _)| found == url))
    }

    /// Puts our hooks in; earlier ones of ours are replaced.
    pub(super) fn install(&self, program: &Path, url: &str, secret: &Secret) -> Result<(), CliError> {
        let start = format!("{}{START_COMMAND}", quoted(&program.display().to_string()));
        let started = json!({ "hooks": [{ "type": "command", "command": start, "timeout": 5 }] });
        let post = json!({
            "type": "http",
            "url": url,
            "headers": { "Authorization": format!("Bearer {}", secret.expose()) },
            "timeout": 5,
        });
        self.file.change(|root| {
            take_out(root);
            let hooks = root.object_value_or_set().object_value_or_set("hooks");
            hooks.array_value_or_set(STARTED).append(input(&started));
            for (event, tools) in POSTED {
                let group = match tools {
                    Some(tools) => json!({ "matcher": tools, "hooks": [post] }),
                    None => json!({ "hooks": [post] }),
                };
                hooks.array_value_or_set(event).append(input(&group));
            }
        })
    }

    /// Takes our hooks out.
    pub(super) fn uninstall(&self) -> Result<(), CliError> {
        self.file.restore(take_out)
    }

    /// Address and authorization of our hook in one of the events.
    pub(super) fn delivery(&self) -> Result<Option<(String, Secret)>, CliError> {
        Ok(self.posted_to()?.into_iter().next())
    }

    fn posted_to(&self) -> Result<Vec<(String, Secret)>, CliError> {
        let settings = self.file.read()?;
        let ours = |(event, _): &(&str, _)| {
            let groups = settings["hooks"][*event].as_array()?;
            let mut hooks = groups.iter().filter_map(|group| group["hooks"].as_array()).flatten();
            let hook = hooks.find(|hook| is_post(hook))?;
            let header = hook["headers"]["Authorization"].as_str().unwrap_or_default();
            let secret = header.strip_prefix("Bearer ").unwrap_or_default();
            Some((hook["url"].as_str()?.to_owned(), Secret::new(secret)))
        };
        Ok(POSTED.iter().filter_map(ours).collect())
    }
}

fn is_post(hook: &Value) -> bool {
    let url = hook["url"].as_str().unwrap_or_default();
    hook["type"] == "http" && url.ends_with(&format!("/hooks/{}", webhook::CLAUDE_CODE))
}

fn is_ours(hook: &Value) -> bool {
    let command = hook["command"].as_str().unwrap_or_default();
    is_post(hook) || (hook["type"] == "command" && command.ends_with(START_COMMAND))
}

/// Removes our hooks, and what is empty after that.
fn take_out(root: &CstRootNode) {
    let Some(settings) = root.object_value() else { return };
    let Some(hooks) = settings.object_value("hooks") else { return };
    for event in POSTED.iter().map(|(event, _)| *event).chain([STARTED]) {
        let Some(groups) = hooks.array_value(event) else { continue };
        let mut removed = false;
        for group in groups.elements() {
            removed |= take_out_of_group(&group);
        }
        if removed && groups.elements().is_empty() {
            remove_property(&hooks, event);
        }
    }
    if hooks.properties().is_empty() {
        remove_property(&settings, "hooks");
    }
}

fn take_out_of_group(group: &CstNode) -> bool {
    let Some(hooks) = group.as_object().and_then(|object| object.array_value("hooks")) else { return false };
    let removed = remove_ours(&hooks);
    if removed && hooks.elements().is_empty() {
        group.clone().remove();
    }
    removed
}

fn remove_ours(hooks: &CstArray) -> bool {
    let mut removed = false;
    for hook in hooks.elements() {
        if hook.to_serde_value().is_some_and(|value| is_ours(&value)) {
            hook.remove();
            removed = true;
        }
    }
    removed
}

pub(super) fn remove_property(object: &CstObject, name: &str) {
    if let Some(property) = object.get(name) {
        property.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const URL: &str = "http://127.0.0.1:8484/hooks/claude-code";
    const THEIRS: &str = r#"{
  "hooks": {
    "PostToolUse": [{ "matcher": "Bash", "hooks": [{ "type": "command", "command": "lint" }] }],
    "Notification": []
  },
  "model": "opus" // mine
}
"#;

    fn claude(dir: &Path, text: Option<&str>) -> Claude {
        let path = dir.join("settings.json");
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        Claude { file: SettingsFile::with_records(path, dir.join("records")), there: true }
    }

    #[test]
    fn hooks_go_in_once_beside_others_and_come_out() {
        for before in [Some(THEIRS), None] {
            let dir = tempfile::tempdir().unwrap();
            let claude = claude(dir.path(), before);
            let (program, secret) = (Path::new("/usr/bin/backstay"), Secret::new("whsec_abc"));
            assert_eq!(claude.status().unwrap(), State::Absent);
            claude.install(program, URL, &secret).unwrap();
            let first = fs::read_to_string(claude.path()).unwrap();
            claude.install(program, URL, &secret).unwrap();
            assert_eq!(claude.file.read().unwrap()["hooks"]["Stop"].as_array().unwrap().len(), 1);
            assert!(claude.has(URL).unwrap() && !claude.has("http://other/hooks/claude-code").unwrap());
            assert_eq!(claude.delivery().unwrap().unwrap().1.expose(), "whsec_abc");
            assert!(first.contains("'/usr/bin/backstay' --quiet track session-start"), "{first}");
            if before.is_some() {
                assert!(first.contains("\"lint\"") && first.contains("// mine"), "{first}");
            }
            claude.uninstall().unwrap();
            assert_eq!(fs::read_to_string(claude.path()).ok().as_deref(), before);
        }
    }

    #[test]
    fn hooks_come_out_of_settings_that_others_changed() {
        let dir = tempfile::tempdir().unwrap();
        let claude = claude(dir.path(), Some(THEIRS));
        claude.install(Path::new("/usr/bin/backstay"), URL, &Secret::new("whsec_abc")).unwrap();
        let text = fs::read_to_string(claude.path()).unwrap().replace("opus", "sonnet");
        fs::write(claude.path(), text).unwrap();
        claude.uninstall().unwrap();
        let settings = claude.file.read().unwrap();
        let expected = json!({
            "hooks": {
                "PostToolUse": [{ "matcher": "Bash", "hooks": [{ "type": "command", "command": "lint" }] }],
                "Notification": [],
            },
            "model": "sonnet",
        });
        assert_eq!(settings, expected);
    }
}
