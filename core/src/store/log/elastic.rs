//! Group commit on a disk whose writes take 0.08 ms, or 4 ms, or now this and now that: no fixed setting is better.
//!
//! A shim of a disk with a virtual clock under the production log, and senders that wait for each of their messages. The
//! fixed settings it is compared with are the same log with other sizes of writes and fewer of them in flight.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::*;
use crate::store::OwnKind;
use crate::store::OwnRecord;

const MS: u64 = 1_000_000;
/// Delays of a write, nanoseconds: a local NVMe disk, and a network volume.
const FAST: u64 = 80_000;
const SLOW: u64 = 4 * MS;
/// What the disk moves at most, nanoseconds per KiB: 3.6 GB/s.
const NS_PER_KIB: u64 = 284;
/// From an answer to the sender's next message, at least; up to three times this, different for each.
const THINK: u64 = 20_000;
/// What a message of a sender costs the broker's CPU, and a write: nanoseconds, measured.
const PER_MESSAGE: u64 = 1_500;
const PER_WRITE: u64 = 12_000;
/// Messages in one turn of the broker's loop: a read buffer full of them.
const TURN: usize = 192;

/// How a log is driven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Setting {
    in_flight: usize,
    write_max: u64,
}

/// As the broker does it.
const ELASTIC: Setting = Setting { in_flight: WRITES_MAX, write_max: WRITE_MAX };

/// Senders that each wait for their last message, and what they send.
#[derive(Debug, Clone, Copy)]
struct Load {
    senders: usize,
    bytes: usize,
}

/// The disk's delay at a time.
type Delay = fn(u64) -> u64;

const REGIMES: [(&str, u64, Delay); 3] = [
    ("0.08 ms", 20 * MS, |_| FAST),
    ("4 ms", 300 * MS, |_| SLOW),
    ("both, switching every 20 ms", 160 * MS, |now| if (now / (20 * MS)).is_multiple_of(2) { FAST } else { SLOW }),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Written { seq: u64 },
    Send { sender: usize },
}

/// Messages that became durable in `span` nanoseconds.
fn durable_messages(setting: Setting, load: Load, delay: Delay, span: u64) -> u64 {
    let layout = Layout::new(ShardId(0), super::super::limits::SEGMENT_MAX).expect("a good size");
    let mut log = CommitLog::new(LogOptions {
        write_max: setting.write_max,
        frame_target: 16 << 10,
        ..LogOptions::new(layout, 1)
    });
    while let Some(base) = log.wanted_segment() {
        log.segment_ready(base);
    }
    let payload = vec![7; load.bytes];
    let record = OwnRecord { kind: OwnKind::OffsetBatch, payload: &payload };
    let mut events: BinaryHeap<Reverse<(u64, Event)>> = BinaryHeap::new();
    events.extend((0..load.senders).map(|sender| Reverse((sender as u64 * 100, Event::Send { sender }))));
    let mut waiting: VecDeque<(u64, usize)> = VecDeque::new();
    let (mut done, mut pipe_free, mut dice, mut now) = (0, 0, 1u64, 0);
    while let Some(Reverse((next, _))) = events.peek()
        && *next.max(&now) < span
    {
        now = now.max(*next);
        // What has happened by now is one turn of the loop, up to what one reads of its sockets at once.
        for _ in 0..TURN {
            if events.peek().is_none_or(|Reverse((at, _))| *at > now) {
                break;
            }
            let Some(Reverse((_, event))) = events.pop() else { break };
            match event {
                Event::Send { sender } => {
                    let fill = |_: Position, bytes: &mut [u8]| record.encode(bytes);
                    let start = log.append(now / 1_000, record.size(), fill).expect("senders wait");
                    waiting.push_back((start.0 + record.size() as u64, sender));
                    now += PER_MESSAGE;
                }
                Event::Written { seq } => {
                    let durable = log.complete(seq, Ok(())).expect("nothing fails").0;
                    while let Some((_, sender)) = waiting.pop_front_if(|(end, _)| *end <= durable) {
                        done += 1;
                        dice = dice.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                        let think = THINK + (dice >> 33) % (2 * THINK);
                        events.push(Reverse((now + think, Event::Send { sender })));
                    }
                }
            }
        }
        while log.in_flight() < setting.in_flight
            && let Some(plan) = log.next_write(Urge::Sync)
        {
            now += PER_WRITE;
            pipe_free = pipe_free.max(now) + plan.len as u64 / 1_024 * NS_PER_KIB;
            events.push(Reverse((pipe_free + delay(now), Event::Written { seq: plan.seq })));
        }
    }
    done
}

/// The best of all fixed settings, and what it does.
fn best_fixed(load: Load, delay: Delay, span: u64) -> (u64, Setting) {
    let mut results = BTreeMap::new();
    for in_flight in [1, 2, 3, 4, 8] {
        for write_max in [BLOCK, 8 * BLOCK, 16 * BLOCK, WRITE_MAX] {
            let setting = Setting { in_flight, write_max };
            results.insert((durable_messages(setting, load, delay, span), in_flight, write_max), setting);
        }
    }
    let ((best, ..), setting) = results.pop_last().expect("there are settings");
    (best, setting)
}

#[test]
fn no_fixed_setting_is_better() {
    let loads = [(1, 1_000), (16, 1_000), (256, 1_000), (1_024, 1_000), (64, 30_000)];
    for (name, span, delay) in REGIMES {
        for (senders, bytes) in loads {
            let load = Load { senders, bytes };
            let elastic = durable_messages(ELASTIC, load, delay, span);
            let (best, setting) = best_fixed(load, delay, span);
            println!(
                "{name:<28} {senders:>5} senders of {bytes:>6} B: {:>8} messages/s, {:>4}% of the best fixed ({setting:?})",
                elastic * 1_000_000_000 / span,
                elastic * 100 / best
            );
            assert!(
                elastic * 100 >= best * 95,
                "{name}, {load:?}: {setting:?} does {best}, the log by itself {elastic}"
            );
        }
    }
}
