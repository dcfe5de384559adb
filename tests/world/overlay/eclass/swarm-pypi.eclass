# Distributed under the terms of the MIT licence
# @ECLASS: swarm-pypi.eclass
# @SUPPORTED_EAPIS: 8
# @BLURB: Pure Python packages from a source distribution
# @DESCRIPTION:
# Installs the importable package as it is, without build backend and for
# whichever python3 is there, into a folder of its own.  Programs are started by
# a wrapper that finds this folder beside itself, so they work in any ROOT.

case ${EAPI} in
	8) ;;
	*) die "${ECLASS}: EAPI ${EAPI:-0} not supported" ;;
esac

if [[ -z ${_SWARM_PYPI_ECLASS} ]]; then
_SWARM_PYPI_ECLASS=1

# A name without an address: fetching is the work of pip, see ../../fetch.
SRC_URI="${P}.tar.gz"

# @FUNCTION: swarm_py_module
# @USAGE: <package folder>
swarm_py_module() {
	insinto /usr/share/swarmworld/python
	doins -r "$1"
}

# @FUNCTION: swarm_py_script
# @USAGE: <name> <module> <function>
swarm_py_script() {
	cat > "${T}/$1" <<-EOF || die
		#!/bin/sh
		here=\$(dirname "\$(readlink -f "\$0")")
		PYTHONPATH=\$here/../share/swarmworld/python\${PYTHONPATH:+:\$PYTHONPATH}
		export PYTHONPATH
		PYTHONDONTWRITEBYTECODE=1 exec python3 -c 'import sys; from $2 import $3; sys.exit($3())' "\$@"
	EOF
	dobin "${T}/$1"
}

swarm-pypi_src_compile() { :; }

EXPORT_FUNCTIONS src_compile

fi
