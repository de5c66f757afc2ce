//! JSON for programs, which a terminal can be shown as well.

use std::io;

use serde::Serialize;

use super::rows::is_hidden;

/// Returns a value over several lines, without the last line's end.
pub(super) fn pretty(value: &impl Serialize) -> io::Result<String> {
    Ok(escaped(serde_json::to_string_pretty(value)?))
}

/// Returns a value in one line, without its end.
pub(super) fn line(value: &impl Serialize) -> io::Result<String> {
    Ok(escaped(serde_json::to_string(value)?))
}

/// Writes out what a terminal would obey or what would hide something; to a program the value is the same.
///
/// JSON itself escapes only what is below a space. What is left stands in strings and nowhere else.
fn escaped(json: String) -> String {
    let must_go = |c: char| c != '\n' && is_hidden(c);
    // Mostly it is plain, which is seen without looking at each character.
    let is_plain = json.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n'));
    if is_plain || !json.contains(must_go) {
        return json;
    }
    let mut text = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        if must_go(c) {
            let mut units = [0; 2];
            text.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_nothing_and_a_program_everything() {
        let value =
            ["\u{1b}[31m\u{7f}", "\u{9b}2J", "a\u{202e}b", "\u{e0041}", "\u{e9}\u{4f60}\n", "\u{1f600}"];
        for text in [pretty(&value).unwrap(), line(&value).unwrap()] {
            assert!(!text.contains(|c: char| c != '\n' && is_hidden(c)), "{text:?}");
            assert!(
                text.contains("\\u009b2J") && text.contains("\\udb40\\udc41") && text.contains('\u{e9}'),
                "{text}"
            );
            assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), value);
        }
    }
}
