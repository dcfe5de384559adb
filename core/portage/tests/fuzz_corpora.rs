//! Replays the corpora of the fuzz targets that read Gentoo's files; a new finding is committed there.

use std::fs;

#[expect(unreachable_pub, reason = "a module of the fuzz package, where it is public")]
#[path = "../../../fuzz/src/gentoo.rs"]
mod gentoo;

fn replay(target: &str, run: fn(&[u8])) {
    let directory = format!("{}/../../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut inputs = 0;
    for entry in fs::read_dir(&directory).expect("the target has a corpus") {
        let path = entry.expect("it can be listed").path();
        println!("{}", path.display());
        run(&fs::read(path).expect("it can be read"));
        inputs += 1;
    }
    assert!(inputs > 0, "{directory} is empty");
    // What no corpus needs to hold.
    run(b"");
    run(&[0; 64]);
    run(&[0xff; 64]);
}

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
