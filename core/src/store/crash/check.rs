//! What must hold after a recovery, told from what was appended alone.

use std::collections::BTreeMap;

use super::super::*;
use super::disk::FakeDisk;
use super::world::{Appended, Seen, What, World};

/// Entries of each queue, as far as the queue exists.
type Queues = BTreeMap<(String, u32), Vec<(u64, u64, u32)>>;

/// Compares; returns how many of the appended records were found again.
pub(super) fn recovered(world: &World, disk: &FakeDisk, found: &mut Recovered, seen: &Seen) -> Result<usize, String> {
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
    // As a start does.
    let past = found.queues.lives().filter(|life| life.incarnation != world.incarnation(life.topic));
    let past: Vec<Box<str>> = past.map(|life| life.topic.into()).collect();
    past.iter().for_each(|topic| found.queues.drop_topic(topic, Position(end)));
    let present = present(world, history);
    let (expected, actual) = (expected_queues(&present), actual_queues(&mut found.queues, disk)?);
    if expected != actual {
        return Err(format!("queues differ: expected {expected:?}, found {actual:?}"));
    }
    own_records(history, found, seen)?;
    messages(history, found, seen)?;
    times(&present, found, disk)?;
    keys(history, found, disk)?;
    Ok(kept)
}

fn on_disk<'d>(disk: &'d FakeDisk, record: &Appended) -> Option<&'d [u8]> {
    let (base, file) = disk.segments.range(..=record.position).next_back()?;
    let from = (record.position - base) as usize;
    file.get(from..from + record.bytes.len())
}

/// The messages of topics as they are now.
fn present<'a>(world: &World, history: &'a [Appended]) -> Vec<&'a Appended> {
    let mut last = BTreeMap::new();
    let mut of_present = Vec::new();
    for record in history {
        match &record.what {
            What::Begin { topic, incarnation } => drop(last.insert(*topic, *incarnation)),
            What::Message { topic, .. } if last[topic] == world.incarnation(topic) => of_present.push(record),
            What::Message { .. } | What::Own => {}
        }
    }
    of_present
}

/// The queues that these messages make.
fn expected_queues(present: &[&Appended]) -> Queues {
    let mut queues = Queues::new();
    for Appended { position, bytes, what } in present {
        match what {
            What::Message { topic, queue, .. } => {
                let entries = queues.entry((topic.to_string(), *queue)).or_default();
                entries.push((entries.len() as u64, *position, bytes.len() as u32));
            }
            What::Begin { .. } | What::Own => {}
        }
    }
    queues
}

fn actual_queues(table: &mut QueueTable, disk: &FakeDisk) -> Result<Queues, String> {
    let mut queues = Queues::new();
    let names: Vec<_> = table.iter().map(|(topic, id, _)| (topic.to_string(), id)).collect();
    for (topic, id) in names {
        let slot = table.find(&topic, id).expect("it was listed");
        let mut found = Vec::new();
        let mut next = table[slot].min();
        while next < table[slot].max() {
            let mut entries = Vec::new();
            let looked = table
                .with_reads(|range| disk.read(range), |table| table.entries_from(slot, next, usize::MAX, &mut entries));
            looked.map_err(|base| format!("{topic} {id}: the index of {base:?} is damaged"))?;
            if entries.first().is_none_or(|(offset, _)| *offset != next) {
                return Err(format!("{topic} {id}: nothing at {next} of {}", table[slot].max()));
            }
            for (offset, entry) in entries {
                found.push((offset, entry.position.0, entry.size));
                next = offset + 1;
            }
        }
        for (offset, position, _) in found.iter().step_by(17) {
            let one = table.with_reads(|range| disk.read(range), |table| table.look(slot, *offset));
            if one.ok().flatten().is_none_or(|(one, _)| one.position.0 != *position) {
                return Err(format!("{topic} {id}: offset {offset} is not what it is in a row"));
            }
        }
        if !found.is_empty() {
            queues.insert((topic, id), found);
        }
    }
    Ok(queues)
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

/// Every queue's messages are found by their times.
fn times(present: &[&Appended], found: &mut Recovered, disk: &FakeDisk) -> Result<(), String> {
    let mut times: BTreeMap<(&str, u32), Vec<i64>> = BTreeMap::new();
    for Appended { bytes, what, .. } in present {
        match what {
            What::Message { topic, queue, .. } => {
                let record = ringmq_protocol::record::RecordRef::parse(bytes).map_err(|_| "a record that is none")?;
                times.entry((topic, *queue)).or_default().push(record.store_timestamp());
            }
            What::Begin { .. } | What::Own => {}
        }
    }
    for ((topic, queue), times) in times {
        let slot = found.queues.find(topic, queue).ok_or("a queue is gone")?;
        for probe in [0, times.len() / 2, times.len() - 1] {
            for ms in [times[probe], times[probe] + 1] {
                let expected = times.partition_point(|time| *time < ms) as u64;
                let since = found.queues.with_reads(|range| disk.read(range), |table| table.first_since(slot, ms));
                if since != Ok(expected) {
                    return Err(format!("{topic} {queue}: first since {ms} is {expected}, not {since:?}"));
                }
            }
        }
    }
    Ok(())
}

/// Every message is found by its key, once.
fn keys(history: &[Appended], found: &mut Recovered, disk: &FakeDisk) -> Result<(), String> {
    let mut probes: Vec<&Appended> = history.iter().rev().take(40).collect();
    probes.extend(history.iter().take(10));
    for record in probes {
        let What::Message { topic, key, .. } = &record.what else { continue };
        let end = Position(u64::MAX >> 17);
        let mut search = found.keys.begin(key_hash(topic, key), 0..=i64::MAX, end, usize::MAX);
        let keys = &found.keys;
        let looked = found.queues.with_reads(|range| disk.read(range), |table| keys.advance(&mut search, table));
        looked.map_err(|base| format!("key {key}: the index of {base:?} is damaged"))?;
        let places = search.found;
        let times = places.iter().filter(|place| place.0 == record.position).count();
        if times != 1 || !places.is_sorted_by(|left, right| left > right) {
            return Err(format!("key {key} finds {} {times} times", record.position));
        }
    }
    Ok(())
}
