# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-build

DESCRIPTION="Berkeley yacc, an LALR(1) parser generator"
HOMEPAGE="https://invisible-island.net/byacc/"
SRC_URI="https://invisible-island.net/archives/byacc/${P}.tgz"

LICENSE="public-domain"
SLOT="0"
KEYWORDS="amd64"

src_configure() {
	swarm_setup_flags
	econf --program-transform=s,^,b,
}
