//! ASCII armor (RFC 9580, section 6), as far as `gpgv` makes us read it: it takes binary keyrings only.

use super::error::OpenPgpError;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// The bytes of an armored public key. The checksum line is not checked: a damaged key verifies nothing.
pub(super) fn public_key(armored: &str) -> Result<Vec<u8>, OpenPgpError> {
    decode(armored).ok_or(OpenPgpError::Malformed { expected: "an armored public key" })
}

fn decode(armored: &str) -> Option<Vec<u8>> {
    let (_, body) = armored.split_once(BEGIN)?;
    let (body, _) = body.split_once(END)?;
    let mut lines = body.trim_start_matches(['\r', '\n']).lines().map(str::trim).peekable();
    while lines.next_if(|line| line.contains(": ")).is_some() {}
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0u32);
    for digit in lines.filter(|line| !line.starts_with('=')).flat_map(str::bytes) {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => continue,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armor_comes_off() {
        let text = format!("{BEGIN}\nComment: x\n\naGVsbG8sIHdvcmxk\nIQ==\n=AAAA\n{END}\n");
        assert_eq!(public_key(&text).unwrap(), b"hello, world!");
        assert!(public_key("hello").is_err());
        assert!(public_key(&text.replace("aGV", "a*V")).is_err());
    }
}
