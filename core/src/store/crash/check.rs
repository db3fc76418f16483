//! What must hold after a recovery, told from what was appended alone.

use std::collections::BTreeMap;

use super::super::*;
use super::disk::FakeDisk;
use super::world::{Appended, Seen, What, World};

/// Entries of each queue, as far as the queue exists.
type Queues = BTreeMap<(String, u32), Vec<(u64, u64, u32)>>;

/// Compares; returns how many of the appended records were found again.
pub(super) fn recovered(world: &World, disk: &FakeDisk, found: &Recovered, seen: &Seen) -> Result<usize, String> {
    let end = found.log.appended().0;
    if end < world.log.durable().0 {
        return Err(format!("the log ends at {end}, {} was durable", world.log.durable()));
    }
    let kept = world.history.partition_point(|record| record.position < end);
    let history = &world.history[..kept];
    if let Some(last) = history.last().filter(|last| last.position + last.bytes.len() as u64 > end) {
        return Err(format!("the log ends at {end} within the record at {}", last.position));
    }
    for record in history {
        if on_disk(disk, record) != Some(&record.bytes) {
            return Err(format!("the record at {} is not what was appended", record.position));
        }
    }
    let (expected, actual) = (expected_queues(history), actual_queues(&found.queues));
    if expected != actual {
        return Err(format!("queues differ: expected {expected:?}, found {actual:?}"));
    }
    own_records(history, found, seen)?;
    messages(history, found, seen)?;
    keys(history, found)?;
    Ok(kept)
}

fn on_disk<'d>(disk: &'d FakeDisk, record: &Appended) -> Option<&'d [u8]> {
    let (base, file) = disk.segments.range(..=record.position).next_back()?;
    let from = (record.position - base) as usize;
    file.get(from..from + record.bytes.len())
}

/// The queues that this history makes.
fn expected_queues(history: &[Appended]) -> Queues {
    let mut queues = Queues::new();
    for Appended { position, bytes, what } in history {
        match what {
            What::Message { topic, queue, .. } => {
                let entries = queues.entry((topic.to_string(), *queue)).or_default();
                entries.push((entries.len() as u64, *position, bytes.len() as u32));
            }
            What::Drop { topic } => queues.retain(|(name, _), _| name != topic),
            What::Own => {}
        }
    }
    queues
}

fn actual_queues(table: &QueueTable) -> Queues {
    let entries = |queue: &ConsumeQueue| {
        let all = queue.entries(queue.min(), usize::MAX);
        all.map(|(offset, entry)| (offset, entry.position.0, entry.size)).collect::<Vec<_>>()
    };
    let listed = table.iter().map(|(topic, id, queue)| ((topic.to_string(), id), entries(queue)));
    listed.filter(|(_, entries)| !entries.is_empty()).collect()
}

/// What the checkpoint counted and what was told add up to all own records.
fn own_records(history: &[Appended], found: &Recovered, seen: &Seen) -> Result<(), String> {
    let covered = found.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.covered.0);
    let all = history
        .iter()
        .filter(|record| record.what == What::Own)
        .map(|record| (record.position, u64::from_be_bytes(record.bytes[16..].try_into().expect("eight bytes"))));
    let expected: Vec<u64> = all.filter(|(position, _)| *position >= covered).map(|(_, number)| number).collect();
    if expected != seen.owns {
        return Err(format!("own records {expected:?}, told {:?}", seen.owns));
    }
    Ok(())
}

/// Every message that the checkpoint does not cover was told.
fn messages(history: &[Appended], found: &Recovered, seen: &Seen) -> Result<(), String> {
    let covered = found.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.covered.0);
    let is_message = |record: &&Appended| matches!(record.what, What::Message { .. }) && record.position >= covered;
    let expected: BTreeMap<u64, usize> =
        history.iter().filter(is_message).map(|record| (record.position, record.bytes.len())).collect();
    if expected != seen.messages { Err("not the messages that the checkpoint leaves out".into()) } else { Ok(()) }
}

/// Every message is found by its key, once.
fn keys(history: &[Appended], found: &Recovered) -> Result<(), String> {
    for record in history.iter().rev().take(40) {
        let What::Message { topic, key, .. } = &record.what else { continue };
        let mut places = Vec::new();
        found.keys.search(key_hash(topic, key), 0..=i64::MAX, Position(u64::MAX >> 17), usize::MAX, &mut places);
        let times = places.iter().filter(|place| place.0 == record.position).count();
        if times != 1 || !places.is_sorted_by(|left, right| left > right) {
            return Err(format!("key {key} finds {} {times} times", record.position));
        }
    }
    Ok(())
}
