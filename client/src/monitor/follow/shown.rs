//! What a log shows: checkpoints, and that one goes on from another, with as few bytes as can be.

use super::Followed;
use crate::cmd::common::refused_words;
use crate::cmd::history;
use crate::fail::{Fail, UNCHECKED, UNTRUSTED};
use crate::fetch::Fetcher;
use crate::memory::SeenCheckpoint;
use crate::policy::Policy;
use crate::refused::Refused;
use crate::signed::Signed;
use crate::view::not_forked;
use ledger::{Hash, from_hex32, hex32};
use serde_json::Value;
use tlog::proof::verify_consistency;

/// Bytes of a checkpoint at most, and of an answer with one proof.
pub(super) const MAX_NOTE: usize = 1 << 20;
const MAX_PROOF: usize = 64 << 10;

/// A checkpoint by the policy's log keys and its quorum, which contradicts none that is seen.
pub(super) fn checkpoint(
    text: &str,
    policy: &Policy,
    seen: Option<&SeenCheckpoint>,
    now: u64,
) -> Result<SeenCheckpoint, Refused> {
    let now = now.max(seen.map_or(0, |s| s.view_time));
    let signed = Signed::read(text, policy, now, false)?;
    signed.log_keys(policy)?;
    if !signed.quorum(policy) {
        return Err(signed.lacks_quorum(policy));
    }
    not_forked(&signed, seen, policy)?;
    Ok(as_seen(&signed, policy))
}

/// As it is remembered.
pub(super) fn as_seen(signed: &Signed, policy: &Policy) -> SeenCheckpoint {
    SeenCheckpoint {
        checkpoint: signed.text.clone(),
        size: signed.checkpoint.size,
        root: hex32(&signed.checkpoint.root),
        view_time: signed.view_time(policy).unwrap_or(0),
    }
}

/// A refusal of something that a server answered. Only two signed checkpoints that contradict
/// each other are the log's own doing.
pub(super) fn refused(refused: &Refused, followed: &Followed, url: &str) -> Fail {
    let code = match refused {
        Refused::Fork { .. } => UNTRUSTED,
        _ => UNCHECKED,
    };
    let fail = Fail {
        code,
        ..refused_words(refused)
    }
    .detail("url", url);
    match refused {
        Refused::Fork { notes, .. } => {
            let fail =
                fail.hint("keep both checkpoints and publish them: they prove that the log lied");
            followed.ours().of_one_size((&notes.0, &notes.1), fail)
        }
        _ => fail.hint("see what is served there; something else may stand between"),
    }
}

/// The log's own newest checkpoint, from `url`.
pub(super) fn latest(
    followed: &Followed,
    fetcher: &Fetcher,
    url: &str,
    seen: Option<&SeenCheckpoint>,
    now: u64,
) -> Result<Option<SeenCheckpoint>, Fail> {
    let address = format!("{url}/checkpoint");
    let Some(bytes) = fetcher.get_optional(&address, MAX_NOTE)? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|_| {
        Fail::unchecked("checkpoint-invalid", "the checkpoint is no text").detail("url", url)
    })?;
    let read = checkpoint(&text, &followed.policy, seen, now);
    read.map(Some).map_err(|r| refused(&r, followed, url))
}

/// The empty tree has signed nothing that could be consistent with anything.
fn point(of: &SeenCheckpoint) -> Option<(u64, Hash)> {
    Some((of.size, from_hex32(&of.root)?))
}

/// Checks that two checkpoints are of one history. The log's own proof is small; where it gives
/// none, or none that holds, tiles decide.
///
/// # Errors
/// Exit code 1 where that they are not is proven, and the proof kept; 3 where it is not proven
/// that they are. Kind `not-consistent` of what somebody between might have made as well.
pub(super) fn connected(
    followed: &Followed,
    fetcher: &Fetcher,
    url: &str,
    one: &SeenCheckpoint,
    other: &SeenCheckpoint,
) -> Result<(), Fail> {
    let (old, new) = if one.size <= other.size {
        (one, other)
    } else {
        (other, one)
    };
    let malformed = || Fail::unchecked("bad-answer", "a malformed root");
    let (old_at, new_at) = (point(old), point(new));
    let ((from, root), (to, new_root)) = old_at.zip(new_at).ok_or_else(malformed)?;
    if from == 0 || from == to {
        return Ok(());
    }
    let proof = consistency(fetcher, url, from, to);
    if proof.is_some_and(|p| verify_consistency(from, &root, to, &new_root, &p).is_ok()) {
        return Ok(());
    }
    let ours = followed.ours();
    history::check(fetcher, ours, Some(old), &new.checkpoint, new).map_err(unless_proven)
}

/// Tiles that do not connect two checkpoints may be anybody's, until there is a proof that they
/// cannot be connected.
pub(super) fn unless_proven(mut fail: Fail) -> Fail {
    let proof = fail.details.iter().find(|(name, _)| name == "evidence");
    let proven = proof.is_some_and(|(_, file)| std::path::Path::new(file).is_file());
    if fail.code == UNTRUSTED && !proven {
        fail.code = UNCHECKED;
    }
    fail
}

/// A proof that a server of ours gives, whoever asks; none of what only serves files.
pub(super) fn consistency(fetcher: &Fetcher, url: &str, from: u64, to: u64) -> Option<Vec<Hash>> {
    proof(
        fetcher,
        &format!("{url}/api/v1/proofs/consistency?from={from}&to={to}"),
    )
}

pub(super) fn proof(fetcher: &Fetcher, address: &str) -> Option<Vec<Hash>> {
    let bytes = fetcher.get_optional(address, MAX_PROOF).ok()??;
    let answer = ledger::json::parse(&bytes).ok()?;
    let list = answer.get("proof").and_then(Value::as_array)?;
    list.iter().map(|h| from_hex32(h.as_str()?)).collect()
}
