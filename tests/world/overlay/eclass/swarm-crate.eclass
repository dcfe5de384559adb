# Distributed under the terms of the MIT licence
# @ECLASS: swarm-crate.eclass
# @SUPPORTED_EAPIS: 8
# @BLURB: Sources that are published as a Rust crate
# @DESCRIPTION:
# Set CRATE (name-version) before inheriting if it is not ${P}.

case ${EAPI} in
	8) ;;
	*) die "${ECLASS}: EAPI ${EAPI:-0} not supported" ;;
esac

if [[ -z ${_SWARM_CRATE_ECLASS} ]]; then
_SWARM_CRATE_ECLASS=1

: "${CRATE:=${P}}"
# A name without an address: fetching is the work of cargo, see ../../fetch.
SRC_URI="${CRATE}.crate"
S=${WORKDIR}/${CRATE}

swarm-crate_src_unpack() {
	local file
	for file in ${A}; do
		if [[ ${file} == *.crate ]]; then
			einfo "Unpacking ${file}"
			tar -xzof "${DISTDIR}/${file}" -C "${WORKDIR}" || die "unpacking ${file} failed"
		else
			unpack "${file}"
		fi
	done
}

# @FUNCTION: swarm_rustc
# @USAGE: <arguments of rustc>...
# @DESCRIPTION:
# Runs rustc without any registry or network, and without the build path in the result.
swarm_rustc() {
	set -- rustc --edition "${RUST_EDITION:-2021}" -C opt-level=2 -C debuginfo=0 \
		--remap-path-prefix "${WORKDIR}=." ${RUSTFLAGS} "$@"
	echo "$@"
	"$@" || die "rustc failed"
}

EXPORT_FUNCTIONS src_unpack

fi
