//! What the server's process takes, read from `/proc`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// What `/proc/PID/stat` counts CPU time in: Linux shows it to everybody in hundredths.
const TICK: Duration = Duration::from_millis(10);

/// A process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// CPU time since its start, of all its threads, in steps of 10 ms.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident: u64,
    /// The part of it that is no file's: its heap and its stacks.
    pub anonymous: u64,
}

/// Looks at a process; `None` where it is gone or may not be looked at.
#[must_use]
pub fn sample(pid: u32) -> Option<Sample> {
    let at = Instant::now();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in brackets and may hold anything; fields count from behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    let ticks = ticks()? + ticks()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(Sample {
        at,
        cpu: TICK * ticks,
        resident: field("VmRSS:")? * 1024,
        anonymous: field("RssAnon:").unwrap_or(0) * 1024,
    })
}

/// The process that listens at `addr`, if it is on this machine and this user's.
#[must_use]
pub fn listening(addr: SocketAddr) -> Option<u32> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| inodes_of(&table, addr.port()))
        .collect();
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.filter_map(Result::ok).find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let files = std::fs::read_dir(entry.path().join("fd")).ok()?;
        let holds = files
            .filter_map(Result::ok)
            .any(|file| is_one_of(&file.path(), &inodes));
        holds.then_some(pid)
    })
}

/// Inodes of the sockets that listen at `port`, from a table such as `/proc/net/tcp`.
fn inodes_of(table: &str, port: u16) -> Vec<String> {
    const LISTENING: &str = "0A";
    let port = format!(":{port:04X}");
    let rows = table.lines().skip(1);
    rows.filter_map(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        (local.ends_with(&port) && *state == LISTENING).then(|| (*inode).to_owned())
    })
    .collect()
}

fn is_one_of(file: &Path, inodes: &[String]) -> bool {
    std::fs::read_link(file).is_ok_and(|target| {
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[");
        let inode = inode.and_then(|t| t.strip_suffix(']'));
        inode.is_some_and(|i| inodes.iter().any(|known| known == i))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_found_and_measured() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0");
        let addr = listener.and_then(|l| Ok((l.local_addr()?, l)));
        let (addr, listener) = addr.unwrap_or_else(|e| panic!("{e}"));
        let me = std::process::id();
        assert_eq!(listening(addr), Some(me));
        assert!(sample(me).is_some_and(|s| s.resident > 100_000));
        drop(listener);
        assert_ne!(listening(addr), Some(me));
    }
}
