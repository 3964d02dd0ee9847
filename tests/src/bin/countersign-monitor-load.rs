//! `countersign-monitor-load`: what `countersign monitor` takes with many projects and addresses,
//! how much it moves when nothing happens, and how soon it tells.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used)]

use clap::Parser;
use countersign_tests::bench::{Bench, bench, get};
use countersign_tests::{Process, Storage, binary, peak_kb};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

const AFTER: &str = "\
Founds the projects in a log of its own, publishes a release of each, serves the artifacts, and starts
a monitor that follows all projects through their heads and watches all addresses. Then it publishes
releases that nobody announced, one after the other, and waits until each is told.

  COUNTERSIGN_BIN_DIR=target/release target/release/countersign-monitor-load";

/// Measure a monitor.
#[derive(Parser)]
#[command(name = "countersign-monitor-load", version, after_help = AFTER)]
struct Args {
    /// Projects
    #[arg(long, default_value_t = 100)]
    projects: usize,
    /// Watched addresses of each project
    #[arg(long, default_value_t = 10)]
    urls: usize,
    /// Seconds between polls of a project
    #[arg(long, default_value_t = 10)]
    interval: u64,
    /// Polls of everything before memory is read
    #[arg(long, default_value_t = 3)]
    polls: u64,
    /// Releases that nobody announced
    #[arg(long, default_value_t = 10)]
    unexpected: usize,
}

fn main() {
    let args = Args::parse();
    let bench = bench();
    let vkeys = vkeys(&bench);
    std::fs::create_dir(bench.path("served")).unwrap();
    let storage = Storage::serve(&bench.path("served")).unwrap();
    let began = Instant::now();
    for project in 0..args.projects {
        found(&bench, &vkeys, project, args.urls);
    }
    eprintln!(
        "{} projects, {} addresses: {:?}",
        args.projects,
        args.projects * args.urls,
        began.elapsed()
    );
    configure(&bench, &storage, &args);
    let mut command = Command::new(binary("countersign").unwrap());
    command
        .args(["monitor", "--config", "monitor.toml"])
        .current_dir(bench.dir.path());
    let monitor = Process::start(command).unwrap();
    let polled = || {
        let metrics = metrics(&monitor.url);
        let polls = values(&metrics, "task_polls_total");
        polls.values().copied().fold(f64::MAX, f64::min)
    };
    let wanted = args.polls as f64;
    while polled() < wanted {
        std::thread::sleep(Duration::from_millis(500));
    }
    let text = metrics(&monitor.url);
    let heads: Vec<f64> = values(&text, "poll_received_bytes")
        .into_iter()
        .filter(|(l, _)| l.contains("heads "))
        .map(|(_, v)| v)
        .collect();
    let most = heads.iter().copied().fold(0.0, f64::max);
    println!("tasks {}", values(&text, "task_polls_total").len());
    println!(
        "open alerts {}",
        values(&text, "alerts_open").values().sum::<f64>()
    );
    println!(
        "a poll of a project that has nothing new receives at most {most} bytes ({} projects)",
        heads.len()
    );
    println!("memory at most {} kB", peak_kb(monitor.id()).unwrap());
    let mut took: Vec<Duration> = (0..args.unexpected)
        .map(|n| told(&bench, n, &args))
        .collect();
    took.sort();
    if let (Some(middle), Some(last)) = (took.get(took.len() / 2), took.last()) {
        println!(
            "from the publish of an unexpected release to its alert, polling each {} s: median {:.2} s, longest {:.2} s",
            args.interval,
            middle.as_secs_f64(),
            last.as_secs_f64()
        );
    }
    println!("memory at most {} kB", peak_kb(monitor.id()).unwrap());
}

