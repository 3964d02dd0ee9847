#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use std::io::Write as _;

/// What a walk showed: places with the digests of their bytes, and problems.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shown {
    files: Vec<(String, ledger::Hash)>,
    problems: Vec<(String, &'static str)>,
}

struct Hasher(keys::Sha256Stream);

impl Sink for Hasher {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

impl Visitor for Shown {
    type Sink = Hasher;
    fn open(&mut self, _: &Place, _: bool) -> Hasher {
        Hasher(keys::Sha256Stream::new())
    }
    fn close(&mut self, place: &Place, sink: Hasher) {
        self.files.push((inner(place), sink.0.finish()));
    }
    fn problem(&mut self, place: &Place, problem: Problem) {
        self.problems.push((inner(place), problem.kind()));
    }
}

fn inner(place: &Place) -> String {
    place.inner.join(" > ")
}

fn shown_within(bytes: &[u8], limits: &Limits) -> Shown {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let mut shown = Shown::default();
    walk(file.path(), limits, &mut shown);
    // Whatever is in it, the whole of the file itself is shown.
    if !shown
        .problems
        .iter()
        .any(|(_, kind)| *kind == "unpacks-too-large")
    {
        let own = ledger::sha256(bytes);
        assert!(shown.files.contains(&(String::new(), own)));
    }
    shown
}

fn shown(bytes: &[u8]) -> Shown {
    shown_within(bytes, &Limits::default())
}

impl Shown {
    fn has(&self, place: &str, bytes: &[u8]) -> bool {
        let wanted = (place.to_owned(), ledger::sha256(bytes));
        self.files.contains(&wanted)
    }
    fn kinds(&self) -> Vec<&'static str> {
        self.problems.iter().map(|(_, kind)| *kind).collect()
    }
}

/// A tar with these names as they are, `..` and all.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        let options = zip::write::SimpleFileOptions::default();
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

#[test]
fn a_plain_file_is_itself() {
    let shown = shown(b"#!/bin/sh\n");
    assert_eq!((shown.files.len(), shown.problems.len()), (1, 0));
    assert_eq!(super::tests::shown(b"").files.len(), 1);
}

#[test]
fn every_form_is_walked_and_nested_ones_too() {
    let plain = b"what is in it".repeat(1000);
    let inner = tar(&[("a/b", &plain)]);
    for (packed, first) in [
        (gzip(&inner), true),
        (zstd(&inner), true),
        (inner.clone(), false),
    ] {
        let shown = shown(&packed);
        let own = shown.files.last().unwrap();
        assert_eq!(own.0, "");
        let place = shown.files.iter().find(|f| f.1 == ledger::sha256(&plain));
        let place = &place.unwrap().0;
        assert_eq!(place.ends_with(" > a/b"), first, "{place}");
        assert_eq!(shown.problems, []);
    }
    let shown = shown(&zip(&[("x.tar.gz", &gzip(&inner)), ("y", b"y")]));
    assert!(shown.has("x.tar.gz > x.tar > a/b", &plain), "{shown:?}");
    assert!(shown.has("x.tar.gz > x.tar", &inner) && shown.has("y", b"y"));
    let shown = super::tests::shown(&tar(&[("n.zip", &zip(&[("z", &plain)])), ("after", b"a")]));
    assert!(shown.has("n.zip > z", &plain) && shown.has("after", b"a"));
    assert_eq!(shown.problems, []);
}

#[test]
fn several_members_and_frames_are_one_file() {
    let two = [gzip(b"one"), gzip(b"two")].concat();
    assert!(
        shown(&two)
            .files
            .iter()
            .any(|f| f.1 == ledger::sha256(b"onetwo"))
    );
    let two = [zstd(b"one"), zstd(b"two")].concat();
    assert!(
        shown(&two)
            .files
            .iter()
            .any(|f| f.1 == ledger::sha256(b"onetwo"))
    );
}

struct Layers<'a>(&'a mut Vec<(String, Option<String>)>);
impl Sink for () {
    fn bytes(&mut self, _: &[u8]) {}
}
impl Visitor for Layers<'_> {
    type Sink = ();
    fn open(&mut self, place: &Place, _: bool) {
        self.0.push((place.name(), place.layer()));
    }
    fn close(&mut self, _: &Place, (): ()) {}
    fn problem(&mut self, _: &Place, problem: Problem) {
        panic!("{problem}");
    }
}

