//! Arithmetic as Prometheus has it.

/// A sum that keeps what rounding loses (Kahan, in Neumaier's form).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    pub(super) const fn of(value: f64) -> Self {
        Self { sum: value, lost: 0.0 }
    }

    pub(super) fn plus(self, value: f64) -> Self {
        let sum = self.sum + value;
        let lost = if sum.is_infinite() {
            0.0
        } else if self.sum.abs() >= value.abs() {
            self.lost + ((self.sum - sum) + value)
        } else {
            self.lost + ((value - sum) + self.sum)
        };
        Self { sum, lost }
    }

    fn scaled(self, by: f64) -> Self {
        Self { sum: by * self.sum, lost: by * self.lost }
    }

    pub(super) fn total(self) -> f64 {
        self.sum + self.lost
    }
}

/// A mean: the sum divided by the count, until the sum would overflow; from then on step by step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mean {
    count: f64,
    sum: Sum,
    stepwise: bool,
}

impl Mean {
    pub(super) const fn of(value: f64) -> Self {
        Self { count: 1.0, sum: Sum::of(value), stepwise: false }
    }

    pub(super) fn plus(mut self, value: f64) -> Self {
        self.count += 1.0;
        if !self.stepwise {
            let sum = self.sum.plus(value);
            if !sum.sum.is_infinite() {
                return Self { sum, ..self };
            }
            self.stepwise = true;
            let before = self.count - 1.0;
            self.sum = Sum { sum: self.sum.sum / before, lost: self.sum.lost / before };
        }
        self.sum = self.sum.scaled((self.count - 1.0) / self.count).plus(value / self.count);
        self
    }

    pub(super) fn mean(self) -> f64 {
        match self.stepwise {
            true => self.sum.total(),
            false => self.sum.sum / self.count + self.sum.lost / self.count,
        }
    }
}

/// The quantile of values, which are sorted on the way; NaN comes first.
pub(super) fn quantile(quantile: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || quantile.is_nan() {
        return f64::NAN;
    }
    if quantile < 0.0 {
        return f64::NEG_INFINITY;
    }
    if quantile > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| nan_first(*a, *b));
    let last = values.len() - 1;
    let rank = quantile * count(last);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is an index")]
    let lower = (rank.floor().max(0.0) as usize).min(last);
    let weight = rank - rank.floor();
    values[lower] * (1.0 - weight) + values[(lower + 1).min(last)] * weight
}

/// From small to large, NaN before all.
pub(super) fn nan_first(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) fn count(n: usize) -> f64 {
    n as f64
}

/// The smaller one; NaN when one is.
pub(super) fn least(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) }
}

/// The larger one; NaN when one is.
pub(super) fn most(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// Milliseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 milliseconds")]
pub(super) fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}
