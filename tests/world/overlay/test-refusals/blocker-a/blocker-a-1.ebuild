# Distributed under the terms of the MIT licence

EAPI=8

DESCRIPTION="Refusal test: cannot be installed beside blocker-b"
HOMEPAGE="https://example.org/"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"

RDEPEND="!!test-refusals/blocker-b"
