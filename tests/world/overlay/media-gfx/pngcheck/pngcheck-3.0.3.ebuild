# Distributed under the terms of the MIT licence

EAPI=7

inherit swarm-build

DESCRIPTION="Verifies PNG, JNG and MNG files and prints what is in them"
HOMEPAGE="http://www.libpng.org/pub/png/apps/pngcheck.html"
SRC_URI="http://www.libpng.org/pub/png/src/${P}.tar.gz"

LICENSE="HPND GPL-2+"
SLOT="0"
KEYWORDS="amd64"

DEPEND="sys-libs/zlib:="
RDEPEND="${DEPEND}"

src_compile() {
	swarm_setup_flags
	emake -f Makefile.unx CC="${CC}" CFLAGS="${CFLAGS} -DUSE_ZLIB" LIBS="${LDFLAGS} -lz"
}

src_install() {
	dobin pngcheck pngsplit png-fix-IDAT-windowsize
	doman pngcheck.1
	dodoc README CHANGELOG
}
