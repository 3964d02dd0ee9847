//! The cases: one thing wrong each, in a path that is valid otherwise, and properly signed.

mod names;
mod path;
mod shape;
mod usage;

use countersign_tests::certificates::{Certificate, NOW, World};

/// What the second opinion says of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Second {
    /// The same as we.
    Agrees,
    /// The same where it knows the purpose `codesign` (from OpenSSL 3.2 on). Else it is not asked
    /// what a certificate is for.
    AgreesOnPurpose,
    /// Valid, where we refuse: why we do.
    Accepts(&'static str),
    /// Invalid, where we accept: why we do.
    Refuses(&'static str),
}

pub use Second::{Accepts, Agrees, AgreesOnPurpose, Refuses};

/// A path, judged at a time.
pub struct Case {
    /// One line, unique.
    pub name: &'static str,
    /// End certificate first.
    pub chain: Vec<Vec<u8>>,
    pub anchor: Vec<u8>,
    pub time: u64,
    /// `valid`, or the kind of our error.
    pub want: &'static str,
    pub second: Second,
}

/// What `edit` makes of a valid world.
fn world(
    name: &'static str,
    want: &'static str,
    second: Second,
    edit: impl FnOnce(&mut World),
) -> Case {
    let mut world = World::new(1);
    edit(&mut world);
    of(name, want, second, &world)
}

/// A world as it is.
fn of(name: &'static str, want: &'static str, second: Second, world: &World) -> Case {
    Case {
        name,
        chain: world.chain(),
        anchor: world.anchor(),
        time: NOW,
        want,
        second,
    }
}

/// An end certificate that was changed.
fn end(
    name: &'static str,
    want: &'static str,
    second: Second,
    edit: impl FnOnce(&mut Certificate),
) -> Case {
    world(name, want, second, |w| edit(&mut w.end))
}

/// An intermediate that was changed.
fn middle(
    name: &'static str,
    want: &'static str,
    second: Second,
    edit: impl FnOnce(&mut Certificate),
) -> Case {
    world(name, want, second, |w| edit(&mut w.middle))
}

/// An anchor that was changed.
fn root(
    name: &'static str,
    want: &'static str,
    second: Second,
    edit: impl FnOnce(&mut Certificate),
) -> Case {
    world(name, want, second, |w| edit(&mut w.root))
}

/// Every case.
pub fn all() -> Vec<Case> {
    let mut all = shape::cases();
    all.extend(names::cases());
    all.extend(usage::cases());
    all.extend(path::cases());
    all
}
