# Distributed under the terms of the MIT licence
# @ECLASS: swarm-build.eclass
# @SUPPORTED_EAPIS: 7 8
# @BLURB: Compiler, flags and install functions for plain-Makefile packages
# @DESCRIPTION:
# The packages of this overlay have to find each other's libraries and not the
# like-named ones of the machine they are built on.  Their own library folder
# therefore goes to the front of the linker's search path.

case ${EAPI} in
	7|8) ;;
	*) die "${ECLASS}: EAPI ${EAPI:-0} not supported" ;;
esac

if [[ -z ${_SWARM_BUILD_ECLASS} ]]; then
_SWARM_BUILD_ECLASS=1

# @FUNCTION: swarm_setup_flags
# @DESCRIPTION:
# Exports CC, AR, CFLAGS and LDFLAGS for building against the packages of ESYSROOT.
swarm_setup_flags() {
	export CC=${CC:-gcc} AR=${AR:-ar} RANLIB=${RANLIB:-ranlib}
	export CFLAGS CPPFLAGS
	export LDFLAGS="-L${ESYSROOT}/usr/$(get_libdir) ${LDFLAGS}"
}

# @FUNCTION: swarm_objects
# @USAGE: <cflags> <file.c>...
# @DESCRIPTION:
# Compiles C files, in parallel, with make's built-in rules.
swarm_objects() {
	local extra=$1; shift
	emake -f /dev/null CC="${CC}" CFLAGS="${CFLAGS} ${extra}" CPPFLAGS="${CPPFLAGS}" "${@/%.c/.o}"
}

# @FUNCTION: swarm_link_so
# @USAGE: <output> <soname> [linker arguments]...
# @DESCRIPTION:
# Links a shared library.
swarm_link_so() {
	local out=$1 soname=$2; shift 2
	set -- ${CC} ${CFLAGS} ${LDFLAGS} -shared -Wl,-soname,"${soname}" -o "${out}" "$@"
	echo "$@"
	"$@" || die "linking ${out} failed"
}

# @FUNCTION: swarm_doso
# @USAGE: <libname.so.X.Y.Z> <soname>
# @DESCRIPTION:
# Installs a shared library with its soname link and its development link.
swarm_doso() {
	local dir=/usr/$(get_libdir)
	exeinto "${dir}"
	doexe "$1"
	[[ ${1##*/} == "$2" ]] || dosym "${1##*/}" "${dir}/$2"
	dosym "$2" "${dir}/${2%%.so*}.so"
}

# @FUNCTION: swarm_dopc
# @USAGE: <name> <version> <libs> [cflags] [requires.private]
# @DESCRIPTION:
# Writes and installs a pkg-config file.
swarm_dopc() {
	cat > "${T}/$1.pc" <<-EOF || die
		prefix=${EPREFIX}/usr
		libdir=\${prefix}/$(get_libdir)
		includedir=\${prefix}/include

		Name: $1
		Description: ${DESCRIPTION}
		Version: $2
		Libs: -L\${libdir} $3
		Cflags: ${4:--I\${includedir\}}
		Requires.private: $5
	EOF
	insinto "/usr/$(get_libdir)/pkgconfig"
	doins "${T}/$1.pc"
}

fi
