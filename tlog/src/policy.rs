//! Trust policies, which say whose cosignatures suffice: c2sp.org/tlog-policy.
//!
//! # Format
//!
//! Text in lines that end in a newline (the last may lack it). Items on a line are separated by
//! spaces and tabs; space around a line is allowed. Empty lines, and lines whose first item
//! starts with `#`, are ignored. No other control character may appear, nor 0x7F. Names are
//! compared byte by byte.
//!
//! ```text
//! log <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group <name> all|any|<k> <member>...
//! quorum <name>|none
//! ```
//!
//! - A *vkey* is [`crate::vkey`]'s. A log's name in it is the log's origin. Log keys are Ed25519
//!   (0x01), ECDSA P-256 (0x02) or cosignature (0x04) keys, witness keys are cosignature keys.
//!   A key of any other type makes the policy unusable: ignoring the line would turn it into a
//!   member that silently never cosigns.
//! - No two `log` lines and no two `witness` lines have the same public key, whatever its name
//!   and key id there. Logs may be missing altogether where the reader knows them otherwise.
//! - Witnesses and groups share one namespace; a name is defined once, and `none` never.
//! - A group is met when at least *k* of its *n* members are: 1 ≤ k ≤ n, decimal, no leading
//!   zero; `any` is 1 and `all` is n. Members are names from earlier lines, and a name is a
//!   member at most once in the whole policy, so that no witness counts twice.
//! - There is exactly one `quorum` line. It names an earlier witness or group, or `none`: no
//!   cosignature is needed.
//! - At most [`MAX_POLICY_BYTES`] bytes, and [`MAX_LINES`] lines of each sort.
//!
//! The specification lets octets that are not UTF-8 stand in names and comments; here a policy
//! is a `str`, since it travels in JSON and TOML.
//!
//! # Times of a quorum
//!
//! [`Policy::kth_smallest`] is the smallest T such that the witnesses with a time ≤ T meet the
//! quorum, and [`Policy::kth_largest`] the largest T such that those with a time ≥ T do: of a
//! k-of-n group the k-th smallest, or largest, of its members' times, a missing one being +∞, or
//! −∞.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::parse_decimal;
use crate::vkey::{Algorithm, VerifierKey, VkeyError};

/// Largest policy accepted, in bytes.
pub const MAX_POLICY_BYTES: usize = 1_000_000;

/// Most lines of each sort (`log`, `witness`, `group`).
pub const MAX_LINES: usize = 1000;

