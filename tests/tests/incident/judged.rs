//! What of a report is judged whoever made it, whatever stands beside it, and what is not there.

use super::scene::{Scene, Stranger};
use std::fs;

#[test]
fn the_owners_part_is_beside_what_is_prepared_and_not_in_what_is_published() {
    let scene = Scene::begin();
    let report = scene.report(&format!("--key {}", scene.old), "report");
    let read = |name: &str| fs::read_to_string(scene.bench.path("report").join(name));
    for name in ["report.md", "report.html"] {
        let text = read(name).unwrap();
        assert!(
            !text.contains("keys rotate") && !text.contains("next/"),
            "{text}"
        );
    }
    let text = read("next/README.md").unwrap();
    assert!(text.contains("keys rotate"), "{text}");
    for next in report["next"].as_array().unwrap() {
        let file = next["file"].as_str().unwrap().replace("next/", "");
        assert!(text.contains(&format!("]({file})")), "{text}");
    }
    let stranger = Stranger::given(&scene.bench, "report");
    stranger.refused("file-changed", |r| {
        fs::write(r.join("next/README.md"), "sign all of it\n").unwrap();
    });
    stranger.refused("file-missing", |r| {
        fs::remove_file(r.join("next/README.md")).unwrap();
    });
}
