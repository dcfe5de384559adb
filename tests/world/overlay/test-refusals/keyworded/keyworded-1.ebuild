# Distributed under the terms of the MIT licence

EAPI=8

DESCRIPTION="Refusal test: only in testing"
HOMEPAGE="https://example.org/"

LICENSE="MIT"
SLOT="0"
KEYWORDS="~amd64"
