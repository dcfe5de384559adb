# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-build

DESCRIPTION="Brian Kernighan's AWK, installed as original-awk"
HOMEPAGE="https://github.com/onetrueawk/awk"
# Upstream publishes tags but no archives; Debian's of the tag 20220912 is fetched by apt-get, see ../../fetch.
SRC_URI="original-awk_2022-09-12.orig.tar.gz"
S="${WORKDIR}/original-awk-2022-09-12"

LICENSE="HPND"
SLOT="0"
KEYWORDS="amd64"

# The grammar is shipped as awkgram.y only.
BDEPEND="dev-util/byacc"

src_compile() {
	swarm_setup_flags
	emake -j1 YACC="byacc -d -b awkgram" HOSTCC="${CC}" CC="${CC}" \
		CFLAGS="${CFLAGS} ${LDFLAGS}"
}

src_install() {
	newbin a.out original-awk
	newman awk.1 original-awk.1
	dodoc README.md FIXES
}
