//! What a package is built from: ebuild, eclasses, files, patches, hooks, sources.

use std::fs;
use std::os::unix::fs::symlink;

use crate::specimens::{MANIFEST, PACKAGES, dist};
use crate::trial::{Keys, Row, Trial, row};

const PLAIN: &str = "overlay/key-apps/plain/plain-1.ebuild";
const SOURCED: Keys = Keys::Of(&["key-apps/sourced"]);
const HEIR: Keys = Keys::Of(&["key-apps/heir"]);
const ONLY_PLAIN: Keys = Keys::Of(&["key-apps/plain"]);

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = package();
    rows.extend(eclasses());
    rows.extend(files());
    rows.extend(patches());
    rows.extend(hooks());
    rows.extend(saved_configuration());
    rows.extend(distfiles());
    rows
}

fn package() -> Vec<Row> {
    let rename = |trial: &mut Trial<'_>, to: &str| {
        let path = format!("overlay/key-apps/plain/plain-{to}.ebuild");
        fs::rename(trial.world.path(PLAIN), trial.world.path(path)).unwrap();
    };
    vec![
        row("recipe: ebuild", "a comment in an ebuild", ONLY_PLAIN, |trial| {
            trial.world.append(PLAIN, "# better\n");
        }),
        row("inputs: package", "version, the text stays", ONLY_PLAIN, move |trial| rename(trial, "2")),
        row("inputs: package", "revision, the text stays", ONLY_PLAIN, move |trial| rename(trial, "1-r1")),
        row("inputs: EAPI", "EAPI 7", ONLY_PLAIN, |trial| {
            trial.world.replace(PLAIN, "EAPI=8", "EAPI=7");
        }),
        row("inputs: slot", "slot", ONLY_PLAIN, |trial| {
            trial.world.replace(PLAIN, "SLOT=\"0\"", "SLOT=\"1\"");
        }),
        row("inputs: slot", "sub-slot", ONLY_PLAIN, |trial| {
            trial.world.replace(PLAIN, "SLOT=\"0\"", "SLOT=\"0/5\"");
        }),
        row("inputs: repository", "name of the repository", Keys::All, |trial| {
            trial.world.write("overlay/profiles/repo_name", "renamed\n");
            trial.world.replace(
                "overlay/metadata/layout.conf",
                "repo-name = swarmworld",
                "repo-name = renamed",
            );
            let text = fs::read_to_string(trial.world.etc("repos.conf")).unwrap();
            trial.world.write("config/etc/portage/repos.conf", &text.replace("swarmworld", "renamed"));
        }),
        row("inputs: recipe", "KEYWORDS of an ebuild", ONLY_PLAIN, |trial| {
            trial.world.replace(PLAIN, "KEYWORDS=\"amd64\"", "KEYWORDS=\"amd64 ~arm64\"");
        }),
        row("inputs: recipe", "metadata.xml, licences and descriptions", Keys::None, |trial| {
            trial.world.write("overlay/key-apps/plain/metadata.xml", "<pkgmetadata/>\n");
            trial.world.append("overlay/licenses/MIT", "more\n");
            trial.world.append("overlay/profiles/use.desc", "extra - More\n");
        }),
    ]
}

/// A second repository with an eclass of the first one's name.
fn second_repository(trial: &mut Trial<'_>) {
    let world = trial.world;
    world.write("second/profiles/repo_name", "second\n");
    world.write("second/metadata/layout.conf", "masters = swarmworld\n");
    world.write("second/eclass/key-inner.eclass", "# @ECLASS: key-inner.eclass\nKEY_INNER=2\n");
    let place = world.path("second").display().to_string();
    world.append("config/etc/portage/repos.conf", &format!("\n[second]\nlocation = {place}\n"));
}

fn override_eclasses(trial: &mut Trial<'_>) {
    trial.world.replace(
        "config/etc/portage/repos.conf",
        "[swarmworld]\n",
        "[swarmworld]\neclass-overrides = second\n",
    );
}

