//! The ways a directory is damaged.
//!
//! Owns what is damaged where. Says whether a checksum was made right over the damage: then what it covers may be anything,
//! and all that is asked of the broker is that it lives or refuses.

use ringmq_core::harness::Disk;

use crate::random::Random;
use crate::raw::{self, RawFrame};

/// Numbers that break sums.
const ODD: [u64; 9] = [0, 1, 7, 255, 4_095, 65_536, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// Damages one place; `true` if a checksum was made right over it.
pub(super) fn damage(disks: &mut [Disk], random: &mut Random) -> bool {
    let shard = random.index(disks.len());
    match random.below(10) {
        0..4 => bytes(any_file(&mut disks[shard], random), random),
        4 => return files(disks, random),
        5 | 6 => return frame_field(&mut disks[shard], random),
        7 | 8 => return record_field(&mut disks[shard], random),
        _ => return checkpoint_field(&mut disks[shard], random),
    }
    false
}

/// One of a shard's files.
fn any_file<'d>(disk: &'d mut Disk, random: &mut Random) -> Option<&'d mut Vec<u8>> {
    let Disk { segments, indexes, partials, checkpoints, .. } = disk;
    let helpers = indexes.values_mut().chain(partials.values_mut()).chain(checkpoints.iter_mut().flatten());
    let mut files: Vec<&mut Vec<u8>> = segments.values_mut().chain(helpers).collect();
    (!files.is_empty()).then(|| files.swap_remove(random.index(files.len())))
}

/// Damage that knows nothing of the format.
fn bytes(file: Option<&mut Vec<u8>>, random: &mut Random) {
    let Some(file) = file.filter(|file| !file.is_empty()) else { return };
    let at = random.index(file.len());
    let len = (1 + random.below(5_000) as usize).min(file.len() - at);
    match random.below(8) {
        0 | 1 => file[at] ^= 1 << random.below(8),
        2 => file[at..at + len].fill(0),
        3 => file[at..at + len].fill(0xff),
        4 => file[at..at + len].iter_mut().for_each(|byte| *byte = random.bits() as u8),
        5 => file.truncate(at),
        6 => file.extend(std::iter::repeat_n(0, len)),
        _ => {
            // What lies elsewhere lies here, too.
            let from = random.index(file.len() - len + 1);
            file.copy_within(from..from + len, at);
        }
    }
}

/// Files that are lost, exchanged, or there twice.
fn files(disks: &mut [Disk], random: &mut Random) -> bool {
    let (one, other) = (random.index(disks.len()), random.index(disks.len()));
    let bases: Vec<u64> = disks[one].segments.keys().copied().collect();
    let Some(base) = (!bases.is_empty()).then(|| bases[random.index(bases.len())]) else { return false };
    match random.below(7) {
        0 => drop(disks[one].segments.remove(&base)),
        1 => drop(disks[one].indexes.remove(&base)),
        2 => drop(disks[one].partials.remove(&base)),
        3 => disks[one].checkpoints[random.index(2)] = None,
        4 => disks[one].checkpoints.swap(0, 1),
        5 => {
            // An older file under the name of a newer one, or of another shard.
            let file = disks[one].segments[&base].clone();
            let bases: Vec<u64> = disks[other].segments.keys().copied().collect();
            let name = bases.get(random.index(bases.len().max(1))).copied().unwrap_or(base);
            disks[other].segments.insert(name, file);
        }
        _ => {
            let index = disks[one].indexes.values().next().cloned();
            disks[other].indexes.extend(index.map(|file| (base, file)));
        }
    }
    false
}

/// A frame of one of the segments.
fn a_frame<'d>(disk: &'d mut Disk, random: &mut Random) -> Option<(&'d mut Vec<u8>, RawFrame)> {
    let count = disk.segments.len();
    let nth = random.index(count.max(1));
    let (base, file) = disk.segments.iter_mut().nth(nth)?;
    let frames = raw::frames(*base, file);
    let frame = (!frames.is_empty()).then(|| frames[random.index(frames.len())])?;
    Some((file, frame))
}

fn odd(random: &mut Random) -> u64 {
    if random.percent(50) { ODD[random.index(ODD.len())] } else { random.bits() >> random.below(64) }
}

fn put(file: &mut [u8], at: usize, width: usize, value: u64) {
    if let Some(place) = file.get_mut(at..at + width) {
        place.copy_from_slice(&value.to_be_bytes()[8 - width..]);
    }
}

/// A field of a frame's header says something else; half of the time the checksum agrees.
fn frame_field(disk: &mut Disk, random: &mut Random) -> bool {
    let Some((file, frame)) = a_frame(disk, random) else { return false };
    // Length, shard, kind, position, durable, epoch, number of records.
    let fields = [(8, 4), (12, 2), (14, 2), (16, 8), (24, 8), (32, 4), (36, 4)];
    let (at, width) = fields[random.index(fields.len())];
    let value = odd(random);
    put(file, frame.at + at, width, value);
    let forge = random.percent(50);
    if forge {
        raw::seal(file, frame);
    }
    forge
}

/// A field of the first record of a frame, under a right checksum.
fn record_field(disk: &mut Disk, random: &mut Random) -> bool {
    let Some((file, frame)) = a_frame(disk, random) else { return false };
    let from = frame.at + raw::FRAME;
    if frame.total <= raw::FRAME + 16 {
        return false;
    }
    if random.percent(50) {
        // Size, magic, kind or checksum, queue id, queue offset, physical offset, system flags, lengths behind the hosts.
        let fields = [(0, 4), (4, 4), (8, 4), (12, 4), (20, 8), (28, 8), (36, 4), (56, 8), (76, 8), (84, 4)];
        let (at, width) = fields[random.index(fields.len())];
        let value = odd(random);
        put(&mut file[..frame.at + frame.total], from + at, width, value);
    } else {
        let at = random.index(frame.total - raw::FRAME);
        file[from + at] = random.bits() as u8;
    }
    raw::seal(file, frame);
    true
}

/// A byte or a field of a checkpoint, under right checksums.
fn checkpoint_field(disk: &mut Disk, random: &mut Random) -> bool {
    let nth = random.index(2);
    let Some(file) = disk.checkpoints[nth].as_mut().filter(|file| file.len() > 64) else { return false };
    if random.percent(40) {
        // Version, shard, sequence, covered, body length, time, epoch, sections, start.
        let fields = [(12, 2), (14, 2), (16, 8), (24, 8), (32, 8), (40, 8), (48, 4), (52, 4), (56, 8)];
        let (at, width) = fields[random.index(fields.len())];
        let value = odd(random);
        put(file, at, width, value);
    } else {
        let width = [1, 2, 4, 8][random.index(4)];
        let at = 64 + random.index(file.len() - 64);
        let value = odd(random);
        put(file, at, width, value);
    }
    let body = crc32c::crc32c(&file[64..]);
    put(file, 8, 4, body.into());
    let header = crc32c::crc32c(&file[8..64]);
    put(file, 4, 4, header.into());
    true
}
