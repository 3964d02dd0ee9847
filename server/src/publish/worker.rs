//! One thread for each witness, so that a slow one delays nobody else.

use super::ask::{self, Answer, MAX_ANSWER};
use super::standing::Outcome;
use super::{Publisher, Task};
use crate::log::Log;
use std::io::Read as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tlog::note::{Note, NoteSignature};
use tlog::policy::Witness;
use tlog::witness::AddCheckpoint;
use ureq::Agent;

/// Requests for one cosignature at most: one that says where the witness stands, one from there,
/// and one more where another server of this log came in between.
const ATTEMPTS: usize = 3;
/// Between two attempts after a failure: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// Why there is no cosignature.
struct Trouble {
    kind: &'static str,
    why: String,
    pause: Option<Duration>,
    /// What it says contradicts this log: a larger tree, or another one.
    contradicts: bool,
}

impl Trouble {
    fn new(kind: &'static str, why: impl Into<String>) -> Self {
        Self {
            kind,
            why: why.into(),
            pause: None,
            contradicts: false,
        }
    }

    fn contradiction(kind: &'static str, why: String) -> Self {
        Self {
            contradicts: true,
            ..Self::new(kind, why)
        }
    }
}

/// Asks one witness for cosignatures until the log stops.
pub(super) struct Worker {
    pub(super) place: usize,
    pub(super) witness: Witness,
    pub(super) url: String,
    pub(super) agent: Agent,
    pub(super) log: Arc<Log>,
    pub(super) publisher: Arc<Publisher>,
    /// The size that it last cosigned, as far as we know.
    last: Option<u64>,
    pause: Duration,
}

impl Worker {
    pub(super) fn new(
        (place, witness, url): (usize, Witness, &str),
        agent: Agent,
        log: Arc<Log>,
        publisher: Arc<Publisher>,
    ) -> Self {
        Self {
            place,
            witness,
            url: format!("{}/add-checkpoint", url.trim_end_matches('/')),
            agent,
            log,
            publisher,
            last: None,
            pause: FIRST_PAUSE,
        }
    }

    pub(super) fn run(mut self) {
        while let Some(task) = self.publisher.next(self.place) {
            match self.cosign(&task) {
                Ok((line, time)) => {
                    self.pause = FIRST_PAUSE;
                    self.publisher.cosigned(self.place, &task, line, time);
                }
                Err(trouble) => {
                    let pause = trouble.pause.unwrap_or(self.pause);
                    self.pause = (self.pause * 2).min(LAST_PAUSE);
                    if trouble.contradicts {
                        let name = &self.witness.name;
                        let why = format!("witness {name}: {}", trouble.why);
                        self.publisher
                            .contradicted(self.place, &self.log, trouble.kind, why);
                    }
                    let outcome = Outcome::Failed(trouble.kind, trouble.why);
                    let again = Instant::now() + pause;
                    self.publisher.failed(self.place, outcome, again);
                }
            }
        }
    }

