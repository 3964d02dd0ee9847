//! The operator's socket: `private/operator.sock`, mode 0600, since the running server
//! holds the store. One JSON request a line, one JSON answer a line. Each decision is
//! logged as an `operation` leaf.

use crate::admit::App;
use crate::error::Error;
use crate::sequence::{Answer, Job};
use ledger::leaf::Action;
use ledger::{Hash, b64, from_hex32, hex32};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

const MAX_LINE: u64 = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

/// What the operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// All projects with their status.
    List,
    /// Let a pending project in.
    Admit {
        /// Its id or name.
        project: String,
    },
    /// Turn a pending project away.
    Refuse {
        /// Its id or name.
        project: String,
        /// Why; it is public.
        reason: Option<String>,
    },
    /// Take no more statements of a project.
    Freeze {
        /// Its id or name.
        project: String,
        /// Why; it is public.
        reason: Option<String>,
    },
    /// Take a project's statements again.
    Thaw {
        /// Its id or name.
        project: String,
    },
    /// The checkpoint, and the entries that lie in no file under `public/` yet.
    Snapshot,
}

/// A path to the socket that fits in a socket address (108 bytes) however deep the data
/// directory lies. The file keeps the short path valid.
fn short(path: &Path) -> Result<(PathBuf, Option<File>), Error> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok((path.to_owned(), None));
    };
    if path.as_os_str().len() < 100 {
        return Ok((path.to_owned(), None));
    }
    let dir = File::open(dir).map_err(|e| Error::io(dir, &e))?;
    Ok((
        Path::new("/proc/self/fd")
            .join(dir.as_raw_fd().to_string())
            .join(name),
        Some(dir),
    ))
}

/// Listens at `path`. An old socket there is a leftover: the data directory's lock is ours.
///
/// # Errors
/// [`Error::Io`].
pub fn listen(path: &Path) -> Result<UnixListener, Error> {
    let _ = std::fs::remove_file(path);
    let (place, _dir) = short(path)?;
    let listener = UnixListener::bind(place).map_err(|e| Error::io(path, &e))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(|e| Error::io(path, &e))?;
    Ok(listener)
}

/// Answers until the task is dropped.
pub async fn serve(listener: UnixListener, app: Arc<App>) {
    loop {
        match listener.accept().await {
            // Whoever else could reach the socket, by a mode that somebody changed: not heard.
            Ok((stream, _)) if !ours(&stream) => drop(stream),
            Ok((stream, _)) => {
                let app = Arc::clone(&app);
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(PATIENCE, answer(stream, &app)).await;
                });
            }
            // Out of descriptors, most likely: try again later rather than in a hot loop.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Whether the other end is our own user, or root.
fn ours(stream: &UnixStream) -> bool {
    let us = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|them| them.uid() == us || them.uid() == 0)
}

async fn answer(stream: UnixStream, app: &App) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    tokio::io::BufReader::new(read.take(MAX_LINE))
        .read_line(&mut line)
        .await?;
    let value = match serde_json::from_str(&line) {
        Ok(request) => decide(app, request)
            .await
            .unwrap_or_else(|why| json!({ "error": why })),
        Err(e) => json!({ "error": format!("not a request: {e}") }),
    };
    write.write_all(format!("{value}\n").as_bytes()).await
}

async fn decide(app: &App, request: Request) -> Result<Value, String> {
    match request {
        Request::List => Ok(list(app)),
        Request::Admit { project } => admit(app, &project).await,
        Request::Refuse { project, reason } => refuse(app, &project, reason).await,
        Request::Freeze { project, reason } => {
            let id = stands(app, &project)?;
            operation(app, Action::Frozen, id, reason).await
        }
        Request::Thaw { project } => {
            let id = stands(app, &project)?;
            operation(app, Action::Thawed, id, None).await
        }
        Request::Snapshot => Ok(snapshot(app)),
    }
}

/// What is public at one moment and not in files: with `public/` it is the whole log.
fn snapshot(app: &App) -> Value {
    let view = app.log.view();
    let tail: Vec<String> = view.tail.iter().map(|entry| b64(entry)).collect();
    json!({
        "checkpoint": view.note, "readOnly": app.log.read_only(), "size": view.size, "tail": tail,
    })
}

fn list(app: &App) -> Value {
    let mut projects: Vec<Value> = Vec::new();
    for w in app.pending.all() {
        let status = if w.refused { "refused" } else { "pending" };
        projects.push(json!({
            "contact": w.contact, "id": hex32(&w.id), "name": w.name, "purlPrefixes": w.prefixes,
            "received": w.received, "status": status,
        }));
    }
    for p in app.log.published().fold.projects() {
        let (status, current) = (
            if p.frozen { "frozen" } else { "admitted" },
            &p.current().project,
        );
        projects.push(json!({
            "contact": current.contact, "id": hex32(&p.id), "name": current.name,
            "purlPrefixes": current.purl_prefixes, "status": status,
        }));
    }
    json!({ "projects": projects })
}

