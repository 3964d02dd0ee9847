//! `countersign monitor`: follows logs, watches what is served, and tells people
//! ([`crate::monitor`], docs/monitoring.md).

use super::common::now;
use crate::fail::{Fail, visible};
use crate::monitor::alert::Class;
use crate::monitor::book::{Alert, Book};
use crate::monitor::config::Config;
use crate::monitor::service::{Service, acknowledge};
use crate::monitor::sinks::Message;
use crate::monitor::task::Task;
use crate::monitor::{follow, listen, sinks, watch};
use crate::when::time;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of `monitor`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = false,
    after_help = "Exit codes with --once: 0 nothing to report; 4 degraded or operational; 5 unexpected identity; 6 tampering; 2 usage or configuration.\nAn alert counts until it has passed (4), or somebody acknowledged it (5, 6).\n\nA configuration:\n\n  api-version = \"countersign/v1\"\n  state = \"/var/lib/countersign-monitor\"\n  [[log]]\n  policy = \"policy.toml\"                  # log, witnesses, projects\n  expected = { bundles = \"announced\" }     # where your pipeline puts its bundles\n  [[watch]]\n  url = \"https://dl.example.org/tool.sh\"  # compared with the log, as several clients see it\n  [[sink]]\n  name = \"pager\"\n  webhook = \"https://pager.example.org/hook\"\n  secret-file = \"pager.secret\"\n\nAll of it: docs/monitoring.md"
)]
pub struct MonitorArgs {
    /// The configuration
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Look at everything once, tell who is to be told, and end; for cron and CI
    #[arg(long)]
    once: bool,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Option<MonitorCommand>,
}

/// The subcommands of `monitor`.
#[derive(Debug, Subcommand)]
pub enum MonitorCommand {
    /// Acknowledge alerts: they are not repeated, and no longer count in the exit code
    ///
    /// Works whether or not a monitor runs. What is acknowledged, goes away and returns is told
    /// anew.
    Ack(AckArgs),
    /// List the alerts that are open
    Alerts(AlertsArgs),
    /// Read the configuration and everything that it names, and say what would be watched
    Check,
    /// Send a test alert to every sink now
    Canary,
}