#[test]
fn a_layer_that_a_later_one_deletes_is_walked_and_named() {
    let layer = tar(&[("etc/key", b"the key")]);
    let later = tar(&[("etc/.wh.key", b"")]);
    let image = tar(&[
        ("blobs/sha256/aa11", &gzip(&layer)),
        ("blobs/sha256/bb22", &later),
        ("0123/layer.tar", &layer),
        ("manifest.json", b"[]"),
    ]);
    let mut found = Vec::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &image).unwrap();
    walk(file.path(), &Limits::default(), &mut Layers(&mut found));
    let keys: Vec<Option<String>> = found
        .into_iter()
        .filter(|(name, _)| name == "key")
        .map(|(_, layer)| layer)
        .collect();
    let names = ["sha256:aa11", "0123"].map(|l| Some(l.to_owned()));
    assert_eq!(keys, names);
}

#[test]
fn names_are_names_and_lead_nowhere() {
    let names = ["/etc/passwd", "../../up", "a/../b", "\u{1b}[2J", "C:\\x"];
    let files: Vec<(&str, &[u8])> = names.iter().map(|n| (*n, &b"x"[..])).collect();
    let shown_tar = shown(&tar(&files));
    let shown_zip = shown(&zip(&files[..4]));
    assert_eq!((shown_tar.files.len(), shown_zip.files.len()), (6, 5));
    assert!(shown_tar.has("../../up", b"x") && shown_zip.has("/etc/passwd", b"x"));
    let place = Place::of(Path::new("f")).within("\u{1b}[2J\u{202e}x");
    assert_eq!(place.to_string(), "f › \u{fffd}[2J\u{fffd}x");
}

#[test]
fn bombs_are_told_and_end() {
    let limits = Limits {
        floor: 1 << 20,
        ratio: 20,
        ..Limits::default()
    };
    let zeros = vec![0_u8; 4 << 20];
    for bomb in [
        gzip(&zeros),
        zip(&[("z", &zeros)]),
        gzip(&gzip(&zeros)),
        zip(&[("a.zip", &zip(&[("z", &zeros)]))]),
        tar(&[("z.gz", &gzip(&zeros))]),
        zstd(&zeros),
    ] {
        let shown = shown_within(&bomb, &limits);
        assert_eq!(shown.kinds(), ["unpacks-too-large"], "{:?}", shown.problems);
    }
    // Each is small: together they are not.
    let many: Vec<(String, Vec<u8>)> = (0..8)
        .map(|n| (format!("{n}.gz"), gzip(&zeros[..1 << 18])))
        .collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
    assert_eq!(
        shown_within(&tar(&many), &limits).kinds(),
        ["unpacks-too-large"]
    );
    // Not one byte more than the limit is asked for, so that this is no bomb.
    assert_eq!(shown_within(&gzip(&zeros[..1 << 19]), &limits).problems, []);
}

#[test]
fn what_nests_too_deep_and_too_many_files_are_told() {
    let mut nested = b"x".to_vec();
    for _ in 0..20 {
        nested = gzip(&nested);
    }
    assert_eq!(shown(&nested).kinds(), ["nested-too-deep"]);
    let limits = Limits {
        entries: 5,
        ..Limits::default()
    };
    let files: Vec<(&str, &[u8])> = vec![("x", b"x"); 10];
    assert_eq!(
        shown_within(&tar(&files), &limits).kinds(),
        ["too-many-entries"]
    );
}

#[test]
fn what_is_broken_is_told_where_it_is() {
    let whole = tar(&[("a", &[7; 2000]), ("b", &[8; 2000])]);
    for cut in [600, 1500, 2700, 3500, 4600] {
        let cut = shown(whole.get(..cut).unwrap());
        assert_eq!(cut.kinds(), ["broken-archive"], "{cut:?}");
    }
    let zipped = gzip(&whole);
    assert!(
        shown(zipped.get(..zipped.len() / 2).unwrap())
            .kinds()
            .contains(&"broken-archive")
    );
    let mut garbled = zipped.clone();
    let middle = garbled.len() / 2;
    garbled[middle] ^= 0xff;
    assert!(shown(&garbled).kinds().contains(&"broken-archive"));
    let zipped = zip(&[("a", &[7; 2000])]);
    assert_eq!(
        shown(zipped.get(..zipped.len() - 30).unwrap()).kinds(),
        ["broken-archive"]
    );
    // The list at the end says another size than comes: all that comes is shown.
    let bytes = b"some bytes that are packed";
    let with = |at: usize| {
        let mut lying = zip(&[("a", bytes)]);
        let list = lying.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        lying[list + at] ^= 0x01;
        lying
    };
    assert!(shown(&with(24)).has("a", bytes));
    // Another sum.
    assert_eq!(shown(&with(16)).kinds(), ["broken-archive"]);
    // A tar that says that terabytes come.
    let mut header = tar::Header::new_gnu();
    header.set_path("huge").unwrap();
    header.set_size(1 << 42);
    header.set_cksum();
    let huge = [header.as_bytes(), &[0; 4096][..]].concat();
    assert_eq!(shown(&huge).kinds().first(), Some(&"broken-archive"));
}

