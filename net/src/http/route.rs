//! From the path of a request to what is asked for. Pure: no file is touched here.
//!
//! Every name the door serves is made of unreserved characters, so a path is compared as it arrived and never
//! decoded. A `%`, a `..`, an empty segment or a NUL cannot be part of any route, whatever a later layer would
//! make of it: there is nothing to traverse with. (RFC 3986, 6.2.2.2, would let a client encode unreserved
//! characters; none does, and two spellings of one file would only help those who probe.)

use std::fmt;

use buildswarm_core::Digest;

/// Longest channel name, in bytes: it is a directory name and a section name in `binrepos.conf`.
pub const CHANNEL_NAME_MAX: usize = 64;

/// The name of a channel: 1 to 64 of `A-Z a-z 0-9 . _ -`, not starting with a dot.
///
/// ```
/// use buildswarm_net::http::route::ChannelName;
/// assert_eq!(ChannelName::parse("stable-amd64").unwrap().as_str(), "stable-amd64");
/// assert!(ChannelName::parse("..").is_none());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(String);

impl ChannelName {
    /// The channel of this name, or `None` if no channel can be called that.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let fits = (1..=CHANNEL_NAME_MAX).contains(&text.len());
        (fits && !text.starts_with('.') && text.bytes().all(known)).then(|| Self(text.to_owned()))
    }

    /// The name as text; safe as a path component, in HTML and in a JSON string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file every generation of a channel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexFile {
    /// Portage's index.
    Packages,
    /// The same bytes, compressed.
    PackagesGz,
    /// What the generation holds, for machines.
    Manifest,
    /// The signed form of that; only generations that are signed have it.
    ManifestSignature,
}

impl IndexFile {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Packages, Self::PackagesGz, Self::Manifest, Self::ManifestSignature];

    /// Its name, on disk and in a URL alike.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Packages => "Packages",
            Self::PackagesGz => "Packages.gz",
            Self::Manifest => "generation.json",
            Self::ManifestSignature => "generation.json.asc",
        }
    }

    /// Its media type. `Packages.gz` is a file that happens to be compressed, not a compressed transfer of
    /// `Packages`: with `Content-Encoding: gzip` Portage would unpack it twice.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Packages | Self::ManifestSignature => "text/plain; charset=utf-8",
            Self::PackagesGz => "application/gzip",
            Self::Manifest => "application/json",
        }
    }
}

/// What a path asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `/`: the page for people.
    Home,
    /// `/healthz`: is the process alive?
    Health,
    /// `/readyz`: can it serve?
    Ready,
    /// `/v1/channels`: what is published, as JSON.
    Channels,
    /// `/key.asc`: the public key packages are signed with.
    Key,
    /// `/binhost/<channel>/<file>`: a file of the channel's current generation.
    Index {
        /// Which channel.
        channel: ChannelName,
        /// Which of its files.
        file: IndexFile,
    },
    /// `/binhost/<channel>/pool/ab/<digest>.gpkg.tar`: a package.
    Package {
        /// The channel it was asked through.
        channel: ChannelName,
        /// The address, and BLAKE3, of the package.
        digest: Digest,
    },
}

impl Route {
    /// The route of an undecoded path (no query), or `None` if there is none.
    ///
    /// ```
    /// use buildswarm_net::http::route::{IndexFile, Route};
    /// assert_eq!(Route::parse("/readyz"), Some(Route::Ready));
    /// assert!(matches!(
    ///     Route::parse("/binhost/stable/Packages.gz"),
    ///     Some(Route::Index { file: IndexFile::PackagesGz, .. })
    /// ));
    /// assert_eq!(Route::parse("/binhost/stable/../../etc/passwd"), None);
    /// ```
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        match path {
            "/" => return Some(Self::Home),
            "/healthz" => return Some(Self::Health),
            "/readyz" => return Some(Self::Ready),
            "/v1/channels" => return Some(Self::Channels),
            "/key.asc" => return Some(Self::Key),
            _ => {}
        }
        let (channel, rest) = path.strip_prefix("/binhost/")?.split_once('/')?;
        let channel = ChannelName::parse(channel)?;
        if let Some(file) = IndexFile::ALL.into_iter().find(|file| file.file_name() == rest) {
            return Some(Self::Index { channel, file });
        }
        let (shard, name) = rest.strip_prefix("pool/")?.split_once('/')?;
        let digits = name.strip_suffix(".gpkg.tar")?;
        let digest: Digest = digits.parse().ok()?;
        // One package, one address: a wrong shard is not a second spelling of it.
        (digits.get(..2) == Some(shard)).then_some(Self::Package { channel, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "00aabbccddeeff00112233445566778899aabbccddeeff001122334455667788";

    #[test]
    fn every_route_has_one_spelling() {
        let package = format!("/binhost/a/pool/00/{HEX}.gpkg.tar");
        for path in ["/", "/healthz", "/readyz", "/v1/channels", "/key.asc", "/binhost/a/Packages"] {
            assert!(Route::parse(path).is_some(), "{path}");
        }
        assert!(matches!(Route::parse(&package), Some(Route::Package { .. })));
    }

    #[test]
    fn whatever_is_not_exactly_a_route_is_none() {
        let upper = HEX.to_uppercase();
        let long = "a".repeat(CHANNEL_NAME_MAX + 1);
        let refused = [
            "",
            "//",
            "*",
            "/healthz/",
            "//healthz",
            "/binhost",
            "/binhost/",
            "/binhost/a",
            "/binhost/a/",
            "/binhost//Packages",
            "/binhost/../Packages",
            "/binhost/./Packages",
            "/binhost/.hidden/Packages",
            "/binhost/a/../a/Packages",
            "/binhost/a%2fPackages",
            "/binhost/%61/Packages",
            "/binhost/%2e%2e/Packages",
            "/binhost/a/Packages%00",
            "/binhost/a\0/Packages",
            "/binhost/a b/Packages",
            "/binhost/a\\..\\Packages",
            "/binhost/ä/Packages",
            "/binhost/a/packages",
            "/binhost/a/Packages/",
            "/binhost/a/pool",
            "/binhost/a/pool/00/",
            "/binhost/a/pool/00/x.gpkg.tar",
            &format!("/binhost/{long}/Packages"),
            &format!("/binhost/a/pool/01/{HEX}.gpkg.tar"),
            &format!("/binhost/a/pool/{HEX}.gpkg.tar"),
            &format!("/binhost/a/pool//00/{HEX}.gpkg.tar"),
            &format!("/binhost/a/pool/00/{HEX}"),
            &format!("/binhost/a/pool/00/{HEX}.gpkg.tar.partial"),
            &format!("/binhost/a/pool/00/{upper}.gpkg.tar"),
        ];
        for path in refused {
            assert_eq!(Route::parse(path), None, "{path:?}");
        }
    }

    proptest! {
        /// A channel that parses is one harmless path component.
        #[test]
        fn a_channel_name_is_a_plain_component(text in "[a-c./%_\\\\\u{0}-]{0,12}") {
            if let Some(name) = ChannelName::parse(&text) {
                let path = std::path::Path::new(name.as_str());
                prop_assert_eq!(path.components().count(), 1);
                prop_assert!(matches!(path.components().next(), Some(std::path::Component::Normal(_))));
            }
        }

        #[test]
        fn any_text_is_parsed_without_a_panic(path in "\\PC{0,200}") {
            let _ = Route::parse(&path);
            let _ = Route::parse(&format!("/binhost/a/pool/{path}.gpkg.tar"));
        }
    }
}
