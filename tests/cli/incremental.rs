//! What is built again after which change, and what is said about it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use serde_json::Value;

use super::world::{PREPARED, PREPARED_PACKAGES, World, copy, setup};

/// One change to a world in which everything was built.
struct Row {
    change: &'static str,
    apply: fn(&World),
    /// What is built again, without version.
    rebuilt: &'static [&'static str],
    /// What `why` says about each of them, in part.
    reason: &'static str,
}

const ALL: [&str; 8] = [
    "dev-python/tabulate",
    "dev-python/wcwidth",
    "tiny-apps/leaf",
    "tiny-apps/other",
    "tiny-apps/patched",
    "tiny-apps/reader",
    "tiny-apps/target",
    "tiny-libs/note",
];

const ROWS: [Row; 25] = [
    Row { change: "nothing", apply: |_| {}, rebuilt: &[], reason: "" },
    Row {
        change: "USE flag of one package",
        apply: |world| world.append("config/etc/portage/package.use", "tiny-apps/leaf extra\n"),
        rebuilt: &["tiny-apps/leaf"],
        reason: "extra",
    },
    Row {
        change: "line in package.use that says what is so anyway",
        apply: |world| world.append("config/etc/portage/package.use", "tiny-apps/leaf -extra\n"),
        rebuilt: &[],
        reason: "",
    },
    Row {
        change: "USE flag that drops a dependency",
        apply: |world| {
            world.replace("config/etc/portage/package.use", "tabulate widechars", "tabulate -widechars")
        },
        rebuilt: &["dev-python/tabulate"],
        reason: "widechars",
    },
    Row {
        change: "new version of a library",
        apply: |world| {
            let text = fs::read_to_string(world.overlay().join("tiny-libs/note/note-1.ebuild")).unwrap();
            world.write("overlay/tiny-libs/note/note-2.ebuild", &text.replace("0/1", "0/2"));
        },
        rebuilt: &["tiny-apps/reader", "tiny-libs/note"],
        reason: "tiny-libs/note",
    },
    Row {
        change: "ebuild of a library",
        apply: |world| world.append("overlay/tiny-libs/note/note-1.ebuild", "# better\n"),
        rebuilt: &["tiny-apps/reader", "tiny-libs/note"],
        reason: "ebuild",
    },
    Row {
        change: "eclass of two packages",
        apply: |world| world.append("overlay/eclass/tiny.eclass", "# better\n"),
        rebuilt: &["tiny-apps/leaf", "tiny-apps/other"],
        reason: "tiny",
    },
    Row {
        change: "eclass that nothing here inherits",
        apply: |world| world.append("overlay/eclass/swarm-crate.eclass", "# a comment\n"),
        rebuilt: &[],
        reason: "",
    },
    Row {
        change: "ebuild of another package",
        apply: |world| world.append("overlay/app-misc/nato/nato-0.2.0.ebuild", "# a comment\n"),
        rebuilt: &[],
        reason: "",
    },
    Row {
        change: "patch in FILESDIR",
        apply: |world| world.replace("overlay/tiny-apps/patched/files/story.patch", "+under", "+beneath"),
        rebuilt: &["tiny-apps/patched"],
        reason: "story.patch",
    },
    Row {
        change: "user patch",
        apply: |world| {
            let patch = "--- a/story\n+++ b/story\n@@ -1,3 +1,3 @@\n-once\n+twice\n under\n a time\n";
            world.write("config/etc/portage/patches/tiny-apps/patched/ours.patch", patch);
        },
        rebuilt: &["tiny-apps/patched"],
        reason: "ours.patch",
    },
    Row {
        change: "CFLAGS of one package (package.env)",
        apply: |world| world.append("config/etc/portage/package.env", "tiny-apps/other optimise.conf\n"),
        rebuilt: &["tiny-apps/other"],
        reason: "CFLAGS",
    },
    Row {
        change: "LUA_TARGETS in make.conf",
        apply: |world| world.replace("config/etc/portage/make.conf", "lua5-1 lua5-4", "lua5-4"),
        rebuilt: &["tiny-apps/target"],
        reason: "lua_targets_lua5-1",
    },
    Row {
        change: "CPU_FLAGS_X86 that no package here has",
        apply: |world| world.replace("config/etc/portage/make.conf", "\"sse2\"", "\"sse2 avx2\""),
        rebuilt: &[],
        reason: "",
    },
    Row {
        change: "LDFLAGS in the profile's make.defaults",
        apply: |world| {
            world.replace("overlay/profiles/default/linux/amd64/make.defaults", "-Wl,-O1", "-Wl,-O2");
        },
        rebuilt: &ALL,
        reason: "LDFLAGS",
    },
    Row {
        change: "new variable in the profile's make.defaults",
        apply: |world| {
            world.append("overlay/profiles/default/linux/amd64/make.defaults", "\nBRANDING=\"ours\"\n");
        },
        rebuilt: &ALL,
        reason: "BRANDING",
    },
    Row {
        change: "/etc/portage/bashrc",
        apply: |world| world.write("config/etc/portage/bashrc", "BASHRC_WAS_HERE=1\n"),
        rebuilt: &ALL,
        reason: "bashrc",
    },
    Row {
        change: "FEATURES=nodoc",
        apply: |world| world.append("config/etc/portage/make.conf", "FEATURES=\"nodoc\"\n"),
        rebuilt: &ALL,
        reason: "nodoc",
    },
    Row {
        change: "FEATURES=parallel-fetch",
        apply: |world| world.append("config/etc/portage/make.conf", "FEATURES=\"parallel-fetch\"\n"),
        rebuilt: &[],
        reason: "",
    },
    Row {
        change: "MAKEOPTS",
        apply: |world| world.append("config/etc/portage/make.conf", "MAKEOPTS=\"-j7 -l3\"\n"),
        rebuilt: &[],
        reason: "",
    },
    Row {
        change: "DISTDIR and the directory of sources",
        apply: |world| {
            world.append("config/etc/portage/make.conf", "DISTDIR=\"/srv/elsewhere\"\n");
            copy(&setup().join("distfiles"), &world.path("sources"));
            let path = setup().join("distfiles").display().to_string();
            world.replace("swarmd.toml", &path, &world.path("sources").display().to_string());
        },
        rebuilt: &[],
        reason: "",
    },
    Row { change: "place of the repository", apply: move_repository, rebuilt: &[], reason: "" },
    Row {
        change: "artifact removed from the store",
        apply: |world| {
            let key = key_of(world, "tiny-apps/leaf");
            let said = world.succeed(["store", "rm", &key]);
            assert!(said.contains(&key), "{said}");
        },
        rebuilt: &["tiny-apps/leaf"],
        reason: "",
    },
    Row {
        change: "bytes of an artifact damaged on the disk",
        apply: |world| {
            let path = blob_of(world, "dev-python/tabulate");
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            replace_file(&path, &bytes);
            verify_finds(world, "damaged");
        },
        rebuilt: &["dev-python/tabulate"],
        reason: "",
    },
    Row {
        change: "file of an artifact deleted from the disk",
        apply: |world| {
            fs::remove_file(blob_of(world, "dev-python/tabulate")).unwrap();
            verify_finds(world, "missing");
        },
        rebuilt: &["dev-python/tabulate"],
        reason: "",
    },
];

