//! The language of the scripts. One statement per line, `#` starts a comment:
//!
//! ```text
//! shards 2                                   settings come first: shards, set, segment, tail
//! set flushDiskType ASYNC_FLUSH
//! topic T queues=4 perm=6 flush=SYNC         made on every shard at once, without a client
//! group G broadcast=false                    likewise
//! subscribe G T A || B                       what an online group's heartbeat would say
//! drop T                                     the topic is gone, on every shard at once
//! client C home=0                            connects; `binary` spells headers in binary
//! > C send topic=T queue=0 body=hello tags=A sends a request: send, batch, pull, or any code by name
//! > C GET_MAX_OFFSET topic=T queueId=0
//! > C VIEW_MESSAGE_BY_ID offset=$sent        the physical offset of the message sent last
//! > C heartbeat id=c1 group=G topics=T:A||B,U  also lock, unlock: see clients.rs
//! < C 0 queueOffset=0                        the next answer: its code, fields, remark~text, bodies=a,b
//! < C 0 body={"a":1} | body~part             the whole body, or a part of it
//! < C nothing                                no answer (yet)
//! < C 0 msgId=>m                             keeps a field; `$m` stands for it from then on, `$m.offset` for an id's offset
//! answer C 0 remark=text                     answers the last request of ours that was expected
//! jump 1h | jump -1h                         somebody sets the wall clock
//! advance 15s                                time passes, deadlines tick
//! hold writes                                from now on writes wait for `write`
//! write | write fails                        completes them
//! volume used=91                             the shards look at the disk: so much is used, in percent; `errno=28`: full
//! checkpoint                                 one is written (after `flush`), and what expired leaves the disk
//! files segments=2 spares=0                  what shard 0 has on its disk; also indexes
//! lost                                       the data directory of shard 0 is gone
//! crash | restart                            starts again from the disk
//! close C                                    the client goes away
//! ```

mod ask;
mod clients;
mod expect;

use std::collections::BTreeMap;

use ringmq_core::event::{DiskError, Input, Origin, ShardId};
use ringmq_core::fault::{Fault, Loss};
use ringmq_core::harness::Harness;
use ringmq_core::store::Urge;
use ringmq_core::store::retention::Volume;
use ringmq_core::topic::Change;
use ringmq_protocol::frame::Spelling;
use ringmq_protocol::ids::OffsetId;

/// A script being played.
pub struct Play {
    pub harness: Harness,
    pub clients: BTreeMap<String, Client>,
    /// Numbers requests; answers carry it back.
    pub opaque: i32,
    /// Fields that were kept, longer names first.
    pub kept: Vec<(String, String)>,
    /// Number of the last request of ours that a client received.
    pub push: i32,
    /// The physical offset in the id of the last message sent; `$sent` stands for it in requests.
    pub sent: String,
    /// Statements that make topics and groups, played again after a restart.
    setup: Vec<String>,
}

/// A connection of a script.
#[derive(Clone, Copy)]
pub struct Client {
    pub origin: Origin,
    pub spelling: Spelling,
}

/// Words of a statement: the plain ones, and `key=value` pairs.
pub struct Words<'a> {
    pub plain: Vec<&'a str>,
    pub pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Words<'a> {
    /// Cuts a statement at blanks; blanks within a value are written as `+`.
    pub fn of(text: &'a str) -> Self {
        let mut words = Words { plain: Vec::new(), pairs: Vec::new() };
        for word in text.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) if !key.is_empty() && !word.starts_with("remark~") => words.pairs.push((key, value)),
                _ => words.plain.push(word),
            }
        }
        words
    }

    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
    }

    pub fn number(&self, key: &str, default: i64) -> Result<i64, String> {
        self.get(key).map_or(Ok(default), |value| value.parse().map_err(|_| format!("{key}={value} is not a number")))
    }
}

