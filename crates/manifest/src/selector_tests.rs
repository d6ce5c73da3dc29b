use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let mut labels = Labels::default();
    for (key, value) in pairs {
        labels.insert(key, value).unwrap();
    }
    labels
}

fn matches(selector: &str, pairs: &[(&str, &str)]) -> bool {
    selector.parse::<Selector>().unwrap().matches(&"n1".parse().unwrap(), &labels(pairs))
}

#[test]
fn every_form_means_what_kubernetes_means() {
    let node = [("role", "web"), ("zone", "")];
    for selector in [
        "",
        " ",
        "role",
        "role=web",
        "role==web",
        "role = web",
        "role!=db",
        "other!=x",
        "!other",
        "role in (web,db)",
        "role in ( db , web )",
        "role notin (db)",
        "other notin (db)",
        "zone=",
        "zone in ()",
        "name=n1",
        "name in (n1,n2)",
        "role=web,zone,!x",
        "app.kubernetes.io/name!=x",
    ] {
        assert!(matches(selector, &node), "{selector:?}");
    }
    for selector in [
        "other",
        "role=db",
        "!role",
        "role!=web",
        "role in (db)",
        "role notin (web,db)",
        "other in (db)",
        "name=n2",
        "name!=n1",
        "!name",
        "role=web,other",
        "other=",
    ] {
        assert!(!matches(selector, &node), "{selector:?}");
    }
}

#[test]
fn a_label_called_in_is_a_label() {
    assert!(matches("in", &[("in", "x")]));
    assert!(matches("in in (x)", &[("in", "x")]));
    assert!(matches("notin=x", &[("notin", "x")]));
}

#[test]
fn errors_name_column_and_expectation() {
    for (text, column, expected) in [
        (",", 1, "a label's key"),
        ("a,", 3, "a label's key"),
        ("a=b c", 5, "a label's value"),
        ("a in x", 6, "`(`"),
        ("a in (x", 8, "`,` or `)`"),
        ("a in (x y)", 9, "a label's value"),
        ("a b", 3, "`=`, `!=`"),
        ("ä", 1, "a label's key"),
        ("a=$(x)", 3, "a label's value"),
        ("a=b)", 4, "`,` or the end"),
        ("a!b", 2, "`=`, `!="),
    ] {
        let error = text.parse::<Selector>().unwrap_err();
        assert_eq!(error.column, column, "{error}");
        assert!(error.expected.starts_with(expected), "{error}");
    }
}

#[test]
fn no_names_match_no_node() {
    let none = Selector::nodes([]);
    assert!(!none.matches(&"n1".parse().unwrap(), &Labels::default()));
    assert!(!none.is_everything());
}

fn selectors() -> impl Strategy<Value = Selector> {
    let key = prop_oneof![Just("name".to_owned()), "[a-c]", "[a-z]{1,3}/[a-z]{1,3}", Just("in".to_owned())];
    let value = prop_oneof![Just(String::new()), "[x-z]", "n[1-3]"];
    let set = || prop::collection::btree_set(prop_oneof![Just(String::new()), "[x-z]", "n[1-3]"], 1..4);
    let test = prop_oneof![
        value.clone().prop_map(Test::Equals),
        value.prop_map(Test::Differs),
        set().prop_map(Test::In),
        set().prop_map(Test::NotIn),
        Just(Test::Exists),
        Just(Test::Absent),
    ];
    prop::collection::vec((key, test).prop_map(|(key, test)| Requirement { key, test }), 0..4)
        .prop_map(Selector)
}

fn nodes() -> impl Strategy<Value = (String, BTreeMap<String, String>)> {
    let value = prop_oneof![Just(String::new()), "[x-z]", "n[1-3]"];
    ("n[1-3]", prop::collection::btree_map("[a-c]", value, 0..4))
}

proptest! {
    #[test]
    fn text_and_back(selector in selectors()) {
        prop_assert_eq!(selector.to_string().parse::<Selector>().unwrap(), selector);
    }

    #[test]
    fn json_is_its_text(selector in selectors()) {
        let json = serde_json::to_string(&selector).unwrap();
        prop_assert_eq!(serde_json::from_str::<Selector>(&json).unwrap(), selector);
    }

    #[test]
    fn commas_mean_and_and_negations_negate(
        a in selectors(), b in selectors(), (name, pairs) in nodes(), key in "[a-c]", value in "[x-z]",
    ) {
        let name: NodeName = name.parse().unwrap();
        let mut node = Labels::default();
        for (k, v) in &pairs {
            node.insert(k, v).unwrap();
        }
        let holds = |text: &str| text.parse::<Selector>().unwrap().matches(&name, &node);
        let both = [a.to_string(), b.to_string()].into_iter().filter(|t| !t.is_empty()).collect::<Vec<_>>();
        prop_assert_eq!(holds(&both.join(",")), a.matches(&name, &node) && b.matches(&name, &node));
        prop_assert_eq!(holds(&format!("{key}={value}")), !holds(&format!("{key}!={value}")));
        prop_assert_eq!(holds(&format!("{key} in ({value})")), holds(&format!("{key}={value}")));
        prop_assert_eq!(holds(&format!("{key} notin ({value})")), !holds(&format!("{key} in ({value})")));
        prop_assert_eq!(holds(&key), !holds(&format!("!{key}")));
        prop_assert_eq!(holds(&key), pairs.contains_key(&key));
    }

    #[test]
    fn never_panics(text in ".*") {
        if let Err(error) = text.parse::<Selector>() {
            prop_assert!(error.column >= 1 && error.column <= text.chars().count() + 1);
        }
    }
}
