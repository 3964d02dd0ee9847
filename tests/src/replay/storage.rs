//! As in 2021: the attacker has the storage key, and nothing else.

use super::jobs::{Dropbox, Job, agent, altered, uploader};
use super::store::StorageKey;
use super::world::{CONTACT, PROJECT, ROOTS, World, file};
use super::{Scene, date};
use crate::archives::image;
use countersign::cmd::common::{now, time};
use countersign::contents::{Limits, Place, Problem, Sink, Visitor, walk};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

pub fn replay(days: u32, scene: &mut Scene) {
    scene.act("The storage key leaks, as in 2021");
    let mut world = World::new("max-age = 86400");
    let began = now();
    let dropbox = Dropbox::open();
    scene.tell(
        "before",
        "acme releases its uploader 1.0, and serves it from cloud storage; a monitor watches",
    );
    world.ok(&format!(
        "keys note external:storage --project {PROJECT} --generated-by the~release~engineer \
         --generated-at 2020-12-01T09:00:00Z --custody a~file~in~the~build~image \
         --used-at the~upload~job --key release --yes"
    ));
    world.monitor("1.0");
    // The note is the owner's own: nobody announced it, so it is acknowledged once.
    world.watch();
    world.heard();
    let code = world.watch();
    scene.shown(
        "the monitor has nothing to say while the storage serves what was released",
        code == 0,
        &|| format!("exit code {code}\n{}", world.alerts()),
    );
    let leaked = leak(&world, scene);

    scene.act("Two months, day by day");
    let (exposed, ran) = months(&world, &leaked, &dropbox, days, scene);

    scene.act("The answer, on 1 April");
    answer(&mut world, &leaked, scene);
    who_is_affected(&world, &exposed, ran, scene);
    report(&mut world, began, &dropbox, scene);
}

/// The key lies in a layer that a later one deletes; the attacker takes it from there.
fn leak(world: &World, scene: &mut Scene) -> StorageKey {
    let key = world.storage_key.file();
    let (saved, layers) = image(&[
        vec![("etc/os-release", b"a system\n")],
        vec![("root/.boto", key.as_bytes())],
        vec![("root/.wh..boto", b"")],
    ]);
    fs::write(world.path("build-image.tar"), &saved).unwrap();
    scene.tell(
        "before",
        "a public image has the storage key in a layer, which the next layer deletes",
    );
    let said = world.client(&format!(
        "publish build-image.tar --project {PROJECT} --version image-1 --key release"
    ));
    let layer = format!("sha256:{}", layers[1]);
    scene.shown(
        "`countersign publish` refuses this image, and names file, layer and rule, and not the secret",
        said.code == 2
            && ["[key-material]", &layer, "root/.boto", "gcs-hmac"].iter().all(|s| said.err.contains(s))
            && !said.err.contains(&world.storage_key.secret),
        &|| said.err.clone(),
    );
    struct Find(Vec<String>);
    struct Text(Vec<u8>);
    impl Sink for Text {
        fn bytes(&mut self, bytes: &[u8]) {
            self.0.extend_from_slice(bytes);
        }
    }
    impl Visitor for Find {
        type Sink = Text;
        fn open(&mut self, _: &Place, _: bool) -> Text {
            Text(Vec::new())
        }
        fn close(&mut self, place: &Place, sink: Text) {
            if place.name() == ".boto" {
                self.0.push(String::from_utf8_lossy(&sink.0).into_owned());
            }
        }
        fn problem(&mut self, _: &Place, _: Problem) {}
    }
    scene.tell(
        "before",
        "in 2021 there was no guard: the image is uploaded, and the attacker pulls it as anybody can",
    );
    let image = "build-image.tar";
    assert_eq!(world.store.put(&world.storage_key, image, &saved), 200);
    let place = format!("{}/{image}", world.store.url);
    let pulled = agent().get(place).call().unwrap().into_body();
    let pulled = pulled.into_with_config().limit(1 << 20).read_to_vec();
    fs::write(world.path("pulled.tar"), pulled.unwrap()).unwrap();
    let mut find = Find(Vec::new());
    walk(&world.path("pulled.tar"), &Limits::default(), &mut find);
    let leaked = StorageKey::read(&find.0[0]);
    let unsigned = agent().put(world.at("1.0")).send(b"x".as_slice()).unwrap();
    let (without, with) = (unsigned.status(), world.store.put(&leaked, "probe", b"x"));
    scene.shown(
        "its layers hold the key: the storage takes nothing that is not signed, and takes what this key signs",
        without == 403 && with == 200 && leaked.secret == world.storage_key.secret,
        &|| format!("status {without} without a key, {with} with it"),
    );
    leaked
}

