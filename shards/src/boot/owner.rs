//! Which process holds a port: for the one line that says why we cannot start.
//!
//! Owns the reading of /proc/net/tcp and /proc/*/fd. Best effort: without the right to look, the line just does not name it.

use std::fs;

/// `process 4711 (java)` for the listener of a TCP port; `None` when /proc does not tell.
pub fn of_port(port: u16) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inode = tables.iter().find_map(|table| {
        let text = fs::read_to_string(table).ok()?;
        listener_inode(&text, port).map(str::to_owned)
    })?;
    let link = format!("socket:[{inode}]");
    let pid = pids().find(|&pid| holds(pid, &link))?;
    Some(describe(pid))
}

/// `process 4711 (java)`.
pub fn describe(pid: u32) -> String {
    match fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid} ({})", name.trim()),
        Err(_) => format!("process {pid}"),
    }
}

/// The socket inode of the listener of `port` in the text of /proc/net/tcp (see proc(5)).
fn listener_inode(table: &str, port: u16) -> Option<&str> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let local = fields.next()?;
        let state = fields.nth(1)?;
        let inode = fields.nth(5)?;
        let (_, hex) = local.rsplit_once(':')?;
        (state == LISTEN && u16::from_str_radix(hex, 16) == Ok(port)).then_some(inode)
    })
}

fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn holds(pid: u32, link: &str) -> bool {
    let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    fds.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_is_found_among_the_connections() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:2A9F 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 777 1 0\n\
             1: 00000000:2A9F 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0\n";
        assert_eq!(listener_inode(table, 10911), Some("4242"));
        assert_eq!(listener_inode(table, 10909), None);
    }
}
