//! A running server: the parts put together, started, and stopped in order.

use crate::admit::App;
use crate::closed;
use crate::datadir::DataDir;
use crate::error::Error;
use crate::guard;
use crate::high_water::HighWater;
use crate::limits::{self, Limits, WORKERS};
use crate::log::{Log, unix_now};
use crate::oidc::used::Used;
use crate::oidc::{self, Oidc, Refreshing};
use crate::pending::Pending;
use crate::publish::{self, Publishing};
use crate::recheck::Recheck;
use crate::recover::{Recovered, recover};
use crate::sequence::{Job, Queue, Sequencer};
use crate::store::{Blobs, Hot, InIndex, Index, Mark};
use crate::trust::TrustDocuments;
use crate::{http, operator};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::signal::unix::Signal;
use tokio::sync::oneshot;

/// How a server is to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory, made by [`crate::init`].
    pub data: PathBuf,
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// Whether projects are admitted without the operator.
    pub open: bool,
    /// Whether plain HTTP may listen beyond loopback.
    pub public_http: bool,
    /// Jobs waiting for the sequencer at most; more are answered 503.
    pub queue: usize,
    /// Projects awaiting the operator at most.
    pub pending: usize,
    /// Who may send how much.
    pub limits: limits::Settings,
    /// When the log must not sign.
    pub guard: guard::Settings,
    /// The file of the high-water mark, outside the data directory; made by
    /// [`crate::high_water::begin`].
    pub high_water: Option<PathBuf>,
    /// Who witnesses the log.
    pub witnesses: Option<publish::Settings>,
    /// The file that says who gets certificates.
    pub oidc: Option<PathBuf>,
}

/// Places in the queue that only the operator's commands take, however full it is.
const RESERVED: usize = 16;

impl Config {
    /// A server on `data` at any loopback port, with the operator deciding about projects.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            data: data.into(),
            listen,
            open: false,
            public_http: false,
            queue: 1024,
            pending: 1000,
            limits: limits::Settings::default(),
            guard: guard::Settings::default(),
            high_water: None,
            witnesses: None,
            oidc: None,
        }
    }

    /// The same, admitting every project.
    #[must_use]
    pub fn open(mut self) -> Self {
        self.open = true;
        self
    }
}

/// The store's three parts, and the mark outside of it.
#[doc(hidden)]
pub struct Stores {
    pub hot: Box<dyn Hot>,
    pub blobs: Box<dyn Blobs>,
    pub index: Arc<dyn Index>,
    pub mark: Option<Box<dyn Mark>>,
}

/// Starts servers.
pub struct Server;

/// A running server. Dropping it stops it as [`Handle::shutdown`] does.
pub struct Handle {
    addr: SocketAddr,
    app: Arc<App>,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    http: Option<tokio::task::JoinHandle<()>>,
    sequencer: Option<JoinHandle<()>>,
    recheck: Option<Recheck>,
    publishing: Option<Publishing>,
    refreshing: Option<Refreshing>,
    data: Option<DataDir>,
}

/// How long requests in hand may take to finish when the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// Connections that the system keeps until they are accepted: more than a burst.
const BACKLOG: u32 = 1024;

