//! What the load threads do: the parts, and one file per command that puts them together.
//!
//! `sender` and `puller` are two parts; `send`, `consume` and `e2e`, which are put together from them, `popper` and `idle` are
//! the workloads the engine runs.

pub mod consume;
pub mod e2e;
pub mod idle;
pub mod popper;
pub mod puller;
pub mod send;
pub mod sender;

use ringmq_protocol::command::Command;
use ringmq_protocol::frame::Frame;
use ringmq_protocol::response_code::ResponseCode;

/// Response code of success.
const SUCCESS: i32 = ResponseCode::Success.to_i32();

/// The remark of an answer: the full parse, for answers that are not a success.
fn remark(frame: &Frame<'_>) -> String {
    match Command::parse(*frame) {
        Ok(command) => command.remark.map(|text| text.to_string()).unwrap_or_default(),
        Err(error) => format!("(the answer's header cannot be read: {error})"),
    }
}
