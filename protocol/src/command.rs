//! A command: what one frame says.
//!
//! Owns [`Command`], the decoded header with its extension fields and body, and the reading of both
//! spellings. A command borrows everything from its frame. Never allocates, never interprets the
//! extension fields (typed headers do) and never judges the code (`RequestCode` does).

use crate::ext::{self, Ext};
use crate::frame::{Frame, Spelling};
use crate::language::Language;
use crate::text::Text;
use std::fmt;

/// Flag bit 0: this command answers another.
pub const RESPONSE_FLAG: i32 = 1;

/// Flag bit 1: the sender wants no answer. (Go does not set it; it drops the answer instead.)
pub const ONEWAY_FLAG: i32 = 2;

/// The version we state in every command: the ordinal of V5_3_3. Java clients refuse SQL92
/// subscriptions below 232, and Go reads it as an int16.
pub const OUR_VERSION: i32 = 479;

/// One request or response, borrowed from its frame.
#[derive(Clone, Debug)]
pub struct Command<'a> {
    /// The request code, or the response code if [`Command::is_response`].
    pub code: i32,
    /// What the peer is written in.
    pub language: Language,
    /// The peer's RocketMQ version ordinal.
    pub version: i32,
    /// Correlates an answer with its request; chosen by the requester.
    pub opaque: i32,
    /// [`RESPONSE_FLAG`] and [`ONEWAY_FLAG`].
    pub flag: i32,
    /// Text for a human, on errors.
    pub remark: Option<Text<'a>>,
    /// The fields of the typed header and whatever rides along.
    pub ext: Ext<'a>,
    /// The body; may be empty.
    pub body: &'a [u8],
    /// How the header was spelled; answers use the same spelling.
    pub spelling: Spelling,
}

impl<'a> Command<'a> {
    /// Reads the header of a frame.
    ///
    /// # Errors
    /// A header that is not well-formed in its spelling, or that carries too many fields. The frame
    /// boundary is still known, but the opaque is not to be trusted: close the connection.
    #[inline]
    pub fn parse(frame: Frame<'a>) -> Result<Self, CommandError> {
        let Frame { header, body, spelling, .. } = frame;
        let mut command = Command {
            code: 0,
            language: Language::default(),
            version: 0,
            opaque: 0,
            flag: 0,
            remark: None,
            ext: Ext::over(header),
            body,
            spelling,
        };
        match spelling {
            Spelling::Json => ext::json::parse(header, &mut command)?,
            Spelling::Binary => ext::binary::parse(header, &mut command)?,
        }
        Ok(command)
    }

    /// Whether this answers a request of ours.
    pub fn is_response(&self) -> bool {
        self.flag & RESPONSE_FLAG != 0
    }

    /// Whether the sender wants no answer.
    pub fn is_oneway(&self) -> bool {
        self.flag & ONEWAY_FLAG != 0
    }
}

/// Why a header could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    /// A JSON header that is not the expected object.
    Json {
        /// What was expected.
        problem: &'static str,
        /// Byte position within the header.
        at: usize,
    },
    /// A binary header that ends before a field it announces.
    BinaryTooShort,
    /// A header or a field that is not UTF-8.
    NotUtf8,
    /// A JSON header without `code`.
    NoCode,
    /// A fixed member that is not a 32-bit integer.
    NotAnInt {
        /// Its name.
        member: &'static str,
    },
    /// More extension fields than [`ext::EXT_LIMIT`].
    TooManyFields,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommandError::Json { problem, at } => write!(f, "JSON header, byte {at}: {problem}"),
            CommandError::BinaryTooShort => f.write_str("binary header ends within a field"),
            CommandError::NotUtf8 => f.write_str("header text is not UTF-8"),
            CommandError::NoCode => f.write_str("JSON header has no code"),
            CommandError::NotAnInt { member } => {
                write!(f, "JSON header: {member} is not a 32-bit integer")
            }
            CommandError::TooManyFields => {
                write!(f, "header has more than {} extension fields", ext::EXT_LIMIT)
            }
        }
    }
}

impl std::error::Error for CommandError {}
