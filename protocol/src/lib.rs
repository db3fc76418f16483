//! RocketMQ's remoting protocol as types (skeleton; map follows).
#![warn(missing_docs)]

pub mod batch;
pub mod bodies;
pub mod command;
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
pub mod sys_flag;
pub mod tags;
pub mod text;
pub mod wire;
