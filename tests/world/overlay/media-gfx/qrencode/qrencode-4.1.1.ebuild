# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-build

DESCRIPTION="QR code generator: a library and a program"
HOMEPAGE="https://fukuchi.org/works/qrencode/"
SRC_URI="https://fukuchi.org/works/qrencode/${P}.tar.bz2"

LICENSE="LGPL-2.1+"
SLOT="0/4"
KEYWORDS="amd64"
IUSE="png"

RDEPEND="png? (
	media-libs/libpng:=
	sys-libs/zlib:=
)"
DEPEND="${RDEPEND}"
BDEPEND="virtual/pkgconfig"

src_configure() {
	swarm_setup_flags
	econf --disable-static --with-tools --without-tests $(use_with png)
}

src_install() {
	default
	find "${ED}" -name '*.la' -delete || die
}
