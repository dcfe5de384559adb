//! What stands for what after a change to something underneath: early cut-off, its limits, and the audit of both.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::interruption::{Build, assert_nothing_is_left};
use super::shapes::{self, ATOMS, PACKAGES};
use super::site::{Client, Site};
use super::tiny;
use super::world::{Ran, World};

/// `{package: field}` of the packages of a document, by name without version.
fn by_name(list: &Value, field: &str) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or("null").to_owned();
    let entry = |package: &Value| (name(text(&package["package"])), text(&package[field]));
    list.as_array().unwrap().iter().map(entry).collect()
}

/// `name` of `category/name-version`; none here has a hyphen.
fn name(cpv: String) -> String {
    cpv.split(['/', '-']).nth(2).unwrap().to_owned()
}

fn expected(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn plan(world: &World, arguments: &[&str]) -> Value {
    world.json(["plan", "--json"].iter().chain(arguments))
}

fn fates(world: &World, arguments: &[&str]) -> BTreeMap<String, String> {
    by_name(&plan(world, arguments)["packages"], "fate")
}

/// What `why` says of a package, each difference on a line.
fn differences(world: &World, arguments: &[&str], package: &str) -> (String, String) {
    let answers = world.json(["why", "--all", "--json"].iter().chain(arguments));
    let is_it = |answer: &&Value| name(answer["package"].as_str().unwrap().to_owned()) == package;
    let answer = answers.as_array().unwrap().iter().find(is_it).unwrap();
    let texts = answer["differences"].as_array().unwrap().iter();
    let texts: Vec<&str> = texts.map(|difference| difference["text"].as_str().unwrap()).collect();
    (answer["fate"].as_str().unwrap().to_owned(), texts.join("\n"))
}

/// How many packages a build that must succeed built, reused and found.
fn built_reused_hits(world: &World, arguments: &[&str]) -> (u64, u64, u64) {
    let summary = world.build(arguments);
    let count = |field: &str| summary[field].as_u64().unwrap();
    (count("built"), count("reused"), count("hits"))
}

/// The verdict of an audit that must end with `code`, as a document.
fn audit(world: &World, code: i32, arguments: &[&str]) -> Value {
    let ran = world.run(["audit", "--json"].iter().chain(arguments));
    assert_eq!(ran.code, Some(code), "{ran}");
    ran.lines().pop().unwrap()
}

#[test]
fn a_fix_inside_a_library_builds_the_library_and_what_is_published_has_it() {
    let world = shapes::built();
    let before = by_name(&plan(&world, &ATOMS)["packages"], "artifact");
    shapes::fix(&world);

    let all = |fate| ["board", "bound", "grid", "ruler"].map(|name| (name, fate));
    let undecided = [&all("undecided")[..], &[("shape", "build")]].concat();
    assert_eq!(fates(&world, &ATOMS), expected(&undecided));
    let answers = world.json(["why", "--json", "tiny-apps/ruler"]);
    assert_eq!(answers[0]["waits_for"], serde_json::json!(["tiny-libs/shape-1"]), "{answers}");
    let shown = world.succeed(["plan"].iter().chain(&ATOMS));
    assert!(shown.contains("[maybe]") && shown.contains("4 to build unless"), "{shown}");

    assert_eq!(built_reused_hits(&world, &ATOMS), (1, 4, 0));
    let planned = plan(&world, &ATOMS);
    let reused = [&all("reuse")[..], &[("shape", "hit")]].concat();
    assert_eq!(by_name(&planned["packages"], "fate"), expected(&reused));
    assert_eq!((&planned["policy"], &planned["summary"]["reused"]), (&"interface".into(), &4.into()));
    let (fate, why) = differences(&world, &ATOMS, "ruler");
    assert_eq!(fate, "reuse");
    assert!(why.contains("tiny-libs/shape") && why.contains("the same interface"), "{why}");
    assert!(why.contains("fix.patch"), "the root of it is named: {why}");
    let said = world.succeed(["why", "tiny-apps/ruler"]);
    assert!(said.contains("stands for it") && said.contains("the same interface"), "{said}");
    assert_eq!(built_reused_hits(&world, &ATOMS), (0, 4, 1));

    let status = world.json(["status", "--json"]);
    let states = by_name(&status["jobs"], "state");
    assert_eq!((states["ruler"].as_str(), states["shape"].as_str()), ("reused", "hit"), "{status}");

    // The library's is another one now, all others are what they were; an audit in between changes none of it.
    let now = by_name(&planned["packages"], "artifact");
    assert_ne!(now["shape"], before["shape"]);
    assert!(["board", "bound", "grid", "ruler"].iter().all(|name| now[*name] == before[*name]), "{now:?}");
    assert_eq!(by_name(&status["jobs"], "artifact"), now, "{status}");
    let verdict = audit(&world, 0, &["tiny-apps/ruler"]);
    assert_eq!((&verdict["audited"], &verdict["same"]), (&1.into(), &1.into()), "{verdict}");
    assert_eq!(world.json(["status", "--json"]), status, "an audit is not the last build");
    assert_eq!(world.json(["finalize", "--json"])["packages"], PACKAGES);
    let generations = world.json(["rollback", "--list", "--json"]);
    let entries = generations["generations"][0]["entries"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let offered: BTreeMap<String, String> =
        entries.iter().map(|entry| (name(text(&entry["cpv"])), text(&entry["key"]))).collect();
    assert_eq!(offered, now);

    let site = Site::of(&world, "site");
    let client = Client::new(&world, "client");
    client.set_up(&site);
    let ran = client.install("tiny-apps/ruler");
    assert_eq!(ran.code, Some(0), "{ran}");
    let mut ruler = Command::new(client.path("usr/bin/ruler"));
    let ran = Ran::of(ruler.env("LD_LIBRARY_PATH", client.path("usr/lib64")));
    assert_eq!(ran.out, "4 8 12\n", "the program that was not built again has the fix: {ran}");
}

#[test]
fn a_wave_ends_where_an_interface_is_as_it_was() {
    let world = shapes::built();
    world.append("overlay/tiny-libs/shape/files/shape.h", "/* A comment. */\n");
    // The program at the top sees of all this only the library between, which comes out as it was.
    assert_eq!(built_reused_hits(&world, &["tiny-apps/ruler", "tiny-apps/board"]), (3, 1, 0));
    let (fate, why) = differences(&world, &["tiny-apps/board"], "board");
    assert!(fate == "reuse" && why.contains("with the same"), "{why}");
    let (fate, why) = differences(&world, &["tiny-apps/bound"], "bound");
    assert!(fate == "miss" && why.contains("with another interface") && why.contains("shape.h"), "{why}");
}

#[test]
fn new_symbols_and_other_sizes_of_data_are_built_with() {
    let source = "overlay/tiny-libs/shape/files/shape.c";
    let world = shapes::built();
    let artifact =
        || by_name(&plan(&world, &["tiny-apps/ruler"])["packages"], "artifact").remove("shape").unwrap();
    let before = artifact();
    world.append(source, "int shape_more(void) { return 1; }\n");
    assert_eq!(built_reused_hits(&world, &["tiny-apps/ruler"]), (2, 0, 0), "symbol");
    let difference = world.succeed(["diff", &before, &artifact()]);
    assert!(difference.contains("libshape.so.1: symbol shape_more added\n"), "{difference}");
    // The header says as little of it as before.
    world.replace(source, "#include \"shape.h\"\n", "");
    world.replace(source, "shape_colours[2] = { 7, 8 }", "shape_colours[3] = { 7, 8, 9 }");
    assert_eq!(built_reused_hits(&world, &["tiny-apps/ruler"]), (2, 0, 0), "size of data");
}

#[test]
fn a_tool_counts_by_its_sources_and_a_generator_by_its_bytes() {
    let world = World::new();
    world.append("swarmd.toml", "toolchain = [\"tiny-apps/maker\"]\n");
    shapes::add_tool(&world, "stamp", "stamped");
    shapes::add_tool(&world, "maker", "made");
    let atoms = ["tiny-apps/stamped", "tiny-apps/made"];
    assert_eq!(built_reused_hits(&world, &atoms), (4, 0, 0));

    world.append("config/etc/portage/package.env", "tiny-apps/stamp optimise.conf\n");
    assert_eq!(fates(&world, &atoms)["stamp"], "unneeded");
    assert_eq!(built_reused_hits(&world, &atoms), (0, 1, 2), "flags of a tool");

    world.replace("overlay/tiny-apps/stamp/files/stamp", "one way", "another way");
    assert_eq!(fates(&world, &atoms)["stamped"], "build", "known before the tool is built");
    assert_eq!(built_reused_hits(&world, &atoms), (2, 0, 2), "sources of a tool");

    world.write("overlay/tiny-apps/maker/files/unused", "It is not installed.\n");
    assert_eq!(fates(&world, &atoms)["made"], "undecided");
    assert_eq!(built_reused_hits(&world, &atoms), (1, 1, 2), "a generator with the same bytes");
    let (fate, why) = differences(&world, &atoms, "made");
    assert!(fate == "reuse" && why.contains("the same bytes"), "{why}");

    // Only a comment in it: its output is the same, which nobody can know beforehand.
    world.append("overlay/tiny-apps/maker/files/maker", "# a comment\n");
    assert_eq!(built_reused_hits(&world, &atoms), (2, 0, 2), "a generator with other bytes");
}

#[test]
fn a_new_sub_slot_reaches_whoever_binds_it_and_nobody_else() {
    let world = shapes::built();
    let atoms = ["tiny-apps/ruler", "tiny-apps/bound"];
    world.replace("overlay/tiny-libs/shape/shape-1.ebuild", "0/1", "0/2");
    assert_eq!(built_reused_hits(&world, &atoms), (2, 1, 0));
    assert_eq!(fates(&world, &atoms), expected(&[("bound", "hit"), ("ruler", "reuse"), ("shape", "hit")]));

    world.replace("overlay/tiny-libs/shape/shape-1.ebuild", "0/2", "0/3");
    let slot = ["--policy=slot", "tiny-apps/ruler", "tiny-apps/bound"];
    assert_eq!(fates(&world, &slot), expected(&[("bound", "build"), ("ruler", "reuse"), ("shape", "build")]));
    assert_eq!(built_reused_hits(&world, &slot), (2, 1, 0));
}

#[test]
fn what_stands_under_one_policy_is_no_answer_under_another() {
    let world = shapes::built();
    let atoms = ["tiny-apps/board"];
    let exact = ["--policy=exact", "tiny-apps/board"];
    shapes::fix(&world);
    assert_eq!(built_reused_hits(&world, &atoms), (1, 2, 0));
    let exact_fates = [("board", "build"), ("grid", "build"), ("shape", "hit")];
    assert_eq!(fates(&world, &exact), expected(&exact_fates));

    // Built, but with a library in its root that only stood for the planned one.
    world.append("overlay/tiny-apps/board/board-1.ebuild", "# a comment\n");
    assert_eq!(built_reused_hits(&world, &atoms), (1, 1, 1));
    assert_eq!(fates(&world, &atoms)["board"], "reuse");
    assert_eq!(fates(&world, &exact), expected(&exact_fates));

    assert_eq!(built_reused_hits(&world, &exact), (2, 0, 1));
    assert_eq!(built_reused_hits(&world, &exact), (0, 0, 3));
    assert_eq!(built_reused_hits(&world, &atoms), (0, 0, 3));
}

#[test]
fn whoever_asks_for_a_version_is_built_again_for_another() {
    let world = shapes::built();
    let asks = "src_configure() { has_version '>=tiny-libs/shape-1-r1' && CFLAGS+=' -DNEW'; }\n";
    shapes::add_program(&world, "asks", "tiny-libs/shape", asks);
    let atoms = ["tiny-apps/asks", "tiny-apps/ruler"];
    assert_eq!(built_reused_hits(&world, &atoms), (1, 0, 2));
    let ebuild = world.overlay().join("tiny-libs/shape/shape-1.ebuild");
    world.write("overlay/tiny-libs/shape/shape-1-r1.ebuild", &fs::read_to_string(ebuild).unwrap());
    assert_eq!(built_reused_hits(&world, &atoms), (2, 1, 0));
    assert_eq!(fates(&world, &atoms), expected(&[("asks", "hit"), ("ruler", "reuse"), ("shape", "hit")]));
}

#[test]
fn an_audit_finds_what_was_reused_and_should_not_have_been() {
    let world = shapes::built();
    let clock = "SLOT=\"0\"\nDEPEND=\"tiny-libs/shape\"\n\
                 src_install() { date +%N > note; insinto /usr/share/tiny; newins note clock; }\n";
    tiny::add(&world, "tiny-apps/clock-1", clock);
    let atoms = ["--policy=slot", "tiny-apps/ruler", "tiny-apps/clock"];
    assert_eq!(world.build(&atoms)["built"], 1);
    shapes::change_header(&world);
    assert_eq!(built_reused_hits(&world, &atoms), (1, 2, 0), "the policy does not look at headers");

    let verdict = audit(&world, 1, &atoms);
    let counts =
        ["audited", "same", "false_reuse", "not_reproducible", "not_built"].map(|name| &verdict[name]);
    assert_eq!(counts.map(Value::as_u64), [Some(2), Some(0), Some(1), Some(1), Some(0)], "{verdict}");
    let verdicts = by_name(&verdict["packages"], "verdict");
    assert_eq!(verdicts, expected(&[("clock", "not_reproducible"), ("ruler", "false_reuse")]));
    let ruler =
        verdict["packages"].as_array().unwrap().iter().find(|found| found["verdict"] == "false_reuse");
    let ruler = ruler.unwrap();
    let text = |field: &str| ruler[field].to_string();
    assert!(text("inputs").contains("tiny-libs/shape") && text("files").contains("usr/bin/ruler"), "{ruler}");

    // Built from scratch by the audit, it is a hit now: nothing is reused any more.
    assert_eq!(fates(&world, &atoms)["ruler"], "hit");
    let one = audit(&world, 0, &["--hits", "--sample=1", "tiny-apps/ruler"]);
    assert_eq!((&one["audited"], &one["same"]), (&1.into(), &1.into()), "{one}");
    // What is a hit is really built again: nothing else could tell this.
    let hits = audit(&world, 0, &["--hits", "--policy=exact", "tiny-apps/clock"]);
    let verdicts = by_name(&hits["packages"], "verdict");
    assert_eq!(verdicts, expected(&[("clock", "not_reproducible"), ("shape", "same")]), "{hits}");
    let run = world.json(["status", "--json"])["run"].as_u64().unwrap() + 1;
    assert!(world.refuse(["finalize", "--run", &run.to_string()]).contains("was an audit"));
}

#[test]
fn what_needs_a_library_that_does_not_build_is_not_tried() {
    let world = shapes::built();
    world.append("overlay/tiny-libs/shape/files/shape.c", "no C\n");
    let ran = world.run(["build", "--json", "tiny-apps/leaf"].iter().chain(&ATOMS));
    assert_eq!(ran.code, Some(1), "{ran}");
    let lines = ran.lines();
    let summary = lines.last().unwrap();
    let counts = ["built", "failed", "blocked", "reused"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(counts, [1, 1, 4, 0], "{summary}");
    let blocked = lines.iter().filter(|event| event["state"] == "blocked");
    let reasons: Vec<&str> = blocked.map(|event| event["reason"].as_str().unwrap()).collect();
    assert!(reasons.iter().all(|reason| reason.contains("blocked by tiny-libs/shape-1")), "{reasons:?}");
    assert!(world.refuse(["finalize"]).contains("not complete"));
}

#[test]
fn an_interrupted_wave_goes_on_where_it_was() {
    let world = shapes::built();
    shapes::add_program(&world, "slow", "tiny-libs/shape", "");
    world.replace(
        "overlay/tiny-apps/slow/slow-1.ebuild",
        "swarm_setup_flags;",
        "swarm_setup_flags; sleep 4;",
    );
    shapes::fix(&world);
    let atoms = ["tiny-apps/ruler", "tiny-apps/slow"];
    let mut build = Build::start(&world, &atoms);
    build.until(|event| event["state"] == "reused");
    build.until(|event| event["phase"] == "compile");
    build.signal("INT");
    assert_eq!(build.end().0, Some(130));
    assert_nothing_is_left(&world);
    assert_eq!(built_reused_hits(&world, &atoms), (1, 1, 1));
    assert_eq!(built_reused_hits(&world, &atoms), (0, 1, 2));
}
