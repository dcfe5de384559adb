# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-pypi

DESCRIPTION="How many terminal columns a text takes"
HOMEPAGE="https://github.com/jquast/wcwidth"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"

src_install() {
	swarm_py_module wcwidth
	einstalldocs
}
