# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-build

DESCRIPTION="A man page generator"
HOMEPAGE="https://sr.ht/~sircmpwn/scdoc/"
SRC_URI="https://git.sr.ht/~sircmpwn/scdoc/archive/${PV}.tar.gz -> ${P}.tar.gz"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"

src_prepare() {
	default
	sed -i -e '/^LDFLAGS+=-static/d' -e 's/-Werror//' Makefile || die
}

src_compile() {
	swarm_setup_flags
	emake CC="${CC}" PREFIX="${EPREFIX}/usr"
}

src_install() {
	emake DESTDIR="${D}" PREFIX="${EPREFIX}/usr" install
}
