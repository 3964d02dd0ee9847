//! A program that is run for each message.

use super::Message;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take.
const MOST: Duration = Duration::from_secs(30);

/// Runs `command` with the message on its standard input. Nothing of a message is ever an
/// argument: text from outside must not be read as an option or by a shell.
///
/// # Errors
/// Why it did not succeed.
pub(super) fn run(command: &[String], message: &Message) -> Result<(), String> {
    run_within(command, message, MOST)
}

fn run_within(command: &[String], message: &Message, most: Duration) -> Result<(), String> {
    let (program, arguments) = command.split_first().ok_or("no program is given")?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("COUNTERSIGN_MESSAGE", &message.id)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("{program}: {e}"))?;
    let text = format!("{}\n", message.body);
    let stdin = child.stdin.take();
    // On its own thread: a program that does not read must not hold up the others for ever.
    let writer = std::thread::spawn(move || {
        if let Some(mut stdin) = stdin {
            // One that needs no more than its exit code to say may close it early.
            let _ = stdin.write_all(text.as_bytes());
        }
    });
    let ended = wait(&mut child, most);
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    match ended? {
        status if status.success() => {
            let _ = writer.join();
            Ok(())
        }
        status => Err(format!("{program} ended with {status}")),
    }
}

fn wait(child: &mut Child, most: Duration) -> Result<std::process::ExitStatus, String> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if began.elapsed() >= most => {
                return Err(format!("it did not end within {} s", most.as_secs()));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(e) => return Err(e.to_string()),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_program_gets_the_message_and_its_failure_and_its_silence_are_failures() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let message = Message::canary("x", 7);
        let script = format!(
            "cat > '{0}'; printf %s \"$COUNTERSIGN_MESSAGE\" >> '{0}'",
            path.display()
        );
        run(&shell(&script), &message).unwrap();
        let said = std::fs::read_to_string(&path).unwrap();
        assert_eq!(said, format!("{}\n{}", message.body, message.id));
        assert!(run(&shell("exit 3"), &message).unwrap_err().contains('3'));
        assert!(run(&["/no/such/program".to_owned()], &message).is_err());
        // It reads nothing, and does not end.
        let began = Instant::now();
        let sleep = ["sleep", "60"].map(str::to_owned);
        assert!(run_within(&sleep, &message, Duration::from_millis(200)).is_err());
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
