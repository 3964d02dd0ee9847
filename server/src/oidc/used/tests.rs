#![allow(clippy::unwrap_used)]
use super::*;

fn hash(n: u64) -> Hash {
    ledger::sha256(&n.to_be_bytes())
}

const NOW: u64 = 1_790_000_000;

fn take(used: &Used, token: u64, key: u64) -> Result<Turn, &'static str> {
    used.take(hash(token), hash(key), NOW + 300, NOW)
        .map_err(|e| e.kind())
}

#[test]
fn a_token_is_for_one_key_and_its_answer_is_the_same_again() {
    let used = Used::in_memory(10);
    assert_eq!(take(&used, 1, 7), Ok(Turn::First));
    assert_eq!(take(&used, 1, 7), Err("token-in-hand"));
    assert_eq!(take(&used, 1, 8), Err("token-replayed"));
    used.logged(&hash(1), 42);
    assert_eq!(take(&used, 1, 7), Ok(Turn::Again(42)));
    assert_eq!(take(&used, 1, 8), Err("token-replayed"));
    // What is logged is not given back.
    used.give_back(&hash(1));
    assert_eq!(take(&used, 1, 8), Err("token-replayed"));
    assert_eq!(take(&used, 2, 8), Ok(Turn::First));
    used.give_back(&hash(2));
    assert_eq!(take(&used, 2, 7), Ok(Turn::First));
}

#[test]
fn no_more_are_remembered_than_there_is_room_for_and_none_is_forgotten_too_early() {
    let used = Used::in_memory(3);
    for token in 0..3 {
        assert_eq!(take(&used, token, 1), Ok(Turn::First));
    }
    assert_eq!(take(&used, 3, 1), Err("too-many-tokens"));
    assert_eq!(used.len(), 3);
    let later = |token: u64, now: u64| {
        let taken = used.take(hash(token), hash(1), now + 300, now);
        taken.map_err(|e| e.kind())
    };
    // Good in its last second, and remembered there.
    assert_eq!(later(3, NOW + 300), Err("too-many-tokens"));
    assert_eq!(later(3, NOW + 301), Ok(Turn::First));
    assert_eq!(used.len(), 1);
}

#[test]
fn a_restart_forgets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("used");
    let used = Used::open(&path, NOW).unwrap();
    assert!(used.is_empty());
    assert_eq!(take(&used, 1, 7), Ok(Turn::First));
    used.logged(&hash(1), 42);
    assert_eq!(take(&used, 2, 7), Ok(Turn::First));
    let brief = used.take(hash(3), hash(7), NOW + 1, NOW);
    assert_eq!(brief, Ok(Turn::First));
    drop(used);
    let used = Used::open(&path, NOW + 2).unwrap();
    assert_eq!(used.len(), 2);
    // Where its certificate is, nobody knows any more.
    assert_eq!(take(&used, 1, 7), Err("token-replayed"));
    assert_eq!(take(&used, 2, 7), Err("token-replayed"));
    assert_eq!(take(&used, 4, 7), Ok(Turn::First));
    drop(used);
    // A crash in the middle of a line.
    let mut text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 3);
    text.push_str(&text.clone()[..70]);
    std::fs::write(&path, &text).unwrap();
    let used = Used::open(&path, NOW + 2).unwrap();
    assert_eq!(used.len(), 3);
    drop(used);
    // What is no use of a token must not pass for nothing.
    std::fs::write(&path, format!("x\n{text}")).unwrap();
    assert_eq!(Used::open(&path, NOW).err().unwrap().kind(), "io");
}

#[test]
fn the_file_does_not_grow_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("used");
    let used = Used::open(&path, NOW).unwrap();
    for n in 0..5000 {
        let now = NOW + n;
        let taken = used.take(hash(n), hash(1), now + 10, now);
        assert_eq!(taken, Ok(Turn::First));
    }
    assert!(used.len() < 200);
    let lines = std::fs::read_to_string(&path).unwrap().lines().count();
    assert!(lines < 1300, "{lines}");
    // And what it holds is the newest.
    drop(used);
    let used = Used::open(&path, NOW + 4999).unwrap();
    let again = used.take(hash(4999), hash(2), NOW + 5009, NOW + 4999);
    assert_eq!(again, Err(OidcError::Replayed));
}
