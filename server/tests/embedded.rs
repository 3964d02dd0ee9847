//! The server as a library: exact sizes by fill, recovery, damage, and the golden log.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{ORIGIN, artifact, publisher};
use countersign_server::store::{DigestHit, Index, IndexBatch, ProjectHit, SavedState, StoreError};
use countersign_server::{Config, Error, Handle, Server, Stores, init};
use ledger::Hash;
use ledger::bundle::Bundle;
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tlog::hash::leaf_hash;
use tlog::proof::{verify_consistency, verify_inclusion};
use tlog::tile::{EntryTile, TILE_WIDTH, Tile, parse_bundle, width_at};
use tlog::tree::Edge;

fn start(dir: &Path) -> Handle {
    Server::start(&Config::new(dir).open()).unwrap()
}

fn get(server: &Handle, path: &str) -> (u16, Vec<u8>) {
    let mut stream = std::net::TcpStream::connect(server.addr()).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: log\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let split = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let status = String::from_utf8_lossy(&bytes[..split])
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    (status, bytes[split + 4..].to_vec())
}

fn leaf(i: u64) -> Vec<u8> {
    format!("{{\"apiVersion\":\"countersign/v1\",\"kind\":\"test\",\"n\":{i}}}").into_bytes()
}

#[test]
fn tiles_at_the_sizes_where_mistakes_live() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), ORIGIN).unwrap();
    let server = start(dir.path());
    let (mut edge, mut leaves, mut older) = (Edge::new(), Vec::new(), (0, Edge::new().root()));
    for size in [0u64, 1, 255, 256, 257, 511, 512, 1000] {
        let new: Vec<Vec<u8>> = (edge.size()..size).map(leaf).collect();
        edge.append(&new.iter().map(|l| leaf_hash(l)).collect::<Vec<_>>());
        leaves.extend(new.clone());
        if !new.is_empty() {
            assert_eq!(server.fill(new).unwrap(), size);
        }
        let view = server.log().view();
        assert_eq!((view.size, view.root), (size, edge.root()));
        for tile in 0..=size / 256 {
            let width = width_at(size, 0, tile);
            if width == 0 {
                continue;
            }
            let at = usize::try_from(tile * 256).unwrap();
            for w in [1, width] {
                let want = &leaves[at..at + usize::from(w)];
                let path = Tile {
                    level: 0,
                    index: tile,
                    width: w,
                }
                .path();
                let hashes: Vec<u8> = want.iter().flat_map(|l| leaf_hash(l)).collect();
                assert_eq!(
                    get(&server, &format!("/{path}")),
                    (200, hashes),
                    "{path} at {size}"
                );
                let path = EntryTile {
                    index: tile,
                    width: w,
                }
                .path();
                assert_eq!(
                    parse_bundle(&get(&server, &format!("/{path}")).1, w).unwrap(),
                    want,
                    "{path} at {size}"
                );
            }
            if width < TILE_WIDTH {
                assert_eq!(
                    get(&server, &format!("/tile/0/{tile:03}.p/{}", width + 1)).0,
                    404
                );
                assert_eq!(get(&server, &format!("/tile/0/{tile:03}")).0, 404);
            }
        }
        assert_eq!(
            get(&server, "/tile/1/000.p/1").0,
            if size >= 256 { 200 } else { 404 },
            "at {size}"
        );
        let reader = server.log().reader(&view);
        for index in [0, size / 2, size.saturating_sub(1)]
            .into_iter()
            .filter(|i| *i < size)
        {
            let proof = reader.inclusion(index, size).unwrap();
            let hash = leaf_hash(&leaves[usize::try_from(index).unwrap()]);
            verify_inclusion(&hash, index, size, &proof, &view.root).unwrap();
        }
        if older.0 > 0 {
            let proof = reader.consistency(older.0, size).unwrap();
            verify_consistency(older.0, &older.1, size, &view.root, &proof).unwrap();
        }
        older = (size, view.root);
    }
    server.shutdown();
    let server = start(dir.path());
    server.wait_for_recheck();
    assert_eq!(server.log().read_only(), None);
    assert_eq!(server.log().view().root, edge.root());
}

