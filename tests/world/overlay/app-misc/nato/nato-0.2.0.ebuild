# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-build swarm-crate

DESCRIPTION="Spells words in the NATO phonetic alphabet"
HOMEPAGE="https://github.com/thomasmarcel/nato"

LICENSE="MIT"
SLOT="0"
# Stays in testing: the demo configuration accepts it by name.
KEYWORDS="~amd64"

PATCHES=(
	"${FILESDIR}/${P}-arguments.patch"
)

src_compile() {
	swarm_setup_flags
	local link=() flag
	for flag in ${LDFLAGS}; do
		link+=( -C "link-arg=${flag}" )
	done
	swarm_rustc --crate-name nato --crate-type rlib src/lib.rs -o libnato.rlib
	swarm_rustc --crate-name nato_cli --crate-type bin --extern nato=libnato.rlib \
		-C linker="${CC}" "${link[@]}" src/main.rs -o nato
}

src_install() {
	dobin nato
	einstalldocs
}
