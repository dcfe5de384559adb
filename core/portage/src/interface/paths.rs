//! Which paths of an image a build of something else never reads.
//!
//! In any doubt a path counts: what is left out wrongly gives a wrong hit, what counts wrongly a rebuild.

/// How the file at a path counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Treatment {
    /// Not at all.
    LeftOut,
    /// By its whole content, whatever it is.
    Whole,
    /// By what of it can reach a build.
    Reduced,
}

/// Where files are left out: the beginning of their path, with its final slash, and the reason.
pub const LEFT_OUT_BELOW: [(&str, &str); 12] = [
    ("usr/lib/debug/", "separate debug information, for debuggers"),
    ("usr/src/debug/", "sources as debuggers show them"),
    ("usr/share/applications/", "menu entries"),
    ("usr/share/appdata/", "descriptions for software centres"),
    ("usr/share/bash-completion/completions/", "completions, for interactive shells"),
    ("usr/share/doc/", "documentation"),
    ("usr/share/fish/vendor_completions.d/", "completions, for interactive shells"),
    ("usr/share/gtk-doc/", "documentation"),
    ("usr/share/info/", "documentation"),
    ("usr/share/man/", "documentation"),
    ("usr/share/metainfo/", "descriptions for software centres"),
    ("usr/share/zsh/site-functions/", "completions, for interactive shells"),
];

/// Suffixes that count below [`LEFT_OUT_BELOW`] all the same: indexes which documentation tools read when they
/// build documentation that refers to this one (Doxygen, Qt, Sphinx, GTK-Doc).
pub const DOCUMENTATION_INDEXES: [&str; 8] =
    [".devhelp", ".devhelp2", ".index", ".inv", ".qch", ".sgml", ".tag", ".tags"];

const DOCUMENTATION: [&str; 2] = ["usr/share/doc/", "usr/share/gtk-doc/"];

pub(super) fn treatment(path: &str) -> Treatment {
    let is_index = || {
        DOCUMENTATION.iter().any(|directory| path.starts_with(directory))
            && DOCUMENTATION_INDEXES.iter().any(|suffix| path.ends_with(suffix))
    };
    let is_left_out = LEFT_OUT_BELOW.iter().any(|(beginning, _)| path.starts_with(beginning))
        || is_message_catalogue(path)
        || is_application_icon(path);
    if is_left_out && !is_index() {
        Treatment::LeftOut
    } else if path.starts_with("usr/src/") {
        // The kernel's tree: modules are built with the programs and objects in it.
        Treatment::Whole
    } else {
        Treatment::Reduced
    }
}

/// `usr/share/locale/de/LC_MESSAGES/hello.mo`: builds run in the C locale or read what they translate from
/// `.po` files.
fn is_message_catalogue(path: &str) -> bool {
    path.strip_prefix("usr/share/locale/")
        .and_then(|rest| rest.split_once('/'))
        .is_some_and(|(_, rest)| rest.starts_with("LC_MESSAGES/") && rest.ends_with(".mo"))
}

/// `usr/share/icons/hicolor/48x48/apps/hello.png`: shown in menus. Icons of other kinds belong to themes, which
/// may be embedded.
fn is_application_icon(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts.as_slice(), ["usr", "share", "icons", "hicolor", _, "apps", _, ..])
}

/// Whether programs are kept where this path is.
pub(super) fn is_place_of_programs(path: &str) -> bool {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    directory.split('/').any(|part| matches!(part, "bin" | "sbin" | "libexec"))
}

/// The source a Python bytecode file is compiled from: `a/__pycache__/b.cpython-313.opt-1.pyc` from `a/b.py`
/// (PEP 3147, PEP 488), `a/b.pyc` from `a/b.py`.
pub(super) fn python_source(path: &str) -> Option<String> {
    let stem = path.strip_suffix(".pyc")?;
    let (directory, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let cached = match directory {
        "__pycache__" => Some(""),
        _ => directory.strip_suffix("/__pycache__"),
    };
    let Some(parent) = cached else { return Some(format!("{stem}.py")) };
    let name = match name.rsplit_once('.') {
        Some((before, level)) if level.starts_with("opt-") => before,
        _ => name,
    };
    let (module, _tag) = name.rsplit_once('.')?;
    let slash = if parent.is_empty() { "" } else { "/" };
    Some(format!("{parent}{slash}{module}.py"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documentation_is_left_out_and_what_builds_read_of_it_is_not() {
        for path in [
            "usr/share/doc/foo-1.0/README.bz2",
            "usr/share/man/man3/foo.3",
            "usr/share/locale/de/LC_MESSAGES/foo.mo",
            "usr/share/icons/hicolor/48x48/apps/foo.png",
            "usr/lib/debug/usr/lib64/libfoo.so.1.debug",
            "usr/src/debug/cat/foo-1.0/foo.c",
        ] {
            assert_eq!(treatment(path), Treatment::LeftOut, "{path}");
        }
        for path in [
            "usr/include/foo.h",
            "usr/share/doc",
            "usr/share/docbook/foo.xml",
            "usr/share/doc/foo-1.0/html/foo.tag",
            "usr/share/gtk-doc/html/foo/foo.devhelp2",
            "usr/share/locale/locale.alias",
            "usr/share/icons/hicolor/index.theme",
            "usr/share/bash-completion/bash_completion",
            "opt/usr/share/doc/foo",
        ] {
            assert_eq!(treatment(path), Treatment::Reduced, "{path}");
        }
        assert_eq!(treatment("usr/src/linux-6.12/vmlinux"), Treatment::Whole);
    }

    #[test]
    fn bytecode_is_traced_to_its_source() {
        for (path, source) in [
            ("a/__pycache__/b.cpython-313.pyc", Some("a/b.py")),
            ("a/__pycache__/b.cpython-313.opt-2.pyc", Some("a/b.py")),
            ("a/__pycache__/b.c.pypy310.pyc", Some("a/b.c.py")),
            ("__pycache__/b.cpython-313.pyc", Some("b.py")),
            ("a/b.pyc", Some("a/b.py")),
            ("a/__pycache__/b.pyc", None),
            ("a/b.py", None),
        ] {
            assert_eq!(python_source(path).as_deref(), source, "{path}");
        }
    }

    #[test]
    fn programs_have_their_places() {
        assert!(is_place_of_programs("usr/bin/a") && is_place_of_programs("usr/lib/llvm/19/bin/a"));
        assert!(!is_place_of_programs("usr/lib/bin") && !is_place_of_programs("usr/lib/firmware/a.elf"));
    }
}
