#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

pub(crate) fn receipt() -> Receipt<'static> {
    let hex = |digit: &str| Cow::Owned(digit.repeat(64));
    Receipt {
        api_version: ledger::API_VERSION.into(),
        artifact: "uploader.sh".into(),
        command: Command::Run,
        environment: Some(vec!["CI".into(), "PATH".into()]),
        head: Head {
            root: hex("a"),
            size: 40,
            view_time: Some(1_700_000_000),
        },
        host: Some("ci-7".into()),
        index: 12,
        keys: vec!["b".repeat(64)],
        kind: KIND.into(),
        log: "log.example".into(),
        policy: hex("c"),
        project: "acme/uploader".into(),
        project_id: hex("d"),
        purl: "pkg:generic/acme/uploader@1".into(),
        remotes: Some(vec!["https://git.example/x".into()]),
        sha256: hex("e"),
        size: 5,
        statement: hex("f"),
        time: 1_700_000_100,
        url: Some("https://dl.example/uploader.sh".into()),
        version: "1".into(),
    }
}

fn text() -> String {
    let line = receipt().to_line().unwrap();
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

fn kind(line: &str) -> &'static str {
    Receipt::parse(line.as_bytes()).unwrap_err().kind()
}

#[test]
fn a_receipt_is_one_line_and_reads_back() {
    let line = text();
    assert!(!line.contains('\n'));
    assert_eq!(Receipt::parse(line.as_bytes()).unwrap(), receipt());
    let value = ledger::json::parse(line.as_bytes()).unwrap();
    assert_eq!(ledger::json::canonical_of(&value).unwrap(), line.as_bytes());
}

#[test]
fn what_is_no_receipt_is_refused_by_kind() {
    let line = text();
    let with = |from: &str, to: &str| {
        assert!(line.contains(from), "{from}");
        line.replacen(from, to, 1)
    };
    let half = line.get(..line.len() / 2).unwrap();
    assert_eq!(kind(half), "receipt-malformed");
    assert_eq!(kind(&format!("{line} x")), "receipt-malformed");
    let twice = with("\"index\":12", "\"index\":12,\"index\":13");
    assert_eq!(kind(&twice), "receipt-malformed");
    let unknown = with("\"index\":12", "\"index\":12,\"indexes\":13");
    assert_eq!(kind(&unknown), "receipt-malformed");
    let within = with("\"size\":40", "\"size\":40,\"more\":1");
    assert_eq!(kind(&within), "receipt-malformed");
    let missing = with("\"index\":12,", "");
    assert_eq!(kind(&missing), "receipt-malformed");
    let newer = with("countersign/v1", "countersign/v2");
    assert_eq!(kind(&newer), "receipt-version");
    let newer = newer.replacen("\"index\":12", "\"entry\":12", 1);
    assert_eq!(kind(&newer), "receipt-version");
    assert_eq!(kind(&with("\"receipt\"", "\"bill\"")), "receipt-field");
    assert_eq!(kind(&with(&"e".repeat(64), "EE")), "receipt-field");
    assert_eq!(kind(&with(&"b".repeat(64), "bb")), "receipt-field");
    let big = with("\"index\":12", "\"index\":9007199254740992");
    assert_eq!(kind(&big), "receipt-field");
    // Who was handed what is a matter of `run`, and never left out there.
    assert_eq!(kind(&with("\"run\"", "\"get\"")), "receipt-field");
    let none = with("\"environment\":[\"CI\",\"PATH\"],", "");
    assert_eq!(kind(&none), "receipt-field");
    let long = with("ci-7", &"x".repeat(MAX_RECEIPT_BYTES));
    assert_eq!(kind(&long), "receipt-large");
    assert_eq!(kind(&with("\"run\"", "\"exec\"")), "receipt-malformed");
}

#[test]
fn a_receipt_that_could_not_be_read_is_not_written() {
    let mut long = receipt();
    long.environment = Some(vec!["X".repeat(MAX_RECEIPT_BYTES)]);
    assert_eq!(long.to_line(), Err(ReceiptError::Large));
    let mut no_run = receipt();
    no_run.command = Command::Get;
    assert_eq!(no_run.to_line().unwrap_err().kind(), "receipt-field");
}

#[test]
fn lines_are_appended_and_a_half_written_one_is_ended_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new").join("receipts.jsonl");
    assert_eq!(keep(&path, &receipt()).unwrap(), Kept { mended: false });
    assert_eq!(keep(&path, &receipt()).unwrap(), Kept { mended: false });
    // As a machine leaves it that lost its power in the middle.
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, whole.get(..whole.len() - 10).unwrap()).unwrap();
    assert_eq!(keep(&path, &receipt()).unwrap(), Kept { mended: true });
    let read = std::fs::read(&path).unwrap();
    let good: Vec<bool> = read
        .split(|b| *b == b'\n')
        .map(|l| Receipt::parse(l).is_ok())
        .collect();
    assert_eq!(good, [true, false, true, false]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_is_no_file_gets_no_receipt_and_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    for path in [pipe.as_path(), std::path::Path::new("/dev/full")] {
        let fail = keep(path, &receipt()).unwrap_err();
        assert_eq!((fail.code, fail.kind.as_str()), (2, "receipt-unwritable"));
    }
}

#[test]
fn many_writers_at_once_lose_and_mix_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("receipts.jsonl");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    keep(&path, &receipt()).unwrap();
                }
            });
        }
    });
    let read = std::fs::read_to_string(&path).unwrap();
    let good = read
        .lines()
        .filter(|l| Receipt::parse(l.as_bytes()).is_ok());
    assert_eq!((good.count(), read.lines().count()), (80, 80));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Receipt::parse(&bytes);
    }

    #[test]
    fn any_text_reads_back(artifact in "\\PC*", host in any::<String>(), names in proptest::collection::vec(any::<String>(), 0..5), time in 0..=MAX_INTEGER) {
        let mut given = receipt();
        given.artifact = artifact.into();
        given.host = Some(host.into());
        given.environment = Some(names);
        given.time = time;
        let line = given.to_line().unwrap();
        let (newline, text) = line.split_last().unwrap();
        prop_assert_eq!(*newline, b'\n');
        prop_assert!(!text.contains(&b'\n'));
        prop_assert_eq!(Receipt::parse(text).unwrap(), given);
    }
}
