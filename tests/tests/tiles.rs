//! The tile interface (c2sp.org/tlog-tiles) of the built server, at the sizes where mistakes
//! live. What is right is computed here, from the leaves, by RFC 6962's recursion.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use countersign_tests::fill::raw_leaf;
use countersign_tests::{Process, Said, binary, run};
use ledger::fold::Fold;
use ledger::leaf::Leaf;
use std::path::Path;
use std::process::Command;
use tlog::Hash;
use tlog::checkpoint::Checkpoint;
use tlog::hash::{leaf_hash, node_hash, sha256};
use tlog::note::Note;
use tlog::tile::parse_bundle;
use tlog::vkey::VerifierKey;

const ORIGIN: &str = "log.example";

struct Answer {
    status: u16,
    media: String,
    cache: String,
    body: Vec<u8>,
}

struct Log {
    process: Process,
    agent: ureq::Agent,
}

impl Log {
    fn serve(dir: &Path) -> Self {
        let mut command = Command::new(binary("countersign-server").unwrap());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
        command.arg(dir);
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let log = Self {
            process: Process::start(command).unwrap(),
            agent: config.build().into(),
        };
        // Until what is on disk has been read again, caches keep a tile for a minute.
        let done = "\ncountersign_start_check_done 1\n";
        while !String::from_utf8_lossy(&log.get("/metrics").body).contains(done) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        log
    }

    fn get(&self, path: &str) -> Answer {
        let url = format!("{}{path}", self.process.url);
        let mut response = self.agent.get(&url).call().unwrap();
        let header = |name: &str| {
            let value = response.headers().get(name).map(|v| v.to_str().unwrap());
            value.unwrap_or_default().to_owned()
        };
        let (media, cache) = (header("content-type"), header("cache-control"));
        assert_eq!(header("content-encoding"), "", "{path}");
        Answer {
            status: response.status().as_u16(),
            media,
            cache,
            body: response.body_mut().read_to_vec().unwrap(),
        }
    }

    fn tile(&self, path: &str) -> Vec<u8> {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.media, "application/octet-stream", "{path}");
        assert!(answer.cache.contains("immutable"), "{path}");
        let age = answer.cache.split_once("max-age=").unwrap().1;
        let age: u64 = age.split(',').next().unwrap().parse().unwrap();
        assert!(age >= 86_400, "{path}: {age}");
        answer.body
    }

    fn refuses(&self, path: &str) {
        let answer = self.get(path);
        assert!(
            [400, 404].contains(&answer.status),
            "{path}: {}",
            answer.status
        );
        assert!(!answer.cache.contains("immutable"), "{path}");
        assert_eq!(answer.media, "application/problem+json", "{path}");
    }

    fn checkpoint(&self, vkeys: &[VerifierKey]) -> Checkpoint {
        let answer = self.get("/checkpoint");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.media, "text/plain; charset=utf-8");
        let age = answer.cache.split_once("max-age=").unwrap().1;
        assert!(age.parse::<u64>().unwrap() <= 10, "cached for seconds");
        let note = Note::parse(&answer.body).unwrap();
        let by = note.verify(vkeys).unwrap();
        assert_eq!(by.len(), 2, "both keys of the log sign");
        let checkpoint = Checkpoint::parse(&note.text).unwrap();
        assert_eq!(checkpoint.origin, ORIGIN);
        let root = ledger::b64(&checkpoint.root);
        let text = format!("{ORIGIN}\n{}\n{root}\n", checkpoint.size);
        assert_eq!(note.text, text, "three lines and nothing else");
        checkpoint
    }
}

fn program(name: &str, args: &[&str], data: &Path) -> Said {
    let mut command = Command::new(name);
    command.args(args).arg("--data").arg(data);
    run(command).unwrap()
}

fn fill(data: &Path, args: &[&str]) -> Said {
    program(env!("CARGO_BIN_EXE_countersign-fill"), args, data)
}

fn init(data: &Path) -> Vec<VerifierKey> {
    let server = binary("countersign-server").unwrap();
    let said = program(
        server.to_str().unwrap(),
        &["init", "--origin", ORIGIN],
        data,
    );
    assert_eq!(said.code, 0, "{}", said.err);
    let out = String::from_utf8(said.out).unwrap();
    out.lines()
        .map(|v| VerifierKey::parse(v).unwrap())
        .collect()
}

/// RFC 6962 section 2.1, word for word.
fn root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => sha256(b""),
        [one] => *one,
        _ => {
            let k = hashes.len().next_power_of_two() / 2;
            node_hash(&root(&hashes[..k]), &root(&hashes[k..]))
        }
    }
}

/// c2sp.org/tlog-tiles, written apart from `tlog::tile`.
fn number(n: usize) -> String {
    match n {
        0..1000 => format!("{n:03}"),
        _ => format!("x{:03}/{:03}", n / 1000, n % 1000),
    }
}