#[test]
fn what_a_crash_left_unwritten_is_completed_and_the_index_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), ORIGIN).unwrap();
    let server = start(dir.path());
    server.fill((0..300).map(leaf).collect()).unwrap();
    let (acme, url) = (publisher("acme/tool", "pkg:generic/acme"), server.addr());
    let body = acme.first.to_json().to_string();
    let mut stream = std::net::TcpStream::connect(url).unwrap();
    let head = "POST /api/v1/entries HTTP/1.1\r\nHost: log\r\nConnection: close\r\nContent-Type: application/json";
    write!(
        stream,
        "{head}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let root = server.log().view().root;
    // Fills to a boundary in one batch, so that the hot state still holds what the blobs have.
    server.fill((303..512).map(leaf).collect()).unwrap();
    let full = server.log().view().root;
    assert_ne!(root, full);
    server.shutdown();
    fs::remove_file(dir.path().join("public/tile/0/001")).unwrap();
    fs::remove_file(dir.path().join("public/tile/entries/001")).unwrap();
    fs::remove_dir_all(dir.path().join("private/index")).unwrap();
    let server = start(dir.path());
    server.wait_for_recheck();
    assert_eq!(server.log().read_only(), None);
    assert_eq!(server.log().view().root, full);
    assert_eq!(get(&server, "/tile/0/001").1.len(), 8192);
    assert_eq!(server.log().index.by_pae(&acme.id).unwrap(), Some(300));
    assert_eq!(server.log().index.size().unwrap(), 512);
}

#[test]
fn a_log_that_disagrees_with_its_checkpoint_is_served_but_does_not_sign() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), ORIGIN).unwrap();
    let server = start(dir.path());
    server.fill((0..300).map(leaf).collect()).unwrap();
    server.fill((300..600).map(leaf).collect()).unwrap();
    server.shutdown();
    let path = dir.path().join("public/tile/entries/000");
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let server = start(dir.path());
    server.wait_for_recheck();
    assert!(server.log().read_only().is_some());
    let (status, body) = get(&server, "/readyz");
    assert_eq!(status, 503);
    assert!(
        String::from_utf8_lossy(&body).contains("tile/0/000"),
        "{}",
        String::from_utf8_lossy(&body)
    );
    assert_eq!(get(&server, "/checkpoint").0, 200);
    assert_eq!(get(&server, "/tile/0/000").0, 200);
    assert!(matches!(server.fill(vec![leaf(600)]), Err(Error::Fill(_))));
    server.shutdown();
    assert_eq!(
        fs::read(&path).unwrap(),
        bytes,
        "nothing is repaired by guessing"
    );
}

#[test]
fn the_golden_log_comes_out_of_the_store_as_it_went_in() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/countersign/golden-log.json");
    let golden: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let leaves: Vec<Vec<u8>> = golden["leaves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| ledger::from_b64(l.as_str().unwrap()).unwrap())
        .collect();
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), "log.example").unwrap();
    let server = start(dir.path());
    let mut same = 0;
    // The first nine leaves: what follows them needs statements of later versions.
    for head in golden["heads"].as_array().unwrap().iter().take(3) {
        let size = head["size"].as_u64().unwrap();
        let have = server.log().view().size;
        let part = &leaves[usize::try_from(have).unwrap()..usize::try_from(size).unwrap()];
        server.fill(part.to_vec()).unwrap();
        assert_eq!(
            hex::encode(server.log().view().root),
            head["root"].as_str().unwrap()
        );
        let map = server.log().published().fold.map_root();
        assert_eq!(hex::encode(map), head["map"].as_str().unwrap());
        for case in golden["bundles"].as_array().unwrap() {
            let golden =
                Bundle::parse(&ledger::json::to_canonical(&case["bundle"]).unwrap()).unwrap();
            if golden.latest.is_some() || golden.first.lines().nth(1) != Some(&size.to_string()) {
                continue;
            }
            // Byte for byte, but for the checkpoint's signatures, which other keys make here.
            let ours = countersign_server::bundles::make(server.log(), golden.entry.index);
            let ours = Bundle::parse(&ours.unwrap().unwrap()).unwrap();
            let text = |note: &str| note.split("\n\n").next().unwrap().to_owned();
            assert_eq!(text(&ours.first), text(&golden.first));
            let first = golden.first.clone();
            assert_eq!(Bundle { first, ..ours }, golden);
            same += 1;
        }
    }
    assert_eq!(same, 2);
}

