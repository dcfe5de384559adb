//! Packages that build in a second, written into a world's repository: one for each way a build can depend on
//! something.

use super::world::World;

const ECLASS: &str = "\
# @ECLASS: tiny.eclass
tiny_src_install() {
	echo \"${PN} by tiny\" > note || die
	insinto /usr/share/tiny
	newins note \"${PN}\"
}
EXPORT_FUNCTIONS src_install
";

const STORY_PATCH: &str = "\
--- a/story
+++ b/story
@@ -1,3 +1,3 @@
 once
-upon
+under
 a time
";

/// An ebuild without sources, from the lines that make it what it is.
pub(crate) fn ebuild(lines: &str) -> String {
    format!(
        "EAPI=8\n\nDESCRIPTION=\"Made for a test\"\nHOMEPAGE=\"https://example.org/\"\nLICENSE=\"MIT\"\n\
         KEYWORDS=\"amd64\"\nS=\"${{WORKDIR}}\"\n{lines}"
    )
}

/// An `src_install` that installs one file of its own.
pub(crate) const INSTALL: &str = "\
src_install() {
	echo \"${PF}\" > note || die
	insinto /usr/share/tiny
	newins note \"${PN}\"
}
";

/// Adds a package made from `lines`.
pub(crate) fn add(world: &World, cpv: &str, lines: &str) {
    let (category, pf) = cpv.split_once('/').unwrap();
    let (name, _) = pf.rsplit_once('-').unwrap();
    world.write(format!("overlay/{category}/{name}/{pf}.ebuild"), &ebuild(lines));
}

/// Adds all of them.
pub(crate) fn add_to(world: &World) {
    world.append("overlay/profiles/categories", "tiny-apps\ntiny-libs\n");
    world.write("overlay/eclass/tiny.eclass", ECLASS);
    add(world, "tiny-libs/note-1", &format!("SLOT=\"0/1\"\n{INSTALL}"));
    let needs_note = "DEPEND=\"tiny-libs/note:=\"\nRDEPEND=\"${DEPEND}\"\n";
    add(world, "tiny-apps/reader-1", &format!("SLOT=\"0\"\n{needs_note}{INSTALL}"));
    add(world, "tiny-apps/leaf-1", "SLOT=\"0\"\nIUSE=\"extra\"\ninherit tiny\n");
    add(world, "tiny-apps/other-1", "SLOT=\"0\"\ninherit tiny\n");
    add(
        world,
        "tiny-apps/target-1",
        &format!("SLOT=\"0\"\nIUSE=\"lua_targets_lua5-1 lua_targets_lua5-4\"\n{INSTALL}"),
    );
    add(
        world,
        "tiny-apps/patched-1",
        "SLOT=\"0\"\nPATCHES=( \"${FILESDIR}\"/story.patch )\n\
         src_unpack() { printf 'once\\nupon\\na time\\n' > story || die; }\n\
         src_install() { insinto /usr/share/tiny; doins story; }\n",
    );
    world.write("overlay/tiny-apps/patched/files/story.patch", STORY_PATCH);
}
