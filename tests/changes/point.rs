//! Packages for what nothing in the demo world does: a library with a data symbol, versioned symbols, a
//! static archive, an inline function and a pkg-config file, and one package for each way to use it.

use super::tiny;
use super::world::World;

/// The packages that lead to all of this, and the tool.
pub(crate) const ATOMS: [&str; 7] = [
    "tiny-apps/shared",
    "tiny-apps/fixed",
    "tiny-apps/inlined",
    "tiny-apps/asked",
    "tiny-apps/outline",
    "tiny-apps/generated",
    "tiny-apps/maker",
];

const HEADER: &str = "\
#define POINT_UNIT 10
extern int point_table[4];
int point_sum(const int *values, int count);
int point_fixed(int value);
static inline int point_scale(int value) { return value * POINT_UNIT; }
";

const SHARED: &str = "\
#include \"point.h\"
int point_table[4] = { 1, 2, 3, 4 };
int point_sum(const int *values, int count)
{
	int sum = 0;
	while (count-- > 0)
		sum += values[count];
	return sum;
}
";

const FIXED: &str = "int point_fixed(int value) { return value + 1; }\n";

const MAP: &str = "POINT_1 { global: point_table; point_sum; local: *; };\n";

const LIBRARY: &str = "\
SLOT=\"0/1\"
inherit swarm-build
src_unpack() { cp \"${FILESDIR}\"/* . || die; }
src_compile() {
	swarm_setup_flags
	swarm_objects -fPIC point.c fixed.c
	swarm_link_so libpoint.so.1 libpoint.so.1 -Wl,--version-script=point.map point.o
	${AR} rcD libfixed.a fixed.o || die
}
src_install() {
	swarm_doso libpoint.so.1 libpoint.so.1
	dolib.a libfixed.a
	doheader point.h
	swarm_dopc point \"${PV}\" -lpoint
}
";

/// Its header is of no use without the library's, which whoever uses it does not name.
const LINE: &str = "\
SLOT=\"0/1\"
DEPEND=\"tiny-libs/point:=\"
RDEPEND=\"${DEPEND}\"
src_install() {
	echo '#include <point.h>' > line.h || die
	echo 'static inline int line(int value) { return point_scale(value) + 1; }' >> line.h || die
	doheader line.h
}
";

/// A program of one file, compiled with what `flags` says.
fn program(needs: &str, main: &str, flags: &str) -> String {
    format!(
        "SLOT=\"0\"\ninherit swarm-build\n{needs}\n\
         src_unpack() {{\n\tcat > main.c <<-'EOF' || die\n\t\t{}\n\tEOF\n}}\n\
         src_compile() {{\n\tswarm_setup_flags\n\
         \t${{CC}} ${{CFLAGS}} main.c -o ${{PN}} ${{LDFLAGS}} {flags} || die\n}}\n\
         src_install() {{ dobin ${{PN}}; }}\n",
        main.replace('\n', "\n\t\t")
    )
}

const NEEDS_POINT: &str = "DEPEND=\"tiny-libs/point:=\"\nRDEPEND=\"${DEPEND}\"";

/// What a tool makes with a library that whoever runs the tool does not name.
const GENERATED: &str = "\
SLOT=\"0\"
BDEPEND=\"tiny-apps/maker\"
src_compile() { LD_LIBRARY_PATH=${BROOT}/usr/lib64 maker > made || die; }
src_install() { insinto /usr/share/tiny; doins made; }
";

/// Adds all of them, and says that the maker writes into what is built with it.
pub(crate) fn add_to(world: &World) {
    world.append("swarmd.toml", "toolchain = [\"tiny-apps/maker\"]\n");
    for (name, text) in [("point.h", HEADER), ("point.c", SHARED), ("fixed.c", FIXED), ("point.map", MAP)] {
        world.write(format!("overlay/tiny-libs/point/files/{name}"), text);
    }
    tiny::add(world, "tiny-libs/point-1", LIBRARY);
    tiny::add(world, "tiny-libs/line-1", LINE);
    let shared = "#include <point.h>\nint main(void) { return point_sum(point_table, 3); }";
    tiny::add(world, "tiny-apps/shared-1", &program(NEEDS_POINT, shared, "-lpoint"));
    let fixed = "#include <point.h>\nint main(void) { return point_fixed(1); }";
    tiny::add(world, "tiny-apps/fixed-1", &program(NEEDS_POINT, fixed, "-lfixed"));
    let inlined = "#include <point.h>\nint main(int count, char **words) { return point_scale(count); }";
    tiny::add(world, "tiny-apps/inlined-1", &program(NEEDS_POINT, inlined, ""));
    let asked = "#include <stdio.h>\n#include <point.h>\n\
                 int main(void) { puts(VERSION); return point_sum(point_table, 3); }";
    let asks = format!("{NEEDS_POINT}\nBDEPEND=\"virtual/pkgconfig\"");
    let flags = "-DVERSION=\\\"$(pkg-config --modversion point)\\\" $(pkg-config --cflags --libs point)";
    tiny::add(world, "tiny-apps/asked-1", &program(&asks, asked, flags));
    let outline = "#include <line.h>\nint main(int count, char **words) { return line(count); }";
    let needs_line = "DEPEND=\"tiny-libs/line:=\"\nRDEPEND=\"${DEPEND}\"";
    tiny::add(world, "tiny-apps/outline-1", &program(needs_line, outline, ""));
    let maker = "#include <stdio.h>\n#include <point.h>\n\
                 int main(void) { printf(\"%d\\n\", point_sum(point_table, 3)); return 0; }";
    tiny::add(world, "tiny-apps/maker-1", &program(NEEDS_POINT, maker, "-lpoint"));
    tiny::add(world, "tiny-apps/generated-1", GENERATED);
}