/// Why a policy was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Larger than [`MAX_POLICY_BYTES`].
    #[error("policy: expected at most {MAX_POLICY_BYTES} bytes, got {got}")]
    TooLarge {
        /// Size in bytes.
        got: usize,
    },
    /// More than [`MAX_LINES`] lines of one sort.
    #[error("policy line {line}: expected at most {MAX_LINES} `{keyword}` lines")]
    TooManyLines {
        /// Number of the line, from 1.
        line: usize,
        /// The sort of line.
        keyword: &'static str,
    },
    /// A control character other than tab and newline.
    #[error("policy line {line}: expected no control character but tab, got 0x{byte:02x}")]
    ControlCharacter {
        /// Number of the line, from 1.
        line: usize,
        /// The character.
        byte: u8,
    },
    /// A line that starts with another word.
    #[error("policy line {line}: expected log, witness, group or quorum, got {got:?}")]
    UnknownKeyword {
        /// Number of the line, from 1.
        line: usize,
        /// The word.
        got: String,
    },
    /// Too few or too many items.
    #[error("policy line {line}: expected `{expected}`, got {got} items")]
    Items {
        /// Number of the line, from 1.
        line: usize,
        /// The line's form.
        expected: &'static str,
        /// Number of items.
        got: usize,
    },
    /// A key that is not a vkey.
    #[error("policy line {line}: expected a verifier key")]
    Key {
        /// Number of the line, from 1.
        line: usize,
        /// What is wrong with it.
        source: VkeyError,
    },
    /// A key of a type that cannot be verified in this role.
    #[error("policy line {line}: expected a key of type {expected}, got 0x{got:02x} ({name})")]
    UnsupportedKeyType {
        /// Number of the line, from 1.
        line: usize,
        /// The types that would do.
        expected: &'static str,
        /// The key's type.
        got: u8,
        /// The key's name.
        name: String,
    },
    /// A public key for the second time in this role.
    #[error("policy line {line}: expected another public key than line {first}'s")]
    DuplicateKey {
        /// Number of the line, from 1.
        line: usize,
        /// The line that has it first.
        first: usize,
    },
    /// A name that is taken, or `none`.
    #[error("policy line {line}: expected a name not yet used, got {name:?}")]
    DuplicateName {
        /// Number of the line, from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// A name that no earlier line defines.
    #[error("policy line {line}: expected a name from an earlier line, got {name:?}")]
    UndefinedName {
        /// Number of the line, from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// A group member that is one already.
    #[error("policy line {line}: expected each member in one group once, got {name:?} again")]
    DuplicateMember {
        /// Number of the line, from 1.
        line: usize,
        /// The name.
        name: String,
    },
    /// A threshold that is not `all`, `any` or a number from 1 to n.
    #[error("policy line {line}: expected all, any or a number from 1 to {members}, got {got:?}")]
    Threshold {
        /// Number of the line, from 1.
        line: usize,
        /// Number of the group's members.
        members: usize,
        /// The item where the threshold should be.
        got: String,
    },
    /// A second quorum line.
    #[error("policy line {line}: expected one quorum line, got another")]
    DuplicateQuorum {
        /// Number of the line, from 1.
        line: usize,
    },
    /// No quorum line.
    #[error("policy: expected a quorum line, got none (`quorum none` asks for no cosignature)")]
    NoQuorum,
}

impl PolicyError {
    /// A stable name of this sort of failure.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "policy-too-large",
            Self::TooManyLines { .. } => "policy-too-many-lines",
            Self::ControlCharacter { .. } => "policy-control-character",
            Self::UnknownKeyword { .. } => "policy-unknown-keyword",
            Self::Items { .. } => "policy-items",
            Self::Key { .. } => "policy-key",
            Self::UnsupportedKeyType { .. } => "policy-unsupported-key-type",
            Self::DuplicateKey { .. } => "policy-duplicate-key",
            Self::DuplicateName { .. } => "policy-duplicate-name",
            Self::UndefinedName { .. } => "policy-undefined-name",
            Self::DuplicateMember { .. } => "policy-duplicate-member",
            Self::Threshold { .. } => "policy-threshold",
            Self::DuplicateQuorum { .. } => "policy-duplicate-quorum",
            Self::NoQuorum => "policy-no-quorum",
        }
    }
}

/// A `log` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The log's key; its name is the log's origin.
    pub key: VerifierKey,
    /// Where the log is, if the policy says.
    pub url: Option<String>,
}

/// A `witness` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The witness's name within the policy; the name in its key may be another.
    pub name: String,
    /// The witness's cosignature key.
    pub key: VerifierKey,
    /// Where to submit checkpoints, if the policy says.
    pub url: Option<String>,
}

/// What a name stands for. Members are indexes of earlier nodes, so the order of definition is
/// an order of evaluation, and no recursion is needed, however deep the groups are.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    /// Index into `witnesses`.
    Witness(usize),
    /// `threshold` of `members`, which are indexes into `nodes`.
    Group {
        name: String,
        threshold: usize,
        members: Vec<usize>,
    },
}

/// A part of the quorum, for whoever explains a policy; see [`Policy::parts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// A witness.
    Witness(&'a Witness),
    /// A group, of which `threshold` of its `members` are needed.
    Group {
        /// Its name in the policy.
        name: &'a str,
        /// How many it takes.
        threshold: usize,
        /// How many there are.
        members: usize,
    },
}

