//! What stands in the root when a package is built.

use std::fs;

use crate::trial::{Keys, Row, Trial, row};

const BOTTOM: &str = "overlay/key-libs/bottom/bottom-1.ebuild";
/// Built with the library in their root: bound to it, or by way of `middle`, which only runs with it.
const BOTTOM_AND_ABOVE: Keys = Keys::Of(&["key-apps/binder", "key-apps/top", "key-libs/bottom"]);
const MIDDLE_AND_ABOVE: Keys = Keys::Of(&["key-apps/top", "key-libs/middle"]);
const TOOL_AND_ABOVE: Keys = Keys::Of(&["key-apps/installs", "key-apps/tooled", "key-libs/tool"]);
const CHOSEN: Keys = Keys::Of(&["key-apps/top", "key-libs/selfless", "tiny-libs/note"]);
const TOP: Keys = Keys::Of(&["key-apps/top"]);

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = built();
    rows.extend(installed());
    rows.extend(requests());
    rows
}

fn newer(trial: &mut Trial<'_>, from: &str, to: &str) {
    let text = fs::read_to_string(trial.world.path(BOTTOM)).unwrap();
    trial.world.write("overlay/key-libs/bottom/bottom-2.ebuild", &text.replace(from, to));
}

fn built() -> Vec<Row> {
    let key = "dependencies: key";
    let field = "specification: dependencies";
    let top = |from: &'static str, to: &'static str| {
        move |trial: &mut Trial<'_>| trial.world.replace("overlay/key-apps/top/top-1.ebuild", from, to)
    };
    vec![
        row(key, "ebuild of a library", BOTTOM_AND_ABOVE, |trial| trial.world.append(BOTTOM, "# better\n")),
        row(key, "ebuild of a tool", TOOL_AND_ABOVE, |trial| {
            trial.world.append("overlay/key-libs/tool/tool-1.ebuild", "# better\n");
        }),
        row(key, "USE of a library", BOTTOM_AND_ABOVE, |trial| {
            trial.etc("package.use", "key-libs/bottom extra\n");
        }),
        row(key, "CFLAGS of a library", BOTTOM_AND_ABOVE, |trial| {
            trial.etc("env/flags.conf", "CFLAGS=\"-O3\"\n");
            trial.etc("package.env", "key-libs/bottom flags.conf\n");
        }),
        row("dependencies: sub-slot", "sub-slot of a library", BOTTOM_AND_ABOVE, |trial| {
            trial.world.replace(BOTTOM, "SLOT=\"0/1\"", "SLOT=\"0/2\"");
        }),
        row("dependencies: slot", "slot of a library", BOTTOM_AND_ABOVE, |trial| {
            trial.world.replace(BOTTOM, "SLOT=\"0/1\"", "SLOT=\"9/1\"");
        }),
        row("dependencies: version", "new version of a library", BOTTOM_AND_ABOVE, |trial| {
            newer(trial, "", "")
        }),
        row("dependencies: version", "revision of a library, the text stays", BOTTOM_AND_ABOVE, |trial| {
            let to = trial.world.path("overlay/key-libs/bottom/bottom-1-r1.ebuild");
            fs::rename(trial.world.path(BOTTOM), to).unwrap();
        }),
        row("dependencies: version", "new version of a library that is masked", Keys::None, |trial| {
            newer(trial, "KEYWORDS=\"amd64\"", "KEYWORDS=\"~amd64\"");
        }),
        row("dependencies: name", "choice of || ( ), made by a mask", CHOSEN, |trial| {
            trial.etc("package.mask", "key-libs/selfless\n");
        })
        .given(move |trial| {
            top("key-libs/middle", "|| ( key-libs/selfless tiny-libs/note )")(trial);
            trial.atoms.retain(|atom| atom != "key-libs/selfless");
        }),
        row(field, "dependency added", TOP, top("DEPEND=\"", "DEPEND=\"key-libs/selfless ")),
        row(field, "dependency removed", TOP, top("DEPEND=\"key-libs/middle\"\n", "")),
        row(field, "dependency moved to another class", TOP, top("DEPEND=", "BDEPEND=")).also(key),
        row(field, "dependency of a dependency removed", MIDDLE_AND_ABOVE, |trial| {
            trial.world.replace(
                "overlay/key-libs/middle/middle-1.ebuild",
                "RDEPEND=\"key-libs/bottom\"\n",
                "",
            );
        }),
        row(field, "dependency that only runs beside it", Keys::Of(&["key-apps/runner"]), |trial| {
            trial.world.replace(
                "overlay/key-apps/runner/runner-1.ebuild",
                "bottom\"",
                "bottom key-libs/tool\"",
            );
        }),
        row(field, "dependency by a flag that is off", Keys::None, |trial| {
            trial.etc("package.use", "key-apps/top -usual\n");
        }),
    ]
}

