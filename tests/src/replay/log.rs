//! The attacker runs the log and has the release key: they show some clients another history, in
//! which there is a release that the owner's monitor never sees.

use super::Scene;
use super::jobs::{Dropbox, Job, agent, altered, uploader};
use super::world::{PROJECT, World, file, until};
use std::fs;

pub fn replay(scene: &mut Scene) {
    scene.act("The attacker runs the log");
    let mut world = World::new("max-age = 86400");
    let dropbox = Dropbox::open();
    world.copy_log("fork");
    let main = world.url().to_owned();
    world.publish("1.1", &uploader("1.1"), "release");
    world.upload("1.1");
    let honest = world.path("honest.bundle");
    fs::copy(world.path("uploader-1.1.sh.bundle"), honest).unwrap();
    let careless = Job::new(&world, "careless");
    without_witnesses(&world, "jobs.toml", "careless.toml");
    let by_url = format!("{} --version 1.1", world.at("1.1"));
    let said = careless.new_way(&world, "careless.toml", &by_url);
    assert_eq!(said.code, 0, "{}", said.err);

    scene.tell(
        "",
        "from a copy of its data the log goes on twice; the other history has an altered 1.1",
    );
    let fork = world.serve_copy("fork", "");
    world.point("careless.toml", "thief.toml", &main, &fork.url);
    let evil = altered("1.1", &dropbox);
    fs::write(world.path(&file("1.1")), &evil).unwrap();
    let publish = format!(
        "publish {} --project {PROJECT} --version 1.1 --key release --policy thief.toml --state thief.json",
        file("1.1")
    );
    world.ok(&publish);
    world.upload("1.1");

    // Whoever answers at the log's address answers so.
    world.point("jobs.toml", "lured.toml", &main, &fork.url);
    let victim = Job::new(&world, "victim");
    let said = victim.new_way(&world, "lured.toml", &by_url);
    scene.shown(
        "no witness has cosigned it: `countersign run` refuses",
        said.code == 121 && said.err.contains("[quorum-not-met]"),
        &|| said.err.clone(),
    );
    world.point("careless.toml", "lured-careless.toml", &main, &fork.url);
    let said = careless.new_way(&world, "lured-careless.toml", &by_url);
    let evidence = said
        .err
        .lines()
        .find_map(|l| l.trim().strip_prefix("evidence: "));
    let evidence = evidence.map(str::to_owned);
    scene.shown(
        "a job that asks for no witness, but remembers, sees the fork and keeps the evidence",
        said.code == 121 && said.err.contains("[fork]") && evidence.is_some(),
        &|| said.err.clone(),
    );
    fs::copy(evidence.unwrap(), world.path("fork.json")).unwrap();
    let said = world.client("evidence verify fork.json");
    scene.shown(
        "anybody verifies that evidence, offline",
        said.code == 0,
        &|| said.err.clone(),
    );
    scene.shown("nothing of it ran", dropbox.count() == 0, &|| {
        dropbox.count().to_string()
    });

    witness_is_asked(&world, &fork.url, scene);
}

/// The attacker asks a witness to cosign the other history, as a log does.
fn witness_is_asked(world: &World, fork: &str, scene: &mut Scene) {
    let read = |url: String| {
        let body = agent()
            .get(url)
            .call()
            .unwrap()
            .into_body()
            .read_to_string();
        body.unwrap()
    };
    let note = read(format!("{fork}/checkpoint"));
    let size: u64 = note.lines().nth(1).unwrap().parse().unwrap();
    until("the witness has cosigned as much of the log", || {
        let seen = read(format!("{}/checkpoint", world.url()));
        seen.lines().nth(1) == Some(&size.to_string()) && seen.contains("w1.example")
    });
    let url = format!("{}/add-checkpoint", world.witness(0));
    let body = format!("old {size}\n\n{note}");
    let answer = agent().post(url).send(body.as_bytes()).unwrap();
    let status = answer.status().as_u16();
    let kept = fs::read_dir(world.path("w1/evidence")).unwrap().flatten();
    let kept: Vec<_> = kept
        .map(|e| e.path())
        .filter(|p| {
            p.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("fork-")
        })
        .collect();
    let verified = kept.first().is_some_and(|p| {
        world
            .client(&format!("evidence verify {}", p.display()))
            .code
            == 0
    });
    scene.shown(
        "a witness refuses to cosign it, and keeps evidence that anybody verifies",
        status >= 400 && verified,
        &|| format!("status {status}, {kept:?}"),
    );
}

/// A policy that asks for no witness.
pub fn without_witnesses(world: &World, from: &str, to: &str) {
    let text = fs::read_to_string(world.path(from)).unwrap();
    let mut policy: toml::Table = text.parse().unwrap();
    policy.insert("witnesses".into(), "quorum none\n".into());
    policy.remove("max-age");
    policy.remove("min-age");
    fs::write(world.path(to), policy.to_string()).unwrap();
}
