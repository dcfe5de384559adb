//! The root that builds start from.

use crate::trial::{Keys, Row, row};

/// Files whose content counts, by the places the document lists.
const ENVIRONMENT: [&str; 8] = [
    "env.d/below/10ours",
    "ld.so.conf.d/ours.conf",
    "python-exec/python-exec.conf",
    "eselect/ours",
    "locale.gen",
    "ld.so.conf",
    "localtime",
    "gentoo-release",
];

pub(crate) fn rows() -> Vec<Row> {
    let class = "build root: packages";
    let database = "base/var/db/pkg/key-base/stone-1";
    let fact = |what: &'static str, name: &'static str, keys| {
        row(class, what, keys, move |trial| trial.world.write(format!("{database}/{name}"), "7\n")).based()
    };
    let mut rows = vec![
        fact("BUILD_TIME of an installed package", "BUILD_TIME", Keys::All).also("surroundings: build root"),
        fact("BUILD_ID of an installed package", "BUILD_ID", Keys::All),
        fact("repository of an installed package", "repository", Keys::All),
        row(class, "another installed package", Keys::All, |trial| {
            trial.world.write("base/var/db/pkg/key-base/other-1/SLOT", "0\n");
        })
        .based(),
        row(class, "package that is being merged", Keys::None, |trial| {
            trial.world.write("base/var/db/pkg/key-base/-MERGING-other-1/SLOT", "0\n");
        })
        .based(),
        row(class, "package of dpkg", Keys::All, |trial| {
            trial.world.replace("base/var/lib/dpkg/status", "Version: 1", "Version: 2");
        })
        .based(),
        row(class, "description of a package of dpkg", Keys::None, |trial| {
            trial.world.replace("base/var/lib/dpkg/status", "Version: 1", "Section: libs\nVersion: 1");
        })
        .based(),
        row(class, "package of RPM", Keys::All, |trial| {
            trial.world.write("kit/rpms", "rpm gravel 0:1-2 x86_64\n");
        })
        .based(),
        row("build root: provided", "package.provided", Keys::All, |trial| {
            trial.etc("profile/package.provided", "key-base/ghost-1\n");
        }),
    ];
    rows.extend(ENVIRONMENT.map(|name| {
        row("build root: environment files", format!("/etc/{name} of the base"), Keys::All, move |trial| {
            trial.world.append(format!("base/etc/{name}"), "# better\n");
        })
        .based()
    }));
    rows
}
