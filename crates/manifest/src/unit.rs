//! systemd units of a stack: files of the release that are installed under their own names.

use std::collections::BTreeSet;

use backstay_types::{StackName, tree::check_path};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{StackManifest, code, read::Table};

/// Stands in a unit's text for the release's folder. What follows up to a space names a file or folder in it.
pub const RELEASE: &str = "@release@";
/// Kinds of units that a stack may bring.
const KINDS: [&str; 5] = ["service", "socket", "timer", "path", "target"];

/// One unit of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnitSpec {
    /// The unit's file, relative to the stack's folder. Its last part is the unit's name.
    pub file: String,
    /// Whether it is started, and must run. When absent: unless a timer, socket or path of the stack starts it.
    pub start: Option<bool>,
    /// Whether it is started at boot too. When absent: when it has an `[Install]` section.
    pub enable: Option<bool>,
}

impl UnitSpec {
    /// The unit's name, such as `web.service`.
    pub fn name(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }

    /// Its name without its kind.
    pub fn stem(&self) -> &str {
        self.name().rsplit_once('.').map_or(self.name(), |(stem, _)| stem)
    }

    /// Its kind, such as `service`.
    pub fn kind(&self) -> &str {
        self.name().rsplit_once('.').map_or("", |(_, kind)| kind)
    }

    /// Whether a unit of this name belongs to a stack: it is called as the stack is, or begins so with a `-`.
    pub fn belongs_to(&self, stack: &StackName) -> bool {
        let stem = self.stem();
        stem == stack.as_str() || stem.strip_prefix(stack.as_str()).is_some_and(|rest| rest.starts_with('-'))
    }
}

/// Whether a unit of a stack is started by itself, and not by another of its units.
pub fn is_started(unit: &UnitSpec, units: &[UnitSpec]) -> bool {
    let triggered = || {
        let trigger = |other: &UnitSpec| {
            other.stem() == unit.stem() && matches!(other.kind(), "socket" | "timer" | "path")
        };
        unit.kind() == "service" && units.iter().any(trigger)
    };
    unit.start.unwrap_or_else(|| !triggered())
}

impl StackManifest {
    /// The units, when it has any.
    pub fn units(&self) -> &[UnitSpec] {
        match &self.runtime {
            crate::Runtime::Systemd { units } => units,
            _ => &[],
        }
    }
}

/// Reads one `[[unit]]`.
pub(crate) fn read(mut table: Table<'_, '_>) -> Option<UnitSpec> {
    let file = table.required("file", "the path of a unit's file in the stack's folder");
    let unit = file.map(|file| UnitSpec { file, start: None, enable: None });
    if let Some(unit) = &unit {
        let name_is_good = unit.stem().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
            && !unit.stem().is_empty()
            && unit.name().len() <= 200;
        if check_path(&unit.file).is_err() {
            table.wrong::<()>("file", code::WRONG_VALUE, "expected a path inside the stack's folder");
        } else if !KINDS.contains(&unit.kind()) || !name_is_good {
            let kinds = KINDS.join("`, `.");
            let message = format!(
                "expected a unit's file, ending in `.{kinds}`, with a name of letters, digits, `-`, `_`, `.` and `:`"
            );
            table.wrong::<()>("file", code::WRONG_VALUE, message);
        }
    }
    let (start, enable) = (table.boolean("start"), table.boolean("enable"));
    table.finish();
    Some(UnitSpec { start, enable, ..unit? })
}

/// Two units of one name cannot both be installed.
pub(crate) fn unique_names(root: &Table<'_, '_>, units: &[UnitSpec]) {
    let mut seen = BTreeSet::new();
    for unit in units {
        if !seen.insert(unit.name()) {
            let message = format!("two units are called `{}`: expected different names", unit.name());
            root.wrong::<()>("unit", code::DUPLICATE_NAME, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(file: &str) -> UnitSpec {
        UnitSpec { file: file.to_owned(), start: None, enable: None }
    }

    #[test]
    fn units_are_told_by_their_names() {
        let web: StackName = "web".parse().unwrap();
        for (file, belongs) in [
            ("units/web.service", true),
            ("web-clean.timer", true),
            ("web2.service", false),
            ("ssh.service", false),
            ("my-web.service", false),
        ] {
            assert_eq!(unit(file).belongs_to(&web), belongs, "{file}");
        }
    }

    #[test]
    fn what_a_timer_starts_is_not_started_by_itself() {
        let units = [unit("web.service"), unit("web-clean.service"), unit("web-clean.timer")];
        let started: Vec<_> = units.iter().map(|one| is_started(one, &units)).collect();
        assert_eq!(started, [true, false, true]);
    }
}
