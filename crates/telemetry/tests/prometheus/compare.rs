//! One question to both.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use backstay_telemetry::{
    Limits, Querier,
    prometheus::{Api, Endpoint, Params},
    promql::Options,
};
use serde_json::Value;

use crate::{
    Both,
    data::{LENGTH, START},
};

/// Asks ours. The status, and the body.
pub(crate) fn ask_ours(ours: &dyn Querier, endpoint: &Endpoint, form: &[(&str, &str)]) -> (u16, Value) {
    let api = Api {
        querier: ours,
        options: Options::default(),
        limits: Limits { series: 100_000, samples: 50_000_000, time: Duration::from_secs(60) },
        now: START + LENGTH,
        version: "0.0.0",
    };
    let params = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let answered = api.answer(endpoint, &Params::new(params.collect()), |_| ());
    (answered.status, serde_json::from_str(&answered.body).unwrap())
}

/// How a query is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask {
    /// At one time, in milliseconds after the start of the samples.
    At(i64),
    /// From, to and step, likewise.
    Over(i64, i64, i64),
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

impl Both {
    /// The difference between the two answers, if there is one.
    pub(crate) fn difference(&self, query: &str, ask: Ask, in_order: bool) -> Option<String> {
        let at = |ms| seconds(START + ms);
        let (endpoint, path, form) = match ask {
            Ask::At(ms) => (Endpoint::Query, "query", vec![("time", at(ms))]),
            Ask::Over(from, to, step) => {
                let form = vec![("start", at(from)), ("end", at(to)), ("step", seconds(step))];
                (Endpoint::QueryRange, "query_range", form)
            }
        };
        let mut form: Vec<_> = form.iter().map(|(name, value)| (*name, &**value)).collect();
        form.push(("query", query));
        let (_, ours) = ask_ours(&self.ours, &endpoint, &form);
        let theirs = self.theirs.ask(path, &form);
        let difference = differs(&ours, &theirs, in_order)?;
        Some(format!("{query}  {ask:?}\n    {difference}"))
    }

