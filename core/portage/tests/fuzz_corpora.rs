//! Replays the corpora of the fuzz targets that read Gentoo's files; a new finding is committed there.

#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../../fuzz/src/gentoo.rs"]
mod gentoo;

#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../../fuzz/src/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn gpkg_read() {
    replay("gpkg_read", gentoo::gpkg_read);
}

#[test]
fn gpkg_members() {
    replay("gpkg_members", gentoo::gpkg_members);
}

#[test]
fn interface() {
    replay("interface", gentoo::interface);
}

#[test]
fn packages_index() {
    replay("packages_index", gentoo::packages_index);
}

#[test]
fn plan_json() {
    replay("plan_json", gentoo::plan_json);
}

#[test]
fn repositories_conf() {
    replay("repositories_conf", gentoo::repositories_conf);
}
