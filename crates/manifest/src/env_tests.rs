use proptest::prelude::*;

use super::*;

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(*v))).collect()
}

const TEMPLATE: &str = "# what web needs\nDB_PASSWORD=\nURL=postgres://app:${DB_PASSWORD}@${DB_HOST:-db}/app # local\nexport LEVEL=info\nEMPTY=\"\"\nRAW='a $b # c'\nMULTI=\"one\\ntwo\nthree\" # end\nTOKEN=${API_TOKEN}\nBARE\n";

#[test]
fn says_what_a_node_must_supply() {
    let template = EnvTemplate::parse("t", TEMPLATE.as_bytes()).unwrap();
    assert_eq!(template.needed(), ["API_TOKEN", "BARE", "DB_PASSWORD"]);
    assert_eq!(template.names().count(), 8);
}

#[test]
fn renders_with_the_nodes_values() {
    let template = EnvTemplate::parse("t", TEMPLATE.as_bytes()).unwrap();
    let missing = template.render(&values(&[("BARE", "1")])).unwrap_err();
    assert_eq!(missing.to_string(), "no value for API_TOKEN, DB_PASSWORD");
    let node =
        values(&[("DB_PASSWORD", "p$w"), ("API_TOKEN", "t"), ("BARE", "b"), ("OTHER", "not asked for")]);
    let rendered = template.render(&node).unwrap();
    let get = |name: &str| rendered[name].expose();
    assert_eq!(get("URL"), "postgres://app:p$w@db/app");
    assert_eq!((get("LEVEL"), get("EMPTY"), get("RAW")), ("info", "", "a $b # c"));
    assert_eq!((get("MULTI"), get("TOKEN"), get("BARE")), ("one\ntwo\nthree", "t", "b"));
    assert_eq!(rendered.len(), 8);
}

#[test]
fn a_reference_to_a_line_above_needs_nothing_of_the_node() {
    let template = EnvTemplate::parse("t", b"HOST=db\nURL=http://${HOST}\n").unwrap();
    assert!(template.needed().is_empty());
    assert_eq!(template.render(&BTreeMap::new()).unwrap()["URL"].expose(), "http://db");
    assert_eq!(template.render(&values(&[("HOST", "x")])).unwrap()["URL"].expose(), "http://x");
}

#[test]
fn bad_lines_are_named_and_values_are_not() {
    for (text, code, line) in [
        ("A=1\nB-C=hunter2\n", code::ENV_SYNTAX, 2),
        ("A='hunter2\n", code::ENV_SYNTAX, 1),
        ("\n\nA=\"x\" hunter2\n", code::ENV_SYNTAX, 3),
        ("A=\"a\nb\"\nA=hunter2\n", code::DUPLICATE_NAME, 3),
        ("A=${hunter2\n", code::INTERPOLATION, 1),
    ] {
        let problems = EnvTemplate::parse("t", text.as_bytes()).unwrap_err();
        assert_eq!((problems[0].code, problems[0].line), (code, Some(line)), "{text}");
        assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
    }
    let template = EnvTemplate::parse("t", b"A=hunter2\nB=${C}x\n").unwrap();
    assert!(!format!("{template:?}").contains("hunter2"));
}

#[test]
fn a_nodes_values_are_never_references() {
    let found = parse_values("v", b"A=pa$$w${x}\nB='q'\nC=\"\\$x\\\\\"\nD=\n").unwrap();
    assert_eq!(found, values(&[("A", "pa$$w${x}"), ("B", "q"), ("C", "$x\\"), ("D", "")]));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(map in prop::collection::btree_map("[A-Z_]{1,4}", "[^\0]{0,20}", 0..5)) {
        let map: BTreeMap<String, Secret> = map.into_iter().map(|(k, v)| (k, Secret::new(v))).collect();
        let text = write_values(&map);
        let template = EnvTemplate::parse("t", text.expose().as_bytes()).unwrap();
        prop_assert!(template.needed().is_empty());
        prop_assert_eq!(template.render(&BTreeMap::new()).unwrap(), map);
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[A-B=\"'\\\\\n ${}#é]{0,60}") {
        let _ = EnvTemplate::parse("t", &bytes);
        let _ = parse_values("t", &bytes);
        let _ = parse_values("t", text.as_bytes());
        if let Ok(template) = EnvTemplate::parse("t", text.as_bytes()) {
            let node = template.needed().into_iter().map(|name| (name, Secret::new("v"))).collect();
            prop_assert!(template.render(&node).is_ok());
        }
    }
}