/// Arguments of `monitor ack`.
#[derive(Debug, Args)]
pub struct AckArgs {
    /// The alerts' ids, or the first four or more digits of them
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// Who acknowledges [default: the user's name]
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    /// What is known about it
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

/// Arguments of `monitor alerts`.
#[derive(Debug, Args)]
pub struct AlertsArgs {
    /// Those that have passed or were acknowledged, too
    #[arg(long)]
    all: bool,
}

fn tasks(config: &Config) -> Result<Vec<Box<dyn Task>>, Fail> {
    let mut tasks = follow::tasks(config)?;
    tasks.extend(watch::tasks(config)?);
    Ok(tasks)
}

/// Runs `monitor`; returns the exit code.
///
/// # Errors
/// Exit code 2.
pub fn run(args: &MonitorArgs) -> Result<u8, Fail> {
    let path = args.config.as_deref().ok_or_else(|| {
        Fail::usage("no-config", "no configuration is given")
            .hint("give --config FILE; `countersign monitor --help` shows one")
    })?;
    let config = Config::load(path)?;
    if args.once && args.command.is_some() {
        return Err(
            Fail::usage("contradictory", "--once goes with no subcommand")
                .hint("leave out one of the two"),
        );
    }
    match &args.command {
        Some(MonitorCommand::Ack(ack)) => ack_all(ack, &config, args.json).map(|()| 0),
        Some(MonitorCommand::Alerts(list)) => alerts(list, &config, args.json).map(|()| 0),
        Some(MonitorCommand::Check) => check(&config, args.json).map(|()| 0),
        Some(MonitorCommand::Canary) => canary(&config, args.json),
        None => run_all(config, args),
    }
}

fn run_all(config: Config, args: &MonitorArgs) -> Result<u8, Fail> {
    let tasks = tasks(&config)?;
    let address = config.listen.filter(|_| !args.once);
    if config.sinks.is_empty() && !args.once {
        eprintln!(
            "warning: no [[sink]] is configured: nobody is told but those who ask `countersign monitor alerts`"
        );
    }
    let service = Service::open(config)?;
    if args.once {
        let gravest = service.once(tasks)?;
        let book = service.book();
        let open: Vec<(&str, &Alert)> = book.alerts().filter(|(_, a)| a.open()).collect();
        if args.json {
            let alerts: Vec<Value> = open.iter().map(|(id, a)| json_of(id, a)).collect();
            let class = gravest.map(Class::name);
            sayln!("{}", json!({ "gravest": class, "alerts": alerts }));
        } else {
            show(&open);
        }
        return Ok(gravest.map_or(0, Class::exit));
    }
    let service = Arc::new(service);
    if let Some(address) = address {
        let (listener, address) = listen::bind(address)?;
        let service = Arc::clone(&service);
        let listen = move || {
            // Without its metrics it still watches; whoever scrapes it sees that they are gone.
            if let Err(fail) = listen::serve(listener, service) {
                eprint!("{}", fail.human());
            }
        };
        std::thread::spawn(listen);
        eprintln!("metrics and health: listening on http://{address}");
    }
    eprintln!("watching {} things; end with ctrl-c", tasks.len());
    service.for_ever(tasks);
    Ok(0)
}

fn ack_all(args: &AckArgs, config: &Config, json: bool) -> Result<(), Fail> {
    let user = || std::env::var("USER").unwrap_or_else(|_| "unknown".into());
    let by = args.by.clone().unwrap_or_else(user);
    // All or none: an id that is wrong is seen before anything is done.
    let book = Book::open(&config.state)?;
    for id in &args.ids {
        book.id_of(id)?;
    }
    for id in &args.ids {
        let (id, open) = acknowledge(&config.state, id, &by, &args.note)?;
        if json {
            sayln!("{}", json!({ "acknowledged": id, "wasOpen": open }));
        } else if open {
            sayln!("acknowledged: {id}");
        } else {
            sayln!("acknowledged: {id} (it was not open)");
        }
    }
    Ok(())
}

fn alerts(args: &AlertsArgs, config: &Config, json: bool) -> Result<(), Fail> {
    let book = Book::open(&config.state)?;
    let mut all: Vec<(&str, &Alert)> = book
        .alerts()
        .filter(|(_, a)| args.all || a.open())
        .collect();
    all.sort_by_key(|(_, a)| (std::cmp::Reverse(a.finding.class), a.first));
    if json {
        let alerts: Vec<Value> = all.iter().map(|(id, a)| json_of(id, a)).collect();
        sayln!("{}", json!({ "alerts": alerts }));
    } else {
        show(&all);
    }
    Ok(())
}

fn check(config: &Config, json: bool) -> Result<(), Fail> {
    let tasks = tasks(config)?;
    let sinks = sinks::Ready::all(config)?;
    if json {
        let tasks: Vec<Value> = tasks
            .iter()
            .map(|t| json!({ "task": visible(t.name()), "every": t.every() }))
            .collect();
        let sinks: Vec<&str> = sinks.iter().map(sinks::Ready::name).collect();
        sayln!("{}", json!({ "tasks": tasks, "sinks": sinks }));
        return Ok(());
    }
    for task in &tasks {
        sayln!("{}, every {} s", visible(task.name()), task.every());
    }
    for sink in &sinks {
        sayln!("tells {}", visible(sink.name()));
    }
    Ok(())
}

fn canary(config: &Config, json: bool) -> Result<u8, Fail> {
    let mut worst = 0;
    for sink in sinks::Ready::all(config)? {
        let at = now();
        let sent = sink.send(&Message::canary(sink.name(), at), at);
        let why = sent.err();
        if why.is_some() {
            worst = Class::Operational.exit();
        }
        if json {
            sayln!(
                "{}",
                json!({ "sink": visible(sink.name()), "arrived": why.is_none(), "why": why.map(|w| visible(&w)) })
            );
        } else {
            match why {
                None => sayln!("{}: arrived", visible(sink.name())),
                Some(why) => sayln!("{}: {}", visible(sink.name()), visible(&why)),
            }
        }
    }
    Ok(worst)
}

fn json_of(id: &str, alert: &Alert) -> Value {
    let finding = &alert.finding;
    let details: Vec<Value> = finding
        .details
        .iter()
        .map(|(n, v)| json!({ "name": visible(n), "value": visible(v) }))
        .collect();
    let ack = alert.acknowledged.as_ref();
    let ack = ack.map(|a| json!({ "time": a.time, "by": a.by, "note": a.note }));
    json!({
        "alert": id, "class": finding.class.name(), "severity": finding.class.severity(), "kind": finding.kind,
        "subject": visible(&finding.subject), "what": visible(&finding.message), "details": details,
        "hint": visible(&finding.hint), "task": visible(&alert.task), "first": alert.first, "last": alert.last,
        "times": alert.times, "gone": alert.gone, "open": alert.open(), "acknowledged": ack,
    })
}

fn show(alerts: &[(&str, &Alert)]) {
    if alerts.is_empty() {
        sayln!("no open alerts");
    }
    for (id, alert) in alerts {
        let finding = &alert.finding;
        sayln!("{id}  {}", finding.class.meaning());
        sayln!("  {} [{}]", visible(&finding.message), finding.kind);
        sayln!("  about: {}", visible(&finding.subject));
        sayln!(
            "  first: {}, last: {}, {} times",
            time(alert.first),
            time(alert.last),
            alert.times
        );
        for (name, value) in &finding.details {
            sayln!("  {}: {}", visible(name), visible(value));
        }
        if let Some(ack) = &alert.acknowledged {
            sayln!(
                "  acknowledged: {} by {} {}",
                time(ack.time),
                ack.by,
                ack.note
            );
        } else if alert.over() {
            sayln!("  over: {}", time(alert.gone.unwrap_or_default()));
        }
        if !finding.hint.is_empty() {
            sayln!("  hint: {}", visible(&finding.hint));
        }
    }
}
