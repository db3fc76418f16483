//! What a disk holds, apart from what programs were told that it holds: the model behind [`crate::CutDisk`].
//!
//! Owns every file twice, as it is read and as it would be found after a power cut, and the names of files likewise. What was
//! synced is in both. At a cut, of what was not, every sector of 512 bytes is there or not, each by itself; names change in
//! the order they were changed in, as far as a journal got. Writes under way are cut, too. Never knows what the files mean.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use nix::errno::Errno;

/// What a disk writes as a whole or not at all, bytes.
pub const SECTOR: usize = 512;

/// The directory everything lies in.
pub const ROOT: u64 = 1;

/// Numbers that depend on a seed only (splitmix64).
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// One below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end.max(1)
    }
}

/// A file's bytes.
#[derive(Debug, Default)]
pub struct Bytes {
    /// As programs read it.
    pub seen: Vec<u8>,
    /// As it is after a power cut, whatever happens.
    safe: Vec<u8>,
    /// Sectors that were written and not synced.
    loose: BTreeSet<usize>,
}

impl Bytes {
    fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[offset..end].copy_from_slice(data);
        self.loose.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }

    fn sync(&mut self) {
        self.safe.resize(self.seen.len(), 0);
        for sector in std::mem::take(&mut self.loose) {
            self.settle(sector);
        }
    }

    /// A sector, as far as it is within both.
    fn settle(&mut self, sector: usize) {
        let end = (sector * SECTOR + SECTOR).min(self.safe.len()).min(self.seen.len());
        if let Some(range) = (sector * SECTOR < end).then_some(sector * SECTOR..end) {
            self.safe[range.clone()].copy_from_slice(&self.seen[range]);
        }
    }

    fn cut(&mut self, dice: &mut Dice) {
        if dice.below(2) == 0 {
            self.safe.resize(self.seen.len(), 0);
        }
        for sector in std::mem::take(&mut self.loose) {
            if dice.below(2) == 0 {
                self.settle(sector);
            }
        }
        self.seen.clone_from(&self.safe);
    }
}

type Names = BTreeMap<OsString, u64>;

/// One change of a directory's names.
#[derive(Debug)]
enum Change {
    Put(OsString, u64),
    Gone(OsString),
    Moved { from: OsString, to: OsString },
}

impl Change {
    fn apply(&self, names: &mut Names) {
        match self {
            Change::Put(name, node) => drop(names.insert(name.clone(), *node)),
            Change::Gone(name) => drop(names.remove(name)),
            Change::Moved { from, to } => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }
}

/// The names in a directory.
#[derive(Debug, Default)]
pub struct Directory {
    pub seen: Names,
    safe: Names,
    /// What was changed since the names were synced.
    loose: Vec<Change>,
}

impl Directory {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.loose.push(change);
    }

    fn cut(&mut self, dice: &mut Dice) {
        let kept = dice.below(self.loose.len() as u64 + 1) as usize;
        let Self { seen, safe, loose } = self;
        loose.drain(..).take(kept).for_each(|change| change.apply(safe));
        seen.clone_from(safe);
    }
}

/// A file or a directory.
#[derive(Debug)]
pub enum Node {
    File(Bytes),
    Directory(Directory),
}

/// A synchronous write that was begun and not answered.
#[derive(Debug)]
struct Flying {
    number: u64,
    node: u64,
    offset: usize,
    data: Vec<u8>,
}

/// The disk.
#[derive(Debug)]
pub struct Medium {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    flying: Vec<Flying>,
    /// Power is off: nothing is answered.
    off: bool,
}

impl Default for Medium {
    fn default() -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Directory(Directory::default()))]);
        Medium { nodes, next: ROOT + 1, flying: Vec::new(), off: false }
    }
}

impl Medium {
    fn powered(&self) -> Result<(), Errno> {
        if self.off { Err(Errno::EIO) } else { Ok(()) }
    }

    /// A file or directory.
    ///
    /// # Errors
    /// There is none, or no power.
    pub fn node(&self, node: u64) -> Result<&Node, Errno> {
        self.powered()?;
        self.nodes.get(&node).ok_or(Errno::ESTALE)
    }

    /// A file.
    ///
    /// # Errors
    /// It is none, or there is no power.
    pub fn file(&mut self, node: u64) -> Result<&mut Bytes, Errno> {
        self.powered()?;
        match self.nodes.get_mut(&node).ok_or(Errno::ESTALE)? {
            Node::File(bytes) => Ok(bytes),
            Node::Directory(_) => Err(Errno::EISDIR),
        }
    }

