# Distributed under the terms of the MIT licence

EAPI=8

DESCRIPTION="Refusal test: a licence that is not accepted"
HOMEPAGE="https://example.org/"

LICENSE="Swarmworld-EULA"
SLOT="0"
KEYWORDS="amd64"
