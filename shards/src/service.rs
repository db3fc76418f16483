//! The only borrow of a shard or a name server.
//!
//! Owns the cell. The step that borrows is a plain function, so it cannot await: no shard is ever borrowed while a task waits.

use std::cell::RefCell;

/// A service of core that lives on this executor.
#[derive(Debug)]
pub struct ServiceHandle<S>(RefCell<S>);

impl<S> ServiceHandle<S> {
    /// Takes a service in.
    pub fn new(service: S) -> Self {
        ServiceHandle(RefCell::new(service))
    }

    /// Lets one step happen to it.
    ///
    /// # Panics
    /// When a step borrows the service it runs on: a bug in this room.
    pub fn apply<R>(&self, step: impl FnOnce(&mut S) -> R) -> R {
        step(&mut self.0.borrow_mut())
    }
}
