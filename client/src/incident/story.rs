//! What a report tells people, in blocks that each form of it writes its own way. Every text in it
//! may be from outside: whoever writes a form escapes all of it.

use super::document::{Account, Document, Question, Release, Sample};
use super::osv::bare;
use super::proven::{HEAD, HISTORY};
use crate::when::{parse_time, time};
use std::collections::BTreeSet;

/// A piece of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    /// Prose.
    Plain(String),
    /// A digest, a command, a name.
    Code(String),
    /// A file of the report, which has a name that we chose.
    File(String),
}

/// A block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Block {
    /// The title.
    Title(String),
    /// A heading.
    Heading(&'static str),
    Paragraph(Vec<Text>),
    /// A list; where it is numbered, the order matters.
    List(bool, Vec<Vec<Text>>),
    /// A table's head, and its rows.
    Table(Vec<&'static str>, Vec<Vec<Text>>),
}

pub(super) fn plain(text: impl Into<String>) -> Text {
    Text::Plain(text.into())
}

fn code(text: impl Into<String>) -> Text {
    Text::Code(text.into())
}

pub(super) fn says(text: impl Into<String>) -> Block {
    Block::Paragraph(vec![plain(text)])
}

/// All that is to be published.
pub(super) fn story(document: &Document) -> Vec<Block> {
    let mut blocks = vec![Block::Title(format!(
        "Incident report: {}",
        document.project.name
    ))];
    what_happened(document, &mut blocks);
    since_when(document, &mut blocks);
    who(document, &mut blocks);
    what_to_do(document, &mut blocks);
    timeline(document, &mut blocks);
    keys(document, &mut blocks);
    samples(document, &mut blocks);
    contact(document, &mut blocks);
    proofs(document, &mut blocks);
    blocks
}

fn count(document: &Document, standing: &str) -> usize {
    let of = document.releases.iter().filter(|r| r.standing == standing);
    of.count()
}

fn what_happened(d: &Document, out: &mut Vec<Block>) {
    out.push(Block::Heading("What happened"));
    let name = &d.project.name;
    let asked = match &d.asked.question {
        Question::Key(id) => vec![
            plain(format!("This report is about a key of {name}:")),
            code(id),
        ],
        Question::Digest(digest) => vec![
            plain("This report is about the bytes with the SHA-256"),
            code(digest),
        ],
        Question::Version(version) => vec![plain(format!(
            "This report is about version {version} of {name}."
        ))],
        Question::Window { since, until } => vec![plain(format!(
            "This report is about all that was logged for {name} from {} to {}.",
            time(*since),
            time(*until)
        ))],
    };
    out.push(Block::Paragraph(asked));
    if d.releases.is_empty() {
        let none = match &d.asked.question {
            Question::Digest(_) => {
                "No release of the project has these bytes, and none ever had: its whole history in the log was read and proven. Whoever was served them was not served what the project released."
            }
            _ => {
                "No release of the project is concerned: its whole history in the log was read and proven."
            }
        };
        out.push(says(none));
        return;
    }
    out.push(says(format!(
        "{} releases are concerned: {} void, since a key that signed them was compromised; {} withdrawn; {} that the log says nothing against.",
        d.releases.len(),
        count(d, "void"),
        count(d, "withdrawn"),
        count(d, "stands")
    )));
    let again = d.releases.iter().filter(|r| r.restated.is_some()).count();
    if again > 0 {
        out.push(says(format!(
            "Genuine all the same, since the project stated them again with a key that counts: {again} of the void ones."
        )));
    }
    let mut reasons: Vec<Vec<Text>> = Vec::new();
    for r in &d.revocations {
        let since = match r.compromised_since {
            Some(since) => format!("(nothing that it signed from entry {since} on counts) "),
            None => String::new(),
        };
        reasons.push(vec![
            plain(format!("entry {} revokes", r.index)),
            code(&r.target),
            plain(format!("{since}with the reason “{}”", r.reason)),
        ]);
    }
    for w in &d.withdrawals {
        let what = w.prefix.as_ref().or(w.release.as_ref());
        let instead = w.successor.as_ref();
        let instead = instead.map_or_else(String::new, |s| format!("; in its place: “{s}”"));
        reasons.push(vec![
            plain(format!("entry {} takes back", w.index)),
            code(what.cloned().unwrap_or_default()),
            plain(format!("with the reason “{}”{instead}", w.reason)),
        ]);
    }
    if !reasons.is_empty() {
        out.push(says("The project said of it:"));
        out.push(Block::List(false, reasons));
    }
}

/// Those that are not to be trusted: neither do they stand, nor were they stated again.
pub(super) fn bad(d: &Document) -> impl Iterator<Item = &Release> {
    let releases = d.releases.iter();
    releases.filter(|r| r.against.is_some() && r.restated.is_none())
}

fn since_when(d: &Document, out: &mut Vec<Block>) {
    out.push(Block::Heading("Since when"));
    let from = bad(d).filter_map(|r| r.against.as_ref()?.from.time).min();
    let until = bad(d).filter_map(|r| r.against.as_ref()?.by.time).max();
    if let (Some(from), Some(until)) = (from, until) {
        out.push(says(format!(
            "From {} on what is listed below could be taken for good; the log has said since {} that it is not.",
            time(from),
            time(until)
        )));
    }
    let accounts = d.samples.iter().flat_map(|s| &s.accounts);
    if let Some(first) = accounts.filter_map(|a| parse_time(&a.began)).min() {
        out.push(says(format!(
            "Bytes that should not have been served were seen first at {}. That is an observation by whoever made this report, not a proof.",
            time(first)
        )));
    } else if from.is_none() {
        out.push(says("The log says nothing against any of it until now."));
    }
}

fn who(d: &Document, out: &mut Vec<Block>) {
    out.push(Block::Heading("Who is affected"));
    let mut rows = Vec::new();
    for r in &d.releases {
        for a in &r.artifacts {
            let standing = match (&r.against, &r.restated) {
                (_, Some(at)) => format!("{}, stated again at entry {}", r.standing, at.index),
                (Some(against), None) => format!("{}, by entry {}", r.standing, against.by.index),
                (None, None) => r.standing.clone(),
            };
            let affected = match (&r.against, &r.restated) {
                (Some(_), None) => "yes",
                (_, Some(_)) => "no: the bytes are genuine",
                (None, None) if r.restates.is_some() => "no: stated again by the project",
                (None, None) => "the log does not say so",
            };
            rows.push(vec![
                code(&r.purl),
                code(&a.name),
                code(&a.sha256),
                plain(time(r.time)),
                plain(standing),
                plain(affected),
            ]);
        }
    }
    if rows.is_empty() && d.samples.is_empty() {
        out.push(says("Nobody, as far as the log tells."));
        return;
    }
    if !rows.is_empty() {
        out.push(says(
            "Whoever fetched or ran a file that is marked so, at any time since it was logged:",
        ));
        let head = vec![
            "release", "file", "SHA-256", "logged", "standing", "affected",
        ];
        out.push(Block::Table(head, rows));
    }
    if !d.samples.is_empty() {
        out.push(says(
            "Whoever fetched or ran bytes with one of the digests under “Observations”.",
        ));
    }
}

fn what_to_do(d: &Document, out: &mut Vec<Block>) {
    out.push(Block::Heading("What to do now"));
    let mut steps = vec![
        vec![
            plain(
                "If you keep receipts, they say which of your runs trusted any of this, and what each exposed:",
            ),
            code("countersign affected --receipts FILE… --policy POLICY"),
        ],
        vec![
            plain(
                "If you do not, look for the files themselves, in directories, archives and images:",
            ),
            code("countersign scan PATH… --policy POLICY"),
        ],
        vec![plain(
            "Where one of them ran, take the machine for one on which somebody else's code ran: make it anew, and replace every secret that it could read.",
        )],
        vec![
            plain(
                "Give the bundles that you have the newest view, so that what does not stand is refused offline, too:",
            ),
            code("countersign refresh FILE… --policy POLICY"),
        ],
    ];
    for good in &d.good {
        steps.push(vec![
            plain("Use this release, which stands (entry"),
            plain(format!("{}):", good.index)),
            code(&good.purl),
        ]);
    }
    let known: BTreeSet<&str> = d.good.iter().map(|g| bare(&g.purl)).collect();
    let in_question: BTreeSet<&str> = d.releases.iter().map(|r| bare(&r.purl)).collect();
    for package in in_question.difference(&known) {
        steps.push(vec![
            plain("Use no release of"),
            code(*package),
            plain(
                "until the project has published another: none that stands is free of what is in question.",
            ),
        ]);
    }
    out.push(Block::List(true, steps));
}

fn timeline(d: &Document, out: &mut Vec<Block>) {
    out.push(Block::Heading("Timeline, with proofs"));
    out.push(Block::Paragraph(vec![
        plain("Every line is a statement in the log"),
        code(&d.as_of.log),
        plain("and stands in a file that proves it. Whoever has the project's policy checks all of them offline:"),
        code("countersign incident verify DIR --policy POLICY"),
    ]));
    let row = |r: &super::document::Row| {
        let because = match (&r.because, r.standing.as_str()) {
            (Some(by), "replaced") => format!("replaced by version {by}"),
            (Some(by), standing) => format!("{standing}, by {by:.16}"),
            (None, standing) => standing.to_owned(),
        };
        let keys: Vec<String> = r.keys.iter().map(|k| format!("{k:.16}")).collect();
        vec![
            plain(time(r.time)),
            plain(r.index.to_string()),
            plain(&r.says),
            code(keys.join(", ")),
            plain(because),
            Text::File(r.proof.clone()),
        ]
    };
    let rows = d.timeline.iter().map(row).collect();
    let head = vec![
        "time",
        "entry",
        "what was said",
        "by keys",
        "standing",
        "proof",
    ];
    out.push(Block::Table(head, rows));
}

fn keys(d: &Document, out: &mut Vec<Block>) {
    if d.keys.is_empty() {
        return;
    }
    out.push(Block::Heading("Keys"));
    let row = |k: &super::document::Key| {
        let state = match (k.revoked, k.since) {
            (Some(at), Some(since)) => format!(
                "revoked at entry {}; nothing from entry {since} on counts",
                at.index
            ),
            (Some(at), None) => format!("revoked at entry {}", at.index),
            (None, _) => k.state.clone(),
        };
        vec![
            code(&k.id),
            plain(&k.purpose),
            plain(state),
            plain(k.listed.time.map(time).unwrap_or_default()),
            plain(k.statements.to_string()),
            code(k.successor.clone().unwrap_or_default()),
        ]
    };
    let head = vec![
        "key",
        "purpose",
        "state",
        "listed",
        "statements",
        "successor",
    ];
    out.push(Block::Table(head, d.keys.iter().map(row).collect()));
}

/// How much of what was served lies in the sample.
fn kept(sample: &Sample, account: Option<&Account>) -> &'static str {
    match (&sample.file, account.map(|a| a.whole)) {
        (None, Some(false)) => "no bytes; only the beginning was seen",
        (None, _) => "no bytes",
        (Some(_), Some(true)) => "all that was sent",
        (Some(_), Some(false)) => "only the beginning of what was sent",
        (Some(_), None) => "not known",
    }
}

