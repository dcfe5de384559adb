# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-lua

DESCRIPTION="Parsing expression grammars for Lua"
HOMEPAGE="https://www.inf.puc-rio.br/~roberto/lpeg/"
SRC_URI="https://www.inf.puc-rio.br/~roberto/lpeg/${P}.tar.gz"

LICENSE="MIT"
SLOT="0"
KEYWORDS="amd64"
IUSE="doc"

lpeg_compile() {
	mkdir "${LUA_VERSION}" || die
	cp *.c *.h re.lua "${LUA_VERSION}" || die
	pushd "${LUA_VERSION}" > /dev/null || die
	swarm_objects "-fPIC -std=c99 -I${LUA_INCLUDE}" *.c
	swarm_link_so lpeg.so lpeg.so *.o
	# The pure-Lua half goes out as bytecode of the interpreter just built.
	${LUAC} -s -o re.luac re.lua || die "${LUAC} failed"
	LUA_CPATH="./?.so" LUA_PATH="./?.luac" ${LUA} -e \
		'local re = require "re"; assert(re.match("swarm world", "{%w+} %s+ {%w+}") == "swarm")' ||
		die "the new module does not work in ${LUA}"
	popd > /dev/null || die
}

lpeg_install() {
	exeinto "${LUA_CMOD}"
	doexe "${LUA_VERSION}/lpeg.so"
	insinto "${LUA_LMOD}"
	newins "${LUA_VERSION}/re.luac" re.lua
}

src_compile() {
	swarm_setup_flags
	swarm_lua_foreach lpeg_compile
}

src_install() {
	swarm_lua_foreach lpeg_install
	use doc && local HTML_DOCS=( lpeg.html re.html )
	einstalldocs
}
