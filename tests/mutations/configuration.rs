//! What `/etc/portage` and the profile say: USE, variables, features.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::classes;
use crate::specimens::add_each;
use crate::trial::{Keys, Row, Trial, row};

const ONLY_PLAIN: Keys = Keys::Of(&["key-apps/plain"]);
/// The library and all that are built with it in their root.
const BOTTOM_AND_ABOVE: Keys = Keys::Of(&["key-apps/binder", "key-apps/top", "key-libs/bottom"]);
const EXTRA: Keys = Keys::Of(&["key-apps/binder", "key-apps/plain", "key-apps/top", "key-libs/bottom"]);

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = use_flags();
    rows.extend(variables());
    rows.extend(per_package());
    rows.extend(features());
    rows
}

fn use_flags() -> Vec<Row> {
    let class = "inputs: USE";
    let etc = |what: &str, keys, file: &'static str, line: &'static str| {
        row(class, format!("{what} (/etc/portage/{file})"), keys, move |trial| {
            trial.etc(file, &format!("{line}\n"));
        })
    };
    let profile = |keys, file: &'static str, line: &'static str| {
        row(class, format!("{line} in the profile's {file}"), keys, move |trial| {
            trial.profile(file, &format!("{line}\n"));
        })
    };
    vec![
        etc("flag of a package", ONLY_PLAIN, "package.use", "key-apps/plain extra"),
        etc("flag of a package, off", ONLY_PLAIN, "package.use", "key-apps/plain -usual"),
        etc("flag that is on anyway", Keys::None, "package.use", "key-apps/plain usual"),
        etc("flag that the package does not have", Keys::None, "package.use", "key-apps/plain nonsense"),
        etc("flag for all that have it", EXTRA, "make.conf", "USE=\"extra\""),
        etc("flag that nobody has", Keys::None, "make.conf", "USE=\"nonsense\""),
        etc("forced flag", ONLY_PLAIN, "profile/package.use.force", "key-apps/plain extra"),
        profile(EXTRA, "use.force", "extra"),
        profile(ONLY_PLAIN, "use.mask", "usual"),
        profile(EXTRA, "use.stable.force", "extra"),
        profile(ONLY_PLAIN, "package.use.force", "key-apps/plain extra"),
        profile(ONLY_PLAIN, "package.use.mask", "key-apps/plain usual"),
        profile(ONLY_PLAIN, "package.use.stable.mask", "key-apps/plain usual"),
        profile(ONLY_PLAIN, "package.use.stable.force", "key-apps/plain extra"),
        profile(ONLY_PLAIN, "package.use", "key-apps/plain extra"),
        profile(EXTRA, "make.defaults", "USE=\"extra\""),
        row(class, "package.use of the repository", ONLY_PLAIN, |trial| {
            trial.world.append("overlay/profiles/package.use", "key-apps/plain extra\n");
        }),
        row(class, "LUA_TARGETS", Keys::Of(&["key-apps/targeted"]), |trial| {
            trial.world.replace("config/etc/portage/make.conf", "lua5-1 lua5-4", "lua5-4");
        }),
        row(class, "CPU_FLAGS_X86", Keys::Of(&["key-apps/vector"]), |trial| {
            trial.world.replace("config/etc/portage/make.conf", "\"sse2\"", "\"sse2 avx2\"");
        }),
        row(class, "CPU_FLAGS_X86 that no package has", Keys::None, |trial| {
            trial.world.replace("config/etc/portage/make.conf", "\"sse2\"", "\"sse2 ssse3\"");
        }),
        row(class, "package.use as a directory", Keys::None, |trial| {
            let text = fs::read_to_string(trial.world.etc("package.use")).unwrap();
            fs::remove_file(trial.world.etc("package.use")).unwrap();
            trial.etc("package.use/all", &text);
        }),
    ]
}

fn parent_profile(trial: &mut Trial<'_>) {
    trial.world.write("overlay/profiles/parent/eapi", "8\n");
    trial.profile("parent", "../../../parent\n");
}

