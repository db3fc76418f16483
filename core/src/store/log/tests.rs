//! What the log does to its disk, told in small stories.

use super::super::limits::{CHUNK, SEGMENT_MIN, WRITE_LEAST, WRITE_MAX, WRITES_MAX};
use super::*;
use crate::event::{DiskError, ShardId};

const NOW: u64 = 1_000;

fn log_of(segment: u64) -> CommitLog {
    let layout = Layout::new(ShardId(0), segment).expect("a good size");
    let mut log = CommitLog::new(LogOptions::new(layout, 1));
    ready(&mut log);
    log
}

fn ready(log: &mut CommitLog) {
    while let Some(base) = log.wanted_segment() {
        log.segment_ready(base);
    }
}

/// Appends a record of `len` bytes; its bytes after the size are `fill`.
fn put(log: &mut CommitLog, len: usize, fill: u8) -> Result<Position, AppendRefused> {
    log.append(NOW, len, |_, out| {
        out.fill(fill);
        out[..4].copy_from_slice(&(len as u32).to_be_bytes());
    })
}

fn sync(log: &mut CommitLog) -> Option<WritePlan> {
    log.next_write(Urge::Sync)
}

fn done(log: &mut CommitLog, plan: &WritePlan) -> u64 {
    log.complete(plan.seq, Ok(())).expect("the disk works").0
}

#[test]
fn a_waiter_goes_out_at_once_and_those_who_come_meanwhile_together() {
    let mut log = log_of(1 << 20);
    let first = put(&mut log, 100, 1).expect("room");
    assert_eq!(first.0, HEADER as u64, "a record lies behind its frame's header");
    let plan = sync(&mut log).expect("nothing is in flight");
    assert_eq!((plan.file_offset, plan.len, plan.to.0), (0, 4096, 140));
    for n in 0..20 {
        put(&mut log, 100, n).expect("room");
        assert_eq!(sync(&mut log), None, "its block is in flight");
    }
    assert_eq!(done(&mut log, &plan), 140);
    let plan = sync(&mut log).expect("all that gathered");
    assert_eq!((plan.from.0, plan.to), (0, log.appended()), "the partial block is written again, with more in it");
    assert_eq!(Position(done(&mut log, &plan)), log.appended());
    assert_eq!(sync(&mut log), None);
}

#[test]
fn a_rewritten_block_begins_as_before_and_ends_in_zeros() {
    let mut log = log_of(1 << 20);
    put(&mut log, 1000, 1).expect("room");
    let plan = sync(&mut log).expect("due");
    let mut before = vec![0xee; plan.len];
    log.copy_plan(&plan, &mut before);
    assert!(before[1040..].iter().all(|byte| *byte == 0));
    done(&mut log, &plan);
    put(&mut log, 1000, 2).expect("room");
    let plan = sync(&mut log).expect("due");
    put(&mut log, 500, 3).expect("room");
    let mut after = vec![0xee; plan.len];
    log.copy_plan(&plan, &mut after);
    assert_eq!(before[..1040], after[..1040]);
    assert!(after[2080..].iter().all(|byte| *byte == 0), "what came after the plan is not in it");
}

#[test]
fn much_data_goes_out_in_whole_blocks_several_at_a_time() {
    let mut log = log_of(64 << 20);
    for n in 0..2600 {
        put(&mut log, 1000, n as u8).expect("room");
    }
    let mut plans = Vec::new();
    while let Some(plan) = sync(&mut log) {
        plans.push(plan);
    }
    assert_eq!(plans.len(), WRITES_MAX);
    assert!(plans.iter().all(|plan| plan.len as u64 == WRITE_MAX && plan.to.0 % 4096 == 0));
    // The last completes first: nothing is durable.
    while let Some(plan) = plans.pop() {
        let durable = done(&mut log, &plan);
        assert_eq!(durable > 0, plans.is_empty());
    }
    let durable = log.durable().0;
    assert!(
        durable > 7 * WRITE_MAX && durable <= 8 * WRITE_MAX,
        "{durable}: only frames that are there as a whole count"
    );
    // What is left is divided over the writes that may be made; the last part of a block waits until the disk is free.
    let rest: Vec<WritePlan> = std::iter::from_fn(|| sync(&mut log)).collect();
    assert_eq!(rest.len(), WRITES_MAX);
    assert!(rest.iter().all(|plan| plan.len as u64 >= WRITE_LEAST && plan.to.0 % 4096 == 0));
    assert!(log.appended().0 - log.written().0 < 4096);
    for plan in &rest {
        done(&mut log, plan);
    }
    assert!(sync(&mut log).is_some_and(|plan| plan.to == log.appended()));
}