fn samples(d: &Document, out: &mut Vec<Block>) {
    if d.samples.is_empty() {
        return;
    }
    out.push(Block::Heading("Observations"));
    out.push(says("These bytes were served, says the storage watch of whoever made this report. They are observations, not proofs: nobody else can check where they came from. What the log does prove is which releases have bytes of this digest. Do not run them."));
    let mut rows = Vec::new();
    for s in &d.samples {
        let released: Vec<String> = s.released.iter().map(|i| format!("entry {i}")).collect();
        let released = match released.is_empty() {
            true => "in no release".to_owned(),
            false => format!("released: {}", released.join(", ")),
        };
        for a in &s.accounts {
            rows.push(vec![
                plain(&a.began),
                code(&a.subject),
                code(&s.sha256),
                plain(&a.why),
                plain(&a.user_agent),
                plain(kept(s, Some(a))),
                plain(&released),
            ]);
        }
        if s.accounts.is_empty() {
            rows.push(vec![
                plain("not known"),
                plain("not known"),
                code(&s.sha256),
                plain(""),
                plain(""),
                plain(kept(s, None)),
                plain(&released),
            ]);
        }
    }
    let head = vec![
        "seen",
        "at",
        "SHA-256",
        "why kept",
        "as",
        "what was kept",
        "in the log",
    ];
    out.push(Block::Table(head, rows));
}

