//! Changes to leaves and to what ebuilds are written with.

use super::catalogue::{Change, change};

const FIGLET: &str = "overlay/app-misc/figlet/figlet-2.2.5.ebuild";

/// What inherits `swarm-build.eclass`, by itself or through another.
const INHERITORS: &str = "asked byacc figlet fixed inlined libpng lpeg lua5.1 lua5.4 lz4 lz4json maker \
                          mandoc nato nawk outline pkgconf pngcheck point qrencode scdoc shared \
                          squashfs-tools zlib";

/// The same, and what stands on that.
const ON_INHERITORS: &str = "asked byacc figlet fixed generated inlined libpng line lpeg lua5.1 lua5.4 lz4 \
                             lz4json maker mandoc nato nawk outline pkgconf pngcheck point qrencode scdoc \
                             shared squashfs-tools zlib";

/// Why one that comes out the same is built again.
const RECIPE: &str = "what a package is built by counts by its bytes";

pub(crate) const CHANGES: &[Change] = &[
    change(
        "figlet: comment in the ebuild",
        |world| world.append(FIGLET, "# a comment\n"),
        "figlet",
        "figlet",
    ),
    change(
        "figlet: DESCRIPTION",
        |world| world.replace(FIGLET, "ordinary text", "plain text"),
        "figlet",
        "figlet",
    ),
    change(
        "figlet: user patch gone",
        |world| {
            std::fs::remove_file(world.etc("patches/app-misc/figlet/version-line.patch")).unwrap();
        },
        "figlet",
        "figlet",
    ),
    change(
        "nato: its patch in FILESDIR",
        |world| {
            world.replace("overlay/app-misc/nato/files/nato-0.2.0-arguments.patch", "nato: {:?}", "no: {:?}");
        },
        "nato",
        "nato",
    ),
    change(
        "squashfs-tools: USE=-lz4",
        |world| {
            world.replace("config/etc/portage/package.use", "squashfs-tools lz4", "squashfs-tools -lz4");
        },
        "squashfs-tools",
        "squashfs-tools",
    ),
    change(
        "lpeg: LUA_TARGETS without lua5-1",
        |world| world.replace("config/etc/portage/make.conf", "lua5-1 lua5-4", "lua5-4"),
        "lpeg",
        "lpeg",
    ),
    change(
        "package.use: a line that says what is so anyway",
        |world| world.append("config/etc/portage/package.use", "app-misc/figlet -broken\n"),
        "",
        "",
    )
    .short(),
    change(
        "swarm-crate.eclass: comment",
        |world| world.append("overlay/eclass/swarm-crate.eclass", "# a comment\n"),
        "nato zlib libpng mandoc pngcheck qrencode squashfs-tools",
        "",
    )
    .surplus("nato zlib", RECIPE),
    change(
        "swarm-build.eclass: comment",
        |world| world.append("overlay/eclass/swarm-build.eclass", "# a comment\n"),
        ON_INHERITORS,
        "",
    )
    .surplus(INHERITORS, RECIPE),
    change(
        "swarm-pypi.eclass: the wrapper of programs",
        |world| world.replace("overlay/eclass/swarm-pypi.eclass", "\t\t#!/bin/sh\n", "\t\t#!/bin/sh -e\n"),
        "tabulate wcwidth",
        "tabulate",
    )
    .surplus("wcwidth", RECIPE),
    change(
        "swarm-build.eclass: what is in pkg-config files",
        |world| {
            world.replace(
                "overlay/eclass/swarm-build.eclass",
                "\t\tDescription: ${DESCRIPTION}\n",
                "\t\tDescription: $1\n",
            );
        },
        ON_INHERITORS,
        "libpng lua5.1 lua5.4 point zlib",
    )
    .surplus(
        "asked byacc figlet fixed inlined line lpeg lz4 lz4json maker mandoc nato nawk outline pkgconf \
             pngcheck qrencode scdoc shared squashfs-tools",
        RECIPE,
    ),
];
