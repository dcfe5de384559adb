//! Tables and properties of conditional requests.

use super::*;
use proptest::prelude::*;

const AT: u64 = 1_700_000_000;

fn now() -> Validators {
    Validators { digest: Digest::of(b"x"), modified_secs: Some(AT) }
}

fn http(secs: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs))
}

fn since(text: &str) -> Verdict {
    Conditions { if_modified_since: Some(text), ..Conditions::default() }.judge(&now())
}

#[test]
fn no_condition_sends() {
    assert_eq!(Conditions::default().judge(&now()), Verdict::Send);
}

#[test]
fn the_five_second_trap() {
    for (offset, expected) in [
        (0, Verdict::Send),
        (1, Verdict::Send),
        (4, Verdict::Send),
        (5, Verdict::NotModified),
        (6, Verdict::NotModified),
        (86_400, Verdict::NotModified),
    ] {
        assert_eq!(since(&http(AT + offset)), expected, "+{offset} s");
    }
    assert_eq!(since(&http(AT - 1)), Verdict::Send);
    assert_eq!(since(&http(2)), Verdict::Send);
}

#[test]
fn a_date_that_is_none_is_ignored() {
    for text in ["", "yesterday", "1700000100", "Sun, 06 Nov 1994 08:49:37", "-1", "\u{1F600}"] {
        assert_eq!(since(text), Verdict::Send, "{text:?}");
    }
}

#[test]
fn the_obsolete_date_forms_are_read() {
    let now = Validators { modified_secs: Some(784_111_777), ..now() };
    for text in ["Sunday, 06-Nov-94 08:49:42 GMT", "Sun Nov  6 08:49:42 1994"] {
        let conditions = Conditions { if_modified_since: Some(text), ..Conditions::default() };
        assert_eq!(conditions.judge(&now), Verdict::NotModified, "{text}");
    }
}

#[test]
fn a_tag_silences_the_date() {
    let (tag, late) = (now().etag(), http(AT + 100));
    let judge = |tags: &str| {
        Conditions { if_none_match: Some(tags), if_modified_since: Some(&late), ..Conditions::default() }
            .judge(&now())
    };
    assert_eq!(judge("\"other\""), Verdict::Send);
    assert_eq!(judge(""), Verdict::Send);
    assert_eq!(judge(&tag[1..tag.len() - 1]), Verdict::Send, "a tag has its quotes on");
    for tags in [tag.clone(), format!("W/{tag}"), format!("\"a\", \t{tag}"), "*".to_owned()] {
        assert_eq!(judge(&tags), Verdict::NotModified, "{tags}");
    }
}

#[test]
fn if_match_is_strong_and_comes_first() {
    let tag = now().etag();
    let judge = |tags: &str| {
        Conditions { if_match: Some(tags), if_none_match: Some("*"), ..Conditions::default() }.judge(&now())
    };
    assert_eq!(judge(&tag), Verdict::NotModified);
    assert_eq!(judge("*"), Verdict::NotModified);
    assert_eq!(judge(&format!("W/{tag}")), Verdict::Failed);
    assert_eq!(judge("\"other\""), Verdict::Failed);
}

#[test]
fn if_unmodified_since() {
    for (at, expected) in [(AT - 1, Verdict::Failed), (AT, Verdict::Send), (AT + 9, Verdict::Send)] {
        let text = http(at);
        let conditions = Conditions { if_unmodified_since: Some(&text), ..Conditions::default() };
        assert_eq!(conditions.judge(&now()), expected);
        assert_eq!(conditions.judge(&Validators { modified_secs: None, ..now() }), Verdict::Send);
    }
}

#[test]
fn only_the_exact_strong_tag_vouches_for_a_range() {
    let tag = now().etag();
    let (weak, at) = (format!("W/{tag}"), http(AT));
    for (text, expected) in [(tag.as_str(), true), (&weak, false), ("*", false), (&at, false), ("", false)] {
        let conditions = Conditions { if_range: Some(text), ..Conditions::default() };
        assert_eq!(conditions.range_applies(&now()), expected, "{text}");
    }
    assert!(Conditions::default().range_applies(&now()));
}

proptest! {
    /// Whatever index Portage has, it sees every newer one and refetches none it has.
    #[test]
    fn portage_sees_exactly_what_is_newer(cached in 0..LAST_SECOND - 100, step in 0u64..50) {
        let sent = http(cached + PORTAGE_TOLERANCE_SECS);
        let conditions = Conditions { if_modified_since: Some(&sent), ..Conditions::default() };
        let served = Validators { modified_secs: Some(cached + step), ..now() };
        let expected = if step == 0 { Verdict::NotModified } else { Verdict::Send };
        prop_assert_eq!(conditions.judge(&served), expected);
    }

    #[test]
    fn any_header_is_judged_without_a_panic(text in "\\PC{0,60}") {
        for conditions in [
            Conditions { if_modified_since: Some(&text), if_unmodified_since: Some(&text), ..Default::default() },
            Conditions { if_none_match: Some(&text), if_match: Some(&text), ..Default::default() },
        ] {
            let _ = conditions.judge(&now());
        }
    }
}