    /// Fails with all differences.
    pub(crate) fn assert_same<'a>(&self, asked: impl IntoIterator<Item = (&'a str, Ask, bool)>) {
        let (mut wrong, mut count) = (Vec::new(), 0);
        for (query, ask, in_order) in asked {
            count += 1;
            wrong.extend(self.difference(query, ask, in_order));
        }
        println!("{count} answers compared with Prometheus {}", self.theirs.version());
        assert!(wrong.is_empty(), "{} of {count} answers differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// What is different in two answers.
pub(crate) fn differs(ours: &Value, theirs: &Value, in_order: bool) -> Option<String> {
    if ours["status"] != theirs["status"] || ours["errorType"] != theirs["errorType"] {
        return Some(format!("ours: {}\n    theirs: {}", short(ours), short(theirs)));
    }
    if ours["errorType"] == "execution" {
        let (ours, theirs) = (message(ours), message(theirs));
        return (ours != theirs).then(|| format!("ours: {ours}\n    theirs: {theirs}"));
    }
    for notes in ["warnings", "infos"] {
        let (a, b) = (texts(&ours[notes]), texts(&theirs[notes]));
        if notes_differ(&a, &b) {
            return Some(format!("{notes}: ours: {a:?}\n    theirs: {b:?}"));
        }
    }
    if ours["data"]["resultType"] != theirs["data"]["resultType"] {
        return Some(format!("ours: {}\n    theirs: {}", short(ours), short(theirs)));
    }
    let (ours, theirs) = (&ours["data"]["result"], &theirs["data"]["result"]);
    if ours.get(0).is_none_or(|first| !first.is_object())
        && theirs.get(0).is_none_or(|first| !first.is_object())
    {
        return points_differ(ours, theirs).then(|| format!("ours: {ours}\n    theirs: {theirs}"));
    }
    if in_order {
        let order = |result: &Value| -> Vec<_> {
            result.as_array().unwrap().iter().map(|series| series["metric"].clone()).collect()
        };
        if order(ours) != order(theirs) {
            return Some(format!("order: ours: {:?}\n    theirs: {:?}", order(ours), order(theirs)));
        }
    }
    series_differ(&by_metric(ours), &by_metric(theirs))
}

fn short(answer: &Value) -> String {
    let mut text = answer.to_string();
    text.truncate(text.floor_char_boundary(400));
    text
}

/// An error's text up to where it lists series, in whose order the two differ.
fn message(answer: &Value) -> String {
    let text = answer["error"].as_str().unwrap_or_default();
    let text = text.split(": [").next().unwrap_or_default();
    text.split(" for the match group ").next().unwrap_or_default().to_owned()
}

fn texts(notes: &Value) -> Vec<&str> {
    notes.as_array().into_iter().flatten().filter_map(|note| note.as_str()).collect()
}

/// Of notes on subqueries Prometheus loses the place and says the beginning; of histograms it forgets the metric's name
/// after the first step and notes it again without.
fn notes_differ(ours: &[&str], theirs: &[&str]) -> bool {
    let is_in = |note: &str, notes: &[&str]| {
        let text = |note: &str| note.rsplit_once(" (").map_or(note, |(text, _)| text).to_owned();
        let lost = note.ends_with(" (1:1)") && notes.iter().any(|other| text(other) == text(note));
        let nameless = note.split_once("metric name \"\"").map(|(before, _)| before);
        notes.contains(&note)
            || lost
            || nameless.is_some_and(|text| notes.iter().any(|other| other.starts_with(text)))
    };
    let all = |some: &[&str], within: &[&str]| some.iter().all(|note| is_in(note, within));
    let text_only = |note: &str| note.rsplit_once(" (").map_or("", |(text, _)| text).to_owned();
    !all(theirs, ours)
        || !ours.iter().all(|note| theirs.iter().any(|other| text_only(other) == text_only(note)))
}

fn by_metric(result: &Value) -> BTreeMap<String, &Value> {
    let of = |series: &Value| series["metric"].to_string();
    result.as_array().unwrap().iter().map(|series| (of(series), series)).collect()
}

fn series_differ(ours: &BTreeMap<String, &Value>, theirs: &BTreeMap<String, &Value>) -> Option<String> {
    let mut text = String::new();
    for (metric, series) in ours {
        let Some(other) = theirs.get(metric) else {
            let _ = write!(text, "only ours: {}; ", short(series));
            continue;
        };
        let same = match (&series["values"], &other["values"]) {
            (Value::Array(a), Value::Array(b)) => {
                let at = a.iter().zip(b).position(|(a, b)| points_differ(a, b));
                let at = at.or_else(|| (a.len() != b.len()).then(|| a.len().min(b.len())));
                at.map(|at| {
                    format!(
                        "{metric} at {at}: ours {:?} of {}, theirs {:?} of {}; ",
                        a.get(at),
                        a.len(),
                        b.get(at),
                        b.len()
                    )
                })
            }
            _ => points_differ(&series["value"], &other["value"])
                .then(|| format!("{metric}: ours {}, theirs {}; ", series["value"], other["value"])),
        };
        text.push_str(&same.unwrap_or_default());
    }
    for (metric, series) in theirs.iter().filter(|(metric, _)| !ours.contains_key(*metric)) {
        let _ = write!(text, "only theirs: {metric} {}; ", short(series));
    }
    text.truncate(text.floor_char_boundary(900));
    (!text.is_empty()).then_some(text)
}

/// Whether two points are at different times, or have values that differ by more than rounding.
fn points_differ(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_array(), b.as_array()) else { return a != b };
    if a.len() != 2 || b.len() != 2 {
        return a != b;
    }
    if a[0].as_f64() != b[0].as_f64() {
        return true;
    }
    let (a, b) = (a[1].as_str().unwrap_or_default(), b[1].as_str().unwrap_or_default());
    if a == b {
        return false;
    }
    let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) else { return true };
    a.is_nan() || b.is_nan() || (a - b).abs() > 1e-10 * a.abs().max(b.abs())
}
