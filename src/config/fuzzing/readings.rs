//! The paths that some app may read in one that was sent: the oracle that decisions are compared with.
//!
//! It knows nothing of [`crate::domain::path`]: it does to bytes what servers, routers and frameworks are known to do.

use std::collections::BTreeSet;

/// How often somebody on the way may decode.
const TIMES: usize = 3;

/// Returns every path that an app may read, escaped as far as it has to be.
pub(super) fn readings(raw: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut decoded = raw.as_bytes().to_vec();
    for times in 0..=TIMES {
        for steps in 0..64_u8 {
            let path = read(&decoded, steps);
            all.insert(escape(&path, times > 0));
            // To some, capitals are no other letters.
            all.insert(escape(&path.to_ascii_lowercase(), times > 0));
            // Dots may be resolved before somebody decodes once more.
            all.insert(escape(&resolve(&decode(&path)), true));
        }
        decoded = decode(&decoded);
    }
    all
}

/// Does to a path what the bits of `steps` say.
fn read(path: &[u8], steps: u8) -> Vec<u8> {
    let does = |bit: u8| steps & (1 << bit) != 0;
    let mut path = path.to_vec();
    if does(0) {
        path.iter_mut().filter(|byte| **byte == b'\\').for_each(|byte| *byte = b'/');
    }
    if does(1) {
        let end = path.iter().position(|byte| matches!(byte, b'?' | b'#' | 0)).unwrap_or(path.len());
        path.truncate(end);
    }
    if does(2) {
        // What stands behind a semicolon is a parameter of its segment.
        let bare = |segment: &[u8]| segment.split(|byte| *byte == b';').next().unwrap_or_default().to_vec();
        path = path.split(|byte| *byte == b'/').map(bare).collect::<Vec<_>>().join(&b'/');
    }
    if does(3) {
        path.retain(|byte| !byte.is_ascii_control());
    }
    if does(4) {
        path = overlong(&path);
    }
    if does(5) { resolve(&path) } else { path }
}

/// Reads a dot and a slash in two bytes, which no UTF-8 has, as old servers did.
fn overlong(path: &[u8]) -> Vec<u8> {
    let mut read = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, behind)) = rest.split_first() {
        let (short, left) = match (byte, behind.split_first()) {
            (0xc0, Some((0xae, behind))) => (b'.', behind),
            (0xc0, Some((0xaf, behind))) => (b'/', behind),
            _ => (byte, behind),
        };
        read.push(short);
        rest = left;
    }
    read
}

/// Removes dots and empty segments.
fn resolve(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    [b"/", &kept.join(&b'/')[..]].concat()
}

/// Decodes every escape once; what is none stays.
fn decode(path: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(path).collect()
}

/// Escapes what cannot stand in a path, as browsers do, and what would be read as the end of it.
///
/// A `%` begins an escape as long as nobody has decoded, and is a letter like any other afterwards.
fn escape(path: &[u8], is_decoded: bool) -> String {
    let stands = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@/\\;".contains(&byte);
    let escape = |byte: &u8| match *byte {
        byte if stands(byte) || (byte == b'%' && !is_decoded) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    path.iter().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The spellings that proxies are tested with as well. The two that lead nowhere are refused out of caution alone.
    #[test]
    fn what_is_known_to_lead_to_admin_has_such_a_reading() {
        let leads = |path: &&str| {
            readings(path).iter().any(|reading| reading == "/admin" || reading.starts_with("/admin/"))
        };
        let known = include_str!("../../../fixtures/paths/admin.txt");
        let others: Vec<&str> = known.lines().filter(|path| !leads(path)).collect();
        assert_eq!(others, ["/;admin", "/x/%ff/admin"]);
        for other in ["/administrator", "/x/admin", "/caf%C3%A9", "/"] {
            assert!(!leads(&other), "{other}");
        }
    }
}
