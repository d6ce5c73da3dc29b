//! What there is: series, labels, metadata, exemplars.

use std::collections::BTreeMap;

use super::{
    Api, ApiError, Params,
    answer::Answered,
    json::{go_number, list, metric, time},
    queries::{TRUNCATED, read},
};
use crate::{Budget, Labels, Matcher, reader::Exemplar};

impl Api<'_> {
    pub(super) fn series(&self, params: &Params, budget: &Budget) -> Result<Answered, ApiError> {
        let matchers = params.matchers()?;
        if matchers.is_empty() {
            return Err(ApiError::bad_data("no match[] parameter provided"));
        }
        let limit = params.limit()?;
        let mut series = self.querier.series(&matchers, params.window()?, budget)?;
        let notes = cut(&mut series, limit);
        Ok(Answered::success(&list(series.iter().map(metric)), &notes, &[]))
    }

    pub(super) fn labels(&self, params: &Params, budget: &Budget) -> Result<Answered, ApiError> {
        let limit = params.limit()?;
        let mut names = self.querier.label_names(&params.matchers()?, params.window()?, budget)?;
        let notes = cut(&mut names, limit);
        Ok(Answered::data(&names, &notes))
    }

    pub(super) fn label_values(
        &self,
        name: &str,
        params: &Params,
        budget: &Budget,
    ) -> Result<Answered, ApiError> {
        if name.is_empty() {
            return Err(ApiError::bad_data(format!("invalid label name: {name:?}")));
        }
        let name = unescaped(name);
        let limit = params.limit()?;
        let mut values = self.querier.label_values(&name, &params.matchers()?, params.window()?, budget)?;
        let notes = cut(&mut values, limit);
        Ok(Answered::data(&values, &notes))
    }

    /// By metric; `limit` counts metrics, `limit_per_metric` what is said of each.
    pub(super) fn metadata(&self, params: &Params, budget: &Budget) -> Result<Answered, ApiError> {
        let limit = params.limit()?;
        let per_metric = params.get("limit_per_metric").map(str::parse::<usize>).transpose();
        let per_metric = per_metric.map_err(|_| ApiError::bad_data("limit_per_metric must be a number"))?;
        let known = self.querier.metadata(params.get("metric"), budget)?;
        let known: BTreeMap<_, _> = known
            .into_iter()
            .take(limit.unwrap_or(usize::MAX))
            .map(|(name, mut metadata)| {
                metadata.truncate(per_metric.filter(|most| *most > 0).unwrap_or(usize::MAX));
                (name, metadata)
            })
            .collect();
        Ok(Answered::data(&known, &[]))
    }

    pub(super) fn exemplars(&self, params: &Params, budget: &Budget) -> Result<Answered, ApiError> {
        let window = params.window()?;
        let (_, expr) = read(params)?;
        let any_of: Vec<Vec<Matcher>> =
            expr.selectors().into_iter().map(|selector| selector.matchers.clone()).collect();
        if any_of.is_empty() {
            return Ok(Answered::success("[]", &[], &[]));
        }
        let found = self.querier.exemplars(&any_of, window, budget)?;
        let series = |(labels, exemplars): &(Labels, Vec<Exemplar>)| {
            let exemplars = list(exemplars.iter().map(exemplar));
            format!("{{\"seriesLabels\":{},\"exemplars\":{exemplars}}}", metric(labels))
        };
        Ok(Answered::success(&list(found.iter().map(series)), &[], &[]))
    }
}

fn exemplar(exemplar: &Exemplar) -> String {
    let (labels, value) = (metric(&exemplar.labels), go_number(exemplar.value));
    format!("{{\"labels\":{labels},\"value\":\"{value}\",\"timestamp\":{}}}", time(exemplar.at))
}

fn cut<T>(found: &mut Vec<T>, limit: Option<usize>) -> Vec<String> {
    match limit.filter(|limit| found.len() > *limit) {
        None => Vec::new(),
        Some(limit) => {
            found.truncate(limit);
            vec![TRUNCATED.to_owned()]
        }
    }
}

/// A name that is no plain word comes as `U__`, with `_2e_` for its 2Eth character and `__` for `_`.
fn unescaped(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut plain = String::new();
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            plain.push('_');
            rest = after;
            continue;
        }
        let code = rest.strip_prefix('_').and_then(|rest| rest.split_once('_'));
        let code = code
            .and_then(|(code, after)| Some((char::from_u32(u32::from_str_radix(code, 16).ok()?)?, after)));
        match code {
            Some((c, after)) => {
                plain.push(c);
                rest = after;
            }
            // What was not escaped by the rule means itself.
            None if c == '_' => return name.to_owned(),
            None => {
                plain.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_words_come_escaped() {
        assert_eq!(unescaped("job"), "job");
        assert_eq!(unescaped("U__http_2e_route"), "http.route");
        assert_eq!(unescaped("U__a__b"), "a_b");
        assert_eq!(unescaped("U__a_zz_"), "U__a_zz_");
    }
}
