//! From a field's name to its number in a header, without comparing against every name.
//!
//! Owns [`KeyTable`], a perfect hash that `header!` builds at compile time for each header: one
//! multiplication, one load and one comparison per received key. A chain of string comparisons took
//! more time than scanning the whole JSON header.

/// Places in a table. The widest header has 28 names (14 fields in long and short form); with more
/// than four times as many places a seed without collisions is found after a few tries.
const PLACES: usize = 128;

/// A name that no key equals.
const NOBODY: Name = Name { word: 0, tail: 0, text: "", field: u8::MAX };

/// One name and the number of its field.
#[derive(Clone, Copy)]
struct Name {
    /// See [`words`].
    word: u64,
    tail: u64,
    text: &'static str,
    field: u8,
}

/// The names of one header.
pub struct KeyTable {
    seed: u64,
    /// Index into `names`, plus one.
    places: [u8; PLACES],
    names: [Name; PLACES / 4],
    /// The field, plus one, whose name is this one byte: all of a send's are.
    letters: [u8; 256],
}

impl KeyTable {
    /// Builds the table of names and field numbers; for use in a `static`.
    ///
    /// # Panics
    /// At compile time: too many names, an empty name, or a name twice.
    pub const fn of(rows: &[(&'static str, u8)]) -> Self {
        assert!(rows.len() <= PLACES / 4, "a header has more names than a key table");
        let mut names = [NOBODY; PLACES / 4];
        let mut letters = [0; 256];
        let mut index = 0;
        while index < rows.len() {
            let (text, field) = rows[index];
            assert!(!text.is_empty(), "a field needs a name");
            let (word, tail) = words(text.as_bytes());
            names[index] = Name { word, tail, text, field };
            if let [letter] = text.as_bytes() {
                letters[*letter as usize] = field + 1;
            }
            index += 1;
        }
        // Odd constants from the golden ratio on; which one does not matter as long as it works.
        let mut seed = 0x9e37_79b9_7f4a_7c15u64;
        let mut tries = 0;
        loop {
            if let Some(places) = place(&names, rows.len(), seed) {
                return KeyTable { seed, places, names, letters };
            }
            seed = seed.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(2);
            tries += 1;
            assert!(tries < 10_000, "no seed tells the names of a header apart: is one there twice?");
        }
    }

    /// The field whose name is this one letter.
    #[inline(always)]
    pub fn find_letter(&self, letter: u8) -> Option<usize> {
        usize::from(self.letters[usize::from(letter)]).checked_sub(1)
    }

    /// The field with this name.
    #[inline(always)]
    pub fn find(&self, key: &str) -> Option<usize> {
        if let [letter] = key.as_bytes() {
            return self.find_letter(*letter);
        }
        let (word, tail) = words(key.as_bytes());
        let index = self.places[hash(word, tail, self.seed)].wrapping_sub(1);
        let name = self.names.get(usize::from(index))?;
        let same = name.word == word && name.tail == tail && name.text.len() == key.len();
        // Two words hold all of a name up to 16 bytes.
        if same && (key.len() <= 16 || name.text == key) { Some(usize::from(name.field)) } else { None }
    }
}

const fn place(names: &[Name], count: usize, seed: u64) -> Option<[u8; PLACES]> {
    let mut places = [0; PLACES];
    let mut index = 0;
    while index < count {
        let at = hash(names[index].word, names[index].tail, seed);
        if places[at] != 0 {
            return None;
        }
        index += 1;
        places[at] = index as u8;
    }
    Some(places)
}

#[inline(always)]
const fn hash(word: u64, tail: u64, seed: u64) -> usize {
    let mixed = (word ^ tail.rotate_left(25)).wrapping_mul(seed);
    (mixed >> (64 - PLACES.trailing_zeros())) as usize
}

/// The first and the last eight bytes of a key; together with its length they are the key itself up to
/// 16 bytes. Shorter keys overlap themselves, so no byte-wise loop is needed.
#[inline(always)]
const fn words(key: &[u8]) -> (u64, u64) {
    let length = key.len();
    if let (Some(first), Some(last)) = (key.first_chunk::<8>(), key.last_chunk::<8>()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) {
        (u32::from_le_bytes(*first) as u64, u32::from_le_bytes(*last) as u64)
    } else if length > 0 {
        let ends = key[0] as u64 | (key[length - 1] as u64) << 8;
        (ends | (key[length / 2] as u64) << 16, length as u64)
    } else {
        (0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROWS: &[(&str, u8)] = &[
        ("a", 0),
        ("b", 1),
        ("ns", 2),
        ("lo", 3),
        ("flag", 4),
        ("topic", 5),
        ("queueId", 6),
        ("queueOffset", 7),
        ("producerGroup", 8),
        ("consumerGroup", 9),
        ("defaultTopicQueueNums", 10),
        ("suspendTimeoutMillis", 11),
    ];
    static TABLE: KeyTable = KeyTable::of(ROWS);

    #[test]
    fn every_name_finds_its_field() {
        for (name, field) in ROWS {
            assert_eq!(TABLE.find(name), Some(usize::from(*field)));
        }
    }

    #[test]
    fn near_misses_find_nothing() {
        for key in ["", "c", "aa", "NS", "flagg", "defaultTopiXQueueNums", "queueOffset "] {
            assert_eq!(TABLE.find(key), None, "{key}");
        }
    }

    proptest! {
        #[test]
        fn a_key_is_found_iff_it_is_a_name(
            key in prop_oneof!["[a-z]{0,3}", ".{0,24}", "(queue|consumer)[A-Za-z]{0,12}"]
        ) {
            let expected = ROWS.iter().find(|(name, _)| *name == key);
            prop_assert_eq!(TABLE.find(&key), expected.map(|(_, field)| usize::from(*field)));
        }
    }
}
