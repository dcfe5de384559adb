//! Bytes that are nearly a specification, each wrong in one way that chance seldom hits.

use buildswarm_core::canonical::{Decoder, Encoder};

/// The highest tag of the inputs.
const INPUTS: u8 = 8;
/// The highest tag of the surroundings, which are the last of the inputs.
const SURROUNDINGS: u8 = 4;
const DIGEST: [u8; 32] = [7; 32];

type Part = (u8, Vec<u8>);

fn record(parts: &[Part]) -> Vec<u8> {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("it is short").to_le_bytes();
    parts.iter().flat_map(|(tag, bytes)| [&[*tag][..], &length(bytes), bytes].concat()).collect()
}

fn list(items: &[&[u8]]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.list(1, items.iter());
    Decoder::new(&encoder.finish()).bytes(1).expect("it was just written").to_vec()
}

fn dependency(parts: &[Part], classes: &[u8]) -> Vec<u8> {
    let needed = [(1, b"a/b".to_vec()), (3, b"0".to_vec())];
    let mut parts = [&needed, parts].concat();
    parts.sort_by_key(|(tag, _)| *tag);
    record(&[(1, record(&parts)), (2, classes.to_vec())])
}

/// `spec` with other dependencies.
fn with_dependencies(spec: &[u8], items: &[&[u8]]) -> Vec<u8> {
    replaced(spec, 4, 4, Some(list(items)))
}

/// `bytes`, a record of the tags up to `last`, with another payload for one of them, or without it.
fn replaced(bytes: &[u8], last: u8, tag: u8, payload: Option<Vec<u8>>) -> Vec<u8> {
    let mut decoder = Decoder::new(bytes);
    let mut parts: Vec<Part> =
        (1..=last).map(|tag| (tag, decoder.bytes(tag).expect("every field is there").to_vec())).collect();
    let at = usize::from(tag) - 1;
    match payload {
        Some(payload) if tag > last => parts.push((tag, payload)),
        Some(payload) => parts[at].1 = payload,
        None => drop(parts.remove(at)),
    }
    record(&parts)
}

fn with_input(spec: &[u8], tag: u8, payload: Option<Vec<u8>>) -> Vec<u8> {
    let mut decoder = Decoder::new(spec);
    let inputs = [1, 2, 3].map(|tag| decoder.bytes(tag).expect("every field is there"))[2];
    replaced(spec, 4, 3, Some(replaced(inputs, INPUTS, tag, payload)))
}

fn with_surrounding(spec: &[u8], tag: u8, payload: Option<Vec<u8>>) -> Vec<u8> {
    let mut decoder = Decoder::new(spec);
    let inputs = [1, 2, 3].map(|tag| decoder.bytes(tag).expect("every field is there"))[2];
    let mut decoder = Decoder::new(inputs);
    let all = (1..=INPUTS).map(|tag| decoder.bytes(tag).expect("every field is there"));
    let surroundings = all.last().expect("there are fields");
    with_input(spec, INPUTS, Some(replaced(surroundings, SURROUNDINGS, tag, payload)))
}

/// What has to be taken, made in the same way as what has to be refused.
pub(crate) fn taken(spec: &[u8]) -> Vec<Vec<u8>> {
    let tool = record(&[(1, list(&[b"a", b"b"])), (2, DIGEST.to_vec())]);
    vec![
        with_dependencies(spec, &[&dependency(&[], &[0])]),
        with_dependencies(spec, &[&dependency(&[(6, DIGEST.to_vec())], &[127])]),
        with_dependencies(
            spec,
            &[&dependency(&[(7, DIGEST.to_vec()), (8, DIGEST.to_vec()), (9, tool)], &[3])],
        ),
        with_dependencies(spec, &[&dependency(&[], &[0]), &dependency(&[], &[1])]),
        with_input(spec, 1, Some(b"a/b-1-r1".to_vec())),
        with_input(spec, 2, Some(b"_/0".to_vec())),
        with_input(spec, 7, Some(list(&[b"", b"a", "\u{e9}".as_bytes()]))),
        with_surrounding(spec, SURROUNDINGS, Some(DIGEST.to_vec())),
        replaced(spec, 4, 2, Some(b"slot".to_vec())),
    ]
}

