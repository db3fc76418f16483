//! The one hash map of core: hashbrown with ahash and fixed seeds.
//!
//! Owns the choice of hash so that two runs fed the same inputs take the same decisions: the seeds are constants, so
//! iteration order is a function of the inserts. Nothing here protects against chosen-collision attacks by itself;
//! every map that is filled from the network has a limit in `limits.rs` instead.
//! Never use std's `HashMap` in core: its seeds are random.

mod named;
mod names;

pub use named::{ByName, Named};
pub use names::Names;

use std::hash::BuildHasher;

/// A hash map whose order depends on nothing but what was put in.
pub type Map<K, V> = hashbrown::HashMap<K, V, FixedState>;

/// The set that goes with [`Map`].
pub type Set<K> = hashbrown::HashSet<K, FixedState>;

/// Builds hashers with the same seeds in every process.
#[derive(Debug, Clone)]
pub struct FixedState(ahash::RandomState);

impl Default for FixedState {
    fn default() -> Self {
        // Any four numbers do; these are the first digits of pi, so nobody wonders what they encode.
        FixedState(ahash::RandomState::with_seeds(
            0x243f_6a88_85a3_08d3,
            0x1319_8a2e_0370_7344,
            0xa409_3822_299f_31d0,
            0x082e_fa98_ec4e_6c89,
        ))
    }
}

impl BuildHasher for FixedState {
    type Hasher = ahash::AHasher;

    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

/// 64-bit hash of a few byte strings, with the map's seeds; for keys that are kept as a hash only.
pub fn hash_parts(parts: &[&[u8]]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = FixedState::default().build_hasher();
    for part in parts {
        hasher.write(part);
        // A separator no key contains, so that ("ab", "c") and ("a", "bc") differ.
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_inserts_iterate_alike() {
        let fill = || (0..100u32).map(|n| (n * 7919, n)).collect::<Map<_, _>>().into_keys().collect::<Vec<_>>();
        assert_eq!(fill(), fill());
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(hash_parts(&[b"ab", b"c"]), hash_parts(&[b"a", b"bc"]));
        assert_eq!(hash_parts(&[b"ab", b"c"]), hash_parts(&[b"ab", b"c"]));
    }
}
