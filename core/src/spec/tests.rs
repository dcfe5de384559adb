//! The canonical form of a specification: pinned to the byte, one form for a value, one value for a form.

use std::collections::BTreeSet;
use std::fmt;

use proptest::prelude::*;

use super::difference::{DependencyVersion, Difference, differences};
use super::*;
use crate::address::{exact_key, reuse_key};
use crate::canonical::Encoder;

fn digest(seed: u8) -> Digest {
    Digest::from_bytes([seed; Digest::LEN])
}

fn map<V: Clone, C: FromIterator<(String, V)>>(pairs: &[(&str, V)]) -> C {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

fn set(names: &[&str]) -> SortedSet {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn dependency(package: &str, classes: DependencyClasses, identity: Identity) -> Dependency {
    let package: Cpv = package.parse().unwrap();
    Dependency {
        name: package.cp().to_owned(),
        version: Some(package.version().to_owned()),
        slot: "0".to_owned(),
        sub_slot: Some("0".to_owned()),
        classes,
        identity,
    }
}

fn built(seed: u8) -> Identity {
    Identity::Built(BuildKey::from_digest(digest(seed)))
}

fn key(spec: &BuildSpec) -> Digest {
    match spec.policy {
        Policy::Exact => *exact_key(spec).digest(),
        Policy::Interface | Policy::Slot => *reuse_key(spec).digest(),
    }
}

fn minimal() -> BuildSpec {
    BuildSpec {
        policy: Policy::Exact,
        inputs: BuildInputs {
            package: "app-misc/hello-2.10".parse().unwrap(),
            slot: "0".parse().unwrap(),
            repository: "gentoo".to_owned(),
            eapi: "8".to_owned(),
            recipe: Recipe {
                ebuild: digest(1),
                eclasses: SortedMap::default(),
                files: SortedMap::default(),
                patches: vec![],
                hooks: vec![],
                qa_checks: SortedMap::default(),
                saved_config: SortedMap::default(),
            },
            distfiles: SortedMap::default(),
            use_flags: SortedSet::default(),
            surroundings: Arc::new(Surroundings {
                environment: BTreeMap::new(),
                features: SortedSet::default(),
                toolchain: BTreeMap::new(),
                build_root: digest(2),
            }),
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
    let surroundings = Arc::make_mut(&mut inputs.surroundings);
    surroundings.environment =
        map(&[("CFLAGS", "-O2 -pipe".to_owned()), ("CHOST", "x86_64-pc-linux-gnu".to_owned())]);
    surroundings.features = set(&["splitdebug"]);
    surroundings.toolchain = map(&[("cc", "gcc 15.1.0".to_owned()), ("libc", "glibc 2.41".to_owned())]);
    spec.dependencies = vec![
        dependency(
            "dev-libs/popt-1.19",
            DependencyClasses::DEPEND.union(DependencyClasses::RDEPEND),
            built(13),
        ),
        dependency("dev-build/make-4.4.1", DependencyClasses::BDEPEND, Identity::Installed(digest(14))),
    ];
    spec
}

/// Every field of a dependency filled as the policy `interface` fills them.
fn reuse() -> BuildSpec {
    let mut spec = full();
    spec.policy = Policy::Interface;
    let tool = Some(Tool { use_flags: set(&["doc"]), sources: digest(15) });
    let reach = |interface, payload, tool| Identity::Reach(Reach { interface, payload, tool });
    spec.dependencies = vec![
        Dependency {
            version: None,
            sub_slot: None,
            ..dependency(
                "dev-libs/popt-1.19",
                DependencyClasses::CLOSURE,
                reach(Some(digest(16)), None, None),
            )
        },
        dependency("dev-util/scdoc-1", DependencyClasses::TOOL, reach(Some(digest(17)), None, tool)),
        dependency("sys-devel/gcc-15", DependencyClasses::BDEPEND, reach(None, Some(digest(18)), None)),
        dependency("dev-build/make-4.4.1", DependencyClasses::BDEPEND, Identity::Installed(digest(14))),
    ];
    spec
}

/// Changes one field, told by its number; returns how a person is told of it, and nothing past the last field.
fn mutate(spec: &mut BuildSpec, field: usize) -> Option<&'static str> {
    // A field added to a type has to be added here: one that is named and not used does not pass clippy.
    let BuildSpec { policy, inputs, dependencies } = spec;
    let BuildInputs { package, slot, repository, eapi, recipe, distfiles, use_flags, surroundings } = inputs;
    let Surroundings { environment, features, toolchain, build_root } = Arc::make_mut(surroundings);
    let Recipe { ebuild, eclasses, files, patches, hooks, qa_checks, saved_config } = recipe;
    let named = || ("zz".to_owned(), digest(99));
    Some(match field {
        0 => {
            *package = format!("{package}0").replace("-r30", "-r31").parse().unwrap();
            "version"
        }
        1 => {
            *slot = "7/zz".parse().unwrap();
            "slot"
        }
        2 => {
            repository.push('z');
            "repository"
        }
        3 => {
            eapi.push('z');
            "EAPI"
        }
        4 => {
            *ebuild = digest(99);
            "ebuild"
        }
        5 => {
            eclasses.extend([named()]);
            "eclass zz"
        }
        6 => {
            files.extend([named()]);
            "file zz"
        }
        7 => {
            patches.push(named());
            "user patch zz"
        }
        8 => {
            hooks.push(named());
            "hook zz"
        }
        9 => {
            qa_checks.extend([named()]);
            "QA check zz"
        }
        10 => {
            saved_config.extend([named()]);
            "saved configuration zz"
        }
        11 => {
            distfiles.extend([("zz".to_owned(), Distfile { size: 9, hashes: SortedMap::default() })]);
            "distfile zz"
        }
        12 => {
            use_flags.extend(["zz".to_owned()]);
            "USE +zz"
        }
        13 => {
            environment.insert("ZZ".to_owned(), "1".to_owned());
            "ZZ added"
        }
        14 => {
            features.extend(["zz".to_owned()]);
            "FEATURES zz"
        }
        15 => {
            toolchain.insert("zz".to_owned(), "1".to_owned());
            "tool zz"
        }
        16 => {
            *build_root = digest(99);
            "build root"
        }
        17 => {
            dependencies.push(dependency("zz/zz-1", DependencyClasses::DEPEND, built(99)));
            "dependency zz/zz-1 added"
        }
        18 => {
            *policy = Policy::Slot;
            "policy"
        }
        _ => return None,
    })
}

const FIELDS: usize = 19;

#[test]
fn keys_and_sizes_are_pinned() {
    // A change here changes every address in every store: it takes a new context and a new format number.
    let vectors = include_str!("../../../tests/address/vectors.json");
    let pinned = [
        (minimal(), 269, "cd25275d00a28a16ca5d2b857547351c43ef7bb96588d24493fc91a7286be13c"),
        (full(), 1397, "032220977e82f8f9b1ff098531bfdb5de01bc8ee888aeffdb6ecece2e4b0650d"),
        (reuse(), 1622, "21925f36131f7c7f4393330354ccdda6245258d8e258f5c4f8bc476f6d8321d6"),
        (
            BuildSpec { policy: Policy::Slot, ..reuse() },
            1617,
            "3ab41740c0b13dc27bc3f6bd64573899832dbc4cba0078ee8aeaf30790b2165b",
        ),
    ];
    for (spec, len, expected) in pinned {
        assert_eq!((spec.encode().len(), key(&spec).to_string().as_str()), (len, expected));
        assert!(vectors.contains(expected), "{expected} is not among the vectors");
    }
    assert_eq!(
        full().inputs.sources().to_string(),
        "73b0a6d36be58b101c69b8c8ea24bc87aff12978397b10e92132704483d80a5a"
    );
}

#[test]
fn the_first_bytes_are_pinned() {
    let bytes = minimal().encode();
    let start = [
        &[1, 8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 5, 0, 0, 0][..],
        b"exact",
        &[3, 232, 0, 0, 0, 1, 19, 0, 0, 0],
        b"app-misc/hello-2.10",
        // The slot is written out, whichever way it was written.
        &[2, 3, 0, 0, 0, b'0', b'/', b'0'],
    ]
    .concat();
    assert_eq!(bytes[..start.len()], start);
}

/// What differs in a dependency, and how a person is told of it.
fn mutate_dependency(dependency: &mut Dependency, field: usize) -> Option<&'static str> {
    // As in `mutate`.
    let Dependency { name, version, slot, sub_slot, classes, identity } = dependency;
    let Identity::Reach(Reach { interface, payload, tool }) = identity else {
        panic!("a dependency by what of it can reach a build")
    };
    Some(match field {
        0 => {
            name.push('z');
            "added"
        }
        1 => {
            *version = Some("99".to_owned());
            "→ 99"
        }
        2 => {
            slot.push('z');
            "added"
        }
        3 => {
            *sub_slot = Some("99".to_owned());
            "slot"
        }
        4 => {
            *classes = DependencyClasses::PDEPEND;
            "is needed as PDEPEND"
        }
        5 => {
            *interface = Some(digest(99));
            "has another interface"
        }
        6 => {
            *payload = Some(digest(99));
            "is other bytes"
        }
        7 => {
            *tool = Some(Tool { use_flags: set(&["zz"]), sources: digest(15) });
            "has other USE flags"
        }
        8 => {
            *tool = Some(Tool { use_flags: set(&["doc"]), sources: digest(99) });
            "is made of other sources"
        }
        _ => return None,
    })
}

#[test]
fn every_field_of_a_dependency_reaches_the_key_and_is_named_when_it_differs() {
    for at in 0..3 {
        for field in 0.. {
            let (before, mut after) = (reuse(), reuse());
            let Some(named) = mutate_dependency(&mut after.dependencies[at], field) else {
                assert_eq!(field, 9);
                break;
            };
            assert_ne!(key(&after), key(&before), "{at} {named}");
            assert_ne!(after.encode(), before.encode(), "{at} {named}");
            let found: Vec<_> = differences(&before, &after).iter().map(ToString::to_string).collect();
            assert!(found.iter().any(|text| text.contains(named)), "{at} {named}: {found:?}");
        }
    }
}

#[test]
fn keys_of_different_policies_never_meet() {
    // Even where nothing but the policy differs.
    let mut spec = minimal();
    let exact = key(&spec);
    spec.policy = Policy::Interface;
    let interface = key(&spec);
    spec.policy = Policy::Slot;
    assert!(exact != interface && interface != key(&spec) && exact != key(&spec));
}

#[test]
#[should_panic(expected = "an exact key is of an exact specification")]
fn a_reuse_specification_has_no_exact_key() {
    let _ = exact_key(&reuse());
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
            assert_ne!(key(&other), key(&spec), "{named}");
            let found: Vec<_> = differences(&spec, &other).iter().map(ToString::to_string).collect();
            assert_eq!(found.len(), 1, "{named}: {found:?}");
            assert!(found[0].starts_with(named), "{named}: {found:?}");
        }
    }
    assert_eq!(mutate(&mut minimal(), FIELDS), None);
}

