//! The canonical form of a specification: pinned to the byte, one form for a value, one value for a form.

use proptest::prelude::*;

use super::difference::{DependencyVersion, Difference, differences};
use super::*;
use crate::address::exact_key;

fn digest(seed: u8) -> Digest {
    Digest::from_bytes([seed; Digest::LEN])
}

fn map<V: Clone>(pairs: &[(&str, V)]) -> BTreeMap<String, V> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn dependency(package: &str, classes: DependencyClasses, identity: DependencyIdentity) -> Dependency {
    Dependency { package: package.parse().unwrap(), slot: "0".parse().unwrap(), classes, identity }
}

fn built(seed: u8) -> DependencyIdentity {
    DependencyIdentity::Built(BuildKey::from_digest(digest(seed)))
}

fn minimal() -> BuildSpec {
    BuildSpec {
        inputs: BuildInputs {
            package: "app-misc/hello-2.10".parse().unwrap(),
            slot: "0".parse().unwrap(),
            repository: "gentoo".to_owned(),
            eapi: "8".to_owned(),
            recipe: Recipe {
                ebuild: digest(1),
                eclasses: BTreeMap::new(),
                files: BTreeMap::new(),
                patches: vec![],
                hooks: vec![],
                qa_checks: BTreeMap::new(),
                saved_config: BTreeMap::new(),
            },
            distfiles: BTreeMap::new(),
            use_flags: BTreeSet::new(),
            environment: BTreeMap::new(),
            features: BTreeSet::new(),
            toolchain: BTreeMap::new(),
            build_root: digest(2),
        },
        dependencies: vec![],
    }
}

/// Every field filled, and not with the same as another.
fn full() -> BuildSpec {
    let mut spec = minimal();
    let inputs = &mut spec.inputs;
    inputs.package = "net-misc/curl-8.9.1-r3".parse().unwrap();
    inputs.slot = "0/4".parse().unwrap();
    inputs.recipe = Recipe {
        ebuild: digest(3),
        eclasses: map(&[("autotools", digest(4)), ("multilib", digest(5))]),
        files: map(&[("curl-prefix.patch", digest(6))]),
        patches: vec![("b.patch".to_owned(), digest(7)), ("a.patch".to_owned(), digest(8))],
        hooks: vec![("bashrc".to_owned(), digest(9)), ("env".to_owned(), digest(10))],
        qa_checks: map(&[("05prefix", digest(11))]),
        saved_config: map(&[("net-misc/curl", digest(12))]),
    };
    let hashes = map(&[("BLAKE2B", "00ff".repeat(32)), ("SHA512", "11ee".repeat(32))]);
    inputs.distfiles = map(&[("curl-8.9.1.tar.xz", Distfile { size: 2_782_364, hashes })]);
    inputs.use_flags = set(&["ssl", "http2", "curl_ssl_openssl"]);
    inputs.environment =
        map(&[("CFLAGS", "-O2 -pipe".to_owned()), ("CHOST", "x86_64-pc-linux-gnu".to_owned())]);
    inputs.features = set(&["splitdebug"]);
    inputs.toolchain = map(&[("cc", "gcc 15.1.0".to_owned()), ("libc", "glibc 2.41".to_owned())]);
    spec.dependencies = vec![
        dependency(
            "dev-libs/popt-1.19",
            DependencyClasses::DEPEND.union(DependencyClasses::RDEPEND),
            built(13),
        ),
        dependency(
            "dev-build/make-4.4.1",
            DependencyClasses::BDEPEND,
            DependencyIdentity::Installed(digest(14)),
        ),
    ];
    spec
}

