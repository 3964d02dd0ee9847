//! A running witness: the parts put together, started, and stopped in order.

use super::config::Config;
use super::cosigner::{Cosigner, Queue};
use super::dir::WitnessDir;
use super::evidence::Evidence;
use super::http::{App, Desk, HEAVY};
use super::logs::Logs;
use super::metrics::Metrics;
use super::state::{Commit, State};
use crate::clock::Course;
use crate::error::Error;
use crate::http;
use crate::limits::Buckets;
use crate::server::{Signals, listen};
use crate::store::StoreError;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tlog::vkey::VerifierKey;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot};

/// How long requests in hand may take to finish when the witness stops.
const GRACE: Duration = Duration::from_secs(10);
/// How often `logs.json` is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Logs whose rates are remembered.
const REMEMBERED: usize = 65_536;
/// Threads for what takes long to verify, and for evidence.
const WORKERS: usize = 8;

/// A running witness. Dropping it stops it as [`Handle::shutdown`] does.
pub struct Handle {
    addr: SocketAddr,
    vkey: VerifierKey,
    app: Arc<App>,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    http: Option<tokio::task::JoinHandle<()>>,
    cosigner: Option<JoinHandle<()>>,
    _dir: WitnessDir,
}

/// Opens the data directory and serves. Must not be called from async code: the witness has a
/// runtime of its own.
///
/// # Errors
/// [`Error`].
pub fn start(config: &Config) -> Result<Handle, Error> {
    start_with(
        config,
        |state| state,
        |e| {
            // It is not known what is on disk. Only a new start, which reads it, can tell.
            eprintln!("countersign-witness: {e}; the process ends, nothing was acknowledged");
            std::process::exit(70);
        },
    )
}

/// For tests of failing stores: `wrap` says what cosignatures are made durable by; `failed` is
/// told why cosigning ended.
///
/// # Errors
/// [`Error`].
#[doc(hidden)]
pub fn start_with<C: Commit>(
    config: &Config,
    wrap: impl FnOnce(State) -> C,
    failed: impl FnOnce(StoreError) + Send + 'static,
) -> Result<Handle, Error> {
    if !config.listen.ip().is_loopback() && !config.public_http {
        return Err(Error::NotLoopback(config.listen));
    }
    http::descriptors()?;
    let dir = WitnessDir::open(&config.data)?;
    let (state, standing) = State::open(&dir.layout.state(), &dir.vkey)?;
    let watch = Watch::begin(dir.layout.logs());
    let logs = Logs::load(&watch.path)?;
    let evidence = Evidence::open(&dir.layout.evidence(), &dir.vkey)?;
    let (queue, jobs) = Queue::new(config.queue.max(1));
    let (standing, metrics) = (Arc::new(standing), Arc::new(Metrics::default()));
    let app = Arc::new(App {
        logs: RwLock::new(Arc::new(logs)),
        standing: Arc::clone(&standing),
        metrics: Arc::clone(&metrics),
        evidence,
        clock: Arc::clone(&config.clock),
        settings: config.limits.clone(),
        addresses: Buckets::new(config.limits.address_rate, REMEMBERED),
        by_log: Buckets::new(config.log_rate, REMEMBERED),
        repeats: Buckets::new(config.log_rate, REMEMBERED),
        heavy: Semaphore::new(HEAVY),
        queue,
        list: Mutex::new(None),
    });
    let (key, vkey) = dir.signer()?;
    let cosigner = Cosigner {
        key,
        vkey: vkey.clone(),
        state: wrap(state),
        standing,
        clock: Arc::clone(&config.clock),
        uptime: Arc::clone(&config.uptime),
        course: Course::default(),
        metrics,
    };
    let run = move || {
        if let Err(e) = cosigner.run(&jobs) {
            failed(e);
        }
    };
    let io = |path: &str, e: std::io::Error| Error::Io {
        path: path.to_owned(),
        why: e.to_string(),
    };
    let cosigner = std::thread::Builder::new()
        .name("cosigner".into())
        .spawn(run);
    let cosigner = cosigner.map_err(|e| io("thread", e))?;
    let mut handle = Handle {
        addr: config.listen,
        vkey,
        app,
        runtime: None,
        stop: None,
        http: None,
        cosigner: Some(cosigner),
        _dir: dir,
    };
    // On an error the handle's drop stops what runs already.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(WORKERS)
        .build()
        .map_err(|e| io("runtime", e))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let app = Arc::clone(&handle.app);
    let started = runtime.block_on(async {
        let at = config.listen.to_string();
        let listener = listen(config.listen).map_err(|e| io(&at, e))?;
        let addr = listener.local_addr().map_err(|e| io(&at, e))?;
        tokio::spawn(watch.follow(Arc::clone(&app)));
        let http = tokio::spawn(http::serve(listener, Desk::new(app), stopped));
        Ok::<_, Error>((addr, http))
    });
    handle.runtime = Some(runtime);
    handle.stop = Some(stop);
    let (addr, http) = started?;
    handle.addr = addr;
    handle.http = Some(http);
    Ok(handle)
}

/// Looks whether `logs.json` has changed, so that a log can be added to a running witness.
struct Watch {
    path: PathBuf,
    seen: Option<(u64, i64, i64)>,
    /// What could not be read, so that it is said once.
    failed: Option<(u64, i64, i64)>,
}

fn identity(path: &Path) -> Option<(u64, i64, i64)> {
    let found = std::fs::metadata(path).ok()?;
    // It is written anew under its name, so the file is another one each time.
    Some((found.ino(), found.ctime(), found.ctime_nsec()))
}

impl Watch {
    /// From before it is read for the first time.
    fn begin(path: PathBuf) -> Self {
        let seen = identity(&path);
        let failed = None;
        Self { path, seen, failed }
    }

    async fn follow(mut self, app: Arc<App>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = identity(&self.path);
            if now == self.seen {
                continue;
            }
            let path = self.path.clone();
            let loaded = tokio::task::spawn_blocking(move || Logs::load(&path)).await;
            match loaded {
                Ok(Ok(logs)) => {
                    self.seen = now;
                    eprintln!("countersign-witness: {} logs", logs.len());
                    app.set_logs(logs);
                }
                // Whoever wrote that by hand finds it here; what was known before holds. It is
                // read again: what cannot be read now may be later, and a key that was taken out
                // must not be trusted for ever.
                Ok(Err(e)) => {
                    if self.failed != now {
                        eprintln!("countersign-witness: the logs stay as they were: {e}");
                    }
                    self.failed = now;
                }
                Err(_) => {}
            }
        }
    }
}

impl Handle {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The witness's vkey.
    #[must_use]
    pub fn vkey(&self) -> &VerifierKey {
        &self.vkey
    }

    /// From now on SIGINT and SIGTERM do not end the process, but what [`Signals::wait`] waits
    /// for.
    ///
    /// # Errors
    /// [`Error::Io`] where signals cannot be received.
    pub fn signals(&self) -> Result<Signals<'_>, Error> {
        Signals::of(self.runtime.as_ref())
    }

    /// Stops: no new connections, requests in hand are finished, what waits is cosigned.
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(runtime) = self.runtime.take() {
            if let Some(http) = self.http.take() {
                runtime.block_on(async {
                    let _ = tokio::time::timeout(GRACE, http).await;
                });
            }
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        self.app.queue.close();
        if let Some(cosigner) = self.cosigner.take() {
            let _ = cosigner.join();
        }
    }
}
