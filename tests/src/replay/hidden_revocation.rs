//! The attacker sits between clients and the log, and answers with what was so before the key was
//! revoked.

use super::Scene;
use super::jobs::{Dropbox, Job, altered, uploader};
use super::world::{PROJECT, ROOTS, World, file, until};
use crate::bench::Proxy;
use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Seconds that a view may be old: in life some days.
const MAX_AGE: u64 = 8;

/// What was answered, and whether that is all that is answered from now on.
#[derive(Default)]
struct Recorded {
    answers: BTreeMap<String, Vec<u8>>,
    replays: bool,
}

pub fn replay(scene: &mut Scene) {
    scene.act("The attacker hides a revocation");
    let world = World::new(&format!("max-age = {MAX_AGE}"));
    let dropbox = Dropbox::open();
    let recorded: Arc<Mutex<Recorded>> = Arc::default();
    let with = recorded.clone();
    let between = Proxy::start(world.url(), move |path, answer| {
        let mut recorded = with.lock().unwrap();
        if recorded.replays {
            return recorded.answers.get(path).cloned().unwrap_or_default();
        }
        recorded.answers.insert(path.to_owned(), answer.clone());
        answer
    });
    world.point("jobs.toml", "lured.toml", world.url(), &between.url);
    world.publish("1.1", &altered("1.1", &dropbox), "release");
    world.upload("1.1");
    let by_url = format!("{} --version 1.1", world.at("1.1"));
    scene.tell(
        "",
        "the attacker has the release key, and has released an altered 1.1",
    );
    let first = Job::new(&world, "first");
    let said = first.new_way(&world, "lured.toml", &by_url);
    assert_eq!(said.code, 0, "{}", said.err);
    watched(&world);
    let seen = Instant::now();

    let (stolen, index) = (world.release.clone(), world.index("1.1"));
    world.ok("keys generate --unencrypted --out release2");
    world.ok(&format!(
        "keys rotate --old {stolen} --new release2 {ROOTS}"
    ));
    world.ok(&format!(
        "keys revoke {stolen} --reason stolen --compromised-since {index} {ROOTS}"
    ));
    recorded.lock().unwrap().replays = true;
    scene.tell(
        "",
        "the owner revokes it; the attacker answers for the log as it was before",
    );
    world.watch();
    let code = world.watch();
    scene.shown(
        "the owner's monitor is shown the same, and tells that a witness has seen more (exit code 4)",
        code == 4 && world.alerts().contains("\"cosigned-not-served\""),
        &|| format!("exit code {code}\n{}", world.alerts()),
    );
    let fresh = Job::new(&world, "fresh");
    let said = fresh.new_way(&world, "jobs.toml", &by_url);
    scene.shown(
        "a job that reaches the log does not run it",
        said.code == 121 && said.err.contains("[void]"),
        &|| said.err.clone(),
    );
    let said = fresh.new_way(&world, "lured.toml", &by_url);
    scene.shown(
        "nor does one that did so once, whatever it is shown later: it remembers the revocation",
        said.code == 121 && said.err.contains("[void]"),
        &|| said.err.clone(),
    );
    refresh_is_needed(&world, &between.url, scene);
    until("the old view is too old", || {
        seen.elapsed() > Duration::from_secs(MAX_AGE + 2)
    });
    let late = Job::new(&world, "late");
    let said = late.new_way(&world, "lured.toml", &by_url);
    scene.shown(
        &format!("one that never did refuses the old view after max-age ({MAX_AGE} s here), since no witness has seen it of late"),
        said.code == 121 && said.err.contains("[time]"),
        &|| said.err.clone(),
    );

    // The log's own answer, less the revocation.
    let name = file("1.1");
    world.client(&format!("refresh {name} --project {PROJECT}"));
    let path = world.path(&format!("{name}.bundle"));
    let text = fs::read(&path).unwrap();
    let mut bundle: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let revoked = bundle["head"]["state"]["revoked"].as_array().unwrap().len();
    bundle["head"]["state"]["revoked"] = serde_json::json!([]);
    fs::write(&path, ledger::json::canonical_of(&bundle).unwrap()).unwrap();
    let said = world.client(&format!("verify {name} --state nobody.json"));
    scene.shown(
        "and a head from which the revocation was taken out is not the one that the log committed to",
        revoked == 1 && said.code == 1 && said.err.contains("[bad-map-proof]"),
        &|| format!("{revoked} revoked\n{}", said.err),
    );
}

/// The owner's monitor by the same address; that 1.1 is not the owner's it has said, and was heard.
fn watched(world: &World) {
    world.monitor("1.0");
    world.point("monitor.toml", "monitor.toml", "policy.toml", "lured.toml");
    let code = world.watch();
    assert!(
        code == 5 && world.alerts().contains("unexpected-release"),
        "exit code {code}\n{}",
        world.alerts()
    );
    world.heard();
    // What it asks for from now on is recorded as well.
    assert_eq!(world.watch(), 0, "{}", world.alerts());
}

/// A withdrawal that a job has seen once: older bundles do not say what it is about.
fn refresh_is_needed(world: &World, between: &str, scene: &mut Scene) {
    world.publish("1.2", &uploader("1.2"), "release2");
    world.ok(&format!(
        "withdraw --project {PROJECT} --version 1.2 --reason broken --key release2 --yes"
    ));
    // Without max-age, which would refuse the old view by itself.
    world.point("hasty.toml", "lured-hasty.toml", world.url(), between);
    let by_url = format!("{} --version 1.0", world.at("1.0"));
    let reader = Job::new(world, "reader");
    let said = reader.new_way(world, "hasty.toml", &by_url);
    assert_eq!(said.code, 0, "{}", said.err);
    let said = reader.new_way(world, "lured-hasty.toml", &by_url);
    scene.shown(
        "a job that knows of a newer head takes no bundle that cannot say what was withdrawn since (exit code 123)",
        said.code == 123 && said.err.contains("[needs-refresh]"),
        &|| format!("exit code {}\n{}", said.code, said.err),
    );
}
