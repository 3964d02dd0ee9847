//! The breach of 2021 replayed, in its short form, each variant.

use countersign_tests::replay::{Scene, Variant, replay};

fn short(variant: Variant, least: usize) {
    let mut scene = Scene::new(true);
    replay(variant, 6, &mut scene);
    let (shown, _) = scene.end();
    assert!(shown >= least, "{shown} things shown");
}

#[test]
fn the_storage_key_leaks() {
    short(Variant::Storage, 12);
}

#[test]
fn the_release_key_is_stolen() {
    short(Variant::ReleaseKey, 9);
}

#[test]
fn the_log_is_the_attacker_s() {
    short(Variant::Log, 5);
}

#[test]
fn a_revocation_is_hidden() {
    short(Variant::HiddenRevocation, 4);
}
