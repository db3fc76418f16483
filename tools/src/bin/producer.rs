//! The quick start's producer: sends numbered messages and prints where each was stored.

use std::process::ExitCode;

use clap::Parser;
use ringmq_tools::producer::{Outgoing, Producer};

/// Sends messages to a topic and prints where each was stored.
#[derive(Parser)]
#[command(
    name = "producer",
    version,
    after_help = "\
Examples:
  producer --topic TopicTest --count 10
  producer -n 192.0.2.1:9876 --topic Orders --tags created --keys order-7 --body '{\"id\":7}'"
)]
struct Flags {
    /// Name servers, host:port;host:port
    #[arg(short, long, env = "NAMESRV_ADDR", default_value = "127.0.0.1:9876")]
    namesrv: String,
    /// Topic to send to; the broker makes it when it may
    #[arg(short, long, default_value = "TopicTest")]
    topic: String,
    /// Producer group
    #[arg(short, long, default_value = "quickstart_producer")]
    group: String,
    /// How many messages
    #[arg(short, long, default_value_t = 10)]
    count: u64,
    /// Tag of each message
    #[arg(long, default_value = "TagA")]
    tags: String,
    /// Keys of each message, separated by spaces
    #[arg(long)]
    keys: Option<String>,
    /// Body; the message's number is put behind it when there are several
    #[arg(short, long, default_value = "Hello RingMQ")]
    body: String,
    /// Print nothing but the last line
    #[arg(short, long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let mut producer = Producer::new(&flags.namesrv, &flags.group);
    for number in 0..flags.count {
        let body = if flags.count == 1 { flags.body.clone() } else { format!("{} {number}", flags.body) };
        let message = Outgoing {
            topic: &flags.topic,
            tags: Some(&flags.tags),
            keys: flags.keys.as_deref(),
            properties: &[],
            body: body.as_bytes(),
        };
        match producer.send(&message) {
            Ok(_) if flags.quiet => {}
            Ok(sent) => println!(
                "SEND_OK  msgId={}  offsetMsgId={}  broker={}  queueId={}  queueOffset={}",
                sent.message_id, sent.offset_id, sent.broker, sent.queue, sent.offset
            ),
            Err(error) => {
                eprintln!("producer: message {number} of {} was not sent: {error}", flags.count);
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{} messages sent to {}", flags.count, flags.topic);
    ExitCode::SUCCESS
}
