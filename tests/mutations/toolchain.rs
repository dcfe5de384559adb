//! The tools that every build uses, and what `native` means on a processor.

use std::fs;
use std::process::Command;

use crate::specimens::{PLAYED, own_libc, player};
use crate::trial::{Keys, Row, Trial, executable, prefix, row};
use crate::world::BUILD_SWARM;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = PLAYED.iter().flat_map(|role| played(role)).collect();
    rows.extend(others());
    rows.extend(portage());
    rows.extend(native());
    rows
}

/// The bytes of the program, and what it says of itself without that any byte of it differs.
fn played(role: &'static str) -> Vec<Row> {
    let class = format!("toolchain: {role}");
    let path = player(role);
    let version = format!("kit/version.{}", path.rsplit('/').next().unwrap_or_default());
    let bytes = row(&class, format!("bytes of {role}"), Keys::All, move |trial| {
        trial.world.append(&path, "# better\n");
        executable(&trial.world.path(&path));
    });
    let mut rows = vec![bytes.based()];
    // Parts of the compiler have its version.
    if !role.starts_with("cc1") {
        let says = row(&class, format!("version that {role} prints"), Keys::All, move |trial| {
            trial.world.write(&version, "2.0\n");
        });
        rows.push(says.based());
    }
    rows
}

fn others() -> Vec<Row> {
    let tool = |trial: &mut Trial<'_>, name: &str, text: &str| {
        trial.world.write(format!("kit/bin/{name}"), text);
        executable(&trial.world.path(format!("kit/bin/{name}")));
    };
    vec![
        row("toolchain: libc", "C library", Keys::All, |trial| {
            let path = trial.world.path("kit/lib/libc.so.6");
            let mut bytes = fs::read(&path).unwrap();
            bytes.push(0);
            fs::write(path, bytes).unwrap();
        })
        .given(|trial| own_libc(trial.world))
        .based(),
        row("toolchain: python3", "Python", Keys::All, |trial| {
            trial.world.write("kit/roles/python3", "#!/bin/sh\nexec /usr/bin/python3 \"$@\"\n");
            executable(&trial.world.path("kit/roles/python3"));
        })
        .based(),
        row("toolchain: tools", "another tool", Keys::All, move |trial| tool(trial, "new", "new\n")).based(),
        row("toolchain: tools", "bytes of a tool", Keys::All, move |trial| tool(trial, "new", "newer\n"))
            .given(move |trial| tool(trial, "new", "new\n"))
            .based(),
        row("toolchain: tools", "name of a tool", Keys::All, |trial| {
            fs::rename(trial.world.path("kit/bin/new"), trial.world.path("kit/bin/newer")).unwrap();
        })
        .given(move |trial| tool(trial, "new", "new\n"))
        .based(),
        row("toolchain: tools", "tool of a later prefix that an earlier one hides", Keys::None, |trial| {
            trial.world.write("later/bin/new", "hidden\n");
            let (kit, later) = (trial.world.path("kit"), trial.world.path("later"));
            trial.world.replace("swarmd.toml", &format!("[{kit:?}"), &format!("[{kit:?}, {later:?}"));
        })
        .given(move |trial| tool(trial, "new", "new\n"))
        .based(),
        row("toolchain: tools", "place of a prefix", Keys::None, |trial| {
            fs::rename(trial.world.path("one"), trial.world.path("two")).unwrap();
            let (one, two) = (trial.world.path("one"), trial.world.path("two"));
            trial.world.replace("swarmd.toml", &format!("{one:?}"), &format!("{two:?}"));
        })
        .given(|trial| {
            trial.world.write("one/bin/new", "new\n");
            trial.world.replace(
                "swarmd.toml",
                "tools = [",
                &format!("tools = [{:?}, ", trial.world.path("one")),
            );
        }),
        row("toolchain: kernel", "configuration of the kernel", Keys::Of(&["key-apps/module"]), |trial| {
            trial.world.append("base/usr/src/linux/.config", "CONFIG_NEW=y\n");
        })
        .based(),
        row("toolchain: kernel", "symbols of the kernel", Keys::Of(&["key-apps/module"]), |trial| {
            trial.world.append("base/usr/src/linux/Module.symvers", "new\n");
        })
        .based(),
        row("toolchain: kernel", "version of the kernel", Keys::Of(&["key-apps/module"]), |trial| {
            trial.world.append("base/usr/src/linux/Makefile", "VERSION = 7\n");
        })
        .based(),
        row("surroundings: toolchain", "a role that nobody plays any more", Keys::All, |trial| {
            fs::remove_file(trial.world.path("kit/roles/go")).unwrap();
        })
        .based(),
        user_namespace(),
    ]
}

