//! Of time: ages, clocks, and when the log says that it was.

use super::{DAY, Folder, seen};
use crate::forger::{Liar, ORIGIN, Plan, T};

pub fn folders() -> Vec<(&'static str, Folder)> {
    let liar = Liar::known();
    let ahead = Plan {
        release_time: T + 1000,
        ..liar.plan()
    };
    let set_back = Folder::genuine()
        .under(|p| p.max_age = Some(DAY))
        .remembering(|m| {
            m.logs.insert(ORIGIN.into(), seen(9, [7; 32], T + 2 * DAY));
        });
    // A checkpoint of the log when it was empty, which every later one extends.
    let longer = Plan {
        more: 1,
        ..liar.plan()
    };
    let empty = Folder::of(&liar, &longer)
        .bundled(|b| {
            b.first = liar.note(0, tlog::hash::EMPTY_ROOT, T - 30 * DAY);
            b.latest.as_mut().unwrap().consistency.clear();
        })
        .under(|p| p.min_age = Some(DAY));
    vec![
        ("first-checkpoint-of-an-empty-tree", empty),
        ("leaf-dated-ahead", Folder::of(&liar, &ahead)),
        (
            "released-a-moment-ago",
            Folder::genuine().under(|p| p.min_age = Some(DAY)),
        ),
        (
            "view-frozen",
            Folder::genuine()
                .under(|p| p.max_age = Some(DAY))
                .at(T + 2 * DAY),
        ),
        ("clock-set-back", set_back),
    ]
}
