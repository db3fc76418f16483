//! The power goes, again and again, while the real broker writes and while it starts: of what was not synced, every sector is
//! there or not. What was acknowledged on a sync topic is there afterwards, and every start succeeds.
//!
//! `RINGMQ_CUT_ROUNDS` sets the number of rounds (6 without it); `RINGMQ_CUT_SEED` which sectors are lost. Needs /dev/fuse.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use ringmq_e2e::ledger::{self, Ledger};
use ringmq_e2e::medium::Dice;
use ringmq_e2e::{Client, CutDisk, Ports, Process, Temper};

/// Segments small enough that a cut meets one that is new, full or being indexed.
const SETTINGS: [&str; 3] = ["mappedFileSizeCommitLog=4194304", "maxMessageSize=1048576", "shards=2"];
/// A cut comes after up to so many acknowledgements.
const ROUND: u64 = 6_000;
/// Every so many rounds the cut comes while the broker starts, once more.
const START_CUT: u64 = 3;
/// Every so many rounds everything is read again, otherwise what came since the last look.
const FULL_LOOK: u64 = 10;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn nothing_acknowledged_is_lost_in_a_power_cut() {
    let rounds = number("RINGMQ_CUT_ROUNDS", 6);
    let seed = number("RINGMQ_CUT_SEED", u64::from(std::process::id()));
    println!("RINGMQ_CUT_SEED={seed}");
    let Some(disk) = CutDisk::mount(seed) else { return };
    let mut dice = Dice(seed ^ 1);
    let ports = Ports::free();
    let numbers = AtomicU64::new(0);
    let (mut known, mut count, mut start_cuts) = (Ledger::default(), 0, 0);
    for round in 0..rounds {
        let broker = Process::start(&disk.root(), ports, &SETTINGS);
        let mut client = Client::connect(ports.broker).unwrap();
        if round == 0 {
            ledger::make_topics(&mut client);
        }
        known.look(&mut client, round % FULL_LOOK == 0);
        // From a fast disk to a slow one; those that take longer have more writes under way when they are cut.
        disk.be(Temper { delay: Duration::from_micros(100 << dice.below(7)), ..Temper::default() });
        let enough = 1 + dice.below(ROUND);
        count += known.note(ledger::load_until_down(ports, &numbers, enough, true, || {
            disk.cut();
            broker.kill();
        }));
        disk.restore();
        if round % START_CUT == START_CUT - 1 {
            start_cuts += cut_while_starting(&disk, ports, Duration::from_micros(dice.below(60_000)));
        }
    }
    let broker = Process::start(&disk.root(), ports, &SETTINGS);
    known.look(&mut Client::connect(ports.broker).unwrap(), true);
    assert_eq!(broker.stop().code, Some(0));
    println!(
        "{count} acknowledged messages, {rounds} cuts and {start_cuts} while starting, {} lost at the ends of the asynchronous topic",
        known.lost
    );
}

/// Cuts the power so long after a start began; whether that was before it was ready.
fn cut_while_starting(disk: &CutDisk, ports: Ports, after: Duration) -> u64 {
    let begun = Instant::now();
    let started = std::thread::scope(|scope| {
        let start = scope.spawn(|| Process::try_start(&disk.root(), ports, &SETTINGS));
        while begun.elapsed() < after {
            std::thread::yield_now();
        }
        disk.cut();
        start.join().unwrap()
    });
    let early = started.is_err();
    if let Ok(broker) = started {
        broker.kill();
    }
    disk.restore();
    u64::from(early)
}