#[test]
fn bytes_after_an_archive_are_told() {
    let mut padded = tar(&[("a", b"a")]);
    padded.extend_from_slice(&[0; 10_240]);
    assert_eq!(shown(&padded).problems, []);
    padded.extend_from_slice(b"a secret");
    assert_eq!(shown(&padded).kinds(), ["trailing-bytes"]);
    let mut after = gzip(b"x");
    after.extend_from_slice(b"a secret");
    assert_eq!(shown(&after).kinds(), ["broken-archive"]);
}

#[test]
fn bytes_of_what_has_none_are_told_and_shown() {
    use tar::EntryType as T;
    // Others take them for the next files of the archive.
    let hidden = tar(&[("key", b"a secret")]);
    for kind in [T::Link, T::Symlink, T::Char, T::Directory, T::Fifo] {
        let mut header = tar::Header::new_gnu();
        header.set_path("innocent").unwrap();
        header.set_entry_type(kind);
        header.set_size(hidden.len() as u64);
        header.set_cksum();
        let archive = [header.as_bytes(), &hidden[..], &[0; 1024]].concat();
        let shown = shown(&archive);
        assert_eq!(shown.kinds(), ["broken-archive"], "{kind:?}");
        assert!(shown.has("innocent > key", b"a secret"), "{kind:?}");
    }
}

#[test]
fn what_an_archive_says_of_its_files_is_shown() {
    let mut builder = tar::Builder::new(Vec::new());
    let said = [("SCHILY.xattr.user.k", &b"a secret"[..])];
    builder.append_pax_extensions(said).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_path("a").unwrap();
    header.set_size(1);
    header.set_cksum();
    builder.append(&header, &b"a"[..]).unwrap();
    let shown_pax = shown(&builder.into_inner().unwrap());
    let attributes = b"SCHILY.xattr.user.k=a secret\n";
    assert!(
        shown_pax.has("a > (attributes)", attributes),
        "{shown_pax:?}"
    );
    let packed = flate2::GzBuilder::new().comment("a secret");
    let mut packed = packed.write(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"x").unwrap();
    let shown = shown(&packed.finish().unwrap());
    assert!(shown.has("(header)", b"a secret"), "{shown:?}");
    // It is held in memory: a long one is not.
    let mut header = tar::Header::new_gnu();
    header.set_path("././@LongLink").unwrap();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_size(8 << 20);
    header.set_cksum();
    let long = [header.as_bytes(), &vec![b'x'; 8 << 20][..]].concat();
    assert_eq!(super::tests::shown(&long).kinds(), ["broken-archive"]);
}

#[test]
fn what_a_zip_does_not_list_is_shown_or_told() {
    let one = zip(&[("a", b"one"), ("secret", b"in it")]);
    let two = zip(&[("b", b"two")]);
    // The second list does not have what is in the first.
    let both = shown(&[&one[..], &two].concat());
    assert!(both.has("b", b"two"));
    let first = both.files.iter().any(|f| f.0.starts_with("(not listed)"));
    assert!(first, "{both:?}");
    assert!(both.has("(not listed) > secret", b"in it") || !both.problems.is_empty());
    let after = shown(&[&two[..], b"a secret"].concat());
    assert_eq!(after.kinds(), ["trailing-bytes"]);
    assert!(after.has("(after the end)", b"a secret"));
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.set_comment("a secret").unwrap();
    writer
        .start_file("x", zip::write::SimpleFileOptions::default())
        .unwrap();
    let commented = writer.finish().unwrap().into_inner();
    assert!(shown(&commented).has("(comment)", b"a secret"));
    // Two of one name: the list may have both, a reader shows one.
    let twin = zip(&[("key", b"one of them"), ("kez", b"the other one")]);
    let text: Vec<u8> = twin;
    let twin: Vec<u8> = {
        let mut bytes = text;
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(3).position(|w| w == b"kez") {
            bytes[at + found + 2] = b'y';
            at += found + 3;
        }
        bytes
    };
    let shown_twin = shown(&twin);
    let one = shown_twin
        .files
        .iter()
        .any(|f| f.1 == ledger::sha256(b"one of them"));
    assert!(one || !shown_twin.problems.is_empty(), "{shown_twin:?}");
    // As the only part of several.
    let spanned = [&b"PK00"[..], &two].concat();
    assert!(shown(&spanned).files.len() > 1 || !shown(&spanned).problems.is_empty());
}

