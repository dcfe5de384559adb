# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-build

DESCRIPTION="Very fast lossless compression"
HOMEPAGE="https://lz4.org/ https://github.com/lz4/lz4"
SRC_URI="https://github.com/lz4/lz4/archive/refs/tags/v${PV}.tar.gz -> ${P}.tar.gz"

LICENSE="BSD-2 GPL-2"
SLOT="0/1.9"
KEYWORDS="amd64"

lz4_make() {
	# CFLAGS stay in the environment: the makefiles add to them.
	emake V=1 BUILD_STATIC=no CC="${CC}" AR="${AR}" \
		PREFIX="${EPREFIX}/usr" LIBDIR="${EPREFIX}/usr/$(get_libdir)" "$@"
}

src_compile() {
	swarm_setup_flags
	# The library is a single command; the program is built meanwhile.
	printf '%s\n' > both.mk \
		'.PHONY: all lib programs' \
		'all: lib programs' \
		'lib: ; $(MAKE) -C lib liblz4' \
		'programs: ; $(MAKE) -C programs lz4-release' || die
	lz4_make -f both.mk
}

src_install() {
	lz4_make -C lib DESTDIR="${D}" install
	lz4_make -C programs DESTDIR="${D}" install
	dodoc NEWS
}