#[test]
fn what_nobody_waits_for_may_gather() {
    let mut log = log_of(64 << 20);
    put(&mut log, 100, 1).expect("room");
    assert_eq!(log.unwritten_since_us(), Some(NOW));
    assert_eq!(log.next_write(Urge::Async { older_than_us: NOW - 1 }), None);
    assert_eq!(log.undurable(), Undurable { bytes: 140, oldest_us: Some(NOW) });
    let plan = log.next_write(Urge::Async { older_than_us: NOW }).expect("old enough");
    assert_eq!(log.unwritten_since_us(), None);
    done(&mut log, &plan);
    assert_eq!(log.undurable(), Undurable { bytes: 0, oldest_us: None });
    while log.appended().0 < 2 * WRITE_MAX {
        put(&mut log, 1000, 1).expect("room");
    }
    assert!(log.next_write(Urge::Async { older_than_us: 0 }).is_some(), "a full batch goes out whatever its age");
}

#[test]
fn a_segment_ends_with_its_mark_and_the_next_may_be_in_flight_with_it() {
    let mut log = log_of(SEGMENT_MIN);
    let mut last = Position(0);
    while last.0 < SEGMENT_MIN {
        last = put(&mut log, 1000, 7).expect("room");
    }
    assert_eq!(last.0, SEGMENT_MIN + HEADER as u64);
    ready(&mut log);
    let mut plans = vec![sync(&mut log).expect("a part of the first segment")];
    assert_eq!((plans[0].segment, plans[0].from.0, plans[0].len as u64), (SegmentBase(0), 0, WRITE_LEAST));
    while log.written().0 < SEGMENT_MIN {
        let plan = sync(&mut log).expect("the rest of the first segment");
        assert_eq!((plan.segment, plan.from), (SegmentBase(0), plans[plans.len() - 1].to));
        assert!(plan.to.0 < SEGMENT_MIN);
        plans.push(plan);
    }
    assert_eq!(log.written().0, SEGMENT_MIN, "the stream goes on in the next segment");
    assert_eq!(sync(&mut log), None, "little waits there");
    assert_eq!(log.take_sealed(), None);
    let durable: Vec<u64> = plans.iter().map(|plan| done(&mut log, plan)).collect();
    assert_eq!(durable.last(), Some(&SEGMENT_MIN));
    let sealed = log.take_sealed().expect("full and durable");
    assert_eq!((sealed.base(), sealed.end()), (SegmentBase(0), SEGMENT_MIN));
    assert_eq!(sync(&mut log).map(|plan| plan.segment), Some(SegmentBase(SEGMENT_MIN)));
}

#[test]
fn nothing_is_written_into_a_segment_without_a_file() {
    let layout = Layout::new(ShardId(0), SEGMENT_MIN).expect("a good size");
    let mut log = CommitLog::new(LogOptions::new(layout, 1));
    put(&mut log, 100, 1).expect("room in memory");
    assert_eq!(sync(&mut log), None);
    assert!(!log.may_write());
    assert_eq!(log.wanted_segment(), Some(SegmentBase(0)));
    assert_eq!(log.wanted_segment(), None);
    log.segment_ready(SegmentBase(0));
    assert!(sync(&mut log).is_some());
    while log.appended().0 < SEGMENT_MIN / 2 {
        put(&mut log, 1000, 1).expect("room");
    }
    assert_eq!(log.wanted_segment(), Some(SegmentBase(SEGMENT_MIN)), "the next one is wanted at half");
    let fault = Fault::Segment { base: SegmentBase(SEGMENT_MIN), error: DiskError { errno: 5 } };
    assert!(log.may_write() && log.stop(fault.clone()));
    assert!(!log.stop(Fault::Corrupt { position: Position(1) }) && !log.may_write());
    assert_eq!(log.fault(), Some(&fault), "the first one is the reason");
    assert!(matches!(put(&mut log, 10, 1), Err(AppendRefused::Stopped(_))));
}

