//! What a group that consumes by POP knows: what it was given, what it finished, and what must never come again.
//!
//! Knows nothing of how a broker keeps that. Requests are numbered; an answer counts from when its request was made.

use std::collections::BTreeMap;

/// What a client needs to finish a popped message.
#[derive(Debug, Clone)]
pub struct Receipt {
    pub number: usize,
    /// As the client library puts it together (ExtraInfoUtil).
    pub extra_info: String,
    pub queue: i32,
    pub offset: i64,
    /// Before this time, microseconds, nobody else is given the message.
    pub until_us: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// An ack came too late or was never answered: it may have counted.
    Perhaps,
    /// An ack that was in time was answered; requests made later must not be given the message.
    Finished { request: i32 },
}

/// The group's state.
#[derive(Debug, Default)]
pub struct Pops {
    held: Vec<Receipt>,
    ends: BTreeMap<usize, End>,
}

impl Pops {
    /// The answer to pop request `asked` holds a message.
    ///
    /// # Errors
    /// It was finished before the request was made.
    pub fn given(&mut self, asked: i32, receipt: Receipt) -> Result<(), String> {
        let number = receipt.number;
        if let Some(End::Finished { request }) = self.ends.get(&number)
            && *request < asked
        {
            return Err(format!("message {number} was acknowledged by request {request}, request {asked} is given it"));
        }
        self.held.push(receipt);
        Ok(())
    }

    /// One of the receipts, which is used up.
    pub fn take(&mut self, nth: usize) -> Option<Receipt> {
        (nth < self.held.len()).then(|| self.held.swap_remove(nth))
    }

    /// How many receipts there are.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// An ack was answered with success at `now_us`; `last` is the last request made so far.
    pub fn acknowledged(&mut self, receipt: &Receipt, now_us: u64, last: i32) {
        if now_us < receipt.until_us {
            self.ends.insert(receipt.number, End::Finished { request: last });
        } else {
            self.unsure(receipt.number);
        }
    }

    /// An ack may or may not have counted.
    pub fn unsure(&mut self, number: usize) {
        self.ends.entry(number).or_insert(End::Perhaps);
    }

    /// The client starts anew: it knows no receipts.
    pub fn forget(&mut self) {
        self.held.clear();
    }

    /// The messages in hand.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.held.iter().map(|receipt| receipt.number)
    }

    /// Whether the broker must still give this message to somebody: no ack was made that counted or may have.
    pub fn owes(&self, number: usize) -> bool {
        !self.ends.contains_key(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(number: usize, until_us: u64) -> Receipt {
        Receipt { number, extra_info: String::new(), queue: 0, offset: 0, until_us }
    }

    #[test]
    fn what_was_finished_in_time_must_not_come_again() {
        let mut pops = Pops::default();
        pops.given(1, receipt(7, 100)).expect("the first time");
        let held = pops.take(0).expect("it is held");
        pops.acknowledged(&held, 50, 3);
        assert!(pops.given(2, receipt(7, 100)).is_ok(), "it was asked for before");
        assert!(pops.given(4, receipt(7, 100)).is_err());
    }

    #[test]
    fn what_was_not_finished_must_come_again() {
        let mut pops = Pops::default();
        pops.given(1, receipt(7, 100)).expect("the first time");
        assert!(pops.owes(7) && pops.numbers().eq([7]));
        pops.forget();
        assert!(pops.owes(7));
        pops.acknowledged(&receipt(7, 100), 200, 3);
        assert!(!pops.owes(7), "late, so nobody knows");
    }
}
