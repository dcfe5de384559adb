//! Which of the variables that phases get can alter what is built; `docs/address.md` gives the reasons.
//!
//! The rule is to keep what is not known: an ebuild may read any variable. Left out is only what says where
//! things are, how fast or how loudly to work, how to fetch or package, or what this machine's whole
//! repository looks like.

use std::collections::BTreeMap;

use buildswarm_core::sorted::SortedSet;

/// Packages that write into what is built with them, so that every byte of theirs counts under the policy
/// `interface`: compilers, assemblers, linkers, interpreters that compile, and generators of code.
pub const TOOLCHAIN: [&str; 38] = [
    "dev-build/autoconf",
    "dev-build/automake",
    "dev-build/libtool",
    "dev-java/openjdk",
    "dev-java/openjdk-bin",
    "dev-lang/fpc",
    "dev-lang/ghc",
    "dev-lang/go",
    "dev-lang/nasm",
    "dev-lang/ocaml",
    "dev-lang/rust",
    "dev-lang/rust-bin",
    "dev-lang/swig",
    "dev-lang/vala",
    "dev-lang/yasm",
    "dev-lang/zig",
    "dev-libs/gobject-introspection",
    "dev-libs/protobuf",
    "dev-python/cython",
    "dev-qt/qtbase",
    "dev-qt/qttools",
    "dev-util/bindgen",
    "dev-util/byacc",
    "dev-util/gdbus-codegen",
    "dev-util/glib-utils",
    "dev-util/gperf",
    "dev-util/re2c",
    "dev-util/wayland-scanner",
    "llvm-core/clang",
    "llvm-core/lld",
    "llvm-core/llvm",
    "sys-devel/binutils",
    "sys-devel/bison",
    "sys-devel/flex",
    "sys-devel/gcc",
    "sys-devel/m4",
    "sys-devel/mold",
    "sys-libs/glibc",
];

/// Names that never enter a key.
const LEFT_OUT: &[&str] = &[
    // How parallel and how urgent; the first three are empty in every build of ours.
    "GNUMAKEFLAGS",
    "MAKEFLAGS",
    "NINJAOPTS",
    "MAKEOPTS",
    "PORTAGE_IONICE_COMMAND",
    "PORTAGE_NICENESS",
    "PORTAGE_SCHEDULING_POLICY",
    "PORTAGE_SCHEDULING_PRIORITY",
    // Where: fixed in every private root, or the machine's own.
    "A",
    "D",
    "DEPCACHEDIR",
    "DISTDIR",
    "EBUILD",
    "ECLASSDIR",
    "ED",
    "EMERGE_LOG_DIR",
    "EPREFIX",
    "EROOT",
    "ESYSROOT",
    "FILESDIR",
    "HOME",
    "PATH",
    "PKGDIR",
    "PKG_LOGDIR",
    "PORTAGE_ACTUAL_DISTDIR",
    "PORTAGE_BASHRC",
    "PORTAGE_BASHRC_FILES",
    "PORTAGE_BIN_PATH",
    "PORTAGE_BUILDDIR",
    "PORTAGE_CONFIGROOT",
    "PORTAGE_DEPCACHEDIR",
    "PORTAGE_ECLASS_LOCATIONS",
    "PORTAGE_GID",
    "PORTAGE_GRPNAME",
    "PORTAGE_INST_GID",
    "PORTAGE_INST_UID",
    "PORTAGE_LOGDIR",
    "PORTAGE_LOG_FILE",
    "PORTAGE_OVERRIDE_EPREFIX",
    "PORTAGE_PYM_PATH",
    "PORTAGE_PYTHON",
    "PORTAGE_PYTHONPATH",
    "PORTAGE_TMPDIR",
    "PORTAGE_USERNAME",
    "PORTDIR",
    "PORTDIR_OVERLAY",
    "PWD",
    "ROOT",
    "RPMDIR",
    "SYSROOT",
    "T",
    "TEMP",
    "TMP",
    "TMPDIR",
    "WORKDIR",
    "BROOT",
    "DESTTREE",
    "INSDESTTREE",
    // How to fetch, ask, log and look.
    "CCACHE_DIR",
    "CCACHE_SIZE",
    "CLEAN_DELAY",
    "COLORTERM",
    "COLUMNS",
    "CONFIG_PROTECT",
    "CONFIG_PROTECT_MASK",
    "DISPLAY",
    "DISTCC_HOSTS",
    "EMERGE_DEFAULT_OPTS",
    "EMERGE_WARNING_DELAY",
    "GENTOO_MIRRORS",
    "HTTP_PROXY",
    "LINES",
    "LOGNAME",
    "NOCOLOR",
    "NO_COLOR",
    "OLDPWD",
    "PORTAGE_BINHOST",
    "PORTAGE_DEBUG",
    "PORTAGE_QUIET",
    "PORTAGE_TRUST_HELPER",
    "PORTAGE_VERBOSE",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONHASHSEED",
    "SHLVL",
    "SSH_AUTH_SOCK",
    "TERM",
    "USER",
    "XAUTHORITY",
    "ftp_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    // How to package; we package ourselves.
    "BINPKG_FORMAT",
    "PORTAGE_COMPRESSION_COMMAND",
    // What the repositories look like as a whole, and what chose the plan.
    "ACCEPT_CHOSTS",
    "ACCEPT_KEYWORDS",
    "KEYWORDS",
    "PKGUSE",
    "ACCEPT_LICENSE",
    "ACCEPT_PROPERTIES",
    "ACCEPT_RESTRICT",
    "IUSE_EFFECTIVE",
    "IUSE_IMPLICIT",
    "PORTAGE_ARCHLIST",
    "PORTAGE_INTERNAL_CALLER",
    "PORTAGE_IUSE",
    "PORTAGE_REPOSITORIES",
    "PORTAGE_REPO_NAME",
    "PORTAGE_REPO_REVISIONS",
    "PROFILE_PATHS",
    "REPO_REVISIONS",
    "USE_EXPAND",
    "USE_EXPAND_HIDDEN",
    "USE_EXPAND_IMPLICIT",
    "USE_EXPAND_UNPREFIXED",
    "USE_ORDER",
    // Fields of their own in the specification, or a consequence of these.
    "CATEGORY",
    "EAPI",
    "FEATURES",
    "P",
    "PF",
    "PN",
    "PORTAGE_FEATURES",
    "PORTAGE_USE",
    "PR",
    "PV",
    "PVR",
    "SLOT",
    "USE",
    "PORTAGE_PROPERTIES",
    "PORTAGE_RESTRICT",
    "PORTAGE_SIGPIPE_STATUS",
    "_",
];

