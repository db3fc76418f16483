//! A consumer that reads whole queues of a broker that does at once what it is asked.
//!
//! Owns how a queue is read from its first offset to its end; never compares what it reads with anything.

use ringmq_core::event::Origin;
use ringmq_core::harness::Harness;
use ringmq_protocol::response_code::ResponseCode;

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
    pub fn whole_queue(&mut self, name: QueueName<'_>) -> Result<Vec<usize>, String> {
        let (mut content, end) = (Vec::new(), self.end_of(name)?);
        while (content.len() as i64) < end {
            if let Some(why) = self.more(name, &mut content)? {
                return Err(format!("{} {}: {why} of {end}", name.topic, name.queue));
            }
        }
        Ok(content)
    }

    /// The same of a broker that may refuse a part: what came before that, and what it showed that cannot be.
    pub fn as_far_as_possible(&mut self, name: QueueName<'_>) -> (Vec<usize>, Option<String>) {
        let mut content = Vec::new();
        let Ok(end) = self.end_of(name) else { return (content, None) };
        while (content.len() as i64) < end {
            match self.more(name, &mut content) {
                Ok(None) => {}
                Ok(Some(_)) => break,
                Err(why) => return (content, Some(why)),
            }
        }
        (content, None)
    }

    fn end_of(&mut self, name: QueueName<'_>) -> Result<i64, String> {
        let answer = self.ask(|opaque| wire::max_offset(opaque, name))?;
        with_command(&answer, |command| match ResponseCode::from_i32(command.code) {
            Some(ResponseCode::Success) => offset_of(command),
            _ => Err(format!("{name:?}: the end of the queue: code {}, {:?}", command.code, command.remark)),
        })
    }

    /// Pulls what follows; the broker's words if there is nothing.
    fn more(&mut self, name: QueueName<'_>, content: &mut Vec<usize>) -> Result<Option<String>, String> {
        let QueueName { topic, queue } = name;
        let offset = content.len() as i64;
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
            if (message.queue, message.offset) != (queue, content.len() as i64) {
                return Err(format!("{topic} {queue}: {message:?} follows offset {}", content.len() as i64 - 1));
            }
            content.push(message.number);
        }
        Ok(None)
    }
}
