//! A consumer that reads whole queues of a broker that does at once what it is asked.
//!
//! Owns how a queue is read from its first offset to its end; never compares what it reads with anything.

use ringmq_core::event::Origin;
use ringmq_core::harness::Harness;
use ringmq_protocol::response_code::ResponseCode;

use crate::ledger::Content;
use crate::wire::{self, QueueName};
use crate::world::answers::{messages_of, offset_of, with_command};

/// A connection and the number of its last request.
#[derive(Debug)]
pub struct Reader<'h> {
    pub harness: &'h mut Harness,
    pub origin: Origin,
    pub opaque: &'h mut i32,
    /// Every answer, in order.
    pub heard: Vec<Vec<u8>>,
}

impl<'h> Reader<'h> {
    /// A reader on this connection; the harness must be eager and prompt.
    pub fn new(harness: &'h mut Harness, origin: Origin, opaque: &'h mut i32) -> Self {
        Reader { harness, origin, opaque, heard: Vec::new() }
    }

    /// Asks and returns the answer.
    ///
    /// # Errors
    /// There is none.
    pub fn ask(&mut self, frame: impl FnOnce(i32) -> Vec<u8>) -> Result<Vec<u8>, String> {
        *self.opaque += 1;
        self.harness.request(self.origin, &frame(*self.opaque));
        let answer = self.harness.take(self.origin.conn).ok_or("no answer")?;
        self.heard.push(answer.clone());
        Ok(answer)
    }

    /// Whether there is such a topic.
    ///
    /// # Errors
    /// The broker does not say.
    pub fn exists(&mut self, topic: &str) -> Result<bool, String> {
        let answer = self.ask(|opaque| wire::topic_config(opaque, topic))?;
        with_command(&answer, |command| match ResponseCode::from_i32(command.code) {
            Some(ResponseCode::Success) => Ok(true),
            Some(ResponseCode::TopicNotExist) => Ok(false),
            _ => Err(format!("{topic}: code {}, {:?}", command.code, command.remark)),
        })
    }

    /// The numbers of all messages of a queue, in order; none when there is no such topic.
    ///
    /// # Errors
    /// The broker shows something that cannot be, or refuses.
    pub fn whole_queue(&mut self, name: QueueName<'_>) -> Result<Content, String> {
        let (first, end) = self.bounds(name)?;
        let mut content = Content::from(first);
        if first > 0 {
            self.nothing_below(name, first)?;
        }
        while content.end() < end {
            if let Some(why) = self.more(name, &mut content)? {
                return Err(format!("{} {}: {why} of {end}", name.topic, name.queue));
            }
        }
        Ok(content)
    }

    /// The same of a broker that may refuse a part: what came before that, and what it showed that cannot be.
    pub fn as_far_as_possible(&mut self, name: QueueName<'_>) -> (Content, Option<String>) {
        let Ok((first, end)) = self.bounds(name) else { return (Content::default(), None) };
        let mut content = Content::from(first);
        while content.end() < end {
            match self.more(name, &mut content) {
                Ok(None) => {}
                Ok(Some(_)) => break,
                Err(why) => return (content, Some(why)),
            }
        }
        (content, None)
    }

    /// The first offset that the queue shows, and the next one.
    fn bounds(&mut self, name: QueueName<'_>) -> Result<(i64, i64), String> {
        let mut bounds = [0; 2];
        for (bound, ask) in bounds.iter_mut().zip([wire::min_offset, wire::max_offset]) {
            let answer = self.ask(|opaque| ask(opaque, name))?;
            *bound = with_command(&answer, |command| match ResponseCode::from_i32(command.code) {
                Some(ResponseCode::Success) => offset_of(command),
                _ => Err(format!("{name:?}: an end of the queue: code {}, {:?}", command.code, command.remark)),
            })?;
        }
        let [first, end] = bounds;
        if first <= end { Ok((first, end)) } else { Err(format!("{name:?} begins at {first} and ends at {end}")) }
    }

    /// Nothing is shown that lies before the beginning.
    fn nothing_below(&mut self, name: QueueName<'_>, first: i64) -> Result<(), String> {
        for offset in [0, first - 1] {
            let answer = self.ask(|opaque| wire::pull(opaque, name, offset))?;
            let found = with_command(&answer, |command| messages_of(command, name.topic))?;
            if !found.is_empty() {
                return Err(format!("{name:?} begins at {first} and shows {found:?}"));
            }
        }
        Ok(())
    }

    /// Pulls what follows; the broker's words if there is nothing.
    fn more(&mut self, name: QueueName<'_>, content: &mut Content) -> Result<Option<String>, String> {
        let QueueName { topic, queue } = name;
        let offset = content.end();
        let answer = self.ask(|opaque| wire::pull(opaque, name, offset))?;
        let found = with_command(&answer, |command| {
            let found = messages_of(command, topic)?;
            let (code, remark) = (command.code, &command.remark);
            let nothing = format!("nothing at offset {offset}: code {code}, {remark:?}");
            Ok(if found.is_empty() { Err(nothing) } else { Ok(found) })
        })?;
        let found = match found {
            Ok(found) => found,
            Err(nothing) => return Ok(Some(nothing)),
        };
        for message in found {
            if (message.queue, message.offset) != (queue, content.end()) {
                return Err(format!("{topic} {queue}: {message:?} follows offset {}", content.end() - 1));
            }
            content.numbers.push(message.number);
        }
        Ok(None)
    }
}
