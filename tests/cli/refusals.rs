//! What is refused, and that each refusal names the thing, the place and what to do.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::tiny;
use super::world::{BUILD_SWARM, Ran, World};

/// Arguments of `plan`, and the parts of the text that refuses them.
type Refused = (&'static [&'static str], &'static [&'static str]);

const BY_PORTAGE: [Refused; 13] = [
    (&["app-misc/nobody-has-this"], &["no package app-misc/nobody-has-this", "/etc/portage/repos.conf"]),
    (&["=app-misc/figlet-99"], &["No version of app-misc/figlet matches", "there are app-misc/figlet-2.2.5"]),
    (&["app/misc/figlet"], &["app/misc/figlet is not a valid package atom", "Write category/name"]),
    (&["@nobody-has-this"], &["no package set @nobody-has-this", "@world"]),
    (&["figlet"], &["figlet", "app-misc/figlet", "tiny-apps/figlet"]),
    (&["app-misc/figlet[nonsense]"], &["app-misc/figlet-2.2.5", "no USE flag nonsense"]),
    (&["test-refusals/masked"], &["test-refusals/masked-1", "profiles/package.mask", "package.unmask"]),
    (&["test-refusals/keyworded"], &["test-refusals/keyworded-1", "~amd64", "package.accept_keywords"]),
    (
        &["test-refusals/unlicensed"],
        &["licence Swarmworld-EULA", "test-refusals/unlicensed-1", "package.license"],
    ),
    (&["test-refusals/required-use"], &["test-refusals/required-use-1", "^^ ( one two )", "package.use"]),
    (
        &["test-refusals/use-change"],
        &["app-misc/figlet-2.2.5", "USE=\"broken\"", "test-refusals/use-change", "package.use"],
    ),
    (
        &["test-refusals/blocker-a", "test-refusals/blocker-b"],
        &[
            "test-refusals/blocker-a-1",
            "cannot be installed together",
            "test-refusals/blocker-b-1",
            "Leave one",
        ],
    ),
    (
        &["test-refusals/missing-dependency"],
        &["No version of sys-libs/zlib matches >=sys-libs/zlib-99", "required by", "missing-dependency-1"],
    ),
];

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[test]
fn what_portage_refuses_is_explained() {
    let world = World::new();
    tiny::add(&world, "tiny-apps/figlet-1", "SLOT=\"0\"\n");
    for (atoms, parts) in BY_PORTAGE {
        assert_says(&world.refuse(["plan"].iter().chain(atoms)), parts);
    }
    let cycle = world.refuse(["plan", "test-refusals/cycle-a"]);
    assert_says(&cycle, &["test-refusals/cycle-a-1", "test-refusals/cycle-b-1", "->"]);
    assert_says(&world.refuse(["build", "test-refusals/masked"]), &["package.mask"]);
    assert!(world.refuse(["status"]).contains("nothing was built here yet"));
}

