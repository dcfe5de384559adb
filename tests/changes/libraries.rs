//! Changes to a library: what of them can reach those who are compiled against it?

use std::fs;

use super::catalogue::{Change, bump, change, patch_line};
use super::world::World;

const ZLIB: &str = "overlay/sys-libs/zlib/zlib-1.2.13.ebuild";
const LIBPNG: &str = "overlay/media-libs/libpng/libpng-1.6.39.ebuild";
const LZ4: &str = "overlay/app-arch/lz4/lz4-1.9.4.ebuild";
const POINT: &str = "overlay/tiny-libs/point/files";

/// What stands on zlib, and zlib.
const ON_ZLIB: &str = "zlib libpng mandoc pngcheck qrencode squashfs-tools";
const ABOVE_ZLIB: &str = "libpng mandoc pngcheck qrencode squashfs-tools";
const ON_LIBPNG: &str = "libpng qrencode";
const ON_LZ4: &str = "lz4 lz4json squashfs-tools";
const ON_POINT: &str = "point asked fixed generated inlined line maker outline shared";

/// Why one who is not concerned is built again.
const BYTES: &str = "what can be read of a library counts for all who may read it";

/// Why one that does not use what is gone is built again.
const FEWER: &str = "what stands in the root with it is no longer the same packages";

/// Why one whose tool does the same with it is built again.
const RUNS_WITH: &str = "what a tool that makes code runs with counts by its sources";

