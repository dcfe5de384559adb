//! Conditional requests (RFC 9110, section 13). Pure: headers and validators in, a verdict out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use buildswarm_core::Digest;

/// Seconds by which Portage's `If-Modified-Since` runs ahead of what it has.
///
/// Portage sends the TIMESTAMP of its cached index plus five seconds (`TIMESTAMP_TOLERANCE` in
/// `portage/util/_urlopen.py`), so a server that follows RFC 9110 to the letter answers 304 for an index made
/// again within five seconds, and the client never sees it. The date is therefore read as five seconds earlier.
/// A client that sends our own `Last-Modified` back gets a 200 it did not need, never a 304 it should not have;
/// with `If-None-Match` it gets its 304.
pub const PORTAGE_TOLERANCE_SECS: u64 = 5;

/// Last second HTTP can write down: four-digit years end with 9999.
pub const LAST_SECOND: u64 = 253_402_300_799;

/// What identifies one state of a representation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validators {
    /// BLAKE3 of the content: a strong validator.
    pub digest: Digest,
    /// Seconds since 1970 of the last change, if there is such a time; at most [`LAST_SECOND`].
    pub modified_secs: Option<u64>,
}

impl Validators {
    /// The `ETag` header: strong, as one digest means one sequence of bytes.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.digest)
    }

    /// The `Last-Modified` header.
    #[must_use]
    pub fn last_modified(&self) -> Option<String> {
        let time = UNIX_EPOCH + Duration::from_secs(self.modified_secs?.min(LAST_SECOND));
        Some(httpdate::fmt_http_date(time))
    }
}

/// The conditions of a request; a field is what the header said, `None` if it was absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions<'a> {
    /// `If-Match`.
    pub if_match: Option<&'a str>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<&'a str>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a str>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<&'a str>,
    /// `If-Range`.
    pub if_range: Option<&'a str>,
}

/// What the conditions come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Answer as if there were no condition.
    Send,
    /// 304: the client has it.
    NotModified,
    /// 412: the client wanted another state.
    Failed,
}

impl Conditions<'_> {
    /// Decides in the order of RFC 9110, 13.2.2: an entity tag silences the date beside it.
    ///
    /// ```
    /// use buildswarm_core::Digest;
    /// use buildswarm_net::http::conditional::{Conditions, Validators, Verdict};
    ///
    /// let now = Validators { digest: Digest::of(b"index"), modified_secs: Some(784_111_777) };
    /// // What Portage sends when it has this very index: five seconds later than its TIMESTAMP.
    /// let portage = Conditions { if_modified_since: Some("Sun, 06 Nov 1994 08:49:42 GMT"), ..Default::default() };
    /// assert_eq!(portage.judge(&now), Verdict::NotModified);
    /// // One second later there is a new index; by the letter of the date it would be hidden.
    /// let next = Validators { modified_secs: Some(784_111_778), ..now };
    /// assert_eq!(portage.judge(&next), Verdict::Send);
    /// ```
    #[must_use]
    pub fn judge(&self, now: &Validators) -> Verdict {
        if let Some(tags) = self.if_match {
            if !lists(tags, &now.etag(), Comparison::Strong) {
                return Verdict::Failed;
            }
        } else if let (Some(since), Some(modified)) = (date(self.if_unmodified_since), now.modified_secs)
            && modified > since
        {
            return Verdict::Failed;
        }
        if let Some(tags) = self.if_none_match {
            return if lists(tags, &now.etag(), Comparison::Weak) {
                Verdict::NotModified
            } else {
                Verdict::Send
            };
        }
        match (date(self.if_modified_since), now.modified_secs) {
            (Some(since), Some(modified)) if since.saturating_sub(PORTAGE_TOLERANCE_SECS) >= modified => {
                Verdict::NotModified
            }
            _ => Verdict::Send,
        }
    }

    /// Whether a `Range` header counts (RFC 9110, 13.1.5). A date never vouches for bytes here: then the whole is
    /// sent, which is always right.
    #[must_use]
    pub fn range_applies(&self, now: &Validators) -> bool {
        self.if_range.is_none_or(|tag| tag.trim() == now.etag())
    }
}

/// How entity tags are compared (RFC 9110, 8.8.3.2). Ours are all strong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

fn lists(header: &str, etag: &str, comparison: Comparison) -> bool {
    // Our tags hold no comma, so a tag of another server that does cannot be split into one of ours with its
    // quotes on.
    header.split(',').map(|tag| tag.trim_matches([' ', '\t'])).any(|tag| {
        let opaque = match comparison {
            Comparison::Weak => tag.strip_prefix("W/").unwrap_or(tag),
            Comparison::Strong => tag,
        };
        tag == "*" || opaque == etag
    })
}

/// Seconds since 1970; `None` for an absent header and for one that is no HTTP date, which is ignored
/// (RFC 9110, 13.1.3). Dates before 1970 count as 1970.
fn date(header: Option<&str>) -> Option<u64> {
    let time: SystemTime = httpdate::parse_http_date(header?).ok()?;
    Some(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

#[cfg(test)]
mod tests;
