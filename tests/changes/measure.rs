//! A world in which everything was built and installed, and what a change does to a copy of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde_json::Value;

use super::catalogue::Change;
use super::point;
use super::site::Site;
use super::world::{Ran, World, copy};

/// Packages by short name: without category and version; a Lua with its slot.
pub(crate) type Names = BTreeSet<String>;

/// With [`point`] these lead to all packages; tools are asked for too, or nobody would build those whose users
/// are reused.
const ATOMS: [&str; 13] = [
    "app-arch/lz4json",
    "app-misc/figlet",
    "app-misc/nato",
    "app-text/mandoc",
    "app-text/scdoc",
    "dev-lua/lpeg",
    "dev-python/tabulate",
    "dev-util/byacc",
    "dev-util/pkgconf",
    "media-gfx/qrencode",
    "sys-apps/nawk",
    "sys-fs/squashfs-tools",
    "virtual/pkgconfig",
];

/// Number of packages that all of it leads to.
pub(crate) const PACKAGES: usize = 29;

fn atoms() -> impl Iterator<Item = &'static str> + Clone {
    ATOMS.into_iter().chain(point::ATOMS)
}

/// The short name of `category/name-version`.
fn short_name(cpv: &str) -> String {
    let (category, pf) = cpv.split_once('/').unwrap();
    let is_revision = |tail: &str| tail.strip_prefix('r').is_some_and(|n| n.parse::<u32>().is_ok());
    let p = pf.rsplit_once('-').filter(|(_, tail)| is_revision(tail)).map_or(pf, |(p, _)| p);
    let (name, version) = p.rsplit_once('-').unwrap();
    match (category, name) {
        ("virtual", _) => format!("virtual/{name}"),
        (_, "lua") => format!("lua{}", &version[..3]),
        _ => name.to_owned(),
    }
}

/// Digest of the payload of every package.
type Payloads = BTreeMap<String, String>;

/// Everything built, published, and installed into a root.
struct Ready {
    world: World,
    payloads: Payloads,
    /// What stock emerge may install from; over HTTP, since Portage before 3.0.59 takes no packages from `file:`.
    site: Site,
}

impl Ready {
    fn get() -> &'static Self {
        static READY: OnceLock<Ready> = OnceLock::new();
        READY.get_or_init(|| {
            let world = World::new();
            point::add_to(&world);
            let measured = Measured { world };
            let built = measured.build("exact");
            assert_eq!(built.len(), PACKAGES, "{built:?}");
            let payloads = measured.payloads("exact");
            let world = measured.world;
            let outcome = world.json(["finalize", "--only", "--json"]);
            assert_eq!(outcome["packages"], PACKAGES, "{outcome}");
            let site = Site::of(&world, "site");
            install(&world, &site);
            Self { world, payloads, site }
        })
    }

    /// The root in which all was installed.
    fn root(&self) -> PathBuf {
        self.world.path("root")
    }

    fn copy(&self) -> Measured {
        let world = World::new();
        point::add_to(&world);
        copy(&self.world.state(), &world.state());
        Measured { world }
    }
}

/// Installs everything by stock emerge from what was published, tools too.
fn install(world: &World, site: &Site) {
    let root = world.path("root");
    fs::create_dir_all(root.join("etc")).unwrap();
    copy(&world.etc(""), &root.join("etc/portage"));
    let root = root.display().to_string();
    world.succeed(["client", "setup", "--root", &root, &site.url()]);
    let index = fs::read_to_string(site.offered().join("Packages")).unwrap();
    let all: Vec<String> =
        index.lines().filter_map(|line| Some(format!("={}", line.strip_prefix("CPV: ")?))).collect();
    assert_eq!(all.len(), PACKAGES);
    let arguments = ["client", "emerge", "--root", &root, "--", "--getbinpkgonly", "--nodeps", "--quiet"];
    world.succeed(arguments.into_iter().chain(all.iter().map(String::as_str)));
}

/// What came of one change.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) change: &'static Change,
    /// Built again if only the very same build is a hit.
    pub(crate) exact: Names,
    /// Built again if what dependencies come out as decides.
    pub(crate) interface: Names,
    /// Built again if only slots count.
    pub(crate) slot: Names,
    /// What stock emerge would compile: everything else it takes from what is installed, or from the binary
    /// packages of before.
    pub(crate) emerge: Names,
    /// What a build from scratch makes differ from what was there before.
    pub(crate) needed: Names,
    /// What the policy `interface` leads to though a build from scratch makes something else.
    pub(crate) wrong: Names,
}

/// A copy of the world, to which a change was made.
struct Measured {
    world: World,
}