/// Beginnings of names that never enter a key.
const LEFT_OUT_PREFIXES: &[&str] = &[
    "BASH_FUNC_",
    "BINPKG_COMPRESS",
    "BINPKG_GPG_",
    "GPG_VERIFY_",
    "FETCHCOMMAND",
    "PORTAGE_BINPKG_",
    "PORTAGE_ELOG_",
    "PORTAGE_FETCH",
    "PORTAGE_GPG_",
    "PORTAGE_RO_DISTDIRS",
    "PORTAGE_RSYNC_",
    "PORTAGE_SSH_",
    "PORTAGE_SYNC_",
    "RESUMECOMMAND",
    "USE_EXPAND_VALUES_",
];

/// `FEATURES` that alter the package a build yields (make.conf(5)).
const ALTERING_FEATURES: &[&str] = &[
    "binpkg-docompress",
    "binpkg-dostrip",
    "compress-build-logs",
    "compressdebug",
    "dedupdebug",
    "fakeroot",
    "fixlafiles",
    "force-prefix",
    "installsources",
    "nodoc",
    "noinfo",
    "noman",
    "nostrip",
    "packdebug",
    "prelink-checksums",
    "selinux",
    "split-elog",
    "splitdebug",
    "strict-keepdir",
    "stricter",
    "suidctl",
    "test",
    "test-fail-continue",
    "unprivileged",
    "userpriv",
    "xattr",
];

/// The variables that enter a key, empty ones too: `TZ=""` is another time zone than none.
#[must_use]
pub fn of_build(environment: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let left_out = |name: &str| {
        LEFT_OUT.contains(&name) || LEFT_OUT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    environment
        .iter()
        .filter(|(name, _)| !left_out(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Those of a package's `FEATURES` that enter a key.
#[must_use]
pub fn altering_features<'a>(features: impl IntoIterator<Item = &'a str>) -> SortedSet {
    features.into_iter().filter(|feature| ALTERING_FEATURES.contains(feature)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_matter_is_kept_and_what_does_not_is_left_out() {
        let variables = [
            ("CFLAGS", "-O2"),
            ("MY_OWN_SWITCH", "1"),
            ("EMPTY", ""),
            ("MAKEOPTS", "-j2"),
            ("FETCHCOMMAND_SSH", "x"),
            ("PORTAGE_ELOG_CLASSES", "warn"),
            ("USE_EXPAND_VALUES_ARCH", "amd64"),
        ];
        let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let kept: Vec<String> = of_build(&environment).into_keys().collect();
        assert_eq!(kept, ["CFLAGS", "EMPTY", "MY_OWN_SWITCH"]);
    }

    #[test]
    fn only_features_that_alter_output_count() {
        let features = altering_features(["splitdebug", "ccache", "parallel-install", "nodoc"]);
        assert_eq!(features.iter().collect::<Vec<_>>(), ["nodoc", "splitdebug"]);
    }
}