/// Changes one field, told by its number; returns how a person is told of it, and nothing past the last field.
fn mutate(spec: &mut BuildSpec, field: usize) -> Option<&'static str> {
    let inputs = &mut spec.inputs;
    let recipe = &mut inputs.recipe;
    let named = || ("zz".to_owned(), digest(99));
    Some(match field {
        0 => {
            inputs.package = format!("{}0", inputs.package).replace("-r30", "-r31").parse().unwrap();
            "version"
        }
        1 => {
            inputs.slot = "7/zz".parse().unwrap();
            "slot"
        }
        2 => {
            inputs.repository.push('z');
            "repository"
        }
        3 => {
            inputs.eapi.push('z');
            "EAPI"
        }
        4 => {
            recipe.ebuild = digest(99);
            "ebuild"
        }
        5 => {
            recipe.eclasses.extend([named()]);
            "eclass zz"
        }
        6 => {
            recipe.files.extend([named()]);
            "file zz"
        }
        7 => {
            recipe.patches.push(named());
            "user patch zz"
        }
        8 => {
            recipe.hooks.push(named());
            "hook zz"
        }
        9 => {
            recipe.qa_checks.extend([named()]);
            "QA check zz"
        }
        10 => {
            recipe.saved_config.extend([named()]);
            "saved configuration zz"
        }
        11 => {
            inputs.distfiles.insert("zz".to_owned(), Distfile { size: 9, hashes: BTreeMap::new() });
            "distfile zz"
        }
        12 => {
            inputs.use_flags.insert("zz".to_owned());
            "USE +zz"
        }
        13 => {
            inputs.environment.insert("ZZ".to_owned(), "1".to_owned());
            "ZZ added"
        }
        14 => {
            inputs.features.insert("zz".to_owned());
            "FEATURES zz"
        }
        15 => {
            inputs.toolchain.insert("zz".to_owned(), "1".to_owned());
            "tool zz"
        }
        16 => {
            inputs.build_root = digest(99);
            "build root"
        }
        17 => {
            spec.dependencies.push(dependency("zz/zz-1", DependencyClasses::DEPEND, built(99)));
            "dependency zz/zz-1 added"
        }
        _ => return None,
    })
}

const FIELDS: usize = 18;

#[test]
fn keys_and_sizes_are_pinned() {
    // A change here changes every address in every store: it takes a new context and a new format number.
    let minimal = minimal();
    assert_eq!(
        exact_key(&minimal).to_string(),
        "2d98f93ff49eac70f9bf8a39c6325069d8eaf6b5fe3da53bb5c48b69837e0580"
    );
    assert_eq!(minimal.encode().len(), 249);
    let full = full();
    assert_eq!(
        exact_key(&full).to_string(),
        "de6a31386b27600332cee690bf716ace7ec1a98c60f3088167d22be1ab75cc21"
    );
    assert_eq!(full.encode().len(), 1389);
}

#[test]
fn the_first_bytes_are_pinned() {
    let bytes = minimal().encode();
    let start =
        [&[1, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 19, 0, 0, 0][..], b"app-misc/hello-2.10"].concat();
    assert_eq!(bytes[..start.len()], start);
    // The slot is written out, whichever way it was written.
    let slot = [3, 3, 0, 0, 0, b'0', b'/', b'0'];
    assert_eq!(bytes[start.len()..start.len() + slot.len()], slot);
}

#[test]
fn order_counts_where_it_reaches_the_build_and_nowhere_else() {
    let key = exact_key(&full());
    let mut spec = full();
    spec.dependencies.reverse();
    assert_eq!(exact_key(&spec), key);
    spec.dependencies.push(spec.dependencies[0].clone());
    assert_eq!(exact_key(&spec), key, "the same dependency twice is one");
    for field in 0..2 {
        let mut spec = full();
        let recipe = &mut spec.inputs.recipe;
        if field == 0 {
            recipe.patches.reverse()
        } else {
            recipe.hooks.reverse()
        }
        assert_ne!(exact_key(&spec), key);
        let shown: Vec<_> = differences(&full(), &spec).iter().map(ToString::to_string).collect();
        let expected = [
            r#"user patch order "b.patch a.patch" → "a.patch b.patch""#,
            r#"hook order "bashrc env" → "env bashrc""#,
        ];
        assert_eq!(shown, [expected[field]]);
    }
}