#[test]
fn a_frame_that_holds_nothing_does_not_hide_what_follows() {
    let inner = tar(&[("a", b"a secret")]);
    let skippable = [&b"\x50\x2a\x4d\x18\x04\x00\x00\x00...."[..]].concat();
    let packed = [&skippable[..], &zstd(&inner), &skippable, &zstd(b"")].concat();
    let shown_all = shown(&packed);
    assert!(
        shown_all
            .files
            .iter()
            .any(|f| f.1 == ledger::sha256(b"a secret")),
        "{shown_all:?}"
    );
    let cut = [&b"\x50\x2a\x4d\x18\xff\x00\x00\x00...."[..]].concat();
    assert_eq!(shown(&cut).kinds(), ["broken-archive"]);
}

#[test]
fn what_is_not_supported_or_encrypted_is_told() {
    for magic in [
        &b"7z\xbc\xaf\x27\x1c..."[..],
        b"Rar!\x1a\x07..",
        b"hsqs....",
        b"BZh91AY&SY...",
        b"\xfd7zXZ\0....",
    ] {
        assert_eq!(shown(magic).kinds(), ["unsupported-archive"]);
    }
    let mut encrypted = zip(&[("a", b"bytes")]);
    // Bit 0 of the flags, in the file's own header and in the list.
    let at = encrypted
        .windows(4)
        .position(|w| w == b"PK\x01\x02")
        .unwrap();
    encrypted[6] |= 1;
    encrypted[at + 8] |= 1;
    assert_eq!(shown(&encrypted).kinds(), ["encrypted-archive"]);
}

#[test]
fn what_is_no_file_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    std::fs::write(directory.path().join("file"), "x").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("file", &link).unwrap();
    for path in [link.as_path(), directory.path(), Path::new("missing")] {
        let mut shown = Shown::default();
        walk(path, &Limits::default(), &mut shown);
        assert_eq!((shown.kinds(), shown.files.len()), (vec!["unreadable"], 0));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_walked_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..2000), magic in 0..7_usize) {
        let magics: [&[u8]; 7] = [b"", b"\x1f\x8b\x08", b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh91AY&SY", b"PK\x05\x06"];
        shown(&[magics[magic], &bytes].concat());
    }

    #[test]
    fn damaged_archives_are_walked_without_harm(at in 0..4000_usize, bit in 0..8_u8, form in 0..4_usize) {
        let inner = tar(&[("a", &[7; 1000]), ("b.gz", &gzip(&[9; 500]))]);
        let mut packed = match form {
            0 => inner,
            1 => gzip(&inner),
            2 => zip(&[("x", &inner), ("y", b"y")]),
            _ => zstd(&inner),
        };
        let at = at % packed.len();
        packed[at] ^= 1 << bit;
        shown(&packed);
    }

    #[test]
    fn what_is_packed_is_found_whole(files in proptest::collection::btree_map("[a-z]{1,12}", proptest::collection::vec(any::<u8>(), 0..3000), 1..6), form in 0..4_usize) {
        let files: Vec<(&str, &[u8])> = files.iter().map(|(n, b)| (n.as_str(), &b[..])).collect();
        let packed = match form {
            0 => tar(&files),
            1 => gzip(&tar(&files)),
            2 => zip(&files),
            _ => zstd(&tar(&files)),
        };
        let shown = shown(&packed);
        for (name, bytes) in &files {
            let own = |f: &&(String, ledger::Hash)| f.0.rsplit(" > ").next() == Some(*name) && f.1 == ledger::sha256(bytes);
            prop_assert!(shown.files.iter().any(|f| own(&f)), "{name}");
        }
    }
}