pub(crate) const CHANGES: &[Change] = &[
    change(
        "zlib: text of an error message (user patch)",
        |world| {
            let (from, to) = ("incorrect header check", "no zlib header");
            let line = |text| format!("                strm->msg = (char *)\"{text}\";");
            patch_line(world, "sys-libs/zlib", "inflate.c", 683, &line(from), &line(to));
        },
        ON_ZLIB,
        "zlib",
    ),
    change(
        "zlib: the same as a revision, -r1",
        |world| {
            let prepare =
                "src_configure() {\n\tsed -i 's/incorrect header check/no zlib header/' inflate.c || die\n";
            bump(world, "sys-libs/zlib", "1.2.13", "1.2.13-r1", &[("src_configure() {\n", prepare)]);
        },
        ON_ZLIB,
        "zlib",
    ),
    change(
        "lz4: function added",
        |world| {
            let was = "int LZ4_versionNumber (void) { return LZ4_VERSION_NUMBER; }";
            let more = "__attribute__((visibility(\"default\"))) int LZ4_swarm (void) { return 1; }";
            patch_line(world, "app-arch/lz4", "lib/lz4.c", 728, was, &format!("{was}\n{more}"));
        },
        ON_LZ4,
        "lz4 squashfs-tools",
    )
    .short()
    .surplus("lz4json", BYTES),
    change(
        "zlib: function removed that nobody calls",
        |world| {
            let was = "uLong ZEXPORT zlibCompileFlags()";
            let hidden = format!("__attribute__((visibility(\"hidden\"))) {was}");
            patch_line(world, "sys-libs/zlib", "zutil.c", 32, was, &hidden);
        },
        ON_ZLIB,
        "zlib",
    )
    .surplus(ABOVE_ZLIB, BYTES),
    change(
        "zlib: comment in zlib.h",
        |world| {
            let was = "  version 1.2.13, October 13th, 2022";
            patch_line(world, "sys-libs/zlib", "zlib.h", 2, was, &format!("{was}, with a patch"));
        },
        ON_ZLIB,
        "zlib",
    )
    .surplus(ABOVE_ZLIB, BYTES),
    change(
        "zlib: the version that its macros pass on, in zlib.h",
        |world| {
            prepare(world, ZLIB, "sed -i 's/ZLIB_VERSION,/\"1.2.13 of ours\",/' zlib.h");
        },
        ON_ZLIB,
        "zlib libpng pngcheck squashfs-tools",
    )
    .surplus("mandoc qrencode", BYTES),
    change(
        "zlib: inline function in zlib.h that nobody calls",
        |world| {
            let was = "#define ZLIB_VERSION \"1.2.13\"";
            let more = format!("{was}\nstatic inline int zlib_swarm(void) {{ return 1; }}");
            patch_line(world, "sys-libs/zlib", "zlib.h", 40, was, &more);
        },
        ON_ZLIB,
        "zlib",
    )
    .surplus(ABOVE_ZLIB, BYTES),
    change(
        "lua 5.1: LUAL_BUFFERSIZE in luaconf.h, the size of a structure",
        |world| {
            let line = |size| format!("#define LUAL_BUFFERSIZE\t\t{size}");
            patch_line(world, "dev-lang/lua-5.1.5", "src/luaconf.h", 488, &line("BUFSIZ"), &line("4096"));
        },
        "lua5.1 lpeg",
        "lua5.1 lpeg",
    )
    .short(),
    change(
        "point: body of an inline function",
        |world| world.replace(format!("{POINT}/point.h"), "value * POINT_UNIT;", "value * POINT_UNIT + 1;"),
        ON_POINT,
        "point inlined outline",
    )
    .short()
    .surplus("asked fixed generated line maker shared", BYTES),
    change(
        "point: size of a data symbol",
        |world| {
            world.replace(format!("{POINT}/point.c"), "[4] = { 1, 2, 3, 4 }", "[5] = { 1, 2, 3, 4, 5 }");
            world.replace(format!("{POINT}/point.h"), "point_table[4]", "point_table[]");
        },
        ON_POINT,
        "point asked maker shared",
    )
    .short()
    .surplus("fixed generated inlined line outline", BYTES),
    change(
        "point: value in a data symbol",
        |world| world.replace(format!("{POINT}/point.c"), "{ 1, 2, 3, 4 }", "{ 1, 2, 3, 5 }"),
        ON_POINT,
        "point",
    )
    .short()
    .surplus("generated", RUNS_WITH),
    change(
        "point: the code of a function, which a build tool calls",
        |world| world.replace(format!("{POINT}/point.c"), "int sum = 0;", "int sum = 1;"),
        ON_POINT,
        "point generated",
    )
    .short(),
    change(
        "point: 3000 more functions that nobody sees",
        |world| {
            let text = fs::read_to_string(world.path(format!("{POINT}/point.c"))).unwrap();
            let more: String =
                (0..3000).map(|n| format!("int hidden_{n}(void) {{ return {n}; }}\n")).collect();
            world.write(format!("{POINT}/point.c"), &(text + &more));
        },
        ON_POINT,
        "point asked maker shared",
    )
    .surplus("fixed generated inlined line outline", BYTES),
    change(
        "point: code in the static archive",
        |world| world.replace(format!("{POINT}/fixed.c"), "value + 1", "value + 2"),
        ON_POINT,
        "point fixed",
    )
    .short()
    .surplus("asked generated inlined line maker outline shared", BYTES),
    change(
        "point: CFLAGS (its static archive with them)",
        |world| world.append("config/etc/portage/package.env", "tiny-libs/point optimise.conf\n"),
        ON_POINT,
        "point",
    ),
    change(
        "point: Version in its pkg-config file",
        |world| world.replace("overlay/tiny-libs/point/point-1.ebuild", "\"${PV}\"", "\"${PV}.1\""),
        ON_POINT,
        "point asked",
    )
    .surplus("fixed generated inlined line maker outline shared", BYTES),
    change(
        "point: version of its symbols",
        |world| world.replace(format!("{POINT}/point.map"), "POINT_1", "POINT_2"),
        ON_POINT,
        "point asked maker shared",
    )
    .surplus("fixed generated inlined line outline", BYTES),
    change(
        "zlib: version of inflateReset2",
        |world| {
            let moved =
                "sed -i -e '/^    inflateReset2;/d' -e 's/^    gzbuffer;/&\\n    inflateReset2;/' zlib.map";
            prepare(world, ZLIB, moved);
        },
        ON_ZLIB,
        "zlib libpng",
    )
    .surplus("mandoc pngcheck qrencode squashfs-tools", BYTES),
    change(
        "libpng: Libs in its pkg-config file",
        |world| world.replace(LIBPNG, "\"${PV}\" -lpng16 ", "\"${PV}\" \"-lpng16 -Wl,-z,now\" "),
        ON_LIBPNG,
        "libpng qrencode",
    ),
    change(
        "libpng: generated header says another bound",
        |world| {
            let text = fs::read_to_string(world.path(LIBPNG)).unwrap();
            world.write(LIBPNG, &text.replace("500000", "600000"));
        },
        ON_LIBPNG,
        "libpng",
    )
    .surplus("qrencode", BYTES),
    change(
        "zlib 1.3.1, another sub-slot",
        |world| {
            let bump =
                concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/world/bumps/sys-libs/zlib/zlib-1.3.1.ebuild");
            world.write("overlay/sys-libs/zlib/zlib-1.3.1.ebuild", &fs::read_to_string(bump).unwrap());
        },
        ON_ZLIB,
        ON_ZLIB,
    ),
    change(
        "lz4: sub-slot only",
        |world| world.replace(LZ4, "SLOT=\"0/1.9\"", "SLOT=\"0/1.9.4\""),
        ON_LZ4,
        ON_LZ4,
    ),
    change(
        "lz4: SONAME and sub-slot",
        |world| {
            world.replace(LZ4, "SLOT=\"0/1.9\"", "SLOT=\"0/2\"");
            world.replace(LZ4, "src_compile() {\n", &format!("{}\nsrc_compile() {{\n", NEW_SONAME));
        },
        ON_LZ4,
        ON_LZ4,
    ),
    change(
        "lz4: SONAME, the sub-slot forgotten",
        |world| {
            world.replace(LZ4, "src_compile() {\n", &format!("{}\nsrc_compile() {{\n", NEW_SONAME));
        },
        ON_LZ4,
        ON_LZ4,
    ),
    change(
        "lz4 1.9.5, its library and headers the same",
        |world| {
            let edits = [(
                "v${PV}.tar.gz -> ${P}.tar.gz\"",
                "v1.9.4.tar.gz -> lz4-1.9.4.tar.gz\"\nS=\"${WORKDIR}/lz4-1.9.4\"",
            )];
            bump(world, "app-arch/lz4", "1.9.4", "1.9.5", &edits);
        },
        ON_LZ4,
        "lz4",
    ),
    change(
        "lua 5.4.5, a patch release with the same headers",
        |world| {
            let edits = [("ftp/${P}.tar.gz\"", "ftp/lua-5.4.4.tar.gz\"\nS=\"${WORKDIR}/lua-5.4.4\"")];
            bump(world, "dev-lang/lua", "5.4.4", "5.4.5", &edits);
        },
        "lua5.4 lpeg",
        "lua5.4",
    )
    .surplus("lpeg", "a tool counts by its version"),
    change(
        "zlib: CFLAGS (package.env)",
        |world| world.append("config/etc/portage/package.env", "sys-libs/zlib optimise.conf\n"),
        ON_ZLIB,
        "zlib",
    ),
    change(
        "lz4: LDFLAGS (package.env)",
        |world| {
            world
                .write("config/etc/portage/env/now.conf", "LDFLAGS=\"-Wl,-O1 -Wl,--as-needed -Wl,-z,now\"\n");
            world.append("config/etc/portage/package.env", "app-arch/lz4 now.conf\n");
        },
        ON_LZ4,
        "lz4",
    )
    .surplus("lz4json squashfs-tools", BYTES),
    change(
        "zlib: manual page",
        |world| {
            let line = |date| format!(".TH ZLIB 3 \"{date} 2022\"");
            patch_line(world, "sys-libs/zlib", "zlib.3", 1, &line("13 Oct"), &line("14 Oct"));
        },
        ON_ZLIB,
        "zlib",
    ),
    change(
        "lz4: manual page",
        |world| {
            let line = |month| format!(".TH \"LZ4\" \"1\" \"{month} 2022\" \"lz4 v1.9.4\" \"User Commands\"");
            patch_line(world, "app-arch/lz4", "programs/lz4.1", 2, &line("August"), &line("May"));
        },
        ON_LZ4,
        "lz4",
    ),
    change(
        "libpng: USE=-tools, which only drops its PDEPEND",
        |world| world.append("config/etc/portage/package.use", "media-libs/libpng -tools\n"),
        ON_LIBPNG,
        "libpng",
    )
    .surplus("qrencode", FEWER),
    change(
        "libpng: without SSE2 (CPU_FLAGS_X86), which drops symbols",
        |world| world.replace("config/etc/portage/make.conf", "\"sse2\"", "\"\""),
        ON_LIBPNG,
        "libpng qrencode",
    ),
    change(
        "lz4: a new USE flag adds a static archive",
        |world| {
            world.replace(LZ4, "SLOT=\"0/1.9\"", "SLOT=\"0/1.9\"\nIUSE=\"static-libs\"");
            world.replace(LZ4, "BUILD_STATIC=no", "BUILD_STATIC=$(usex static-libs)");
            world.append("config/etc/portage/package.use", "app-arch/lz4 static-libs\n");
        },
        ON_LZ4,
        "lz4",
    )
    .surplus("lz4json squashfs-tools", BYTES),
    change(
        "libpng: PDEPEND gone from the ebuild",
        |world| world.replace(LIBPNG, "PDEPEND=\"tools? ( media-gfx/pngcheck )\"\n", ""),
        ON_LIBPNG,
        "libpng",
    )
    .surplus("qrencode", FEWER),
    change(
        "pngcheck, the PDEPEND of libpng: its USAGE text",
        |world| {
            let line = |day| format!("#define VERSION \"3.0.3 of {day} April 2021\"");
            patch_line(world, "media-gfx/pngcheck", "pngcheck.c", 36, &line("25"), &line("26"));
        },
        "pngcheck qrencode",
        "pngcheck",
    ),
    change("zlib: comment in the ebuild", |world| world.append(ZLIB, "# a comment\n"), ON_ZLIB, "zlib"),
    change("lz4: HOMEPAGE", |world| world.replace(LZ4, "https://lz4.org/ ", ""), ON_LZ4, "lz4"),
    change(
        "zlib: DESCRIPTION, which its pkg-config file repeats",
        |world| world.replace(ZLIB, "The deflate", "The good old deflate"),
        ON_ZLIB,
        "zlib",
    )
    .surplus(ABOVE_ZLIB, BYTES),
];

/// Lets an ebuild run something before it configures.
fn prepare(world: &World, ebuild: &str, command: &str) {
    world.replace(ebuild, "src_configure() {\n", &format!("src_configure() {{\n\t{command} || die\n"));
}

/// What gives lz4 another SONAME.
const NEW_SONAME: &str = "\
src_prepare() {
	default
	sed -i 's/\\$(SHARED_EXT)\\.\\$(LIBVER_MAJOR)/$(SHARED_EXT).2/' lib/Makefile || die
	grep -q 'SHARED_EXT_MAJOR = $(SHARED_EXT).2' lib/Makefile || die
}
";