/// Makes the change to a copy of the world, and measures.
pub(crate) fn measure(change: &'static Change) -> Outcome {
    let ready = Ready::get();
    let measured = ready.copy();
    (change.apply)(&measured.world);
    let emerge = measured.emerge(ready);
    let exact = measured.to_be_built("exact");
    let slot = measured.to_be_built("slot");
    let interface = measured.build("interface");
    let resolved = measured.payloads("interface");
    // What was built a moment ago on the very dependencies of the plan is not built once more.
    let rest = measured.build("exact");
    assert!(rest.is_subset(&exact), "{}: {rest:?}", change.name);
    let scratch = measured.payloads("exact");
    let differing = |from: &Payloads| -> Names {
        let differs = |(name, payload): &(&String, &String)| from.get(*name) != Some(*payload);
        scratch.iter().filter(differs).map(|(name, _)| name.clone()).collect()
    };
    let (needed, wrong) = (differing(&ready.payloads), differing(&resolved));
    Outcome { change, exact, interface, slot, emerge, needed, wrong }
}

impl Measured {
    fn plan(&self, policy: &'static str) -> Vec<Value> {
        let mut document = self.world.json(["plan", "--json", "--policy", policy].into_iter().chain(atoms()));
        let Value::Array(packages) = document["packages"].take() else { panic!("{document}") };
        packages
    }

    fn to_be_built(&self, policy: &'static str) -> Names {
        let plan = self.plan(policy);
        let is_built = |package: &&Value| package["fate"] == "build" || package["fate"] == "undecided";
        plan.iter().filter(is_built).map(|package| short_name(package["package"].as_str().unwrap())).collect()
    }

    /// Builds everything, which must succeed; what was built.
    fn build(&self, policy: &'static str) -> Names {
        let ran = self.world.run(["build", "--json", "--policy", policy].into_iter().chain(atoms()));
        assert_eq!(ran.code, Some(0), "{ran}");
        let mut lines = ran.lines();
        let summary = lines.pop().unwrap();
        let built = lines.iter().filter(|line| line["state"] == "built");
        let built: Names = built.map(|line| short_name(line["package"].as_str().unwrap())).collect();
        assert_eq!(summary["built"], built.len(), "{summary}");
        built
    }

    /// Of the artifacts that the plan leads to; all of them must be there.
    fn payloads(&self, policy: &'static str) -> Payloads {
        let artifacts = self.world.run(["store", "ls", "--json"]).lines();
        let by_key: BTreeMap<&str, &str> = artifacts
            .iter()
            .map(|artifact| (artifact["key"].as_str().unwrap(), artifact["payload"].as_str().unwrap()))
            .collect();
        let payload = |package: &Value| {
            let name = short_name(package["package"].as_str().unwrap());
            let artifact =
                package["artifact"].as_str().unwrap_or_else(|| panic!("{name} is not built: {package}"));
            (name, by_key[artifact].to_owned())
        };
        self.plan(policy).iter().map(payload).collect()
    }

    /// What stock emerge would compile to bring everything installed up to date.
    fn emerge(&self, ready: &Ready) -> Names {
        let root = self.world.path("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        copy(&ready.root().join("var"), &root.join("var"));
        copy(&self.world.etc(""), &root.join("etc/portage"));
        for name in ["binrepos.conf", "gnupg"] {
            copy(&ready.root().join("etc/portage").join(name), &root.join("etc/portage").join(name));
        }
        let conf = fs::read_to_string(root.join("etc/portage/binrepos.conf/buildswarm.conf")).unwrap();
        assert!(conf.contains(&ready.site.url()), "{conf}");
        let root = root.display().to_string();
        let options = "--pretend --update --deep --newuse --getbinpkg --color=n --nospinner";
        let command = ["client", "emerge", "--root", &root, "--"];
        let ran = self.world.run(command.into_iter().chain(options.split(' ')).chain(["@world"]));
        assert_eq!(ran.code, Some(0), "{ran}");
        compiled(&ran, &root)
    }
}

/// `[ebuild  rR    ] cat/pkg-1 to ROOT` (emerge(1), OUTPUT); what it would put elsewhere are tools once more.
fn compiled(ran: &Ran, root: &str) -> Names {
    let lines = ran.out.lines().filter(|line| line.starts_with("[ebuild") && line.contains(root));
    lines
        .map(|line| short_name(line.split_once("] ").unwrap().1.split_whitespace().next().unwrap()))
        .collect()
}

#[test]
fn the_output_of_emerge_is_read() {
    let out = "[ebuild  rR    ] dev-lang/lua-5.4.4-r1 to /root/\n[binary  N g   ] sys-apps/nawk-20220912-1 \n\
               [ebuild     U  ] virtual/pkgconfig-4 [3] to /root/\n[ebuild  N     ] dev-util/byacc-2 \n";
    let ran = Ran { code: Some(0), out: out.to_owned(), err: String::new() };
    assert_eq!(compiled(&ran, "/root"), ["lua5.4", "virtual/pkgconfig"].map(str::to_owned).into());
}
