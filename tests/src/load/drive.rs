//! Sending: one thread that waits for many connections, since it shares the machine with the
//! server that it measures.

use super::tally::Tally;
use crate::random::Random;
use crate::wire::{Answer, Place, parse};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a publisher in a closed loop waits after the log had no room.
const PAUSE: Duration = Duration::from_millis(50);
/// Intended sends that the sending thread may be behind with.
const BEHIND: usize = 4096;

/// How releases are offered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loop {
    /// So many publishers, each of which waits for its answer before it goes on.
    Closed {
        /// How many.
        connections: usize,
    },
    /// So many releases a second, whatever the log does.
    Open {
        /// Releases a second.
        rate: f64,
        /// Answers waited for at once at most.
        connections: usize,
    },
}

/// What to send.
#[derive(Debug)]
pub struct Drive {
    /// Where to.
    pub place: Place,
    /// How.
    pub how: Loop,
    /// Distinct releases, as requests.
    pub requests: Vec<Box<[u8]>>,
    /// Share of sends that repeat a release which was accepted.
    pub duplicates: f64,
    /// The end, if it is not that of the releases. Until then what was turned away for want
    /// of room is offered again.
    pub duration: Option<Duration>,
    /// What is not measured at the beginning.
    pub warmup: Duration,
    /// Whether the bundles are kept, to be verified.
    pub keep: bool,
}

#[derive(Debug, Clone, Copy)]
enum Job {
    New(usize),
    Again { release: usize, index: u64 },
}

struct Shared {
    drive: Drive,
    next: Cell<usize>,
    turned_away: RefCell<VecDeque<usize>>,
    accepted: RefCell<Vec<(usize, u64)>>,
    random: RefCell<Random>,
    tally: RefCell<Tally>,
    end: Option<Instant>,
    /// Open loop: connections without a job, the last used one first.
    idle: RefCell<Vec<oneshot::Sender<(Job, Instant)>>>,
    over: Cell<bool>,
}

/// Sends until all is sent or the time is over, and every answer is there.
///
/// # Errors
/// A sentence: the log cannot be reached at all, or bundles cannot be kept.
pub fn drive(drive: Drive, progress: &mut dyn FnMut(&Tally)) -> Result<Tally, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    let started = Instant::now();
    let tally = Tally::new(started, started + drive.warmup, drive.keep)?;
    let seed = started.elapsed().as_nanos() as u64 ^ u64::from(std::process::id());
    let shared = Rc::new(Shared {
        end: drive.duration.map(|d| started + drive.warmup + d),
        drive,
        next: Cell::new(0),
        turned_away: RefCell::default(),
        accepted: RefCell::default(),
        random: RefCell::new(Random::new(seed)),
        tally: RefCell::new(tally),
        idle: RefCell::default(),
        over: Cell::new(false),
    });
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        let all = async {
            match shared.drive.how {
                Loop::Closed { connections } => closed(&shared, connections).await,
                Loop::Open { rate, connections } => open(&shared, rate, connections).await,
            }
        };
        tokio::pin!(all);
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                () = &mut all => break,
                _ = tick.tick() => progress(&shared.tally.borrow()),
            }
        }
    });
    drop(local);
    let shared = Rc::into_inner(shared).ok_or("a connection is still in use")?;
    let mut tally = shared.tally.into_inner();
    tally.finish(shared.end)?;
    Ok(tally)
}

