//! Commands that go to another thread: their frames back to back, each with what was read in its header.
//!
//! Owns [`Convoy`], which takes commands in with their frames and gives them out as they were, without reading a header a
//! second time. What was read is trusted there because nobody can bring it in but [`Convoy::push`], and that copies both from
//! a command that lies in the frame. Never reads a header, and never allocates once its memory has grown.

use crate::command::Command;
use crate::ext::{Entry, Ext, Span};
use crate::frame::{PREFIX_LEN, Spelling};
use crate::language::Language;
use std::fmt;

/// Commands in the order they were pushed.
#[derive(Default)]
pub struct Convoy {
    /// The frames.
    bytes: Vec<u8>,
    /// Where the extension fields of all commands lie, each in its own header.
    entries: Vec<Entry>,
    heads: Vec<Head>,
}

/// A command without what it borrows.
struct Head {
    code: i32,
    language: Language,
    version: i32,
    opaque: i32,
    flag: i32,
    /// Where the remark lies in the header.
    remark: Option<Span>,
    spelling: Spelling,
    /// The length of the frame.
    frame: usize,
    /// The length of its header.
    header: usize,
    /// How many of `entries` are its own.
    entries: usize,
}

impl Convoy {
    /// Copies a frame and what was read from it.
    ///
    /// # Panics
    /// The command was not read from this frame: a bug of the caller.
    pub fn push(&mut self, frame: &[u8], command: &Command<'_>) {
        let Command { code, language, version, opaque, flag, remark, ref ext, body, spelling } = *command;
        let header = ext.header();
        let body_at = PREFIX_LEN + header.len();
        let is_whole = place_in(frame, header) == Some(PREFIX_LEN) && place_in(frame, body) == Some(body_at);
        assert!(is_whole && body_at + body.len() == frame.len(), "a command travels with the frame it was read from");
        let remark = remark.map(|remark| {
            let (raw, escaped) = remark.raw();
            let at = place_in(header, raw.as_bytes()).expect("a remark lies in its command's header");
            // A frame is below 2^24 bytes.
            Span::new(at as u32, (at + raw.len()) as u32, escaped)
        });
        self.bytes.extend_from_slice(frame);
        self.entries.extend_from_slice(ext.entries());
        let (frame, header, entries) = (frame.len(), header.len(), ext.len());
        self.heads.push(Head { code, language, version, opaque, flag, remark, spelling, frame, header, entries });
    }

    /// All commands with their frames.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Command<'_>)> {
        let (mut bytes, mut entries) = (self.bytes.as_slice(), self.entries.as_slice());
        self.heads.iter().map(move |head| {
            let (frame, own);
            // Both hold what `push` put there for this head.
            (frame, bytes) = bytes.split_at(head.frame);
            (own, entries) = entries.split_at(head.entries);
            (frame, head.command(frame, own))
        })
    }

    /// Bytes of frames.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no commands.
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Forgets all commands and keeps the memory.
    pub fn clear(&mut self) {
        let Convoy { bytes, entries, heads } = self;
        bytes.clear();
        entries.clear();
        heads.clear();
    }

    /// Bytes of memory kept for frames; what else is kept is less.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

impl Head {
    #[inline]
    fn command<'a>(&self, frame: &'a [u8], entries: &[Entry]) -> Command<'a> {
        let &Head { code, language, version, opaque, flag, remark, spelling, frame: _, header, entries: _ } = self;
        let (header, body) = frame[PREFIX_LEN..].split_at(header);
        let ext = Ext::of_entries(header, entries);
        let remark = remark.map(|remark| ext.text(remark));
        Command { code, language, version, opaque, flag, remark, ext, body, spelling }
    }
}

impl fmt::Debug for Convoy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Convoy({} commands, {} bytes)", self.heads.len(), self.bytes.len())
    }
}

