//! How long Discord asks us to wait: what a 429 says in its header and in its body.

use std::time::Duration;

use serde_json::Value;

/// The longest wait that is believed: a ban lasts a day, and a typing error should not last a year.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Returns the larger of what header and body say; `None` if neither says anything readable.
///
/// Both are seconds, with a fraction in the body. What is not a number of seconds says nothing.
pub(super) fn told(header: Option<&str>, body: Option<&Value>) -> Option<Duration> {
    let header = header.and_then(|text| text.trim().parse::<f64>().ok());
    let body = body.and_then(Value::as_f64);
    header.into_iter().chain(body).filter_map(seconds).max()
}

fn seconds(value: f64) -> Option<Duration> {
    // NaN, infinity and negative numbers are no waits; too large ones are cut before they are converted.
    (value.is_finite() && value >= 0.0).then(|| Duration::from_secs_f64(value.min(LONGEST.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(header: Option<&str>, body: Option<Value>, expected: Option<f64>) {
        assert_eq!(told(header, body.as_ref()), expected.map(Duration::from_secs_f64), "{header:?} {body:?}");
    }

    #[test]
    fn the_larger_of_header_and_body_counts() {
        check(Some("2"), Some(json!(1.287)), Some(2.0));
        check(Some("1"), Some(json!(64.57)), Some(64.57));
        check(Some("3600"), None, Some(3600.0));
        check(None, Some(json!(0.3)), Some(0.3));
        check(Some(" 1.5 "), None, Some(1.5));
        check(None, Some(json!(0)), Some(0.0));
    }

    #[test]
    fn garbage_says_nothing_and_never_panics() {
        for header in ["abc", "", "-5", "NaN", "inf", "-inf", "1e999", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            check(Some(header), None, None);
            check(Some(header), Some(json!(3)), Some(3.0));
        }
        for body in [json!("5"), json!(null), json!(-1), json!([1]), json!({})] {
            check(None, Some(body.clone()), None);
            check(Some("4"), Some(body), Some(4.0));
        }
    }

    #[test]
    fn nobody_is_believed_for_longer_than_a_day() {
        check(Some("99999999999999999999"), None, Some(86_400.0));
        check(None, Some(json!(1e300)), Some(86_400.0));
    }
}
