//! The bits of a message's sysFlag (RocketMQ: `MessageSysFlag`).
//!
//! Owns the bit names. The producer sets them; the broker stores them as they come, adds the host
//! families and changes the transaction bits. It never compresses or inflates a body.

/// The body is compressed.
pub const COMPRESSED: i32 = 0x1;
/// TAGS holds several tags.
pub const MULTI_TAGS: i32 = 0x2;
/// The two transaction bits.
pub const TRANSACTION_MASK: i32 = 0xC;
/// A prepared (half) message.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// A committed message.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// A rolled back message.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The born host is an IPv6 address.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host is an IPv6 address.
pub const STORE_HOST_V6: i32 = 0x20;
/// The client must split the body into the messages of an inner batch.
pub const NEED_UNWRAP: i32 = 0x40;
/// The record is an inner batch.
pub const INNER_BATCH: i32 = 0x80;
/// The compression type: 0 and 0x300 zlib, 0x100 LZ4, 0x200 ZSTD.
pub const COMPRESSION_MASK: i32 = 0x700;

/// The transaction state a sysFlag carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionState {
    /// Not transactional.
    None,
    /// Half: waits for commit or rollback.
    Prepared,
    /// Committed.
    Commit,
    /// Rolled back.
    Rollback,
}

/// The transaction state of a sysFlag.
pub const fn transaction(sys_flag: i32) -> TransactionState {
    match sys_flag & TRANSACTION_MASK {
        TRANSACTION_PREPARED => TransactionState::Prepared,
        TRANSACTION_COMMIT => TransactionState::Commit,
        TRANSACTION_ROLLBACK => TransactionState::Rollback,
        _ => TransactionState::None,
    }
}

/// The sysFlag with its transaction bits replaced.
pub const fn with_transaction(sys_flag: i32, state: TransactionState) -> i32 {
    let bits = match state {
        TransactionState::None => 0,
        TransactionState::Prepared => TRANSACTION_PREPARED,
        TransactionState::Commit => TRANSACTION_COMMIT,
        TransactionState::Rollback => TRANSACTION_ROLLBACK,
    };
    sys_flag & !TRANSACTION_MASK | bits
}

/// The sysFlag with the host families set as given.
pub const fn with_hosts(sys_flag: i32, born_v6: bool, store_v6: bool) -> i32 {
    let born = if born_v6 { BORN_HOST_V6 } else { 0 };
    let store = if store_v6 { STORE_HOST_V6 } else { 0 };
    sys_flag & !(BORN_HOST_V6 | STORE_HOST_V6) | born | store
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transaction_bits_are_replaced_alone() {
        let flag = COMPRESSED | TRANSACTION_PREPARED | BORN_HOST_V6;
        assert_eq!(transaction(flag), TransactionState::Prepared);
        let committed = with_transaction(flag, TransactionState::Commit);
        assert_eq!(committed, COMPRESSED | TRANSACTION_COMMIT | BORN_HOST_V6);
        assert_eq!(with_transaction(committed, TransactionState::None), COMPRESSED | BORN_HOST_V6);
    }

    #[test]
    fn host_bits_follow_the_hosts_not_the_client() {
        assert_eq!(with_hosts(BORN_HOST_V6 | COMPRESSED, false, true), COMPRESSED | STORE_HOST_V6);
    }
}
