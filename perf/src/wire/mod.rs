//! Frames as perfgen writes them.

pub mod digits;
pub mod volley;
