# Distributed under the terms of the MIT licence

EAPI=8

DESCRIPTION="Refusal test: needs cycle-a to be built, which needs this one"
HOMEPAGE="https://example.org/"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"

DEPEND="test-refusals/cycle-a"
