//! Two hundred seeds, in parts that run beside one another; and that a seed is one run.

use backstay_sim::{Scenario, run, shrink};

/// Seeds of a part.
const PART: u64 = 25;

fn part(number: u64) {
    for seed in number * PART + 1..=(number + 1) * PART {
        let scenario = Scenario::of_seed(seed);
        let outcome = run(&scenario, None, false).unwrap();
        let Some(violation) = outcome.violation else { continue };
        let small = shrink(&scenario, &violation, None, 40).unwrap();
        panic!(
            "seed {seed}: violated: {}: {}\n{}\nagain: cargo xtask sim --seed {seed}\nsmaller: {}",
            violation.invariant,
            violation.what,
            outcome.trace.join("\n"),
            small.command()
        );
    }
}

macro_rules! parts {
    ($($name:ident = $number:literal;)*) => {$(
        #[test]
        fn $name() {
            part($number);
        }
    )*};
}

parts! {
    seeds_1_to_25 = 0;
    seeds_26_to_50 = 1;
    seeds_51_to_75 = 2;
    seeds_76_to_100 = 3;
    seeds_101_to_125 = 4;
    seeds_126_to_150 = 5;
    seeds_151_to_175 = 6;
    seeds_176_to_200 = 7;
}

#[test]
fn a_seed_is_one_run() {
    for seed in [3, 12] {
        let scenario = Scenario::of_seed(seed);
        let (one, two) = (run(&scenario, None, true).unwrap(), run(&scenario, None, true).unwrap());
        let differ = one.trace.iter().zip(&two.trace).find(|(one, two)| one != two);
        assert_eq!(differ, None, "seed {seed}");
        assert_eq!((one.digest, one.events), (two.digest, two.events), "seed {seed}");
        assert!(one.events > 50, "something happens");
    }
    let digest = |seed| run(&Scenario::of_seed(seed), None, false).unwrap().digest;
    assert_ne!(digest(3), digest(4), "another seed is another run");
}