/// Values count as Portage hands them to phases: order and white space too, since an ebuild may print them.
fn variables() -> Vec<Row> {
    let class = "surroundings: environment";
    let make_conf = |what: &'static str, keys, line: &'static str| {
        row(class, what, keys, move |trial| trial.make_conf(line))
    };
    let flags = |what: &'static str, value: &'static str, keys| {
        row(class, what, keys, move |trial| trial.make_conf(&format!("CFLAGS=\"{value}\"")))
            .given(|trial| trial.make_conf("CFLAGS=\"-O2 -pipe\""))
    };
    vec![
        flags("CFLAGS", "-O3 -pipe", Keys::All),
        flags("order of CFLAGS", "-pipe -O2", Keys::All),
        flags("white space within CFLAGS", "-O2  -pipe", Keys::All),
        flags("the same CFLAGS by another variable", "${COMMON_FLAGS}", Keys::None),
        make_conf("LDFLAGS", Keys::All, "LDFLAGS=\"-Wl,-O2\""),
        make_conf("RUSTFLAGS", Keys::All, "RUSTFLAGS=\"-C opt-level=3\""),
        make_conf("a variable that nobody knows", Keys::All, "BRANDING=\"ours\""),
        make_conf("a variable that nobody knows, empty", Keys::All, "BRANDING=\"\""),
        make_conf("CHOST", Keys::All, "CHOST=\"x86_64-ours-linux-gnu\""),
        make_conf("INSTALL_MASK", Keys::All, "INSTALL_MASK=\"/usr/share/doc\""),
        make_conf("LANG, though LC_ALL overrules it", Keys::All, "LANG=\"de_DE.UTF-8\""),
        make_conf("a comment", Keys::None, "# better"),
        make_conf("a value that is so anyway", Keys::None, "CXXFLAGS=\"-O2 -pipe\""),
        row(class, "make.conf as a directory", Keys::None, |trial| {
            let text = fs::read_to_string(trial.world.etc("make.conf")).unwrap();
            fs::remove_file(trial.world.etc("make.conf")).unwrap();
            trial.etc("make.conf/all", &text);
        }),
        row(class, "file that make.conf sources", Keys::All, |trial| {
            trial.etc("flags", "LDFLAGS=\"-Wl,-O3\"\n")
        })
        .given(|trial| {
            trial.etc("flags", "LDFLAGS=\"-Wl,-O2\"\n");
            trial.make_conf("source /etc/portage/flags");
        }),
        row(class, "make.defaults of the profile", Keys::All, |trial| {
            trial.profile("make.defaults", "BRANDING=\"ours\"\n");
        }),
        // Portage gives its variable to all packages, empty where they have none of its flags.
        row(class, "new group in USE_EXPAND", Keys::All, |trial| {
            trial.profile("make.defaults", "USE_EXPAND=\"${USE_EXPAND} NEW_TARGETS\"\n");
        }),
        row(class, "make.defaults of a parent profile", Keys::All, |trial| {
            trial.world.write("overlay/profiles/parent/make.defaults", "BRANDING=\"ours\"\n");
        })
        .given(parent_profile),
        row(class, "parent profile that says nothing", Keys::None, parent_profile),
        row(class, "profile that nobody uses", Keys::None, |trial| {
            trial.world.write("overlay/profiles/other/make.defaults", "BRANDING=\"ours\"\n");
        }),
        row(class, "/etc/profile.env of the base, made from env.d", Keys::All, |trial| {
            trial.world.append("base/etc/profile.env", "export BRANDING='ours'\n");
        })
        .based(),
    ]
}

fn per_package() -> Vec<Row> {
    let class = "surroundings: environment";
    let file = |trial: &mut Trial<'_>| {
        trial.etc("env/flags.conf", "CXXFLAGS=\"-O3\"\n");
    };
    let used = move |trial: &mut Trial<'_>| {
        file(trial);
        trial.etc("package.env", "key-apps/plain flags.conf\n");
    };
    vec![
        row(class, "CXXFLAGS of a package (package.env)", ONLY_PLAIN, |trial| {
            trial.etc("package.env", "key-apps/plain flags.conf\n");
        })
        .given(file),
        row(class, "file that package.env names", ONLY_PLAIN, |trial| {
            trial.etc("env/flags.conf", "CXXFLAGS=\"-O1\"\n");
        })
        .given(used),
        row(class, "file that no package.env names", Keys::None, file),
        row(class, "package.env of another version", Keys::None, |trial| {
            trial.etc("package.env", "=key-apps/plain-2 flags.conf\n");
        })
        .given(file),
        row("inputs: USE", "USE of a package by package.env", BOTTOM_AND_ABOVE, |trial| {
            trial.etc("env/use.conf", "USE=\"extra\"\n");
            trial.etc("package.env", "key-libs/bottom use.conf\n");
        }),
    ]
}

/// Whether this process may change owners, as root may.
fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Switches a feature of the package of its name on (`""`) or off (`"-"`), for each name.
fn switch(trial: &Trial<'_>, names: &[String], sign: &str) {
    for name in names {
        trial
            .world
            .write(format!("config/etc/portage/env/{name}.conf"), &format!("FEATURES=\"{sign}{name}\"\n"));
    }
}

fn features() -> Vec<Row> {
    let class = "surroundings: features";
    let document = fs::read_to_string(classes::DOCUMENT).unwrap();
    // In a user namespace there is nobody to drop rights to, so the machine switches it off.
    let is_possible = |name: &String| is_root() || name != "userpriv";
    let names: Vec<String> = classes::features(&document).into_iter().filter(is_possible).collect();
    assert!(names.len() > 20, "{names:?}");
    let off = names.clone();
    vec![
        row(
            class,
            format!("one of {}, each of a package of its own", names.join(" ")),
            Keys::All,
            move |trial| {
                switch(trial, &off, "-");
            },
        )
        .given(move |trial| {
            add_each(trial, &names);
            let lines = names.iter().map(|name| format!("key-apps/{name} {name}.conf\n"));
            trial.etc("package.env", &lines.collect::<String>());
            switch(trial, &names, "");
        }),
        row(class, "FEATURES in another order", Keys::None, |trial| {
            trial.make_conf("FEATURES=\"splitdebug nodoc\"");
        })
        .given(|trial| trial.make_conf("FEATURES=\"nodoc splitdebug\"")),
    ]
}
