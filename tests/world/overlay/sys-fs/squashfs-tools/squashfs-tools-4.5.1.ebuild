# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-build

DESCRIPTION="Makes and unpacks compressed read-only file systems"
HOMEPAGE="https://github.com/plougher/squashfs-tools"
SRC_URI="https://github.com/plougher/squashfs-tools/archive/refs/tags/${PV}.tar.gz -> ${P}.tar.gz"
S="${WORKDIR}/${P}/squashfs-tools"

LICENSE="GPL-2+"
SLOT="0"
KEYWORDS="amd64"
IUSE="lz4"

RDEPEND="
	sys-libs/zlib:=
	lz4? ( app-arch/lz4:= )
"
DEPEND="${RDEPEND}"

src_compile() {
	swarm_setup_flags
	emake CC="${CC}" EXTRA_LDFLAGS="${LDFLAGS}" \
		GZIP_SUPPORT=1 LZ4_SUPPORT=$(usex lz4 1 0) \
		XZ_SUPPORT=0 LZO_SUPPORT=0 LZMA_XZ_SUPPORT=0 ZSTD_SUPPORT=0 XATTR_SUPPORT=0
}

src_install() {
	dobin mksquashfs unsquashfs
	dosym mksquashfs /usr/bin/sqfstar
	dosym unsquashfs /usr/bin/sqfscat
	doman ../manpages/{mksquashfs,unsquashfs,sqfstar,sqfscat}.1
	dodoc ../README-4.5.1 ../CHANGES
}
