//! Two builds of one key agree in their payloads, whoever makes them and where; if not, the file is named.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::process::Command;

use buildswarm_core::BuildKey;
use buildswarm_portage::gpkg::{Limits, PayloadDifference, compare};
use buildswarm_store::Store;

use super::refusals::is_root;
use super::tiny;
use super::world::{BUILD_SWARM, PREPARED, PREPARED_PACKAGES, Ran, World};

/// Builds `atoms` in this world as another person would on another machine: other names and places, time zone,
/// language, permissions of new files, parallelism; and with settings that must not get into a build.
fn build_elsewhere(world: &World, atoms: &[&str]) {
    world.append("config/etc/portage/make.conf", "MAKEOPTS=\"-j7 --load-average=9\"\n");
    world.replace("swarmd.toml", "slots = 2", "slots = 1");
    let far = "a/state/in/a/directory/with/a/much/longer/name";
    world.replace("swarmd.toml", "state = \"state\"", &format!("state = \"{far}\""));
    let mut command = Command::new("unshare");
    if is_root() {
        command.args([
            "--uts",
            "--",
            "/bin/sh",
            "-c",
            "hostname quite-another.example && umask 077 && exec \"$@\"",
        ]);
    } else {
        command.args(["--", "/bin/sh", "-c", "umask 077 && exec \"$@\""]);
    }
    command.args(["sh", BUILD_SWARM, "--config"]).arg(world.path("swarmd.toml")).arg("build").args(atoms);
    for (name, value) in [
        ("TZ", "Pacific/Kiritimati"),
        ("LC_ALL", "C"),
        ("HOME", "/nonexistent"),
        ("USER", "somebody"),
        ("LOGNAME", "somebody"),
        ("HOSTNAME", "quite-another.example"),
        ("SOURCE_DATE_EPOCH", "86400"),
        ("CFLAGS", "-O0"),
        ("PYTHONHASHSEED", "4"),
    ] {
        command.env(name, value);
    }
    let ran = Ran::of(&mut command);
    assert_eq!(ran.code, Some(0), "{ran}");
    std::os::unix::fs::symlink(world.path(far), world.state()).unwrap();
}

/// The name of a package, and its file.
type Package = (String, Vec<u8>);

/// Every package in the store of a world by key.
fn packages(world: &World) -> BTreeMap<BuildKey, Package> {
    let listed = world.run(["store", "ls", "--json"]).lines();
    let store = Store::open_read_only(world.state().join("store")).unwrap();
    let key = |line: &serde_json::Value| line["key"].as_str().unwrap().parse().unwrap();
    let read = |key| {
        let artifact = store.artifact(key).unwrap().unwrap();
        let file = store.read_blob(artifact.file.id, 1 << 30).unwrap();
        (key, (artifact.package.to_string(), file))
    };
    listed.iter().map(key).map(read).collect()
}

/// What differs between the packages of two worlds, by name. The keys must not.
fn differences(one: &World, other: &World) -> BTreeMap<String, Vec<PayloadDifference>> {
    let (one, other) = (packages(one), packages(other));
    let keys: [Vec<_>; 2] = [one.keys().collect(), other.keys().collect()];
    assert_eq!(keys[0], keys[1], "both must have built the same");
    let between = |((name, before), (_, after)): (&Package, &Package)| {
        assert_ne!(before, after, "{name} was copied, not built again");
        (name.clone(), compare(Cursor::new(before), Cursor::new(after), &Limits::STANDARD).unwrap())
    };
    one.values().zip(other.values()).map(between).collect()
}

#[test]
fn builds_of_one_key_agree_whoever_makes_them_and_where() {
    let (here, elsewhere) = (World::prepared(), World::new());
    build_elsewhere(&elsewhere, &PREPARED);
    let found = differences(&here, &elsewhere);
    assert_eq!(found.len(), PREPARED_PACKAGES.len());
    assert!(found.values().all(Vec::is_empty), "{found:#?}");
}

#[test]
fn the_file_that_comes_out_differently_is_named() {
    let fickle = "SLOT=\"0\"\nsrc_install() {\n\
        \t{ echo always the same; cat /proc/sys/kernel/random/uuid; } > made || die\n\
        \tinsinto /usr/share/tiny\n\tdoins made\n\tnewins - constant <<< \"$(<made head -n 1)\"\n}\n";
    let worlds = [World::new(), World::new()];
    for world in &worlds {
        tiny::add(world, "tiny-apps/fickle-1", fickle);
    }
    worlds[0].build(&["tiny-apps/fickle"]);
    build_elsewhere(&worlds[1], &["tiny-apps/fickle"]);
    let found = differences(&worlds[0], &worlds[1]);
    let said: Vec<String> = found["tiny-apps/fickle-1"].iter().map(ToString::to_string).collect();
    assert_eq!(said, ["usr/share/tiny/made: differs from line 2 on"]);
}