/// Publishes an envelope: the index at which it stands.
fn post(addr: std::net::SocketAddr, body: &str) -> u64 {
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    let head = "POST /api/v1/entries HTTP/1.1\r\nHost: log\r\nConnection: close\r\nContent-Type: application/json";
    let length = body.len();
    write!(stream, "{head}\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let bundle = Bundle::parse(&answer[split + 4..]);
    let bundle = bundle.unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&answer)));
    bundle.entry.index
}

/// An index whose batches are held back while the test says so.
struct HeldBack(Arc<dyn Index>, Arc<Mutex<()>>);

impl Index for HeldBack {
    fn size(&self) -> Result<u64, StoreError> {
        self.0.size()
    }
    fn apply(&self, batch: &IndexBatch) -> Result<(), StoreError> {
        let _held = self.1.lock().unwrap();
        self.0.apply(batch)
    }
    fn state(&self) -> Result<SavedState, StoreError> {
        self.0.state()
    }
    fn by_pae(&self, pae: &Hash) -> Result<Option<u64>, StoreError> {
        self.0.by_pae(pae)
    }
    fn by_purl(&self, purl: &Hash, below: u64) -> Result<Option<u64>, StoreError> {
        self.0.by_purl(purl, below)
    }
    fn by_digest(&self, digest: &Hash, limit: usize) -> Result<Vec<DigestHit>, StoreError> {
        self.0.by_digest(digest, limit)
    }
    fn by_project(
        &self,
        project: &Hash,
        from: u64,
        limit: usize,
    ) -> Result<Vec<ProjectHit>, StoreError> {
        self.0.by_project(project, from, limit)
    }
}

#[test]
fn sent_again_between_its_publication_and_its_index_row_is_the_entry_that_stands() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), ORIGIN).unwrap();
    let gate = Arc::new(Mutex::new(()));
    let held = Arc::clone(&gate);
    let wrap = |stores: Stores| {
        let index = Arc::new(HeldBack(stores.index, held));
        Ok(Stores { index, ..stores })
    };
    let config = Config::new(dir.path()).open();
    let server = Server::start_with(&config, wrap, |e| panic!("{e}")).unwrap();
    let acme = publisher("acme/tool", "pkg:generic/acme");
    let release = acme.envelope("pkg:generic/acme/tool@1", &[artifact("tool", b"1")]);
    let addr = server.addr();
    for body in [acme.first.to_json(), release.to_json()] {
        let (body, size) = (body.to_string(), server.log().view().size);
        let closed = gate.lock().unwrap();
        let first = {
            let body = body.clone();
            std::thread::spawn(move || post(addr, &body))
        };
        // Public, and not in the index.
        while server.log().view().size == size {
            std::thread::yield_now();
        }
        assert_eq!(post(addr, &body), size);
        drop(closed);
        assert_eq!(first.join().unwrap(), size);
    }
}

#[test]
fn releases_of_many_clients_at_once_all_stand_once() {
    let dir = tempfile::tempdir().unwrap();
    init(dir.path(), ORIGIN).unwrap();
    let server = start(dir.path());
    let acme = publisher("acme/tool", "pkg:generic/acme");
    let post = |body: String| post(server.addr(), &body);
    post(acme.first.to_json().to_string());
    let bodies: Vec<String> = (0..20)
        .map(|i| {
            acme.envelope(
                &format!("pkg:generic/acme/tool@{i}"),
                &[artifact("tool", &[i])],
            )
            .to_json()
            .to_string()
        })
        .collect();
    let mut indexes = std::thread::scope(|scope| {
        // Each twice, from two threads.
        let threads: Vec<_> = bodies
            .iter()
            .chain(&bodies)
            .map(|b| scope.spawn(|| post(b.clone())))
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert_eq!(indexes[..20], indexes[20..]);
    indexes.sort_unstable();
    indexes.dedup();
    assert_eq!(indexes.len(), 20);
}
