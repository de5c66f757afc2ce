//! The path of a request in the one form that rules are asked about, and whether it could be read in another way.
//!
//! A guard and the app behind it may read a path differently. What can be read in two ways is called ambiguous
//! and is granted only where every reading is (see [`super::access`]).

use std::fmt;

use percent_encoding::percent_decode_str;

/// The longest path that is looked at, in bytes.
pub const MAX_LEN: usize = 8_192;

/// A path as rules see it: what need not be escaped is not, no dot segments, no repeated slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPath {
    normal: String,
    is_ambiguous: bool,
    is_respelled: bool,
}

/// The text is not the path of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the path of a request")]
pub struct MalformedPath;

impl RequestPath {
    /// Reads a path, without its query.
    pub fn parse(raw: &str) -> Result<RequestPath, MalformedPath> {
        if !raw.starts_with('/') || raw.len() > MAX_LEN {
            return Err(MalformedPath);
        }
        let Decoded { text, mut is_ambiguous, is_respelled } = decode(raw)?;
        // What is no UTF-8 is read as dots and slashes by some (`%c0%ae`), and dropped by others.
        is_ambiguous |= percent_decode_str(&text).decode_utf8().is_err();
        let normal = remove_dots_and_slashes(&text);
        is_ambiguous |= normal != text;
        Ok(RequestPath { normal, is_ambiguous, is_respelled })
    }

    /// Returns the path that rules are compared with.
    pub fn normal(&self) -> &str {
        &self.normal
    }

    /// Returns whether an app may read another path in what was sent.
    pub fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }

    /// Returns whether a character that may stand as it is was escaped, or one was not that should be: `%3A` for `:`.
    ///
    /// Most apps read both alike, so it matters only where a rule has such a character in its path.
    pub fn is_respelled(&self) -> bool {
        self.is_respelled
    }
}

struct Decoded {
    text: String,
    is_ambiguous: bool,
    is_respelled: bool,
}

/// Decodes what may stand in a path as it is, once; the rest is escaped, with capitals.
fn decode(raw: &str) -> Result<Decoded, MalformedPath> {
    let bytes = raw.as_bytes();
    let mut decoded =
        Decoded { text: String::with_capacity(raw.len()), is_ambiguous: false, is_respelled: false };
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let digits = bytes.get(at + 1..at + 3).ok_or(MalformedPath)?;
                let mut escaped = [0];
                hex::decode_to_slice(digits, &mut escaped).map_err(|_| MalformedPath)?;
                decoded.take_escaped(escaped[0])?;
                at += 3;
            }
            b'#' | 0..=b' ' | 0x7f..=0xff => return Err(MalformedPath),
            _ => {
                decoded.take(byte);
                at += 1;
            }
        }
    }
    Ok(decoded)
}

impl Decoded {
    fn take_escaped(&mut self, byte: u8) -> Result<(), MalformedPath> {
        match byte {
            0 => return Err(MalformedPath),
            byte if is_unreserved(byte) => {
                self.is_ambiguous = true;
                self.text.push(char::from(byte));
            }
            byte if is_reserved_in_a_path(byte) => {
                self.is_respelled = true;
                self.text.push(char::from(byte));
            }
            _ => {
                // To whoever decodes once more, a separator, the end of the path, another escape, or a control.
                self.is_ambiguous |=
                    matches!(byte, b'/' | b'\\' | b'%' | b';' | b'?' | b'#' | 0..=0x1f | 0x7f);
                self.text.push_str(&format!("%{byte:02X}"));
            }
        }
        Ok(())
    }

