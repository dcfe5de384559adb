# Distributed under the terms of the MIT licence

EAPI=8

inherit swarm-build

DESCRIPTION="Formats manual pages, and searches them in a database"
HOMEPAGE="https://mandoc.bsd.lv/"
SRC_URI="https://mandoc.bsd.lv/snapshots/${P}.tar.gz"

LICENSE="ISC BSD-2"
SLOT="0"
KEYWORDS="amd64"

DEPEND="sys-libs/zlib:="
RDEPEND="${DEPEND}"

# configure asks for functions of other systems.
QA_CONFIG_IMPL_DECL_SKIP=( pledge getprogname recallocarray strcasestr strlcat strlcpy strptime strtonum vasprintf wcwidth )

src_configure() {
	swarm_setup_flags
	# The m names leave the man of the machine alone.
	cat > configure.local <<-EOF || die
		PREFIX="${EPREFIX}/usr"
		SBINDIR="${EPREFIX}/usr/sbin"
		MANDIR="${EPREFIX}/usr/share/man"
		CC="${CC}"
		CFLAGS="${CFLAGS}"
		LDFLAGS="${LDFLAGS}"
		LN="ln -sf"
		BINM_MAN=mman
		BINM_APROPOS=mapropos
		BINM_WHATIS=mwhatis
		BINM_MAKEWHATIS=mmakewhatis
		BINM_SOELIM=msoelim
		MANM_MAN=mandoc_man
		MANM_MANCONF=mandoc.conf
		MANM_MDOC=mandoc_mdoc
		MANM_ROFF=mandoc_roff
		MANM_EQN=mandoc_eqn
		MANM_TBL=mandoc_tbl
		MANPATH_BASE="${EPREFIX}/usr/share/man"
		MANPATH_DEFAULT="${EPREFIX}/usr/share/man"
		OSENUM=MANDOC_OS_OTHER
		OSNAME="Swarm world"
		INSTALL_LIBMANDOC=0
	EOF
	./configure || die "configure failed"
}

src_install() {
	emake DESTDIR="${D}" install
}

pkg_postinst() {
	# The search database has to be made where the package ends up: it holds
	# the pages of every package that is installed there by then.  Only those:
	# the root may have thousands of others.
	local mandir=${EROOT}/usr/share/man stage=${T}/mandb count=0 page
	rm -rf "${stage}"
	while read -r page; do
		[[ -f ${EROOT}${page} ]] || continue
		mkdir -p "${stage}/${page%/*}" || die
		cp -L "${EROOT}${page}" "${stage}/${page}" || die
		(( ++count ))
	done < <({
		cat "${EROOT}"/var/db/pkg/*/*/CONTENTS 2>/dev/null
		# Its own pages are there whether or not the records are yet.
		cd "${EROOT:-/}" && printf 'obj /%s\n' usr/share/man/man[1-8]/{mandoc,mman,mapropos,mmakewhatis}*
	} | sed -n 's:^obj \(/usr/share/man/man[1-8]/[^ ]*\).*:\1:p' | LC_ALL=C sort -u)

	einfo "Indexing ${count} manual pages in ${mandir}/mandoc.db"
	LD_LIBRARY_PATH="${EROOT}/usr/$(get_libdir)" \
		"${EROOT}/usr/sbin/mmakewhatis" "${stage}/usr/share/man" ||
		die "mmakewhatis failed"
	mv "${stage}/usr/share/man/mandoc.db" "${mandir}/mandoc.db" || die
	rm -rf "${stage}"
}

pkg_postrm() {
	[[ -n ${REPLACED_BY_VERSION} ]] || rm -f "${EROOT}/usr/share/man/mandoc.db"
}
