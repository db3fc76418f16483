//! The bits of a pull request's sysFlag (RocketMQ: `PullSysFlag`).

/// The request's commitOffset is valid: store it.
pub const COMMIT_OFFSET: i32 = 0x1;
/// The broker may hold the request until a message arrives.
pub const SUSPEND: i32 = 0x2;
/// The subscription expression is in the request.
pub const SUBSCRIPTION: i32 = 0x4;
/// Class filter: long gone, ignored.
pub const CLASS_FILTER: i32 = 0x8;
/// The request is a lite pull.
pub const LITE_PULL: i32 = 0x10;
