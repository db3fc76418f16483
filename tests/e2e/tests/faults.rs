//! The disk fails, goes read-only or goes away under a running broker: it stops accepting and says why, keeps reading what
//! it has, acknowledges nothing false, and a restart heals.
//!
//! Needs the right to mount a loop device; where that is missing, only the removed directory is tried.

use std::path::Path;
use std::time::{Duration, Instant};

use ringmq_e2e::client::Refused;
use ringmq_e2e::{Client, Ports, Process, Volume, ran};
use ringmq_protocol::command::Command;
use ringmq_protocol::headers::client::ConsumerGroupHeader;
use ringmq_protocol::request_code::RequestCode;
use ringmq_protocol::text::Text;

/// Segments small enough for a small volume.
const SETTINGS: [&str; 3] = ["mappedFileSizeCommitLog=16777216", "maxMessageSize=1048576", "shards=1"];
/// SERVICE_NOT_AVAILABLE
const NOT_AVAILABLE: i32 = 14;
/// A loss that no write shows is noticed within a second; the rest is a busy machine.
const NOTICED: Duration = Duration::from_secs(20);

/// A broker with five acknowledged messages in a synchronous topic.
fn start(root: &Path, ports: Ports) -> (Process, Client) {
    let broker = Process::start(root, ports, &SETTINGS);
    let mut client = Client::connect(ports.broker).unwrap();
    client.create_topic("faults", 1, "+flush.type=SYNC").unwrap().unwrap();
    for n in 0..5 {
        assert_eq!(client.send("faults", 0, &[n]).unwrap().unwrap().offset, i64::from(n));
    }
    (broker, client)
}

/// Sends until it is refused. What is acknowledged meanwhile counts.
fn refused(client: &mut Client, acknowledged: &mut Vec<u8>) -> Refused {
    let begun = Instant::now();
    loop {
        let number = acknowledged.len() as u8;
        match client.send("faults", 0, &[number]).unwrap() {
            Ok(stored) => assert_eq!(stored.offset, i64::from(number)),
            Err(refused) => return refused,
        }
        acknowledged.push(number);
        assert!(begun.elapsed() < NOTICED && number < 250, "the loss is not noticed");
        std::thread::yield_now();
    }
}

/// Waits until the broker says that a shard of it stopped, without giving its disk anything to do.
fn wait_until_noticed(client: &mut Client) {
    let begun = Instant::now();
    let code = RequestCode::GetBrokerRuntimeInfo.to_i32();
    // The request has no fields; these are passed over.
    let nobody = ConsumerGroupHeader { consumer_group: Text::plain("") };
    while !client.call(code, &nobody, &[], says_stopped).unwrap() {
        assert!(begun.elapsed() < NOTICED, "the loss is not noticed");
        std::thread::yield_now();
    }
}

fn says_stopped(answer: &Command<'_>) -> bool {
    String::from_utf8_lossy(answer.body).contains("\"brokerActive\":\"false\"")
}

fn bodies(client: &mut Client) -> Vec<u8> {
    client.pull("faults", 0, 0).unwrap().unwrap().iter().map(|message| message.body[0]).collect()
}

#[test]
fn a_file_system_that_goes_read_only_stops_the_shard_and_a_restart_heals() {
    let Some(volume) = Volume::make(200) else { return };
    let ports = Ports::free();
    let (broker, mut client) = start(&volume.root(), ports);
    volume.abort();
    let mut acknowledged = vec![0, 1, 2, 3, 4];
    let no = refused(&mut client, &mut acknowledged);
    assert_eq!(no.code, NOT_AVAILABLE, "{no:?}");
    assert!(no.remark.contains("read-only") && no.remark.contains("restart"), "{no:?}");
    assert_eq!(bodies(&mut client), acknowledged, "reads go on, and nothing unacknowledged shows");
    let again = client.send("faults", 0, b"x").unwrap().unwrap_err();
    assert_eq!((again.code, &again.remark), (no.code, &no.remark));
    let no = client.create_topic("other", 1, "").unwrap().unwrap_err();
    assert_eq!(no.code, NOT_AVAILABLE, "{no:?}");
    assert_eq!(broker.stop().code, Some(0));

    volume.unmount(&[]);
    assert!(volume.mount());
    let broker = Process::start(&volume.root(), ports, &SETTINGS);
    let mut client = Client::connect(ports.broker).unwrap();
    assert_eq!(bodies(&mut client)[..acknowledged.len()], acknowledged);
    client.send("faults", 0, b"more").unwrap().unwrap();
    assert_eq!(broker.stop().code, Some(0));
}

#[test]
fn a_device_that_fails_stops_the_shard() {
    let Some(volume) = Volume::make(200) else { return };
    let (broker, mut client) = start(&volume.root(), Ports::free());
    // Nearly all of the device is gone: whatever goes there ends with EIO.
    let image = std::fs::OpenOptions::new().write(true).open(volume.image()).unwrap();
    loop {
        image.set_len(1 << 20).unwrap();
        assert!(ran("losetup", &["-c", &volume.device()]));
        // Something written meanwhile makes the image longer again.
        if image.metadata().unwrap().len() == 1 << 20 {
            break;
        }
    }
    let mut acknowledged = vec![0, 1, 2, 3, 4];
    let no = refused(&mut client, &mut acknowledged);
    assert_eq!(no.code, NOT_AVAILABLE, "{no:?}");
    // The file system may have met it first, writing zeros ahead: then it is read-only by now.
    assert!(["EIO", "EROFS"].iter().any(|errno| no.remark.contains(errno)), "{no:?}");
    assert_eq!(bodies(&mut client), acknowledged);
    assert_eq!(broker.stop().code, Some(0));
}

#[test]
fn an_unmounted_directory_is_noticed_by_an_idle_broker() {
    let Some(volume) = Volume::make(200) else { return };
    let ports = Ports::free();
    let (broker, mut client) = start(&volume.root(), ports);
    volume.unmount(&["-l"]);
    wait_until_noticed(&mut client);
    let mut acknowledged = vec![0, 1, 2, 3, 4];
    let no = refused(&mut client, &mut acknowledged);
    assert_eq!(no.code, NOT_AVAILABLE, "{no:?}");
    assert!(no.remark.contains("unmounted"), "{no:?}");
    assert_eq!(bodies(&mut client), acknowledged);
    assert_eq!(broker.stop().code, Some(0));
    assert!(!volume.root().exists(), "nothing was made where the volume had been");

    assert!(volume.mount());
    let broker = Process::start(&volume.root(), ports, &SETTINGS);
    assert_eq!(bodies(&mut Client::connect(ports.broker).unwrap()), acknowledged);
    assert_eq!(broker.stop().code, Some(0));
}

#[test]
fn a_removed_directory_is_noticed_and_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("store");
    let ports = Ports::free();
    let (broker, mut client) = start(&root, ports);
    std::fs::remove_dir_all(&root).unwrap();
    wait_until_noticed(&mut client);
    let mut acknowledged = vec![0, 1, 2, 3, 4];
    let no = refused(&mut client, &mut acknowledged);
    assert_eq!(no.code, NOT_AVAILABLE, "{no:?}");
    assert!(no.remark.contains("removed"), "{no:?}");
    assert_eq!(bodies(&mut client), acknowledged);
    assert_eq!(broker.stop().code, Some(0));
    assert!(!root.exists());
}