fn contact(d: &Document, out: &mut Vec<Block>) {
    out.push(Block::Heading("Contact"));
    out.push(Block::Paragraph(vec![
        plain(format!("{} wants to be told at", d.project.name)),
        code(&d.project.contact),
    ]));
}

fn proofs(d: &Document, out: &mut Vec<Block>) {
    out.push(Block::Heading("What this rests on"));
    let seen = match d.as_of.view_time {
        Some(at) => format!(", which the policy's witnesses saw at {}", time(at)),
        None => String::new(),
    };
    out.push(says(format!(
        "The project {} (id {}, version {}) has {} entries in the log {}, complete as of tree size {}, root {}{seen}. Made {} by {}; what it was asked, when it was made and what was observed is its maker's word alone.",
        d.project.name,
        d.project.id,
        d.project.version,
        d.entries,
        d.as_of.log,
        d.as_of.size,
        d.as_of.root,
        time(d.asked.made),
        d.asked.made_by
    )));
    out.push(Block::Paragraph(vec![
        plain("The log was asked, says its maker, at"),
        code(&d.asked.log_url),
        plain("(which proves nothing: a log is known by its name and its keys, which the policy has)."),
    ]));
    out.push(Block::Paragraph(vec![
        plain("All entries, and the state that the log signed for them:"),
        Text::File(HISTORY.to_owned()),
        Text::File(HEAD.to_owned()),
    ]));
}
