//! How likely it is that so many of those drawn are of one kind.

/// Logarithms of factorials, computed once.
#[derive(Debug)]
pub(super) struct Chances {
    logs: Vec<f64>,
}

impl Chances {
    /// For groups of up to `most` nodes.
    pub(super) fn up_to(most: u64) -> Self {
        let mut logs = vec![0.0];
        let mut sum = 0.0;
        for n in 1..=most {
            sum += (n as f64).ln();
            logs.push(sum);
        }
        Self { logs }
    }

    /// The probability that of `drawn` nodes, taken blindly out of `all` of which `marked` are marked, at least
    /// `least` are marked (the upper tail of the hypergeometric distribution).
    pub(super) fn at_least(&self, least: u64, marked: u64, drawn: u64, all: u64) -> f64 {
        let whole = self.choose(all, drawn);
        let term = |k: u64| {
            let others = self.choose(all.checked_sub(marked)?, drawn.checked_sub(k)?)?;
            Some((self.choose(marked, k)? + others - whole?).exp())
        };
        (least..=marked.min(drawn)).filter_map(term).sum::<f64>().min(1.0)
    }

    /// The logarithm of how many ways there are to choose `k` of `n`; none when there is no way.
    fn choose(&self, n: u64, k: u64) -> Option<f64> {
        let log = |n: u64| self.logs.get(usize::try_from(n).ok()?).copied();
        Some(log(n)? - log(k)? - log(n.checked_sub(k)?)?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn small_cases_are_as_counted_by_hand() {
        let chances = Chances::up_to(10);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        // Both of the two drawn from five are the two that are marked: one way of ten.
        near(chances.at_least(2, 2, 2, 5), 0.1);
        near(chances.at_least(0, 3, 2, 7), 1.0);
        // At least one of two drawn from four, two of them marked: all but the one way without any.
        near(chances.at_least(1, 2, 2, 4), 5.0 / 6.0);
        near(chances.at_least(3, 2, 3, 5), 0.0);
    }
}
