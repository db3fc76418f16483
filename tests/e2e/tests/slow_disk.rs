//! A disk that is slow, writes less than it was asked to, or fails, below the real broker: it waits for the slow one, and after a
//! failed write it stops accepting, says why, keeps reading, has acknowledged nothing false, and a restart heals.
//!
//! Needs /dev/fuse; without it nothing is tried.

use std::time::{Duration, Instant};

use ringmq_e2e::{Client, CutDisk, Ports, Process, Temper};

const SETTINGS: [&str; 3] = ["mappedFileSizeCommitLog=4194304", "maxMessageSize=1048576", "shards=1"];
const SYNC: &str = "slow";
const ASYNC: &str = "slow-async";
/// SERVICE_NOT_AVAILABLE
const NOT_AVAILABLE: i32 = 14;

fn start(disk: &CutDisk, ports: Ports) -> (Process, Client) {
    let broker = Process::start(&disk.root(), ports, &SETTINGS);
    let mut client = Client::connect(ports.broker).unwrap();
    client.create_topic(SYNC, 1, "+flush.type=SYNC").unwrap().unwrap();
    client.create_topic(ASYNC, 1, "+flush.type=ASYNC").unwrap().unwrap();
    (broker, client)
}

/// Sends one after the other; how long each waited for its answer.
fn send(client: &mut Client, topic: &str, bodies: std::ops::Range<u8>) -> Vec<Duration> {
    let one = |body| {
        let begun = Instant::now();
        assert_eq!(client.send(topic, 0, &[body]).unwrap().unwrap().offset, i64::from(body));
        begun.elapsed()
    };
    bodies.map(one).collect()
}

fn bodies(client: &mut Client, topic: &str) -> Vec<u8> {
    let mut found = Vec::new();
    loop {
        let more = client.pull(topic, 0, found.len() as i64).unwrap().unwrap();
        if more.is_empty() {
            return found;
        }
        found.extend(more.iter().map(|message| message.body[0]));
    }
}

#[test]
fn a_slow_disk_is_waited_for_and_holds_up_nobody_else() {
    let Some(disk) = CutDisk::mount(1) else { return };
    let ports = Ports::free();
    let (broker, mut client) = start(&disk, ports);
    let mut sent = 0;
    for ms in [4, 200, 4, 50, 200] {
        disk.be(Temper { delay: Duration::from_millis(ms), ..Temper::default() });
        let waited = send(&mut client, SYNC, sent..sent + 4);
        assert!(waited.iter().all(|waited| waited.as_millis() >= u128::from(ms)), "acknowledged early: {waited:?}");
        // A write takes up to twice the delay; a message waits for the one under way and for its own.
        let longest = waited.iter().max().unwrap();
        assert!(longest.as_millis() < u128::from(ms) * 5 + 1_000, "{ms} ms a write: {waited:?}");
        // While the disk is at it, those who do not ask for it are answered at once.
        let waited = send(&mut client, ASYNC, sent..sent + 4);
        let least = waited.iter().min().unwrap();
        assert!(ms < 200 || least.as_millis() < 200, "{ms} ms a write: {waited:?}");
        println!("{ms} ms a write: sync at most {longest:?}, async at least {least:?}");
        sent += 4;
    }
    assert_eq!(bodies(&mut client, SYNC), Vec::from_iter(0..sent));
    assert_eq!(broker.stop().code, Some(0));
    let (broker, mut client) = start(&disk, ports);
    assert_eq!(bodies(&mut client, SYNC), Vec::from_iter(0..sent));
    assert_eq!(bodies(&mut client, ASYNC), Vec::from_iter(0..sent));
    assert_eq!(broker.stop().code, Some(0));
}

/// The disk turns bad in the middle of things: what a broker must do about it.
fn stops_and_heals(bad: Temper, reason: &str) {
    let Some(disk) = CutDisk::mount(2) else { return };
    let ports = Ports::free();
    let (broker, mut client) = start(&disk, ports);
    send(&mut client, SYNC, 0..5);
    disk.be(bad);
    let no = client.send(SYNC, 0, &[5]).unwrap().unwrap_err();
    assert_eq!(no.code, NOT_AVAILABLE, "{no:?}");
    assert!(no.remark.contains(reason) && no.remark.contains("restart"), "{no:?}");
    assert_eq!(bodies(&mut client, SYNC), [0, 1, 2, 3, 4], "reads go on, and nothing unacknowledged shows");
    // What failed once is not believed again: the disk is well, the shard stays stopped.
    disk.be(Temper::default());
    let writes = disk.writes();
    for topic in [SYNC, ASYNC] {
        assert_eq!(client.send(topic, 0, b"x").unwrap().unwrap_err().code, NOT_AVAILABLE);
    }
    assert_eq!(disk.writes(), writes, "nothing is tried again");
    assert_eq!(broker.stop().code, Some(0));
    let (broker, mut client) = start(&disk, ports);
    let found = bodies(&mut client, SYNC);
    assert!(found == [0, 1, 2, 3, 4] || found == [0, 1, 2, 3, 4, 5], "{found:?}");
    let next = found.len() as u8;
    send(&mut client, SYNC, next..next + 3);
    assert_eq!(broker.stop().code, Some(0));
}

#[test]
fn a_write_that_fails_is_final() {
    stops_and_heals(Temper { writes_fail: Some(libc::EIO), ..Temper::default() }, "EIO");
}

/// What arrives depends on how the kernel passes it on: fewer bytes, or EIO.
#[test]
fn a_short_write_is_a_failed_one() {
    stops_and_heals(Temper { writes_at_most: Some(512), ..Temper::default() }, "a write to its log failed");
}

#[test]
fn a_read_that_fails_is_said_and_harms_nothing() {
    let Some(disk) = CutDisk::mount(3) else { return };
    let ports = Ports::free();
    let (broker, mut client) = start(&disk, ports);
    send(&mut client, SYNC, 0..5);
    assert_eq!(broker.stop().code, Some(0));
    // After a start nothing is in memory: a pull reads the disk.
    let (broker, mut client) = start(&disk, ports);
    disk.be(Temper { reads_fail: Some(libc::EIO), ..Temper::default() });
    let no = client.pull(SYNC, 0, 0).unwrap().unwrap_err();
    println!("a read failed: {no:?}");
    assert!(!no.remark.is_empty());
    send(&mut client, SYNC, 5..8);
    disk.be(Temper::default());
    assert_eq!(bodies(&mut client, SYNC), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(broker.stop().code, Some(0));
}