#[test]
fn dependencies_of_a_key_are_sorted_however_many_and_however_much_alike() {
    let mut seed = 1_u32;
    for len in 0..60 {
        // Alike in the 4 bytes that are compared first, in the 8 that are compared next, and behind.
        for varied in [0, 3, 4, 7, 8, 31] {
            let digests: Vec<Digest> = (0..len)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let mut bytes = [255; Digest::LEN];
                    (bytes[varied], bytes[(varied + 5) % 32]) = ((seed >> 24) as u8, (seed >> 20) as u8 % 4);
                    Digest::from_bytes(bytes)
                })
                .collect();
            let message = |digests: &[Digest]| {
                let mut given = KeyDependencies::default();
                given.set(digests.iter().map(|digest| (digest, DependencyClasses::DEPEND)));
                let mut record = Encoder::new();
                encode_key_message(&mut record, Policy::Exact, &digest(1), &mut given);
                record.finish()
            };
            let sorted: Vec<Digest> = digests.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
            let mut expected = Encoder::new();
            expected.number(1, FORMAT);
            expected.text(2, "exact");
            expected.digest(3, &digest(1));
            expected.pairs(4, sorted.iter().map(|digest| (digest, DependencyClasses::DEPEND.bits())));
            assert_eq!(message(&digests), expected.finish(), "{len} {varied}");
        }
    }
}

