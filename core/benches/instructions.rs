//! One way of messages through a shard, so often as asked, for somebody who counts its instructions.
//!
//! `cargo xtask instructions` runs it below callgrind with two numbers of messages; the difference is what the messages cost.
//! Everything is deterministic: no clock, no threads, no sockets, no files. Never measures anything itself.

mod paths;

use paths::Path;
use ringmq_protocol::frame::Spelling;

/// So many are pulled again and again: they stay in the tail.
const STORED: u64 = 4_096;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let usage =
        "usage: instructions send-json|send-binary|send-json-sync|batch-32|pull-32 MESSAGES (a multiple of 2048)";
    let [path, messages] = words.as_slice() else { return eprintln!("{usage}") };
    let messages: u64 = messages.parse().expect(usage);
    match path.as_str() {
        "send-json" => send("ASYNC_FLUSH", paths::send(Spelling::Json), messages),
        "send-binary" => send("ASYNC_FLUSH", paths::send(Spelling::Binary), messages),
        "send-json-sync" => send("SYNC_FLUSH", paths::send(Spelling::Json), messages),
        "batch-32" => send("ASYNC_FLUSH", paths::batch(32), messages / 32),
        "pull-32" => {
            let mut path = Path::new("ASYNC_FLUSH");
            path.send(&mut paths::send(Spelling::Json), STORED);
            path.pull(messages / 32, STORED);
        }
        _ => panic!("{usage}"),
    }
}

fn send(flush: &str, mut frame: Vec<u8>, frames: u64) {
    Path::new(flush).send(&mut frame, frames);
}
