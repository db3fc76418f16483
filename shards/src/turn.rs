//! The tasks that keep an executor going: the end of each loop turn, deadlines, idle connections, the mesh.
//!
//! Owns when the driver is asked to do something; what it does then is the driver's. Glommio runs ready tasks in order, so the
//! turn task, nudged by the first thing that happens in a turn, runs behind everything that was ready with it: answers of many
//! requests leave in one write per connection, and records of many connections in one write to the disk.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_lite::{AsyncWrite, Future};
use glommio::channels::shared_channel::ConnectedReceiver;
use glommio::net::TcpStream;
use glommio::timer::Timer;
use ringmq_core::event::{ConnId, CoreId, DiskError};
use ringmq_core::namesrv::{FileToWrite, NamesrvInput};

use crate::clock;
use crate::driver::{Driver, Left};
use crate::limits;
use crate::mesh::Batch;
use crate::net::listener::{self, Census};
use crate::net::table::Blocked;
use crate::open;

/// Lets everything else go first that can: tasks that are ready, and what sockets and disks have to say. Glommio's own
/// `yield_if_needed` does so ten times a second only, and it looks at its rings no sooner than nothing is ready any more.
pub async fn give_way() {
    // A timer that has passed already would not wait for the rings.
    glommio::timer::sleep(limits::GIVE_WAY).await;
}

/// Ends every loop turn in which something happened.
pub async fn end_turns(driver: Rc<Driver>) {
    let mut left = Left::default();
    loop {
        driver.turn.wait().await;
        driver.end_turn(&mut left);
        for Blocked(conn, stream) in left.blocked.drain(..) {
            glommio::spawn_local(write_rest(driver.clone(), conn, stream)).detach();
        }
        if let Some(file) = left.file.take() {
            glommio::spawn_local(write_file(driver.clone(), file)).detach();
        }
    }
}

/// Writes the name server's key-value file and says how that went.
async fn write_file(driver: Rc<Driver>, file: FileToWrite) {
    let FileToWrite { path, bytes } = file;
    let shown = path.clone();
    let path = PathBuf::from(path);
    let directory = path.parent().map(Path::to_owned).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // Its home directory may never have been used. A failure shows when the file is written.
    let _ = std::fs::create_dir_all(&directory);
    let result = open::replace_file(directory, name, || bytes).await;
    if let Err(DiskError { errno }) = result {
        crate::warn!("the key-value configuration could not be written to {shown} (errno {errno})");
    }
    driver.happened_to_names(NamesrvInput::FileWritten(result));
}

/// Writes what a full socket did not take, as it takes it.
async fn write_rest(driver: Rc<Driver>, conn: ConnId, stream: Rc<RefCell<TcpStream>>) {
    loop {
        let written = poll_fn(|cx| {
            let mut table = driver.table.borrow_mut();
            let Some(connection) = table.get(conn) else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
            let mut stream = stream.borrow_mut();
            Pin::new(&mut *stream).poll_write(cx, connection.out.unsent())
        });
        let written: io::Result<usize> = written.await;
        let mut table = driver.table.borrow_mut();
        let Some(connection) = table.get(conn) else { return };
        match written {
            Ok(written) => connection.out.took(written),
            Err(_) => return connection.shut(),
        }
        connection.active_us = clock::mono_us();
        connection.wake_reader();
        if connection.out.pending() == 0 {
            connection.out.blocked = false;
            return;
        }
    }
}

/// Lets the services know when a deadline is reached.
pub async fn keep_deadlines(driver: Rc<Driver>) {
    // A timer is always armed, so that one code path waits for both; an hour is as good as never.
    const NEVER: Duration = Duration::from_secs(3600);
    let mut timer = Timer::new(NEVER);
    let mut armed_us = u64::MAX;
    loop {
        let due = poll_fn(|cx| {
            if driver.deadlines.poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            Pin::new(&mut timer).poll(cx).map(|_| true)
        })
        .await;
        if due {
            armed_us = u64::MAX;
            driver.tick();
        }
        let next_us = driver.next_deadline().unwrap_or(u64::MAX);
        // A deadline that moved away is left armed: waking once for nothing costs less than arming anew each turn.
        if due || next_us < armed_us {
            let wait = if next_us == u64::MAX { NEVER } else { clock::until(next_us).max(limits::TICK_MIN) };
            timer = Timer::new(wait);
            armed_us = next_us;
        }
    }
}

/// Closes connections of which nothing was heard for long.
pub async fn close_idle(driver: Rc<Driver>, idle: Duration) {
    loop {
        glommio::timer::sleep(limits::IDLE_LOOK.min(idle)).await;
        let before_us = clock::mono_us().saturating_sub(idle.as_micros() as u64);
        driver.table.borrow().shut_idle(before_us);
    }
}

/// Takes in what another executor sends until it is gone.
pub async fn receive(driver: Rc<Driver>, from: CoreId, receiver: ConnectedReceiver<Batch>, census: Census) {
    while let Some(mut batch) = receiver.recv().await {
        for (socket, door) in batch.sockets.drain(..) {
            listener::adopt(&driver, socket, door, &census);
        }
        driver.received(from, batch);
    }
}
