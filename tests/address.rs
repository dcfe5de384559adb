//! The keys of builds, computed a second time by a program that was written from `docs/address.md` alone.
//!
//! `BUILDSWARM_SPECS=100000` compares that many specifications; each follows from its number, so what is found can be
//! made again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use buildswarm_core::address::{exact_key, reuse_key};
use buildswarm_core::policy::Policy;
use buildswarm_core::spec::BuildSpec;
use buildswarm_tests::{text, workspace};
use serde_json::{Value, json};

#[path = "address/generate.rs"]
mod generate;
#[path = "address/refused.rs"]
mod refused;
#[path = "address/value.rs"]
mod value;

use generate::Dice;

/// How many specifications are compared each time.
const SPECS: u64 = 2_000;
/// How many of them at a time, which bounds the file.
const BLOCK: u64 = 5_000;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key(spec: &BuildSpec) -> String {
    match spec.policy {
        Policy::Exact => exact_key(spec).to_string(),
        Policy::Interface | Policy::Slot => reuse_key(spec).to_string(),
    }
}

/// What is claimed of a specification.
fn claim(spec: &BuildSpec) -> Value {
    json!({
        "value": value::of(spec),
        "preimage": hex(&spec.encode()),
        "key": key(spec),
        "sources": spec.inputs.sources().to_string(),
    })
}

/// The Python that Portage runs with if there is one, else the machine's.
fn python() -> PathBuf {
    let prepared =
        std::env::var_os("BUILDSWARM_TEST_PORTAGE").map(|path| Path::new(&path).join("bin/python3"));
    prepared.filter(|path| path.exists()).unwrap_or_else(|| "python3".into())
}

fn second(command: &str, file: &Path) -> Output {
    let program = workspace().join("tests/address/second.py");
    Command::new(python())
        .arg("-B")
        .arg(program)
        .arg(command)
        .arg(file)
        .output()
        .expect("python3 is installed: Portage is written in it")
}

fn compare(name: &str, claims: &[Value]) -> Output {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let lines: String = claims.iter().map(|claim| format!("{claim}\n")).collect();
    fs::write(&file, lines).expect("the directory for temporary files can be written to");
    second("check", &file)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A specification, and what its bytes are with a few of them changed.
fn claims_of(number: u64, verdicts: &mut BTreeMap<String, u64>) -> [Value; 2] {
    let mut dice = Dice::new(number);
    let spec = dice.spec();
    let changed = dice.changed(spec.encode());
    let (verdict, other) = match BuildSpec::decode(&changed) {
        Ok(other) => {
            assert_eq!(other.encode(), changed, "specification {number}: two forms of one value");
            ("taken".to_owned(), claim(&other))
        }
        Err(error) => {
            let kind = format!("{error:?}").chars().take_while(|c| c.is_alphabetic()).collect();
            (kind, json!({ "refused": hex(&changed) }))
        }
    };
    *verdicts.entry(verdict).or_default() += 1;
    [claim(&spec), other]
}

#[test]
fn a_second_implementation_computes_the_same_bytes_and_keys() {
    let specs = std::env::var("BUILDSWARM_SPECS")
        .map_or(SPECS, |count| count.parse().expect("BUILDSWARM_SPECS is a number"));
    let mut verdicts = BTreeMap::new();
    let mut longest = [0, 0];
    for start in (0..specs).step_by(usize::try_from(BLOCK).expect("a small number")) {
        let claims: Vec<Value> =
            (start..specs.min(start + BLOCK)).flat_map(|number| claims_of(number, &mut verdicts)).collect();
        for claim in &claims {
            let dependencies = claim["value"]["dependencies"].as_array().map_or(0, Vec::len);
            let preimage = claim["preimage"].as_str().map_or(0, str::len) / 2;
            longest = [longest[0].max(dependencies), longest[1].max(preimage)];
        }
        let output = compare("specifications.jsonl", &claims);
        assert!(
            output.status.success(),
            "line n is specification {start} + n/2 in target/tmp/specifications.jsonl\n{}",
            said(&output)
        );
        assert!(said(&output).contains(&format!("{} checked", claims.len())), "{}", said(&output));
    }
    println!("{verdicts:?}, at most {longest:?} dependencies and bytes");
    let kinds: Vec<_> = verdicts.keys().map(String::as_str).collect();
    assert_eq!(kinds, ["Malformed", "Missing", "Trailing", "Truncated", "Unsorted", "taken"]);
    // Of inputs and key messages that BLAKE3 takes apart into chunks of 1,024 bytes.
    assert!(longest[0] * 37 > 2 * 1024 && longest[1] > 8 * 1024, "{longest:?}");
}

#[test]
fn both_refuse_what_is_wrong_in_one_way() {
    let spec = Dice::new(0).spec().encode();
    let taken: Vec<_> = refused::taken(&spec)
        .iter()
        .map(|bytes| BuildSpec::decode(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}")))
        .collect();
    let output = compare("taken.jsonl", &taken.iter().map(claim).collect::<Vec<_>>());
    assert!(output.status.success(), "{}", said(&output));

    let wrong = refused::all(&spec);
    let names: Vec<_> = wrong.iter().map(|(how, _)| how).collect();
    for (how, bytes) in &wrong {
        assert!(BuildSpec::decode(bytes).is_err(), "{how} is taken");
    }
    let claims: Vec<_> = wrong.iter().map(|(_, bytes)| json!({ "refused": hex(bytes) })).collect();
    let output = compare("refused.jsonl", &claims);
    assert!(output.status.success(), "line n is the n-th of {names:#?}\n{}", said(&output));
}

#[test]
fn what_differs_is_found_and_its_line_named() {
    fn flip(claim: &mut Value, field: &str) {
        let text = claim[field].as_str().expect("it is text").to_owned();
        let (rest, last) = text.split_at(text.len() - 1);
        claim[field] = json!(format!("{rest}{}", if last == "0" { "1" } else { "0" }));
    }
    let mut claims: Vec<_> = (0..24).map(|number| claim(&Dice::new(number).spec())).collect();
    let output = compare("same.jsonl", &claims);
    assert!(output.status.success(), "{}", said(&output));

    let refused = json!({ "refused": claims[20]["preimage"] });
    flip(&mut claims[2], "key");
    flip(&mut claims[5], "preimage");
    flip(&mut claims[11], "sources");
    claims[13]["value"]["inputs"]["repository"] = json!("another");
    claims[20] = refused;
    let output = compare("differing.jsonl", &claims);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let found = said(&output);
    let mut lines: Vec<_> =
        found.lines().filter_map(|line| line.split_once(':')).map(|(line, _)| line).collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines, ["line 12", "line 14", "line 21", "line 3", "line 6"], "{found}");
}

#[test]
fn the_vectors_hold_in_both() {
    let vectors: Vec<Value> = serde_json::from_str(&text("tests/address/vectors.json")).expect("it is JSON");
    for vector in &vectors {
        let name = &vector["name"];
        let bytes = value::bytes(vector["preimage"].as_str().expect("a preimage is text"));
        let spec = BuildSpec::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let ours = claim(&spec);
        for field in ["value", "preimage", "key", "sources"] {
            assert_eq!(ours[field], vector[field], "{name}");
        }
    }
    assert!(vectors.len() >= 10, "{}", vectors.len());
    let output = second("vectors", &workspace().join("tests/address/vectors.json"));
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(&format!("{} checked", vectors.len())), "{}", said(&output));
}
