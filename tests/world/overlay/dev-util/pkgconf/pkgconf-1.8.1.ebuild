# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-build

DESCRIPTION="Finds the compiler and linker flags of libraries"
HOMEPAGE="https://github.com/pkgconf/pkgconf"
SRC_URI="https://distfiles.ariadne.space/${PN}/${P}.tar.xz"

LICENSE="ISC"
SLOT="0"
KEYWORDS="amd64"

src_configure() {
	swarm_setup_flags
	# One program that needs no library of its own: it runs in roots where
	# nobody has updated the linker's cache.
	econf \
		--disable-shared --enable-static \
		--with-pkg-config-dir="${EPREFIX}/usr/$(get_libdir)/pkgconfig:${EPREFIX}/usr/share/pkgconfig" \
		--with-system-libdir="${EPREFIX}/usr/$(get_libdir)" \
		--with-system-includedir="${EPREFIX}/usr/include"
}

src_install() {
	dobin pkgconf
	dosym pkgconf /usr/bin/pkg-config
	doman man/pkgconf.1 man/pc.5
	insinto /usr/share/aclocal
	doins pkg.m4
	dodoc README.md NEWS
}
