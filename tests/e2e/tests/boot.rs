//! Starting, refusing to start, and stopping.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use ringmq_e2e::{Client, Ports, Process, process};

/// The one line of a refusal, after checking that it is one and that the exit code says so.
fn refusal(stopped: &process::Stopped) -> &str {
    assert_eq!(stopped.code, Some(1), "{stopped:?}");
    let lines: Vec<&str> = stopped.said.lines().collect();
    assert_eq!(lines.len(), 1, "a refusal is one line: {stopped:?}");
    lines[0]
}

fn run(root: &std::path::Path, ports: Ports, more: &[&str]) -> process::Stopped {
    let mut args = vec![
        format!("storePathRootDir={}", root.display()),
        format!("listenPort={}", ports.broker),
        format!("namesrvListenPort={}", ports.name_server),
    ];
    args.extend(more.iter().map(|&more| more.to_owned()));
    let args: Vec<String> = args.into_iter().flat_map(|set| ["-s".to_owned(), set]).collect();
    process::run("mqbroker", &args)
}

#[test]
fn a_broker_greets_stops_and_finds_everything_again() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    let broker = Process::start(dir.path(), ports, &[]);
    for said in [ports.broker.to_string(), ports.name_server.to_string(), dir.path().display().to_string()] {
        assert!(broker.greeting.contains(&said), "{said} is missing in {}", broker.greeting);
    }
    let mut client = Client::connect(ports.broker).unwrap();
    client.create_topic("again", 2, "+flush.type=SYNC").unwrap().unwrap();
    for n in 0..10 {
        let stored = client.send("again", n % 2, format!("message {n}").as_bytes()).unwrap().unwrap();
        assert_eq!((stored.queue, stored.offset), (n % 2, i64::from(n / 2)));
    }
    let stopped = broker.stop();
    assert_eq!(stopped.code, Some(0), "{stopped:?}");

    let _broker = Process::start(dir.path(), ports, &[]);
    let mut client = Client::connect(ports.broker).unwrap();
    let messages = client.pull("again", 1, 0).unwrap().unwrap();
    let bodies: Vec<String> =
        messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect();
    assert_eq!(bodies, ["message 1", "message 3", "message 5", "message 7", "message 9"]);
    assert_eq!(client.send("again", 1, b"more").unwrap().unwrap().offset, 5);
}

#[test]
fn a_lost_shard_is_missed_and_begins_anew_only_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    let settings = ["shards=2"];
    let stopped = Process::start(dir.path(), ports, &settings).stop();
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let lost = dir.path().join("shard-001");
    fs::remove_dir_all(&lost).unwrap();
    let stopped = run(dir.path(), ports, &settings);
    let said = stopped.said.lines().find(|line| line.starts_with("mqbroker: ")).unwrap_or_default();
    assert!(stopped.code == Some(1) && said.contains("shard-001, is missing"), "{stopped:?}");
    assert!(said.contains("--abandon-shard 1") && !lost.exists(), "{stopped:?}");
    let root = format!("storePathRootDir={}", dir.path().display());
    let stopped = process::run("mqbroker", &["--abandon-shard", "1", "-s", root.as_str()]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    let stopped = Process::start(dir.path(), ports, &settings).stop();
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
}

/// A mounted file system in memory that refuses O_DIRECT; unmounted at the end, whatever happens.
struct Ramfs(tempfile::TempDir);

impl Ramfs {
    /// `None` where mounting is not allowed.
    fn mount() -> Option<Ramfs> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "ramfs", "none"]).arg(dir.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Ramfs(dir))
    }
}

impl Drop for Ramfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_file_system_without_direct_writes_is_written_through_the_cache_and_said_so() {
    let Some(ramfs) = Ramfs::mount() else {
        println!("mounting a ramfs is not allowed here: nothing was tried");
        return;
    };
    let root = ramfs.0.path().join("store");
    let ports = Ports::free();
    let settings = ["mappedFileSizeCommitLog=16777216"];
    let broker = Process::start(&root, ports, &settings);
    assert!(broker.greeting.contains("refuses O_DIRECT"), "{}", broker.greeting);
    let mut client = Client::connect(ports.broker).unwrap();
    client.create_topic("cached", 1, "+flush.type=SYNC").unwrap().unwrap();
    assert_eq!(client.send("cached", 0, b"kept").unwrap().unwrap().offset, 0);
    broker.kill();

    let broker = Process::start(&root, ports, &settings);
    let mut client = Client::connect(ports.broker).unwrap();
    let messages = client.pull("cached", 0, 0).unwrap().unwrap();
    assert_eq!(messages[0].body, b"kept");
    assert_eq!(broker.stop().code, Some(0));
}

#[test]
fn a_directory_with_something_else_is_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("commitlog")).unwrap();
    let stopped = run(dir.path(), Ports::free(), &[]);
    let line = refusal(&stopped);
    assert!(line.contains("Apache") && line.contains("storePathRootDir"), "{line}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn another_brokers_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    Process::start(dir.path(), ports, &["brokerName=broker-a"]).stop();
    let stopped = run(dir.path(), ports, &["brokerName=broker-b"]);
    assert!(refusal(&stopped).contains("broker-a"), "{stopped:?}");
}

#[test]
fn a_second_broker_on_the_same_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Process::start(dir.path(), Ports::free(), &[]);
    let stopped = run(dir.path(), Ports::free(), &[]);
    assert!(refusal(&stopped).contains(&format!("in use by process {}", first.id())), "{stopped:?}");
}

#[test]
fn a_taken_port_is_refused_even_when_another_broker_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    let taken = TcpListener::bind(("0.0.0.0", ports.broker)).unwrap();
    let stopped = run(dir.path(), ports, &[]);
    let line = refusal(&stopped);
    assert!(line.contains(&format!("port {} is in use", ports.broker)) && line.contains("listenPort"), "{line}");
    drop(taken);

    let first = Process::start(&dir.path().join("first"), ports, &[]);
    let stopped = run(&dir.path().join("second"), ports, &[]);
    assert!(refusal(&stopped).contains(&format!("by process {}", first.id())), "{stopped:?}");
}

#[test]
fn a_bad_setting_is_refused_and_the_effective_ones_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let stopped = run(dir.path(), Ports::free(), &["flushDiskType=SOMETIMES"]);
    assert!(refusal(&stopped).contains("flushDiskType"), "{stopped:?}");
    let listed = process::run("mqbroker", &["-p", "-s", "flushDiskType=ASYNC_FLUSH"]);
    assert_eq!(listed.code, Some(0));
    assert!(listed.said.contains("ASYNC_FLUSH"), "{}", listed.said);
    let help = process::run("mqbroker", &["--help"]);
    assert!(help.code == Some(0) && help.said.contains("Examples"), "{}", help.said);
}
