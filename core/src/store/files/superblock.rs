//! What the data directory is: whose it is, how it is cut, how often it was started.
//!
//! Owns the two slots of `ringmq.format`. Never writes them: the one who starts the process makes the new epoch durable
//! before anything is appended.

use std::fmt;

use ringmq_protocol::wire::{Reader, Writer};

use crate::event::ShardId;
use crate::store::limits::BLOCK;

/// Name of the file in the root of the data directory.
pub const FILE_NAME: &str = "ringmq.format";

/// Bytes of the file: two slots of a block.
pub const FILE_LEN: usize = 2 * SLOT;

/// Version of everything in `docs/storage-format.md`.
pub const VERSION: u32 = 1;

const SLOT: usize = BLOCK as usize;
const MAGIC: &[u8; 8] = b"RINGMQ\r\n";
const CRC_AT: usize = 8;
const COVERED_FROM: usize = 12;
/// A name's length byte and its room.
const NAME: usize = 1 + 255;

/// What one start of the broker knows about its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Random, made with the directory.
    pub identity: [u8; 16],
    /// Number of the newest start; 0 in a directory that was made and never started.
    pub epoch: u32,
    pub shards: u16,
    /// How often the directory was rewritten to another number of shards; names the shards' directories.
    pub generation: u16,
    pub segment_size: u64,
    /// When the directory was made, ms.
    pub made_ms: i64,
    /// Whose it is. At most 255 bytes each.
    pub cluster: String,
    pub broker: String,
    pub broker_id: i64,
}

/// Why a file is not a superblock of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuperblockError {
    /// Something else lies there.
    Foreign,
    /// A later version of this program made or changed it.
    Newer { version: u32 },
    /// It is ours, and neither slot has a right checksum.
    Damaged,
}

impl fmt::Display for SuperblockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SuperblockError::Foreign => write!(f, "{FILE_NAME} was not made by RingMQ"),
            SuperblockError::Newer { version } => {
                write!(f, "the directory has format {version}, this program knows formats up to {VERSION}")
            }
            SuperblockError::Damaged => write!(f, "{FILE_NAME} is damaged"),
        }
    }
}

impl std::error::Error for SuperblockError {}

impl Superblock {
    /// The file of a directory that has no other state than this one, to be put in place atomically.
    pub fn new_file(&self) -> Vec<u8> {
        let (at, slot) = self.slot();
        let mut file = vec![0; FILE_LEN];
        file[at as usize..at as usize + SLOT].copy_from_slice(&slot);
        file
    }

    /// The name of a shard's directory: `shard-002`, and `shard-002.g1` after the directory was rewritten once.
    pub fn shard_directory(&self, shard: ShardId) -> String {
        match self.generation {
            0 => format!("shard-{:03}", shard.0),
            generation => format!("shard-{:03}.g{generation}", shard.0),
        }
    }

    /// Where the checksums of this directory's frames begin. Nobody outside knows it, so no message body can pass for a
    /// frame, and no segment of another directory for one of this.
    pub fn checksum_seed(&self) -> u32 {
        crc32c::crc32c(&self.identity)
    }

    /// The same directory, started once more.
    pub fn next_start(&self) -> Superblock {
        let epoch = self.epoch.checked_add(1).expect("four billion starts");
        Superblock { epoch, ..self.clone() }
    }

    /// Where this state goes in the file, and its bytes. Must be durable before the first append of the start.
    pub fn slot(&self) -> (u64, [u8; SLOT]) {
        let Superblock { identity, epoch, shards, generation, segment_size, made_ms, cluster, broker, broker_id } =
            self;
        let mut bytes = [0; SLOT];
        let mut out = Writer::new(&mut bytes);
        out.put(MAGIC);
        out.i32(0);
        out.i32(VERSION as i32);
        out.put(identity);
        out.i32(*epoch as i32);
        out.i16(*shards as i16);
        out.i16(*generation as i16);
        out.i64(*segment_size as i64);
        out.i64(*made_ms);
        for name in [cluster, broker] {
            let mut room = [0; NAME];
            room[0] = u8::try_from(name.len()).expect("names have at most 255 bytes");
            room[1..=name.len()].copy_from_slice(name.as_bytes());
            out.put(&room);
        }
        out.i64(*broker_id);
        let crc = crc32c::crc32c(&bytes[COVERED_FROM..]);
        bytes[CRC_AT..COVERED_FROM].copy_from_slice(&crc.to_be_bytes());
        ((u64::from(*epoch) % 2) * BLOCK, bytes)
    }

