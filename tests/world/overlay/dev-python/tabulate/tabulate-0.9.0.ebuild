# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-pypi

DESCRIPTION="Prints tables in plain text, Markdown, HTML and more"
HOMEPAGE="https://github.com/astanin/python-tabulate"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"
IUSE="widechars"

RDEPEND="widechars? ( >=dev-python/wcwidth-0.2 )"

src_install() {
	swarm_py_module tabulate
	swarm_py_script tabulate tabulate _main
	einstalldocs
}