/// Plays a script.
///
/// # Errors
/// Line number and what was wrong there.
pub fn play(text: &str) -> Result<(), String> {
    let lines: Vec<(usize, &str)> = (1..)
        .zip(text.lines())
        .map(|(number, line)| (number, line.split(" #").next().unwrap_or("").trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let is_setting = |line: &str| ["shards ", "set ", "segment ", "tail "].iter().any(|word| line.starts_with(word));
    let (settings, statements): (Vec<_>, Vec<_>) = lines.into_iter().partition(|(_, line)| is_setting(line));
    let mut play = begin(&settings)?;
    for (number, line) in statements {
        play.statement(line).map_err(|problem| format!("{number}: {line}\n    {problem}"))?;
    }
    Ok(())
}

fn begin(settings: &[(usize, &str)]) -> Result<Play, String> {
    let (mut shards, mut segment, mut tail, mut conf) = (1, 64 << 20, 32 << 20, String::new());
    for (number, line) in settings {
        let words: Vec<&str> = line.split_whitespace().collect();
        let size = || words[1].parse::<u64>().map_err(|_| format!("{number}: {line}: not a number"));
        match words[0] {
            "shards" => shards = size()? as u16,
            "segment" => segment = size()?,
            "tail" => tail = size()?,
            _ => conf.push_str(&format!("{} = {}\n", words[1], words[2..].join(" "))),
        }
    }
    let harness = Harness::with_sizes(shards, &conf, segment, tail);
    Ok(Play {
        harness,
        clients: BTreeMap::new(),
        opaque: 0,
        kept: Vec::new(),
        push: 0,
        sent: String::new(),
        setup: Vec::new(),
    })
}

impl Play {
    fn statement(&mut self, line: &str) -> Result<(), String> {
        let mut line = line.to_owned();
        for (name, value) in &self.kept {
            line = line.replace(&format!("${name}"), value);
        }
        let line = line.as_str();
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "topic" | "group" | "subscribe" => {
                self.setup.push(line.to_owned());
                self.make(verb, rest)
            }
            "drop" => {
                self.setup.retain(|line| !line.starts_with(&format!("topic {rest} ")));
                for id in self.harness.ids() {
                    let change = Change::TopicDrop { name: rest.into() };
                    self.harness.shard(id).metadata.apply(&change);
                }
                Ok(())
            }
            "client" => self.connect(rest),
            ">" => self.ask(rest),
            "<" => self.expect(rest),
            "advance" => {
                self.harness.advance(millis(rest)?);
                Ok(())
            }
            "answer" => self.answer(rest),
            "jump" => {
                let (sign, time) = rest.strip_prefix('-').map_or((1, rest), |time| (-1, time));
                self.harness.now.wall_ms += sign * millis(time)? as i64;
                Ok(())
            }
            "hold" => {
                self.harness.eager = false;
                Ok(())
            }
            "write" => self.write(rest),
            "lost" => {
                let fault = Fault::Directory { loss: Loss::Gone };
                self.harness.apply(ShardId(0), Input::Lost { fault });
                self.harness.settle();
                Ok(())
            }
            "read" => {
                self.harness.serve_reads();
                self.harness.settle();
                Ok(())
            }
            "flush" => {
                self.harness.flush();
                Ok(())
            }
            "checkpoint" => {
                self.harness.checkpoint();
                self.harness.remove_released();
                Ok(())
            }
            "volume" => self.volume(rest),
            "files" => self.files(rest),
            "crash" | "restart" => self.start_again(verb),
            "close" => {
                let client = self.client(rest)?;
                self.harness.disconnect(client.origin.conn);
                Ok(())
            }
            _ => Err(format!("{verb} is no statement")),
        }
    }

    pub fn client(&self, name: &str) -> Result<Client, String> {
        self.clients.get(name.trim()).copied().ok_or_else(|| format!("no client {name}"))
    }

    /// Keeps a field under a name.
    pub fn keep(&mut self, name: &str, value: &str) {
        let mut keep = |name: String, value: String| {
            self.kept.retain(|(known, _)| *known != name);
            self.kept.push((name, value));
        };
        if let Some(id) = OffsetId::decode(value) {
            keep(format!("{name}.offset"), id.offset.to_string());
        }
        keep(name.to_owned(), value.to_owned());
        self.kept.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    }

    fn connect(&mut self, rest: &str) -> Result<(), String> {
        let words = Words::of(rest);
        let name = words.plain.first().ok_or("a client needs a name")?;
        let home = ShardId(words.number("home", 0)? as u16);
        let peer = words.get("from").unwrap_or("127.0.0.1:50000").parse().map_err(|_| "from= is no address")?;
        let local = words.get("at").unwrap_or("127.0.0.1:10911").parse().map_err(|_| "at= is no address")?;
        let origin = self.harness.connect_from(home, peer, local);
        let spelling = if words.plain.contains(&"binary") { Spelling::Binary } else { Spelling::Json };
        self.clients.insert((*name).to_owned(), Client { origin, spelling });
        Ok(())
    }

    fn write(&mut self, rest: &str) -> Result<(), String> {
        let result = if rest == "fails" { Err(DiskError { errno: 5 }) } else { Ok(()) };
        for id in self.harness.ids() {
            self.harness.start_writes(id, Urge::Sync);
            self.harness.complete_writes(id, result);
        }
        self.harness.settle();
        Ok(())
    }

    /// `used=91`: so much of the disk is used, in percent; `errno=28`: no segment can be made. The shards are told.
    fn volume(&mut self, rest: &str) -> Result<(), String> {
        let words = Words::of(rest);
        let all = self.harness.volume.used + self.harness.volume.free;
        let used = words.number("used", 10)? as u64 * (all / 100);
        let no_segment = words.get("errno").map(|errno| errno.parse().map_err(|_| "errno= is no number"));
        let before = self.harness.volume;
        self.harness.volume = Volume { used, free: all - used, no_segment: no_segment.transpose()?, ..before };
        self.harness.look();
        Ok(())
    }

    /// `segments=2`, `spares=1`: what shard 0 has on its disk.
    fn files(&self, rest: &str) -> Result<(), String> {
        let (words, disk) = (Words::of(rest), &self.harness.nodes[0].disk);
        let found = [("segments", disk.segments.len()), ("indexes", disk.indexes.len()), ("spares", disk.spares.len())];
        for (name, found) in found {
            if words.number(name, found as i64)? != found as i64 {
                return Err(format!("there are {found} {name}"));
            }
        }
        Ok(())
    }

    fn start_again(&mut self, verb: &str) -> Result<(), String> {
        let started = if verb == "crash" { self.harness.crash() } else { self.harness.restart() };
        started.map_err(|error| error.to_string())?;
        // Topics are there again if the log was flushed; groups' subscriptions never are.
        for line in self.setup.clone() {
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            self.make(verb, rest)?;
        }
        Ok(())
    }
}

/// `15s`, `200ms`.
fn millis(text: &str) -> Result<u64, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = digits.parse().map_err(|_| format!("{text} is no time"))?;
    match unit {
        "ms" => Ok(number),
        "s" => Ok(number * 1_000),
        "m" => Ok(number * 60_000),
        "h" => Ok(number * 3_600_000),
        _ => Err(format!("{text} is no time: write 15s or 200ms")),
    }
}