/// Gives the old-way jobs that ran the altered script, and how many new-way jobs ran.
fn months(
    world: &World,
    leaked: &StorageKey,
    dropbox: &Dropbox,
    days: u32,
    scene: &mut Scene,
) -> (BTreeSet<String>, u64) {
    let good = fs::read(world.path(&file("1.0"))).unwrap();
    let bad = altered("1.0", dropbox);
    let url = world.at("1.0");
    let (mut exposed, mut ran, mut told) = (BTreeSet::new(), 0, false);
    for day in 0..days {
        // Off and on.
        let on = day % 5 != 4;
        let bytes = if on { bad.as_bytes() } else { &good[..] };
        assert_eq!(world.store.put(leaked, &file("1.0"), bytes), 200);
        let old = Job::new(world, &format!("old-{day}"));
        let new = Job::new(world, &format!("new-{day}"));
        let code = old.old_way(&url);
        assert_eq!(code, 0, "the old way notices nothing");
        assert_eq!(dropbox.has(&old.secret), on, "{}", old.name);
        let said = new.new_way(world, "jobs.toml", &format!("{url} --version 1.0"));
        assert!(!dropbox.has(&new.secret), "{} leaked", new.name);
        if on {
            exposed.insert(old.name.clone());
            let refused = said.code == 121 && said.err.contains("[size-mismatch]");
            assert!(refused && said.err.contains(CONTACT), "{}", said.err);
            assert!(!new.receipts().exists(), "a receipt of what was refused");
        } else {
            assert_eq!(said.code, 0, "{}", said.err);
            ran += 1;
        }
        let watched = world.watch();
        if on && !told {
            told = true;
            let digest = ledger::hex32(&ledger::sha256(bad.as_bytes()));
            let kept = world.path(&format!("monitor/quarantine/{digest}.bin"));
            scene.tell(
                &date(day),
                "the attacker adds one line to the uploader in the storage",
            );
            scene.shown(
                "the storage watch alerts at its first visit (exit code 6) and keeps the bytes",
                watched == 6
                    && fs::read(&kept).is_ok_and(|b| b == bad.as_bytes())
                    && world.alerts().contains("bytes-not-logged"),
                &|| format!("exit code {watched}\n{}", world.alerts()),
            );
            scene.tell("", "for this replay nobody acts on it until April");
        }
    }
    let last = date(days.saturating_sub(1));
    scene.tell(
        &last,
        &format!(
            "{days} days replayed, the line in place on {} of them",
            exposed.len()
        ),
    );
    scene.shown(
        &format!(
            "the old way ran it on each of these {} days, exit code 0, and every job's secret left",
            exposed.len()
        ),
        dropbox.count() == exposed.len() && !exposed.is_empty(),
        &|| format!("{} messages", dropbox.count()),
    );
    scene.shown(
        &format!("`countersign run` refused it each time, naming {CONTACT}, and ran on the {ran} other days; no secret left"),
        ran > 0,
        &|| "there was no day between".to_owned(),
    );
    (exposed, ran)
}

fn answer(world: &mut World, leaked: &StorageKey, scene: &mut Scene) {
    let shown = world.ok(&format!("keys show external:storage --project {PROJECT}"));
    scene.shown(
        "the owner answers for the storage key: when it was generated and by whom, and where it is used",
        ["2020-12-01", "the release engineer", "the upload job", "a file in the build image"]
            .iter()
            .all(|s| shown.contains(s)),
        &|| shown.clone(),
    );
    let listed = world.ok(&format!("keys list --project {PROJECT}"));
    let id = world.release.get(..8).unwrap_or_default();
    scene.shown(
        "`keys list` has every key, the one that leaked among them",
        ["external:storage", id].iter().all(|s| listed.contains(s)),
        &|| listed.clone(),
    );
    let new = StorageKey::generate();
    world.store.rotate(&new);
    world.storage_key = new;
    let status = world.store.put(leaked, &file("1.0"), b"x");
    world.upload("1.0");
    scene.shown(
        "how it is revoked: the storage has a new key, and takes nothing signed with the old one",
        status == 403,
        &|| format!("status {status}"),
    );
    world.ok(&format!(
        "keys note external:storage --project {PROJECT} --custody revoked~and~replaced~on~1~April --key release --yes"
    ));
    let old = world.release.clone();
    world.ok("keys generate --unencrypted --out release2");
    world.ok(&format!("keys rotate --old {old} --new release2 {ROOTS}"));
    world.ok(&format!(
        "keys revoke {old} --reason replaced~after~the~incident {ROOTS}"
    ));
    world.publish("1.1", &uploader("1.1"), "release2");
    world.upload("1.1");
    let (one, two) = (Job::new(world, "after-1"), Job::new(world, "after-2"));
    let first = one.new_way(
        world,
        "jobs.toml",
        &format!("{} --version 1.0", world.at("1.0")),
    );
    let second = two.new_way(
        world,
        "jobs.toml",
        &format!("{} --version 1.1", world.at("1.1")),
    );
    scene.shown(
        "the release key is replaced and revoked; 1.0 from before stands, and 1.1 is by the new key",
        (first.code, second.code) == (0, 0),
        &|| format!("{}{}", first.err, second.err),
    );
}