fn check(log: &Log, size: usize, vkeys: &[VerifierKey]) {
    let leaves: Vec<Hash> = (0..size as u64).map(|i| leaf_hash(&raw_leaf(i))).collect();
    let checkpoint = log.checkpoint(vkeys);
    assert_eq!(checkpoint.size, size as u64);
    let mut served = Vec::new();
    let mut rows = leaves;
    for level in 0..8 {
        let (full, part) = (rows.len() / 256, rows.len() % 256);
        for n in 0..full {
            let want = rows[n * 256..][..256].concat();
            let path = format!("/tile/{level}/{}", number(n));
            let got = log.tile(&path);
            assert_eq!(got, want, "{path} at {size}");
            if level == 0 {
                served.extend(got.chunks(32).map(|h| Hash::try_from(h).unwrap()));
                bundle(log, n, 256, &want);
            }
        }
        // The partial tile, and every older width of it.
        for width in 1..=part {
            let want = rows[full * 256..][..width].concat();
            let path = format!("/tile/{level}/{}.p/{width}", number(full));
            let got = log.tile(&path);
            assert_eq!(got, want, "{path} at {size}");
            if level == 0 {
                bundle(log, full, width, &want);
                if width == part {
                    served.extend(got.chunks(32).map(|h| Hash::try_from(h).unwrap()));
                }
            }
        }
        for n in [full, full + 1, full + 1000] {
            log.refuses(&format!("/tile/{level}/{}", number(n)));
            for width in [part + 1, 255] {
                if n > full || width > part {
                    log.refuses(&format!("/tile/{level}/{}.p/{width}", number(n)));
                    if level == 0 {
                        log.refuses(&format!("/tile/entries/{}.p/{width}", number(n)));
                    }
                }
            }
            if level == 0 {
                log.refuses(&format!("/tile/entries/{}", number(n)));
            }
        }
        rows = rows.chunks_exact(256).map(root).collect();
    }
    assert_eq!(root(&served), checkpoint.root, "at {size}");
    for bad in [
        "/tile",
        "/tile/",
        "/tile/0",
        "/tile/0/",
        "/tile/entries",
        "/tile/entries/",
        "/tile/data/000",
        "/tile/64/000",
        "/tile/255/000",
        "/tile/-1/000",
        "/tile/00/000",
        "/tile/01/000",
        "/tile/18446744073709551616/000",
        "/checkpoint/",
        "/tile/9/000.p/1",
    ] {
        log.refuses(bad);
    }
    for bad in [
        "0",
        "00",
        "0000",
        "+00",
        "-00",
        "0x0",
        "abc",
        "x000",
        "x000/000",
        "X000/000",
        "000/000",
        "x001/67",
        "x1/067",
        "1067",
        "001/067",
        "x001/x067",
        "000/",
        "000.p",
        "000.p/",
        "000.p/0",
        "000.p/00",
        "000.p/01",
        "000.p/256",
        "000.p/257",
        "000.p/65537",
        "000.p/-1",
        "000.p/+1",
        "000.p/1/",
        "000.p/x",
        "000.P/1",
        "%30%30%30",
        "000%2Ep/1",
        "x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        log.refuses(&format!("/tile/0/{bad}"));
        log.refuses(&format!("/tile/entries/{bad}"));
    }
}

/// A bundle's entries are the leaves, and hash to the level-0 tile.
fn bundle(log: &Log, n: usize, width: usize, tile: &[u8]) {
    let suffix = if width == 256 {
        String::new()
    } else {
        format!(".p/{width}")
    };
    let path = format!("/tile/entries/{}{suffix}", number(n));
    let entries = parse_bundle(&log.tile(&path), u16::try_from(width).unwrap()).unwrap();
    for (i, entry) in entries.iter().enumerate() {
        assert_eq!(*entry, raw_leaf((n * 256 + i) as u64), "{path}");
    }
    let hashes: Vec<Hash> = entries.iter().map(|e| leaf_hash(e)).collect();
    assert_eq!(hashes.concat(), tile, "{path}");
}

#[test]
fn tiles_at_the_sizes_where_mistakes_live() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("log");
    let vkeys = init(&data);
    for size in [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000] {
        let said = fill(&data, &["--raw", "--leaves", &size.to_string()]);
        assert_eq!(said.code, 0, "{}", said.err);
        let log = Log::serve(&data);
        check(&log, size, &vkeys);
        if size == 257 {
            // A width published before the tile was full.
            assert_eq!(log.tile("/tile/0/000.p/255").len(), 255 * 32);
        }
        let said = fill(&data, &["--raw", "--leaves", "80000"]);
        assert!(said.err.contains("in use"), "{}", said.err);
        log.process.stop().unwrap();
    }
}

#[test]
fn a_genuine_fill_lands_exactly_and_every_leaf_of_it_stands() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("log");
    let vkeys = init(&data);
    for impossible in ["1", "2"] {
        let said = fill(&data, &["--leaves", impossible]);
        assert_eq!(said.code, 1);
        assert!(said.err.contains("--raw"), "{}", said.err);
    }
    let mut fold = Fold::new(ORIGIN);
    for size in [3_usize, 255, 258, 600] {
        let said = fill(&data, &["--batch", "16", "--leaves", &size.to_string()]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(String::from_utf8_lossy(&said.out).contains("leaves/s"));
        let log = Log::serve(&data);
        let checkpoint = log.checkpoint(&vkeys);
        let mut entries = Vec::new();
        for n in 0..size.div_ceil(256) {
            let width = (size - n * 256).min(256);
            let suffix = if width < 256 {
                format!(".p/{width}")
            } else {
                String::new()
            };
            let bytes = log.tile(&format!("/tile/entries/{}{suffix}", number(n)));
            entries.extend(parse_bundle(&bytes, u16::try_from(width).unwrap()).unwrap());
        }
        let hashes: Vec<Hash> = entries.iter().map(|e| leaf_hash(e)).collect();
        assert_eq!(
            (checkpoint.size, checkpoint.root),
            (size as u64, root(&hashes))
        );
        let known = usize::try_from(fold.size()).unwrap();
        for entry in &entries[known..] {
            let leaf = Leaf::parse(entry).unwrap();
            if let Leaf::Statement(s) = &leaf {
                fold.check(&s.envelope, &s.statement, s.time, None).unwrap();
            }
            fold.apply(&leaf).unwrap();
        }
        let last = Leaf::parse(entries.last().unwrap()).unwrap();
        assert!(matches!(last, Leaf::Head(_)), "the last leaf is a head");
        log.process.stop().unwrap();
    }
}
