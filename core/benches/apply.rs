//! What one message costs at the boundary of `Shard::apply`, without sockets and disk.
//!
//! Prints nanoseconds of CPU time per message: send (async and sync, both spellings), batches of 32, pulls of 32. A send is measured
//! from the bytes of its frame to the bytes of its answer: cut, parse, place, apply, the log's write plan and its completion, once
//! per 64 frames as under load. Run with `cargo bench -p ringmq-core --bench apply`.

mod paths;

use paths::Path;
use ringmq_protocol::frame::Spelling;

const MESSAGES: u64 = 1_000_000;

/// So many are pulled again and again: they stay in the tail.
const STORED: u64 = 16_000;

fn main() {
    if cfg!(debug_assertions) {
        println!("a debug build: the numbers mean nothing");
    }
    for spelling in [Spelling::Json, Spelling::Binary] {
        for flush in ["ASYNC_FLUSH", "SYNC_FLUSH"] {
            let nanos = sends(flush, paths::send(spelling), 1);
            println!("send 1 KiB, {spelling:?}, {flush}: {nanos:.0} ns/message");
        }
    }
    let nanos = sends("ASYNC_FLUSH", paths::batch(32), 32);
    println!("batch of 32 x 1 KiB, ASYNC_FLUSH: {nanos:.0} ns/message");
    println!("pull of 32 x 1 KiB: {:.0} ns/message", pulls());
}

/// CPU time of this thread: other work on the machine does not count (Linux; elsewhere the numbers are zero).
fn cpu_nanos() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

/// Nanoseconds per message; each frame carries `per_frame` of them.
fn sends(flush: &str, mut frame: Vec<u8>, per_frame: u64) -> f64 {
    let mut path = Path::new(flush);
    path.send(&mut frame, MESSAGES / per_frame / 10);
    let start = cpu_nanos();
    path.send(&mut frame, MESSAGES / per_frame);
    (cpu_nanos() - start) as f64 / MESSAGES as f64
}

fn pulls() -> f64 {
    let mut path = Path::new("ASYNC_FLUSH");
    path.send(&mut paths::send(Spelling::Json), STORED);
    let start = cpu_nanos();
    path.pull(MESSAGES / 32, STORED);
    (cpu_nanos() - start) as f64 / MESSAGES as f64
}