#[test]
fn a_full_window_refuses_until_the_disk_catches_up() {
    let layout = Layout::new(ShardId(0), SEGMENT_MIN).expect("a good size");
    let mut options = LogOptions::new(layout, 1);
    options.window = 3_000;
    let mut log = CommitLog::new(options);
    ready(&mut log);
    put(&mut log, 5_000, 1).expect("alone, it may exceed the window");
    assert_eq!(put(&mut log, 10, 1), Err(AppendRefused::Full { limit: 3_000 }));
    let plan = sync(&mut log).expect("due");
    assert_eq!(put(&mut log, 10, 1), Err(AppendRefused::Full { limit: 3_000 }));
    done(&mut log, &plan);
    put(&mut log, 10, 1).expect("room again");
    let limit = SEGMENT_MIN - 2 * HEADER as u64;
    assert_eq!(put(&mut log, limit as usize + 1, 1), Err(AppendRefused::TooLarge { limit }));
}

#[test]
fn the_largest_record_fills_a_segment_exactly() {
    let mut log = log_of(SEGMENT_MIN);
    let limit = SEGMENT_MIN - 2 * HEADER as u64;
    for n in 0..3 {
        assert_eq!(put(&mut log, limit as usize, 1), Ok(Position(n * SEGMENT_MIN + HEADER as u64)));
        ready(&mut log);
        while let Some(plan) = sync(&mut log) {
            done(&mut log, &plan);
        }
    }
    assert_eq!(log.durable(), log.appended());
    assert!(log.take_sealed().is_some() && log.take_sealed().is_some() && log.take_sealed().is_none());
}

#[test]
fn a_failed_write_is_final() {
    let mut log = log_of(64 << 20);
    for _ in 0..700 {
        put(&mut log, 1000, 1).expect("room");
    }
    let (first, second) = (sync(&mut log).expect("full"), sync(&mut log).expect("full"));
    let kept = put(&mut log, 1000, 9).expect("room");
    let fault = Fault::Write { seq: first.seq, error: DiskError { errno: 5 } };
    assert_eq!(log.complete(first.seq, Err(DiskError { errno: 5 })), Err(fault.clone()));
    assert_eq!(log.complete(second.seq, Ok(())), Err(fault.clone()));
    assert_eq!((log.durable(), log.fault()), (Position(0), Some(&fault)));
    assert_eq!(put(&mut log, 10, 1), Err(AppendRefused::Stopped(fault)));
    assert_eq!((sync(&mut log), log.wanted_segment()), (None, None));
    let read = log.resident(kept, 1000).and_then(|range| range.contiguous()).expect("reads go on");
    assert_eq!(read[4..], [9; 996]);
}

#[test]
fn records_over_a_chunk_end_are_whole() {
    let mut log = log_of(64 << 20);
    let mut records = Vec::new();
    let mut lens = [1_000usize, 70_000, 3_000_000, 17, 1 << 20].into_iter().cycle();
    while log.appended().0 < 12 * CHUNK {
        let len = lens.next().expect("a cycle");
        records.push((put(&mut log, len, records.len() as u8).expect("room"), len, records.len() as u8));
    }
    for (position, len, fill) in records {
        let mut bytes = Vec::new();
        log.resident(position, len as u32).expect("nothing is durable, so all is here").append_to(&mut bytes);
        assert_eq!(bytes.len(), len);
        assert!(bytes[4..].iter().all(|byte| *byte == fill));
    }
}

#[test]
fn the_tail_forgets_what_is_durable_when_its_memory_is_used_up() {
    let layout = Layout::new(ShardId(0), 64 << 20).expect("a good size");
    let mut options = LogOptions::new(layout, 1);
    options.tail = 4 * CHUNK;
    let mut log = CommitLog::new(options);
    for _ in 0..40_000 {
        put(&mut log, 1000, 1).expect("room");
        ready(&mut log);
        if let Some(plan) = sync(&mut log) {
            let mut bytes = vec![0; plan.len];
            log.copy_plan(&plan, &mut bytes);
            done(&mut log, &plan);
        }
    }
    assert!(log.tail_memory() <= 5 * CHUNK);
    assert!(log.resident(Position(HEADER as u64), 1000).is_none());
    let from = log.resident_from();
    assert!(log.appended().0 - from.0 >= 2 * CHUNK, "what consumers just missed is still here");
}
