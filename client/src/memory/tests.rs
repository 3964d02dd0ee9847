#![allow(clippy::unwrap_used)]

use super::*;
use ledger::state::{Current, Leaves};

fn checkpoint(size: u64, view_time: u64) -> SeenCheckpoint {
    SeenCheckpoint {
        checkpoint: format!("the note of size {size}, seen at {view_time}"),
        size,
        root: "0".repeat(64),
        view_time,
    }
}

fn head(size: u64, version: u64) -> SeenHead {
    let leaves = Leaves {
        root: [0; 32],
        size: 1,
    };
    let project = Current {
        statement: [2; 32],
        version,
    };
    SeenHead {
        size,
        state: StateDocument {
            end_of_life: Vec::new(),
            frozen: false,
            leaves,
            project,
            revoked: Vec::new(),
            withdrawn: [0; 32],
        },
    }
}

#[test]
fn a_name_is_remembered_of_its_project_alone() {
    let (one, other) = (release_key(&[1; 32], "x.sh"), release_key(&[2; 32], "x.sh"));
    assert_eq!(one, format!("{} x.sh", "01".repeat(32)));
    assert!(one != other && one != release_key(&[1; 32], "y.sh"));
}

#[test]
fn of_two_views_the_larger_stays_and_of_their_times_the_later() {
    let mut memory = Memory::default();
    memory.learn_checkpoint("log", &checkpoint(5, 100));
    memory.learn_checkpoint("log", &checkpoint(4, 300));
    let kept = memory.logs["log"].clone();
    assert_eq!((kept.size, kept.view_time), (5, 300));
    // Of the same size, the note that is there stays: nothing is written anew for it.
    memory.learn_checkpoint("log", &checkpoint(5, 200));
    assert_eq!(memory.logs["log"], kept);
    memory.learn_checkpoint("log", &checkpoint(6, 200));
    let kept = &memory.logs["log"];
    assert_eq!((kept.size, kept.view_time), (6, 300));
    assert!(kept.checkpoint.contains("size 6"));
    memory.learn_checkpoint("another log", &checkpoint(1, 1));
    assert_eq!(memory.logs["log"].size, 6);
}

#[test]
fn of_two_heads_and_of_two_releases_the_one_that_is_there_stays_until_a_later_one() {
    let mut memory = Memory::default();
    let proven = |size, head_version, index, version: &str| crate::verify::Proven {
        project: [1; 32],
        artifact: "x.sh".into(),
        checkpoint: checkpoint(size, 0),
        head: head(size, head_version),
        release: SeenRelease {
            index,
            version: version.into(),
        },
    };
    memory.learn("log", &proven(5, 1, 3, "1.0"));
    let before = memory.clone();
    for (size, index) in [(4, 3), (5, 3), (5, 2), (4, 2)] {
        memory.learn("log", &proven(size, 9, index, "other"));
        assert_eq!(memory, before, "size {size}, index {index}");
    }
    memory.learn("log", &proven(6, 2, 4, "1.1"));
    let project = &memory.projects[&"01".repeat(32)];
    assert_eq!((project.size, project.state.project.version), (6, 2));
    let release = &memory.releases[&release_key(&[1; 32], "x.sh")];
    assert_eq!((release.index, release.version.as_str()), (4, "1.1"));
}