fn eclasses() -> Vec<Row> {
    vec![
        row("recipe: eclasses", "eclass", HEIR, |trial| {
            trial.world.append("overlay/eclass/key-outer.eclass", "# better\n");
        }),
        row("recipe: eclasses", "eclass that an eclass inherits", HEIR, |trial| {
            trial.world.append("overlay/eclass/key-inner.eclass", "# better\n");
        }),
        row("recipe: eclasses", "eclass that nobody inherits", Keys::None, |trial| {
            trial.world.write("overlay/eclass/key-none.eclass", "# @ECLASS: key-none.eclass\n");
        }),
        row(
            "recipe: eclasses",
            "another repository that has an eclass of the name",
            Keys::None,
            second_repository,
        ),
        row("recipe: eclasses", "eclass-overrides", HEIR, override_eclasses).given(second_repository),
        row("recipe: eclasses", "eclass of a repository that overrides", HEIR, |trial| {
            trial.world.append("second/eclass/key-inner.eclass", "# better\n");
        })
        .given(|trial| {
            second_repository(trial);
            override_eclasses(trial);
        }),
    ]
}

fn files() -> Vec<Row> {
    const FILES: &str = "overlay/key-apps/sourced/files";
    let rename = |trial: &mut Trial<'_>, from: &str, to: &str| {
        let (from, to) = (trial.world.path(FILES).join(from), trial.world.path(FILES).join(to));
        fs::rename(from, to).unwrap();
    };
    vec![
        row("recipe: files", "content of a file in FILESDIR", SOURCED, |trial| {
            trial.world.append("overlay/key-apps/sourced/files/fix.patch", "more\n");
        }),
        row("recipe: files", "content below a directory in FILESDIR", SOURCED, |trial| {
            trial.world.append("overlay/key-apps/sourced/files/deep/data", "more\n");
        }),
        row("recipe: files", "name of a file in FILESDIR", SOURCED, move |trial| {
            rename(trial, "fix.patch", "mend.patch")
        }),
        row("recipe: files", "directory of a file in FILESDIR", SOURCED, move |trial| {
            rename(trial, "deep", "deeper")
        }),
        row("recipe: files", "another file in FILESDIR", SOURCED, |trial| {
            trial.world.write("overlay/key-apps/sourced/files/new", "");
        }),
        row("recipe: files", "file removed from FILESDIR", SOURCED, |trial| {
            fs::remove_file(trial.world.path(FILES).join("fix.patch")).unwrap();
        }),
        row("recipe: files", "FILESDIR of a package that had none", ONLY_PLAIN, |trial| {
            trial.world.write("overlay/key-apps/plain/files/new", "new\n");
        }),
    ]
}

fn patch(trial: &mut Trial<'_>, path: &str, text: &str) {
    trial.world.write(format!("config/etc/portage/patches/key-apps/{path}"), text);
}

fn patches() -> Vec<Row> {
    let moves = [
        "sourced/a.patch",
        "sourced-1.2/a.patch",
        "sourced-1.2-r3/a.patch",
        "sourced:0/a.patch",
        "sourced-1.2:0/a.patch",
        "sourced-1.2-r3:0/a.diff",
    ];
    let stays = [
        "sourced:7/a.patch",
        "sourced-1.3/a.patch",
        "sourced-1.2-r2/a.patch",
        "sourced/a.txt",
        "sourced/below/a.patch",
        "nobody/a.patch",
    ];
    let add = |path: &'static str, keys| {
        row("recipe: user patches", format!("user patch {path}"), keys, move |trial| {
            patch(trial, path, "a patch\n")
        })
    };
    let mut rows: Vec<Row> = moves.map(|path| add(path, SOURCED)).into();
    rows.extend(stays.map(|path| add(path, Keys::None)));
    let two = |trial: &mut Trial<'_>| {
        patch(trial, "sourced/a.patch", "first\n");
        patch(trial, "sourced/b.patch", "second\n");
    };
    rows.push(
        row("recipe: user patches", "two user patches change places", SOURCED, move |trial| {
            patch(trial, "sourced/a.patch", "second\n");
            patch(trial, "sourced/b.patch", "first\n");
        })
        .given(two),
    );
    rows.push(
        row("recipe: user patches", "text of a user patch", SOURCED, move |trial| {
            patch(trial, "sourced/b.patch", "another\n");
        })
        .given(two),
    );
    rows.push(
        row("recipe: user patches", "user patch overruled by the one of a version", SOURCED, move |trial| {
            patch(trial, "sourced-1.2/a.patch", "another\n");
        })
        .given(two),
    );
    rows.push(
        row("recipe: user patches", "overruled user patch", Keys::None, |trial| {
            patch(trial, "sourced/a.patch", "another\n");
        })
        .given(move |trial| {
            two(trial);
            patch(trial, "sourced-1.2/a.patch", "first\n");
        }),
    );
    rows.push(row("recipe: user patches", "user patch that an empty one cancels", Keys::None, |trial| {
        patch(trial, "sourced/a.patch", "a patch\n");
        patch(trial, "sourced-1.2-r3/a.patch", "");
    }));
    rows.push(
        row("recipe: user patches", "link to a user patch instead of a copy", Keys::None, move |trial| {
            let directory = trial.world.etc("patches/key-apps/sourced");
            fs::rename(directory.join("a.patch"), trial.world.etc("a.patch")).unwrap();
            symlink(trial.world.etc("a.patch"), directory.join("a.patch")).unwrap();
        })
        .given(two),
    );
    rows
}

