//! Calls of functions.

use super::{
    ABSENT, EvalError, Evaluated, Evaluator, Rows, Steps,
    float::{least, most, nan_first, seconds},
    is_absent, is_range, labels, over_time,
    select::Windows,
    time,
};
use crate::{
    Labels, METRIC_NAME, MatchOp, Pattern,
    promql::{
        ast::{Expr, Node},
        function::Function,
    },
};

type Elementwise = fn(f64) -> f64;

impl<'q> Evaluator<'q> {
    pub(super) fn call(
        &self,
        function: &Function,
        args: &[Expr],
        steps: Steps,
    ) -> Result<Evaluated<'q>, EvalError> {
        let rows = match function.name {
            "time" => return Ok(Evaluated::Scalars(steps.times().map(seconds).collect())),
            "pi" => return Ok(Evaluated::Scalars(vec![std::f64::consts::PI; steps.count()])),
            "scalar" => return Ok(Evaluated::Scalars(single_values(&self.rows(&args[0], steps)?))),
            "vector" => {
                let values = self.scalars(&args[0], steps)?;
                let mut rows = Rows::new(self.budget, steps.count());
                rows.push(Labels::empty(), values)?;
                rows
            }
            "absent" => self.absent(&args[0], steps)?,
            "timestamp" => self.timestamp(&args[0], steps)?,
            "clamp" | "clamp_min" | "clamp_max" => self.clamp(function.name, args, steps)?,
            "round" => self.round(args, steps)?,
            "sort" | "sort_desc" => self.sort(&args[0], function.name == "sort_desc", steps)?,
            "sort_by_label" | "sort_by_label_desc" => self.sort_by_label(function.name, args, steps)?,
            "label_replace" => self.label_replace(args, steps)?,
            "label_join" => self.label_join(args, steps)?,
            "histogram_quantile" => self.histogram_quantile(args, steps)?,
            "histogram_fraction" => self.histogram_fraction(args, steps)?,
            name => match (over_time::named(name), time::named(name), elementwise(name)) {
                (Some(over_time), _, _) => self.over_time(name, over_time, args, steps)?,
                (_, Some(of_time), _) => self.of_time(of_time, args, steps)?,
                (_, _, Some(change)) => {
                    self.elementwise(self.rows(&args[0], steps)?, |_, value| change(value))?
                }
                _ => return Err(EvalError::Unsupported(format!("{name}()"))),
            },
        };
        Ok(Evaluated::Rows(rows))
    }

    /// Each value by itself; what comes out is another metric.
    fn elementwise(
        &self,
        mut rows: Rows<'q>,
        change: impl FnMut(usize, f64) -> f64,
    ) -> Result<Rows<'q>, EvalError> {
        rows.map(change);
        rows.relabel(labels::without_name);
        rows.merged()
    }

    fn over_time(
        &self,
        name: &str,
        function: over_time::OverTime,
        args: &[Expr],
        steps: Steps,
    ) -> Result<Rows<'q>, EvalError> {
        let Some(range) = args.iter().find(|arg| is_range(arg)) else {
            return Err(EvalError::execution("expected a range vector"));
        };
        let numbers = args.iter().filter(|arg| !is_range(arg));
        let numbers: Vec<_> = numbers.map(|arg| self.scalars(arg, steps)).collect::<Result<_, _>>()?;
        let mut rows = Rows::new(self.budget, steps.count());
        let mut given = Vec::with_capacity(numbers.len());
        self.each_range(range, steps, |source, reach| {
            let mut windows = Windows::new(self, reach, &source.samples);
            let mut values = Vec::with_capacity(steps.count());
            let mut any = false;
            for (step, at) in steps.times().enumerate() {
                let seen = windows.at(at);
                // A window may hold all that a series has.
                self.budget.check()?;
                let value = match seen.samples.is_empty() {
                    true => None,
                    false => {
                        given.clear();
                        given.extend(numbers.iter().map(|values| values[step]));
                        if name == "quantile_over_time" {
                            self.notes.quantile(given[0], args[0].bare().span);
                        }
                        function(seen, &given)?
                    }
                };
                any |= value.is_some();
                values.push(value.unwrap_or(ABSENT));
            }
            if any {
                if matches!(name, "rate" | "increase") {
                    self.doubt_counter(&source.labels, range);
                }
                let keeps_name = matches!(name, "last_over_time" | "first_over_time");
                let labels = if keeps_name { source.labels } else { labels::without_name(&source.labels) };
                rows.push(labels, values)?;
            }
            Ok(())
        })?;
        if name == "absent_over_time" {
            return self.where_absent(&rows, range, steps);
        }
        rows.all_differ()?;
        Ok(rows)
    }

    fn doubt_counter(&self, labels: &Labels, range: &Expr) {
        let Some(name) = labels.metric() else { return };
        if !["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix)) {
            let what = format!(
                "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {name:?}"
            );
            self.notes.info(what, range.bare().span);
        }
    }

    fn absent(&self, expr: &Expr, steps: Steps) -> Result<Rows<'q>, EvalError> {
        let rows = self.rows(expr, steps)?;
        self.where_absent(&rows, expr, steps)
    }

    /// 1 at the steps at which no row has a value, with the labels that the selector names.
    fn where_absent(&self, rows: &Rows<'q>, expr: &Expr, steps: Steps) -> Result<Rows<'q>, EvalError> {
        let mut values = vec![1.0; steps.count()];
        for row in rows.iter() {
            for (value, _) in values.iter_mut().zip(&row.values).filter(|(_, there)| !is_absent(**there)) {
                *value = ABSENT;
            }
        }
        let mut absent = Rows::new(self.budget, steps.count());
        if values.iter().any(|value| !is_absent(*value)) {
            absent.push(asked_labels(expr), values)?;
        }
        Ok(absent)
    }

    fn timestamp(&self, expr: &Expr, steps: Steps) -> Result<Rows<'q>, EvalError> {
        if let Node::Vector(selector) = &expr.bare().node {
            let rows = self.select(selector, steps, |sample| seconds(sample.at))?;
            return self.elementwise(rows, |_, value| value);
        }
        let times: Vec<_> = steps.times().map(seconds).collect();
        self.elementwise(self.rows(expr, steps)?, |step, _| times[step])
    }

    fn clamp(&self, name: &str, args: &[Expr], steps: Steps) -> Result<Rows<'q>, EvalError> {
        let rows = self.rows(&args[0], steps)?;
        let first = self.scalars(&args[1], steps)?;
        let (lower, upper) = match name {
            "clamp_min" => (first, vec![f64::INFINITY; steps.count()]),
            "clamp_max" => (vec![f64::NEG_INFINITY; steps.count()], first),
            _ => (first, self.scalars(&args[2], steps)?),
        };
        self.elementwise(rows, |step, value| match upper[step] < lower[step] {
            true => ABSENT,
            false => most(lower[step], least(upper[step], value)),
        })
    }

    fn round(&self, args: &[Expr], steps: Steps) -> Result<Rows<'q>, EvalError> {
        let rows = self.rows(&args[0], steps)?;
        let to = match args.get(1) {
            Some(to) => self.scalars(to, steps)?,
            None => vec![1.0; steps.count()],
        };
        self.elementwise(rows, |step, value| {
            // The inverse loses less when `to` is 0.1 and the like.
            let inverse = 1.0 / to[step];
            (value * inverse + 0.5).floor() / inverse
        })
    }

    /// Sorts the answer of a query at one time; over a range rows go by their labels anyway. NaN comes last.
    fn sort(&self, expr: &Expr, descending: bool, steps: Steps) -> Result<Rows<'q>, EvalError> {
        let mut rows = self.rows(expr, steps)?;
        if steps.count() == 1 {
            rows.drop_absent();
            rows.sort_by(|a, b| {
                let (a, b) = (a.values[0], b.values[0]);
                let order = nan_first(a, b);
                match a.is_nan() || b.is_nan() || descending {
                    true => order.reverse(),
                    false => order,
                }
            });
        }
        Ok(rows)
    }

    fn sort_by_label(&self, name: &str, args: &[Expr], steps: Steps) -> Result<Rows<'q>, EvalError> {
        let mut rows = self.rows(&args[0], steps)?;
        let names: Vec<_> = args[1..].iter().map(Self::text).collect::<Result<_, _>>()?;
        rows.sort_by(|a, b| {
            let value = |labels: &Labels, name: &str| labels.get(name).unwrap_or("").to_owned();
            let mut orders =
                names.iter().map(|name| natural(&value(&a.labels, name), &value(&b.labels, name)));
            let order = orders.find(|order| order.is_ne()).unwrap_or_else(|| a.labels.cmp(&b.labels));
            if name == "sort_by_label_desc" { order.reverse() } else { order }
        });
        Ok(rows)
    }

    fn label_replace(&self, args: &[Expr], steps: Steps) -> Result<Rows<'q>, EvalError> {
        let [to, template, from, pattern] = texts(&args[1..])?;
        let pattern = Pattern::new(pattern).map_err(|e| {
            EvalError::execution(format!(
                "invalid regular expression in label_replace(): {pattern}: {}",
                e.what
            ))
        })?;
        if to.is_empty() {
            return Err(EvalError::execution("invalid destination label name in label_replace(): "));
        }
        let mut rows = self.rows(&args[0], steps)?;
        rows.relabel(|labels| match pattern.expand(labels.get(from).unwrap_or(""), template) {
            None => labels.clone(),
            Some(value) => {
                let mut builder = labels.to_builder();
                builder.set(to, value);
                builder.build()
            }
        });
        rows.all_differ()?;
        Ok(rows)
    }

    fn label_join(&self, args: &[Expr], steps: Steps) -> Result<Rows<'q>, EvalError> {
        let [to, separator] = texts(&args[1..3])?;
        let from: Vec<_> = args[3..].iter().map(Self::text).collect::<Result<_, _>>()?;
        if to.is_empty() {
            return Err(EvalError::execution("invalid destination label name in label_join(): "));
        }
        if from.contains(&"") {
            return Err(EvalError::execution("invalid source label name in label_join(): "));
        }
        let mut rows = self.rows(&args[0], steps)?;
        rows.relabel(|labels| {
            let values: Vec<_> = from.iter().map(|name| labels.get(name).unwrap_or("")).collect();
            let mut builder = labels.to_builder();
            builder.set(to, values.join(separator));
            builder.build()
        });
        rows.all_differ()?;
        Ok(rows)
    }

    fn of_time(&self, function: time::OfTime, args: &[Expr], steps: Steps) -> Result<Rows<'q>, EvalError> {
        if let Some(arg) = args.first() {
            return self.elementwise(self.rows(arg, steps)?, |_, value| function.of(value));
        }
        let mut rows = Rows::new(self.budget, steps.count());
        rows.push(Labels::empty(), steps.times().map(|at| function.of(seconds(at).floor())).collect())?;
        Ok(rows)
    }
}