#[test]
fn what_another_process_remembered_meanwhile_is_judged_by_before_it_is_learnt() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    let proven = |name: &str, size, index| crate::verify::Proven {
        project: [1; 32],
        artifact: name.into(),
        checkpoint: checkpoint(size, 0),
        head: head(size, 1),
        release: SeenRelease {
            index,
            version: "1".into(),
        },
    };
    let (mut slow, mut fast) = (Memory::default(), Memory::default());
    let newest = proven("x.sh", 9, 7);
    assert!(fast.learn_judged(&path, "log", &newest).unwrap());
    // A newer view, and a newer release: nothing of the older one is written over them.
    let on_disk = std::fs::read(&path).unwrap();
    let older = proven("x.sh", 5, 3);
    assert!(!slow.learn_judged(&path, "log", &older).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), on_disk);
    assert_eq!(slow, Memory::load(&path).unwrap());
    // Judged again, by what is known now, it may be learnt, and sets nothing back.
    assert!(slow.learn_judged(&path, "log", &older).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), on_disk);
    // What is remembered of another log and another name is kept, and is no reason.
    let other = proven("y.sh", 9, 8);
    assert!(fast.learn_judged(&path, "log", &other).unwrap());
    assert!(slow.learn_judged(&path, "log", &newest).unwrap());
    assert_eq!(slow.releases.len(), 2);
    // Another tree of the same size is what the next judge sees, not what was proven here.
    let mut forked = proven("x.sh", 9, 7);
    forked.checkpoint.root = "1".repeat(64);
    let mut third = Memory::default();
    third.learn("log", &forked);
    assert!(!third.learn_judged(&path, "log", &forked).unwrap());
    assert_eq!(third.logs["log"].root, "0".repeat(64));
}

/// A head is no release: what was seen of the same log meanwhile must be connected with it first.
#[test]
fn a_checkpoint_that_another_process_remembered_is_not_written_over_unseen() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    let learn = |memory: &mut Memory, size| {
        let about = |m: &Memory| m.logs.get("log").map(|s| (s.size, s.root.clone()));
        let seen = checkpoint(size, 0);
        let learnt = memory.take_up(&path, about, |m| {
            m.learn_head("log", &[1; 32], &seen, &head(size, 1));
        });
        learnt.unwrap()
    };
    let (mut slow, mut fast) = (Memory::default(), Memory::default());
    assert!(learn(&mut fast, 10));
    assert!(
        !learn(&mut slow, 12),
        "10 is not known to be of one history with 12"
    );
    assert_eq!(Memory::load(&path).unwrap().logs["log"].size, 10);
    assert_eq!(slow.logs["log"].size, 10);
    assert!(learn(&mut slow, 12));
    assert_eq!(Memory::load(&path).unwrap().logs["log"].size, 12);
}

#[test]
fn what_others_remembered_of_the_same_size_or_index_changes_nothing() {
    let proven = |version: &str| crate::verify::Proven {
        project: [1; 32],
        artifact: "x.sh".into(),
        checkpoint: checkpoint(9, 0),
        head: head(9, 1),
        release: SeenRelease {
            index: 7,
            version: version.into(),
        },
    };
    let (mut ours, mut theirs) = (Memory::default(), Memory::default());
    let one = proven("1");
    ours.learn("log", &one);
    let mut other = proven("2");
    other.head = head(9, 2);
    theirs.learn("log", &other);
    let about = |m: &Memory| (m.projects.clone(), m.releases.clone());
    let before = about(&ours);
    assert!(!ours.join(&theirs, about));
    assert!(about(&ours) == before);
    // Newer ones do, and older ones do not.
    let mut newer = proven("3");
    (newer.head, newer.release.index) = (head(10, 3), 8);
    theirs.learn("log", &newer);
    let kept = theirs.clone();
    assert!(!theirs.join(&ours, about));
    assert!(about(&theirs) == about(&kept));
    assert!(ours.join(&theirs, about));
    assert!(about(&ours) == about(&theirs));
}

#[test]
fn another_process_is_waited_for_and_not_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    let held = lock(&path).unwrap();
    let error = lock_within(&path, Duration::from_millis(20)).unwrap_err();
    assert!(matches!(error, MemoryError::Unwritable { .. }), "{error}");
    let other = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(held);
    });
    assert!(lock_within(&path, Duration::from_secs(50)).is_ok());
    other.join().unwrap();
}

#[test]
fn a_memory_that_is_whole_and_cannot_be_written_is_no_error_where_nothing_is_new() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    let mut memory = Memory::default();
    memory.learn_checkpoint("log", &checkpoint(5, 100));
    memory.save(&path).unwrap();
    let _held = lock(&path).unwrap();
    let mut other = Memory::load(&path).unwrap();
    let learn = |m: &mut Memory| m.learn_checkpoint("log", &checkpoint(4, 100));
    assert!(other.take_up(&path, |_| (), learn).unwrap());
}

