# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-build

DESCRIPTION="Prints the LZ4-compressed JSON files of Mozilla programs"
HOMEPAGE="https://github.com/andikleen/lz4json"
SRC_URI="https://github.com/andikleen/lz4json/archive/refs/tags/v${PV}.tar.gz -> ${P}.tar.gz"

LICENSE="BSD-2"
SLOT="0"
KEYWORDS="amd64"

DEPEND="app-arch/lz4:="
RDEPEND="${DEPEND}"
BDEPEND="
	app-text/scdoc
	virtual/pkgconfig
"

src_compile() {
	swarm_setup_flags
	emake CC="${CC}" CFLAGS="${CFLAGS} ${LDFLAGS}"
	# Upstream has no manual page.
	scdoc < "${FILESDIR}/lz4jsoncat.1.scd" > lz4jsoncat.1 || die "scdoc failed"
}

src_install() {
	dobin lz4jsoncat
	doman lz4jsoncat.1
}
