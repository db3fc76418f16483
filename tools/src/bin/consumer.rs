//! The quick start's consumer: joins a group and prints what it receives.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use ringmq_tools::consumer::{Consumer, From, Message};

/// Joins a consumer group and prints the messages of a topic.
#[derive(Parser)]
#[command(
    name = "consumer",
    version,
    after_help = "\
Examples:
  consumer --topic TopicTest --group quickstart --from first
  consumer --topic Orders --tags 'created || paid' --count 100 --idle 10
Ctrl-C ends it; offsets are committed each second."
)]
struct Flags {
    /// Name servers, host:port;host:port
    #[arg(short, long, env = "NAMESRV_ADDR", default_value = "127.0.0.1:9876")]
    namesrv: String,
    /// Topic to read
    #[arg(short, long, default_value = "TopicTest")]
    topic: String,
    /// Consumer group; members of one group share the queues
    #[arg(short, long, default_value = "quickstart_consumer")]
    group: String,
    /// Tags wanted: *, A, A || B
    #[arg(long, default_value = "*")]
    tags: String,
    /// Where a group without offsets begins
    #[arg(long, value_enum, default_value_t = Begin::Last)]
    from: Begin,
    /// End after this many messages
    #[arg(short, long)]
    count: Option<u64>,
    /// End when nothing came for this many seconds
    #[arg(long)]
    idle: Option<u64>,
    /// Print nothing but the last line
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Begin {
    /// The oldest message
    First,
    /// Messages sent from now on
    Last,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let from = match flags.from {
        Begin::First => From::First,
        Begin::Last => From::Last,
    };
    let mut consumer = Consumer::new(&flags.namesrv, &flags.group, &flags.topic, &flags.tags, from);
    let mut received = 0;
    let mut last_message = Instant::now();
    let mut last_commit = Instant::now();
    loop {
        match consumer.poll(Duration::from_secs(1)) {
            Ok(Some(message)) => {
                received += 1;
                last_message = Instant::now();
                if !flags.quiet {
                    print(&message);
                }
            }
            Ok(None) => {}
            Err(error) => {
                eprintln!("consumer: {error}; trying again in a second");
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        if last_commit.elapsed() >= Duration::from_secs(1) {
            last_commit = Instant::now();
            if let Err(error) = consumer.commit() {
                eprintln!("consumer: the offsets were not committed: {error}");
            }
        }
        let enough = flags.count.is_some_and(|count| received >= count);
        let idle = flags.idle.is_some_and(|idle| last_message.elapsed() >= Duration::from_secs(idle));
        if enough || idle {
            break;
        }
    }
    if let Err(error) = consumer.leave() {
        eprintln!("consumer: leaving the group failed, the others notice within two minutes: {error}");
        return ExitCode::FAILURE;
    }
    println!("{received} messages received from {}", flags.topic);
    match flags.count {
        Some(count) if received < count => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn print(message: &Message) {
    println!(
        "queueId={} queueOffset={} msgId={} tags={} keys={} body={}",
        message.queue,
        message.offset,
        message.id,
        message.tags.as_deref().unwrap_or("-"),
        message.keys.as_deref().unwrap_or("-"),
        String::from_utf8_lossy(&message.body)
    );
}
