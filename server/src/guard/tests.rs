use super::*;
use crate::clock::EARLIEST;

const NOW: u64 = 1_800_000_000;
const DAY: u64 = 86_400;

fn guard() -> Guard {
    Guard::unwatched(None)
}

#[test]
fn a_clock_that_is_a_little_behind_is_borne_and_one_far_behind_is_not() {
    let g = guard();
    assert_eq!(g.clock(NOW - 300, 10, NOW), Ok(()));
    let behind = |by| Err(Cause::ClockBehind { by });
    assert_eq!(g.clock(NOW - 301, 10, NOW), behind(301));
    assert_eq!(g.clock(0, 10, 0), behind(EARLIEST), "never set");
    assert_eq!(g.clock(NOW, 11, NOW), Ok(()), "it is right again");
}

#[test]
fn a_clock_that_jumps_ahead_stops_until_it_is_back() {
    let g = guard();
    assert_eq!(g.clock(NOW, 100, NOW), Ok(()));
    let jumped = |by| Err(Cause::ClockJumped { by });
    assert_eq!(g.clock(NOW + 301, 100, NOW), jumped(301));
    assert_eq!(g.clock(NOW + DAY, 110, NOW), jumped(DAY - 10));
    assert_eq!(g.clock(NOW + 20, 120, NOW), Ok(()));
    // A machine that slept counts that time too; small steps are followed.
    assert_eq!(g.clock(NOW + DAY, 100 + DAY, NOW), Ok(()));
    assert_eq!(g.clock(NOW + DAY + 200, 100 + DAY, NOW), Ok(()));
    assert_eq!(g.clock(NOW + DAY + 400, 100 + DAY, NOW), Ok(()));
    // Back by an hour and forward again, with nothing logged meanwhile.
    assert_eq!(g.clock(NOW + DAY - 3600, 110 + DAY, NOW), Ok(()));
    assert_eq!(g.clock(NOW + DAY + 420, 120 + DAY, NOW), Ok(()));
}

#[test]
fn a_clock_years_after_the_last_leaf_is_not_believed_by_itself() {
    let (g, last) = (guard(), NOW - 400 * DAY);
    assert_eq!(g.clock(NOW, 1, last), Err(Cause::ClockAhead { days: 400 }));
    assert_eq!(g.clock(NOW, 1, 0), Ok(()), "an empty log has no last leaf");
    let settings = Settings {
        max_quiet_days: 0,
        ..Settings::default()
    };
    let g = Guard {
        settings,
        ..guard()
    };
    assert_eq!(g.clock(NOW, 1, last), Ok(()));
}
