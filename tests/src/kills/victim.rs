//! The server that is killed.

use crate::wire::Place;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longest that a start may take.
const START: Duration = Duration::from_secs(120);

/// A server's process. Dropping it kills it.
#[derive(Debug)]
pub struct Victim {
    child: Child,
    said: Receiver<String>,
    born: Instant,
}

impl Victim {
    /// Starts `program serve` on what is in `data`, with more arguments, and waits for nothing.
    ///
    /// # Errors
    /// A sentence.
    pub fn start(program: &Path, data: &Path, more: &[&str]) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(data).args(more).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |e: std::io::Error| format!("{}: {e}", program.display());
        let born = Instant::now();
        let mut child = command.spawn().map_err(failed)?;
        let (send, said) = channel();
        let mut pipes: Vec<Box<dyn std::io::Read + Send>> = Vec::new();
        pipes.extend(child.stdout.take().map(|p| Box::new(p) as _));
        pipes.extend(child.stderr.take().map(|p| Box::new(p) as _));
        for pipe in pipes {
            let send = send.clone();
            // To its end, so that the server never blocks on a full pipe.
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    let _ = send.send(line);
                }
            });
        }
        Ok(Self { child, said, born })
    }

    /// Waits until it listens; gives the place and how long the start took.
    ///
    /// # Errors
    /// A sentence: it ended, serves without signing, or says nothing in time.
    pub fn listening(&mut self) -> Result<(Place, Duration), String> {
        let mut said = Vec::new();
        loop {
            let left = START.saturating_sub(self.born.elapsed());
            match self.said.recv_timeout(left) {
                Ok(line) if line.contains("READ-ONLY") => {
                    return Err(format!("the log does not sign after a kill: {line}"));
                }
                Ok(line) => match line.split_once("listening on ") {
                    Some((_, url)) => return Ok((Place::parse(url.trim())?, self.born.elapsed())),
                    None => said.push(line),
                },
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("no start within {START:?}; it said: {said:?}"));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("the server ended at its start; it said: {said:?}"));
                }
            }
        }
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// A sentence: it had ended by itself.
    pub fn kill(mut self) -> Result<(), String> {
        if let Some(status) = self.child.try_wait().map_err(|e| e.to_string())? {
            let said: Vec<String> = self.said.try_iter().collect();
            return Err(format!(
                "the server ended by itself, {status}; it said: {said:?}"
            ));
        }
        self.child.kill().map_err(|e| e.to_string())?;
        self.child.wait().map_err(|e| e.to_string())?;
        Ok(())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
