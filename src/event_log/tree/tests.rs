//! The tree held against its definition, and our proofs and their verification against other hands.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::collection::vec;
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::event_log::codec::leaf_hash;

fn frames(count: u64) -> Vec<Vec<u8>> {
    (0..count).map(|n| format!("record {n}").into_bytes()).collect()
}

fn tree(count: u64) -> Tree {
    frames(count).iter().map(|frame| leaf_hash(frame)).collect()
}

fn head(tree: &Tree, size: u64) -> (u64, Hash) {
    (size, tree.root_at(size).unwrap())
}

/// `MTH` of RFC 6962, as it stands there.
fn root_by_definition(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of(b""),
        [leaf] => *leaf,
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            let (left, right) = leaves.split_at(k);
            let bytes = [&[1][..], &root_by_definition(left).0, &root_by_definition(right).0].concat();
            Hash::of(&bytes)
        }
    }
}

/// The verification of RFC 9162, 2.1.3.2, as it stands there.
fn included_by_definition(frame: &[u8], index: u64, (size, root): (u64, Hash), proof: &[Hash]) -> bool {
    if index >= size {
        return false;
    }
    let (mut first, mut second, mut hash) = (index, size - 1, leaf_hash(frame));
    for other in proof {
        if second == 0 {
            return false;
        }
        if first & 1 == 1 || first == second {
            hash = node(*other, hash);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                second >>= 1;
            }
        } else {
            hash = node(hash, *other);
        }
        first >>= 1;
        second >>= 1;
    }
    second == 0 && hash == root
}

/// The verification of RFC 9162, 2.1.4.2, as it stands there.
fn consistent_by_definition(
    (old, old_root): (u64, Hash),
    (new, new_root): (u64, Hash),
    proof: &[Hash],
) -> bool {
    if old >= new || old == 0 {
        return old == new && old_root == new_root && proof.is_empty();
    }
    let mut proof = proof.to_vec();
    if old.is_power_of_two() {
        proof.insert(0, old_root);
    }
    let Some((start, rest)) = proof.split_first() else { return false };
    let (mut first, mut second) = (old - 1, new - 1);
    while first & 1 == 1 {
        first >>= 1;
        second >>= 1;
    }
    let (mut before, mut after) = (*start, *start);
    for other in rest {
        if second == 0 {
            return false;
        }
        if first & 1 == 1 || first == second {
            before = node(*other, before);
            after = node(*other, after);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                second >>= 1;
            }
        } else {
            after = node(after, *other);
        }
        first >>= 1;
        second >>= 1;
    }
    second == 0 && before == old_root && after == new_root
}

/// What somebody could make of a proof: each hash changed, left out, said twice or swapped with the next.
fn changed(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = vec![[proof, &[Hash([0; 32])]].concat(), [&[Hash([0; 32])], proof].concat()];
    for n in 0..proof.len() {
        let change = |f: &dyn Fn(&mut Vec<Hash>)| {
            let mut proof = proof.to_vec();
            f(&mut proof);
            proof
        };
        all.push(change(&|proof| proof[n].0[n % 32] ^= 1));
        all.push(change(&|proof| _ = proof.remove(n)));
        all.push(change(&|proof| proof.insert(n, proof[n])));
        all.push(change(&|proof| {
            let next = (n + 1) % proof.len();
            proof.swap(n, next);
        }));
    }
    all.retain(|other| other != proof);
    all
}

#[test]
fn every_inclusion_proof_of_small_trees_verifies_and_no_other_does() {
    let (frames, tree) = (frames(20), tree(20));
    for size in 1..=20 {
        for (index, frame) in (0..size).zip(&frames) {
            let proof = tree.inclusion(index, size).unwrap();
            assert_eq!(verify_inclusion(frame, index, head(&tree, size), &proof), Ok(()));
            assert!(included_by_definition(frame, index, head(&tree, size), &proof));
            for other in changed(&proof) {
                assert!(verify_inclusion(frame, index, head(&tree, size), &other).is_err());
            }
            for other in (0..=size + 1).filter(|other| *other != index) {
                assert!(verify_inclusion(frame, other, head(&tree, size), &proof).is_err());
            }
            assert!(verify_inclusion(b"another", index, head(&tree, size), &proof).is_err());
            assert!(verify_inclusion(frame, index, (size, Hash([9; 32])), &proof).is_err());
        }
    }
}

#[test]
fn every_consistency_proof_of_small_trees_verifies_and_no_other_does() {
    let tree = tree(20);
    for new in 0..=20 {
        for old in 0..=new {
            let (before, after) = (head(&tree, old), head(&tree, new));
            let proof = tree.consistency(old, new).unwrap();
            assert_eq!(verify_consistency(before, after, &proof), Ok(()), "{old} to {new}");
            assert!(old == 0 || consistent_by_definition(before, after, &proof));
            for other in changed(&proof) {
                assert!(verify_consistency(before, after, &other).is_err(), "{old} to {new}");
            }
            // From nothing on there is nothing that a new root could contradict.
            if old > 0 || new == 0 {
                assert!(verify_consistency(before, (new, Hash([9; 32])), &proof).is_err());
            }
            assert!(verify_consistency((old, Hash([9; 32])), after, &proof).is_err());
        }
    }
}

