# Distributed under the terms of the MIT licence

EAPI=8

DESCRIPTION="Refusal test: named in package.mask"
HOMEPAGE="https://example.org/"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"
