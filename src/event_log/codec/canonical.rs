//! bincode with the checks that it lacks: a size limit, the exact length, and one encoding per value.
//!
//! Without the limit nine hostile bytes make bincode ask for 4 EiB and abort the process; without the
//! length a field that went missing is read over in silence; without the last check a number written too
//! wide gives a second frame, and so a second leaf hash, for the same record.

use bincode::config::{self, Config};
use bincode::de::BorrowDecode;
use bincode::enc::Encode;
use bincode::enc::write::{SizeWriter, Writer};

use super::{DecodeError, EncodeError, MAX_FRAME};

/// What decoding may ask for in memory: as much as a frame full of the smallest items takes.
const MEMORY: usize = 16 * MAX_FRAME;

fn config() -> impl Config {
    config::standard().with_limit::<MEMORY>()
}

/// Writes `value`, in one piece of memory, so that a secret leaves no copies behind.
pub(super) fn encode<T: Encode>(what: &'static str, value: &T) -> Result<Vec<u8>, EncodeError> {
    encode_after(what, &[], value)
}

/// Writes `prefix` and then `value`.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub(super) fn encode_after<T: Encode>(
    what: &'static str,
    prefix: &[u8],
    value: &T,
) -> Result<Vec<u8>, EncodeError> {
    let unwritable = |_| EncodeError::Unwritable { what };
    let mut size = SizeWriter::default();
    bincode::encode_into_writer(value, &mut size, config()).map_err(unwritable)?;
    let bytes = prefix.len() + size.bytes_written;
    if bytes > MAX_FRAME {
        return Err(EncodeError::TooLarge { what, bytes });
    }
    let mut out = Vec::with_capacity(bytes);
    out.extend_from_slice(prefix);
    bincode::encode_into_writer(value, Appending(&mut out), config()).map_err(unwritable)?;
    Ok(out)
}

/// Reads a value that takes all of `bytes` and would be written as exactly these.
#[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
pub(super) fn decode<'a, T>(what: &'static str, bytes: &'a [u8]) -> Result<T, DecodeError>
where
    T: Encode + BorrowDecode<'a, ()>,
{
    if bytes.len() > MAX_FRAME {
        return Err(DecodeError::TooLarge { what, bytes: bytes.len() });
    }
    let (value, read): (T, usize) =
        bincode::borrow_decode_from_slice(bytes, config()).map_err(|_| DecodeError::Malformed { what })?;
    if read != bytes.len() {
        return Err(DecodeError::LeftOver { what, bytes: bytes.len() - read });
    }
    // bincode reads a bool, a tag and a variant in one way only, and a number in the narrowest and in wider ones: so
    // these bytes are what would be written if they are not more than that.
    let mut narrowest = SizeWriter::default();
    match bincode::encode_into_writer(&value, &mut narrowest, config()) {
        Ok(()) if narrowest.bytes_written == bytes.len() => Ok(value),
        _ => Err(DecodeError::NotCanonical { what }),
    }
}

struct Appending<'a>(&'a mut Vec<u8>);

impl Writer for Appending<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_length_is_refused_before_memory_is_asked_for() {
        let hostile = [0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f];
        assert_eq!(decode::<Vec<u64>>("it", &hostile), Err(DecodeError::Malformed { what: "it" }));
        assert_eq!(decode::<&str>("it", &hostile), Err(DecodeError::Malformed { what: "it" }));
    }

    #[test]
    fn a_number_has_one_encoding() {
        assert_eq!(decode::<u64>("it", &[7]), Ok(7));
        for wide in [&[0xfb, 7, 0][..], &[0xfc, 7, 0, 0, 0], &[0xfd, 7, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(decode::<u64>("it", wide), Err(DecodeError::NotCanonical { what: "it" }));
        }
    }

    #[test]
    fn nothing_may_follow_and_nothing_may_be_missing() {
        assert_eq!(decode::<u64>("it", &[7, 0]), Err(DecodeError::LeftOver { what: "it", bytes: 1 }));
        assert_eq!(decode::<u64>("it", &[]), Err(DecodeError::Malformed { what: "it" }));
    }

    #[test]
    fn what_is_too_long_is_neither_written_nor_read() {
        let long = "x".repeat(MAX_FRAME);
        let too_large = EncodeError::TooLarge { what: "it", bytes: MAX_FRAME + 3 };
        assert_eq!(encode("it", &long), Err(too_large));
        let long = vec![0; MAX_FRAME + 1];
        let too_large = DecodeError::TooLarge { what: "it", bytes: MAX_FRAME + 1 };
        assert_eq!(decode::<u64>("it", &long), Err(too_large));
    }
}
