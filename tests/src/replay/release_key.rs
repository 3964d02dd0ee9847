//! The attacker has the project's release key, too: what they release verifies.

use super::Scene;
use super::jobs::{Dropbox, Job, altered, uploader};
use super::storage::verified_by_a_stranger;
use super::world::{PROJECT, ROOTS, World, until};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Seconds that careful jobs wait before they trust a release: in life a day.
const MIN_AGE: u64 = 12;

pub fn replay(scene: &mut Scene) {
    scene.act("The attacker has the release key as well");
    let mut world = World::new(&format!("min-age = {MIN_AGE}\nmax-age = 86400"));
    let released = Instant::now();
    let dropbox = Dropbox::open();
    world.monitor("1.0");
    let quiet = world.watch();
    assert_eq!(quiet, 0, "{}", world.alerts());
    scene.tell(
        "",
        &format!("careful jobs have min-age in their policy: {MIN_AGE} s here, a day in life"),
    );
    let careful = Job::new(&world, "careful");
    let latest = format!("{PROJECT}@latest");
    until("1.0 is old enough", || {
        released.elapsed() > Duration::from_secs(MIN_AGE + 1)
    });
    let said = careful.new_way(&world, "jobs.toml", &latest);
    scene.shown("they run 1.0, which is old enough", said.code == 0, &|| {
        said.err.clone()
    });

    scene.tell(
        "",
        "the attacker signs 1.1 with the stolen key, logs it, and uploads it",
    );
    let before = Instant::now();
    world.publish("1.1", &altered("1.1", &dropbox), "release");
    world.upload("1.1");
    let said = careful.new_way(&world, "jobs.toml", &latest);
    // On a machine so slow that it is old enough by now, by those who wait a day.
    let young = before.elapsed() < Duration::from_secs(MIN_AGE);
    let least = |seconds: u64| format!("min-age = {seconds}");
    world.point("jobs.toml", "day.toml", &least(MIN_AGE), &least(86_400));
    let said = match young {
        true => said,
        false => careful.new_way(&world, "day.toml", &latest),
    };
    scene.shown(
        "careful jobs do not run what has been public for so short a time",
        said.code == 121 && said.err.contains("[time]"),
        &|| said.err.clone(),
    );
    let code = world.watch();
    scene.shown(
        "the owner's monitor tells of a release that nobody announced (exit code 5)",
        code == 5 && world.alerts().contains("unexpected-release"),
        &|| format!("exit code {code}\n{}", world.alerts()),
    );
    // Jobs without min-age have run it meanwhile.
    let hasty = Job::new(&world, "hasty");
    let by_url = format!("{} --version 1.1", world.at("1.1"));
    let said = hasty.new_way(&world, "hasty.toml", &by_url);
    assert_eq!(said.code, 0, "{}", said.err);
    let old = Job::new(&world, "old");
    assert_eq!(old.old_way(&world.at("1.1")), 0);
    scene.shown(
        "a job without min-age ran it, and what was withheld from it did not leave; `curl | sh` lost its secret",
        dropbox.has("CI_JOB=hasty") && !dropbox.has(&hasty.secret) && dropbox.has(&old.secret),
        &|| format!("{} messages", dropbox.count()),
    );

    let (stolen, first) = (world.release.clone(), world.index("1.1"));
    world.ok("keys generate --unencrypted --out release2");
    world.ok(&format!(
        "keys rotate --old {stolen} --new release2 {ROOTS}"
    ));
    world.ok(&format!(
        "keys revoke {stolen} --reason stolen~from~a~build~machine --compromised-since {first} {ROOTS}"
    ));
    scene.tell(
        "",
        "the owner replaces the key, and revokes the old one from 1.1 on",
    );
    let again = hasty.new_way(&world, "hasty.toml", &by_url);
    let back = careful.new_way(&world, "jobs.toml", &latest);
    scene.shown(
        "nobody runs 1.1 any more, and the latest that stands is 1.0 again",
        again.code == 121 && again.err.contains("[void]") && back.code == 0,
        &|| format!("{}{}", again.err, back.err),
    );
    let said = world.client(&format!(
        "affected --json --receipts {} {}",
        hasty.receipts().display(),
        careful.receipts().display()
    ));
    let answer: Value = serde_json::from_slice(&said.out).unwrap();
    let affected = answer["affected"].as_array().unwrap();
    scene.shown(
        "`affected` names exactly the job that ran it, and which variables and repositories it exposed",
        said.code == 1
            && affected.len() == 1
            && affected[0]["host"] == "hasty"
            && affected[0]["window"]["from"]["index"] == first
            && affected[0]["exposed"]["environment"] == serde_json::json!(["CI", "CI_JOB", "PATH"]),
        &|| answer.to_string(),
    );
    let said = world.client("scan jobs --json");
    let answer: Value = serde_json::from_slice(&said.out).unwrap();
    let findings = answer["findings"].as_array().unwrap();
    scene.shown(
        "`scan` finds the file that the job without receipts kept",
        said.code == 1
            && findings.len() == 1
            && findings[0]["kind"] == "void"
            && findings[0]["file"].as_str().unwrap().contains("/old/"),
        &|| answer.to_string(),
    );
    world.publish("1.2", &uploader("1.2"), "release2");
    let said = world.client(&format!(
        "incident report {PROJECT} --key {stolen} --out report"
    ));
    scene.shown(
        "the report about the key is written",
        said.code == 0,
        &|| said.err.clone(),
    );
    verified_by_a_stranger(&mut world, "report", scene);
}
