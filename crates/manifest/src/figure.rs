//! Figures that a stack reports about itself, such as a self-test or a share of errors.

use backstay_types::Figures;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Figure, code, read::Table};

/// `[[figure]]`: a number that the agent asks for whenever it looks at the stack, and tells the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FigureSource {
    /// Its name, as `[[rollout.stop]]` uses it.
    pub name: String,
    /// Where the number is from.
    #[serde(flatten)]
    pub from: FigureFrom,
}

/// Where a figure is from. What is not one number, or cannot be read, is not known, which is not nought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FigureFrom {
    /// What a command prints.
    Command(Vec<String>),
    /// What a file holds: below the stack's state folder, or absolute.
    File(String),
}

/// Reads the `[[figure]]` tables of a stack.
pub(crate) fn read(root: &mut Table<'_, '_>) -> Vec<FigureSource> {
    let mut all: Vec<FigureSource> = Vec::new();
    for table in root.tables("figure") {
        let Some(figure) = read_one(table) else { continue };
        if all.iter().any(|known| known.name == figure.name) {
            let message = format!("two figures are called `{}`: expected different names", figure.name);
            root.wrong::<()>("figure", code::DUPLICATE_NAME, message);
        }
        all.push(figure);
    }
    if all.len() > Figures::MOST {
        let message = format!("{} figures: expected at most {}", all.len(), Figures::MOST);
        root.wrong::<()>("figure", code::WRONG_VALUE, message);
    }
    all
}

fn read_one(mut table: Table<'_, '_>) -> Option<FigureSource> {
    let name = table.required("name", "the figure's name, such as \"selftest_failed\"");
    if let Some(name) = &name {
        if !Figures::is_name(name) {
            let message =
                format!("`{name}`: expected a-z, 0-9 and `_`, beginning with a letter, at most 64 in all");
            table.wrong::<()>("name", code::WRONG_VALUE, message);
        } else if Figure::own(name).is_some() {
            let message = format!("`{name}` is a figure of every rollout: expected another name");
            table.wrong::<()>("name", code::WRONG_VALUE, message);
        }
    }
    let (command, file) = (table.strings("command"), table.string("file"));
    if command.as_ref().is_some_and(Vec::is_empty) {
        table.wrong::<()>("command", code::WRONG_VALUE, "expected a program and its arguments");
    }
    if file.as_deref().is_some_and(|file| file.is_empty() || file.split('/').any(|part| part == "..")) {
        table.wrong::<()>("file", code::WRONG_VALUE, "expected a path without `..`");
    }
    let from = match (command, file) {
        (Some(command), None) => Some(FigureFrom::Command(command)),
        (None, Some(file)) => Some(FigureFrom::File(file)),
        (Some(_), Some(_)) => {
            table.wrong("file", code::WRONG_VALUE, "expected a command or a file, not both")
        }
        (None, None) if table.has("command") || table.has("file") => None,
        (None, None) => {
            table.missing("command", "where the number is from: `command = [\"…\"]` or `file = \"…\"`");
            None
        }
    };
    table.finish();
    Some(FigureSource { name: name?, from: from? })
}
