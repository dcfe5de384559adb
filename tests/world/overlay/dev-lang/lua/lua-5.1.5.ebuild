# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-build

DESCRIPTION="A small, embeddable scripting language"
HOMEPAGE="https://www.lua.org/"
SRC_URI="https://www.lua.org/ftp/${P}.tar.gz"

LICENSE="MIT"
SLOT="5.1/5.1"
KEYWORDS="amd64"

src_prepare() {
	default
	LUA_V=$(ver_cut 1-2)
	sed -i -e "/define LUA_ROOT/s:/usr/local/:${EPREFIX}/usr/:" \
		-e "/define LUA_CDIR/s:\"lib/:\"$(get_libdir)/:" src/luaconf.h || die
	grep -q "\"$(get_libdir)/lua/" src/luaconf.h || die "module folder not set"
	# Upstream's own optimisation level would win over the user's.
	sed -i -e 's/^CFLAGS= -O2/CFLAGS=/' src/Makefile || die
}

src_compile() {
	swarm_setup_flags
	emake -C src all CC="${CC}" AR="${AR} rcu" RANLIB="${RANLIB}" \
		MYCFLAGS="${CFLAGS} -fPIC -DLUA_USE_POSIX -DLUA_USE_DLOPEN" \
		MYLDFLAGS="${LDFLAGS}" MYLIBS="${LDFLAGS} -Wl,-E -ldl"
	swarm_link_so "liblua${LUA_V}.so.${PV}" "liblua${LUA_V}.so.0" \
		-Wl,--whole-archive src/liblua.a -Wl,--no-whole-archive -lm -ldl
}

src_install() {
	newbin src/lua "lua${LUA_V}"
	newbin src/luac "luac${LUA_V}"
	swarm_doso "liblua${LUA_V}.so.${PV}" "liblua${LUA_V}.so.0"
	insinto "/usr/include/lua${LUA_V}"
	doins src/{lua,luaconf,lualib,lauxlib}.h
	local hpp=src/lua.hpp
	[[ -f ${hpp} ]] || hpp=etc/lua.hpp
	doins "${hpp}"
	swarm_dopc "lua${LUA_V}" "${PV}" "-llua${LUA_V}" "-I\${includedir}/lua${LUA_V}"
	newman doc/lua.1 "lua${LUA_V}.1"
	newman doc/luac.1 "luac${LUA_V}.1"
}