    fn cosign(&mut self, task: &Task) -> Result<(NoteSignature, u64), Trouble> {
        let (view, log) = (&task.view, Arc::clone(&self.log));
        let garbage = |e: &dyn std::fmt::Display| Trouble::new("internal", e.to_string());
        let note = Note::parse(task.signed.as_bytes()).map_err(|e| garbage(&e))?;
        // Not known yet: it is asked as if it had seen this, and says what it has.
        let mut old = self.last.unwrap_or(view.size);
        for _ in 0..ATTEMPTS {
            if old > view.size {
                return Err(Trouble::new(
                    "ahead",
                    format!(
                        "it has cosigned size {old} of this log, which asks about {}",
                        view.size
                    ),
                ));
            }
            let proof = match old {
                0 => Vec::new(),
                old if old == view.size => Vec::new(),
                old => log
                    .reader(view)
                    .consistency(old, view.size)
                    .map_err(|e| garbage(&e))?,
            };
            // Others' cosignatures would be ignored, and some witnesses refuse long bodies.
            let body = AddCheckpoint::body(old, &proof, &note);
            match self.post(&body, &note)? {
                Answer::Cosigned(line, time) => {
                    self.last = Some(view.size);
                    return Ok((line, time));
                }
                Answer::Misdated(by) => {
                    return Err(Trouble::new(
                        "clock",
                        format!(
                            "its cosignature is dated {by} s from now: clients would not count it, or it is an old one"
                        ),
                    ));
                }
                // It knows no other size, so it must be another root; older witnesses say so.
                Answer::LastSize(size) if size == old && old == view.size => {
                    return Err(Trouble::contradiction(
                        "other-root",
                        format!("it has cosigned another tree of {size} leaves of this log"),
                    ));
                }
                Answer::LastSize(size) if size == old => {
                    let why =
                        format!("it says that it has not cosigned size {old}, and that it has");
                    return Err(Trouble::new("garbage", why));
                }
                Answer::LastSize(size) => {
                    let newest = self.publisher.newest();
                    if size > newest {
                        return Err(Trouble::contradiction(
                            "larger-size",
                            format!(
                                "it has cosigned {size} leaves of this log, which has {newest}"
                            ),
                        ));
                    }
                    old = size;
                    self.last = Some(size);
                }
                Answer::Inconsistent => {
                    // As above, or what it cosigned at `old` is no beginning of this tree.
                    return Err(Trouble::contradiction(
                        "inconsistent",
                        format!(
                            "it says that the tree of {} leaves does not extend the one of {old} that it cosigned",
                            view.size
                        ),
                    ));
                }
                // It has named that size just now, or cosigned it: of another root, then. So did
                // tlog-witness 1.0.0 say it.
                Answer::Conflict if old == view.size && self.last == Some(old) => {
                    return Err(Trouble::contradiction(
                        "other-root",
                        format!("it has cosigned another tree of {old} leaves of this log"),
                    ));
                }
                Answer::Conflict if old != 0 && self.last.is_none() => old = 0,
                Answer::Conflict => {
                    self.last = None;
                    return Err(Trouble::new(
                        "conflict",
                        "it has cosigned another size of this log, and does not say which",
                    ));
                }
                Answer::Busy(seconds) => {
                    // Never sooner than after a failure, whatever it says.
                    let pause = seconds.map(|s| Duration::from_secs(s.min(300)).max(self.pause));
                    return Err(Trouble {
                        pause,
                        ..Trouble::new(
                            "busy",
                            "it wants fewer requests, or cannot cosign now (429 or 503)",
                        )
                    });
                }
                Answer::Refused(404) => {
                    return Err(Trouble::new(
                        "unknown-log",
                        "it does not know this log's origin (404)",
                    ));
                }
                Answer::Refused(403) => {
                    return Err(Trouble::new(
                        "keys-refused",
                        "it does not trust this log's keys (403)",
                    ));
                }
                Answer::Refused(status) => {
                    return Err(Trouble::new(
                        "refused",
                        format!("it answered with status {status}"),
                    ));
                }
                Answer::Garbage(why) => return Err(Trouble::new("garbage", why)),
            }
        }
        Err(Trouble::new("conflict", "it names another size each time"))
    }

    fn post(&self, body: &[u8], note: &Note) -> Result<Answer, Trouble> {
        let unreached = |why: String| Trouble::new("unreached", why);
        let sent = self.agent.post(&self.url).content_type("text/plain");
        let response = sent.send(body).map_err(|e| unreached(e.to_string()))?;
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.trim().to_owned())
        };
        let media = header("content-type").unwrap_or_default();
        let media = media.split(';').next().unwrap_or_default().trim();
        let retry = header("retry-after").and_then(|v| v.parse().ok());
        let status = response.status().as_u16();
        let head = (status, media.to_ascii_lowercase());
        let mut bytes = Vec::new();
        let mut reader = response.into_body().into_reader().take(MAX_ANSWER + 1);
        reader
            .read_to_end(&mut bytes)
            .map_err(|e| unreached(e.to_string()))?;
        if bytes.len() as u64 > MAX_ANSWER {
            return Ok(Answer::Garbage(format!(
                "an answer of over {MAX_ANSWER} bytes"
            )));
        }
        Ok(ask::read(
            (head.0, &head.1, retry),
            &bytes,
            (note, &self.witness.key),
            crate::log::unix_now(),
        ))
    }
}
