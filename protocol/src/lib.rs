//! RocketMQ's remoting protocol as types: bytes become typed requests, typed answers become bytes.
//!
//! The room's map, in the order bytes travel:
//!
//! | file | holds |
//! |---|---|
//! | `frame` | cutting a receive buffer into frames; the one limit on their size |
//! | `command` | one request or response, read in one pass, borrowed from its frame |
//! | `ext`, `ext/json`, `ext/binary` | the extension fields, and the two spellings of a header |
//! | `text` | a header value as it lies in the frame, JSON escapes and all |
//! | `header`, `headers/*` | the `header!` macro and a table of fields per request, by family |
//! | `bodies/*` | JSON and compressed bodies, by family; both JSON dialects |
//! | `convoy` | commands on their way to another thread |
//! | `encode` | writing a command at the end of a send buffer |
//! | `request_code`, `response_code`, `language` | the tables of numbers and names |
//! | `record`, `batch`, `properties` | messages: stored (which is what consumers receive), batched, and their properties |
//! | `names`, `ids`, `tags`, `offset`, `hosts` | small languages inside strings and integers, parsed once |
//! | `sys_flag`, `pull_flag`, `perm` | bits |
//! | `wire` | the one reader and writer of big-endian integers |
//!
//! # What is absent, and must stay so
//! - I/O, time, threads and shared state (`clippy.toml` of this member enforces it).
//! - Rules: which request needs what, what a broker does about it. Here is only what bytes mean.
//! - Allocation on the path of a send or pull: commands borrow, headers borrow, records are written
//!   into their destination. Bodies of other requests are owned values; they are rare.
//! - Panics on anything a peer sent. `expect` and indexing rest on checks made before, in the same file.
//! - `unsafe` outside `ext` (text cut from a validated header) and `marks` (a vector instruction set
//!   that every x86-64 has).
//!
//! The facts are in protocol.md; where a real client or the Apache broker taught more, the comment
//! names the golden frame under `tests/golden`.
#![warn(missing_docs)]

pub mod batch;
pub mod bodies;
pub mod command;
pub mod convoy;
pub mod encode;
pub mod ext;
pub mod frame;
pub mod header;
pub mod headers;
pub mod hosts;
pub mod ids;
mod key_table;
pub mod language;
pub mod names;
pub mod offset;
pub mod perm;
pub mod properties;
pub mod pull_flag;
pub mod record;
pub mod request_code;
pub mod response_code;
mod seek;
pub mod sys_flag;
pub mod tags;
pub mod text;
pub mod wire;
