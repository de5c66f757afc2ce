//! Chance that can be repeated: everything a story chooses comes from its seed.

use doorbook::entropy::{Entropy, SeededEntropy, SystemEntropy};

/// A source of choices.
pub struct Dice {
    seed: String,
    entropy: SeededEntropy,
}

impl Dice {
    /// Takes `FIRE_SEED`, or a seed of its own.
    pub fn thrown() -> Dice {
        let drawn = || hex::encode(<dyn Entropy>::draw::<6>(&SystemEntropy));
        Dice::of(&std::env::var("FIRE_SEED").unwrap_or_else(|_| drawn()))
    }

    fn of(seed: &str) -> Dice {
        Dice { seed: seed.to_owned(), entropy: SeededEntropy::new(seed) }
    }

    /// Other dice, for somebody who throws at the same time.
    pub fn of_another(&self, name: impl std::fmt::Display) -> Dice {
        Dice::of(&format!("{}/{name}", self.seed))
    }

    /// What `FIRE_SEED` must be, to throw the same again.
    pub fn seed(&self) -> &str {
        &self.seed
    }

    /// Returns a number below `end`.
    pub fn below(&self, end: u64) -> u64 {
        u64::from_be_bytes(<dyn Entropy>::draw(&self.entropy)) % end.max(1)
    }

    /// Returns an index below `end`.
    pub fn index(&self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).expect("it is below one")
    }

    /// Returns true in so many of a hundred cases.
    pub fn percent(&self, cases: u64) -> bool {
        self.below(100) < cases
    }

    /// Returns one of them.
    pub fn one_of<'a, T>(&self, all: &'a [T]) -> &'a T {
        &all[self.index(all.len())]
    }
}

/// Returns how often a story is to be repeated: what the variable says, or else so often.
pub fn times(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |times| times.parse().expect("a number"))
}
