//! Whatever is written to the port, other clients notice nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use ringmq_e2e::{Client, Ports, Process};

/// A sender that keeps checking that it is served as if nothing happened.
struct Bystander {
    client: Client,
    next: i64,
}

impl Bystander {
    fn new(ports: Ports) -> Bystander {
        let mut client = Client::connect(ports.broker).unwrap();
        client.create_topic("bystander", 1, "").unwrap().unwrap();
        Bystander { client, next: 0 }
    }

    fn is_served(&mut self) {
        let stored = self.client.send("bystander", 0, b"all is well").unwrap().unwrap();
        assert_eq!(stored.offset, self.next);
        self.next += 1;
    }
}

/// The broker ends the connection: whatever it still sends, the stream comes to an end.
fn is_closed(mut stream: TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()
}

/// A frame: both words, header, body.
fn frame(kind: u8, header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + header.len() + body.len()) as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&((u32::from(kind) << 24) | header.len() as u32).to_be_bytes());
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn garbage_ends_its_own_connection_only() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    let broker = Process::start(dir.path(), ports, &[]);
    let mut bystander = Bystander::new(ports);
    // A fixed sequence that looks random (xorshift), so that a failure can be repeated.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let noise: Vec<Vec<u8>> = (0..50).map(|n| (0..(n * 37 + 12)).map(|_| random() as u8 | 0x80).collect()).collect();
    let shaped = [
        vec![0xff; 64],
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        3u32.to_be_bytes().to_vec(),
        (16u32 * 1024 * 1024).to_be_bytes().to_vec(),
        frame(7, b"{}", b""),
        frame(0, b"not json", b""),
        frame(0, b"{\"code\":310", b""),
        frame(0, b"{\"code\":\"many\",\"opaque\":1}", b""),
        frame(1, &[0, 10, 0], b""),
        frame(1, &[0xff; 30], b""),
    ];
    for port in [ports.broker, ports.broker - 2, ports.name_server] {
        for bytes in noise.iter().chain(&shaped) {
            let mut stream = connect(port);
            // It may be closed while we still write.
            let _ = stream.write_all(bytes);
            is_closed(stream);
        }
        bystander.is_served();
    }
    assert_eq!(broker.stop().code, Some(0));
}

#[test]
fn half_frames_and_a_thousand_idle_sockets_hold_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    let broker = Process::start(dir.path(), ports, &[]);
    let before = resident(broker.id());
    let mut bystander = Bystander::new(ports);
    let mut idle: Vec<TcpStream> = (0..1_000).map(|_| connect(ports.broker)).collect();
    bystander.is_served();
    for (n, stream) in idle.iter_mut().enumerate() {
        // Half a length word, half a header, a frame that announces 16 MiB and sends a little of it.
        let half = [&[0u8, 0][..], &[0, 0, 4, 0, 0, 0, 1][..], &[0, 0xff, 0xff, 0xf0, 0, 0, 0, 1, b'{'][..]];
        stream.write_all(half[n % half.len()]).unwrap();
    }
    bystander.is_served();
    let grown = resident(broker.id()).saturating_sub(before);
    assert!(grown < 32 << 20, "a thousand idle sockets cost {} KiB", grown >> 10);
    drop(idle);
    bystander.is_served();
    assert_eq!(broker.stop().code, Some(0));
}

#[test]
fn frames_arrive_whole_however_they_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    let _broker = Process::start(dir.path(), ports, &[]);
    let mut client = Client::connect(ports.broker).unwrap();
    client.create_topic("cut", 1, "").unwrap().unwrap();
    let mut frames = Vec::new();
    for size in [1, 100, 1_000, 300_000, 70, 2_000_000, 5] {
        client.encode_send(&mut frames, "cut", 0, &vec![b'x'; size]);
    }
    let (head, tail) = frames.split_at(3_000);
    for byte in head {
        client.write(&[*byte]).unwrap();
    }
    for part in tail.chunks(65_521) {
        client.write(part).unwrap();
    }
    for offset in 0..7 {
        let stored = client.receive(ringmq_e2e::client::send_outcome).unwrap().unwrap();
        assert_eq!(stored.offset, offset);
    }
}

#[test]
fn an_unknown_code_is_answered_with_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::free();
    let _broker = Process::start(dir.path(), ports, &[]);
    for port in [ports.broker, ports.name_server] {
        let mut client = Client::connect(port).unwrap();
        let request = frame(0, b"{\"code\":29999,\"flag\":0,\"opaque\":77}", b"");
        client.write(&request).unwrap();
        client
            .receive(|answer| {
                assert_eq!((answer.code, answer.opaque), (3, 77));
                assert!(answer.remark.unwrap().to_cow().contains("29999"));
            })
            .unwrap();
    }
}

/// Resident memory of a process, bytes.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