/// Changes the first distfile.
fn of_distfile(spec: &mut BuildSpec, change: impl FnOnce(&mut Distfile)) {
    let (name, distfile) = spec.inputs.distfiles.iter().next().unwrap();
    let (name, mut distfile) = (name.to_owned(), distfile.clone());
    change(&mut distfile);
    spec.inputs.distfiles.extend([(name, distfile)]);
}

#[test]
fn every_field_of_what_stands_in_a_list_or_map_reaches_bytes_and_key() {
    type Change = (&'static str, fn(&mut BuildSpec));
    let changes: [Change; 8] = [
        ("size of a distfile", |spec| {
            of_distfile(spec, |Distfile { size, hashes: _ }| *size += 1);
        }),
        ("hash of a distfile", |spec| {
            of_distfile(spec, |Distfile { size: _, hashes }| {
                hashes.extend([("SHA512".to_owned(), String::new())]);
            });
        }),
        ("name of a patch", |spec| spec.inputs.recipe.patches[0].0.push('z')),
        ("digest of a patch", |spec| spec.inputs.recipe.patches[0].1 = digest(99)),
        ("name of a hook", |spec| spec.inputs.recipe.hooks[0].0.push('z')),
        ("digest of a hook", |spec| spec.inputs.recipe.hooks[0].1 = digest(99)),
        ("key of a dependency", |spec| spec.dependencies[0].identity = built(99)),
        ("installed dependency", |spec| spec.dependencies[1].identity = Identity::Installed(digest(99))),
    ];
    for (named, change) in changes {
        let mut spec = full();
        change(&mut spec);
        assert_ne!(spec.encode(), full().encode(), "{named}");
        assert_ne!(key(&spec), key(&full()), "{named}");
    }
}

#[test]
fn the_sources_of_a_tool_are_its_ebuild_files_patches_saved_configuration_and_distfiles() {
    let counts = ["ebuild", "file zz", "user patch zz", "saved configuration zz", "distfile zz"];
    let mut moved = Vec::new();
    for field in 0..FIELDS {
        let mut spec = full();
        let named = mutate(&mut spec, field).unwrap();
        if spec.inputs.sources() != full().inputs.sources() {
            moved.push(named);
        }
    }
    assert_eq!(moved, counts);
}

#[test]
fn an_identity_in_the_root_is_not_taken_for_a_key() {
    let mut spec = full();
    spec.dependencies[0].identity = Identity::Installed(digest(13));
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
    let named = |version: &str, slot: &str| DependencyVersion {
        version: Some(version.to_owned()),
        slot: slot.to_owned(),
        key: None,
        installed: None,
        interface: None,
        payload: None,
        use_flags: None,
        sources: None,
        classes: Vec::new(),
    };
    let version = |version: &str, slot: &str, seed| {
        let key = BuildKey::from_digest(digest(seed));
        Some(DependencyVersion { key: Some(key), classes: vec!["DEPEND"], ..named(version, slot) })
    };
    let in_root = |seed| {
        Some(DependencyVersion {
            installed: Some(digest(seed)),
            classes: vec!["BDEPEND"],
            ..named("1.18", "0/0")
        })
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
            popt(in_root(1), Some(DependencyVersion { classes: vec!["DEPEND"], ..in_root(1).unwrap() })),
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

fn any_digests() -> impl Strategy<Value = SortedMap<Digest>> {
    prop::collection::vec((".{0,3}", any_digest()), 0..3).prop_map(SortedMap::from_iter)
}

fn any_texts<C: FromIterator<(String, String)> + fmt::Debug>() -> impl Strategy<Value = C> {
    prop::collection::vec((".{0,3}", ".{0,3}"), 0..3).prop_map(C::from_iter)
}

fn any_names() -> impl Strategy<Value = SortedSet> {
    prop::collection::vec(".{0,3}", 0..3).prop_map(SortedSet::from_iter)
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

fn any_identity() -> impl Strategy<Value = Identity> {
    let tool = (any_names(), any_digest()).prop_map(|(use_flags, sources)| Tool { use_flags, sources });
    let reach = (prop::option::of(any_digest()), prop::option::of(any_digest()), prop::option::of(tool));
    prop_oneof![
        any_digest().prop_map(|digest| Identity::Built(BuildKey::from_digest(digest))),
        any_digest().prop_map(Identity::Installed),
        reach.prop_map(|(interface, payload, tool)| Identity::Reach(Reach { interface, payload, tool })),
    ]
}

fn any_dependency() -> impl Strategy<Value = Dependency> {
    let text = || "[a-c]{0,2}";
    (text(), prop::option::of(text()), text(), prop::option::of(text()), 0..128u8, any_identity()).prop_map(
        |(name, version, slot, sub_slot, classes, identity)| Dependency {
            name,
            version,
            slot,
            sub_slot,
            classes: DependencyClasses(classes),
            identity,
        },
    )
}

prop_compose! {
    fn any_spec()(
        (version, policy) in (0..3u8, prop::sample::select(Policy::ALL.to_vec())),
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
            policy,
            inputs: BuildInputs {
                package: format!("x/y-{version}").parse().unwrap(),
                slot: slot.parse().unwrap(),
                repository, eapi, recipe, distfiles, use_flags,
                surroundings: Arc::new(Surroundings { environment, features, toolchain, build_root }),
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

/// Two texts written into neighbouring places.
const PARTED: [fn(&mut BuildSpec, String, String); 9] = [
    |spec, a, b| (spec.inputs.repository, spec.inputs.eapi) = (a, b),
    |spec, a, b| Arc::make_mut(&mut spec.inputs.surroundings).environment = BTreeMap::from([(a, b)]),
    |spec, a, b| Arc::make_mut(&mut spec.inputs.surroundings).toolchain = BTreeMap::from([(a, b)]),
    |spec, a, b| {
        let distfile = Distfile { size: 0, hashes: SortedMap::from([(b, String::new())]) };
        spec.inputs.distfiles = SortedMap::from([(a, distfile)]);
    },
    |spec, a, b| spec.inputs.recipe.patches = vec![(a, digest(1)), (b, digest(1))],
    |spec, a, b| {
        let named = |name| vec![(name, digest(1))];
        (spec.inputs.recipe.patches, spec.inputs.recipe.hooks) = (named(a), named(b));
    },
    |spec, a, b| {
        // `x` and `y` keep the order, whatever the texts are.
        spec.inputs.use_flags = SortedSet::from([format!("x{a}"), format!("y{b}")]);
    },
    |spec, a, b| {
        spec.inputs.use_flags = SortedSet::from([a]);
        Arc::make_mut(&mut spec.inputs.surroundings).features = SortedSet::from([b]);
    },
    |spec, a, b| {
        let dependency = &mut spec.dependencies[0];
        (dependency.name, dependency.version, dependency.slot, dependency.sub_slot) =
            (a.clone(), Some(b.clone()), a, Some(b));
    },
];

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
        prop_assert_eq!(key(&a) == key(&b), a.encode() == b.encode());
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
    fn dependencies_are_a_set_and_patches_and_hooks_are_lists(
        spec in any_spec(),
        (by, twice) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let mut other = spec.clone();
        if !other.dependencies.is_empty() {
            let len = other.dependencies.len();
            other.dependencies.rotate_left(by.index(len));
            other.dependencies.push(other.dependencies[twice.index(len)].clone());
        }
        prop_assert_eq!(other.encode(), spec.encode());
        prop_assert_eq!(key(&other), key(&spec));
        for list in [0, 1] {
            let mut other = spec.clone();
            let Recipe { patches, hooks, .. } = &mut other.inputs.recipe;
            [patches, hooks][list].reverse();
            let same = other.inputs == spec.inputs;
            prop_assert_eq!(other.encode() == spec.encode(), same);
            prop_assert_eq!(key(&other) == key(&spec), same);
        }
    }

    /// The same text parted between neighbours in two ways is two values.
    #[test]
    fn no_bytes_of_a_field_are_taken_for_those_of_another(
        text in "[a-z0\u{0}\u{1}]{1,6}",
        (one, other) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let (one, other) = (one.index(text.len() + 1), other.index(text.len() + 1));
        for parted in PARTED {
            let (mut a, mut b) = (reuse(), reuse());
            parted(&mut a, text[..one].to_owned(), text[one..].to_owned());
            parted(&mut b, text[..other].to_owned(), text[other..].to_owned());
            prop_assert_eq!(a.encode() == b.encode(), one == other);
            prop_assert_eq!(key(&a) == key(&b), one == other);
            prop_assert_eq!(BuildSpec::decode(&a.encode()), Ok(normal(a)));
        }
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
