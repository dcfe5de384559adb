//! What the door tells its owner about each request.

use std::fmt;
use std::net::SocketAddr;

/// Longest path kept for the log, in characters before escaping.
pub(super) const PATH_SHOWN_MAX: usize = 300;

/// One request, told when its last byte was handed to the connection or its client was gone.
///
/// Texts that came from the client hold no control characters; [`Display`](fmt::Display) makes one line.
///
/// ```
/// use buildswarm_net::http::Access;
/// let access = Access {
///     peer: "127.0.0.1:4000".parse().unwrap(),
///     method: "GET".into(),
///     path: "/healthz".into(),
///     status: 200,
///     bytes: 3,
///     millis: 0,
///     complete: true,
///     problem: None,
/// };
/// assert_eq!(access.to_string(), "127.0.0.1:4000 GET /healthz 200 3 bytes 0 ms");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Who asked.
    pub peer: SocketAddr,
    /// The method; `-` if the request could not be read.
    pub method: String,
    /// The path, cut and escaped; `-` if the request could not be read.
    pub path: String,
    /// The status answered; 0 if there was no answer.
    pub status: u16,
    /// Bytes of content handed to the connection.
    pub bytes: u64,
    /// Milliseconds from the request's header to the last byte.
    pub millis: u64,
    /// Whether all of the content was handed over.
    pub complete: bool,
    /// What went wrong on our side or on the connection, for the log. A problem with a status of 500 or more
    /// needs a person: a damaged package, an unreadable directory.
    pub problem: Option<String>,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { peer, method, path, status, bytes, millis, .. } = self;
        write!(f, "{peer} {method} {path} {status} {bytes} bytes {millis} ms")?;
        if !self.complete {
            f.write_str(" (cut short)")?;
        }
        self.problem.as_ref().map_or(Ok(()), |problem| write!(f, ": {problem}"))
    }
}

/// `text` without control characters and other surprises, cut to `max` characters.
pub(super) fn printable(text: &str, max: usize) -> String {
    let mut shown: String = text.chars().take(max).flat_map(char::escape_default).collect();
    if text.chars().nth(max).is_some() {
        shown.push('…');
    }
    shown
}

/// An error with its causes, on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    printable(&text, 2 * PATH_SHOWN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_is_shown() {
        assert_eq!(printable("/a\r\n\u{1b}[2J\u{202e}ä", 100), "/a\\r\\n\\u{1b}[2J\\u{202e}\\u{e4}");
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(printable("abc", 3), "abc");
    }
}
