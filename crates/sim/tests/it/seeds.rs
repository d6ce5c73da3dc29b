//! Two hundred seeds, in parts that run beside one another; and that a seed is one run.

use backstay_sim::{Scenario, run, shrink};

/// Seeds of a part.
const PART: u64 = 10;

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
    seeds_1_to_10 = 0;
    seeds_11_to_20 = 1;
    seeds_21_to_30 = 2;
    seeds_31_to_40 = 3;
    seeds_41_to_50 = 4;
    seeds_51_to_60 = 5;
    seeds_61_to_70 = 6;
    seeds_71_to_80 = 7;
    seeds_81_to_90 = 8;
    seeds_91_to_100 = 9;
    seeds_101_to_110 = 10;
    seeds_111_to_120 = 11;
    seeds_121_to_130 = 12;
    seeds_131_to_140 = 13;
    seeds_141_to_150 = 14;
    seeds_151_to_160 = 15;
    seeds_161_to_170 = 16;
    seeds_171_to_180 = 17;
    seeds_181_to_190 = 18;
    seeds_191_to_200 = 19;
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
