//! The `Range` header (RFC 9110, section 14). Pure: a header and a length in, a selection out.

/// Which bytes of a representation to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// All of them, with 200.
    Whole,
    /// `first..=last`, with 206; both lie inside the representation.
    Part {
        /// The first byte sent.
        first: u64,
        /// The last byte sent.
        last: u64,
    },
    /// None: 416.
    Unsatisfiable,
}

impl Selection {
    /// What a `Range` header selects from `length` bytes.
    ///
    /// A header that is no valid range is ignored, as is a request for several ranges: a server may always
    /// answer with the whole (RFC 9110, 14.2), and joining many small ranges costs the server more than the
    /// client that asks for them. Numbers beyond 64 bits are valid and mean "beyond the end".
    ///
    /// ```
    /// use buildswarm_net::http::range::Selection;
    /// assert_eq!(Selection::parse("bytes=2-", 10), Selection::Part { first: 2, last: 9 });
    /// assert_eq!(Selection::parse("bytes=10-", 10), Selection::Unsatisfiable);
    /// ```
    #[must_use]
    pub fn parse(header: &str, length: u64) -> Self {
        Self::single(header, length).unwrap_or(Self::Whole)
    }

    /// `None`: not one valid range.
    fn single(header: &str, length: u64) -> Option<Self> {
        let (unit, set) = header.split_once('=')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = set.trim_matches([' ', '\t']).split_once('-')?;
        if first.is_empty() {
            let suffix = number(last)?;
            let Some(end) = length.checked_sub(1).filter(|_| suffix > 0) else {
                return Some(Self::Unsatisfiable);
            };
            return Some(Self::Part { first: length.saturating_sub(suffix), last: end });
        }
        let first = number(first)?;
        let last = if last.is_empty() { u64::MAX } else { number(last)? };
        if last < first {
            return None;
        }
        Some(match length.checked_sub(1) {
            Some(end) if first <= end => Self::Part { first, last: last.min(end) },
            _ => Self::Unsatisfiable,
        })
    }
}

/// One or more digits; what does not fit saturates.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits.bytes().fold(0u64, |n, b| n.saturating_mul(10).saturating_add(u64::from(b - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Selection::{Part, Unsatisfiable, Whole};
    use proptest::prelude::*;

    #[test]
    fn table_of_ten_bytes() {
        let part = |first, last| Part { first, last };
        let table = [
            ("bytes=0-0", part(0, 0)),
            ("bytes=0-9", part(0, 9)),
            ("bytes=0-10", part(0, 9)),
            ("bytes=3-5", part(3, 5)),
            ("bytes=003-05", part(3, 5)),
            ("BYTES=3-5", part(3, 5)),
            ("bytes= 3-5 ", part(3, 5)),
            ("bytes=9-", part(9, 9)),
            ("bytes=0-99999999999999999999999", part(0, 9)),
            ("bytes=-1", part(9, 9)),
            ("bytes=-10", part(0, 9)),
            ("bytes=-11", part(0, 9)),
            ("bytes=-99999999999999999999999", part(0, 9)),
            ("bytes=-0", Unsatisfiable),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-20", Unsatisfiable),
            ("bytes=9223372036854775808-", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=9-1", Whole),
            ("bytes=0-0,5-5", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=--1", Whole),
            ("bytes=1-2-3", Whole),
            ("bytes=1 - 2", Whole),
            ("bytes=0x1-2", Whole),
            ("items=0-1", Whole),
            ("", Whole),
        ];
        for (header, expected) in table {
            assert_eq!(Selection::parse(header, 10), expected, "{header:?}");
        }
    }

    #[test]
    fn nothing_can_be_selected_from_nothing() {
        for header in ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0"] {
            assert_eq!(Selection::parse(header, 0), Unsatisfiable, "{header}");
        }
    }

    proptest! {
        #[test]
        fn a_part_lies_inside(a in any::<u64>(), b in any::<u64>(), length in any::<u64>()) {
            for header in [format!("bytes={a}-{b}"), format!("bytes={a}-"), format!("bytes=-{a}")] {
                if let Part { first, last } = Selection::parse(&header, length) {
                    prop_assert!(first <= last && last < length);
                }
            }
        }

        #[test]
        fn any_text_selects_something_valid(header in "(bytes=)?[0-9a ,=-]{0,40}", length in 0u64..50) {
            if let Part { first, last } = Selection::parse(&header, length) {
                prop_assert!(first <= last && last < length);
            }
        }
    }
}
