//! What the document leaves out: every variable it names set at once, class by class.

use std::fs;
use std::process::Command;

use crate::classes;
use crate::trial::{Keys, Row, prefix, row};

/// Variables that cannot be given another value and still leave a plan of the same packages: Portage takes them from
/// elsewhere, or they are what the plan is made for.
const FIXED: [&str; 12] = [
    "ROOT",
    "EPREFIX",
    "PORTAGE_CONFIGROOT",
    "PORTAGE_BIN_PATH",
    "PORTDIR",
    "USE",
    "FEATURES",
    "USE_EXPAND",
    "USE_ORDER",
    "EAPI",
    "PORTAGE_REPOSITORIES",
    "IUSE_EFFECTIVE",
];

/// A value that Portage can read.
fn value(name: &str) -> &'static str {
    match name {
        "MAKEOPTS" | "MAKEFLAGS" | "GNUMAKEFLAGS" | "NINJAOPTS" => "-j7 -l3",
        "ACCEPT_KEYWORDS" => "amd64 ~amd64",
        "ACCEPT_LICENSE" | "ACCEPT_PROPERTIES" | "ACCEPT_RESTRICT" => "*",
        "ACCEPT_CHOSTS" => "x86_64-.*",
        "EMERGE_DEFAULT_OPTS" => "--jobs=4 --with-bdeps=n --keep-going",
        "BINPKG_FORMAT" => "xpak",
        "BINPKG_COMPRESS" => "gzip",
        "CLEAN_DELAY" => "7",
        _ => "/some/other",
    }
}

pub(crate) fn rows() -> Vec<Row> {
    let document = fs::read_to_string(classes::DOCUMENT).unwrap();
    let mut rows: Vec<Row> =
        classes::left_out(&document).into_iter().map(|(class, names)| variables(&class, &names)).collect();
    let scheduling =
        ["PORTAGE_NICENESS=\"5\"", "PORTAGE_SCHEDULING_POLICY=\"idle\"", "PORTAGE_IONICE_COMMAND=\"x\""];
    rows.extend(scheduling.map(|line| {
        row("left out: parallelism and priority", line.replace('"', ""), Keys::None, move |trial| {
            trial.make_conf(line);
        })
    }));
    let proxies = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY"];
    rows.push(row("left out: fetching", proxies.join(" "), Keys::None, move |trial| {
        proxies.iter().for_each(|name| trial.make_conf(&format!("{name}=\"http://proxy:3128\"")));
    }));
    rows.push(row(
        "left out: choice of the plan",
        "package.accept_keywords that changes nothing",
        Keys::None,
        |trial| {
            trial.etc("package.accept_keywords", "key-apps/plain ~amd64\n");
        },
    ));
    rows.push(row(
        "left out: choice of the plan",
        "package.license that changes nothing",
        Keys::None,
        |trial| {
            trial.etc("package.license", "key-apps/plain MIT\n");
        },
    ));
    rows.push(row(
        "left out: choice of the plan",
        "package.mask of what is not chosen",
        Keys::None,
        |trial| {
            trial.etc("package.mask", ">key-apps/plain-1\n");
        },
    ));
    rows.push(row(
        "left out: the tree as a whole",
        "an arch, and values of a USE_EXPAND group",
        Keys::None,
        |trial| {
            trial.world.append("overlay/profiles/arch.list", "arm64\n");
            trial.profile("make.defaults", "USE_EXPAND_VALUES_NEW=\"a b\"\n");
        },
    ));
    rows.push(row(
        "surroundings: features",
        "all other FEATURES of this Portage",
        Keys::None,
        move |trial| {
            trial.make_conf(&format!("FEATURES=\"{}\"", other_features(&document).join(" ")));
        },
    ));
    rows
}

fn variables(class: &str, names: &[String]) -> Row {
    let settable = |name: &&String| !FIXED.contains(&name.as_str());
    let names: Vec<String> = names.iter().filter(settable).map(|name| name.replace('*', "X")).collect();
    row(&format!("left out: {class}"), names.join(" "), Keys::None, move |trial| {
        for name in &names {
            trial.make_conf(&format!("{name}=\"{}\"", value(name)));
        }
    })
}

/// What this Portage supports and the document does not count.
fn other_features(document: &str) -> Vec<String> {
    let python = prefix().map_or_else(|| "/usr/bin/python3".into(), |prefix| prefix.join("bin/python3"));
    let program = "import portage.const; print(*sorted(portage.const.SUPPORTED_FEATURES))";
    let output = Command::new(python).args(["-c", program]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let counted = classes::features(document);
    let others: Vec<String> = text
        .split_whitespace()
        .filter(|name| !counted.iter().any(|c| c == name))
        .map(str::to_owned)
        .collect();
    assert!(others.len() > 40, "{others:?}");
    others
}
