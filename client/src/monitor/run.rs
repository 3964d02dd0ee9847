//! Programs that are run with something on their standard input, and for so long only.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes of standard output that are kept.
const MOST: u64 = 64 * 1024;

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    /// With this exit code (-1 where a signal ended it), and this standard output.
    With(i32, Vec<u8>),
    /// It had not within the time, and was killed.
    Late,
}

/// What becomes of a program's standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// It is kept.
    Kept,
    /// Nobody reads it, however much it is.
    Ignored,
}

/// Runs `command` to its end, or for as long as it may take.
pub(super) fn run(
    mut command: Command,
    input: Vec<u8>,
    output: Output,
    patience: Duration,
) -> std::io::Result<Ended> {
    let stdout = match output {
        Output::Kept => Stdio::piped(),
        Output::Ignored => Stdio::null(),
    };
    command
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(Stdio::null());
    let mut child = command.spawn()?;
    let deadline = Instant::now() + patience;
    // Pipes may fill up, and what the program started may hold them open: nobody waits for that.
    if let Some(mut pipe) = child.stdin.take() {
        std::thread::spawn(move || pipe.write_all(&input));
    }
    let (send, said) = std::sync::mpsc::channel();
    if let Some(pipe) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = pipe.take(MOST).read_to_end(&mut bytes);
            send.send(bytes)
        });
    } else {
        // Nothing will come.
        drop(send);
    }
    loop {
        if let Some(status) = child.try_wait()? {
            let left = deadline.saturating_duration_since(Instant::now());
            let said = said.recv_timeout(left.min(Duration::from_secs(1)));
            return Ok(Ended::With(
                status.code().unwrap_or(-1),
                said.unwrap_or_default(),
            ));
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            return Ok(Ended::Late);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    #[cfg(unix)]
    fn a_program_ends_by_itself_or_is_ended() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let said = run(
            shell("cat; exit 3"),
            b"hello".to_vec(),
            Output::Kept,
            Duration::from_secs(9),
        );
        assert_eq!(said.unwrap(), Ended::With(3, b"hello".to_vec()));
        let begun = Instant::now();
        // Its child holds the pipes open.
        let late = run(
            shell("sleep 60 & sleep 60"),
            vec![0; 1 << 20],
            Output::Kept,
            Duration::from_millis(200),
        );
        assert_eq!(late.unwrap(), Ended::Late);
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert!(
            run(
                Command::new("/nowhere/x"),
                Vec::new(),
                Output::Ignored,
                PATIENT
            )
            .is_err()
        );
    }

    const PATIENT: Duration = Duration::from_secs(9);
}
