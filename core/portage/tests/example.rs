//! The library example does what it says, on the demo world with real Portage.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs `command`, which must succeed, and returns what it printed.
fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it can be run");
    assert!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("it prints text")
}

/// A machine's `etc/portage` that knows the repository of `world`.
fn configure(world: &Path, root: &Path) {
    let etc = root.join("etc");
    fs::create_dir_all(&etc).expect("a directory");
    succeed(Command::new("cp").arg("-R").arg(world.join("etc-portage")).arg(etc.join("portage")));
    let overlay = world.join("overlay");
    symlink(overlay.join("profiles/default/linux/amd64"), etc.join("portage/make.profile")).expect("a link");
    let repositories =
        format!("[DEFAULT]\nmain-repo = swarmworld\n[swarmworld]\nlocation = {}\n", overlay.display());
    fs::write(etc.join("portage/repos.conf"), repositories).expect("a file");
}

#[test]
fn the_library_plans_and_looks_up_without_a_daemon() {
    let world = fs::canonicalize(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/world")).unwrap();
    let target = fs::canonicalize(Path::new(env!("CARGO_TARGET_TMPDIR")).join("..")).unwrap();
    // Made once, for every suite that needs it.
    let ready = target.join("world");
    succeed(Command::new(world.join("setup")).arg(&ready));
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    configure(&world, directory.path());

    let portage = ready.join("portage");
    let tools = ready.join("tools");
    let prefixes: Vec<&str> =
        if portage.is_dir() { vec![portage.to_str().unwrap(), tools.to_str().unwrap()] } else { vec!["-"] };
    let text = succeed(
        Command::new(env!("CARGO"))
            .args([
                "run",
                "--quiet",
                "--package",
                "buildswarm-portage",
                "--example",
                "plan_and_look_up",
                "--",
            ])
            .arg(directory.path())
            .arg(prefixes.join(":"))
            .arg(PathBuf::from(directory.path()).join("store"))
            .args(["app-arch/lz4json", "app-misc/figlet"]),
    );
    let packages: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("miss ")?.split(' ').nth(1)).collect();
    assert_eq!(
        packages,
        [
            // What needs nothing first, then what needs that, and so on.
            "app-arch/lz4-1.9.4",
            "app-misc/figlet-2.2.5",
            "app-text/scdoc-1.11.2",
            "dev-util/pkgconf-1.8.1",
            "virtual/pkgconfig-3",
            "app-arch/lz4json-2",
        ],
        "{text}"
    );
    assert_eq!(text.lines().last(), Some("6 packages, 0 hits"));
}