/// A program that Portage runs in the image after each installation phase.
fn install_hook(trial: &mut Trial<'_>) {
    trial.etc("hooks/install/mark", "#!/bin/sh\ntouch \"${D}\"/mark\n");
    crate::trial::executable(&trial.world.etc("hooks/install/mark"));
}

fn hooks() -> Vec<Row> {
    let env = |path: &'static str, keys| {
        row("recipe: hooks", format!("/etc/portage/env/{path}"), keys, move |trial| {
            trial.etc(&format!("env/{path}"), "HOOK=1\n");
        })
    };
    let package_bashrc = |trial: &mut Trial<'_>| {
        trial.world.append("overlay/metadata/layout.conf", "profile-formats = portage-2 profile-bashrcs\n");
        trial.profile("bashrc/ours", "HOOK=1\n");
        trial.profile("package.bashrc", "key-apps/plain ours\n");
    };
    vec![
        row("recipe: hooks", "/etc/portage/bashrc", Keys::All, |trial| trial.etc("bashrc", "HOOK=1\n")),
        row("recipe: hooks", "bashrc.d without a bashrc", Keys::None, |trial| {
            trial.etc("bashrc.d/ours", "HOOK=1\n")
        }),
        row("recipe: hooks", "bashrc.d beside a bashrc", Keys::All, |trial| {
            trial.etc("bashrc.d/ours", "HOOK=1\n");
        })
        .given(|trial| trial.etc("bashrc", "HOOK=1\n")),
        row("recipe: hooks", "profile.bashrc", Keys::All, |trial| {
            trial.profile("profile.bashrc", "HOOK=1\n")
        }),
        row("recipe: hooks", "package.bashrc of the profile", ONLY_PLAIN, package_bashrc),
        row("recipe: hooks", "text behind a package.bashrc", ONLY_PLAIN, |trial| {
            trial.profile("bashrc/ours", "HOOK=2\n");
        })
        .given(package_bashrc),
        row("recipe: hooks", "text of a bashrc", Keys::All, |trial| trial.etc("bashrc", "HOOK=2\n"))
            .given(|trial| trial.etc("bashrc", "HOOK=1\n")),
        env("key-apps/sourced", SOURCED),
        env("key-apps/sourced:0", SOURCED),
        env("key-apps/sourced-1.2", SOURCED),
        env("key-apps/sourced-1.2-r3", SOURCED),
        env("key-apps/sourced:7", Keys::None),
        env("key-apps/sourced-1.3", Keys::None),
        env("key-apps/nobody", Keys::None),
        row("recipe: hooks", "program in /etc/portage/hooks/install", Keys::All, install_hook),
        row("recipe: hooks", "text of a program in hooks/install", Keys::All, |trial| {
            trial.etc("hooks/install/mark", "# better\n");
            crate::trial::executable(&trial.world.etc("hooks/install/mark"));
        })
        .given(install_hook),
        row("recipe: hooks", "file in hooks/install that is no program", Keys::None, |trial| {
            trial.etc("hooks/install/README", "Programs go here.\n");
        }),
        row("recipe: QA checks", "install-qa-check.d of the repository", Keys::All, |trial| {
            trial.world.write("overlay/metadata/install-qa-check.d/10ours", "true\n");
        }),
        row("recipe: QA checks", "install-qa-check.d of another repository", Keys::None, |trial| {
            trial.world.write("second/metadata/install-qa-check.d/10ours", "true\n");
        })
        .given(second_repository),
    ]
}