#[test]
fn ct_merkle_proves_the_same() {
    let mut theirs = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for (size, frame) in (1..).zip(frames(40)) {
        theirs.push(frame);
        let ours = tree(size);
        assert_eq!(ours.root().0, theirs.root().as_bytes().0);
        for n in 0..size {
            let place = usize::try_from(n).unwrap();
            let inclusion: Vec<u8> =
                ours.inclusion(n, size).unwrap().iter().flat_map(|hash| hash.0).collect();
            assert_eq!(inclusion, theirs.prove_inclusion(place).as_bytes());
            let consistency: Vec<u8> =
                ours.consistency(size - n, size).unwrap().iter().flat_map(|hash| hash.0).collect();
            assert_eq!(consistency, theirs.prove_consistency(place).as_bytes());
        }
    }
}

#[test]
fn what_is_out_of_the_tree_is_not_proven() {
    let tree = tree(300);
    assert_eq!((tree.size(), tree.leaf(299), tree.leaf(300)), (300, Some(leaf_hash(b"record 299")), None));
    assert_eq!(tree.root_at(301), Err(OutOfTree::Size { size: 301, has: 300 }));
    assert_eq!(tree.inclusion(0, u64::MAX), Err(OutOfTree::Size { size: u64::MAX, has: 300 }));
    assert_eq!(tree.inclusion(7, 7), Err(OutOfTree::Index { index: 7, size: 7 }));
    assert_eq!(tree.inclusion(0, 0), Err(OutOfTree::Index { index: 0, size: 0 }));
    assert_eq!(tree.consistency(8, 7), Err(OutOfTree::Order { old: 8, new: 7 }));
    assert_eq!(tree.consistency(301, 302), Err(OutOfTree::Size { size: 302, has: 300 }));
}

#[test]
fn sizes_that_no_log_has_are_refused_and_do_not_panic() {
    let root = Hash([1; 32]);
    for (index, size) in [(1 << 63, u64::MAX), (0, u64::MAX), (0, 1 << 63)] {
        assert_eq!(verify_inclusion(b"", index, (size, root), &[]), Err(NotProven::Size { size }));
        let refused = verify_consistency((1, root), (size, root), &[]);
        assert_eq!(refused, Err(NotProven::Size { size }));
    }
    let last = verify_inclusion(b"", MAX_SIZE - 1, (MAX_SIZE, root), &[root; 62]);
    assert_eq!(last, Err(NotProven::Root));
    let (old, new) = (MAX_SIZE - 1, MAX_SIZE);
    assert_eq!(verify_consistency((old, root), (new, root), &[]), Err(NotProven::Length { hashes: 0 }));
    assert_eq!(
        verify_consistency((new, root), (old, root), &[]),
        Err(NotProven::Order { old: new, new: old })
    );
    assert_eq!(verify_inclusion(b"", 0, (0, empty_root()), &[]), Err(NotProven::Index { index: 0, size: 0 }));
}

fn any_hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_frontier_and_a_tree_have_the_root_of_the_definition(
        leaves in vec(any_hash(), 0..600),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut frontier = Frontier::new();
        leaves.iter().for_each(|leaf| frontier.push(*leaf));
        let root = root_by_definition(&leaves);
        prop_assert_eq!(frontier.root(), root);
        prop_assert_eq!(frontier.size(), leaves.len() as u64);
        let tree: Tree = leaves.iter().copied().collect();
        prop_assert_eq!(tree.root(), root);
        let cut = cut.index(leaves.len() + 1);
        prop_assert_eq!(tree.root_at(cut as u64).unwrap(), root_by_definition(&leaves[..cut]));
    }

    #[test]
    fn proofs_across_tiles_verify(new in 1_u64..1_100, n in any::<prop::sample::Index>()) {
        let tree = tree(new);
        let index = n.index(usize::try_from(new).unwrap()) as u64;
        let frame = format!("record {index}").into_bytes();
        let proof = tree.inclusion(index, new).unwrap();
        prop_assert_eq!(verify_inclusion(&frame, index, head(&tree, new), &proof), Ok(()));
        let proof = tree.consistency(index + 1, new).unwrap();
        let verified = verify_consistency(head(&tree, index + 1), head(&tree, new), &proof);
        prop_assert_eq!(verified, Ok(()));
    }

    #[test]
    fn two_verifiers_agree_about_any_hashes(
        (old, new) in (0_u64..70).prop_flat_map(|new| (0..=new + 2, Just(new))),
        proof in vec(any_hash(), 0..8),
        roots in any::<(bool, bool)>(),
    ) {
        let tree = tree(72);
        let root = |size, right| if right { head(&tree, size) } else { (size, Hash([9; 32])) };
        let (before, after) = (root(old, roots.0), root(new, roots.1));
        let frame = format!("record {old}").into_bytes();
        let included = verify_inclusion(&frame, old, after, &proof).is_ok();
        prop_assert_eq!(included, included_by_definition(&frame, old, after, &proof));
        if old > 0 {
            let consistent = verify_consistency(before, after, &proof).is_ok();
            prop_assert_eq!(consistent, consistent_by_definition(before, after, &proof));
        }
    }
}