fn move_repository(world: &World) {
    fs::rename(world.overlay(), world.path("moved")).unwrap();
    let (from, to) = (world.overlay().display().to_string(), world.path("moved").display().to_string());
    world.replace("config/etc/portage/repos.conf", &from, &to);
    let link = world.etc("make.profile");
    fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink(world.path("moved/profiles/default/linux/amd64"), link).unwrap();
}

fn artifact_of(world: &World, name: &str) -> Value {
    let lines = world.run(["store", "ls", "--json", name]).lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.into_iter().next().unwrap()
}

fn key_of(world: &World, name: &str) -> String {
    artifact_of(world, name)["key"].as_str().unwrap().to_owned()
}

/// The file of a package in the store.
fn blob_of(world: &World, name: &str) -> std::path::PathBuf {
    let id = artifact_of(world, name)["file"]["id"].as_str().unwrap().to_owned();
    let (head, tail) = id.split_at(2);
    let path = world.state().join("store/blobs").join(head).join(tail);
    assert!(path.is_file(), "{}", path.display());
    path
}

fn replace_file(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn verify_finds(world: &World, what: &str) {
    let ran = world.run(["store", "verify", "--json"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert_eq!(ran.lines()[0][what].as_array().map(Vec::len), Some(1), "{ran}");
}

/// `category/name` of `category/name-version`; none of the versions here has a revision.
fn without_version(cpv: &str) -> String {
    cpv.rsplit_once('-').unwrap().0.to_owned()
}

/// What `why` says of every package that is not in the store.
fn misses(world: &World) -> Vec<(String, Vec<String>)> {
    let answers = world.json(["why", "--all", "--json", "--policy=exact"].iter().chain(&PREPARED));
    let is_miss = |answer: &&Value| answer["fate"] == "miss";
    let texts = |answer: &Value| {
        let differences = answer["differences"].as_array().unwrap();
        differences.iter().map(|difference| difference["text"].as_str().unwrap().to_owned()).collect()
    };
    let name = |answer: &Value| without_version(answer["package"].as_str().unwrap());
    answers.as_array().unwrap().iter().filter(is_miss).map(|answer| (name(answer), texts(answer))).collect()
}

/// Makes the change, builds, and returns a line of the table.
fn try_row(row: &Row) -> String {
    let world = World::prepared();
    (row.apply)(&world);
    let misses = misses(&world);
    let names: Vec<&str> = misses.iter().map(|(name, _)| name.as_str()).collect();
    let expected: BTreeSet<&str> = row.rebuilt.iter().copied().collect();
    assert_eq!(names.iter().copied().collect::<BTreeSet<_>>(), expected, "{}: {misses:?}", row.change);
    for (name, texts) in &misses {
        assert!(texts.join("\n").contains(row.reason), "{}: {name}: {texts:?}", row.change);
    }
    // That all would be built is known by now; two of them tell that they can be.
    let (atoms, count): (&[&str], _) =
        if row.rebuilt == ALL { (&["tiny-apps/reader"], 2) } else { (&PREPARED, row.rebuilt.len()) };
    let atoms = [&["--policy=exact"], atoms].concat();
    let summary = world.build(&atoms);
    assert_eq!(summary["built"], count, "{}: {summary}", row.change);
    assert_eq!(summary["failed"], 0, "{}: {summary}", row.change);
    let again = world.build(&atoms);
    assert_eq!(again["built"], 0, "{}: {again}", row.change);
    assert_eq!(again["hits"], again["packages"], "{}: {again}", row.change);
    let names = if row.rebuilt.len() == ALL.len() { "all".to_owned() } else { row.rebuilt.join(", ") };
    let reason = misses.iter().find_map(|(_, texts)| texts.first().cloned()).unwrap_or_default();
    let reason = reason.replace('|', "\\|");
    format!("| {} | {} | {names} | {reason} | {} |", row.change, row.rebuilt.len(), summary["seconds"])
}

/// Prints the table into `target/incremental.md`.
#[test]
fn each_change_builds_what_it_concerns_and_nothing_else() {
    let next = Mutex::new(ROWS.iter().enumerate());
    let lines = Mutex::new(vec![String::new(); ROWS.len()]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((number, row)) = next.lock().unwrap().next() else { break };
                    let line = try_row(row);
                    lines.lock().unwrap()[number] = line;
                }
            });
        }
    });
    let mut table = format!(
        "What is built again of {} packages after a change of …\n\n| change of | built | which | reason given | seconds |\n\
         |---|---:|---|---|---:|\n",
        PREPARED_PACKAGES.len()
    );
    lines.into_inner().unwrap().iter().for_each(|line| writeln!(table, "{line}").unwrap());
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("../incremental.md"), table).unwrap();
}
