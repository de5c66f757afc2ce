//! Moments and months, as values: milliseconds since 1970 in UTC.

use std::fmt;
use std::time::Duration;

/// A moment, in milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Returns the moment `by` later, at most the end of time.
    pub fn plus(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(millis(by)))
    }

    /// Returns the moment `by` earlier.
    pub fn minus(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(millis(by)))
    }

    /// Returns how long after `earlier` this is, zero if it is not.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Returns the calendar month in UTC.
    pub fn month(self) -> Month {
        let date = self.moment().to_zoned_datetime(jiff::tz::TimeZone::UTC).date();
        let year = u32::try_from(date.year()).unwrap_or(0);
        Month(year * 100 + u32::from(date.month().unsigned_abs()))
    }

    fn moment(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }
}

impl fmt::Display for Timestamp {
    /// Writes RFC 3339 in UTC, for example `2026-01-02T03:04:05Z`, without zeros at the end of a fraction.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = jiff::tz::Offset::UTC.to_datetime(self.moment());
        if moment.year() < 0 || moment.subsec_nanosecond() % 1_000_000 != 0 {
            // Before and behind all time that is counted here.
            return self.moment().fmt(f);
        }
        // Digit by digit: moments are most of what a document and an audit take to be written.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, length: usize, number: u32| {
            let mut rest = number;
            for digit in text.iter_mut().skip(at).take(length).rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
                rest /= 10;
            }
        };
        put(0, 4, u32::from(moment.year().unsigned_abs()));
        put(5, 2, u32::from(moment.month().unsigned_abs()));
        put(8, 2, u32::from(moment.day().unsigned_abs()));
        put(11, 2, u32::from(moment.hour().unsigned_abs()));
        put(14, 2, u32::from(moment.minute().unsigned_abs()));
        put(17, 2, u32::from(moment.second().unsigned_abs()));
        put(20, 3, u32::from(moment.millisecond().unsigned_abs()));
        let (mut end, millis) = (23, moment.millisecond());
        for shorter in [millis % 10 == 0, millis % 100 == 0, millis == 0] {
            end -= usize::from(shorter);
        }
        // Without a fraction there is no point either.
        end -= usize::from(millis == 0);
        text[end] = b'Z';
        f.write_str(str::from_utf8(&text[..=end]).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A calendar month in UTC, as the number `yyyymm`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Month(pub u32);

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_moment_prints_as_rfc_3339_and_knows_its_month() {
        let moment = Timestamp(1_767_323_045_000);
        assert_eq!(moment.to_string(), "2026-01-02T03:04:05Z");
        assert_eq!(moment.plus(Duration::from_millis(250)).to_string(), "2026-01-02T03:04:05.25Z");
        assert_eq!(moment.month(), Month(202_601));
        assert_eq!(moment.minus(Duration::from_secs(3 * 86_400)).month(), Month(202_512));
    }

    fn prints_as_the_library_for_it_prints_it(millis: i64) {
        let moment = Timestamp(millis);
        assert_eq!(moment.to_string(), moment.moment().to_string(), "{millis}");
    }

    #[test]
    fn the_ends_of_time_print_as_well() {
        // The last is the first one behind all that the library knows.
        for millis in [0, -1, 999, -62_167_219_200_000, -62_167_219_200_001, 253_402_207_200_001] {
            prints_as_the_library_for_it_prints_it(millis);
        }
        [i64::MIN, i64::MAX].into_iter().for_each(prints_as_the_library_for_it_prints_it);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_moment_prints_as_the_library_for_it_prints_it(millis: i64) {
            // Half of all numbers lie far beyond time, so some are brought near.
            let near = [millis >> 16, millis >> 18, millis >> 24, millis % 253_402_300_800 * 1_000];
            near.into_iter().for_each(prints_as_the_library_for_it_prints_it);
        }
    }

    #[test]
    fn arithmetic_stays_within_time() {
        assert_eq!(Timestamp(i64::MAX).plus(Duration::from_secs(1)), Timestamp(i64::MAX));
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
        assert!(!Timestamp(i64::MAX).to_string().is_empty());
    }
}