fn vkeys(bench: &Bench) -> Vec<String> {
    let policy: toml::Table = std::fs::read_to_string(bench.path("policy.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let keys = policy["log"]["vkeys"].as_array().unwrap();
    keys.iter()
        .map(|k| k.as_str().unwrap().to_owned())
        .collect()
}

/// A project with one release of so many artifacts, served with their bundles.
fn found(bench: &Bench, vkeys: &[String], project: usize, artifacts: usize) {
    let mut init = format!(
        "project init acme/p{project} --root-key root1 --release-key release1 --purl-prefix pkg:generic/acme/p{project} \
         --contact mailto:security@acme.example --log {} --policy-out p{project}.toml",
        bench.url
    );
    vkeys
        .iter()
        .for_each(|vkey| write!(init, " --vkey {vkey}").unwrap());
    bench.ok(&init);
    publish(bench, project, "1", artifacts);
    for artifact in 0..artifacts {
        for file in [
            format!("p{project}-1-{artifact}"),
            format!("p{project}-1-{artifact}.bundle"),
        ] {
            std::fs::copy(bench.path(&file), bench.path("served").join(&file)).unwrap();
        }
    }
}

fn publish(bench: &Bench, project: usize, version: &str, artifacts: usize) {
    let mut args = "publish".to_owned();
    for artifact in 0..artifacts {
        let name = format!("p{project}-{version}-{artifact}");
        std::fs::write(bench.path(&name), format!("{name}\n")).unwrap();
        write!(args, " {name}").unwrap();
    }
    write!(
        args,
        " --policy p{project}.toml --project acme/p{project} --version {version} --key release1"
    )
    .unwrap();
    bench.ok(&args);
}

fn configure(bench: &Bench, storage: &Storage, args: &Args) {
    // One policy with all the projects: the first one's, and the others' tables.
    let mut policy = std::fs::read_to_string(bench.path("p0.toml")).unwrap();
    for project in 1..args.projects {
        let text = std::fs::read_to_string(bench.path(&format!("p{project}.toml"))).unwrap();
        let at = text.find("[[project]]").unwrap();
        write!(policy, "\n{}", &text[at..]).unwrap();
    }
    std::fs::write(bench.path("all.toml"), policy).unwrap();
    std::fs::create_dir(bench.path("announced")).unwrap();
    for project in 0..args.projects {
        let name = format!("p{project}-1-0.bundle");
        std::fs::copy(bench.path(&name), bench.path("announced").join(&name)).unwrap();
    }
    let mut config = format!(
        "api-version = \"countersign/v1\"\nstate = \"monitor\"\nlisten = \"127.0.0.1:0\"\n\
         [[sink]]\nname = \"lines\"\nfile = \"alerts.jsonl\"\n\
         [[log]]\npolicy = \"all.toml\"\nevery = {}\nexpected = {{ bundles = \"announced\" }}\n",
        args.interval
    );
    for project in 0..args.projects {
        for artifact in 0..args.urls {
            write!(
                config,
                "[[watch]]\nurl = \"{}/p{project}-1-{artifact}\"\nproject = \"acme/p{project}\"\nevery = 30\n",
                storage.url
            )
            .unwrap();
        }
    }
    std::fs::write(bench.path("monitor.toml"), config).unwrap();
}

/// How long it takes until somebody is told of a release that nobody announced.
fn told(bench: &Bench, n: usize, args: &Args) -> Duration {
    let (project, version) = (n % args.projects, format!("9.{n}"));
    publish(bench, project, &version, 1);
    let began = Instant::now();
    let said = || std::fs::read_to_string(bench.path("alerts.jsonl")).unwrap_or_default();
    let about = format!("p{project}@{version}");
    while !said().contains(&about) {
        assert!(
            began.elapsed() < Duration::from_secs(600),
            "nobody was told of {about}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    began.elapsed()
}

fn metrics(url: &str) -> String {
    let (_, body) = get(url.strip_prefix("http://").unwrap(), "/metrics");
    String::from_utf8(body).unwrap()
}

/// The values of a metric by its labels.
fn values(text: &str, name: &str) -> BTreeMap<String, f64> {
    let begin = format!("countersign_monitor_{name}{{");
    let line = |l: &str| {
        let (labels, value) = l.strip_prefix(&begin)?.rsplit_once("} ")?;
        Some((labels.to_owned(), value.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}