/// How each is wrong, and the bytes.
pub(crate) fn all(spec: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |how: String, bytes| all.push((how, bytes));
    for tag in 1..=4 {
        add(format!("without field {tag}"), replaced(spec, 4, tag, None));
    }
    add("with a fifth field".to_owned(), replaced(spec, 4, 5, Some(vec![])));
    add("filled up as a message".to_owned(), [spec, &[0; 64]].concat());
    for format in [&1_u64.to_le_bytes()[..], &3_u64.to_le_bytes(), &[2], &[2, 0, 0, 0, 0, 0, 0, 0, 0]] {
        add(format!("format {format:?}"), replaced(spec, 4, 1, Some(format.to_vec())));
    }
    for policy in ["", "Exact", "exact ", "exact\n", "exac"] {
        add(format!("policy {policy:?}"), replaced(spec, 4, 2, Some(policy.into())));
    }
    for tag in 1..=INPUTS {
        add(format!("without input {tag}"), with_input(spec, tag, None));
    }
    add("with a ninth input".to_owned(), with_input(spec, 9, Some(vec![])));
    for tag in 1..=SURROUNDINGS {
        add(format!("without surrounding {tag}"), with_surrounding(spec, tag, None));
    }
    add("with a fifth surrounding".to_owned(), with_surrounding(spec, 5, Some(vec![])));
    for package in [
        "",
        "b-1",
        "a/b",
        "a/-1",
        "/b-1",
        "a/b-",
        "a/b-1-r",
        "a/b-1.",
        "a/b-1_x",
        "a/b-1ab",
        "a/b-v1",
        "a/b-1-r1-r2",
        "a/b-1\n",
        ".a/b-1",
        "+a/b-1",
        "-a/b-1",
        "a/+b-1",
        "a/b.c-1",
        "a/b/c-1",
        "a b/c-1",
        "a/b-\u{661}",
        "ä/b-1",
    ] {
        add(format!("package {package:?}"), with_input(spec, 1, Some(package.into())));
    }
    for slot in ["", "0", "/", "0/", "/0", "0/0/0", "-a/0", "0/.b", "0/+b", "0 /0", "0/0\n", "é/é"] {
        add(format!("slot {slot:?}"), with_input(spec, 2, Some(slot.into())));
    }
    // Surrogates, an overlong slash, what is above Unicode, half a character.
    for text in [&[0xed, 0xa0, 0x80][..], &[0xc0, 0xaf], &[0xf4, 0x90, 0x80, 0x80], &[0xc3]] {
        add(format!("text {text:?}"), with_input(spec, 3, Some(text.to_vec())));
        add(format!("flag {text:?}"), with_input(spec, 7, Some(list(&[text]))));
    }
    let sets: [&[&[u8]]; 4] = [&[b"b", b"a"], &[b"a", b"a"], &[b"ab", b"a"], &["\u{e9}".as_bytes(), b"z"]];
    for set in sets {
        add(format!("set {set:?}"), with_input(spec, 7, Some(list(set))));
        // Maps have two items to a count of one.
        let mut map = list(&[set[0], b"v", set[1], b"v"]);
        map[0] = 2;
        add(format!("map {set:?}"), with_surrounding(spec, 1, Some(map)));
    }
    add("a count too high".to_owned(), with_input(spec, 7, Some(vec![1, 0, 0, 0])));
    add("a count too low".to_owned(), with_input(spec, 7, Some(vec![0, 0, 0, 0, 0, 0, 0, 0])));
    add("the highest count".to_owned(), with_input(spec, 7, Some(vec![0xff; 4])));
    add("no count".to_owned(), with_input(spec, 7, Some(vec![])));
    for length in [0, 31, 33] {
        let digest = Some(vec![7; length]);
        add(format!("a digest of {length}"), with_surrounding(spec, SURROUNDINGS, digest));
        let short = dependency(&[(5, vec![7; length])], &[1]);
        add(format!("a key of {length}"), with_dependencies(spec, &[&short]));
    }
    for classes in [&[][..], &[128], &[255], &[1, 0]] {
        add(format!("classes {classes:?}"), with_dependencies(spec, &[&dependency(&[], classes)]));
    }
    let tool = |flags: &[&[u8]]| record(&[(1, list(flags)), (2, DIGEST.to_vec())]);
    let payload = |tag| if tag == 9 { tool(&[]) } else { DIGEST.to_vec() };
    for (one, other) in [(5, 6), (5, 7), (5, 8), (5, 9), (6, 7), (6, 8), (6, 9)] {
        let two = dependency(&[(one, payload(one)), (other, payload(other))], &[1]);
        add(format!("identities {one} and {other}"), with_dependencies(spec, &[&two]));
    }
    for (how, part) in [
        ("a field too many", (10, vec![])),
        ("flags out of order", (9, tool(&[b"b", b"a"]))),
        ("a tool without sources", (9, record(&[(1, list(&[]))]))),
        ("a tool with a third field", (9, [tool(&[]), record(&[(3, vec![])])].concat())),
        ("a version that is not text", (2, vec![0xff])),
    ] {
        add(format!("dependency with {how}"), with_dependencies(spec, &[&dependency(&[part], &[1])]));
    }
    let (first, second) = (dependency(&[], &[1]), dependency(&[], &[2]));
    add("dependencies out of order".to_owned(), with_dependencies(spec, &[&second, &first]));
    add("a dependency twice".to_owned(), with_dependencies(spec, &[&first, &first]));
    let nameless = record(&[(1, record(&[(3, b"0".to_vec())])), (2, vec![1])]);
    add("a dependency without a name".to_owned(), with_dependencies(spec, &[&nameless]));
    let slotless = record(&[(1, record(&[(1, b"a/b".to_vec())])), (2, vec![1])]);
    add("a dependency without a slot".to_owned(), with_dependencies(spec, &[&slotless]));
    let more = [&first[..], &record(&[(3, vec![])])].concat();
    add("a dependency with more behind it".to_owned(), with_dependencies(spec, &[&more]));
    all
}
