//! Changes to the machine and its settings, which concern every package or none.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::catalogue::{ALL, Change, change};
use super::world::{World, setup};

/// Puts another compiler before the machine's: it is the same, run with `options`.
fn compiler(world: &World, options: &str) {
    let program = "compiler/bin/gcc";
    world.write(program, &format!("#!/bin/sh\nexec /usr/bin/gcc {options} \"$@\"\n"));
    fs::set_permissions(world.path(program), fs::Permissions::from_mode(0o755)).unwrap();
    let tools = format!("{:?}", setup().join("tools"));
    world.replace("swarmd.toml", &tools, &format!("{:?}, {tools}", world.path("compiler")));
}

fn move_repository(world: &World) {
    fs::rename(world.overlay(), world.path("moved")).unwrap();
    let (from, to) = (world.overlay().display().to_string(), world.path("moved").display().to_string());
    world.replace("config/etc/portage/repos.conf", &from, &to);
    let link = world.etc("make.profile");
    fs::remove_file(&link).unwrap();
    symlink(world.path("moved/profiles/default/linux/amd64"), link).unwrap();
}

/// What is compiled by gcc and large enough for it to tell; `point` is not.
const COMPILED: &str = "asked byacc figlet fixed inlined libpng lpeg lua5.1 lua5.4 lz4 lz4json maker mandoc \
                        nawk outline pkgconf pngcheck qrencode scdoc shared squashfs-tools zlib";

/// Why one that comes out the same is built again.
const MACHINE: &str = "what all are built with counts for all";

pub(crate) const CHANGES: &[Change] = &[
    change("nothing", |_| {}, "", "").short(),
    change(
        "MAKEOPTS",
        |world| world.append("config/etc/portage/make.conf", "MAKEOPTS=\"-j7 -l3\"\n"),
        "",
        "",
    ),
    change("place of the repository", move_repository, "", ""),
    change(
        "CFLAGS of everything",
        |world| world.replace("config/etc/portage/make.conf", "-O2", "-O1"),
        ALL,
        ALL,
    ),
    change(
        "LDFLAGS of everything",
        |world| {
            world.replace(
                "overlay/profiles/default/linux/amd64/make.defaults",
                "--as-needed",
                "--as-needed -Wl,-z,now",
            );
        },
        ALL,
        ALL,
    ),
    change(
        "FEATURES=nodoc",
        |world| world.append("config/etc/portage/make.conf", "FEATURES=\"nodoc\"\n"),
        ALL,
        "",
    )
    .surplus(ALL, MACHINE),
    change("gcc: another release that compiles the same", |world| compiler(world, ""), ALL, "")
        .surplus(ALL, MACHINE),
    change(
        "gcc: another release that compiles otherwise",
        |world| compiler(world, "-fno-tree-vectorize -fno-inline -fno-reorder-functions"),
        ALL,
        COMPILED,
    )
    .surplus("generated line nato point tabulate virtual/pkgconfig wcwidth", MACHINE),
];
