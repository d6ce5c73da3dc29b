//! One measured value.

/// A value at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Milliseconds since 1970, UTC.
    pub at: i64,
    /// The value; any NaN may come, and [`STALE`] means that the series ended here.
    pub value: f64,
}

/// The bits of Prometheus' staleness marker: a NaN that says "the series is no longer there". Every store keeps the
/// bits of a NaN as they came, since this one and an ordinary NaN (a measured one) mean different things.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker as a value.
pub const STALE: f64 = f64::from_bits(STALE_BITS);

/// Whether the value is the staleness marker.
pub const fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marker_is_stale() {
        assert!(is_stale(STALE));
        assert!(STALE.is_nan());
        assert!(!is_stale(f64::NAN));
        assert!(!is_stale(0.0));
    }
}
