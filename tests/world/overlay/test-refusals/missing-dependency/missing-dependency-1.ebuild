# Distributed under the terms of the MIT licence

EAPI=8

DESCRIPTION="Refusal test: depends on a package that nobody has"
HOMEPAGE="https://example.org/"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"

RDEPEND=">=sys-libs/zlib-99"
