//! The breach of 2021 replayed, with the built programs, on loopback: what the old way let happen
//! unnoticed, and where this project's programs stop it or say it. Each thing that is shown is an
//! assertion: where one does not hold, the replay ends with an error.
//!
//! Days are replayed one after the other, and no clock is changed: what is called a day takes a moment.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod hidden_revocation;
mod jobs;
mod log;
mod release_key;
mod storage;
mod store;
mod world;

use std::time::{Duration, Instant};

/// A way that an attacker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// They can write to the storage, as in 2021.
    Storage,
    /// They have the project's release key, too.
    ReleaseKey,
    /// They run the log, and hold its keys.
    Log,
    /// They hide from clients that a key was revoked.
    HiddenRevocation,
}

/// All of them.
pub const VARIANTS: [Variant; 4] = [
    Variant::Storage,
    Variant::ReleaseKey,
    Variant::Log,
    Variant::HiddenRevocation,
];

/// Tells what happens, and asserts what is shown.
pub struct Scene {
    began: Instant,
    shown: usize,
    quiet: bool,
}

impl Scene {
    /// `quiet` tells nothing but what failed.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self {
            began: Instant::now(),
            shown: 0,
            quiet,
        }
    }

    /// A heading.
    pub fn act(&self, title: &str) {
        if !self.quiet {
            println!("\n== {title}");
        }
    }

    /// What happens, and when.
    pub fn tell(&self, when: &str, what: &str) {
        if !self.quiet {
            println!("  {when:<14} {what}");
        }
    }

    /// Asserts that it is so; `otherwise` says what was seen.
    ///
    /// # Panics
    /// Where it is not.
    pub fn shown(&mut self, what: &str, holds: bool, otherwise: &dyn Fn() -> String) {
        assert!(holds, "NOT shown: {what}\n{}", otherwise());
        self.shown += 1;
        if !self.quiet {
            println!("  shown          {what}");
        }
    }

    /// How many things were shown, in which time.
    #[must_use]
    pub fn end(&self) -> (usize, Duration) {
        (self.shown, self.began.elapsed())
    }
}

/// Replays one variant; `days` of the two months of the storage variant.
///
/// # Panics
/// Where something is not as it is shown to be, or a program cannot be run.
pub fn replay(variant: Variant, days: u32, scene: &mut Scene) {
    match variant {
        Variant::Storage => storage::replay(days, scene),
        Variant::ReleaseKey => release_key::replay(scene),
        Variant::Log => log::replay(scene),
        Variant::HiddenRevocation => hidden_revocation::replay(scene),
    }
}

/// A day of 2021, from 31 January.
fn date(day: u32) -> String {
    let (mut day, mut month) = (day + 31, 0);
    let months = [
        ("January", 31),
        ("February", 28),
        ("March", 31),
        ("April", 30),
    ];
    while let Some((_, length)) = months.get(month).filter(|(_, length)| day > *length) {
        day -= length;
        month += 1;
    }
    let name = months.get(month).map_or("May", |(name, _)| name);
    format!("{day} {name}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_two_months_end_on_the_first_of_april() {
        assert_eq!(super::date(0), "31 January");
        assert_eq!(super::date(1), "1 February");
        assert_eq!(super::date(29), "1 March");
        assert_eq!(super::date(60), "1 April");
    }
}