/// Listens at `addr`.
pub(crate) fn listen(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // As after a restart, when connections of before still linger.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

impl Server {
    /// Opens the data directory, checks where the log ends, and serves; the rest is checked
    /// meanwhile. Must not be called from async code:
    /// the server has a runtime of its own.
    ///
    /// # Errors
    /// [`Error`]. A log that disagrees with its last checkpoint is no error: it is served
    /// read-only, from now on or from when that is found, and `/readyz` says why.
    pub fn start(config: &Config) -> Result<Handle, Error> {
        Self::start_with(config, Ok, |e| {
            // It is not known what is on disk. Only a new start, which reads it, can tell.
            eprintln!("countersign-server: {e}; the process ends, nothing was acknowledged");
            std::process::exit(70);
        })
    }

    /// For tests of failing stores: `wrap` gets the store as the checks before the first
    /// signature left it and says what the server writes to; `failed` is told why the
    /// sequencer ended.
    #[doc(hidden)]
    pub fn start_with(
        config: &Config,
        wrap: impl FnOnce(Stores) -> Result<Stores, Error>,
        failed: impl FnOnce(Error) + Send + 'static,
    ) -> Result<Handle, Error> {
        if !config.listen.ip().is_loopback() && !config.public_http {
            return Err(Error::NotLoopback(config.listen));
        }
        http::descriptors()?;
        let data = DataDir::open(&config.data)?;
        guard::room_to_open(&data.layout).map_err(Error::NoRoom)?;
        let closed = closed::read(&data.layout)?.map(|closed| closed.reason);
        let private = data.layout.private();
        let rotation = data.layout.read_marker()?.rotation;
        let retire_keys = rotation.and_then(|r| r.until);
        let keys = data.layout.keys()?;
        let oidc = config.oidc.as_deref().map(|file| -> Result<_, Error> {
            let used = Used::open(&private.join(oidc::used::FILE), unix_now())?;
            Ok(Arc::new(Oidc::open(
                oidc::config::Settings::read(file)?,
                used,
            )?))
        });
        let oidc = oidc.transpose()?;
        let refreshing = oidc.as_deref().map(Refreshing::start).transpose()?;
        let mark = config.high_water.as_deref().map(HighWater::open);
        let mark = mark.transpose()?;
        let Recovered {
            hot,
            blobs,
            index,
            mut published,
            head,
            durable,
            read_only,
        } = recover(&data.layout, &data.origin, &keys, mark.as_ref()).map_err(Error::at_start)?;
        if let (Some(mark), None) = (&mark, &read_only) {
            // A mark that cannot be written is found out now, not by the first publisher.
            mark.raise(&published.view.note)?;
        }
        let mark = mark.map(|mark| Box::new(mark) as Box<dyn Mark>);
        let Stores {
            hot,
            blobs,
            index,
            mark,
        } = wrap(Stores {
            hot,
            blobs,
            index,
            mark,
        })?;
        // From here on the index answers for what was released; memory is for what is newer.
        let earlier = Arc::new(InIndex(Arc::clone(&index)));
        published.fold = published.fold.looking_up(earlier);
        published.fold.forget_released(index.size()?);
        let (fold, view) = (published.fold.clone(), Arc::clone(&published.view));
        let (edge, tail) = (view.edge.clone(), view.tail.clone());
        let pending = Pending::open(private.join("pending"), config.pending)?;
        let trust = TrustDocuments::open(
            data.layout.public().join("trust"),
            private.join("pending-trust"),
        )?;
        let log = Log::new(
            data.origin.clone(),
            keys.vkeys(),
            blobs,
            index,
            published,
            read_only,
        );
        let log = log
            .watched(&data.layout, &config.guard)
            .frozen(closed)
            .retiring(retire_keys);
        let log = Arc::new(log.witnessed(config.witnesses.as_ref()));
        let witnesses = config.witnesses.as_ref();
        let publishing = witnesses.map(|w| Publishing::start(w, &log));
        let publishing = publishing.transpose()?.flatten();
        let (queue, jobs) = Queue::new(config.queue.saturating_add(RESERVED));
        let limits = Limits::new(&config.limits, config.queue);
        let sequencer = Sequencer {
            log: Arc::clone(&log),
            hot,
            mark,
            keys,
            fold,
            edge,
            tail,
            head,
            durable,
            view,
        };
        let sequencer = std::thread::Builder::new()
            .name("sequencer".into())
            .spawn(move || {
                if let Err(e) = sequencer.run(&jobs) {
                    failed(e);
                }
            });
        let sequencer = sequencer.map_err(|e| Error::Io {
            path: "thread".into(),
            why: e.to_string(),
        })?;
        let app = App::new(log, pending, trust, config.open, limits, queue);
        let app = Arc::new(app.issuing(oidc));
        // A crash between an admission and this bookkeeping.
        app.settle()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .max_blocking_threads(WORKERS)
            .build();
        let runtime = runtime.map_err(|e| Error::Io {
            path: "runtime".into(),
            why: e.to_string(),
        })?;
        let (stop, stopped) = oneshot::channel::<()>();
        let started = runtime.block_on(async {
            let io = |e: std::io::Error| Error::Io {
                path: config.listen.to_string(),
                why: e.to_string(),
            };
            let listener = listen(config.listen).map_err(io)?;
            let addr = listener.local_addr().map_err(io)?;
            tokio::spawn(operator::serve(
                operator::listen(&data.layout.socket())?,
                Arc::clone(&app),
            ));
            let desk = http::Desk::new(Arc::clone(&app));
            let http = tokio::spawn(http::serve(listener, desk, stopped));
            Ok::<_, Error>((addr, http))
        });
        let mut handle = Handle {
            addr: config.listen,
            app,
            runtime: Some(runtime),
            stop: Some(stop),
            http: None,
            sequencer: Some(sequencer),
            recheck: None,
            publishing,
            refreshing,
            data: Some(data),
        };
        // On an error the handle's drop stops what runs already.
        let (addr, http) = started?;
        handle.addr = addr;
        handle.http = Some(http);
        handle.recheck = Some(Recheck::start(Arc::clone(&handle.app.log))?);
        Ok(handle)
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

    /// The log's vkeys.
    #[must_use]
    pub fn vkeys(&self) -> Vec<String> {
        self.app.log.vkeys.clone()
    }

    /// The log being served.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.app.log
    }

    /// Waits until everything that was on disk at the start has been read again.
    pub fn wait_for_recheck(&self) {
        while !self.app.log.metrics.recheck.is_over() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Appends leaves as they stand, without HTTP and without any check, with no ledger head
    /// after them but those among them: for tools that build test logs of exact sizes.
    /// Returns the size reached, once durable and in a signed checkpoint.
    ///
    /// # Errors
    /// [`Error::Fill`].
    pub fn fill(&self, leaves: Vec<Vec<u8>>) -> Result<u64, Error> {
        let failed = |e: &dyn std::fmt::Display| Error::Fill(e.to_string());
        let (reply, answer) = oneshot::channel();
        self.app
            .push(Job::Fill { leaves, reply })
            .map_err(|e| failed(&e))?;
        answer
            .blocking_recv()
            .map_err(|e| failed(&e))?
            .map(|logged| logged.index)
            .map_err(|e| failed(&e))
    }

    /// From now on SIGINT and SIGTERM do not end the process, but what [`Signals::wait`] waits
    /// for. To be asked for before anybody is told that the server runs.
    ///
    /// # Errors
    /// [`Error::Io`] where signals cannot be received.
    pub fn signals(&self) -> Result<Signals<'_>, Error> {
        Signals::of(self.runtime.as_ref())
    }

    /// Stops: no new connections, requests in hand are finished, what waits is logged.
    pub fn shutdown(self) {
        drop(self);
    }
}

/// Waits for SIGINT or SIGTERM.
pub struct Signals<'a>(Option<(&'a Runtime, Signal, Signal)>);

