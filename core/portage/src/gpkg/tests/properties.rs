//! Properties: damage is noticed, and nothing panics.

use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// One wrong byte is an error or makes no difference (padding, times and names of users in headers).
    #[test]
    fn a_wrong_byte_never_changes_what_is_installed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = Package::ordinary().bytes();
        let (_, expected) = read(&bytes, &Limits::STANDARD).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok((_, payload)) = read(&bytes, &Limits::STANDARD) {
            prop_assert_eq!(payload, expected);
        }
    }

    #[test]
    fn a_truncated_package_is_refused(at in any::<prop::sample::Index>()) {
        let bytes = Package::ordinary().bytes();
        let at = at.index(bytes.len());
        prop_assert!(read(&bytes[..at], &Limits::STANDARD).is_err());
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        prop_assert!(read(&bytes, &Limits::STANDARD).is_err());
    }

    /// A wrong byte inside the image's tar stream, with digests that agree.
    #[test]
    fn a_hostile_image_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut image = tar(&ordinary_image());
        let at = at.index(image.len());
        image[at] = byte;
        let _ = read(&Package::with_image_member("image.tar", image).bytes(), &Limits::STANDARD);
    }

    #[test]
    fn any_content_and_mode_is_read_back(content in prop::collection::vec(any::<u8>(), 0..2000), mode in 0u32..0o10000) {
        let mut image = ordinary_image();
        image[3].content = content.clone();
        image[3].mode = mode;
        image[4].mode = mode;
        let bytes = Package::with_image(&image).bytes();
        let package = Gpkg::read(&bytes[..], &Limits::STANDARD).unwrap();
        let mut reader = package.image(Cursor::new(&bytes), &Limits::STANDARD).unwrap();
        while let Some(entry) = reader.next_entry().unwrap() {
            if entry.path == "usr/bin/hello" {
                let mut found = Vec::new();
                reader.read_to_end(&mut found).unwrap();
                prop_assert_eq!((&found, entry.mode), (&content, mode));
            }
        }
    }
}
