//! What documents say of tests, held against the tests: every test that one names is there, in the file it names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::tidy::{root, sources};

/// The documents that may name tests, and how many they name at least: fewer would mean that they are read wrongly.
const DOCUMENTS: &[(&str, usize)] =
    &[("ARCHITECTURE.md", 30), ("README.md", 0), ("docs/threat-model.md", 200)];

/// Macros that make tests of the names they are given: where each is called, and how.
const MAKERS: &[(&str, &str)] =
    &[("src/event_log/conformance.rs", "every_engine! {"), ("src/tests/proxies/mod.rs", "behind_both! {")];

/// The files that have a test of that name; their paths begin in `src/`, as they do in the documents.
type Tests = BTreeMap<String, BTreeSet<String>>;

/// A test that a document names.
struct Named {
    line: usize,
    /// Where it is said to be; a sentence may stand alone.
    file: Option<String>,
    test: String,
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let tests = tests();
    assert!(tests.len() > 500, "the tests are somewhere else");
    let mut wrong = Vec::new();
    for (path, least) in DOCUMENTS {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let named = named(&text);
        assert!(named.len() >= *least, "{path} names {} tests: is it read wrongly?", named.len());
        wrong.extend(
            named.iter().filter_map(|named| missing(named, &tests)).map(|why| format!("{path}:{why}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns what is wrong with a name, after its line.
fn missing(named: &Named, tests: &Tests) -> Option<String> {
    let Named { line, file, test } = named;
    let Some(files) = tests.get(test) else { return Some(format!("{line}: there is no test `{test}`")) };
    let file = file.as_ref().filter(|file| !files.contains(*file))?;
    Some(format!("{line}: there is no test `{test}` in src/{file}, but there is one in {files:?}"))
}

/// Returns the tests that a document names.
///
/// A name follows its file, or another name of that file: `tests/login.rs`: `one_name`, `another`. What is long enough
/// to be a sentence is the name of a test wherever it stands; nothing else in a document is.
fn named(text: &str) -> Vec<Named> {
    let mut found = Vec::new();
    let mut is_code = false;
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            named_in(line, text, &mut found);
        }
    }
    found
}

fn named_in(line: usize, text: &str, found: &mut Vec<Named>) {
    let mut file: Option<&str> = None;
    let mut is_first = false;
    // What stands before a pair of backticks, and what stands between them.
    for pair in text.split('`').collect::<Vec<_>>().chunks_exact(2) {
        let (before, word) = (pair[0].trim(), pair[1]);
        if word.ends_with(".rs") {
            (file, is_first) = (Some(word.trim_start_matches("src/")), true);
            continue;
        }
        let goes_on = if is_first { before == ":" } else { matches!(before, "," | "and" | ", and") };
        is_first = false;
        file = file.filter(|_| goes_on && is_name(word));
        if file.is_some() || is_name(word) && word.matches('_').count() >= 4 {
            found.push(Named { line, file: file.map(str::to_owned), test: word.to_owned() });
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Returns every test there is.
fn tests() -> Tests {
    let mut tests = Tests::new();
    for source in sources() {
        let marked = marked(&source.text).into_iter().map(|test| (source.path.clone(), test));
        let makers = MAKERS.iter().filter(|(path, _)| *path == source.path);
        let made = makers.flat_map(|(path, opening)| made(path, &source.text, opening));
        for (path, test) in marked.chain(made) {
            let path = path.trim_start_matches("src/").to_owned();
            tests.entry(test.to_owned()).or_default().insert(path);
        }
    }
    tests
}

/// Returns the names of the functions that are marked as tests.
fn marked(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim_start) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if !line.starts_with("//")
            && !line.starts_with("#[")
            && let Some((_, rest)) = line.split_once("fn ")
        {
            let name = rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next();
            found.extend(name.filter(|name| is_test && !name.is_empty()));
            is_test = false;
        }
    }
    found
}

/// Returns the tests that a macro makes, and the file of each: `module::name` is in a file beside this one.
fn made<'a>(path: &str, text: &'a str, opening: &str) -> Vec<(String, &'a str)> {
    let Some((_, rest)) = text.split_once(&format!("\n{opening}")) else { return Vec::new() };
    let inside = rest.split_once("\n}").map_or(rest, |(inside, _)| inside);
    let names = inside.split([',', ' ', '\n']).filter(|name| !name.is_empty());
    let place = |name: &'a str| match name.split_once("::") {
        Some((module, test)) => (path.replace("mod.rs", &format!("{module}.rs")), test),
        None => (path.to_owned(), name),
    };
    names.map(place).collect()
}

#[test]
fn names_are_read_as_documents_write_them() {
    let read = |text: &str| {
        let all = named(text).into_iter();
        all.map(|named| (named.line, named.file.unwrap_or_default(), named.test)).collect::<Vec<_>>()
    };
    let one = |line: usize, file: &str, test: &str| (line, file.to_owned(), test.to_owned());
    let row =
        "`State`\n| x | `src/tests/a.rs`: `one_two`, `three`, and `four_five`; `x_y` | `b.rs`: `six_seven` |";
    let names = [
        ("tests/a.rs", "one_two"),
        ("tests/a.rs", "three"),
        ("tests/a.rs", "four_five"),
        ("b.rs", "six_seven"),
    ];
    assert_eq!(read(row), names.map(|(file, test)| one(2, file, test)));
    let alone = [one(1, "", "this_is_a_whole_sentence")];
    assert_eq!(read("`a.rs`, which has `one_two`, such as `this_is_a_whole_sentence`"), alone);
    for none in [
        "```\n`a.rs`: `one_two`\n```",
        "`a.rs`: `State::apply`, `one_two`",
        "`sign_in_not_allowed`",
        "a.rs: one_two",
    ] {
        assert!(read(none).is_empty(), "{none}: {:?}", read(none));
    }
}

#[test]
fn a_test_that_is_not_there_is_named_with_its_line() {
    let tests = Tests::from([("it_is_there".to_owned(), BTreeSet::from(["tests/a.rs".to_owned()]))]);
    let say = |file: Option<&str>, test: &str| {
        missing(&Named { line: 7, file: file.map(str::to_owned), test: test.to_owned() }, &tests)
    };
    assert_eq!(say(None, "it_is_there"), None);
    assert_eq!(say(Some("tests/a.rs"), "it_is_there"), None);
    assert_eq!(say(None, "it_was_there").as_deref(), Some("7: there is no test `it_was_there`"));
    let elsewhere =
        "7: there is no test `it_is_there` in src/tests/b.rs, but there is one in {\"tests/a.rs\"}";
    assert_eq!(say(Some("tests/b.rs"), "it_is_there").as_deref(), Some(elsewhere));
}

#[test]
fn tests_are_found_however_they_are_made() {
    let text = "#[test]\n#[ignore = \"why\"]\n/// fn x\nfn one() {}\nfn two() {}\n    #[tokio::test(flavor = \"x\")]\n    async fn three() {}";
    assert_eq!(marked(text), ["one", "three"]);
    assert!(marked("#[tokio::test]\nasync fn $name() {}").is_empty());
    let text = "macro_rules! both {}\n\nboth! {\n    doors::one,\n    two\n}\nfn three() {}";
    let names = [("src/x/doors.rs", "one"), ("src/x/mod.rs", "two")];
    assert_eq!(made("src/x/mod.rs", text, "both! {"), names.map(|(path, test)| (path.to_owned(), test)));
    let all = tests();
    let is_in = |test: &str, file: &str| all.get(test).is_some_and(|files| files.contains(file));
    assert!(is_in("a_query_is_no_path", "tests/proxies/forgery.rs"));
    assert!(is_in("a_wrong_expectation_writes_nothing", "event_log/conformance.rs"));
}
