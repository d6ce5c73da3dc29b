//! What names a series: pairs of name and value.

use std::{
    cmp::Ordering,
    fmt,
    hash::{BuildHasher as _, Hash, Hasher},
    sync::Arc,
};

use foldhash::fast::FixedState;

/// The label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// A label set: pairs sorted by name (as bytes), each name once, no empty value (an empty value is the same as no
/// label). Cheap to clone, to hash and to compare; never changed in place.
#[derive(Clone)]
pub struct Labels(Arc<Inner>);

struct Inner {
    /// Of all pairs, so that a set is hashed once. Not for keeping: it may differ from version to version.
    hash: u64,
    pairs: Box<[Pair]>,
}

type Pair = (Arc<str>, Arc<str>);

impl Labels {
    /// The set without labels.
    pub fn empty() -> Self {
        Self::of_sorted(Vec::new())
    }

    /// A set from pairs in any order. Pairs with an empty value are left out; of pairs with the same name the last
    /// one counts.
    pub fn from_pairs<N: Into<Arc<str>>, V: Into<Arc<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }

    fn of_sorted(pairs: Vec<Pair>) -> Self {
        let hash = FixedState::default().hash_one(&pairs);
        Self(Arc::new(Inner { hash, pairs: pairs.into() }))
    }

    /// The value under `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name).map(|at| &*self.0.pairs[at].1)
    }

    /// The metric's name, when the set has one.
    pub fn metric(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    /// All pairs, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + DoubleEndedIterator + Clone {
        self.0.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// All pairs, by name, as they are kept: to be put in another set without a copy.
    pub fn pairs(&self) -> &[(Arc<str>, Arc<str>)] {
        &self.0.pairs
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.pairs.is_empty()
    }

    /// The same without the labels for which `keep` is false.
    #[must_use]
    pub fn filtered(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let kept: Vec<_> = self.0.pairs.iter().filter(|(name, _)| keep(name)).cloned().collect();
        if kept.len() == self.len() { self.clone() } else { Self::of_sorted(kept) }
    }

    /// The same without the metric's name.
    #[must_use]
    pub fn without_metric(&self) -> Self {
        self.filtered(|name| name != METRIC_NAME)
    }

    /// A builder that begins with these.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.0.pairs.to_vec() }
    }

    fn find(&self, name: &str) -> Option<usize> {
        // Few labels: going along them beats a search in halves, and most sets begin with `__name__`.
        self.0.pairs.iter().position(|(other, _)| **other == *name)
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.0.hash == other.0.hash && self.0.pairs == other.0.pairs)
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// By pairs, each by name and then by value, as bytes; a set that another one begins with comes before it.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.pairs.cmp(&other.0.pairs)
    }
}

/// As PromQL writes a series: `name{label="value"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (n, (name, value)) in self.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={}", crate::labels::quoted(value))?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text between double quotes, with what cannot stand there escaped.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Makes a label set.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    /// Sorted by name, each name once.
    pairs: Vec<Pair>,
}

impl LabelsBuilder {
    /// Sets one label; an empty value takes it off.
    pub fn set(&mut self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> &mut Self {
        let (name, value) = (name.into(), value.into());
        match self.pairs.binary_search_by(|(other, _)| other.cmp(&name)) {
            Ok(at) if value.is_empty() => drop(self.pairs.remove(at)),
            Ok(at) => self.pairs[at].1 = value,
            Err(_) if value.is_empty() => {}
            Err(at) => self.pairs.insert(at, (name, value)),
        }
        self
    }

    /// Takes one label off.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.retain(|(other, _)| **other != *name);
        self
    }

    /// The set.
    pub fn build(self) -> Labels {
        Labels::of_sorted(self.pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_sorted_and_empty_values_are_no_labels() {
        let labels = Labels::from_pairs([("b", "2"), ("__name__", "m"), ("a", "1"), ("c", ""), ("b", "3")]);
        assert_eq!(labels.to_string(), r#"{__name__="m", a="1", b="3"}"#);
        assert_eq!(labels.metric(), Some("m"));
        assert_eq!(labels.get("c"), None);
        assert_eq!(labels.without_metric(), Labels::from_pairs([("a", "1"), ("b", "3")]));
    }

    #[test]
    fn order_is_by_pairs() {
        let set = |pairs: &[(&'static str, &'static str)]| Labels::from_pairs(pairs.iter().copied());
        assert!(set(&[]) < set(&[("a", "1")]));
        assert!(set(&[("a", "1")]) < set(&[("a", "1"), ("b", "1")]));
        assert!(set(&[("a", "1"), ("b", "1")]) < set(&[("a", "2")]));
    }
}
