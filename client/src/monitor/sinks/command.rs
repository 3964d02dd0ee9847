//! A program that is run for each message.

use super::Message;
use crate::monitor::run::{Ended, Output, run as run_program};
use std::process::Command;
use std::time::Duration;

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
    let mut child = Command::new(program);
    child
        .args(arguments)
        .env("COUNTERSIGN_MESSAGE", &message.id);
    let input = format!("{}\n", message.body).into_bytes();
    match run_program(child, input, Output::Ignored, most) {
        Ok(Ended::With(0, _)) => Ok(()),
        Ok(Ended::With(code, _)) => Err(format!("{program} ended with exit code {code}")),
        Ok(Ended::Late) => Err(format!("it did not end within {} s", most.as_secs())),
        Err(e) => Err(format!("{program}: {e}")),
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Instant;

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
