//! The permission bits of topics and brokers (RocketMQ: `PermName`).

/// Clients that create topics from this one inherit its settings; only `TBW102` needs it.
pub const INHERIT: i32 = 0x1;
/// May be written.
pub const WRITE: i32 = 0x2;
/// May be read.
pub const READ: i32 = 0x4;
/// May be read and written: what ordinary topics have.
pub const READ_WRITE: i32 = READ | WRITE;

/// Whether the permission allows reading.
pub const fn readable(perm: i32) -> bool {
    perm & READ != 0
}

/// Whether the permission allows writing.
pub const fn writable(perm: i32) -> bool {
    perm & WRITE != 0
}

/// Whether new topics may be made from a topic with this permission.
pub const fn inherited(perm: i32) -> bool {
    perm & INHERIT != 0
}

/// The permission as `RW-`, the way admin tools print it.
pub const fn letters(perm: i32) -> &'static str {
    match perm & (READ | WRITE | INHERIT) {
        0 => "---",
        1 => "--X",
        2 => "-W-",
        3 => "-WX",
        4 => "R--",
        5 => "R-X",
        6 => "RW-",
        _ => "RWX",
    }
}
