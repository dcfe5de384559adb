# Distributed under the terms of the MIT licence

EAPI=8

DESCRIPTION="Virtual for the pkg-config program"

SLOT="0"
KEYWORDS="amd64"

RDEPEND="|| (
	>=dev-util/pkgconf-1.3
	dev-util/pkgconfig
)"
