//! Moments as people type them: RFC 3339, a local date or time, or an age.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::config::duration;
use crate::domain::time::Timestamp;

/// The text is not a moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a time: 2026-11-17T14:03:00Z, 2026-11-17 14:03 or 2026-11-17 (local), or an age such as 2h or 7d"
)]
pub struct NotATime(String);

/// A moment that somebody typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The moment.
    pub at: Timestamp,
    /// Whether it was said in UTC or with an offset, so that nothing had to be supposed.
    pub exact: bool,
}

/// Reads a moment; ages count back from `now`, and a time without an offset is in `zone`.
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Moment, NotATime> {
    let text = text.trim();
    let wrong = || NotATime(text.to_owned());
    if let Ok(age) = duration(text) {
        return Ok(Moment { at: now.minus(age), exact: false });
    }
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(Moment { at: Timestamp(at.as_millisecond()), exact: true });
    }
    let civil = match text.parse::<DateTime>() {
        Ok(civil) => civil,
        Err(_) => text.parse::<Date>().map_err(|_| wrong())?.to_datetime(jiff::civil::Time::midnight()),
    };
    // A time that the zone skips or repeats is taken as clocks show it before the change.
    let at = zone.to_timestamp(civil).map_err(|_| wrong())?;
    Ok(Moment { at: Timestamp(at.as_millisecond()), exact: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_000_000_000); // 2026-11-18T11:06:40Z

    #[track_caller]
    fn check(text: &str, expected: &str, exact: bool) {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let found = parse(text, NOW, &zone).unwrap();
        assert_eq!((found.at.to_string().as_str(), found.exact), (expected, exact), "{text}");
    }

    #[test]
    fn every_form_of_the_contract_is_read() {
        check("2026-11-17T14:03:00Z", "2026-11-17T14:03:00Z", true);
        check("2026-11-17T14:03:00.25+02:00", "2026-11-17T12:03:00.25Z", true);
        check("2026-11-17 14:03", "2026-11-17T13:03:00Z", false);
        check("2026-07-17 14:03:30", "2026-07-17T12:03:30Z", false);
        check("2026-11-17T14:03", "2026-11-17T13:03:00Z", false);
        check("2026-11-17", "2026-11-16T23:00:00Z", false);
        check("2h", "2026-11-18T09:06:40Z", false);
        check("7d", "2026-11-11T11:06:40Z", false);
        check(" 90m ", "2026-11-18T09:36:40Z", false);
    }

    #[test]
    fn a_time_that_the_zone_skips_or_repeats_is_still_a_time() {
        check("2026-03-29 02:30", "2026-03-29T01:30:00Z", false);
        check("2026-10-25 02:30", "2026-10-25T00:30:00Z", false);
    }

    #[test]
    fn anything_else_is_refused_in_words() {
        for wrong in ["", "yesterday", "7", "-2h", "17.11.2026", "2026-13-01", "2026-11-17 25:00", "14:03"] {
            assert!(parse(wrong, NOW, &TimeZone::UTC).is_err(), "{wrong:?}");
        }
        let told = parse("soon", NOW, &TimeZone::UTC).unwrap_err().to_string();
        assert!(told.starts_with("\"soon\" is not a time: "), "{told}");
    }
}
