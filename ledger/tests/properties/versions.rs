//! Project statements of a story: the first, and those that follow or nearly do.

use crate::story::{Act, KEYS, ORIGIN, SLOTS, Story, public};
use keys::PublicKey;
use ledger::fold::ProjectState;
use ledger::statement::Project;

impl Story {
    pub fn first(&self, act: &Act) -> Project {
        let (x, y) = (usize::from(act.x), usize::from(act.y));
        let (roots, releases) = (1 + x % 3, 1 + y % 3);
        let key = |n: usize| public(x / 3 + n);
        let slot = if self.strangers && x % 8 == 0 {
            act.slot + 1
        } else {
            act.slot
        };
        Project {
            name: format!("p{slot}"),
            log: if x % 16 == 5 {
                "other.example".into()
            } else {
                ORIGIN.into()
            },
            version: 1,
            previous: None,
            roots: (0..roots).map(key).collect(),
            root_threshold: 1 + (y as u64 / 4) % roots as u64,
            release_keys: (roots..roots + releases).map(key).collect(),
            release_threshold: 1 + (y as u64 / 8) % releases as u64,
            authorities: Vec::new(),
            purl_prefixes: self.prefixes(act),
            contact: format!("contact {}", act.sign),
            max_key_age: (y % 3 == 0).then_some(120),
            policy: None,
        }
    }

    fn prefixes(&self, act: &Act) -> Vec<String> {
        let other = if self.strangers && act.y % 8 == 0 {
            1
        } else {
            0
        };
        let slot = (act.slot + other) % SLOTS;
        let all = [
            vec![format!("pkg:generic/p{slot}")],
            vec![format!("pkg:generic/p{slot}/")],
            vec![
                format!("pkg:generic/p{slot}/a"),
                format!("pkg:generic/p{slot}/b"),
            ],
            vec![format!("pkg:generic/q{slot}")],
        ];
        all[usize::from(act.y / 8) % all.len()].clone()
    }

    /// A version that follows the newest, or nearly.
    pub fn next(&self, act: &Act, project: &ProjectState) -> Project {
        let current = project.current();
        let mut p = current.project.clone();
        let y = usize::from(act.y);
        let change = |keys: &mut Vec<PublicKey>, replace: bool| {
            let new = public(y);
            if keys.contains(&new) {
                return;
            }
            match keys.first_mut() {
                Some(first) if replace => *first = new,
                _ => keys.push(new),
            }
        };
        p.version += 1;
        p.previous = Some(current.statement);
        p.contact = format!("contact {}", act.x % 7);
        match act.x % 12 {
            0 | 1 => change(&mut p.roots, true),
            2 => change(&mut p.roots, false),
            3 | 4 => change(&mut p.release_keys, true),
            5 => change(&mut p.release_keys, false),
            6 => p.purl_prefixes = self.prefixes(act),
            7 => p.previous = Some(project.first().statement),
            8 => p.version += 1,
            9 => p.max_key_age = [None, Some(60), Some(400)][y % 3],
            // What was dropped comes back, for the same purpose or for the other.
            10 => p.roots.clone_from(&project.first().project.roots),
            11 if y % 2 == 0 => {
                let first = &project.first().project;
                let dropped = |k: &&PublicKey| !p.release_keys.contains(k);
                p.roots = first.release_keys.iter().filter(dropped).cloned().collect();
            }
            _ if self.strangers && y % 4 == 0 => p.name = format!("p{}", y % SLOTS),
            _ => {}
        }
        // Drops the revoked, mostly.
        if act.x / 16 % 4 != 0 {
            for keys in [&mut p.roots, &mut p.release_keys] {
                keys.retain(|k| !project.is_revoked(&k.id()));
                let fresh = (y..).map(public).take(KEYS.len());
                let mut fresh = fresh.filter(|k| project.listed(&k.id()).is_none());
                if keys.is_empty() {
                    keys.extend(fresh.next());
                }
            }
        }
        let bound = |keys: &[PublicKey], n: u64| n.min(keys.len() as u64).max(1);
        p.root_threshold = bound(&p.roots, 1 + u64::from(act.y / 8) % 3);
        p.release_threshold = bound(&p.release_keys, 1 + u64::from(act.y / 32) % 3);
        p
    }
}