fn installed() -> Vec<Row> {
    let database = |name: &'static str, text: &'static str| {
        move |trial: &mut Trial<'_>| {
            trial.world.write(format!("base/var/db/pkg/key-base/stone-1/{name}"), text);
        }
    };
    let class = "dependencies: installed";
    let seated = Keys::Of(&["key-apps/seated"]);
    vec![
        row(class, "CFLAGS of an installed dependency", seated, database("CFLAGS", "-O3\n")).based(),
        row(class, "libraries of an installed dependency", seated, database("NEEDED.ELF.2", "a;b;c;d;e\n"))
            .based(),
        row(class, "CONTENTS of an installed dependency", Keys::None, database("CONTENTS", "dir /bin\n"))
            .based(),
        row(class, "order of installation", Keys::None, database("COUNTER", "7\n")).based(),
    ]
}

fn requests() -> Vec<Row> {
    let class = "also out";
    vec![
        row(class, "order of the atoms", Keys::None, |trial| trial.atoms.reverse()),
        row(class, "more packages asked for", Keys::Of(&["tiny-apps/other", "tiny-libs/note"]), |trial| {
            trial.atoms.extend(["tiny-apps/other", "tiny-libs/note"].map(str::to_owned));
        }),
        row(class, "fewer packages asked for", Keys::Of(&["key-apps/plain"]), |trial| {
            trial.atoms.retain(|atom| atom != "key-apps/plain");
        }),
        row(class, "only what needs it asked for", Keys::None, |trial| {
            trial.atoms.retain(|atom| !atom.starts_with("key-libs/"));
        })
        .given(|trial| trial.atoms.retain(|atom| atom != "key-libs/selfless")),
        row(class, "unrelated packages in the repository", Keys::None, |trial| {
            trial.world.append("overlay/tiny-apps/other/other-1.ebuild", "# better\n");
            trial.world.write("overlay/key-apps/new/new-1.ebuild", "EAPI=8\nSLOT=0\nDESCRIPTION=\"new\"\n");
        }),
        row(class, "place of the repository", Keys::None, |trial| {
            fs::rename(trial.world.overlay(), trial.world.path("moved")).unwrap();
            let (from, to) = (trial.world.overlay(), trial.world.path("moved"));
            let (from, to) = (from.display().to_string(), to.display().to_string());
            trial.world.replace("config/etc/portage/repos.conf", &from, &to);
            let link = trial.world.etc("make.profile");
            fs::remove_file(&link).unwrap();
            std::os::unix::fs::symlink(trial.world.path("moved/profiles/default/linux/amd64"), link).unwrap();
        }),
        row(class, "priority of the repository", Keys::None, |trial| {
            trial.world.append("config/etc/portage/repos.conf", "priority = 7\n");
        }),
        row(class, "another repository with nothing of this", Keys::None, |trial| {
            trial.world.write("third/profiles/repo_name", "third\n");
            trial.world.write("third/metadata/layout.conf", "masters =\n");
            let place = trial.world.path("third").display().to_string();
            let text = format!("\n[third]\nlocation = {place}\n");
            trial.world.append("config/etc/portage/repos.conf", &text);
        }),
        row(class, "jobs and slots", Keys::None, |trial| {
            trial.world.replace("swarmd.toml", "slots = 2", "slots = 7\njobs = 5\ntmpfs = false");
        }),
        row(class, "jobs of emerge", Keys::None, |trial| {
            trial
                .options
                .extend(["--emerge-option=--jobs=5", "--emerge-option=--load-average=3"].map(str::to_owned));
        }),
        row(class, "directories of sources and of the state", Keys::None, |trial| {
            trial.world.replace("swarmd.toml", "state = \"state\"", "state = \"elsewhere\"");
            let text = fs::read_to_string(trial.world.path("swarmd.toml")).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with("distfiles"));
            trial.world.write("swarmd.toml", &lines.map(|line| format!("{line}\n")).collect::<String>());
        }),
        row(class, "the caller's environment", Keys::None, |trial| {
            let caller = [
                ("CFLAGS", "-O3"),
                ("USE", "extra"),
                ("FEATURES", "nodoc splitdebug"),
                ("LANG", "de_DE.UTF-8"),
                ("LC_ALL", "C"),
                ("TZ", "Asia/Tokyo"),
                ("HOME", "/nowhere"),
                ("MAKEOPTS", "-j9"),
                ("BRANDING", "theirs"),
                ("PORTAGE_TMPDIR", "/nowhere"),
                ("DISTDIR", "/nowhere"),
                ("ACCEPT_KEYWORDS", "~amd64"),
                ("PORTAGE_CONFIGROOT", "/nowhere"),
                ("PYTHONHASHSEED", "7"),
                ("SOURCE_DATE_EPOCH", "7"),
            ];
            trial.environment.extend(caller.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }),
    ]
}
