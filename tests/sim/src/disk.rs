//! What a power cut does to writes that were under way.
//!
//! A completed write is durable (production writes are `O_DIRECT|O_DSYNC`). Of one that had not completed any part may be
//! there, in units of a sector, and of several any subset: the disk reorders.

use std::collections::VecDeque;

use ringmq_core::harness::Disk;
use ringmq_core::store::WritePlan;

use crate::random::Random;

/// What a disk writes in one piece.
const SECTOR: usize = 512;

/// Makes a completed write durable.
pub fn complete(disk: &mut Disk, plan: &WritePlan, bytes: &[u8]) {
    put(disk, plan, bytes, 0);
}

/// The machine stops: decides for each write under way what of it is on the disk.
pub fn cut(disk: &mut Disk, mut pending: VecDeque<(WritePlan, Vec<u8>)>, random: &mut Random) {
    while !pending.is_empty() {
        let (plan, bytes) = pending.remove(random.index(pending.len())).expect("an index below the length");
        match random.below(4) {
            0 => {}
            1 => put(disk, &plan, &bytes, 0),
            2 => {
                // Torn: it ends somewhere.
                let sectors = random.index(bytes.len() / SECTOR + 1);
                put(disk, &plan, &bytes[..sectors * SECTOR], 0);
            }
            _ => {
                // Shredded: any of its sectors.
                for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                    if random.percent(50) {
                        put(disk, &plan, sector, n * SECTOR);
                    }
                }
            }
        }
    }
}

fn put(disk: &mut Disk, plan: &WritePlan, bytes: &[u8], skip: usize) {
    let file = disk.segments.entry(plan.segment.0).or_default();
    let at = plan.file_offset as usize + skip;
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}
