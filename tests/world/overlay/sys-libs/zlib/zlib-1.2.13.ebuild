# Distributed under the terms of the MIT licence

EAPI=8

# The zlib sources of this release as the libz-sys crate carries them, whole.
CRATE=libz-sys-1.1.9

inherit swarm-build swarm-crate

DESCRIPTION="The deflate compression library"
HOMEPAGE="https://zlib.net/"
S="${WORKDIR}/${CRATE}/src/zlib"

LICENSE="ZLIB"
# Every minor release counts as a new ABI here, so that a bump rebuilds what links to it.
SLOT="0/1.2"
KEYWORDS="amd64"

src_configure() {
	swarm_setup_flags
	# Not an autoconf script; it takes CC, AR, CFLAGS and LDFLAGS from the environment.
	CHOST= uname=Linux ./configure --shared \
		--prefix="${EPREFIX}/usr" \
		--libdir="${EPREFIX}/usr/$(get_libdir)" || die "configure failed"
}

src_compile() {
	emake "libz.so.${PV}"
}

src_install() {
	swarm_doso "libz.so.${PV}" libz.so.1
	doheader zlib.h zconf.h
	swarm_dopc zlib "${PV}" -lz
	doman zlib.3
	dodoc README ChangeLog
}