fn texts<const N: usize>(args: &[Expr]) -> Result<[&str; N], EvalError> {
    let texts: Vec<_> = args.iter().map(Evaluator::text).collect::<Result<_, _>>()?;
    texts.try_into().map_err(|_| EvalError::execution("wrong number of strings"))
}

/// The value of the only row at each step; NaN when there is none, or more than one.
fn single_values(rows: &Rows<'_>) -> Vec<f64> {
    let single = |step: usize| {
        let mut there = rows.iter().map(|row| row.values[step]).filter(|value| !is_absent(*value));
        match (there.next(), there.next()) {
            (Some(value), None) => value,
            _ => f64::NAN,
        }
    };
    (0..rows.steps()).map(single).collect()
}

/// The labels that a selector asks for by `=`, once each.
fn asked_labels(expr: &Expr) -> Labels {
    let (Node::Vector(selector) | Node::Range { selector, .. }) = &expr.bare().node else {
        return Labels::empty();
    };
    let mut builder = Labels::empty().to_builder();
    let mut seen = Vec::new();
    for matcher in selector.matchers.iter().filter(|matcher| matcher.name() != METRIC_NAME) {
        if matcher.op() == MatchOp::Equal && !seen.contains(&matcher.name()) {
            builder.set(matcher.name(), matcher.value());
            seen.push(matcher.name());
        } else {
            builder.remove(matcher.name());
        }
    }
    builder.build()
}

