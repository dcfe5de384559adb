//! Sizes as people write them: `50G`, `512M`, `1048576`.

/// The bytes that a text means: a whole number with `K`, `M`, `G` or `T` behind it for powers of 1024, or without for
/// bytes; `iB` may follow the letter.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let power = match unit.strip_suffix("iB").unwrap_or(unit) {
        "" | "B" if !unit.ends_with("iB") => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return Err("a size is a whole number with K, M, G or T behind it, as in 50G".to_owned()),
    };
    let number: u64 =
        number.parse().map_err(|_| "a size begins with a whole number, as in 50G".to_owned())?;
    number.checked_mul(1 << (10 * power)).ok_or_else(|| "no disk is that large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("1K", 1024),
            ("512M", 512 << 20),
            ("50G", 50 << 30),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in
            ["", "G", "-1G", "1.5G", "1 G", "1g", "1GB", "iB", "1iB", "99999999999999999999", "99999999T"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
