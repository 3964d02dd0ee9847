//! Agents that do not keep to the protocol, at a socket: garbage, too much, too little, nothing,
//! another key's signature.
#![cfg(unix)]
#![allow(clippy::unwrap_used, missing_docs)]

use keys::agent::{Agent, AgentError, Fingerprint, MAX_MESSAGE};
use keys::{PublicKey, SecretKey, SignError, Signer as _};
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}

fn blob(key: &PublicKey) -> Vec<u8> {
    let point = key.spki_der().get(26..).unwrap();
    [
        string(b"ecdsa-sha2-nistp256"),
        string(b"nistp256"),
        string(point),
    ]
    .concat()
}

fn fingerprint(blob: &[u8]) -> Fingerprint {
    let mut hash = keys::Sha256Stream::new();
    hash.update(blob);
    Fingerprint(hash.finish())
}

fn list(blobs: &[Vec<u8>]) -> Vec<u8> {
    let count = u32::try_from(blobs.len()).unwrap().to_be_bytes();
    let entries = blobs.iter().flat_map(|b| [string(b), string(b"c\x1b[2J")]);
    [
        vec![12],
        count.to_vec(),
        entries.collect::<Vec<_>>().concat(),
    ]
    .concat()
}

/// A signature as an agent gives it, by `key` over what the request holds.
fn sign(key: &SecretKey, request: &[u8]) -> Vec<u8> {
    let mut rest = request.get(1..).unwrap();
    let mut next = || {
        let (length, tail) = rest.split_at(4);
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        let (value, tail) = tail.split_at(length);
        rest = tail;
        value
    };
    let (_, message) = (next(), next());
    let der = key.sign(message).unwrap();
    // DER's integers are an mpint's digits already.
    let r_end = 4 + usize::from(der[3]);
    let inner = [string(&der[4..r_end]), string(&der[r_end + 2..])].concat();
    let signature = [string(b"ecdsa-sha2-nistp256"), string(&inner)].concat();
    [vec![14], string(&signature)].concat()
}

fn framed(answer: &[u8]) -> Vec<u8> {
    string(answer)
}

struct Played {
    agent: Agent,
    _dir: tempfile::TempDir,
}

/// An agent that writes what `answer` makes of each request, and then waits.
fn play(answer: impl Fn(&[u8], &mut UnixStream) + Send + Sync + 'static) -> Played {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent");
    let listener = UnixListener::bind(&socket).unwrap();
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || {
                let mut head = [0; 4];
                stream.read_exact(&mut head).unwrap();
                let mut request = vec![0; u32::from_be_bytes(head) as usize];
                stream.read_exact(&mut request).unwrap();
                answer(&request, &mut stream);
            });
        }
    });
    let patience = Duration::from_millis(400);
    Played {
        agent: Agent::at(&socket).patience(patience, patience),
        _dir: dir,
    }
}

fn kind(e: &SignError) -> &'static str {
    e.kind()
}

#[test]
fn an_agents_key_signs_and_the_signature_is_ours() {
    let key = SecretKey::generate().unwrap();
    let (public, own) = (key.public_key().clone(), blob(key.public_key()));
    let wanted = fingerprint(&own);
    let played = play(move |request, out| {
        let answer = match request.first() {
            Some(11) => list(&[b"\0\0\0\x0bssh-ed25519".to_vec(), own.clone()]),
            _ => sign(&key, request),
        };
        let _ = out.write_all(&framed(&answer));
    });
    let signer = played.agent.signer(&wanted).unwrap();
    assert_eq!(*signer.public_key(), public);
    let der = signer.sign(b"message").unwrap();
    assert_eq!(public.verify(b"message", &der), Ok(()));
    // Too long for the protocol: nothing is sent.
    let long = signer.sign(&vec![0; MAX_MESSAGE]).unwrap_err();
    assert_eq!(kind(&long), "too-long-for-agent");
    // Not there: what is there is listed.
    let other = Fingerprint([7; 32]);
    let missing = played.agent.signer(&other).unwrap_err();
    assert_eq!(missing.kind(), "key-not-found");
    assert!(
        missing.to_string().contains(&wanted.to_string()),
        "{missing}"
    );
    let ed25519 = fingerprint(b"\0\0\0\x0bssh-ed25519");
    assert_eq!(
        played.agent.signer(&ed25519).unwrap_err().kind(),
        "wrong-key-type"
    );
}

