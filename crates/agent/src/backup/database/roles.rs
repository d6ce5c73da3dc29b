//! What the text of a saved server says of roles.

use std::collections::BTreeSet;

/// The statements of a server's globals that make roles which are not `known`, in their order. Names are as SQL quotes
/// them.
pub(super) fn missing_roles(globals: &str, known: &BTreeSet<&str>) -> String {
    let statements: Vec<&str> = statements(globals);
    let made = statements.iter().filter_map(|statement| statement.strip_prefix("CREATE ROLE ")).map(name_at);
    let missing: BTreeSet<&str> = made.filter(|name| !known.contains(name)).collect();
    let is_of_missing = |statement: &&&str| {
        let altered = ["CREATE ROLE ", "ALTER ROLE ", "COMMENT ON ROLE "];
        let own = altered.iter().find_map(|words| statement.strip_prefix(words)).map(name_at);
        let granted = || {
            let (role, rest) = statement.strip_prefix("GRANT ")?.split_once(" TO ")?;
            Some(missing.contains(role) || missing.contains(name_at(rest)))
        };
        own.map_or_else(|| granted().unwrap_or(false), |name| missing.contains(name))
    };
    let mut text = String::new();
    for statement in statements.iter().filter(is_of_missing) {
        // Who granted it may not be there, or may not grant it here.
        let statement = statement.split_once(" GRANTED BY ").map_or(*statement, |(granted, _)| granted);
        text.push_str(statement.trim_end_matches(';'));
        text.push_str(";\n");
    }
    text
}

/// SQL in statements, without comments and commands of psql. A semicolon inside quotes ends none.
fn statements(text: &str) -> Vec<&str> {
    let (mut found, mut from, mut quote) = (Vec::new(), 0, None);
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if c == ';' => {
                found.push(&text[from..=at]);
                from = at + 1;
            }
            // Only whole lines are comments or psql's own in what `pg_dumpall` writes.
            None if c == '\n' => {
                let line = text[from..at].trim_start();
                if line.is_empty() || line.starts_with("--") || line.starts_with('\\') {
                    from = at + 1;
                }
            }
            None => {}
        }
    }
    found.into_iter().map(str::trim).collect()
}

/// The name at the front of a text: quoted, or up to what ends a word.
fn name_at(text: &str) -> &str {
    let end = if let Some(quoted) = text.strip_prefix('"') {
        // Two of them stand for one.
        let mut ends = quoted.match_indices('"').filter(|(at, _)| {
            let before = quoted[..*at].chars().rev().take_while(|c| *c == '"').count();
            before % 2 == 0 && !quoted[at + 1..].starts_with('"')
        });
        ends.next().map_or(text.len(), |(at, _)| at + 2)
    } else {
        text.find(|c: char| c.is_whitespace() || c == ';').unwrap_or(text.len())
    };
    &text[..end]
}

/// Who owned a database, by the list of what its dump holds.
pub(super) fn owner_in<'a>(list: &'a str, database: &str) -> Option<&'a str> {
    let words = format!(" DATABASE - {database} ");
    list.lines().find_map(|line| line.split_once(&words)).map(|(_, owner)| owner.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_roles_that_are_missing_are_made() {
        let globals = "--\n-- PostgreSQL database cluster dump; of all\n--\n\\restrict abc\nSET x = 'y';\n\n\
            CREATE ROLE postgres;\nALTER ROLE postgres WITH SUPERUSER PASSWORD 'a;b';\n\
            CREATE ROLE shop;\nALTER ROLE shop WITH LOGIN PASSWORD 'it''s; x';\n\
            CREATE ROLE \"odd \"\"name\";\nALTER ROLE \"odd \"\"name\" WITH NOLOGIN;\n\n\
            --\n-- User Configurations\n--\n\
            ALTER ROLE shop SET search_path TO 'a', 'b';\n\n\
            GRANT \"odd \"\"name\" TO postgres WITH INHERIT TRUE GRANTED BY postgres;\nGRANT pg_monitor TO postgres;\n\
            CREATE TABLESPACE big OWNER shop LOCATION '/mnt';\n";
        let all = missing_roles(globals, &["postgres", "pg_monitor"].into_iter().collect());
        let expected = "CREATE ROLE shop;\nALTER ROLE shop WITH LOGIN PASSWORD 'it''s; x';\n\
            CREATE ROLE \"odd \"\"name\";\nALTER ROLE \"odd \"\"name\" WITH NOLOGIN;\n\
            ALTER ROLE shop SET search_path TO 'a', 'b';\n\
            GRANT \"odd \"\"name\" TO postgres WITH INHERIT TRUE;\n";
        assert_eq!(all, expected);
        let known = ["postgres", "pg_monitor", "shop", "\"odd \"\"name\""].into_iter().collect();
        assert_eq!(missing_roles(globals, &known), "");
    }

    #[test]
    fn a_dump_says_who_owned_the_database() {
        let list =
            ";     TOC Entries: 8\n3350; 1262 16384 DATABASE - shop its owner\n215; 1259 TABLE public a x\n";
        assert_eq!(owner_in(list, "shop"), Some("its owner"));
        assert_eq!(owner_in(list, "other"), None);
    }
}