/// An ordinary user's own private roots have one user. Root sees that by giving up its rights; where that is not
/// possible, or the suite is run by an ordinary user, there is nothing to compare with.
fn user_namespace() -> Row {
    let possible = |words: &[&str]| {
        // Not below a home that is closed to others.
        let status = Command::new(words[0]).args(&words[1..]).args(["test", "-x", BUILD_SWARM]).output();
        status.is_ok_and(|output| output.status.success())
    };
    let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let inside =
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", "unshare", "--user", "--mount"];
    let keys = if possible(&words) && possible(&inside) { Keys::All } else { Keys::None };
    row("toolchain: users", "an ordinary user instead of root", keys, move |trial| {
        if matches!(keys, Keys::All) {
            trial.runner = words.map(str::to_owned).into();
            let all = trial.world.path("");
            let status = Command::new("chmod").args(["-R", "a+rwX"]).arg(&all).status().unwrap();
            assert!(status.success());
            let state = format!("state = {:?}", trial.world.path("own"));
            fs::create_dir(trial.world.path("own")).unwrap();
            Command::new("chmod").arg("a+rwx").arg(trial.world.path("own")).status().unwrap();
            trial.world.replace("swarmd.toml", "state = \"state\"", &state);
        }
    })
}

/// Where the setup has a Portage of its own; on Gentoo it is the base's, and its files cannot be changed here.
fn portage() -> Vec<Row> {
    let class = "toolchain: portage";
    let Some(prefix) = prefix() else {
        return vec![row(class, "Portage (the system's, which is not changed)", Keys::None, |_| {})];
    };
    let own = move |trial: &mut Trial<'_>| {
        let own = trial.world.path("portage");
        // Links are enough: what is changed is replaced.
        let status = Command::new("cp").arg("-al").arg(&prefix).arg(&own).status().unwrap();
        assert!(status.success());
        trial.world.replace("swarmd.toml", &format!("{prefix:?}"), &format!("{own:?}"));
    };
    let change = |below: &'static str| {
        move |trial: &mut Trial<'_>| {
            let output =
                Command::new("find").arg(trial.world.path("portage")).arg("-path").arg(below).output();
            let found = String::from_utf8(output.unwrap().stdout).unwrap();
            let path = found.lines().next().unwrap_or_else(|| panic!("no {below} in the Portage prefix"));
            let text = fs::read_to_string(path).unwrap();
            fs::remove_file(path).unwrap();
            trial.world.write(path, &(text + "# better\n"));
            executable(path.as_ref());
        }
    };
    vec![
        row(class, "Python of Portage", Keys::All, change("*/portage/versions.py")).given(own.clone()),
        row(class, "Python of emerge", Keys::All, change("*/_emerge/Package.py")).given(own.clone()),
        row(class, "shell of Portage", Keys::All, change("*/portage/bin/phase-helpers.sh"))
            .given(own.clone()),
        row(class, "helper of Portage", Keys::All, change("*/portage/bin/estrip")).given(own.clone()),
        row(class, "QA check of Portage", Keys::All, change("*/install-qa-check.d/80libraries"))
            .given(own.clone()),
        row(class, "place of Portage", Keys::None, own),
    ]
}

const HASWELL: &str = "-march=haswell -mavx2 --param l1-cache-size=32\n";
const SKYLAKE: &str = "-march=skylake -mavx2 --param l1-cache-size=32\n";

fn native() -> Vec<Row> {
    let class = "surroundings: environment";
    let processor = |what: &'static str, variable: &'static str, keys, cpu: &'static str| {
        row(class, what, keys, move |trial| trial.world.write("kit/cpu", cpu))
            .given(move |trial| {
                trial.make_conf(variable);
                trial.world.write("kit/cpu", HASWELL);
            })
            .based()
    };
    let flags = "CFLAGS=\"-O2 -march=native\"";
    vec![
        processor("another processor, with -march=native", flags, Keys::All, SKYLAKE),
        processor("another processor, with -mtune=native", "CFLAGS=\"-mtune=native\"", Keys::All, SKYLAKE),
        processor(
            "another processor, with target-cpu=native of Rust",
            "RUSTFLAGS=\"-C target-cpu=native\"",
            Keys::All,
            SKYLAKE,
        ),
        processor("another processor, without native", "CFLAGS=\"-O2\"", Keys::None, SKYLAKE),
        processor(
            "a processor with another cache, with -march=native",
            flags,
            Keys::None,
            "-march=haswell -mavx2 --param l1-cache-size=48\n",
        ),
        row(class, "what native stands for, in its place", Keys::None, |trial| {
            trial.world.replace("config/etc/portage/make.conf", "-march=native", "-march=haswell -mavx2");
        })
        .given(move |trial| trial.make_conf(flags))
        .based(),
    ]
}