#[test]
fn every_field_reaches_the_key_and_is_named_when_it_differs() {
    for spec in [minimal(), full()] {
        assert_eq!(differences(&spec, &spec), []);
        for field in 0..FIELDS {
            let mut other = spec.clone();
            let named = mutate(&mut other, field).unwrap();
            assert_ne!(exact_key(&other), exact_key(&spec), "{named}");
            let found: Vec<_> = differences(&spec, &other).iter().map(ToString::to_string).collect();
            assert_eq!(found.len(), 1, "{named}: {found:?}");
            assert!(found[0].starts_with(named), "{named}: {found:?}");
        }
    }
    assert_eq!(mutate(&mut minimal(), FIELDS), None);
}

#[test]
fn an_identity_in_the_root_is_not_taken_for_a_key() {
    let mut spec = full();
    spec.dependencies[0].identity = DependencyIdentity::Installed(digest(13));
    assert_ne!(spec.encode(), full().encode());
}

#[test]
fn differences_read_as_a_person_would_say_them() {
    let changed = |kind, name: &str, before: Option<&str>, after: Option<&str>| Difference::Changed {
        kind,
        name: name.to_owned(),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
    };
    let version = |version: &str, slot: &str, seed| {
        let key = BuildKey::from_digest(digest(seed));
        let (version, slot) = (version.to_owned(), slot.to_owned());
        Some(DependencyVersion {
            version,
            slot,
            key: Some(key),
            identity: digest(seed),
            classes: vec!["DEPEND"],
        })
    };
    let in_root = |seed| {
        let (version, slot) = ("1.18".to_owned(), "0/0".to_owned());
        Some(DependencyVersion { version, slot, key: None, identity: digest(seed), classes: vec!["BDEPEND"] })
    };
    let popt = |before, after| Difference::Dependency { package: "dev-libs/popt".to_owned(), before, after };
    let texts = [
        (Difference::Use { flag: "ssl".to_owned(), enabled: true }, "USE +ssl"),
        (Difference::Use { flag: "ssl".to_owned(), enabled: false }, "USE -ssl"),
        (changed("variable", "CFLAGS", Some("-O2"), Some("-O3")), r#"CFLAGS "-O2" → "-O3""#),
        (changed("variable", "LDFLAGS", None, Some("-s")), "LDFLAGS added (-s)"),
        (changed("ebuild", "", Some("aa"), Some("bb")), r#"ebuild "aa" → "bb""#),
        (changed("eclass", "toolchain-funcs", Some("aa"), None), "eclass toolchain-funcs removed"),
        (changed("FEATURES", "splitdebug", None, Some("")), "FEATURES splitdebug added"),
        (popt(version("1.18", "0/0", 1), version("1.19", "0/0", 2)), "dependency dev-libs/popt 1.18 → 1.19"),
        (
            popt(version("1.18", "0/0", 1), version("1.18", "0/1", 2)),
            "dependency dev-libs/popt slot 0/0 → 0/1",
        ),
        (
            popt(version("1.18", "0/0", 1), version("1.18", "0/0", 2)),
            "dependency dev-libs/popt is another build",
        ),
        (popt(in_root(1), in_root(2)), "dependency dev-libs/popt differs in the build root"),
        (
            popt(in_root(1), version("1.18", "0/0", 1)),
            "dependency dev-libs/popt is needed as DEPEND, before as BDEPEND",
        ),
        (popt(None, version("1.19", "0/0", 2)), "dependency dev-libs/popt-1.19 added"),
        (popt(version("1.18", "0/0", 1), None), "dependency dev-libs/popt-1.18 removed"),
    ];
    for (difference, text) in texts {
        assert_eq!(difference.to_string(), text);
    }
}

fn any_digest() -> impl Strategy<Value = Digest> {
    // Few, so that equal ones meet.
    (0..4u8).prop_map(digest)
}

fn any_digests() -> impl Strategy<Value = BTreeMap<String, Digest>> {
    prop::collection::btree_map(".{0,3}", any_digest(), 0..3)
}

fn any_texts() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(".{0,3}", ".{0,3}", 0..3)
}

fn any_names() -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set(".{0,3}", 0..3)
}

