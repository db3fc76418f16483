//! A table of things that have a name, made for a million of them.
//!
//! Owns the rows, in the order of their making, and an index of hashes beside them (`names.rs`): a name is stored once, and a
//! walk over the rows can pause at a number and go on while the table changes. Never refuses: who fills it from the network
//! has a limit.

use super::names::Names;

/// Something with a name that does not change while it is in a table.
pub trait Named {
    /// The name.
    fn name(&self) -> &str;
}

/// Things by name.
#[derive(Debug, Clone)]
pub struct ByName<T> {
    /// `None` is free to be used again.
    rows: Vec<Option<T>>,
    free: Vec<u32>,
    names: Names,
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        ByName { rows: Vec::new(), free: Vec::new(), names: Names::default() }
    }
}

impl<T: Named> ByName<T> {
    /// The row of a name.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&T> {
        self.rows[self.find(name)?].as_ref()
    }

    /// The row of a name. Its name must stay.
    #[inline]
    pub fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        let row = self.find(name)?;
        self.rows[row].as_mut()
    }

    #[inline]
    fn find(&self, name: &str) -> Option<usize> {
        let is_it = |row: u32| self.rows[row as usize].as_ref().is_some_and(|row| row.name() == name);
        self.names.find(name, is_it).map(|row| row as usize)
    }

    /// Puts a row in, in place of the one of its name, which is returned.
    pub fn put(&mut self, value: T) -> Option<T> {
        if let Some(row) = self.find(value.name()) {
            return self.rows[row].replace(value);
        }
        let row = self.free.pop().unwrap_or_else(|| {
            self.rows.push(None);
            u32::try_from(self.rows.len() - 1).expect("memory ends before 2^32 rows")
        });
        self.names.insert(value.name(), row);
        self.rows[row as usize] = Some(value);
        None
    }

    /// Takes a row out. Its number is used again.
    pub fn remove(&mut self, name: &str) -> Option<T> {
        let row = self.find(name)?;
        self.names.remove(name, row as u32);
        let value = self.rows[row].take();
        self.free.push(row as u32);
        if self.names.is_empty() {
            // As good as new: what a million rows took is given back.
            *self = ByName::default();
        }
        value
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// All rows, in an order that depends only on what was done to the table.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.rows.iter().flatten()
    }

    /// The rows with a number in `from..to`. A walk that goes on with `to` sees every row that is there from its beginning to
    /// its end exactly once, whatever else comes and goes.
    pub fn range(&self, from: usize, to: usize) -> impl Iterator<Item = &T> {
        let end = to.min(self.rows.len());
        self.rows[from.min(end)..end].iter().flatten()
    }

    /// Above every row's number.
    pub fn end(&self) -> usize {
        self.rows.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Row(String, u32);

    impl Named for Row {
        fn name(&self) -> &str {
            &self.0
        }
    }

    #[test]
    fn a_walk_that_pauses_sees_what_stays_once() {
        let mut table = ByName::default();
        for n in 0..100 {
            table.put(Row(format!("t{n}"), n));
        }
        let mut seen: Vec<u32> = table.range(0, 40).map(|row| row.1).collect();
        for n in (0..100).step_by(3) {
            assert!(table.remove(&format!("t{n}")).is_some());
        }
        table.put(Row("new".to_owned(), 1_000));
        seen.extend(table.range(40, table.end()).map(|row| row.1));
        let stays = |n: &u32| *n < 100 && !n.is_multiple_of(3);
        let stayed: Vec<u32> = seen.iter().copied().filter(stays).collect();
        assert_eq!(stayed, (0..100).filter(stays).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn it_does_what_a_map_does(steps in proptest::collection::vec((0u8..3, 0u8..20, any::<u32>()), 0..300)) {
            let mut table = ByName::default();
            let mut model = std::collections::BTreeMap::new();
            for (what, name, value) in steps {
                let name = format!("n{name}");
                if what == 0 {
                    prop_assert_eq!(table.remove(&name).map(|row: Row| row.1), model.remove(&name));
                } else {
                    let before = table.put(Row(name.clone(), value)).map(|row| row.1);
                    prop_assert_eq!(before, model.insert(name, value));
                }
                prop_assert_eq!(table.len(), model.len());
            }
            for n in 0..20 {
                let name = format!("n{n}");
                prop_assert_eq!(table.get(&name).map(|row| row.1), model.get(&name).copied());
            }
            let mut all: Vec<_> = table.iter().map(|row| (row.0.clone(), row.1)).collect();
            all.sort();
            prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
        }
    }
}
