//! Waking one task of this executor from another.
//!
//! Owns the flag and the waker of [`Nudge`]. A nudge before the wait is not lost; many nudges before a wait count as one.
//! Never crosses threads.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// One task waits, any other nudges.
#[derive(Debug, Default)]
pub struct Nudge {
    nudged: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Nudge {
    /// Lets the waiting task run; glommio queues it behind those that are ready already.
    pub fn nudge(&self) {
        if !self.nudged.replace(true)
            && let Some(waker) = self.waiting.borrow_mut().take()
        {
            waker.wake();
        }
    }

    /// Waits for a nudge.
    pub async fn wait(&self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// As [`Nudge::wait`], for a task that waits for something else too.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.nudged.replace(false) {
            return Poll::Ready(());
        }
        *self.waiting.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}
