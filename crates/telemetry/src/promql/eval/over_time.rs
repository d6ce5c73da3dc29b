//! Functions over the samples of a window.

use super::{
    EvalError,
    float::{Mean, Sum, count, nan_first, quantile, seconds},
    select::Seen,
};
use crate::Sample;

/// The value of a function for a window that has samples; none leaves the step out.
pub(super) type OverTime = fn(Seen<'_>, &[f64]) -> Result<Option<f64>, EvalError>;

/// The function of a name. The numbers that it is given beside the window come in the order of its arguments.
pub(super) fn named(name: &str) -> Option<OverTime> {
    Some(match name {
        "rate" => |seen, _| Ok(extrapolated(seen, true, true)),
        "increase" => |seen, _| Ok(extrapolated(seen, true, false)),
        "delta" => |seen, _| Ok(extrapolated(seen, false, false)),
        "irate" => |seen, _| Ok(instant_delta(seen.samples, true)),
        "idelta" => |seen, _| Ok(instant_delta(seen.samples, false)),
        "deriv" => |seen, _| Ok(at_least_two(seen).map(|samples| regression(samples, samples[0].at).0)),
        "predict_linear" => |seen, args| {
            let line = at_least_two(seen).map(|samples| regression(samples, seen.at));
            Ok(line.map(|(slope, intercept)| slope * args[0] + intercept))
        },
        "double_exponential_smoothing" | "holt_winters" => smoothed,
        "avg_over_time" => |seen, _| Ok(Some(mean(seen.samples))),
        "sum_over_time" => |seen, _| Ok(Some(sum(seen.samples))),
        "count_over_time" => |seen, _| Ok(Some(count(seen.samples.len()))),
        "min_over_time" => |seen, _| Ok(chosen(seen, |value, best| value < best).map(|best| best.value)),
        "max_over_time" => |seen, _| Ok(chosen(seen, |value, best| value > best).map(|best| best.value)),
        "ts_of_min_over_time" => |seen, _| Ok(chosen(seen, |value, best| value <= best).map(time)),
        "ts_of_max_over_time" => |seen, _| Ok(chosen(seen, |value, best| value >= best).map(time)),
        "ts_of_first_over_time" => |seen, _| Ok(seen.samples.first().copied().map(time)),
        "ts_of_last_over_time" => |seen, _| Ok(seen.samples.last().copied().map(time)),
        "first_over_time" => |seen, _| Ok(seen.samples.first().map(|first| first.value)),
        "last_over_time" => |seen, _| Ok(seen.samples.last().map(|last| last.value)),
        "present_over_time" | "absent_over_time" => |_, _| Ok(Some(1.0)),
        "quantile_over_time" => |seen, args| Ok(Some(quantile(args[0], &mut values(seen.samples)))),
        "mad_over_time" => |seen, _| Ok(Some(median_deviation(seen.samples))),
        "stddev_over_time" => |seen, _| Ok(Some(variance(seen.samples).sqrt())),
        "stdvar_over_time" => |seen, _| Ok(Some(variance(seen.samples))),
        "changes" => |seen, _| Ok(Some(pairs(seen.samples, |a, b| a != b && !(a.is_nan() && b.is_nan())))),
        "resets" => |seen, _| Ok(Some(pairs(seen.samples, |a, b| b < a))),
        _ => return None,
    })
}

/// What a counter went up by (or a gauge changed by), as if the samples reached to both ends of the window when they
/// nearly do, and half a gap beyond the outermost ones when they do not.
fn extrapolated(seen: Seen<'_>, is_counter: bool, per_second: bool) -> Option<f64> {
    let samples = at_least_two(seen)?;
    let (first, last) = (samples[0], samples[samples.len() - 1]);
    let mut change = last.value - first.value;
    if is_counter {
        // A counter that went down began anew at 0.
        let resets = samples.windows(2).filter(|pair| pair[1].value < pair[0].value);
        change = resets.fold(change, |change, pair| change + pair[0].value);
    }
    let (mut to_start, mut to_end) = (seconds(first.at - seen.from), seconds(seen.to - last.at));
    let sampled = seconds(last.at - first.at);
    let gap = sampled / count(samples.len() - 1);
    let near = gap * 1.1;
    if to_start >= near {
        to_start = gap / 2.0;
    }
    if is_counter && change > 0.0 && first.value >= 0.0 {
        // A counter is never below 0, so its series began no earlier than where its line meets 0.
        let to_zero = sampled * (first.value / change);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= near {
        to_end = gap / 2.0;
    }
    let mut factor = (sampled + to_start + to_end) / sampled;
    if per_second {
        factor /= seconds(seen.to - seen.from);
    }
    Some(change * factor)
}

fn instant_delta(samples: &[Sample], per_second: bool) -> Option<f64> {
    let [.., before, last] = samples else { return None };
    let restarted = per_second && last.value < before.value;
    let change = if restarted { last.value } else { last.value - before.value };
    Some(if per_second { change / seconds(last.at - before.at) } else { change })
}

fn at_least_two(seen: Seen<'_>) -> Option<&[Sample]> {
    (seen.samples.len() >= 2).then_some(seen.samples)
}

/// Slope and intercept at a time of the line that lies closest to the samples.
fn regression(samples: &[Sample], intercept_at: i64) -> (f64, f64) {
    let initial = samples[0].value;
    let constant = samples[1..].iter().all(|sample| sample.value == initial);
    if constant {
        return if initial.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, initial) };
    }
    let mut sums = [Sum::default(); 4];
    for sample in samples {
        let (x, y) = (seconds(sample.at - intercept_at), sample.value);
        for (sum, value) in sums.iter_mut().zip([x, y, x * y, x * x]) {
            *sum = sum.plus(value);
        }
    }
    let n = count(samples.len());
    let [x, y, xy, xx] = sums.map(Sum::total);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

/// Smoothing of Holt and Winters: a level and a trend.
fn smoothed(seen: Seen<'_>, args: &[f64]) -> Result<Option<f64>, EvalError> {
    let (smoothing, trending) = (args[0], args[1]);
    for (factor, name) in [(smoothing, "smoothing"), (trending, "trend")] {
        if factor <= 0.0 || factor >= 1.0 {
            let short = if name == "smoothing" { "sf" } else { "tf" };
            let what = format!("invalid {name} factor. Expected: 0 < {short} < 1, got: {factor:.6}");
            return Err(EvalError::execution(what));
        }
    }
    let Some(samples) = at_least_two(seen) else { return Ok(None) };
    let (mut before, mut level) = (0.0, samples[0].value);
    let mut trend = samples[1].value - samples[0].value;
    for (n, sample) in samples.iter().enumerate().skip(1) {
        if n > 1 {
            trend = trending * (level - before) + (1.0 - trending) * trend;
        }
        (before, level) = (level, smoothing * sample.value + (1.0 - smoothing) * (level + trend));
    }
    Ok(Some(level))
}

fn mean(samples: &[Sample]) -> f64 {
    let Some((first, rest)) = samples.split_first() else { return f64::NAN };
    rest.iter().fold(Mean::of(first.value), |mean, sample| mean.plus(sample.value)).mean()
}

fn sum(samples: &[Sample]) -> f64 {
    samples.iter().fold(Sum::default(), |sum, sample| sum.plus(sample.value)).total()
}

/// The sample that `better` prefers to all before it; a NaN gives way to anything.
fn chosen(seen: Seen<'_>, better: fn(f64, f64) -> bool) -> Option<Sample> {
    let first = *seen.samples.first()?;
    let choose = |best: Sample, sample: &Sample| match better(sample.value, best.value) || best.value.is_nan()
    {
        true => *sample,
        false => best,
    };
    Some(seen.samples.iter().fold(first, choose))
}

fn time(sample: Sample) -> f64 {
    seconds(sample.at)
}

fn values(samples: &[Sample]) -> Vec<f64> {
    samples.iter().map(|sample| sample.value).collect()
}

fn median_deviation(samples: &[Sample]) -> f64 {
    let median = quantile(0.5, &mut values(samples));
    let mut deviations: Vec<_> = samples.iter().map(|sample| (sample.value - median).abs()).collect();
    deviations.sort_by(|a, b| nan_first(*a, *b));
    quantile(0.5, &mut deviations)
}

fn variance(samples: &[Sample]) -> f64 {
    let (mut mean, mut squares) = (Sum::default(), Sum::default());
    for (n, sample) in samples.iter().enumerate() {
        let delta = sample.value - mean.total();
        mean = mean.plus(delta / count(n + 1));
        squares = squares.plus(delta * (sample.value - mean.total()));
    }
    squares.total() / count(samples.len())
}

fn pairs(samples: &[Sample], counts: fn(f64, f64) -> bool) -> f64 {
    count(samples.windows(2).filter(|pair| counts(pair[0].value, pair[1].value)).count())
}