/// A policy that was read and found sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    nodes: Vec<Node>,
    /// Index into `nodes`; `None` for `quorum none`.
    quorum: Option<usize>,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`] for whatever the module's format does not allow, with the line's number.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLarge { got: text.len() });
        }
        let mut reader = Reader::default();
        for (at, line) in text.split('\n').enumerate() {
            reader.line(at + 1, line)?;
        }
        Ok(Self {
            logs: reader.logs,
            witnesses: reader.witnesses,
            nodes: reader.nodes,
            quorum: reader.quorum.ok_or(PolicyError::NoQuorum)?,
        })
    }

    /// The witnesses, in the policy's order, whether the quorum needs them or not.
    #[must_use]
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// The logs, in the policy's order; perhaps none.
    #[must_use]
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// Whether the policy asks for no cosignature at all.
    #[must_use]
    pub fn quorum_none(&self) -> bool {
        self.quorum.is_none()
    }

    /// The quorum and all below it, each group before its members, with how deep it stands from 0.
    /// Witnesses and groups that the quorum does not need are left out; of `quorum none` there is
    /// nothing.
    #[must_use]
    pub fn parts(&self) -> Vec<(usize, Part<'_>)> {
        let mut parts = Vec::new();
        let mut todo: Vec<(usize, usize)> = self.quorum.iter().map(|node| (0, *node)).collect();
        while let Some((depth, node)) = todo.pop() {
            match self.nodes.get(node) {
                Some(Node::Witness(index)) => {
                    parts.extend(
                        self.witnesses
                            .get(*index)
                            .map(|w| (depth, Part::Witness(w))),
                    );
                }
                Some(Node::Group {
                    name,
                    threshold,
                    members,
                }) => {
                    let part = Part::Group {
                        name,
                        threshold: *threshold,
                        members: members.len(),
                    };
                    parts.push((depth, part));
                    todo.extend(members.iter().rev().map(|member| (depth + 1, *member)));
                }
                None => {}
            }
        }
        parts
    }

    /// Whether the witnesses for which `cosigned` is true meet the quorum; `quorum none` always
    /// is met.
    #[must_use]
    pub fn met(&self, cosigned: &dyn Fn(&str) -> bool) -> bool {
        self.quorum_none()
            || self
                .kth_smallest(&|name| cosigned(name).then_some(0))
                .is_some()
    }

    /// The smallest T such that the witnesses whose `time` is at most T meet the quorum; `None`
    /// if all together do not, and for `quorum none`, which has no time.
    #[must_use]
    pub fn kth_smallest(&self, time: &dyn Fn(&str) -> Option<u64>) -> Option<u64> {
        self.evaluate(time, &mut |times| times.sort_unstable())
    }

    /// The largest T such that the witnesses whose `time` is at least T meet the quorum; `None`
    /// if all together do not, and for `quorum none`, which has no time.
    #[must_use]
    pub fn kth_largest(&self, time: &dyn Fn(&str) -> Option<u64>) -> Option<u64> {
        self.evaluate(time, &mut |times| {
            times.sort_unstable_by_key(|t| Reverse(*t))
        })
    }

    /// The quorum's time, where `order` sorts times from the first to be counted to the last.
    fn evaluate(
        &self,
        time: &dyn Fn(&str) -> Option<u64>,
        order: &mut dyn FnMut(&mut [u64]),
    ) -> Option<u64> {
        let mut values: Vec<Option<u64>> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let value = match node {
                Node::Witness(index) => self.witnesses.get(*index).and_then(|w| time(&w.name)),
                Node::Group {
                    threshold, members, ..
                } => {
                    // Members without a time stand behind all others: leaving them out is that.
                    let mut times: Vec<u64> = members
                        .iter()
                        .filter_map(|member| values.get(*member).copied().flatten())
                        .collect();
                    order(&mut times);
                    threshold.checked_sub(1).and_then(|k| times.get(k)).copied()
                }
            };
            values.push(value);
        }
        self.quorum.and_then(|node| values.get(node).copied())?
    }
}

/// The state of reading a policy line by line.
#[derive(Default)]
struct Reader {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    nodes: Vec<Node>,
    groups: usize,
    quorum: Option<Option<usize>>,
    names: BTreeMap<String, usize>,
    members: BTreeSet<usize>,
    log_keys: BTreeMap<Vec<u8>, usize>,
    witness_keys: BTreeMap<Vec<u8>, usize>,
}

impl Reader {
    fn line(&mut self, line: usize, text: &str) -> Result<(), PolicyError> {
        let control = |b: &u8| (*b < 0x20 && *b != b'\t') || *b == 0x7f;
        if let Some(byte) = text.bytes().find(control) {
            return Err(PolicyError::ControlCharacter { line, byte });
        }
        let items: Vec<&str> = text
            .split([' ', '\t'])
            .filter(|item| !item.is_empty())
            .collect();
        let items_error = |expected| PolicyError::Items {
            line,
            expected,
            got: items.len(),
        };
        match items.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", key, url @ ..] if url.len() <= 1 => self.log(line, key, url.first()),
            ["log", ..] => Err(items_error("log <vkey> [<url>]")),
            ["witness", name, key, url @ ..] if url.len() <= 1 => {
                self.witness(line, name, key, url.first())
            }
            ["witness", ..] => Err(items_error("witness <name> <vkey> [<url>]")),
            ["group", name, threshold, members @ ..] if !members.is_empty() => {
                self.group(line, name, threshold, members)
            }
            ["group", ..] => Err(items_error("group <name> all|any|<k> <member>...")),
            ["quorum", name] => self.set_quorum(line, name),
            ["quorum", ..] => Err(items_error("quorum <name>|none")),
            [other, ..] => Err(PolicyError::UnknownKeyword {
                line,
                got: (*other).to_owned(),
            }),
        }
    }

    fn log(&mut self, line: usize, key: &str, url: Option<&&str>) -> Result<(), PolicyError> {
        limit(line, "log", self.logs.len())?;
        let key = parse_key(line, key)?;
        if let Algorithm::Other(got) = key.algorithm() {
            return Err(unsupported(line, "0x01, 0x02 or 0x04", got, &key));
        }
        once(&mut self.log_keys, line, &key)?;
        let url = url.map(|&url| url.to_owned());
        self.logs.push(Log { key, url });
        Ok(())
    }

    fn witness(
        &mut self,
        line: usize,
        name: &str,
        key: &str,
        url: Option<&&str>,
    ) -> Result<(), PolicyError> {
        limit(line, "witness", self.witnesses.len())?;
        let key = parse_key(line, key)?;
        if key.algorithm() != Algorithm::CosignatureV1 {
            return Err(unsupported(line, "0x04", key.algorithm().byte(), &key));
        }
        once(&mut self.witness_keys, line, &key)?;
        self.define(line, name, Node::Witness(self.witnesses.len()))?;
        self.witnesses.push(Witness {
            name: name.to_owned(),
            key,
            url: url.map(|&url| url.to_owned()),
        });
        Ok(())
    }

    fn group(
        &mut self,
        line: usize,
        name: &str,
        threshold: &str,
        members: &[&str],
    ) -> Result<(), PolicyError> {
        limit(line, "group", self.groups)?;
        self.groups += 1;
        let count = members.len();
        let threshold = match threshold {
            "all" => Some(count),
            "any" => Some(1),
            number => parse_decimal(number).and_then(|k| usize::try_from(k).ok()),
        }
        .filter(|k| (1..=count).contains(k))
        .ok_or_else(|| PolicyError::Threshold {
            line,
            members: count,
            got: threshold.to_owned(),
        })?;
        let mut nodes = Vec::with_capacity(count);
        for member in members {
            let node = self.find(line, member)?;
            if !self.members.insert(node) {
                return Err(PolicyError::DuplicateMember {
                    line,
                    name: (*member).to_owned(),
                });
            }
            nodes.push(node);
        }
        self.define(
            line,
            name,
            Node::Group {
                name: name.to_owned(),
                threshold,
                members: nodes,
            },
        )
    }

    fn set_quorum(&mut self, line: usize, name: &str) -> Result<(), PolicyError> {
        if self.quorum.is_some() {
            return Err(PolicyError::DuplicateQuorum { line });
        }
        self.quorum = Some(match name {
            "none" => None,
            name => Some(self.find(line, name)?),
        });
        Ok(())
    }

    fn define(&mut self, line: usize, name: &str, node: Node) -> Result<(), PolicyError> {
        if name == "none" || self.names.contains_key(name) {
            return Err(PolicyError::DuplicateName {
                line,
                name: name.to_owned(),
            });
        }
        self.names.insert(name.to_owned(), self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn find(&self, line: usize, name: &str) -> Result<usize, PolicyError> {
        self.names
            .get(name)
            .copied()
            .ok_or_else(|| PolicyError::UndefinedName {
                line,
                name: name.to_owned(),
            })
    }
}

fn limit(line: usize, keyword: &'static str, have: usize) -> Result<(), PolicyError> {
    if have >= MAX_LINES {
        return Err(PolicyError::TooManyLines { line, keyword });
    }
    Ok(())
}

fn parse_key(line: usize, text: &str) -> Result<VerifierKey, PolicyError> {
    VerifierKey::parse(text).map_err(|source| PolicyError::Key { line, source })
}

fn unsupported(line: usize, expected: &'static str, got: u8, key: &VerifierKey) -> PolicyError {
    PolicyError::UnsupportedKeyType {
        line,
        expected,
        got,
        name: key.name().to_owned(),
    }
}

/// Refuses a public key that an earlier line of the same sort has.
fn once(
    seen: &mut BTreeMap<Vec<u8>, usize>,
    line: usize,
    key: &VerifierKey,
) -> Result<(), PolicyError> {
    match seen.insert(key.public_key().to_vec(), line) {
        None => Ok(()),
        Some(first) => Err(PolicyError::DuplicateKey { line, first }),
    }
}
