//! Packages in C that depend on each other in every way, built with the compiler of this machine: what a change to
//! one of them reaches.

use std::sync::OnceLock;

use super::tiny;
use super::world::{World, copy};

/// What is asked for: the rest is what they depend on.
pub(crate) const ATOMS: [&str; 3] = ["tiny-apps/ruler", "tiny-apps/board", "tiny-apps/bound"];

/// All that [`ATOMS`] leads to.
pub(crate) const PACKAGES: usize = 5;

const SHAPE_H: &str = "\
#define SHAPE_CORNERS 4
extern int shape_colours[2];
int shape_area(int width, int height);
";

/// The sum is what [`FIX`] repairs.
const SHAPE_C: &str = "\
#include \"shape.h\"
int shape_colours[2] = { 7, 8 };
int shape_area(int width, int height)
{
	return width + height;
}
";

/// A user patch that changes what the library does, and nothing that is seen of it from outside.
pub(crate) const FIX: &str = "\
--- a/shape.c
+++ b/shape.c
@@ -2,5 +2,5 @@
 int shape_colours[2] = { 7, 8 };
 int shape_area(int width, int height)
 {
-	return width + height;
+	return width * height;
 }
";

const SHAPE: &str = "\
SLOT=\"0/1\"
inherit swarm-build
src_unpack() { cp \"${FILESDIR}\"/shape.[ch] . || die; }
src_compile() { swarm_setup_flags; swarm_link_so libshape.so.1 libshape.so.1 -fPIC shape.c; }
src_install() {
	swarm_doso libshape.so.1 libshape.so.1
	doheader shape.h
	swarm_dopc shape 1 -lshape
}
";

const RULER_C: &str = "\
#include <shape.h>
#include <stdio.h>
int main(void)
{
	return printf(\"%d %d %d\\n\", SHAPE_CORNERS, shape_colours[1], shape_area(3, 4)) < 0;
}
";

/// A library of its own that reads the other's header, and is not linked to it.
const GRID: &str = "\
SLOT=\"0\"
inherit swarm-build
DEPEND=\"tiny-libs/shape\"
src_unpack() { printf '#include <shape.h>\\nint grid(void) { return sizeof shape_colours; }\\n' > grid.c || die; }
src_compile() { swarm_setup_flags; swarm_link_so libgrid.so.1 libgrid.so.1 -fPIC grid.c; }
src_install() { swarm_doso libgrid.so.1 libgrid.so.1; }
";

const BOARD: &str = "\
SLOT=\"0\"
inherit swarm-build
DEPEND=\"tiny-libs/grid\"
RDEPEND=\"${DEPEND}\"
src_unpack() { printf 'int grid(void);\\nint main(void) { return grid(); }\\n' > board.c || die; }
src_compile() { swarm_setup_flags; ${CC} ${CFLAGS} ${LDFLAGS} -o board board.c -lgrid || die; }
src_install() { dobin board; }
";

/// A program that is linked to the library, which it requires as `depend` says.
fn program(depend: &str) -> String {
    format!(
        "SLOT=\"0\"\ninherit swarm-build\nDEPEND=\"{depend}\"\nRDEPEND=\"${{DEPEND}}\"\n\
         src_unpack() {{ cp \"${{FILESDIR}}\"/main.c . || die; }}\n\
         src_compile() {{ swarm_setup_flags; ${{CC}} ${{CFLAGS}} ${{LDFLAGS}} -o ${{PN}} main.c -lshape || die; }}\n\
         src_install() {{ dobin ${{PN}}; }}\n"
    )
}

/// Adds a program that is linked to the library; `more` are further lines of its ebuild.
pub(crate) fn add_program(world: &World, name: &str, depend: &str, more: &str) {
    world.write(format!("overlay/tiny-apps/{name}/files/main.c"), RULER_C);
    tiny::add(world, &format!("tiny-apps/{name}-1"), &(program(depend) + more));
}

/// A world with these packages, of which nothing was built.
pub(crate) fn unbuilt() -> World {
    let world = World::new();
    world.write("overlay/tiny-libs/shape/files/shape.h", SHAPE_H);
    world.write("overlay/tiny-libs/shape/files/shape.c", SHAPE_C);
    tiny::add(&world, "tiny-libs/shape-1", SHAPE);
    tiny::add(&world, "tiny-libs/grid-1", GRID);
    tiny::add(&world, "tiny-apps/board-1", BOARD);
    add_program(&world, "ruler", "tiny-libs/shape", "");
    add_program(&world, "bound", "tiny-libs/shape:=", "");
    world
}

/// A world in which [`ATOMS`] are built.
pub(crate) fn built() -> World {
    static PREPARATION: OnceLock<World> = OnceLock::new();
    let prepared = PREPARATION.get_or_init(|| {
        let world = unbuilt();
        assert_eq!(world.build(&ATOMS)["built"], PACKAGES);
        world
    });
    let world = unbuilt();
    copy(&prepared.state(), &world.state());
    world
}

/// Repairs the library by a patch of the user's.
pub(crate) fn fix(world: &World) {
    world.write("config/etc/portage/patches/tiny-libs/shape/fix.patch", FIX);
}

/// A change to the library's header that everything read of it shows.
pub(crate) fn change_header(world: &World) {
    world.replace("overlay/tiny-libs/shape/files/shape.h", "CORNERS 4", "CORNERS 5");
}

/// A tool, which is a script, and a package that is made by it: its output holds what the tool says.
pub(crate) fn add_tool(world: &World, tool: &str, user: &str) {
    world.write(format!("overlay/tiny-apps/{tool}/files/{tool}"), "#!/bin/sh\necho made in one way\n");
    let install = format!("src_install() {{ dobin \"${{FILESDIR}}\"/{tool}; }}\n");
    tiny::add(world, &format!("tiny-apps/{tool}-1"), &format!("SLOT=\"0\"\n{install}"));
    let install =
        format!("src_install() {{ {tool} > note || die; insinto /usr/share/tiny; newins note ${{PN}}; }}\n");
    tiny::add(
        world,
        &format!("tiny-apps/{user}-1"),
        &format!("SLOT=\"0\"\nBDEPEND=\"tiny-apps/{tool}\"\n{install}"),
    );
}
