# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-build

DESCRIPTION="Reads and writes PNG images"
HOMEPAGE="http://www.libpng.org/"
SRC_URI="https://github.com/pnggroup/libpng/archive/refs/tags/v${PV}.tar.gz -> ${P}.tar.gz"

LICENSE="libpng2"
SLOT="0/16"
KEYWORDS="amd64"
IUSE="cpu_flags_x86_sse2 +tools"

DEPEND="sys-libs/zlib:="
RDEPEND="${DEPEND}"
# pnglibconf.h is made by a chain of awk scripts.
BDEPEND="sys-apps/nawk"
PDEPEND="tools? ( media-gfx/pngcheck )"

src_configure() {
	swarm_setup_flags
	# Generated, not the prebuilt copy: with a bound of its own on the width of
	# an image, which can be seen in the installed header.
	echo "setting USER_WIDTH_MAX default 500000" > "${T}/world.dfa" || die
	emake -f scripts/pnglibconf.mak AWK=original-awk CC="${CC}" DFA_XTRA="${T}/world.dfa" pnglibconf.h
	grep -q 'PNG_USER_WIDTH_MAX 500000' pnglibconf.h || die "pnglibconf.h was not generated"
}

src_compile() {
	rm pnglibconf.c pngtest.c || die
	local sources=( png*.c ) opt=0
	if use cpu_flags_x86_sse2; then
		opt=2
		sources+=( intel/*.c )
	fi
	swarm_objects "-fPIC -I. -DPNG_INTEL_SSE_OPT=${opt}" "${sources[@]}"
	swarm_link_so "libpng16.so.16.${PV##*.}.0" libpng16.so.16 "${sources[@]/%.c/.o}" -lz -lm
}

src_install() {
	swarm_doso "libpng16.so.16.${PV##*.}.0" libpng16.so.16
	dosym libpng16.so "/usr/$(get_libdir)/libpng.so"
	insinto /usr/include/libpng16
	doins png.h pngconf.h pnglibconf.h
	local header
	for header in png.h pngconf.h pnglibconf.h; do
		dosym "libpng16/${header}" "/usr/include/${header}"
	done
	swarm_dopc libpng16 "${PV}" -lpng16 "-I\${includedir}/libpng16" zlib
	dosym libpng16.pc "/usr/$(get_libdir)/pkgconfig/libpng.pc"
	doman libpng.3 png.5
}
