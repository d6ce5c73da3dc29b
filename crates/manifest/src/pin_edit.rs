//! Adding and removing `[[pin]]` entries of `fleet.toml`; everything else in the text stays as it is.

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use crate::{FleetManifest, Pin, Problem, code};

const FILE: &str = "fleet.toml";

/// The text of `fleet.toml` with pins added at its end. An empty text is an absent file.
///
/// # Errors
/// When the text is not a valid `fleet.toml`, before or after.
pub fn add_pins(text: &str, pins: &[Pin]) -> Result<String, Vec<Problem>> {
    edit(text, |entries| {
        for pin in pins {
            entries.push(table(pin));
        }
    })
}

/// The text of `fleet.toml` without the pins for which `unwanted` holds.
///
/// # Errors
/// When the text is not a valid `fleet.toml`.
pub fn remove_pins(text: &str, unwanted: impl Fn(&Pin) -> bool) -> Result<String, Vec<Problem>> {
    let pins = FleetManifest::parse(FILE, text.as_bytes())?.pins;
    let doomed: Vec<bool> = pins.iter().map(unwanted).collect();
    if !doomed.contains(&true) {
        return Ok(text.to_owned());
    }
    edit(text, |entries| {
        let mut index = 0;
        entries.retain(|_| {
            let keep = !doomed.get(index).copied().unwrap_or(false);
            index += 1;
            keep
        });
    })
}

fn edit(text: &str, change: impl FnOnce(&mut ArrayOfTables)) -> Result<String, Vec<Problem>> {
    FleetManifest::parse(FILE, text.as_bytes())?;
    let syntax = |message: String| vec![Problem::error(code::TOML_SYNTAX, FILE, message)];
    let mut document: DocumentMut =
        text.parse().map_err(|e: toml_edit::TomlError| syntax(e.message().to_owned()))?;
    let item = document.entry("pin").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    // `pin = [{…}]` is the same in TOML; it becomes `[[pin]]` so that entries can be added.
    if let Item::Value(toml_edit::Value::Array(array)) = item {
        let tables = array.iter().filter_map(|entry| Some(entry.as_inline_table()?.clone().into_table()));
        *item = Item::ArrayOfTables(tables.collect());
    }
    let Item::ArrayOfTables(entries) = item else {
        return Err(syntax("`pin` is not a list of tables".to_owned()));
    };
    change(entries);
    if entries.is_empty() {
        document.remove("pin");
    }
    let edited = document.to_string();
    FleetManifest::parse(FILE, edited.as_bytes())?;
    Ok(edited)
}

fn table(pin: &Pin) -> Table {
    let mut table = Table::new();
    table.decor_mut().set_prefix("\n");
    table.insert("stack", value(pin.stack.as_str()));
    table.insert("nodes", value(pin.nodes.to_string()));
    table.insert("commit", value(pin.commit.as_str()));
    table.insert("reason", value(pin.reason.as_str()));
    if let Some(until) = pin.until {
        table.insert("until", value(until.to_string()));
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "# our fleet\nschema = 1\n\n[[assign]] # web goes everywhere\nstack = \"web\"\nnodes = \"\"\n\n[prune]\nenabled = false # not yet\n";

    fn pin(reason: &str) -> Pin {
        Pin {
            stack: "web".parse().unwrap(),
            nodes: "name in (n1,n2)".parse().unwrap(),
            commit: "a".repeat(40).parse().unwrap(),
            reason: reason.to_owned(),
            until: Some("2027-01-31T12:00:00Z".parse().unwrap()),
            line: 0,
        }
    }

    /// The pins of a text, wherever they stand in it.
    fn pins_in(text: &str) -> Vec<Pin> {
        let found = FleetManifest::parse(FILE, text.as_bytes()).unwrap().pins;
        found.into_iter().map(|pin| Pin { line: 0, ..pin }).collect()
    }

    #[test]
    fn the_rest_of_the_text_stays() {
        let edited = add_pins(TEXT, &[pin("undo 1")]).unwrap();
        assert!(edited.starts_with(TEXT), "{edited}");
        assert_eq!(pins_in(&edited), [pin("undo 1")]);
        assert_eq!(remove_pins(&edited, |_| true).unwrap(), TEXT);
    }

    #[test]
    fn only_the_named_pins_go() {
        let edited = add_pins(TEXT, &[pin("a"), pin("b"), pin("c")]).unwrap();
        let edited = remove_pins(&edited, |pin| pin.reason == "b").unwrap();
        let left = pins_in(&edited);
        assert_eq!(left, [pin("a"), pin("c")]);
    }

    #[test]
    fn an_inline_list_is_understood() {
        let text = format!(
            "pin = [{{ stack = \"web\", nodes = \"\", commit = \"{}\", reason = \"r\" }}]\n",
            "b".repeat(40)
        );
        let edited = add_pins(&text, &[pin("new")]).unwrap();
        assert_eq!(FleetManifest::parse(FILE, edited.as_bytes()).unwrap().pins.len(), 2);
    }

    #[test]
    fn a_broken_file_is_not_edited() {
        assert!(add_pins("assign = 3", &[pin("x")]).is_err());
        assert!(remove_pins("[[pin]", |_| true).is_err());
    }

    proptest! {
        #[test]
        fn whatever_the_reason_it_is_read_back(reason in ".*") {
            let edited = add_pins("", &[pin(&reason)]).unwrap();
            prop_assert_eq!(pins_in(&edited), vec![pin(&reason)]);
            prop_assert_eq!(remove_pins(&edited, |_| true).unwrap(), "");
        }
    }
}