async fn closed(shared: &Rc<Shared>, connections: usize) {
    let publishers: Vec<_> = (0..connections)
        .map(|_| {
            let shared = Rc::clone(shared);
            tokio::task::spawn_local(async move {
                let mut wire = Wire::new(&shared.drive.place);
                while !shared.late() {
                    let Some(job) = shared.take() else { return };
                    shared.tally.borrow_mut().offered += 1;
                    if !shared.send(&mut wire, job, Instant::now()).await {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            })
        })
        .collect();
    for publisher in publishers {
        let _ = publisher.await;
    }
}

async fn open(shared: &Rc<Shared>, rate: f64, connections: usize) {
    let (sender, mut due) = mpsc::channel::<Instant>(BEHIND);
    let (end, count) = (shared.end, shared.drive.requests.len() as u64);
    // A thread of its own, since the runtime's clock ticks in milliseconds.
    let pacer = std::thread::spawn(move || {
        let (started, mut behind) = (Instant::now(), 0_u64);
        for n in 0.. {
            let intended = started + Duration::from_secs_f64(n as f64 / rate);
            if end.map_or(n >= count, |end| intended >= end) {
                break;
            }
            let now = Instant::now();
            if intended > now {
                std::thread::sleep(intended - now);
            }
            match sender.try_send(intended) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => behind += 1,
                Err(mpsc::error::TrySendError::Closed(_)) => break,
            }
        }
        behind
    });
    let mut workers = Vec::new();
    while let Some(intended) = due.recv().await {
        let Some(job) = shared.take() else { break };
        shared.tally.borrow_mut().offered += 1;
        let idle = shared.idle.borrow_mut().pop();
        if let Some(worker) = idle {
            // A worker waits on the other end until this is sent or dropped.
            let _ = worker.send((job, intended));
        } else if workers.len() < connections {
            let shared = Rc::clone(shared);
            workers.push(tokio::task::spawn_local(worker(shared, job, intended)));
        } else {
            shared.put_back(job);
            shared.tally.borrow_mut().not_sent += 1;
        }
    }
    drop(due);
    shared.over.set(true);
    shared.idle.borrow_mut().clear();
    for worker in workers {
        let _ = worker.await;
    }
    let behind = pacer.join().unwrap_or_default();
    let mut tally = shared.tally.borrow_mut();
    tally.offered += behind;
    tally.not_sent += behind;
}

async fn worker(shared: Rc<Shared>, job: Job, intended: Instant) {
    let mut wire = Wire::new(&shared.drive.place);
    let (mut job, mut intended) = (job, intended);
    loop {
        shared.send(&mut wire, job, intended).await;
        if shared.over.get() {
            return;
        }
        let (free, next) = oneshot::channel();
        shared.idle.borrow_mut().push(free);
        match next.await {
            Ok(next) => (job, intended) = next,
            Err(_) => return,
        }
    }
}

impl Shared {
    fn late(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// What is sent next; `None` where all is sent.
    fn take(&self) -> Option<Job> {
        if self.drive.duplicates > 0.0 {
            let mut random = self.random.borrow_mut();
            let accepted = self.accepted.borrow();
            let at = random.below(accepted.len() as u64);
            if random.chance(self.drive.duplicates)
                && let Some(&(release, index)) = accepted.get(at as usize)
            {
                return Some(Job::Again { release, index });
            }
        }
        let next = self.next.get();
        if next < self.drive.requests.len() {
            self.next.set(next + 1);
            return Some(Job::New(next));
        }
        self.turned_away.borrow_mut().pop_front().map(Job::New)
    }

    /// Offers again what found no room, where the run has an end of its own.
    fn put_back(&self, job: Job) {
        if let (Job::New(release), Some(_)) = (job, self.end) {
            self.turned_away.borrow_mut().push_back(release);
        }
    }

    /// Sends one and counts its answer; false where the log had no room.
    async fn send(&self, wire: &mut Wire, job: Job, intended: Instant) -> bool {
        let (Job::New(release) | Job::Again { release, .. }) = job;
        let Some(request) = self.drive.requests.get(release) else {
            return true;
        };
        let answer = match tokio::time::timeout(PATIENCE, wire.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => {
                // An answer that comes later must not be taken for the next one's.
                wire.stream = None;
                Err("no-answer-in-time".into())
            }
        };
        let now = Instant::now();
        let mut tally = self.tally.borrow_mut();
        let answer = match answer {
            Ok(answer) => answer,
            Err(kind) => {
                tally.error(kind, now);
                return true;
            }
        };
        match (answer.status, answer.index, job) {
            (200, Some(index), Job::New(release)) => {
                if self.drive.duplicates > 0.0 {
                    self.accepted.borrow_mut().push((release, index));
                }
                tally.accepted(intended, now, &answer.body);
                true
            }
            (200, Some(got), Job::Again { index, .. }) if got == index => {
                tally.duplicates += 1;
                true
            }
            (200, ..) => {
                tally.error("another-index".into(), now);
                true
            }
            (status, ..) => {
                tally.error(answer.kind(), now);
                let no_room = matches!(status, 429 | 503);
                if no_room {
                    tally.turned_away += 1;
                    self.put_back(job);
                }
                !no_room
            }
        }
    }
}

/// One keep-alive connection.
struct Wire {
    place: Place,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Wire {
    fn new(place: &Place) -> Self {
        Self {
            place: place.clone(),
            stream: None,
            buffer: Vec::new(),
        }
    }

    /// Sends and waits for the answer; the error is a kind.
    async fn exchange(&mut self, request: &[u8]) -> Result<Answer, String> {
        if let Some(stream) = self.stream.take() {
            match self.once(stream, request).await {
                // Closed by the server between two requests: publishing can be repeated.
                Err(closed) if closed == CLOSED => {}
                other => return other,
            }
        }
        let connected = TcpStream::connect(self.place.addr).await;
        let stream = connected.map_err(|e| format!("connect-{}", word(e.kind())))?;
        let _ = stream.set_nodelay(true);
        self.once(stream, request).await
    }

    async fn once(&mut self, stream: TcpStream, request: &[u8]) -> Result<Answer, String> {
        let mut rest = request;
        while !rest.is_empty() {
            match stream.try_write(rest) {
                Ok(n) => rest = rest.get(n..).unwrap_or_default(),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    stream.writable().await.map_err(|e| broken(&e))?;
                }
                Err(e) => return Err(broken(&e)),
            }
        }
        self.buffer.clear();
        loop {
            stream.readable().await.map_err(|e| broken(&e))?;
            self.buffer.reserve(8 * 1024);
            match stream.try_read_buf(&mut self.buffer) {
                Ok(0) if self.buffer.is_empty() => return Err(CLOSED.into()),
                Ok(0) => return Err("answer-cut-short".into()),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                Err(e) if self.buffer.is_empty() => return Err(broken(&e)),
                Err(_) => return Err("answer-cut-short".into()),
            }
            let whole = parse(&self.buffer).map_err(|_| "answer-not-http".to_owned())?;
            if let Some((answer, taken)) = whole {
                if !answer.close && taken == self.buffer.len() {
                    self.stream = Some(stream);
                }
                return Ok(answer);
            }
        }
    }
}

const CLOSED: &str = "connection-closed";

fn broken(e: &std::io::Error) -> String {
    match e.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => CLOSED.into(),
        kind => word(kind),
    }
}

/// An error of the network in our spelling.
fn word(kind: ErrorKind) -> String {
    kind.to_string().replace(' ', "-")
}
