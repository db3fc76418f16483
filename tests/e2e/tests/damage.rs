//! Bits flipped in the files of a stopped broker: `mqbroker --check` names each, a start either mends or refuses, and consumers
//! are led past what is lost.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ringmq_e2e::process::run;
use ringmq_e2e::{Client, Ports, Process};

const TOPIC: &str = "damage";
/// The smallest segments, so that a few megabytes fill some.
const SETTINGS: [&str; 3] = ["mappedFileSizeCommitLog=4m", "maxMessageSize=1m", "cpus=0"];
const MESSAGES: i64 = 2_000;

/// A directory with some full segments, their indexes and two checkpoints.
fn filled(dir: &Path, ports: Ports) {
    for round in 0..2 {
        let broker = Process::start(dir, ports, &SETTINGS);
        let mut client = Client::connect(ports.broker).unwrap();
        if round == 0 {
            client.create_topic(TOPIC, 1, "+flush.type=ASYNC").unwrap().unwrap();
        }
        for n in 0..MESSAGES / 2 {
            client.send(TOPIC, 0, &body(round * MESSAGES / 2 + n)).unwrap().unwrap();
        }
        assert_eq!(broker.stop().code, Some(0));
    }
}

fn body(n: i64) -> Vec<u8> {
    let mut body = format!("{n:08} ").into_bytes();
    body.resize(4_000, n as u8);
    body
}

fn check(dir: &Path) -> (Option<i32>, String) {
    let root = format!("storePathRootDir={}", dir.display());
    let stopped = run("mqbroker", &["--check", "-s", root.as_str()]);
    (stopped.code, stopped.said)
}

/// Flips one bit, and gives the way back.
fn flip(path: &Path, at: u64) -> impl FnOnce() + use<> {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    let was = byte;
    byte[0] ^= 0x10;
    file.write_all_at(&byte, at).unwrap();
    move || file.write_all_at(&was, at).unwrap()
}

/// A file of the only shard.
fn file(dir: &Path, ending: &str) -> PathBuf {
    let mut names: Vec<PathBuf> =
        fs::read_dir(dir.join("shard-000")).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names.into_iter().find(|path| path.to_string_lossy().ends_with(ending)).unwrap_or_else(|| panic!("no {ending}"))
}

#[test]
fn every_damaged_file_is_named_and_consumers_get_on() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    filled(dir.path(), ports);
    let (code, said) = check(dir.path());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("all is as it was written"), "{said}");
    let places = [
        (dir.path().join("ringmq.format"), 100),
        (file(dir.path(), "checkpoint-0"), 70),
        (file(dir.path(), "checkpoint-1"), 70),
        (file(dir.path(), ".index"), 300),
        (file(dir.path(), ".log"), 40_000),
        (file(dir.path(), ".log"), 600_000),
    ];
    for (path, at) in places {
        let back = flip(&path, at);
        let (code, said) = check(dir.path());
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(code, Some(1), "{name}: {said}");
        assert!(said.lines().any(|line| line.contains(name) && line.contains("damaged")), "{name}: {said}");
        if name.ends_with(".log") {
            assert!(said.contains(&format!("queues {TOPIC}-0 offset")), "{said}");
        }
        back();
    }
    let _stays = flip(&file(dir.path(), ".log"), 40_000);
    let broker = Process::start(dir.path(), ports, &SETTINGS);
    assert_eq!(check(dir.path()).0, Some(1), "a broker runs on it");
    let mut client = Client::connect(ports.broker).unwrap();
    let lost = consume(&mut client);
    assert!(lost > 0 && lost < MESSAGES / 2, "{lost}");
    assert_eq!(broker.stop().code, Some(0));
}

#[test]
fn an_index_that_says_something_else_than_its_log_is_named() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    filled(dir.path(), Ports::free());
    filled(other.path(), Ports::free());
    let index = file(dir.path(), ".index");
    // Whole and of the right place, but of other messages: these were stored later.
    fs::copy(file(other.path(), ".index"), &index).unwrap();
    let (code, said) = check(dir.path());
    assert_eq!(code, Some(1), "{said}");
    let name = index.file_name().unwrap().to_str().unwrap();
    assert!(said.contains(name) && said.contains("does not say what the log says"), "{said}");
}

#[test]
fn the_scrub_of_a_running_broker_names_what_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    filled(dir.path(), ports);
    let [log, index] = [".log", ".index"].map(|ending| file(dir.path(), ending));
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let mend = flip(&log, 40_000);
    let _until_it_is_made_again = flip(&index, 300);
    let settings = [&SETTINGS[..], &["scrubEvery=1", "scrubRate=1g"]].concat();
    let broker = Process::start_heard(dir.path(), ports, &settings);
    // In the order in which it reads: the index, then its segment. Nobody asked for a message.
    broker.hear(&["scrub", &name(&index), "damaged"]);
    let lost = broker.hear(&["scrub", &name(&log), "lost are"]);
    let (_, range) = lost.split_once(" bytes ").expect("it says where");
    let (from, rest) = range.split_once("..").expect("from where to where");
    let to: u64 = rest.split_once(':').expect("then who").0.parse().expect("a number");
    assert!((from.parse::<u64>().expect("a number")..to).contains(&40_000), "{lost}");
    assert!(lost.contains(&format!("{TOPIC}-0 offset")), "{lost}");
    broker.hear(&[&name(&log), "is damaged: its checksum is wrong"]);
    // Rounds go on, and what they find is news again only when it changed.
    let mend_more = flip(&log, to + 100_000);
    broker.hear(&["scrub", &name(&log), "lost are"]);
    mend();
    mend_more();
    broker.hear(&["scrub", &name(&log), "is whole again"]);
    assert_eq!(broker.stop().code, Some(0));
}

/// Reads everything; gives how many messages the broker led past.
fn consume(client: &mut Client) -> i64 {
    let (mut offset, mut lost) = (0, 0);
    while offset < MESSAGES {
        match client.pull(TOPIC, 0, offset).unwrap() {
            Ok(messages) => {
                for message in &messages {
                    assert_eq!((message.offset, &message.body), (offset, &body(offset)));
                    offset += 1;
                }
                assert!(!messages.is_empty());
            }
            Err(refused) => {
                assert_eq!(refused.code, 20, "{refused:?}");
                let (_, next) = refused.remark.rsplit_once("go on at ").expect("it says where to go on");
                let next: i64 = next.parse().expect("a number");
                lost += next - offset;
                offset = next;
            }
        }
    }
    lost
}
