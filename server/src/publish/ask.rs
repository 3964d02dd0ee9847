//! What a witness's answer means (c2sp.org/tlog-witness). No network here.

use tlog::note::{Note, NoteSignature, parse_signatures};
use tlog::vkey::VerifierKey;
use tlog::witness::SIZE_MEDIA_TYPE;

/// Largest answer that is read, in bytes: cosignatures of a few keys.
pub const MAX_ANSWER: u64 = 16 * 1024;

/// A cosignature's time may be away from now by this, in seconds: as much as clients allow
/// (docs/formats.md, "View time").
pub const CLOCK: u64 = 300;

/// What a witness answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its cosignature, verified, and the time in it, Unix seconds.
    Cosigned(NoteSignature, u64),
    /// Its cosignature is good, and dated so many seconds from now.
    Misdated(u64),
    /// It has last cosigned another size than the one that it was told.
    LastSize(u64),
    /// As above, but it does not say which.
    Conflict,
    /// It says that our proof does not lead from what it has seen.
    Inconsistent,
    /// It wants fewer requests; seconds to wait, if it says so.
    Busy(Option<u64>),
    /// Another refusal.
    Refused(u16),
    /// What it answered is not what the protocol has; why.
    Garbage(String),
}

/// Reads an answer about the checkpoint in `note` from the witness with `key`. It is `now`, in Unix
/// seconds.
#[must_use]
pub fn read(
    (status, content_type, retry_after): (u16, &str, Option<u64>),
    body: &[u8],
    (note, key): (&Note, &VerifierKey),
    now: u64,
) -> Answer {
    match status {
        200 => match cosignature(body, note, key) {
            Ok((_, time)) if time.abs_diff(now) > CLOCK => Answer::Misdated(time.abs_diff(now)),
            Ok((line, time)) => Answer::Cosigned(line, time),
            Err(why) => Answer::Garbage(why),
        },
        409 if content_type == SIZE_MEDIA_TYPE => match size(body) {
            Some(size) => Answer::LastSize(size),
            None => {
                Answer::Garbage("a conflict whose size is no decimal number and newline".into())
            }
        },
        409 => Answer::Conflict,
        422 => Answer::Inconsistent,
        429 | 503 => Answer::Busy(retry_after),
        other => Answer::Refused(other),
    }
}

fn size(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?.strip_suffix('\n')?;
    let plain = text == "0" || !text.starts_with('0');
    let digits = plain && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The cosignature by `key` among the lines of an answer. Those of other keys are ignored; one of
/// this key that does not verify spoils them all.
fn cosignature(
    body: &[u8],
    note: &Note,
    key: &VerifierKey,
) -> Result<(NoteSignature, u64), String> {
    let lines = std::str::from_utf8(body).map_err(|_| "the answer is not UTF-8".to_owned())?;
    let lines = parse_signatures(lines).map_err(|e| e.to_string())?;
    let mut found = None;
    for line in lines {
        if line.name != key.name() || line.key_id != key.key_id() {
            continue;
        }
        let verified = key.verify(&note.text, &line.signature);
        match verified.map_err(|e| e.to_string())? {
            None | Some(0) => return Err("the cosignature states no time".to_owned()),
            Some(time) => found = Some((line, time)),
        }
    }
    found.ok_or_else(|| "no cosignature by the witness's key is in the answer".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use keys::Ed25519Secret;

    fn witness() -> (Ed25519Secret, VerifierKey) {
        let secret = Ed25519Secret::generate().unwrap();
        let key = VerifierKey::cosignature("w.example", &secret.public_bytes()).unwrap();
        (secret, key)
    }

    fn note() -> Note {
        Note {
            text: "log.example\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".into(),
            signatures: Vec::new(),
        }
    }

    fn line(secret: &Ed25519Secret, key: &VerifierKey, time: u64, text: &str) -> String {
        let signature = secret.sign(&tlog::cosignature::message(time, text));
        NoteSignature::by(key, tlog::cosignature::encode(time, &signature)).to_line()
    }

    #[test]
    fn only_this_witness_s_own_cosignature_of_this_checkpoint_is_taken() {
        let ((secret, key), (stranger, other)) = (witness(), witness());
        let note = note();
        let at = |body: &str, now| {
            let head = (200, "text/plain", None);
            read(head, body.as_bytes(), (&note, &key), now)
        };
        let of = |body: &str| at(body, 9);
        let good = line(&secret, &key, 9, &note.text);
        assert!(matches!(of(&good), Answer::Cosigned(_, 9)));
        // As far from now as clients allow, and further: of a wrong clock, or an old one again.
        let dated = line(&secret, &key, 1000, &note.text);
        for now in [700, 1300] {
            assert!(matches!(at(&dated, now), Answer::Cosigned(_, 1000)));
        }
        assert_eq!(at(&dated, 699), Answer::Misdated(301));
        assert_eq!(at(&dated, 1301), Answer::Misdated(301));
        let foreign = line(&stranger, &other, 9, &note.text);
        assert!(matches!(
            of(&format!("{foreign}{good}")),
            Answer::Cosigned(_, 9)
        ));
        for bad in [
            String::new(),
            foreign,
            "— w.example AAAA\n".into(),
            "<html>".into(),
            line(&secret, &key, 0, &note.text),
            line(&secret, &key, 9, "another\n1\nAA==\n"),
            line(&stranger, &key, 9, &note.text),
            format!("{good}{}", line(&stranger, &key, 9, &note.text)),
        ] {
            assert!(matches!(of(&bad), Answer::Garbage(_)), "{bad}");
        }
    }

    #[test]
    fn each_status_has_its_meaning() {
        let (_, key) = witness();
        let of =
            |status, media, body: &[u8]| read((status, media, Some(3)), body, (&note(), &key), 9);
        assert_eq!(of(409, SIZE_MEDIA_TYPE, b"12\n"), Answer::LastSize(12));
        assert_eq!(of(409, SIZE_MEDIA_TYPE, b"0\n"), Answer::LastSize(0));
        for bad in [
            &b"12"[..],
            b"012\n",
            b"+1\n",
            b"\n",
            b"1\n\n",
            b"99999999999999999999\n",
            b"\xff\n",
        ] {
            assert!(
                matches!(of(409, SIZE_MEDIA_TYPE, bad), Answer::Garbage(_)),
                "{bad:?}"
            );
        }
        assert_eq!(of(409, "text/plain", b"12\n"), Answer::Conflict);
        assert_eq!(of(409, "", b""), Answer::Conflict);
        assert_eq!(of(422, "", b""), Answer::Inconsistent);
        assert_eq!(of(429, "", b""), Answer::Busy(Some(3)));
        assert_eq!(of(404, "", b""), Answer::Refused(404));
        assert_eq!(of(500, "", b""), Answer::Refused(500));
    }
}