/// Something wrong with a machine: how it comes to be, and what is said.
type Wrong = (&'static str, fn(&World), &'static [&'static str]);

const MACHINES: [Wrong; 12] = [
    (
        "no configuration",
        |world| remove(world, "config/etc/portage"),
        &["config/etc/portage", "--config-root"],
    ),
    (
        "no profile",
        |world| fs::remove_file(world.etc("make.profile")).unwrap(),
        &["etc/portage/make.profile", "no profile is selected", "eselect profile"],
    ),
    (
        "no repositories",
        |world| fs::remove_file(world.etc("repos.conf")).unwrap(),
        &["no ebuild repository", "etc/portage/repos.conf", "location ="],
    ),
    (
        "a repository that is not there",
        |world| fs::rename(world.overlay(), world.path("elsewhere")).unwrap(),
        &["repository swarmworld", "/overlay is not a directory", "repos.conf"],
    ),
    (
        "another repository that is not there",
        |world| world.append("config/etc/portage/repos.conf", "[other]\nlocation = /nowhere/at/all\n"),
        &["repository other", "/nowhere/at/all is not a directory", "repos.conf"],
    ),
    (
        "an unknown key",
        |world| world.replace("swarmd.toml", "slots = 2", "slot = 2"),
        &["swarmd.toml", "unknown field `slot`", "did you mean `slots`?"],
    ),
    (
        "a value of another type",
        |world| world.replace("swarmd.toml", "slots = 2", "slots = \"two\""),
        &["swarmd.toml", "slots = \"two\"", "expected u32"],
    ),
    ("a broken file", |world| world.append("swarmd.toml", "[build\n"), &["swarmd.toml", "line", "[build"]),
    (
        "tools that are not there",
        |world| world.replace("swarmd.toml", "tools = [", "tools = [\"/nowhere\", "),
        &["/nowhere is not a directory", "portage.tools"],
    ),
    ("an old Portage", |world| stub_portage(world, "3.0.40"), &["3.0.40 is older than 3.0.50"]),
    (
        "no Portage",
        |world| {
            stub_portage(world, "3.0.83");
            remove(world, "stub/lib");
        },
        &["has no module `portage`", "3.0.50", "--portage"],
    ),
    (
        "no Python",
        |world| {
            stub_portage(world, "3.0.83");
            remove(world, "stub/bin");
        },
        &["stub/bin/python3", "No such file", "Python 3.9 and Portage 3.0.50", "--portage"],
    ),
];

fn remove(world: &World, path: &str) {
    fs::remove_dir_all(world.path(path)).unwrap();
}

/// Makes the configuration name a prefix whose Portage is nothing but a version.
fn stub_portage(world: &World, version: &str) {
    let python =
        format!("#!/bin/sh\nPYTHONPATH={} exec /usr/bin/python3 \"$@\"\n", world.path("stub/lib").display());
    world.write("stub/bin/python3", &python);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(world.path("stub/bin/python3"), mode).unwrap();
    world.write("stub/lib/portage/__init__.py", &format!("VERSION = \"{version}\"\n"));
    world.write("stub/lib/_emerge/main.py", "import portage\n");
    let text = fs::read_to_string(world.path("swarmd.toml")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("prefix")).collect();
    let stub = format!("[portage]\nprefix = {:?}", world.path("stub"));
    world.write("swarmd.toml", &(lines.join("\n").replace("[portage]", &stub) + "\n"));
}

#[test]
fn what_is_wrong_with_a_machine_is_named() {
    for (what, spoil, parts) in MACHINES {
        let world = World::new();
        spoil(&world);
        let text = world.refuse(["plan", "app-misc/figlet"]);
        println!("{what}: {text}");
        assert_says(&text, parts);
        assert!(!text.contains("panicked"), "{what}: {text}");
    }
    let world = World::new();
    let lost =
        Ran::of(Command::new(BUILD_SWARM).args(["--config", "/nowhere.toml", "plan", "app-misc/figlet"]));
    assert_eq!(lost.code, Some(1), "{lost}");
    assert_says(&lost.err, &["/nowhere.toml: No such file"]);
    assert_eq!(world.run(["build"]).code, Some(2));
    assert_eq!(world.run(["build", "--nonsense", "app-misc/figlet"]).code, Some(2));
    assert_eq!(world.run([""; 0]).code, Some(2));
}

#[test]
fn a_kernel_that_refuses_namespaces_is_named_with_what_to_change() {
    let world = World::new();
    // In a user namespace without any user the kernel makes no further one.
    let mut command = Command::new("unshare");
    command.args(["--user", "--", BUILD_SWARM, "--config"]).arg(world.path("swarmd.toml"));
    let ran = Ran::of(command.args(["plan", "app-misc/figlet"]));
    assert_eq!(ran.code, Some(1), "{ran}");
    assert_says(&ran.err, &["user namespaces", "user.max_user_namespaces", "as root"]);
}

#[test]
fn a_state_that_cannot_be_used_is_named_with_the_reason() {
    let world = World::prepared();
    let database = world.state().join("store/index.db");
    let sql = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('pragma user_version = 999'); \
               c.commit()";
    let made_newer = Command::new("python3").args(["-c", sql]).arg(database).status().unwrap();
    assert!(made_newer.success());
    for command in
        [&["build", "tiny-apps/leaf"][..], &["plan", "tiny-apps/leaf"], &["status"], &["store", "ls"]]
    {
        assert_says(&world.refuse(command), &["state/store", "999", "newer"]);
    }
    world.write("file", "");
    let state = world.path("file").display().to_string();
    let text = world.refuse(["--state", &state, "build", "tiny-apps/leaf"]);
    assert_says(&text, &[&state, "cannot be used as state directory", "File exists"]);
    let text = world.refuse(["--state", "/proc/nobody/may/write/here", "build", "tiny-apps/leaf"]);
    assert_says(&text, &["/proc/nobody/may/write/here", "cannot be used as state directory"]);
    for command in ["status", "logs", "finalize", "rollback"] {
        let text = world.refuse(["--state", &world.path("empty").display().to_string(), command]);
        assert!(text.contains("there is no store") || text.contains("yet"), "{command}: {text}");
    }
}

/// The source of `tiny-apps/sourced`.
const SOURCE: &str = "sources\n";
const MANIFEST: &str = "DIST sourced.txt 8 \
    BLAKE2B 338745388b63ea2f4d9f5a3577c62b67bc8226be04c8fb26a5fbd2ba7b7f545a67f62d400beb9ecec66b8449d39f57aa664ff341e1c7c11534cd97d754b7091a \
    SHA512 83cea0603823c62f5c6c3e4b73b2f941de1b4f220efa81634d7e880b7b7d0add9506e684f979872f07e682a5cd3cfd7f62fb546d1712e1edebce52d61a306e59\n";

/// A world with packages that do not build, each for another reason.
fn world_of_failures() -> World {
    let world = World::new();
    let install = tiny::INSTALL;
    let failing = "src_compile() { seq 100; echo 'main.c:3: error: the reason' >&2; die 'cannot go on'; }\n";
    tiny::add(&world, "tiny-apps/failing-1", &format!("SLOT=\"0\"\n{failing}"));
    let needs = "DEPEND=\"tiny-apps/failing\"\n";
    tiny::add(&world, "tiny-apps/dependent-1", &format!("SLOT=\"0\"\n{needs}{install}"));
    tiny::add(&world, "tiny-apps/empty-1", "SLOT=\"0\"\nsrc_install() { :; }\n");
    tiny::add(&world, "tiny-apps/slotted-1", &format!("SLOT=\"0\"\n{install}"));
    tiny::add(&world, "tiny-apps/flagged-1", &format!("SLOT=\"0\"\nIUSE=\"extra\"\n{install}"));
    // Runs after src_install and can get at what Portage records.
    world.write(
        "overlay/metadata/install-qa-check.d/60spoil",
        "case ${PN} in slotted) echo 7 > \"${PORTAGE_BUILDDIR}\"/build-info/SLOT ;;\n\
         flagged) echo extra > \"${PORTAGE_BUILDDIR}\"/build-info/USE ;; esac\n",
    );
    let library = "SLOT=\"0\"\ninherit swarm-build\n\
         src_compile() { swarm_setup_flags; echo 'int tiny(void) { return 3; }' > tiny.c || die\n\
         ${CC} -shared -fPIC -Wl,-soname,libswarmtiny.so.1 -o libswarmtiny.so.1 tiny.c || die; }\n\
         src_install() { dolib.so libswarmtiny.so.1; dosym libswarmtiny.so.1 /usr/$(get_libdir)/libswarmtiny.so; }\n";
    tiny::add(&world, "tiny-libs/swarmtiny-1", library);
    let linked = "SLOT=\"0\"\nDEPEND=\"tiny-libs/swarmtiny\"\ninherit swarm-build\n\
         src_compile() { swarm_setup_flags; echo 'int tiny(void); int main(void) { return tiny(); }' > main.c\n\
         ${CC} ${LDFLAGS} main.c -o linked -lswarmtiny || die; }\n\
         src_install() { dobin linked; }\n";
    tiny::add(&world, "tiny-apps/linked-1", linked);
    let sourced =
        format!("SLOT=\"0\"\nSRC_URI=\"http://127.0.0.1:9/sourced.txt\"\nsrc_unpack() {{ :; }}\n{install}");
    tiny::add(&world, "tiny-apps/sourced-1", &sourced);
    world.write("overlay/tiny-apps/sourced/Manifest", MANIFEST);
    world.append("config/etc/portage/package.use", "app-misc/figlet broken\n");
    world
}

/// State and reason of a package when a run was over.
fn outcome<'a>(events: &'a [Value], package: &str) -> (&'a str, &'a str) {
    let event = events.iter().rfind(|event| event["event"] == "state" && event["package"] == package);
    let event = event.unwrap_or_else(|| panic!("nothing was said of {package}"));
    (event["state"].as_str().unwrap(), event["reason"].as_str().unwrap())
}

#[test]
fn a_build_that_fails_says_why_and_others_go_on() {
    let world = world_of_failures();
    let failing: [(&str, &[&str]); 6] = [
        (
            "tiny-apps/failing-1",
            &["does not build (compile)", "cannot go on\n", "main.c:3: error: the reason"],
        ),
        ("app-misc/figlet-2.2.5", &["does not build (compile)", "error:", "swarmworld_broken"]),
        ("tiny-apps/empty-1", &["tiny-apps/empty-1 has sources but installs nothing"]),
        ("tiny-apps/slotted-1", &["tiny-apps/slotted-1 came out in slot 7 instead of 0"]),
        ("tiny-apps/flagged-1", &["tiny-apps/flagged-1 was built with USE +extra instead of -extra"]),
        (
            "tiny-apps/linked-1",
            &[
                "linked to libswarmtiny.so.1 of tiny-libs/swarmtiny-1",
                "does not declare as a dependency at run time",
            ],
        ),
    ];
    let atoms = ["failing", "dependent", "empty", "slotted", "flagged", "linked", "leaf"]
        .map(|name| format!("tiny-apps/{name}"));
    let mut arguments = vec!["build", "--json", "app-misc/figlet"];
    arguments.extend(atoms.iter().map(String::as_str));
    let ran = world.run(&arguments);
    assert_eq!(ran.code, Some(1), "{ran}");
    let events = ran.lines();
    for (package, parts) in failing {
        let (state, reason) = outcome(&events, package);
        assert_eq!(state, "failed", "{package}");
        assert_says(reason, parts);
    }
    let (state, reason) = outcome(&events, "tiny-apps/dependent-1");
    assert_eq!(state, "blocked");
    assert_says(reason, &["blocked by tiny-apps/failing-1", "cannot go on"]);
    assert_eq!(outcome(&events, "tiny-apps/leaf-1").0, "built");
    let summary = events.last().unwrap();
    assert_eq!(
        (&summary["built"], &summary["failed"], &summary["blocked"]),
        (&2.into(), &6.into(), &1.into())
    );

    let log = world.succeed(["logs", "tiny-apps/failing"]);
    assert_says(&log, &["\n1\n2\n3\n", "main.c:3: error: the reason", "Call stack"]);
    let shown = world.run(["build", "tiny-apps/failing"]);
    assert_says(
        &shown.err,
        &["!!! Failed tiny-apps/failing-1", "the whole log: ", "state/logs/tiny-apps/failing-1.log"],
    );
    assert_says(&world.refuse(["finalize"]), &["not complete", "tiny-apps/failing-1", "build again"]);
}

#[test]
fn after_a_failure_nothing_more_is_started_if_asked() {
    let world = world_of_failures();
    let arguments =
        ["build", "--json", "--fail-fast", "-j1", "tiny-apps/failing", "tiny-apps/reader", "tiny-apps/leaf"];
    let ran = world.run(arguments);
    assert_eq!(ran.code, Some(1), "{ran}");
    let summary = ran.lines().pop().unwrap();
    assert_eq!(summary["failed"], 1, "{summary}");
    assert!(summary["dropped"].as_u64().unwrap() > 0, "{summary}");
    let started = ran.lines().iter().filter(|event| event["event"] == "started").count();
    assert_eq!(summary["built"].as_u64().unwrap() + 1, started as u64, "{ran}");
}

#[test]
fn a_source_that_is_missing_or_wrong_is_named() {
    let world = world_of_failures();
    let mirror = world.path("mirror").display().to_string();
    let build = || world.run(["--distfiles", &mirror, "build", "tiny-apps/sourced"]);
    // The right length with the wrong content; fetching it fails.
    world.write("mirror/sourced.txt", "SOURCES\n");
    let refused = build();
    assert_eq!(refused.code, Some(1), "{refused}");
    let path = format!("{mirror}/sourced.txt was refused: its BLAKE2B is ");
    assert_says(&refused.err, &[&path, "the Manifest says", "http://127.0.0.1:9/sourced.txt", "--distfiles"]);
    world.write("mirror/sourced.txt", SOURCE);
    assert_eq!(build().code, Some(0));
}

#[test]
fn a_full_disk_fails_the_build_and_leaves_a_state_that_works() {
    if !is_root() {
        println!("only root can make a small file system; not tried");
        return;
    }
    let world = World::new();
    fs::create_dir(world.state()).unwrap();
    // Little more than what a store leaves free on any disk, in mounts that end with the command. There is
    // room again once the build has noticed.
    let script = "mount -t tmpfs -o size=16450k none \"$1\" || exit
        \"$2\" --config \"$3\" build dev-python/wcwidth 2>said &
        until grep 'could not be stored' said; do sleep .1; done
        mount -o remount,size=64m \"$1\"; wait $!; echo \"code $?\"
        \"$2\" --config \"$3\" store verify; \"$2\" --config \"$3\" logs";
    let mut command = Command::new("unshare");
    command.args(["--mount", "/bin/sh", "-c", script, "sh"]).arg(world.state()).arg(BUILD_SWARM);
    let ran = Ran::of(command.arg(world.path("swarmd.toml")).current_dir(world.path("")));
    println!("{ran}");
    assert_says(
        &ran.out,
        &["dev-python/wcwidth-0.2.13 will be tried again", "no space left", "could not be stored"],
    );
    assert_says(&ran.out, &["1 built, 0 hits, 0 failed", "code 0\n", "all sound", "failed", "built"]);
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}