fn any_recipe() -> impl Strategy<Value = Recipe> {
    let ordered = || prop::collection::vec((".{0,3}", any_digest()), 0..3);
    (any_digest(), any_digests(), any_digests(), ordered(), ordered(), any_digests(), any_digests()).prop_map(
        |(ebuild, eclasses, files, patches, hooks, qa_checks, saved_config)| Recipe {
            ebuild,
            eclasses,
            files,
            patches,
            hooks,
            qa_checks,
            saved_config,
        },
    )
}

fn any_dependency() -> impl Strategy<Value = Dependency> {
    ("[a-c]", 0..3u8, 0..64u8, any_digest(), any::<bool>()).prop_map(
        |(name, version, classes, digest, is_built)| {
            let identity = if is_built {
                DependencyIdentity::Built(BuildKey::from_digest(digest))
            } else {
                DependencyIdentity::Installed(digest)
            };
            dependency(&format!("x/{name}-{version}"), DependencyClasses(classes), identity)
        },
    )
}

prop_compose! {
    fn any_spec()(
        version in 0..3u8,
        slot in "[0-2](/[0-2])?",
        (repository, eapi) in (".{0,4}", "[0-9]"),
        recipe in any_recipe(),
        distfiles in prop::collection::btree_map(".{0,3}", (any::<u64>(), any_texts()), 0..3),
        (use_flags, features) in (any_names(), any_names()),
        (environment, toolchain) in (any_texts(), any_texts()),
        build_root in any_digest(),
        dependencies in prop::collection::vec(any_dependency(), 0..5),
    ) -> BuildSpec {
        let distfiles = distfiles
            .into_iter()
            .map(|(name, (size, hashes))| (name, Distfile { size, hashes }))
            .collect();
        BuildSpec {
            inputs: BuildInputs {
                package: format!("x/y-{version}").parse().unwrap(),
                slot: slot.parse().unwrap(),
                repository, eapi, recipe, distfiles, use_flags, environment, features, toolchain, build_root,
            },
            dependencies,
        }
    }
}

/// Dependencies in the order in which they are encoded.
fn normal(mut spec: BuildSpec) -> BuildSpec {
    spec.dependencies.sort_by_cached_key(Dependency::encode);
    spec.dependencies.dedup();
    spec
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(spec in any_spec()) {
        let bytes = spec.encode();
        let decoded = BuildSpec::decode(&bytes).unwrap();
        prop_assert_eq!(decoded.encode(), bytes);
        prop_assert_eq!(decoded, normal(spec));
    }

    #[test]
    fn specifications_are_equal_where_their_bytes_are(a in any_spec(), b in any_spec()) {
        prop_assert_eq!(a.encode() == b.encode(), normal(a) == normal(b));
    }

    #[test]
    fn any_one_field_moves_the_bytes(spec in any_spec(), field in 0..FIELDS) {
        let mut other = spec.clone();
        mutate(&mut other, field);
        // A generated value may happen to be the mutated one.
        prop_assert_eq!(normal(other.clone()) == normal(spec.clone()), other.encode() == spec.encode());
    }

    #[test]
    fn only_the_canonical_form_is_decoded(
        spec in any_spec(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..4),
    ) {
        let mut bytes = spec.encode();
        for (at, byte, kind) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes[at] = bytes[at].wrapping_add(1),
                2 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        if let Ok(decoded) = BuildSpec::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }
}
