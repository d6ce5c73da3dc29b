//! The samples that both hold.

use backstay_telemetry::{Labels, STALE, Sample, memory::Memory};
use backstay_testkit::WrittenSeries;

/// When the samples begin, in milliseconds since 1970.
pub(crate) const START: i64 = 1_700_000_000_000;

/// How long they go on, in milliseconds.
pub(crate) const LENGTH: i64 = 2 * 3_600_000;

const EVERY: i64 = 15_000;

pub(crate) fn append(ours: &Memory, labels: &[(String, String)], samples: &[(i64, f64)]) {
    let labels = Labels::from_pairs(labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    ours.append(&labels, samples.iter().map(|(at, value)| Sample { at: *at, value: *value }));
}

/// Numbers that look random and are the same at each run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

fn labels(name: &str, rest: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = std::iter::once(("__name__", name)).chain(rest.iter().copied());
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn regular(mut value: impl FnMut(i64) -> Option<f64>) -> Vec<(i64, f64)> {
    (0..=LENGTH / EVERY).filter_map(|n| Some((START + n * EVERY, value(n)?))).collect()
}

/// Everything.
pub(crate) fn series() -> Vec<WrittenSeries> {
    let mut all = Vec::new();
    counters(&mut all);
    gauges(&mut all);
    histograms(&mut all);
    irregular(&mut all);
    odd_labels(&mut all);
    all
}

fn counters(all: &mut Vec<WrittenSeries>) {
    let mut dice = Dice::new(1);
    for job in ["api", "web"] {
        for instance in ["a:9090", "b:9090", "c:9090"] {
            for code in ["200", "404", "500"] {
                let (mut total, resets) = (dice.below(100), 100 + dice.below(200));
                let samples = regular(|n| {
                    total = if n.unsigned_abs() % resets == resets - 1 { 0 } else { total + dice.below(20) };
                    Some(total as f64)
                });
                all.push((
                    labels(
                        "http_requests_total",
                        &[("job", job), ("instance", instance), ("code", code), ("method", "GET")],
                    ),
                    samples,
                ));
            }
        }
    }
    // Begins late, ends early with a marker, comes back.
    all.push((
        labels("late_total", &[("job", "api")]),
        regular(|n| match n {
            0..100 => None,
            200 => Some(STALE),
            201..300 => None,
            n => Some((n * 3) as f64),
        }),
    ));
    all.push((labels("flat_total", &[("job", "api")]), regular(|_| Some(7.0))));
    all.push((labels("not_a_counter", &[("job", "api")]), regular(|n| Some((n % 17) as f64))));
}

fn gauges(all: &mut Vec<WrittenSeries>) {
    let mut dice = Dice::new(2);
    for (room, base) in [("kitchen", 21.0), ("cellar", -3.5), ("attic", 0.0)] {
        let samples = regular(|_| Some(base + dice.below(1000) as f64 / 100.0 - 5.0));
        all.push((labels("temperature", &[("room", room)]), samples));
    }
    for (room, limit) in [("kitchen", 20.0), ("cellar", 1.0), ("loft", 5.0)] {
        all.push((labels("limit", &[("room", room), ("unit", "celsius")]), regular(|_| Some(limit))));
    }
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1e-9, 1e25, -1.5, 2.5];
    for (n, value) in special.into_iter().enumerate() {
        all.push((labels("special", &[("n", &n.to_string())]), regular(|_| Some(value))));
    }
    all.push((
        labels("mixed_nan", &[("job", "api")]),
        regular(|n| Some(if n % 3 == 0 { f64::NAN } else { n as f64 })),
    ));
    // Never two with the same value: which of them is taken first is not said.
    for (k, prime) in [7, 11, 13, 17, 19, 23].into_iter().enumerate() {
        let pairs = [("k", &*k.to_string()), ("half", if k < 3 { "low" } else { "high" })];
        let own = k as f64 / 1000.0;
        all.push((labels("ranked", &pairs), regular(|n| Some((n * prime % 997) as f64 + own))));
    }
    // Sums that lose everything without compensation.
    let cancelling = [1e100, 1.0, -1e100, 3.0];
    all.push((labels("cancelling", &[]), regular(|n| Some(cancelling[usize::try_from(n % 4).unwrap()]))));
    for (n, value) in cancelling.into_iter().enumerate() {
        all.push((labels("cancelling_vector", &[("n", &n.to_string())]), regular(|_| Some(value))));
    }
    for (n, value) in [f64::MAX, f64::MAX / 2.0, 1.0].into_iter().enumerate() {
        all.push((labels("huge", &[("n", &n.to_string())]), regular(|_| Some(value))));
    }
    for (instance, version) in [("a:9090", "1.2"), ("b:9090", "1.10"), ("c:9090", "1.9")] {
        let pairs = [("instance", instance), ("version", version), ("job", "api")];
        all.push((labels("build_info", &pairs), regular(|_| Some(1.0))));
    }
    for n in ["2", "10", "1"] {
        all.push((
            labels("numbered", &[("pod", &format!("web-{n}")), ("same", "x")]),
            regular(|_| Some(4.0)),
        ));
    }
}

fn histograms(all: &mut Vec<WrittenSeries>) {
    let mut dice = Dice::new(3);
    for route in ["/", "/login"] {
        let mut counts = [0_u64; 6];
        let bounds = ["0.05", "0.1", "0.5", "1", "5", "+Inf"];
        let mut rows = vec![Vec::new(); bounds.len()];
        for n in 0..=LENGTH / EVERY {
            let mut new = 0;
            for (count, row) in counts.iter_mut().zip(&mut rows) {
                new += dice.below(5);
                *count += new;
                row.push((START + n * EVERY, *count as f64));
            }
        }
        for (bound, row) in bounds.into_iter().zip(rows) {
            all.push((labels("latency_bucket", &[("route", route), ("le", bound)]), row));
        }
    }
    for (name, buckets) in [
        ("falling", &[("1", 10.0), ("2", 8.0), ("4", 20.0), ("+Inf", 19.0)][..]),
        ("no_inf", &[("1", 10.0), ("2", 18.0)]),
        ("only_inf", &[("+Inf", 3.0)]),
        ("empty", &[("1", 0.0), ("+Inf", 0.0)]),
        ("twice", &[("0.5", 4.0), ("0.50", 3.0), ("2", 12.0), ("+Inf", 12.0)]),
        ("negative", &[("-2", 4.0), ("-1", 9.0), ("0", 10.0), ("3", 12.0), ("+Inf", 12.0)]),
        ("odd_bound", &[("1", 4.0), ("x", 9.0), ("+Inf", 10.0)]),
        ("rounded", &[("1", 10.0), ("2", 9.999_999_999_999_9), ("4", 20.0), ("+Inf", 20.0)]),
    ] {
        for (bound, count) in buckets {
            all.push((labels("crafted_bucket", &[("kind", name), ("le", bound)]), regular(|_| Some(*count))));
        }
    }
}

fn irregular(all: &mut Vec<WrittenSeries>) {
    let mut dice = Dice::new(4);
    let end = START + LENGTH;
    let sparse = |every: i64| (0..).map(move |n| START + n * every).take_while(move |at| *at <= end);
    // Nearly as far apart as a sample stands for its series, exactly so, and further.
    for (name, every) in [("sparse", 290_000), ("exact", 300_000), ("rare", 310_000)] {
        let samples = sparse(every).enumerate().map(|(n, at)| (at, n as f64 * 10.0));
        all.push((labels(name, &[("every", name)]), samples.collect()));
    }
    let mut at = START;
    let mut jittered = Vec::new();
    let mut total = 0.0;
    while at < end {
        at += 1 + i64::try_from(dice.below(60_000)).unwrap();
        total += dice.below(50) as f64;
        jittered.push((at, total));
    }
    all.push((labels("jittered_total", &[("job", "api")]), jittered));
    all.push((labels("single", &[("job", "api")]), vec![(START + 1_800_000, 5.0)]));
    all.push((
        labels("pair_total", &[("job", "api")]),
        vec![(START + 1_800_000, 5.0), (START + 1_830_000, 9.0)],
    ));
    // Comes and goes.
    all.push((
        labels("flapping", &[("job", "api")]),
        regular(|n| match n % 40 {
            0..10 => Some(n as f64),
            10 => Some(STALE),
            _ => None,
        }),
    ));
    // Changes its labels in the middle.
    all.push((
        labels("moved", &[("node", "one")]),
        regular(|n| (n <= 240).then_some(if n == 240 { STALE } else { 1.0 })),
    ));
    all.push((labels("moved", &[("node", "two")]), regular(|n| (n >= 240).then_some(2.0))));
}

fn odd_labels(all: &mut Vec<WrittenSeries>) {
    for value in ["a\"b", "back\\slash", "line\nbreak", "ümlaut", "a.b", "(x)", "1+1"] {
        all.push((labels("odd", &[("value", value)]), regular(|_| Some(1.0))));
    }
    all.push((labels("odd", &[("dotted.name", "x"), ("value", "utf8")]), regular(|_| Some(2.0))));
    all.push((labels("dotted.metric", &[("value", "x")]), regular(|_| Some(3.0))));
}