fn elementwise(name: &str) -> Option<Elementwise> {
    Some(match name {
        "abs" => f64::abs,
        "ceil" => f64::ceil,
        "floor" => f64::floor,
        "exp" => f64::exp,
        "sqrt" => f64::sqrt,
        "ln" => f64::ln,
        "log2" => f64::log2,
        "log10" => f64::log10,
        "sin" => f64::sin,
        "cos" => f64::cos,
        "tan" => f64::tan,
        "asin" => f64::asin,
        "acos" => f64::acos,
        "atan" => f64::atan,
        "sinh" => f64::sinh,
        "cosh" => f64::cosh,
        "tanh" => f64::tanh,
        "asinh" => f64::asinh,
        "acosh" => f64::acosh,
        "atanh" => f64::atanh,
        "rad" => |value| value * std::f64::consts::PI / 180.0,
        "deg" => |value| value * 180.0 / std::f64::consts::PI,
        "sgn" => |value| if value == 0.0 || value.is_nan() { value } else { value.signum() },
        _ => return None,
    })
}

/// Numbers in texts by their size: `a2` before `a10`.
fn natural(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (pieces(a).into_iter(), pieces(b).into_iter());
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return std::cmp::Ordering::Equal,
            (None, Some(_)) => return std::cmp::Ordering::Less,
            (Some(_), None) => return std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(x), Ok(y)) => x.cmp(&y).then_with(|| a.len().cmp(&b.len())),
                _ => a.cmp(b),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Runs of digits and of anything else.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digit = first.is_ascii_digit();
        let len = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
        pieces.push(&rest[..len]);
        rest = &rest[len..];
    }
    pieces
}
