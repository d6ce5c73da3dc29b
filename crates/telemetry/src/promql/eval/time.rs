//! Functions of the calendar, in UTC. What is no time, or further away than 2⁶² seconds, has no date: NaN.

/// A function of seconds since 1970.
#[derive(Clone, Copy)]
pub(super) struct OfTime(fn(f64) -> f64);

impl OfTime {
    pub(super) fn of(self, at: f64) -> f64 {
        // 2^62: the calendar below does not overflow.
        if at.abs() <= 4_611_686_018_427_387_904.0 { (self.0)(at) } else { f64::NAN }
    }
}

pub(super) fn named(name: &str) -> Option<OfTime> {
    Some(OfTime(match name {
        "minute" => |at| whole(seconds(at).rem_euclid(3600) / 60),
        "hour" => |at| whole(seconds(at).rem_euclid(86_400) / 3600),
        "day_of_week" => |at| whole((days(at) + 4).rem_euclid(7)),
        "day_of_month" => |at| whole(date(at).2),
        "month" => |at| whole(date(at).1),
        "year" => |at| whole(date(at).0),
        "day_of_year" => |at| {
            let (year, month, day) = date(at);
            let before: i64 = (1..month).map(|month| days_of(year, month)).sum();
            whole(before + day)
        },
        "days_in_month" => |at| {
            let (year, month, _) = date(at);
            whole(days_of(year, month))
        },
        _ => return None,
    }))
}

/// Seconds since 1970.
fn seconds(at: f64) -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a fraction of a second is no part of a date")]
    let seconds = at as i64;
    seconds
}

fn days(at: f64) -> i64 {
    seconds(at).div_euclid(86_400)
}

/// Year, month and day of the proleptic Gregorian calendar.
fn date(at: f64) -> (i64, i64, i64) {
    // Years begin in March here, so that the day that leap years have more is their last.
    let days = days(at) + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[expect(clippy::cast_precision_loss, reason = "calendar numbers are small")]
fn whole(n: i64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calendar() {
        let value = |name, at| named(name).unwrap().of(at);
        // 2024-02-29T12:34:56Z, a Thursday.
        let leap = 1_709_210_096.0;
        assert_eq!(value("year", leap), 2024.0);
        assert_eq!(value("month", leap), 2.0);
        assert_eq!(value("day_of_month", leap), 29.0);
        assert_eq!(value("day_of_week", leap), 4.0);
        assert_eq!(value("day_of_year", leap), 60.0);
        assert_eq!(value("days_in_month", leap), 29.0);
        assert_eq!(value("hour", leap), 12.0);
        assert_eq!(value("minute", leap), 34.0);
        assert_eq!(value("year", -1.0), 1969.0);
        assert_eq!(value("day_of_month", -1.0), 31.0);
        assert_eq!(value("hour", -1.0), 23.0);
        assert!(value("year", f64::NAN).is_nan());
        assert!(value("hour", f64::INFINITY).is_nan());
    }
}
