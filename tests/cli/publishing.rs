//! From a finished build to a machine that installs it, and back to what was offered before.

use std::fs;

use serde_json::Value;

use super::site::{Client, Site};
use super::tiny;
use super::world::{PREPARED, PREPARED_PACKAGES, World};

const LEAF: &str = "tiny-apps/leaf-1";
/// Large enough to be a file in the store.
const WCWIDTH: &str = "dev-python/wcwidth-0.2.13";

/// A world that has published everything prepared.
fn published() -> World {
    let world = World::prepared();
    assert_eq!(world.build(&PREPARED)["built"], 0);
    let outcome = world.json(["finalize", "--json"]);
    assert_eq!(outcome["packages"], PREPARED_PACKAGES.len(), "{outcome}");
    world
}

#[test]
fn a_machine_installs_what_was_published_and_forgets_it_again() {
    let world = published();
    let site = Site::of(&world, "site");
    let client = Client::new(&world, "client");
    let set_up = client.run("setup", &[&site.url()]);
    assert!(
        set_up.out.contains("wrote section [buildswarm]") && set_up.out.contains("client remove"),
        "{set_up}"
    );
    let section = fs::read_to_string(client.path("etc/portage/binrepos.conf/buildswarm.conf")).unwrap();
    assert!(section.contains("verify-signature = true"), "{section}");
    assert!(section.contains(&format!("sync-uri = {}", site.url())), "{section}");
    assert!(world.succeed(["client", "key"]).starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"));

    let certified = client.run("certify", &PREPARED);
    assert_eq!(certified.code, Some(0), "{certified}");
    assert_eq!(certified.out, "certified: 8 of 8 packages are binary\n");
    let ran = client.install("tiny-apps/reader");
    assert_eq!(ran.code, Some(0), "{ran}");
    let ran = client.install("dev-python/tabulate");
    assert_eq!(ran.code, Some(0), "{ran}");
    for cpv in
        ["tiny-apps/reader-1", "tiny-libs/note-1", "dev-python/tabulate-0.9.0", "dev-python/wcwidth-0.2.13"]
    {
        assert!(client.has_installed(cpv), "{cpv}");
    }
    assert_eq!(fs::read_to_string(client.path("usr/share/tiny/reader")).unwrap(), "reader-1\n");

    assert_eq!(client.run("remove", &[]).code, Some(0));
    assert!(!client.path("etc/portage/binrepos.conf/buildswarm.conf").exists());
    let ran = client.install(&format!("={LEAF}"));
    assert_ne!(ran.code, Some(0), "{ran}");
    assert!(!client.has_installed(LEAF));
    let again = client.run("remove", &[]);
    assert!(again.code == Some(1) && again.err.contains("was not set up by build-swarm"), "{again}");
}

#[test]
fn what_the_index_lacks_is_named() {
    let world = published();
    let site = Site::of(&world, "site");
    let entry = site.entry("tiny-libs/note-1") + "\n\n";
    site.change_index(|text| text.replace(&entry, ""));
    let client = Client::new(&world, "client");
    client.set_up(&site);
    let ran = client.run("certify", &["tiny-apps/reader", "tiny-apps/leaf"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert_eq!(ran.out, "not certified: 2 of 3 packages are binary\n  to be built: tiny-libs/note-1\n");
    let document = client.run("certify", &["--json", "tiny-apps/reader", "tiny-apps/leaf"]);
    let document = &document.lines()[0];
    assert_eq!((&document["binary"], &document["certified"]), (&2.into(), &false.into()), "{document}");
}

/// How a package is spoiled: given a world that published it too, its bytes.
type Spoil = fn(&World, Vec<u8>) -> Vec<u8>;

/// The package that another world published: the same build, signed by another key.
fn signed_by_another(_: &World, _: Vec<u8>) -> Vec<u8> {
    let other = published();
    fs::read(Site::of(&other, "site").file(WCWIDTH)).unwrap()
}

/// The package as it came from its build.
fn unsigned(world: &World, _: Vec<u8>) -> Vec<u8> {
    let artifact = world.run(["store", "ls", "--json", "dev-python/wcwidth"]).lines().remove(0);
    let id = artifact["file"]["id"].as_str().unwrap().to_owned();
    fs::read(world.state().join("store/blobs").join(&id[..2]).join(&id[2..])).unwrap()
}

fn one_byte_flipped(_: &World, mut bytes: Vec<u8>) -> Vec<u8> {
    // Within the image: after the metadata and before the Manifest that closes the file.
    let image = bytes.windows(9).position(|name| name == b"image.tar").unwrap();
    bytes[image + 512 + 40] ^= 1;
    bytes
}

#[test]
fn emerge_refuses_what_is_not_what_was_signed() {
    let world = published();
    // Each with what emerge says of it.
    let spoils: [(&str, Spoil, &str); 3] = [
        ("flipped", one_byte_flipped, "BAD signature"),
        ("other", signed_by_another, "No public key"),
        ("unsigned", unsigned, "no valid OpenPGP data"),
    ];
    for (what, spoil, said) in spoils {
        let site = Site::of(&world, &format!("site-{what}"));
        let client = Client::new(&world, &format!("client-{what}"));
        client.set_up(&site);
        let good = fs::read(site.file(WCWIDTH)).unwrap();
        site.replace(WCWIDTH, &spoil(&world, good));
        let ran = client.install("dev-python/wcwidth");
        assert!(ran.err.contains(said), "{what}: {ran}");
        assert_ne!(ran.code, Some(0), "{what}: {ran}");
        assert!(!client.has_installed(WCWIDTH), "{what}");
        let fine = client.install("tiny-apps/other");
        assert_eq!(fine.code, Some(0), "{what}: {fine}");
    }
    // Bytes that differ from what the index says are not even looked into.
    let site = Site::of(&world, "site");
    let client = Client::new(&world, "client");
    client.set_up(&site);
    let file = site.file(WCWIDTH);
    let bytes = one_byte_flipped(&world, fs::read(&file).unwrap());
    fs::remove_file(&file).unwrap();
    fs::write(&file, bytes).unwrap();
    let ran = client.install("dev-python/wcwidth");
    assert_ne!(ran.code, Some(0), "{ran}");
    assert!(!client.has_installed(WCWIDTH));
}

/// Number and packages of what a command published.
fn published_by(world: &World, arguments: &[&str]) -> (u64, u64, bool) {
    let outcome = world.json(arguments.iter().chain(&["--json"]));
    let number = |name: &str| outcome[name].as_u64().unwrap();
    (number("generation"), number("packages"), outcome["changed"] == true)
}

fn generations(world: &World) -> Vec<u64> {
    let list = world.json(["rollback", "--list", "--json"]);
    let mut numbers: Vec<u64> = list["generations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row: &Value| row["number"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_channel_goes_forward_and_back() {
    let world = World::prepared();
    world.append("swarmd.toml", "[publish]\nkeep-generations = 3\n");
    let nothing = world.refuse(["rollback"]);
    assert!(nothing.contains("nothing was published to channel default yet"), "{nothing}");
    assert!(!world.state().join("gnupg").exists(), "a refused rollback makes no key");
    assert_eq!(world.build(&["tiny-apps/leaf"])["hits"], 1);
    assert_eq!(published_by(&world, &["finalize"]), (1, 1, true));
    assert_eq!(published_by(&world, &["finalize"]), (1, 1, false));
    assert_eq!(world.build(&["tiny-apps/reader"])["hits"], 2);
    assert_eq!(published_by(&world, &["finalize"]), (2, 3, true));
    assert_eq!(published_by(&world, &["finalize", "--only"]), (3, 2, true));
    assert_eq!(published_by(&world, &["finalize", "--run", "2"]), (4, 3, true));
    // What the third one offered, under a number of its own.
    assert_eq!(published_by(&world, &["rollback"]), (5, 2, true));
    assert_eq!(generations(&world), [3, 4, 5]);
    assert_eq!(published_by(&world, &["rollback", "--to", "4"]), (6, 3, true));
    let pruned = world.refuse(["rollback", "--to", "1"]);
    assert!(pruned.contains("channel default has no generation 1"), "{pruned}");
    let list = world.succeed(["rollback", "--list"]);
    assert!(list.contains("*    6") && !list.contains("*    5"), "{list}");
    assert_eq!(world.json(["store", "stats", "--json"])["generations"], 3);

    assert_eq!(published_by(&world, &["finalize", "--channel", "stable"]), (1, 2, true));
    assert_eq!(generations(&world), [4, 5, 6], "another channel is another");
    assert!(world.refuse(["finalize", "--channel", "no/name"]).contains("is not a channel name"));
    assert!(world.refuse(["finalize", "--run", "99"]).contains("there is no run 99"));
}

#[test]
fn what_a_channel_offers_is_kept_whatever_is_removed() {
    let world = published();
    tiny::add(&world, "tiny-apps/more-1", &format!("SLOT=\"0\"\n{}", tiny::INSTALL));
    let ran = world.run(["build", "--finalize", "tiny-apps/more"]);
    assert!(
        ran.code == Some(0) && ran.out.contains("published generation 2 of channel default, 9 packages"),
        "{ran}"
    );
    let files = |world: &World| {
        let site = Site::of(world, "site");
        PREPARED_PACKAGES.iter().all(|cpv| site.file(cpv).is_file())
    };
    assert!(world.succeed(["store", "gc", "--keep-days", "0"]).contains("freed"));
    assert!(files(&world));
    assert_eq!(world.run(["store", "verify"]).code, Some(0));
    assert_eq!(world.build(&PREPARED)["hits"], PREPARED_PACKAGES.len());
}
