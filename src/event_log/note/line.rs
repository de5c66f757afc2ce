//! What stands in the lines of notes and proofs, each in the one way it may be written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::domain::id::Hash;

/// Reads decimal digits without sign or leading zero.
pub(in crate::event_log) fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let leading = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| digits && !leading)
}

/// Reads 32 bytes of base64.
pub(in crate::event_log) fn hash(text: &str) -> Option<Hash> {
    unbase64(text)?.try_into().ok().map(Hash)
}

/// Writes base64, of the standard alphabet and with padding.
pub(in crate::event_log) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Reads what [`base64()`] writes, and nothing else that would give the same bytes.
pub(in crate::event_log) fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_one_way() {
        for (text, value) in [("0", 0), ("7", 7), ("10", 10), ("18446744073709551615", u64::MAX)] {
            assert_eq!(number(text), Some(value));
        }
        for text in
            ["", "00", "07", "+7", "-7", " 7", "7 ", "7\r", "0x7", "7.0", "７", "18446744073709551616"]
        {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_hash_is_written_in_one_way() {
        let text = base64(&[0xfe; 32]);
        assert_eq!(text, "/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v4=");
        assert_eq!(hash(&text), Some(Hash([0xfe; 32])));
        let (begin, url) = (text.trim_end_matches('='), text.replace('/', "_").replace('+', "-"));
        // The last digit has two bits that nobody reads.
        let other_bits = text.replace("4=", "5=");
        let wrong = [begin, &url, &other_bits, &text[4..], &format!("{text}\n"), &format!(" {text}"), ""];
        for text in wrong {
            assert_eq!(hash(text), None, "{text:?}");
        }
        assert_eq!((hash(&base64(&[1; 31])), hash(&base64(&[1; 33]))), (None, None));
    }
}
