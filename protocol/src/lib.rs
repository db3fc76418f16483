//! RocketMQ's remoting protocol as types (skeleton; map follows).
#![warn(missing_docs)]

pub mod command;
pub mod encode;
pub mod ext;
pub mod frame;
pub mod header;
pub mod headers;
pub mod language;
pub mod text;
pub mod wire;