/// Where in `whole` the very bytes of `part` lie: the place counts, not what stands there.
fn place_in(whole: &[u8], part: &[u8]) -> Option<usize> {
    let at = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    (at <= whole.len() && part.len() <= whole.len() - at).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;
    use crate::text::Text;
    use proptest::prelude::*;

    fn frame_of(kind: u8, header: &[u8], body: &[u8]) -> Vec<u8> {
        let length = (4 + header.len() + body.len()) as u32;
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&(u32::from(kind) << 24 | header.len() as u32).to_be_bytes());
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(body);
        bytes
    }

    fn command(frame: &[u8]) -> Option<Command<'_>> {
        Command::parse(frame::split(frame).ok()??).ok()
    }

    /// Everything a command says, decoded.
    fn told(command: &Command<'_>) -> String {
        format!("{command:?} {:?}", command.body)
    }

    const SEND: &[u8] = br#"{"code":310,"language":"JAVA","version":479,"opaque":7,"flag":2,"remark":"say \"no\"",
        "extFields":{"a":"group","b":"t\u0041","i":"KEYS\u0001k\u0002","":"","b":"last"}}"#;

    #[test]
    fn commands_come_out_as_they_went_in() {
        let frames = [
            frame_of(0, SEND, b"body"),
            frame_of(0, br#"{"code":11}"#, b""),
            frame_of(0, br#"{"code":1,"extFields":{"x":"1"},"remark":null}"#, &[0; 300]),
            frame_of(1, b"\0\x22\0\x01\xdf\0\0\0\x09\0\0\0\0\0\0\0\x02hi\0\0\0\x08\0\x01k\0\0\0\x01v", b"b"),
        ];
        let mut convoy = Convoy::default();
        for round in 0..2 {
            for frame in &frames {
                convoy.push(frame, &command(frame).unwrap());
            }
            let out: Vec<_> = convoy.iter().collect();
            assert_eq!(out.len(), frames.len(), "round {round}");
            for ((bytes, again), frame) in out.iter().zip(&frames) {
                assert_eq!(bytes, frame);
                assert_eq!(told(again), told(&command(frame).unwrap()));
                assert!(again.ext.is_empty() || place_in(bytes, again.ext.header()) == Some(PREFIX_LEN));
            }
            convoy.clear();
            assert!(convoy.is_empty() && convoy.iter().next().is_none());
        }
    }

    #[test]
    #[should_panic(expected = "the frame it was read from")]
    fn what_was_read_elsewhere_is_not_taken_for_a_frame() {
        // The same bytes, even: only what lies in the frame was read from it.
        let (one, other) = (frame_of(0, SEND, b"body"), frame_of(0, SEND, b"body"));
        Convoy::default().push(&one, &command(&other).unwrap());
    }

    #[test]
    #[should_panic(expected = "the frame it was read from")]
    fn a_frame_is_not_taken_without_its_end() {
        let frame = frame_of(0, SEND, b"body");
        Convoy::default().push(&frame[..frame.len() - 1], &command(&frame).unwrap());
    }

    #[test]
    #[should_panic(expected = "a remark lies in its command's header")]
    fn a_remark_from_elsewhere_is_not_taken() {
        let frame = frame_of(0, SEND, b"body");
        let remark = Some(Text::plain("say no"));
        Convoy::default().push(&frame, &Command { remark, ..command(&frame).unwrap() });
    }

    proptest! {
        /// Whatever a client may send: a frame that is read at all comes out saying what a second reading says, and what comes
        /// before and behind it changes nothing.
        #[test]
        fn garbage_brings_nothing_in(
            kind in 0u8..2,
            flips in prop::collection::vec((0..SEND.len(), any::<u8>()), 0..4),
            body in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut header = SEND.to_vec();
            flips.into_iter().for_each(|(at, byte)| header[at] = byte);
            let good = frame_of(0, SEND, b"");
            let frame = frame_of(kind, &header, &body);
            if let Some(read) = command(&frame) {
                let mut convoy = Convoy::default();
                convoy.push(&good, &command(&good).unwrap());
                convoy.push(&frame, &read);
                convoy.push(&good, &command(&good).unwrap());
                let told: Vec<_> = convoy.iter().map(|(_, command)| told(&command)).collect();
                let expected = [&good, &frame, &good].map(|frame| self::told(&command(frame).unwrap()));
                prop_assert_eq!(told, expected);
            }
        }
    }
}
