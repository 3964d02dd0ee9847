use super::*;

/// What a refusal says, or that there was none.
fn said(result: Result<(), Refused>) -> String {
    result.map_or_else(|e| format!("{}: {e}", e.kind()), |()| "good".into())
}

#[test]
fn a_leaf_may_be_dated_five_minutes_after_it_was_public() {
    assert_eq!(said(leaf_time(1300, Some(1000))), "good");
    assert_eq!(said(leaf_time(0, Some(1000))), "good");
    assert!(said(leaf_time(1301, Some(1000))).starts_with("time: "));
    assert_eq!(said(leaf_time(u64::MAX, Some(u64::MAX))), "good");
    assert_eq!(said(leaf_time(u64::MAX, None)), "good", "no quorum wanted");
}

#[test]
fn a_certificate_may_have_ended_five_minutes_before_the_release_was_public() {
    assert_eq!(said(certificate_time(1000, Some(1300))), "good");
    assert!(said(certificate_time(1000, Some(1301))).starts_with("time: "));
    assert!(said(certificate_time(1000, None)).starts_with("time: "));
}

#[test]
fn ages_are_counted_from_what_witnesses_said() {
    assert_eq!(said(min_age(None, None, 0)), "good");
    assert_eq!(said(min_age(Some(60), Some(1000), 1060)), "good");
    let young = said(min_age(Some(60), Some(1000), 1059));
    assert!(young.starts_with("time: "), "{young}");
    assert!(
        young.contains("59 s") && young.contains(&time(1060)),
        "{young}"
    );
    // A clock before the publication has no negative age, and is not old enough.
    assert!(said(min_age(Some(60), Some(1000), 900)).contains("for 0 s"));
    assert!(said(min_age(Some(60), None, 2000)).starts_with("quorum-not-met: "));
    assert_eq!(said(max_age(None, None, 0)), "good");
    assert_eq!(said(max_age(Some(60), Some(1000), 1060)), "good");
    assert!(said(max_age(Some(60), Some(1000), 1061)).contains("61 s old"));
    assert!(said(max_age(Some(60), None, 1000)).starts_with("quorum-not-met: "));
}
