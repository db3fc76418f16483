//! kill -9 under load, again and again: what was acknowledged on a sync topic is there; an async topic loses at most its end.
//!
//! `RINGMQ_KILL_ROUNDS` sets the number of rounds (5 without it; 200 are a quarter of an hour).

use std::sync::atomic::AtomicU64;
use std::thread;

use ringmq_e2e::ledger::{self, Ledger};
use ringmq_e2e::{Client, Ports, Process};

/// Acknowledgements after which a round is killed; odd, so that kills fall into different states of a write.
const ROUND: u64 = 4_001;
/// Every so many rounds everything is read again, otherwise what came since the last look.
const FULL_LOOK: u64 = 20;

#[test]
fn nothing_acknowledged_is_lost() {
    let rounds = std::env::var("RINGMQ_KILL_ROUNDS").map_or(5, |rounds| rounds.parse::<u64>().expect("a number"));
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    let numbers = AtomicU64::new(0);
    let mut known = Ledger::default();
    let mut count = 0;
    for round in 0..rounds {
        let broker = Process::start(dir.path(), ports, &[]);
        let mut client = Client::connect(ports.broker).unwrap();
        if round == 0 {
            ledger::make_topics(&mut client);
        }
        // Traffic goes on while the last round is looked at.
        let acknowledged = thread::scope(|scope| {
            let load = (round % 2 == 1).then(|| scope.spawn(|| ledger::load(ports, &numbers, ROUND / 8)));
            known.look(&mut client, round % FULL_LOOK == 0);
            load.map_or(Vec::new(), |load| load.join().unwrap())
        });
        count += known.note(acknowledged);
        count += known.note(ledger::load_until_down(ports, &numbers, ROUND, false, || broker.kill()));
        if round % FULL_LOOK == FULL_LOOK - 1 {
            println!("{} kills, {count} acknowledged messages", round + 1);
        }
    }
    let broker = Process::start(dir.path(), ports, &[]);
    known.look(&mut Client::connect(ports.broker).unwrap(), true);
    assert_eq!(broker.stop().code, Some(0));
    // And once more after a stop in order, which loses nothing.
    let broker = Process::start(dir.path(), ports, &[]);
    let lost = known.lost;
    known.look(&mut Client::connect(ports.broker).unwrap(), true);
    assert_eq!(known.lost, lost);
    drop(broker);
    assert!(count as u64 >= rounds * ROUND);
    println!("{count} acknowledged messages, {rounds} kills, {lost} lost at the ends of the asynchronous topic");
}
