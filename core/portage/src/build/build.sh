#!/bin/bash
# Runs inside a private root: installs the dependencies of one package, then builds it.
#
#   build.sh PACKAGE [DEPENDENCY...]     exact atoms, dependencies in the order of their installation
#
# Says in /run/buildswarm/out/step how far it came, and leaves the package below /run/buildswarm/out.
set -u
out=/run/buildswarm/out
package=$1
shift

if (( $# )); then
  echo install >"$out/step"
  # No resolver: exactly these packages, from exactly these files, in this order.
  CONFIG_PROTECT='-*' FEATURES="$FEATURES -protect-owned -collision-protect -preserve-libs -config-protect-if-modified" \
    PKGDIR=/run/buildswarm/packages \
    emerge --oneshot --nodeps --usepkgonly --color=n --quiet --ignore-default-opts -- "$@" || exit 1
fi

echo build >"$out/step"
PKGDIR=$out/packages \
  emerge --oneshot --nodeps --buildpkgonly --color=n --quiet-build=n --ignore-default-opts -- "$package" || exit 1
echo done >"$out/step"