    /// A directory.
    ///
    /// # Errors
    /// It is none, or there is no power.
    pub fn directory(&mut self, node: u64) -> Result<&mut Directory, Errno> {
        self.powered()?;
        match self.nodes.get_mut(&node).ok_or(Errno::ESTALE)? {
            Node::Directory(directory) => Ok(directory),
            Node::File(_) => Err(Errno::ENOTDIR),
        }
    }

    /// What has a name in a directory.
    ///
    /// # Errors
    /// Nothing has, or there is no power.
    pub fn find(&mut self, parent: u64, name: &OsStr) -> Result<u64, Errno> {
        self.directory(parent)?.seen.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// Makes an empty file or directory.
    ///
    /// # Errors
    /// The name is taken, or there is no power.
    pub fn make(&mut self, parent: u64, name: &OsStr, node: Node) -> Result<u64, Errno> {
        let number = self.next;
        let directory = self.directory(parent)?;
        if directory.seen.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        directory.change(Change::Put(name.to_owned(), number));
        self.nodes.insert(number, node);
        self.next += 1;
        Ok(number)
    }

    /// Takes a name away.
    ///
    /// # Errors
    /// There is none, or no power.
    pub fn unlink(&mut self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        self.find(parent, name)?;
        self.directory(parent)?.change(Change::Gone(name.to_owned()));
        Ok(())
    }

    /// Gives what has one name another, in its directory.
    ///
    /// # Errors
    /// There is none, or no power.
    pub fn rename(&mut self, parent: u64, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
        self.find(parent, from)?;
        self.directory(parent)?.change(Change::Moved { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    /// Begins a synchronous write; [`Medium::land`] ends it.
    ///
    /// # Errors
    /// No such file, or no power.
    pub fn fly(&mut self, node: u64, offset: usize, data: &[u8]) -> Result<u64, Errno> {
        self.file(node)?;
        let number = self.next;
        self.next += 1;
        self.flying.push(Flying { number, node, offset, data: data.to_owned() });
        Ok(number)
    }

    /// A synchronous write is complete.
    ///
    /// # Errors
    /// The power was cut meanwhile.
    pub fn land(&mut self, number: u64) -> Result<(), Errno> {
        let at = self.flying.iter().position(|flying| flying.number == number).ok_or(Errno::EIO)?;
        let Flying { node, offset, data, number: _ } = self.flying.remove(at);
        let file = self.file(node)?;
        file.write(offset, &data);
        let end = offset + data.len();
        if file.safe.len() < end {
            file.safe.resize(end, 0);
        }
        for sector in offset / SECTOR..end.div_ceil(SECTOR) {
            file.loose.remove(&sector);
            file.settle(sector);
        }
        Ok(())
    }

    /// Writes into the cache.
    ///
    /// # Errors
    /// No such file, or no power.
    pub fn write(&mut self, node: u64, offset: usize, data: &[u8]) -> Result<(), Errno> {
        self.file(node)?.write(offset, data);
        Ok(())
    }

    /// Makes a file shorter or longer, in the cache.
    ///
    /// # Errors
    /// No such file, or no power.
    pub fn resize(&mut self, node: u64, size: usize) -> Result<(), Errno> {
        let file = self.file(node)?;
        let (least, most) = (size.min(file.seen.len()), size.max(file.seen.len()));
        file.seen.resize(size, 0);
        file.loose.extend(least / SECTOR..most.div_ceil(SECTOR));
        Ok(())
    }

    /// Makes a file's bytes, or a directory's names, safe.
    ///
    /// # Errors
    /// There is none, or no power.
    pub fn sync(&mut self, node: u64) -> Result<(), Errno> {
        self.powered()?;
        match self.nodes.get_mut(&node).ok_or(Errno::ESTALE)? {
            Node::File(bytes) => bytes.sync(),
            Node::Directory(directory) => {
                directory.loose.clear();
                directory.safe.clone_from(&directory.seen);
            }
        }
        Ok(())
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        let sizes = self.nodes.values().map(|node| match node {
            Node::File(bytes) => bytes.seen.len() as u64,
            Node::Directory(_) => 0,
        });
        sizes.sum()
    }

    /// Cuts the power: what is not safe is there or not, as the dice say. Until [`Medium::restore`] every request fails.
    pub fn cut(&mut self, dice: &mut Dice) {
        self.off = true;
        for node in self.nodes.values_mut() {
            match node {
                Node::File(bytes) => bytes.cut(dice),
                Node::Directory(directory) => directory.cut(dice),
            }
        }
        for Flying { node, offset, data, number: _ } in std::mem::take(&mut self.flying) {
            let Some(Node::File(bytes)) = self.nodes.get_mut(&node) else { continue };
            for (number, sector) in data.chunks(SECTOR).enumerate() {
                let at = offset + number * SECTOR;
                // Beyond the end, the size was not there yet.
                if dice.below(2) == 0 && at + sector.len() <= bytes.safe.len() {
                    bytes.safe[at..at + sector.len()].copy_from_slice(sector);
                }
            }
            bytes.seen.clone_from(&bytes.safe);
        }
        self.drop_nameless();
    }

    /// Power is back.
    pub fn restore(&mut self) {
        self.off = false;
    }

    fn drop_nameless(&mut self) {
        let mut named = BTreeSet::from([ROOT]);
        let mut directories = vec![ROOT];
        while let Some(directory) = directories.pop() {
            let Some(Node::Directory(directory)) = self.nodes.get(&directory) else { continue };
            for node in directory.seen.values() {
                named.insert(*node);
                directories.push(*node);
            }
        }
        self.nodes.retain(|node, _| named.contains(node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> &OsStr {
        OsStr::new(name)
    }

    /// A file of two sectors of ones, all of it safe.
    fn disk() -> (Medium, u64) {
        let mut disk = Medium::default();
        let file = disk.make(ROOT, name("file"), Node::File(Bytes::default())).unwrap();
        disk.write(file, 0, &[1; 2 * SECTOR]).unwrap();
        disk.sync(file).unwrap();
        disk.sync(ROOT).unwrap();
        (disk, file)
    }

    /// What is found after cuts with many seeds.
    fn after(make: impl Fn(&mut Medium, u64)) -> BTreeSet<Option<Vec<u8>>> {
        let found = (0..200).map(|seed| {
            let (mut disk, file) = disk();
            make(&mut disk, file);
            disk.cut(&mut Dice(seed));
            assert_eq!(disk.find(ROOT, name("file")), Err(Errno::EIO));
            disk.restore();
            let file = disk.find(ROOT, name("file")).ok()?;
            let bytes = &disk.file(file).unwrap().seen;
            Some(bytes.chunks(SECTOR).map(|sector| sector[0]).collect())
        });
        found.collect()
    }

    #[test]
    fn what_is_safe_stays_and_the_rest_tears_at_sectors() {
        assert_eq!(after(|_, _| {}), BTreeSet::from([Some(vec![1, 1])]));
        let torn = BTreeSet::from([[1, 1], [1, 2], [2, 1], [2, 2]].map(|found| Some(found.to_vec())));
        assert_eq!(after(|disk, file| disk.write(file, 0, &[2; 2 * SECTOR]).unwrap()), torn);
        let begun = |disk: &mut Medium, file| {
            disk.fly(file, 0, &[2; 2 * SECTOR]).unwrap();
        };
        assert_eq!(after(begun), torn);
        let landed = |disk: &mut Medium, file| {
            let write = disk.fly(file, 0, &[2; 2 * SECTOR]).unwrap();
            disk.land(write).unwrap();
        };
        assert_eq!(after(landed), BTreeSet::from([Some(vec![2, 2])]));
    }

    #[test]
    fn names_are_lost_in_their_order() {
        let change = |disk: &mut Medium, _| {
            disk.make(ROOT, name("new"), Node::File(Bytes::default())).unwrap();
            disk.rename(ROOT, name("new"), name("file")).unwrap();
        };
        assert_eq!(after(change), BTreeSet::from([Some(vec![1, 1]), Some(vec![])]));
        assert_eq!(after(|disk, _| disk.unlink(ROOT, name("file")).unwrap()), BTreeSet::from([None, Some(vec![1, 1])]));
        let synced = |disk: &mut Medium, _| {
            disk.unlink(ROOT, name("file")).unwrap();
            disk.sync(ROOT).unwrap();
        };
        assert_eq!(after(synced), BTreeSet::from([None]));
    }
}