impl<'a> Signals<'a> {
    /// Those that `runtime` receives from now on.
    pub(crate) fn of(runtime: Option<&'a Runtime>) -> Result<Self, Error> {
        use tokio::signal::unix::{SignalKind, signal};
        let io = |e: std::io::Error| Error::Io {
            path: "signals".into(),
            why: e.to_string(),
        };
        let runtime = runtime.map(|runtime| {
            let _inside = runtime.enter();
            let interrupt = signal(SignalKind::interrupt()).map_err(io)?;
            let terminate = signal(SignalKind::terminate()).map_err(io)?;
            Ok::<_, Error>((runtime, interrupt, terminate))
        });
        Ok(Self(runtime.transpose()?))
    }

    /// Returns once one of them has come, since [`Handle::signals`].
    pub fn wait(self) {
        let Some((runtime, mut interrupt, mut terminate)) = self.0 else {
            return;
        };
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.recheck.take();
        self.refreshing.take();
        if let Some(runtime) = self.runtime.take() {
            if let Some(http) = self.http.take() {
                runtime.block_on(async {
                    let _ = tokio::time::timeout(GRACE, http).await;
                });
            }
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
        self.app.close();
        if let Some(sequencer) = self.sequencer.take() {
            let _ = sequencer.join();
        }
        // What was staged is durable; the next start shows it.
        self.publishing.take();
        if let Some(data) = self.data.take() {
            let _ = std::fs::remove_file(data.layout.socket());
        }
    }
}
