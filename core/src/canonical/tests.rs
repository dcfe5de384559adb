use super::*;
use proptest::prelude::*;

#[test]
fn a_record_is_pinned_to_the_byte() {
    let mut encoder = Encoder::new();
    encoder.text(1, "ab");
    encoder.set(3, ["b", "a", "b"]);
    encoder.map(4, &BTreeMap::from([("k".to_owned(), "v")]));
    encoder.number(9, 258);
    assert_eq!(
        encoder.finish(),
        [
            1, 2, 0, 0, 0, b'a', b'b', //
            3, 14, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, b'a', 1, 0, 0, 0, b'b', //
            4, 14, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, b'k', 1, 0, 0, 0, b'v', //
            9, 8, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0,
        ]
    );
}

#[test]
#[should_panic(expected = "tags ascend")]
fn fields_out_of_order_are_a_programming_error() {
    let mut encoder = Encoder::new();
    encoder.text(2, "");
    encoder.text(1, "");
}

#[test]
fn only_the_canonical_form_is_read() {
    let set = |items: &[&str]| {
        let mut encoder = Encoder::new();
        encoder.list(1, items.iter().map(|item| item.as_bytes()));
        Decoder::new(&encoder.finish()).set::<Vec<_>>(1)
    };
    assert_eq!(set(&["b", "a"]), Err(DecodeError::Unsorted { tag: 1 }));
    assert_eq!(set(&["a", "a"]), Err(DecodeError::Unsorted { tag: 1 }));
    assert_eq!(set(&["a", "b"]).map(|set| set.len()), Ok(2));
    let read = |bytes: &[u8]| Decoder::new(bytes).list(1).map(|list| list.len());
    assert_eq!(read(&[1, 4, 0, 0, 0, 255, 255, 255, 255]), Err(DecodeError::Truncated { tag: 1 }));
    assert_eq!(read(&[1, 5, 0, 0, 0, 0, 0, 0, 0, 7]), Err(DecodeError::Trailing { tag: 1 }));
    assert_eq!(read(&[2, 0, 0, 0, 0]), Err(DecodeError::Missing { tag: 1 }));
    assert_eq!(Decoder::new(&[1]).finish(), Err(DecodeError::Trailing { tag: 0 }));
}

proptest! {
    #[test]
    fn different_lists_differ_in_bytes(
        a in prop::collection::vec(".{0,4}", 0..5),
        b in prop::collection::vec(".{0,4}", 0..5),
    ) {
        let encode = |items: &[String]| {
            let mut encoder = Encoder::new();
            encoder.list(1, items.iter().map(String::as_bytes));
            encoder.finish()
        };
        prop_assert_eq!(a == b, encode(&a) == encode(&b));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for tag in 0..4 {
            let _ = Decoder::new(&bytes).set::<Vec<_>>(tag);
            let _ = Decoder::new(&bytes).map::<_, Vec<_>>(tag, as_digest);
            let _ = Decoder::new(&bytes).number(tag);
        }
    }
}
