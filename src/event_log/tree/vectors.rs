//! Trees that others built: the eight leaves that every implementation is tested with, and a fixture.

use serde_json::Value;

use super::{Frontier, Tree, empty_root, verify_consistency, verify_inclusion};
use crate::domain::id::Hash;
use crate::event_log::codec::leaf_hash;

/// The leaves of `testonly/constants.go` in <https://github.com/transparency-dev/merkle>, once of
/// certificate-transparency.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

/// The roots of the first 0 to 8 of them.
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

const LEAF_0: &str = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
const LEAF_1: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
const LEAF_4: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
const LEAVES_0_1: &str = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125";
const LEAVES_2_3: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
const LEAVES_4_5: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
const LEAVES_6_7: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
const LEAVES_0_3: &str = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
const LEAVES_4_7: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";

/// Index, size and proof, as in `testonly/reference_test.go` there.
const INCLUSION: [(u64, u64, &[&str]); 7] = [
    (0, 1, &[]),
    (0, 2, &[LEAF_1]),
    (1, 2, &[LEAF_0]),
    (2, 3, &[LEAVES_0_1]),
    (1, 5, &[LEAF_0, LEAVES_2_3, LEAF_4]),
    (0, 8, &[LEAF_1, LEAVES_2_3, LEAVES_4_7]),
    (5, 8, &[LEAF_4, LEAVES_6_7, LEAVES_0_3]),
];

/// Old size, new size and proof, from the same file.
const CONSISTENCY: [(u64, u64, &[&str]); 4] = [
    (1, 1, &[]),
    (1, 8, &[LEAF_1, LEAVES_2_3, LEAVES_4_7]),
    (2, 5, &[LEAVES_2_3, LEAF_4]),
    (6, 8, &[LEAVES_4_5, LEAVES_6_7, LEAVES_0_3]),
];

fn hash(text: &str) -> Hash {
    text.parse().unwrap()
}

fn hashes(texts: &[&str]) -> Vec<Hash> {
    texts.iter().map(|text| hash(text)).collect()
}

#[test]
fn the_eight_leaves_have_the_published_roots() {
    assert_eq!(empty_root(), hash(ROOTS[0]));
    let (mut frontier, mut tree) = (Frontier::new(), Tree::new());
    for (leaf, root) in LEAVES.iter().zip(&ROOTS[1..]) {
        let leaf = leaf_hash(&hex::decode(leaf).unwrap());
        frontier.push(leaf);
        tree.push(leaf);
        assert_eq!((frontier.root(), tree.root()), (hash(root), hash(root)));
    }
    assert_eq!(frontier.parts(), (8, vec![hash(ROOTS[8])]));
}

#[test]
fn the_eight_leaves_have_the_published_proofs() {
    let frames: Vec<Vec<u8>> = LEAVES.iter().map(|leaf| hex::decode(leaf).unwrap()).collect();
    let tree: Tree = frames.iter().map(|frame| leaf_hash(frame)).collect();
    let head = |size: u64| (size, hash(ROOTS[usize::try_from(size).unwrap()]));
    for (index, size, proof) in INCLUSION {
        assert_eq!(tree.inclusion(index, size).unwrap(), hashes(proof), "{index} of {size}");
        let frame = &frames[usize::try_from(index).unwrap()];
        assert_eq!(verify_inclusion(frame, index, head(size), &hashes(proof)), Ok(()));
    }
    for (old, new, proof) in CONSISTENCY {
        assert_eq!(tree.consistency(old, new).unwrap(), hashes(proof), "{old} to {new}");
        assert_eq!(verify_consistency(head(old), head(new), &hashes(proof)), Ok(()));
    }
}

/// The tests of project-oak hold a proof from a public log: the last entry of 76,959.
#[test]
fn a_proof_from_a_log_in_use_verifies() {
    let proof = hashes(&[
        "7c64652f2bb3f8bf496fcfae4d2badff6695738cfb7ca156f9c96fb1beb18c43",
        "17a2dabad3870f97a9a64582d319ff973d345f9836c8b9590249768c223fc1d1",
        "a87ece27114dba9f930ef26ea217761e984a56781f31e33350af100a110371ab",
        "f98de0ef9f325ed3c2461fdeaa12d30376dd731f9c095d546a1d09760074604b",
        "beaf1c2528e3f1d3d598505152a0cb95a32a5ba680611d862ae815860b9d5cbb",
        "274cf75f9a936fd5850b5800061545c746d6d6b55944bf8302804bd9eda1e06e",
        "36649b620db9c4d1734d17ab22c1771db10cc93203a96f3b01077d7a4ce8a44f",
        "2fc0598a98d446791cb648c9b4626cf98c935ccb2cbcd280efe6bc9d5d894ffb",
        "a6f6b8445cc27a332454c56661cf7702cda56e4ed6032af0e7c4efaf310e8cd7",
    ]);
    let root = hash("4187eb0fb5c0778a941db441b38743c83670a5937833f71c717af61b9ea9c646");
    assert_eq!(verify_inclusion(b"hello tesseroak\n", 76_958, (76_959, root), &proof), Ok(()));
    assert!(verify_inclusion(b"hello tesseroak", 76_958, (76_959, root), &proof).is_err());
}

#[test]
fn two_python_implementations_have_the_same_roots_and_proofs() {
    let said: Value =
        serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tree/proofs.json")))
            .unwrap();
    let count = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let known = |value: &Value| hash(said["hashes"][count(value)].as_str().unwrap());
    let proof = |value: &Value| value.as_array().unwrap().iter().map(known).collect::<Vec<_>>();
    let tree: Tree = (0..33).map(|n: u64| leaf_hash(n.to_string().as_bytes())).collect();
    for size in 0..=33 {
        assert_eq!(tree.root_at(size).unwrap(), known(&said["roots"][usize::try_from(size).unwrap()]));
    }
    let mut compared = 0;
    for (size, (inclusion, consistency)) in
        (1..).zip(rows(&said["inclusion"]).zip(rows(&said["consistency"])))
    {
        for (n, (included, consistent)) in (0..).zip(rows(inclusion).zip(rows(consistency))) {
            assert_eq!(tree.inclusion(n, size).unwrap(), proof(included), "{n} of {size}");
            assert_eq!(tree.consistency(n + 1, size).unwrap(), proof(consistent), "{} to {size}", n + 1);
            compared += 1;
        }
    }
    assert_eq!(compared, 33 * 34 / 2);
}

fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}