fn saved_configuration() -> Vec<Row> {
    let saved = |path: &'static str, keys| {
        row("recipe: saved configuration", format!("savedconfig/{path}"), keys, move |trial| {
            trial.etc(&format!("savedconfig/{path}"), "CONFIG=y\n");
        })
    };
    vec![
        saved("key-apps/saved", Keys::Of(&["key-apps/saved"])),
        saved("key-apps/saved-1", Keys::Of(&["key-apps/saved"])),
        saved("x86_64-pc-linux-gnu/key-apps/saved", Keys::Of(&["key-apps/saved"])),
        saved("key-apps/saved/below/file", Keys::Of(&["key-apps/saved"])),
        saved("key-apps/saved-2", Keys::None),
        saved("key-apps/unsaved", Keys::None),
        saved("key-apps/plain", Keys::None),
        row(
            "recipe: saved configuration",
            "text of a saved configuration",
            Keys::Of(&["key-apps/saved"]),
            |trial| {
                trial.etc("savedconfig/key-apps/saved", "OTHER=y\n");
            },
        )
        .given(|trial| trial.etc("savedconfig/key-apps/saved", "CONFIG=y\n")),
    ]
}

fn distfiles() -> Vec<Row> {
    let class = "inputs: distfiles";
    let replace =
        |from: String, to: String| move |trial: &mut Trial<'_>| trial.world.replace(MANIFEST, &from, &to);
    let digits = |digit: char| digit.to_string().repeat(128);
    vec![
        row(class, "size of a source", SOURCED, replace("one.tar 10".into(), "one.tar 11".into())),
        row(class, "BLAKE2B of a source", SOURCED, replace(digits('1'), digits('4'))),
        row(class, "SHA512 of a source", SOURCED, replace(digits('a'), digits('e'))),
        row(
            class,
            "a hash taken from the Manifest",
            SOURCED,
            replace(format!(" SHA512 {}", digits('a')), String::new()),
        ),
        row(class, "a hash of another kind in the Manifest", Keys::None, |trial| {
            let line = dist("one.tar", 10, '1', 'a');
            let more = format!("{} SHA256 {}\n", line.trim_end(), "f".repeat(64));
            trial.world.replace(MANIFEST, &line, &more);
        }),
        row(
            class,
            "source that USE does not select",
            Keys::None,
            replace("two.tar 20".into(), "two.tar 21".into()),
        ),
        row(class, "source that USE selects", SOURCED, replace("two.tar 20".into(), "two.tar 21".into()))
            .given(|trial| trial.etc("package.use", "key-apps/sourced bundled\n")),
        row(class, "source of no ebuild here", Keys::None, replace("old.tar 5".into(), "old.tar 6".into())),
        row(class, "order of the Manifest's lines", Keys::None, |trial| {
            let text = fs::read_to_string(trial.world.path(MANIFEST)).unwrap();
            let lines: Vec<&str> = text.lines().rev().collect();
            trial.world.write(MANIFEST, &(lines.join("\n") + "\n"));
        }),
        row("also out", "times of all files", Keys::None, |trial| {
            for name in PACKAGES {
                let directory = trial.world.path(format!("overlay/{name}"));
                for entry in fs::read_dir(directory).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_file() {
                        trial.world.append(path.strip_prefix(trial.world.path("")).unwrap(), "");
                    }
                }
            }
            trial.world.append("overlay/eclass/key-inner.eclass", "");
        }),
    ]
}
