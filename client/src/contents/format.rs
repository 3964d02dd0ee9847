//! What a file is, by its first bytes; its name says nothing.

/// First bytes that are looked at.
pub(super) const HEAD: usize = 512;

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    Tar,
    Zip,
    Gzip,
    Zstd,
    /// An archive that we do not read.
    Other(&'static str),
}

const OTHERS: [(&[u8], &str); 14] = [
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"!<arch>\ndebian-binary", "a Debian package"),
    (b"\xed\xab\xee\xdb", "an RPM package"),
    (b"MSCF\0\0\0\0", "a cabinet"),
    (b"hsqs", "squashfs"),
    (b"070701", "cpio"),
    (b"070702", "cpio"),
    (b"070707", "cpio"),
    (b"\x1f\x9d", "compress"),
    (b"LZIP", "lzip"),
    (b"\x27\xb5\x2f\xfd", "an old form of zstd"),
    // Its properties as everybody has them, and a dictionary of a size that is a power of two.
    (b"\x5d\x00\x00", "lzma"),
    (b"\x04\x22\x4d\x18", "lz4"),
];

impl Format {
    /// By the first [`HEAD`] bytes, or all there are.
    pub(super) fn of(head: &[u8]) -> Self {
        let begins = |magic: &[u8]| head.starts_with(magic);
        if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| begins(magic)) {
            return Self::Other(name);
        }
        if begins(b"\x1f\x8b\x08") {
            Self::Gzip
        } else if ZIPS.iter().any(|magic| begins(magic)) {
            Self::Zip
        } else if begins(b"\x28\xb5\x2f\xfd") || is_skippable(head) {
            Self::Zstd
        } else if begins(b"\xfd7zXZ\0") {
            Self::Other("xz")
        } else if begins(b"BZh") && head.get(4..10) == Some(b"\x31\x41\x59\x26\x53\x59") {
            // Of both, the decoders in Rust end the program, or never end, on bytes that are made for it.
            Self::Other("bzip2")
        } else if is_tar(head) {
            Self::Tar
        } else if head.get(257..262) == Some(b"ustar") {
            // Some programs go on at the next header.
            Self::Other("a tar whose first header is damaged")
        } else {
            Self::Plain
        }
    }
}

/// A zip, alone or as the only part of several.
const ZIPS: [&[u8]; 4] = [
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"PK00PK\x03\x04",
    b"PK\x07\x08PK\x03\x04",
];

/// A frame of zstd that holds no data, with which some programs begin.
pub(super) fn is_skippable(head: &[u8]) -> bool {
    matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

/// A tar's first header has a sum of its bytes, also where it is older than the word `ustar`.
fn is_tar(head: &[u8]) -> bool {
    let Some(field) = head.get(148..156).filter(|_| head.len() == HEAD) else {
        return false;
    };
    let digits: String = field
        .iter()
        .map(|b| char::from(*b))
        .filter(char::is_ascii_digit)
        .collect();
    let Ok(said) = u32::from_str_radix(&digits, 8) else {
        return false;
    };
    let sum = |byte: fn(u8) -> i64| -> i64 {
        head.iter()
            .enumerate()
            .map(|(at, b)| {
                if (148..156).contains(&at) {
                    32
                } else {
                    byte(*b)
                }
            })
            .sum()
    };
    // Some old programs took the bytes for signed.
    let said = i64::from(said);
    said == sum(i64::from) || said == sum(|b| i64::from(b.cast_signed()))
}