#[test]
fn a_signature_by_another_key_or_over_something_else_is_not_handed_on() {
    for over in [false, true] {
        let (key, thief) = (
            SecretKey::generate().unwrap(),
            SecretKey::generate().unwrap(),
        );
        let own = blob(key.public_key());
        let wanted = fingerprint(&own);
        let played = play(move |request, out| {
            let answer = match request.first() {
                Some(11) => list(std::slice::from_ref(&own)),
                _ if over => sign(&key, &[vec![13], string(b""), string(b"other")].concat()),
                _ => sign(&thief, request),
            };
            let _ = out.write_all(&framed(&answer));
        });
        let signer = played.agent.signer(&wanted).unwrap();
        assert_eq!(
            kind(&signer.sign(b"message").unwrap_err()),
            "agent-other-signature"
        );
    }
}

#[test]
fn garbage_and_too_much_and_too_little_are_refused() {
    let too_much = u32::try_from(MAX_MESSAGE + 1).unwrap().to_be_bytes();
    let most = u32::try_from(MAX_MESSAGE).unwrap().to_be_bytes();
    let cases: [(&[u8], &str); 8] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "agent-bad-answer"),
        (&too_much, "agent-bad-answer"),
        (&[0xff; 64], "agent-bad-answer"),
        (&[0; 4], "agent-bad-answer"),
        (&[0, 0, 0, 1, 5], "agent-refused"),
        (
            &[0, 0, 0, 5, 12, 0xff, 0xff, 0xff, 0xff],
            "agent-bad-answer",
        ),
        // It ends before its length, and before its head.
        (&most, "agent-bad-answer"),
        (&[0, 0], "agent-bad-answer"),
    ];
    for (bytes, want) in cases {
        let answer = bytes.to_vec();
        let played = play(move |_, out| {
            let _ = out.write_all(&answer);
        });
        let got = played.agent.identities().unwrap_err();
        assert_eq!(got.kind(), want, "{bytes:?}: {got}");
    }
}

#[test]
fn an_agent_that_never_answers_or_drips_is_waited_for_a_bounded_time() {
    for drips in [false, true] {
        let played = play(move |_, out| {
            let bytes = [framed(&[0; 200]), vec![0; 200]].concat();
            for byte in bytes {
                std::thread::sleep(Duration::from_millis(if drips { 50 } else { 5000 }));
                let _ = out.write_all(&[byte]);
            }
        });
        let start = Instant::now();
        let late = played.agent.identities();
        assert_eq!(late, Err(AgentError::TimedOut(0)));
        assert!(start.elapsed() < Duration::from_secs(3));
    }
    // Nobody takes connections in.
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("agent");
    let _full = UnixListener::bind(&socket).unwrap();
    let patience = Duration::from_millis(200);
    let agent = Agent::at(&socket).patience(patience, patience);
    let start = Instant::now();
    let _ = agent.identities().unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn where_there_is_no_agent_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let none = dir.path().join("none");
    assert_eq!(
        Agent::at(&none).identities().unwrap_err().kind(),
        "no-agent"
    );
    std::fs::write(&none, "").unwrap();
    assert_eq!(
        Agent::at(&none).identities().unwrap_err().kind(),
        "no-agent"
    );
}

#[test]
fn fingerprints_are_read_in_one_form() {
    let good = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU";
    assert_eq!(Fingerprint::parse(good).unwrap().to_string(), good);
    for bad in [
        "",
        "SHA256:",
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
        "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV",
        "SHA256:47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU",
        "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
        "MD5:d4:1d:8c:d9:8f:00:b2:04:e9:80:09:98:ec:f8:42:7e",
    ] {
        assert_eq!(
            Fingerprint::parse(bad).unwrap_err().kind(),
            "bad-fingerprint",
            "{bad}"
        );
    }
}
