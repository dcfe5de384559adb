//! The Manifest of a package: one line of sizes and digests for every other member.

use std::fmt::Write as _;
use std::io::{self, Read};

use blake2::Blake2b512;
use sha2::{Digest as _, Sha512};

use super::error::GpkgError;

/// Size and digests of one member, as measured by us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) size: u64,
    pub(crate) sha512: String,
    pub(crate) blake2b: String,
}

/// Both digests in one pass.
#[derive(Default)]
pub(crate) struct Summer {
    size: u64,
    sha512: Sha512,
    blake2b: Blake2b512,
}

/// Below this a second thread costs more than it saves.
const PARALLEL_FROM_BYTES: usize = 64 << 10;

impl Summer {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        if bytes.len() < PARALLEL_FROM_BYTES {
            self.sha512.update(bytes);
            self.blake2b.update(bytes);
        } else {
            rayon::join(|| self.sha512.update(bytes), || self.blake2b.update(bytes));
        }
    }

    pub(crate) fn finish(self) -> Sums {
        Sums { size: self.size, sha512: hex(&self.sha512.finalize()), blake2b: hex(&self.blake2b.finalize()) }
    }

    pub(crate) fn of(bytes: &[u8]) -> Sums {
        let mut summer = Self::default();
        summer.update(bytes);
        summer.finish()
    }

    /// Reads `source` to its end.
    pub(crate) fn of_reader(mut source: impl Read) -> io::Result<Sums> {
        let mut summer = Self::default();
        let mut buffer = vec![0; 256 << 10];
        loop {
            match source.read(&mut buffer)? {
                0 => return Ok(summer.finish()),
                read => summer.update(&buffer[..read]),
            }
        }
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The text of a Manifest, lines sorted by name.
pub(crate) fn write(members: &[(String, Sums)]) -> String {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    sorted.into_iter().fold(String::new(), |mut text, (name, sums)| {
        let Sums { size, sha512, blake2b } = sums;
        let _ = writeln!(text, "DATA {name} {size} BLAKE2B {blake2b} SHA512 {sha512}");
        text
    })
}

/// The lines of a Manifest's text, which has no signature around it any more.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, Sums)>, GpkgError> {
    let mut members: Vec<(String, Sums)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let refused = |reason| GpkgError::Manifest { line: index + 1, reason };
        if line.is_empty() {
            continue;
        }
        let (name, sums) = parse_line(line).map_err(refused)?;
        if members.iter().any(|(other, _)| *other == name) {
            return Err(refused("it names a member a second time"));
        }
        members.push((name, sums));
    }
    Ok(members)
}

fn parse_line(line: &str) -> Result<(String, Sums), &'static str> {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    if words.next() != Some("DATA") {
        return Err("it does not begin with DATA");
    }
    let name = words.next().ok_or("it has no name")?;
    let size = words.next().ok_or("it has no size")?;
    if size.len() > 20 || !size.bytes().all(|b| b.is_ascii_digit()) {
        return Err("its size is not a number");
    }
    let size = size.parse().map_err(|_| "its size is not a number")?;
    let mut sums = Sums { size, sha512: String::new(), blake2b: String::new() };
    while let Some(kind) = words.next() {
        let digest = words.next().ok_or("a digest is missing")?;
        let slot = match kind {
            "SHA512" => &mut sums.sha512,
            "BLAKE2B" => &mut sums.blake2b,
            _ => return Err("it has a digest other than SHA512 and BLAKE2B"),
        };
        if digest.len() != 128 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) || !slot.is_empty() {
            return Err("a digest is malformed");
        }
        *slot = digest.to_ascii_lowercase();
    }
    if sums.sha512.is_empty() || sums.blake2b.is_empty() {
        return Err("it lacks SHA512 or BLAKE2B");
    }
    Ok((name.to_owned(), sums))
}

/// The text inside a clear-signed message (RFC 9580, section 7), unverified.
///
/// # Errors
/// What is malformed, for an error of the caller's kind.
pub(crate) fn clear_signed_text(message: &str) -> Result<String, &'static str> {
    let body =
        message.strip_prefix("-----BEGIN PGP SIGNED MESSAGE-----\n").ok_or("it is not clear-signed")?;
    let (headers, body) = body.split_once("\n\n").ok_or("its armor headers do not end")?;
    if !headers.lines().all(|line| line.starts_with("Hash: ")) {
        return Err("it has an armor header other than Hash");
    }
    let (text, signature) =
        body.split_once("\n-----BEGIN PGP SIGNATURE-----\n").ok_or("it has no signature")?;
    let (_, rest) =
        signature.split_once("\n-----END PGP SIGNATURE-----\n").ok_or("its signature does not end")?;
    if !rest.is_empty() {
        return Err("there is text after its signature");
    }
    let mut plain = String::new();
    for line in text.lines() {
        if line.starts_with('-') && !line.starts_with("- ") {
            return Err("a line of it is not dash-escaped");
        }
        plain.push_str(line.strip_prefix("- ").unwrap_or(line));
        plain.push('\n');
    }
    Ok(plain)
}
