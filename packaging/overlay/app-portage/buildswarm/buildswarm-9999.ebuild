# Copyright 2026 Gentoo Authors
# Distributed under the terms of the GNU General Public License v2

EAPI=8

RUST_MIN_VER="1.95.0"

inherit cargo git-r3 shell-completion systemd toolchain-funcs

DESCRIPTION="Content-addressed build cache and build scheduler for Gentoo"
HOMEPAGE="https://github.com/buildswarm/buildswarm"
EGIT_REPO_URI="https://github.com/buildswarm/buildswarm.git"

LICENSE="|| ( MIT Apache-2.0 )"
# Dependent crate licenses
LICENSE+=" Apache-2.0 BSD MIT Unicode-3.0 ZLIB"
SLOT="0"

RDEPEND="
	app-crypt/gnupg
	>=sys-apps/portage-3.0.50
	sys-apps/util-linux
"

QA_FLAGS_IGNORED="usr/bin/(build-swarm|swarmd)"

src_unpack() {
	git-r3_src_unpack
	cargo_live_src_unpack
}

src_compile() {
	cargo_src_compile --package buildswarm

	tc-is-cross-compiler && return
	local swarm="$(cargo_target_dir)/build-swarm" shell
	for shell in bash zsh fish; do
		"${swarm}" completions ${shell} > "${T}/build-swarm.${shell}" || die
	done
	"${swarm}" man "${T}/man" || die
}

src_test() {
	# Those that need namespaces or a Portage of their own say so and pass.
	cargo_src_test --package buildswarm-core --package buildswarm-store --package buildswarm-portage
}

src_install() {
	dobin "$(cargo_target_dir)"/{build-swarm,swarmd}
	einstalldocs
	dodoc -r docs ARCHITECTURE.md

	newinitd packaging/openrc/swarmd.initd swarmd
	newconfd packaging/openrc/swarmd.confd swarmd
	systemd_dounit packaging/systemd/swarmd.service
	keepdir /etc/swarmd/swarmd.toml.d

	if [[ -d ${T}/man ]]; then
		newbashcomp "${T}/build-swarm.bash" build-swarm
		newzshcomp "${T}/build-swarm.zsh" _build-swarm
		newfishcomp "${T}/build-swarm.fish" build-swarm.fish
		doman "${T}"/man/*.1
	fi
}
