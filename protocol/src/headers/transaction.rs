//! Transactions: END_TRANSACTION (37), CHECK_TRANSACTION_STATE (39), RESUME_CHECK_HALF_MESSAGE (323).
//!
//! Owns the field tables only.

use crate::header;
use crate::text::Text;

/// `commitOrRollback`: the producer does not know yet; it will be asked again.
pub const UNKNOWN: i32 = 0;
/// `commitOrRollback`: deliver the message. The sysFlag bits of a committed message.
pub const COMMIT: i32 = crate::sys_flag::TRANSACTION_COMMIT;
/// `commitOrRollback`: forget the message.
pub const ROLLBACK: i32 = crate::sys_flag::TRANSACTION_ROLLBACK;

header! {
    /// END_TRANSACTION (37).
    pub struct EndTransactionHeader<'a> {
        topic: Option<Text<'a>> => "topic" optional,
        producer_group: Text<'a> => "producerGroup" required,
        /// The queue offset of the half message.
        tran_state_table_offset: i64 => "tranStateTableOffset" required,
        /// Its commit-log offset.
        commit_log_offset: i64 => "commitLogOffset" required,
        /// [`UNKNOWN`], [`COMMIT`] or [`ROLLBACK`].
        commit_or_rollback: i32 => "commitOrRollback" required,
        from_transaction_check: bool => "fromTransactionCheck" default(false),
        msg_id: Text<'a> => "msgId" required,
        transaction_id: Option<Text<'a>> => "transactionId" optional,
    }

    /// CHECK_TRANSACTION_STATE (39), broker to producer.
    pub struct CheckTransactionHeader<'a> {
        topic: Option<Text<'a>> => "topic" optional,
        tran_state_table_offset: i64 => "tranStateTableOffset" required,
        commit_log_offset: i64 => "commitLogOffset" required,
        msg_id: Option<Text<'a>> => "msgId" optional,
        transaction_id: Option<Text<'a>> => "transactionId" optional,
        offset_msg_id: Option<Text<'a>> => "offsetMsgId" optional,
        broker_name: Option<Text<'a>> => "bname" optional,
    }

    /// RESUME_CHECK_HALF_MESSAGE (323).
    pub struct ResumeCheckHeader<'a> {
        topic: Option<Text<'a>> => "topic" optional,
        msg_id: Option<Text<'a>> => "msgId" optional,
    }
}
