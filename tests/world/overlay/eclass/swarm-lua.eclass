# Distributed under the terms of the MIT licence
# @ECLASS: swarm-lua.eclass
# @SUPPORTED_EAPIS: 8
# @BLURB: Modules built once for each Lua in LUA_TARGETS
# @DESCRIPTION:
# Adds the LUA_TARGETS flags, and the dependency on the interpreters they name:
# at run time, and at build time for luac.

case ${EAPI} in
	8) ;;
	*) die "${ECLASS}: EAPI ${EAPI:-0} not supported" ;;
esac

if [[ -z ${_SWARM_LUA_ECLASS} ]]; then
_SWARM_LUA_ECLASS=1

inherit swarm-build

_SWARM_LUA_ALL=( 5.1 5.4 )

_swarm_lua_globals() {
	local v flag flags=
	for v in "${_SWARM_LUA_ALL[@]}"; do
		flag=lua_targets_lua${v/./-}
		flags+=" ${flag}"
		DEPEND+=" ${flag}? ( dev-lang/lua:${v}= )"
		RDEPEND+=" ${flag}? ( dev-lang/lua:${v}= )"
		BDEPEND+=" ${flag}? ( dev-lang/lua:${v} )"
	done
	IUSE+="${flags}"
	REQUIRED_USE="|| (${flags} )"
}
_swarm_lua_globals
unset -f _swarm_lua_globals

# @FUNCTION: swarm_lua_foreach
# @USAGE: <command> [argument]...
# @DESCRIPTION:
# Runs a command once for each chosen Lua, with LUA_VERSION, LUA, LUAC,
# LUA_INCLUDE, LUA_CMOD and LUA_LMOD set.
swarm_lua_foreach() {
	local LUA_VERSION
	for LUA_VERSION in "${_SWARM_LUA_ALL[@]}"; do
		use "lua_targets_lua${LUA_VERSION/./-}" || continue
		local LUA=lua${LUA_VERSION} LUAC=luac${LUA_VERSION}
		local LUA_INCLUDE=${ESYSROOT}/usr/include/lua${LUA_VERSION}
		local LUA_CMOD=/usr/$(get_libdir)/lua/${LUA_VERSION}
		local LUA_LMOD=/usr/share/lua/${LUA_VERSION}
		einfo "Lua ${LUA_VERSION}: $*"
		"$@"
	done
}

fi
