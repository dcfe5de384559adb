# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-build

DESCRIPTION="Makes large letters out of ordinary text"
HOMEPAGE="http://www.figlet.org/"
SRC_URI="http://ftp.figlet.org/program/unix/${P}.tar.gz"

LICENSE="BSD"
SLOT="0"
KEYWORDS="amd64"
IUSE="broken"

src_prepare() {
	default
	if use broken; then
		# What a bad commit looks like: a type error and an unknown name.
		cat >> figlet.c <<-EOF || die
			int swarmworld_broken(void) { struct stat *s = 42.0; return s->no_such_member + undeclared; }
		EOF
	fi
}

src_compile() {
	swarm_setup_flags
	emake CC="${CC}" LD="${CC}" CFLAGS="${CFLAGS}" LDFLAGS="${LDFLAGS}" \
		prefix="${EPREFIX}/usr"
}

src_install() {
	emake DESTDIR="${D}" prefix="${EPREFIX}/usr" MANDIR="${EPREFIX}/usr/share/man" install
	dodoc README FAQ
}
