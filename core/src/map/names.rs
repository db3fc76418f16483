//! From a name to the number of the row that has it.
//!
//! Owns hashes and numbers, 8 bytes a name. The names are the caller's, stored once, in the rows; growing reads no row.

use hashbrown::HashTable;

use super::hash_parts;

/// Where a row is, behind its name's hash.
#[derive(Debug, Clone, Copy)]
struct Place {
    hash: u32,
    row: u32,
}

/// Numbers of rows by the names that the rows have. No name is in it twice.
#[derive(Debug, Clone, Default)]
pub struct Names {
    places: HashTable<Place>,
}

/// The hash that is kept.
#[inline]
fn hash_of(name: &str) -> u32 {
    hash_parts(&[name.as_bytes()]) as u32
}

/// The hash table takes its bucket from the low bits and its tag from the high ones.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

impl Names {
    /// The number of the row with this name; `has_it` says whether a row has.
    #[inline]
    pub fn find(&self, name: &str, has_it: impl Fn(u32) -> bool) -> Option<u32> {
        let hash = hash_of(name);
        let found = self.places.find(spread(hash), |place| place.hash == hash && has_it(place.row));
        found.map(|place| place.row)
    }

    /// Notes the number of the row with this name, which is not in it.
    pub fn insert(&mut self, name: &str, row: u32) {
        let hash = hash_of(name);
        self.places.insert_unique(spread(hash), Place { hash, row }, |place| spread(place.hash));
    }

    /// Forgets a name, whose row is known to be `row`.
    ///
    /// # Panics
    /// If it is not in it.
    pub fn remove(&mut self, name: &str, row: u32) {
        let place = self.places.find_entry(spread(hash_of(name)), |place| place.row == row);
        place.expect("a name that is forgotten was noted").remove();
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}