fn who_is_affected(world: &World, exposed: &BTreeSet<String>, ran: u64, scene: &mut Scene) {
    let mut receipts = String::new();
    for entry in fs::read_dir(world.path("jobs")).unwrap() {
        let file = entry.unwrap().path().join("receipts.jsonl");
        if file.exists() {
            receipts += &format!(" {}", file.display());
        }
    }
    let said = world.client(&format!("affected --json --receipts{receipts}"));
    let answer: Value = serde_json::from_slice(&said.out).unwrap();
    scene.shown(
        "`affected`: of all jobs that ran the new way, none trusted anything bad",
        said.code == 0 && answer["receipts"] == ran + 2 && answer["affectedRuns"] == 0,
        &|| format!("{answer}\n{}", said.err),
    );
    let said = world.client("scan jobs --json");
    let answer: Value = serde_json::from_slice(&said.out).unwrap();
    let jobs = world.path("jobs").canonicalize().unwrap();
    let found = answer["findings"].as_array().unwrap().iter();
    let found: BTreeSet<String> = found
        .map(|f| {
            assert_eq!(f["kind"], "unknown-digest");
            let file = std::path::Path::new(f["file"].as_str().unwrap());
            let name = file
                .strip_prefix(&jobs)
                .unwrap()
                .components()
                .next()
                .unwrap();
            name.as_os_str().to_string_lossy().into_owned()
        })
        .collect();
    scene.shown(
        &format!(
            "`scan` finds the altered script in the directories of exactly the {} jobs that ran it",
            exposed.len()
        ),
        said.code == 1 && found == *exposed,
        &|| format!("{found:?}\n{exposed:?}"),
    );
}

fn report(world: &mut World, began: u64, dropbox: &Dropbox, scene: &mut Scene) {
    let said = world.client(&format!(
        "incident report {PROJECT} --since {} --until {} --quarantine monitor/quarantine --out report",
        time(began.saturating_sub(60)),
        time(now() + 60)
    ));
    let digest = ledger::hex32(&ledger::sha256(altered("1.0", dropbox).as_bytes()));
    let html = fs::read_to_string(world.path("report/report.html")).unwrap_or_default();
    scene.shown(
        "the report is written: for people, for machines, with the altered script from the quarantine",
        said.code == 0 && html.contains(&digest) && html.contains(CONTACT),
        &|| said.err.clone(),
    );
    verified_by_a_stranger(world, "report", scene);
}

/// The log is gone; whoever has the report and a policy verifies each line.
pub fn verified_by_a_stranger(world: &mut World, report: &str, scene: &mut Scene) {
    world.log.take().unwrap().stop().unwrap();
    let args = format!("incident verify {report} --state stranger.json --json");
    let said = world.client(&args);
    scene.shown(
        "a stranger verifies each line of its timeline, with nothing but the report and the policy, offline",
        said.code == 0,
        &|| format!("{}{}", String::from_utf8_lossy(&said.out), said.err),
    );
    let path = world.path(&format!("{report}/report.json"));
    let text = fs::read_to_string(&path).unwrap();
    let at = text.find("\"time\":").unwrap() + 7;
    let mut changed = text.clone().into_bytes();
    changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
    fs::write(&path, changed).unwrap();
    let said = world.client(&args);
    scene.shown(
        "and one changed digit in it is refused",
        said.code == 1,
        &|| format!("exit code {}", said.code),
    );
    fs::write(&path, text).unwrap();
}
