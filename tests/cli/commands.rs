//! The commands one by one: what they print for people, and for programs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::tiny;
use super::world::{BUILD_SWARM, PREPARED, PREPARED_PACKAGES, Ran, World};

/// Key of each package of a plan, by package.
fn keys(document: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let packages = document["packages"].as_array().unwrap();
    packages.iter().map(|package| (text(&package["package"]), text(&package["key"]))).collect()
}

fn plan(world: &World) -> Value {
    world.json(["plan", "--json"].iter().chain(&PREPARED))
}

#[test]
fn a_build_tells_a_program_everything() {
    let world = World::new();
    let ran = world.run(["build", "--json", "tiny-apps/reader", "tiny-apps/leaf"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    let mut lines = ran.lines();
    let summary = lines.pop().unwrap();
    for (name, count) in [("packages", 3), ("built", 3), ("hits", 0), ("failed", 0), ("blocked", 0)] {
        assert_eq!(summary[name], count, "{name} in {summary}");
    }
    assert!(summary["seconds"].as_f64().unwrap() > 0.0 && summary["interrupted"] == false, "{summary}");
    for package in ["tiny-apps/leaf-1", "tiny-apps/reader-1", "tiny-libs/note-1"] {
        let of_package = |event: &&Value| event["package"] == package;
        let started: Vec<&Value> =
            lines.iter().filter(of_package).filter(|e| e["event"] == "started").collect();
        assert_eq!(started.len(), 1, "{package}: {lines:?}");
        assert_eq!(started[0]["key"].as_str().map(str::len), Some(64));
        let last = lines.iter().rfind(of_package).unwrap();
        assert_eq!(last["state"], "built", "{package}: {last}");
        let phases: Vec<&Value> =
            lines.iter().filter(|e| e["event"] == "phase" && e["key"] == last["key"]).collect();
        assert!(phases.iter().any(|e| e["phase"] == "fetch") && phases.len() > 3, "{package}: {phases:?}");
    }
    let place = |state: &str, package: &str| {
        lines
            .iter()
            .position(|e| e["package"] == package && (e["event"] == state || e["state"] == state))
            .unwrap()
    };
    assert!(place("built", "tiny-libs/note-1") < place("started", "tiny-apps/reader-1"), "{lines:?}");
}

#[test]
fn a_plan_is_a_tree_for_people_and_a_document_for_programs() {
    let world = World::new();
    let document = plan(&world);
    assert_eq!(document["schema"], 1);
    assert_eq!(document["summary"]["packages"], PREPARED_PACKAGES.len());
    assert_eq!(document["summary"]["build"], PREPARED_PACKAGES.len());
    assert_eq!(keys(&document).keys().collect::<Vec<_>>(), PREPARED_PACKAGES);
    let packages = document["packages"].as_array().unwrap();
    let reader = packages.iter().find(|package| package["package"] == "tiny-apps/reader-1").unwrap();
    let needed = &reader["dependencies"][0];
    assert_eq!((&needed["package"], &needed["slot_operator"]), (&"tiny-libs/note-1".into(), &true.into()));
    assert_eq!(needed["classes"], serde_json::json!(["DEPEND", "RDEPEND"]), "{reader}");
    let target = packages.iter().find(|package| package["package"] == "tiny-apps/target-1").unwrap();
    assert_eq!(target["use_expand"]["LUA_TARGETS"], serde_json::json!(["lua5-1", "lua5-4"]), "{target}");
    for field in ["slot", "repository", "eapi", "use", "iuse", "keywords", "fate", "key"] {
        assert!(!reader[field].is_null(), "{field} in {reader}");
    }
    assert!(!world.state().join("store").exists(), "a plan needs no store and makes none");

    let tree = world.succeed(["plan", "-v", "tiny-apps/reader", "tiny-apps/leaf"]);
    let key = &keys(&document)["tiny-libs/note-1"][..12];
    for line in [
        "[build] tiny-apps/reader-1::swarmworld",
        "[build]   tiny-libs/note-1:0/1::swarmworld",
        "USE=\"-extra\"",
        key,
        "Total: 3 packages (3 to build, 0 hits)",
    ] {
        assert!(tree.contains(line), "no {line} in:\n{tree}");
    }
    let excluded = world.refuse(["plan", "tiny-apps/reader", "--exclude", "tiny-libs/note"]);
    assert!(excluded.contains("tiny-libs/note"), "{excluded}");
}

#[test]
fn keys_are_the_same_wherever_and_from_whatever_environment() {
    let (world, other) = (World::new(), World::new());
    assert_ne!(world.path(""), other.path(""));
    let expected = keys(&plan(&world));
    assert_eq!(keys(&plan(&other)), expected);
    let mut command = other.command(["plan", "--json"].iter().chain(&PREPARED));
    for (name, value) in [
        ("FOO_LEAK", "1"),
        ("CFLAGS", "-O9"),
        ("USE", "extra"),
        ("FEATURES", "nodoc"),
        ("LANG", "de_DE.UTF-8"),
        ("TZ", "Asia/Tokyo"),
        ("MAKEOPTS", "-j99"),
        ("PORTAGE_REPOSITORIES", "[x]"),
        ("HOME", "/nowhere"),
    ] {
        command.env(name, value);
    }
    let ran = Ran::of(command.current_dir("/"));
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(keys(&ran.lines()[0]), expected);
}

#[test]
fn an_ebuild_edited_twice_in_a_second_is_read_twice() {
    let world = World::new();
    let path = world.overlay().join("tiny-apps/reader/reader-1.ebuild");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    let packages =
        |world: &World| world.json(["plan", "--json", "tiny-apps/reader"])["summary"]["packages"].clone();
    assert_eq!(packages(&world), 2);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("tiny-libs/note:=", "tiny-apps/leaf ")).unwrap();
    fs::File::open(&path).unwrap().set_modified(time).unwrap();
    let document = world.json(["plan", "--json", "tiny-apps/reader"]);
    assert!(keys(&document).contains_key("tiny-apps/leaf-1"), "{document}");
}

#[test]
fn why_and_diff_name_what_differs() {
    let world = World::prepared();
    let hit = world.succeed(["why", "tiny-apps/leaf"]);
    assert!(hit.starts_with("tiny-apps/leaf-1 hit: built 2") && hit.contains(" on "), "{hit}");
    let before = keys(&plan(&world))["tiny-apps/leaf-1"].clone();
    world.append("config/etc/portage/package.use", "tiny-apps/leaf extra\n");
    let miss = world.succeed(["why", "tiny-apps/leaf"]);
    let short = &before[..12];
    assert_eq!(miss, format!("tiny-apps/leaf-1 miss: differs from the build {short}\n  USE +extra\n"));
    tiny::add(&world, "tiny-apps/never-1", "SLOT=\"0\"\n");
    assert_eq!(world.succeed(["why", "tiny-apps/never"]), "tiny-apps/never-1 miss: never built before\n");
    let all = world.json(["why", "--all", "--json", "tiny-apps/reader", "tiny-apps/leaf"]);
    let fates: Vec<&str> =
        all.as_array().unwrap().iter().map(|answer| answer["fate"].as_str().unwrap()).collect();
    assert_eq!(fates.iter().filter(|fate| **fate == "hit").count(), 2, "{all}");
    assert_eq!(fates.iter().filter(|fate| **fate == "miss").count(), 1, "{all}");

    assert_eq!(world.build(&["tiny-apps/leaf"])["built"], 1);
    let after = keys(&plan(&world))["tiny-apps/leaf-1"].clone();
    let difference = world.succeed(["diff", short, &after]);
    assert!(
        difference.contains("--- ") && difference.contains("\nUSE +extra\n1 inputs differ; "),
        "{difference}"
    );
    let document = world.json(["diff", "--json", &before, &after]);
    assert_eq!(document["differences"][0]["text"], "USE +extra", "{document}");
    // Another USE flag, and nothing that others would notice.
    let interface = |name: &str| world.json(["interface", "--json", name])["interface"].clone();
    assert_eq!(document["interface"]["before"], interface(&before), "{document}");
    assert_eq!(document["interface"]["after"], interface("=tiny-apps/leaf-1"), "the newest of that package");
    assert_eq!(interface("leaf"), interface(&after), "its only version");
    assert_eq!(document["interface"]["changes"], serde_json::json!([]), "{document}");
    assert!(difference.ends_with("different payloads\nthe same interface\n"), "{difference}");
    assert!(world.refuse(["diff", "ffff", short]).contains("no key in the store begins with ffff"));
    assert!(world.refuse(["diff", "xyz", short]).contains("4 or more hexadecimal digits"));
}

#[test]
fn interfaces_are_shown_and_compared() {
    let world = World::prepared();
    let shown = world.succeed(["interface", "tiny-libs/note"]);
    assert!(shown.starts_with("usr/share/tiny/note: file "), "{shown}");
    assert!(shown.trim_end().ends_with(" tiny-libs/note-1"), "{shown}");
    let document = world.json(["interface", "--json", "tiny-libs/note-1"]);
    assert_eq!(document["package"], "tiny-libs/note-1", "{document}");
    assert_eq!(document["files"]["usr/share/tiny/note"]["kind"], "file", "{document}");

    tiny::add(&world, "tiny-libs/note-2", &format!("SLOT=\"0/1\"\n{}", tiny::INSTALL));
    assert_eq!(world.build(&["=tiny-libs/note-2"])["built"], 1);
    let refused = world.refuse(["interface", "note"]);
    assert!(refused.contains("note is 2 packages: tiny-libs/note-1, tiny-libs/note-2"), "{refused}");
    assert!(world.refuse(["interface", "tiny-libs/nobody-1"]).contains("nothing named tiny-libs/nobody-1"));
    let changed = "usr/share/tiny/note: content changed\nthe interface differs in 1\n";
    let difference = world.succeed(["diff", "tiny-libs/note-1", "tiny-libs/note-2"]);
    assert!(difference.ends_with(changed), "{difference}");

    // Package files need no store.
    world.succeed(["finalize", "--only"]);
    let files = Command::new("find").arg(world.state()).args(["-name", "*.gpkg.tar"]).output().unwrap();
    let files = String::from_utf8(files.stdout).unwrap();
    let [file] = files.lines().collect::<Vec<_>>()[..] else { panic!("{files}") };
    let of_file = |command: &[&str]| world.json(["--state", "/nonexistent"].iter().chain(command).copied());
    let digest = world.json(["interface", "--json", "tiny-libs/note-2"])["interface"].clone();
    assert_eq!(of_file(&["interface", "--json", file])["interface"], digest);
    let compared = of_file(&["diff", "--json", file, file]);
    assert_eq!((&compared["interface"]["before"], &compared["before"]["file"]), (&digest, &file.into()));
    let text = world.succeed(["diff", "tiny-libs/note-1", file]);
    assert!(text.ends_with(changed) && !text.contains("inputs differ"), "{text}");
    assert!(world.refuse(["interface", "nowhere.gpkg.tar"]).contains("nowhere.gpkg.tar: No such file"));
}

#[test]
fn nothing_is_built_unless_it_is_wanted() {
    let world = World::new();
    let pretended = world.succeed(["build", "--pretend", "tiny-apps/leaf"]);
    assert!(pretended.contains("[build] tiny-apps/leaf-1::swarmworld"), "{pretended}");
    assert_eq!(world.json(["build", "-p", "--json", "tiny-apps/leaf"])["summary"]["build"], 1);
    for (answer, built) in [("n\n", false), ("No\n", false), ("", false), ("what?\nn\n", false), ("\n", true)]
    {
        let mut command = world.command(["build", "--ask", "tiny-apps/leaf"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, Some(0), "{answer:?}: {ran}");
        assert!(ran.out.contains("Would you like to build these packages? [Yes/No]"), "{ran}");
        assert_eq!(ran.out.contains("1 packages, 1 built"), built, "{answer:?}: {ran}");
        assert_eq!(ran.out.contains("response 'what?' not understood"), answer.starts_with("what"), "{ran}");
    }
    assert_eq!(world.run(["store", "ls", "--json"]).lines().len(), 1);
    let quiet = world.run(["build", "--quiet", "tiny-apps/leaf"]);
    assert_eq!((quiet.code, quiet.err.as_str()), (Some(0), ""), "{quiet}");
}

#[test]
fn logs_and_the_store_can_be_looked_at() {
    let world = World::prepared();
    let list = world.succeed(["logs"]);
    assert_eq!(
        list.lines().filter(|line| line.contains("  built ")).count(),
        PREPARED_PACKAGES.len(),
        "{list}"
    );
    let attempts = world.run(["logs", "--list", "--json", "tiny-apps/leaf"]).lines();
    assert_eq!(attempts.len(), 1, "{attempts:?}");
    assert_eq!((&attempts[0]["outcome"], &attempts[0]["class"]), (&"built".into(), &Value::Null));
    let key = attempts[0]["key"].as_str().unwrap();
    for name in ["tiny-apps/leaf", "tiny-apps/leaf-1", "=tiny-apps/leaf-1", &key[..12]] {
        let log = world.succeed(["logs", name]);
        assert!(log.contains(">>> Completed installing tiny-apps/leaf-1"), "{name}: {log}");
    }
    assert!(
        world.refuse(["logs", "tiny-apps/nobody"]).contains("nothing named tiny-apps/nobody was built here")
    );

    let artifacts = world.succeed(["store", "ls"]);
    assert_eq!(artifacts.lines().count(), PREPARED_PACKAGES.len(), "{artifacts}");
    let stats = world.json(["store", "stats", "--json"]);
    assert_eq!(stats["artifacts"], PREPARED_PACKAGES.len(), "{stats}");
    assert_eq!(world.json(["store", "verify", "--json"])["damaged"], serde_json::json!([]));
    let would = world.json(["store", "gc", "--dry-run", "--json"]);
    assert_eq!((&would["dry_run"], &would["blobs"]), (&true.into(), &0.into()), "{would}");
    assert!(world.refuse(["store", "rm", "0000000"]).contains("no key in the store begins with 0000000"));
    assert!(world.succeed(["store", "rm", &key[..12]]).contains(key));
    assert_eq!(world.run(["store", "ls", "tiny-apps/leaf"]).out, "");
    let status = world.json(["status", "--json"]);
    assert_eq!((&status["state"], &status["summary"]["built"]), (&"finished".into(), &8.into()), "{status}");
    assert!(world.succeed(["status", "-v"]).contains("built     tiny-apps/leaf-1"));
}

#[test]
fn what_is_damaged_is_neither_built_with_nor_published_and_heals() {
    let world = World::new();
    // Large enough to be a file in the store.
    let install =
        "src_install() { head -c 99999 /bin/bash > large || die; insinto /usr/share/tiny; doins large; }\n";
    tiny::add(&world, "tiny-libs/large-1", &format!("SLOT=\"0\"\n{install}"));
    let needs = "DEPEND=\"tiny-libs/large\"\n";
    tiny::add(&world, "tiny-apps/user-1", &format!("SLOT=\"0\"\n{needs}{}", tiny::INSTALL));
    let both = ["tiny-apps/user", "tiny-libs/large"];
    assert_eq!(world.build(&both)["built"], 2);
    let damage = || {
        let artifact = world.run(["store", "ls", "--json", "tiny-libs/large"]).lines().remove(0);
        let id = artifact["file"]["id"].as_str().unwrap().to_owned();
        let path = world.state().join("store/blobs").join(&id[..2]).join(&id[2..]);
        let mut bytes = fs::read(&path).unwrap();
        bytes[20_000] ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        id
    };
    // Nobody knows until somebody reads it.
    let id = damage();
    assert_eq!(world.build(&both)["hits"], 2);
    let refused = world.refuse(["finalize"]);
    println!("{refused}");
    let text = "tiny-libs/large-1 is damaged or missing in the store; build it again";
    assert!(refused.contains(&id) && refused.contains(text), "{refused}");
    assert!(!world.state().join("binhost/channels/default/current").exists());
    assert_eq!(world.build(&both)["built"], 1);
    assert_eq!(world.json(["finalize", "--json"])["packages"], 2);

    damage();
    world.append("overlay/tiny-apps/user/user-1.ebuild", "# better\n");
    let ran = world.run(["build", "tiny-apps/user"]);
    let text = "the artifact of tiny-libs/large-1 is damaged or gone; run the same command again";
    assert!(ran.code == Some(1) && ran.err.contains(text), "{ran}");
    assert_eq!(world.build(&both)["built"], 2);
    assert_eq!(world.run(["store", "verify"]).code, Some(0));
}

#[test]
fn nothing_but_text_goes_into_a_pipe() {
    let world = World::prepared();
    let commands: [&[&str]; 6] = [
        &["plan", "-v", "tiny-apps/leaf"],
        &["build", "tiny-apps/leaf"],
        &["why", "tiny-apps/leaf"],
        &["status", "-v"],
        &["logs"],
        &["plan", "tiny-apps/nobody"],
    ];
    for arguments in commands {
        let ran = Ran::of(world.command(arguments).env("TERM", "xterm-256color").env("CLICOLOR_FORCE", "1"));
        assert!(!(ran.out + &ran.err).contains('\x1b'), "{arguments:?}");
    }
    // At a terminal there are colours, unless NO_COLOR is set.
    let line = format!("{BUILD_SWARM} --config {} plan tiny-apps/leaf", world.path("swarmd.toml").display());
    let at_terminal = |no_color: &str| {
        let mut command = Command::new("script");
        command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env("NO_COLOR", no_color);
        Ran::of(command.stdin(Stdio::null())).out
    };
    assert!(at_terminal("").contains("\x1b[0m"));
    assert!(!at_terminal("1").contains("\x1b[0m"));
    // Nobody reads to the end.
    let cut = Command::new("sh").args(["-c", &format!("{BUILD_SWARM} --config \"$1\" logs tiny-apps/leaf | true; {BUILD_SWARM} --config \"$1\" status -v | true"), "sh"])
        .arg(world.path("swarmd.toml")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&cut.stderr), "");
}

#[test]
fn help_completions_and_man_pages_are_there() {
    let world = World::new();
    for name in [
        "build",
        "plan",
        "why",
        "diff",
        "interface",
        "status",
        "logs",
        "finalize",
        "rollback",
        "serve",
        "completions",
        "man",
    ] {
        let help = world.succeed([name, "--help"]);
        assert!(help.contains("Examples:\n  build-swarm "), "{name}: {help}");
    }
    for (group, names) in [
        ("store", &["ls", "stats", "verify", "gc", "root", "rm"][..]),
        ("client", &["setup", "remove", "certify", "emerge", "key"]),
    ] {
        for name in names {
            let help = world.succeed([group, name, "--help"]);
            assert!(help.contains("Usage: build-swarm "), "{group} {name}: {help}");
            assert!(help.contains("Examples:\n  build-swarm "), "{group} {name}: {help}");
        }
    }
    assert!(world.succeed(["--help"]).contains("130  interrupted"));
    assert!(world.succeed(["--version"]).starts_with("build-swarm "));
    for shell in ["bash", "zsh", "fish"] {
        let script = world.succeed(["completions", shell]);
        assert!(script.contains("build-swarm") && script.contains("finalize"), "{shell}");
    }
    let directory = world.path("man");
    world.succeed(["man", &directory.display().to_string()]);
    for page in ["build-swarm.1", "build-swarm-build.1", "build-swarm-client-setup.1"] {
        let text = fs::read_to_string(directory.join(page)).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{page}");
    }
}