fn stands(app: &App, project: &str) -> Result<Hash, String> {
    let published = app.log.published();
    let id = from_hex32(project).or_else(|| published.fold.project_by_name(project));
    id.filter(|id| published.fold.project(id).is_some())
        .ok_or_else(|| format!("no project {project:?} is in this log"))
}

fn one_pending(
    app: &App,
    project: &str,
    refused_too: bool,
) -> Result<Arc<crate::pending::Waiting>, String> {
    let mut found = app.pending.find(project);
    found.retain(|w| refused_too || !w.refused);
    if found.len() > 1 {
        let ids: Vec<String> = found.iter().map(|w| hex32(&w.id)).collect();
        return Err(format!(
            "several projects named {project:?} wait; say which by id: {}",
            ids.join(", ")
        ));
    }
    found.pop().ok_or_else(|| match stands(app, project) {
        Ok(_) => format!("project {project:?} is in the log already"),
        Err(_) => format!("no project {project:?} waits"),
    })
}

async fn admit(app: &App, project: &str) -> Result<Value, String> {
    // By id also one that was refused before: the operator may think again.
    let one = one_pending(app, project, from_hex32(project).is_some())?;
    let now = app.log.now();
    app.log
        .published()
        .fold
        .check(&one.envelope, &one.statement, now, None)
        .map_err(|e| e.to_string())?;
    let answer = app
        .queue_statement(one.id, one.envelope.clone(), one.statement.clone(), None)
        .map_err(|e| e.to_string())?;
    let index = wait(app, answer).await?;
    app.settle().map_err(|e| e.to_string())?;
    Ok(json!({ "id": hex32(&one.id), "index": index, "name": one.name, "status": "admitted" }))
}

async fn refuse(app: &App, project: &str, reason: Option<String>) -> Result<Value, String> {
    let one = one_pending(app, project, false)?;
    let mut done = operation(app, Action::Refused, one.id, reason).await?;
    app.pending.refuse(&one.id).map_err(|e| e.to_string())?;
    app.trust.forget(&one.id);
    if let Some(fields) = done.as_object_mut() {
        fields.insert("name".into(), one.name.clone().into());
    }
    Ok(done)
}

async fn operation(
    app: &App,
    action: Action,
    project: Hash,
    reason: Option<String>,
) -> Result<Value, String> {
    let (reply, answer) = oneshot::channel();
    app.push(Job::Operation {
        action,
        project,
        reason,
        reply,
    })
    .map_err(|e| e.to_string())?;
    let index = wait(app, answer).await?;
    Ok(json!({ "id": hex32(&project), "index": index, "status": action.word() }))
}

/// Waits until what was queued is logged, and shown.
async fn wait(app: &App, answer: oneshot::Receiver<Answer>) -> Result<u64, String> {
    let answer = answer.await;
    let answer = answer.map_err(|_| "the server is stopping".to_owned())?;
    let index = answer.map_err(|e| e.to_string())?.index;
    app.log.shows(index, None).await;
    Ok(index)
}

/// Asks the server that runs on `private`'s data directory.
///
/// # Errors
/// [`Error::Operator`] with the server's reason, or where none runs.
pub fn call(socket: &Path, request: &Request) -> Result<Value, Error> {
    let failed = |e: &dyn std::fmt::Display| Error::Operator(format!("{}: {e}", socket.display()));
    let (place, _dir) = short(socket)?;
    let stream = std::os::unix::net::UnixStream::connect(place).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => Error::Operator(
            "no server runs on this data directory: start `countersign-server serve` first".into(),
        ),
        _ => failed(&e),
    })?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(|e| failed(&e))?;
    let line = serde_json::to_string(request).map_err(|e| failed(&e))?;
    (&stream)
        .write_all(format!("{line}\n").as_bytes())
        .map_err(|e| failed(&e))?;
    let mut answer = String::new();
    // A list may be long, but not endless.
    BufReader::new((&stream).take(64 << 20))
        .read_line(&mut answer)
        .map_err(|e| failed(&e))?;
    let value: Value = serde_json::from_str(&answer).map_err(|e| failed(&e))?;
    match value.get("error").and_then(Value::as_str) {
        Some(why) => Err(Error::Operator(why.to_owned())),
        None => Ok(value),
    }
}
