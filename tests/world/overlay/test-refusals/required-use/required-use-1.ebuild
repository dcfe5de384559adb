# Distributed under the terms of the MIT licence

EAPI=8

DESCRIPTION="Refusal test: contradictory USE flags"
HOMEPAGE="https://example.org/"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"
IUSE="+one +two"
REQUIRED_USE="^^ ( one two )"