    fn take(&mut self, byte: u8) {
        self.is_ambiguous |= matches!(byte, b'\\' | b';');
        match byte {
            b'/' | b'\\' | b';' => self.text.push(char::from(byte)),
            byte if is_unreserved(byte) || is_reserved_in_a_path(byte) => self.text.push(char::from(byte)),
            // Browsers escape these; not everybody is a browser.
            _ => {
                self.is_respelled = true;
                self.text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
}

/// Characters that mean the same escaped and not (RFC 3986, section 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The other characters that may stand in a path as they are (section 3.3), but for `;`.
fn is_reserved_in_a_path(byte: u8) -> bool {
    matches!(byte, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

fn remove_dots_and_slashes(text: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut is_directory = false;
    for segment in text.split('/') {
        is_directory = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let mut normal = String::with_capacity(text.len());
    for segment in &kept {
        normal.push('/');
        normal.push_str(segment);
    }
    if is_directory || kept.is_empty() {
        normal.push('/');
    }
    normal
}

/// The path of a rule: it and everything below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RulePath(String);

impl RulePath {
    /// Returns the path of a rule that names none: everything.
    pub fn root() -> RulePath {
        RulePath("/".to_owned())
    }

    /// Reads a path as somebody writes it into a rule; it has to be in its normal form, but for letters that
    /// nobody can escape by hand.
    pub fn parse(text: &str) -> Result<RulePath, MalformedPath> {
        if text.contains(|c: char| c.is_control() || matches!(c, ' ' | '?' | '#')) {
            return Err(MalformedPath);
        }
        let escaped: String =
            text.chars().map(|c| if c.is_ascii() { c.to_string() } else { escape(c) }).collect();
        let path = RequestPath::parse(&escaped)?;
        if path.is_ambiguous {
            return Err(MalformedPath);
        }
        let bare = path.normal.strip_suffix('/').filter(|bare| !bare.is_empty());
        Ok(RulePath(bare.unwrap_or(&path.normal).to_owned()))
    }

    /// Returns whether the path is this one or below it. `/admin` is not `/administrator`.
    pub fn covers(&self, path: &RequestPath) -> bool {
        self.is_above(&path.normal)
    }

    /// Returns whether an app for which capitals do not count finds the path here, and these rules do not.
    pub fn covers_in_other_letters(&self, path: &RequestPath) -> bool {
        let (own, path) = (self.0.as_bytes(), path.normal.as_bytes());
        let Some((start, rest)) = path.split_at_checked(own.len()) else { return false };
        start != own && start.eq_ignore_ascii_case(own) && (rest.is_empty() || rest.starts_with(b"/"))
    }

    /// Returns whether it covers every path that the other covers.
    pub fn includes(&self, other: &RulePath) -> bool {
        self.is_above(&other.0)
    }

    fn is_above(&self, path: &str) -> bool {
        self.is_root()
            || path.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns whether a character stands in it that may be spelled in two ways, `:` or `%3A`.
    pub fn holds_reserved(&self) -> bool {
        let mut bytes = self.0.bytes();
        bytes.any(|byte| byte != b'/' && !is_unreserved(byte))
    }

    /// Returns whether it covers everything.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }
}

fn escape(c: char) -> String {
    let mut bytes = [0; 4];
    c.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect()
}

impl fmt::Display for RulePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_path_is_itself() {
        for raw in [
            "/",
            "/admin",
            "/admin/",
            "/a/b/c",
            "/a.b",
            "/...",
            "/..a/b",
            "/a%20b",
            "/caf%C3%A9",
            "/a:b@c,d=e&f+g$h!i*j'k(l)",
            "/~nelly",
            "/.well-known/x",
        ] {
            let path = RequestPath::parse(raw).unwrap_or_else(|_| panic!("{raw:?}"));
            assert_eq!((path.normal(), path.is_ambiguous()), (raw, false), "{raw:?}");
        }
        let lower = RequestPath::parse("/caf%c3%a9").expect("a path");
        assert_eq!((lower.normal(), lower.is_ambiguous()), ("/caf%C3%A9", false));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_ambiguous() {
        for (raw, normal) in [
            ("//", "/"),
            ("//admin", "/admin"),
            ("/admin//", "/admin/"),
            ("/./admin", "/admin"),
            ("/admin/.", "/admin/"),
            ("/x/../admin", "/admin"),
            ("/../admin", "/admin"),
            ("/admin/..", "/"),
            ("/a/b/../..", "/"),
            ("/%61dmin", "/admin"),
            ("/%41dmin", "/Admin"),
            ("/x/%2e%2e/admin", "/admin"),
            ("/x/.%2E/admin", "/admin"),
            ("/%2e/admin", "/admin"),
            ("/%7Enelly", "/~nelly"),
            ("/x%2f..%2fadmin", "/x%2F..%2Fadmin"),
            ("/x%2Fadmin", "/x%2Fadmin"),
            ("/%2fadmin", "/%2Fadmin"),
            ("/x%5c..%5cadmin", "/x%5C..%5Cadmin"),
            ("/x\\..\\admin", "/x\\..\\admin"),
            ("/%2561dmin", "/%2561dmin"),
            ("/x/%252e%252e/admin", "/x/%252e%252e/admin"),
            ("/x/..;/admin", "/x/..;/admin"),
            ("/admin;x=y", "/admin;x=y"),
            ("/;/admin", "/;/admin"),
            ("/admin%3Bx", "/admin%3Bx"),
            ("/a%0a", "/a%0A"),
            ("/a%0d%0ab", "/a%0D%0Ab"),
            ("/a%09", "/a%09"),
            ("/a%7f", "/a%7F"),
            ("/admin%3fx", "/admin%3Fx"),
            ("/admin%23x", "/admin%23x"),
            ("/%c0%ae%c0%ae/admin", "/%C0%AE%C0%AE/admin"),
            ("/a%ff", "/a%FF"),
            ("/%ed%a0%80", "/%ED%A0%80"),
        ] {
            let path = RequestPath::parse(raw).unwrap_or_else(|_| panic!("{raw:?}"));
            assert_eq!((path.normal(), path.is_ambiguous()), (normal, true), "{raw:?}");
        }
    }

    /// An app decodes both; a rule for the one must be a rule for the other.
    #[test]
    fn two_spellings_of_one_path_have_one_form() {
        for (raw, normal) in [
            ("/wiki/Special%3aUserRights", "/wiki/Special:UserRights"),
            ("/%40admin/%21%24%26%27%28%29%2A%2B%2C%3D", "/@admin/!$&'()*+,="),
            ("/a[1]", "/a%5B1%5D"),
            ("/a|b\"<>^`{}", "/a%7Cb%22%3C%3E%5E%60%7B%7D"),
        ] {
            let path = RequestPath::parse(raw).unwrap_or_else(|_| panic!("{raw:?}"));
            assert_eq!(path.normal(), normal, "{raw:?}");
            assert!(path.is_respelled() && !path.is_ambiguous(), "{raw:?}");
        }
        let rule = |text| RulePath::parse(text).expect("a path");
        assert_eq!(rule("/%40admin"), rule("/@admin"));
        assert_eq!(rule("/a[1]"), rule("/a%5b1%5D"));
        assert!(rule("/@admin").holds_reserved() && rule("/a[1]").holds_reserved());
        assert!(!rule("/admin/x-y_z.~1").holds_reserved() && !rule("/").holds_reserved());
    }

    #[test]
    fn what_is_no_path_is_malformed() {
        let long = format!("/{}", "a".repeat(MAX_LEN));
        for raw in [
            "",
            "admin",
            "*",
            "?x",
            "https://x/",
            "/a#b",
            "/a%00b",
            "/%",
            "/%2",
            "/%zz",
            "/%u0041",
            "/a b",
            "/a\tb",
            "/a\nb",
            "/a\u{7f}",
            "/\u{e9}",
            "/a%",
            long.as_str(),
        ] {
            assert_eq!(RequestPath::parse(raw), Err(MalformedPath), "{raw:?}");
        }
    }

    #[test]
    fn a_rule_covers_its_path_and_what_is_below() {
        let admin = RulePath::parse("/admin").expect("a path");
        assert_eq!(RulePath::parse("/admin/"), Ok(admin.clone()));
        let covers = |raw| admin.covers(&RequestPath::parse(raw).expect("a path"));
        for inside in ["/admin", "/admin/", "/admin/users", "/x/../admin/y", "/%61dmin"] {
            assert!(covers(inside), "{inside}");
        }
        for outside in ["/", "/administrator", "/x/admin", "/Admin", "/admi", "/admin%2Fx"] {
            assert!(!covers(outside), "{outside}");
        }
        let other_letters = |raw| admin.covers_in_other_letters(&RequestPath::parse(raw).expect("a path"));
        for found in ["/Admin", "/ADMIN/", "/aDMIN/x"] {
            assert!(other_letters(found) && !covers(found), "{found}");
        }
        for not_found in ["/", "/admin", "/admin/X", "/Administrator", "/x/Admin", "/Adm"] {
            assert!(!other_letters(not_found), "{not_found}");
        }
        let includes = |other| admin.includes(&RulePath::parse(other).expect("a path"));
        assert!(includes("/admin/") && includes("/admin/x") && RulePath::root().includes(&admin));
        assert!(!includes("/") && !includes("/administrator"));
        assert!(RulePath::parse("/").expect("the root").is_root());
        assert_eq!(RulePath::parse("/caf\u{e9}").expect("a path").to_string(), "/caf%C3%A9");
        for wrong in
            ["", "admin", "/a/../b", "//a", "/%61", "/a;b", "/a b", "/a?b", "/a#b", "/a%2Fb", "/a\\b"]
        {
            assert_eq!(RulePath::parse(wrong), Err(MalformedPath), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn the_normal_form_of_a_normal_form_is_itself(raw in "(/|\\.|%2[eEfF5]|%61|[a-c;])*") {
            let Ok(path) = RequestPath::parse(&format!("/{raw}")) else { return Ok(()) };
            let again = RequestPath::parse(path.normal()).expect("a normal form is a path");
            prop_assert_eq!(again.normal(), path.normal());
            prop_assert!(!path.normal().contains("//"));
            prop_assert!(path.normal().split('/').all(|segment| segment != "." && segment != ".."));
        }
    }
}