#[test]
fn a_memory_that_cannot_be_read_is_no_empty_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    assert_eq!(Memory::load(&path).unwrap(), Memory::default());
    // A directory in its place is there, and is no file.
    let error = Memory::load(directory.path()).unwrap_err();
    assert!(matches!(error, MemoryError::Io { .. }), "{error}");
    let mut memory = Memory::default();
    memory.learn_checkpoint("log", &checkpoint(5, 100));
    memory.save(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    for (what, changed) in [
        ("nothing", String::new()),
        ("half", text[..text.len() / 2].to_owned()),
        ("another version", text.replace("/v1", "/v2")),
        (
            "no version",
            text.replace("\"apiVersion\":\"countersign/v1\",", ""),
        ),
        ("an unknown field", text.replacen('{', "{\"aa\":1,", 1)),
        ("a field twice", text.replacen('{', "{\"logs\":{},", 1)),
    ] {
        assert_ne!(changed, text, "{what}");
        std::fs::write(&path, changed).unwrap();
        let error = Memory::load(&path).unwrap_err();
        assert!(
            matches!(error, MemoryError::Malformed { .. }),
            "{what}: {error}"
        );
    }
}

#[test]
fn what_is_known_already_is_not_written_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    let mut memory = Memory::default();
    let learn = |m: &mut Memory| m.learn_checkpoint("log", &checkpoint(5, 100));
    memory.take_up(&path, |_| (), learn).unwrap();
    assert_eq!(Memory::load(&path).unwrap().logs, memory.logs);
    let spaced = format!("{} ", std::fs::read_to_string(&path).unwrap());
    std::fs::write(&path, &spaced).unwrap();
    memory.take_up(&path, |_| (), learn).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), spaced);
    // Another process knows it already: its file stays as it is, and this one knows it then too.
    let mut newer = Memory::default();
    newer.learn_checkpoint("log", &checkpoint(5, 100));
    newer.learn_checkpoint("another log", &checkpoint(7, 100));
    newer.save(&path).unwrap();
    let file = std::fs::read_to_string(&path).unwrap();
    let spaced = format!("{file} ");
    std::fs::write(&path, &spaced).unwrap();
    let mut late = Memory::default();
    late.take_up(&path, |_| (), learn).unwrap();
    assert_eq!(late.logs, newer.logs);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), spaced);
}

#[test]
fn a_memory_that_cannot_be_written_is_an_error_and_stays_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    std::fs::create_dir(directory.path().join("state.json.lock")).unwrap();
    let mut memory = Memory::default();
    let learn = |m: &mut Memory| m.learn_checkpoint("log", &checkpoint(5, 100));
    let error = memory.take_up(&path, |_| (), learn).unwrap_err();
    assert!(matches!(error, MemoryError::Unwritable { .. }), "{error}");
    assert_eq!(memory, Memory::default());
    assert!(!path.exists());
    let file = directory.path().join("file");
    std::fs::write(&file, b"not a directory").unwrap();
    let error = memory.save(&file.join("state.json")).unwrap_err();
    assert!(matches!(error, MemoryError::Unwritable { .. }), "{error}");
}

#[test]
fn an_older_view_needs_a_refresh_where_what_is_withdrawn_differs() {
    let remembered = head(9, 1);
    assert!(not_stale(&remembered, 5, &head(5, 1).state).is_ok());
    let mut other = head(5, 1).state;
    other.withdrawn = [1; 32];
    let error = not_stale(&remembered, 5, &other).unwrap_err();
    assert_eq!(error.kind(), "needs-refresh");
}

#[test]
fn a_release_is_as_new_as_the_newest_that_was_seen() {
    assert!(not_older(5, None).is_ok());
    assert!(not_older(5, Some(5)).is_ok() && not_older(6, Some(5)).is_ok());
    assert_eq!(not_older(4, Some(5)).unwrap_err().kind(), "rollback");
}
