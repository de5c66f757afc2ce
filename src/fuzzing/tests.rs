//! Every property holds for the bytes that are kept in `fuzz/corpus/`, and for what it began with.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use super::seeds::seeds;

/// What takes any bytes, and panics where it does not hold.
type Property = fn(&[u8]);

/// Every property, under the name of its program and of its corpus.
const TARGETS: [(&str, Property); 7] = [
    ("cookie", super::cookie),
    ("discord", super::discord),
    ("forwarded", super::forwarded),
    ("frame", super::frame),
    ("import", super::import),
    ("rd", super::rd),
    ("rules", super::rules),
];

/// The most files of one corpus, and the most bytes of all.
const MOST: usize = 40;
const MOST_BYTES: u64 = 300_000;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Returns the files of a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// Returns for which of the inputs the property does not hold; the panic itself is printed above.
fn broken(property: Property, inputs: Vec<(String, Vec<u8>)>) -> Vec<String> {
    assert!(!inputs.is_empty(), "there is nothing to try");
    let fails = |(_, bytes): &(String, Vec<u8>)| catch_unwind(|| property(bytes)).is_err();
    inputs.into_iter().filter(fails).map(|(name, _)| name).collect()
}

#[test]
fn every_property_holds_for_what_is_kept() {
    let mut broken_by = Vec::new();
    for (target, property) in TARGETS {
        let files = files(&fuzz().join("corpus").join(target));
        assert!(files.len() <= MOST, "{target} has {} files", files.len());
        let inputs = files.iter().map(|file| (name(file), fs::read(file).unwrap())).collect();
        broken_by.extend(broken(property, inputs).into_iter().map(|name| format!("{target}/{name}")));
    }
    assert!(broken_by.is_empty(), "in fuzz/corpus: {broken_by:?}");
}

#[test]
fn every_property_holds_for_what_it_begins_with() {
    let mut broken_by = Vec::new();
    for (target, property) in TARGETS {
        broken_by.extend(broken(property, seeds(target)).into_iter().map(|name| format!("{target}: {name}")));
    }
    assert!(broken_by.is_empty(), "{broken_by:?}");
}

#[test]
fn every_property_has_a_program_and_a_small_corpus() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let of =
        |folder: &str| files(&fuzz().join(folder)).iter().map(|path| name(path)).collect::<BTreeSet<_>>();
    assert_eq!(of("corpus"), names);
    assert_eq!(of("fuzz_targets"), names);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &names {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
    let kept = names.iter().flat_map(|name| files(&fuzz().join("corpus").join(name)));
    let bytes: u64 = kept.map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(bytes <= MOST_BYTES, "the corpora have {bytes} bytes");
}

#[test]
#[ignore = "writes what each program may begin with into fuzz/found/; run it once before fuzzing"]
fn write_seeds() {
    // A run of all ignored tests writes nothing.
    if std::env::var_os("WRITE_SEEDS").is_none() {
        return;
    }
    for (target, _) in TARGETS {
        let folder = fuzz().join("found").join(target);
        fs::create_dir_all(&folder).unwrap();
        for (name, bytes) in seeds(target) {
            fs::write(folder.join(name), bytes).unwrap();
        }
    }
}
