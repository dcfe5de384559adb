# Distributed under the terms of the MIT licence

EAPI=8

DESCRIPTION="Refusal test: wants a dependency with a USE flag that is not set"
HOMEPAGE="https://example.org/"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"

RDEPEND="app-misc/figlet[broken]"