    /// The newest state in a file.
    ///
    /// # Errors
    /// See [`SuperblockError`]; then nothing in the directory may be touched.
    pub fn decode(file: &[u8]) -> Result<Superblock, SuperblockError> {
        let slots = file.chunks(SLOT).take(2).map(decode_slot);
        let mut newest: Result<Superblock, SuperblockError> = Err(SuperblockError::Foreign);
        for slot in slots {
            newest = match (newest, slot) {
                (Ok(left), Ok(right)) => Ok(if left.epoch > right.epoch { left } else { right }),
                // A newer program has been here, even if it left one slot as it was.
                (Err(error @ SuperblockError::Newer { .. }), _) | (_, Err(error @ SuperblockError::Newer { .. })) => {
                    Err(error)
                }
                (Ok(state), Err(_)) | (Err(_), Ok(state)) => Ok(state),
                (Err(SuperblockError::Damaged), Err(_)) | (Err(_), Err(SuperblockError::Damaged)) => {
                    Err(SuperblockError::Damaged)
                }
                (Err(SuperblockError::Foreign), Err(SuperblockError::Foreign)) => Err(SuperblockError::Foreign),
            };
        }
        newest
    }
}

fn decode_slot(slot: &[u8]) -> Result<Superblock, SuperblockError> {
    if !slot.starts_with(MAGIC) {
        return Err(SuperblockError::Foreign);
    }
    if slot.len() != SLOT {
        return Err(SuperblockError::Damaged);
    }
    let stored = [slot[CRC_AT], slot[CRC_AT + 1], slot[CRC_AT + 2], slot[CRC_AT + 3]];
    if crc32c::crc32c(&slot[COVERED_FROM..]) != u32::from_be_bytes(stored) {
        return Err(SuperblockError::Damaged);
    }
    let mut from = Reader::new(&slot[COVERED_FROM..]);
    let version = from.i32().ok_or(SuperblockError::Damaged)? as u32;
    if version > VERSION {
        return Err(SuperblockError::Newer { version });
    }
    fields(&mut from).ok_or(SuperblockError::Damaged)
}

fn fields(from: &mut Reader<'_>) -> Option<Superblock> {
    let identity = from.take(16)?.try_into().ok()?;
    let epoch = from.i32()? as u32;
    let shards = from.i16()? as u16;
    let generation = from.i16()? as u16;
    let segment_size = from.i64()? as u64;
    let made_ms = from.i64()?;
    let mut name = || {
        let room = from.take(NAME)?;
        String::from_utf8(room[1..=usize::from(room[0])].to_vec()).ok()
    };
    let (cluster, broker) = (name()?, name()?);
    let broker_id = from.i64()?;
    Some(Superblock { identity, epoch, shards, generation, segment_size, made_ms, cluster, broker, broker_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block() -> Superblock {
        Superblock {
            identity: *b"0123456789abcdef",
            epoch: 0,
            shards: 4,
            generation: 0,
            segment_size: 1 << 28,
            made_ms: 1_700_000_000_000,
            cluster: "DefaultCluster".into(),
            broker: "b".repeat(255),
            broker_id: 0,
        }
    }

    fn put(file: &mut [u8], state: &Superblock) {
        let (at, bytes) = state.slot();
        file[at as usize..at as usize + SLOT].copy_from_slice(&bytes);
    }

    #[test]
    fn each_start_uses_the_other_slot_and_survives_a_torn_one() {
        let mut file = block().new_file();
        let mut state = block();
        for epoch in 0..5 {
            assert_eq!(Superblock::decode(&file).as_ref(), Ok(&state));
            assert_eq!(state.epoch, epoch);
            let next = state.next_start();
            let mut torn = file.clone();
            put(&mut torn, &next);
            torn[next.slot().0 as usize + 600] ^= 1;
            assert_eq!(Superblock::decode(&torn).as_ref(), Ok(&state), "a torn slot leaves the old state");
            put(&mut file, &next);
            state = next;
        }
    }

    #[test]
    fn a_rewritten_directory_keeps_its_shards_elsewhere() {
        let rewritten = Superblock { generation: 1, epoch: 2, ..block() };
        assert_eq!(block().shard_directory(ShardId(2)), "shard-002");
        assert_eq!(rewritten.shard_directory(ShardId(2)), "shard-002.g1");
        assert_eq!(Superblock::decode(&rewritten.new_file()).as_ref(), Ok(&rewritten));
        let odd = Superblock { epoch: 3, ..rewritten };
        assert_eq!(Superblock::decode(&odd.new_file()).as_ref(), Ok(&odd), "its slot is the second one");
    }

    #[test]
    fn what_is_not_ours_is_told_apart() {
        assert_eq!(Superblock::decode(b""), Err(SuperblockError::Foreign));
        assert_eq!(Superblock::decode(&[0; FILE_LEN]), Err(SuperblockError::Foreign));
        assert_eq!(Superblock::decode(&block().new_file()[..2000]), Err(SuperblockError::Damaged));
        let mut file = block().new_file();
        file[20] ^= 1;
        assert_eq!(Superblock::decode(&file), Err(SuperblockError::Damaged));
        let mut file = block().new_file();
        file[15] = 2;
        let crc = crc32c::crc32c(&file[COVERED_FROM..SLOT]);
        file[CRC_AT..COVERED_FROM].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(Superblock::decode(&file), Err(SuperblockError::Newer { version: 2 }));
    }
}
