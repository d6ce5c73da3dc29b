//! Each code that people can meet has a page, and each page a code.

use std::{collections::BTreeSet, fs};

use backstay_types::ErrorCode;

use crate::support::root;

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let dir = root().join("docs/errors");
    let codes: BTreeSet<String> = ErrorCode::ALL.iter().map(|code| code.as_str().to_owned()).collect();
    let pages: BTreeSet<String> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".md").map(str::to_owned))
        .filter(|name| name != "README")
        .collect();
    let missing: Vec<_> = codes.difference(&pages).collect();
    let orphans: Vec<_> = pages.difference(&codes).collect();
    assert!(missing.is_empty(), "no page for {missing:?}");
    assert!(orphans.is_empty(), "no code for {orphans:?}");
}

#[test]
fn every_page_says_what_to_do() {
    for code in ErrorCode::ALL {
        let page = fs::read_to_string(root().join(format!("docs/errors/{code}.md"))).unwrap();
        assert!(page.starts_with(&format!("# {code}: {}\n", code.title())), "{code}: title");
        for part in ["\n## What happened\n", "\n## Why\n", "\n## What to do\n", "\n## Example\n"] {
            assert!(page.contains(part), "{code}: no part {:?}", part.trim());
        }
    }
}

#[test]
fn the_list_of_pages_is_complete() {
    let list = fs::read_to_string(root().join("docs/errors/README.md")).unwrap();
    for code in ErrorCode::ALL {
        let line = format!("- [{code}]({code}.md): {}\n", code.title());
        assert!(list.contains(&line), "docs/errors/README.md lacks: {line}");
    }
}
