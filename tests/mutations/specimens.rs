//! What the changes are made to: packages, one for each way an input can reach a key, and a base with tools.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tiny::{self, INSTALL};
use crate::trial::{Start, Trial, executable, prefix, tools};
use crate::world::{World, copy};

/// What every plan asks for, and no more.
pub(crate) const PACKAGES: [&str; 17] = [
    "key-apps/binder",
    "key-apps/heir",
    "key-apps/installs",
    "key-apps/late",
    "key-apps/plain",
    "key-apps/runner",
    "key-apps/saved",
    "key-apps/sourced",
    "key-apps/targeted",
    "key-apps/tooled",
    "key-apps/top",
    "key-apps/unsaved",
    "key-apps/vector",
    "key-libs/bottom",
    "key-libs/middle",
    "key-libs/selfless",
    "key-libs/tool",
];

/// In a root of its own only: it needs kernel sources and what is installed there.
pub(crate) const OF_BASE: [&str; 2] = ["key-apps/module", "key-apps/seated"];

/// `category/name` and the version.
pub(crate) fn split(cpv: &str) -> (&str, &str) {
    let is_version = |at: &usize| cpv[at + 1..].starts_with(|c: char| c.is_ascii_digit());
    let at = cpv.match_indices('-').map(|(at, _)| at).find(is_version).unwrap_or(cpv.len());
    (&cpv[..at], cpv.get(at + 1..).unwrap_or_default())
}

fn add(world: &World, cpv: &str, lines: &str) {
    let (name, version) = split(cpv);
    let (_, short) = name.split_once('/').unwrap();
    world.write(format!("overlay/{name}/{short}-{version}.ebuild"), &tiny::ebuild(lines));
}

/// A line of a Manifest.
pub(crate) fn dist(name: &str, size: usize, blake2b: char, sha512: char) -> String {
    let hex = |digit: char| digit.to_string().repeat(128);
    format!("DIST {name} {size} BLAKE2B {} SHA512 {}\n", hex(blake2b), hex(sha512))
}

pub(crate) const MANIFEST: &str = "overlay/key-apps/sourced/Manifest";

/// Adds all of them.
pub(crate) fn add_to(world: &World) {
    world.append("overlay/profiles/categories", "key-apps\nkey-libs\nkey-base\n");
    let plain = |rest: &str| format!("SLOT=\"0\"\n{rest}{INSTALL}");
    add(world, "key-apps/plain-1", &plain("IUSE=\"extra +usual\"\n"));
    let sources = "SRC_URI=\"https://example.org/one.tar bundled? ( https://example.org/two.tar )\"\n";
    add(world, "key-apps/sourced-1.2-r3", &plain(&format!("IUSE=\"bundled\"\n{sources}")));
    let manifest =
        [dist("one.tar", 10, '1', 'a'), dist("two.tar", 20, '2', 'b'), dist("old.tar", 5, '3', 'c')];
    world.write(MANIFEST, &manifest.concat());
    world.write("overlay/key-apps/sourced/files/fix.patch", "a fix\n");
    world.write("overlay/key-apps/sourced/files/deep/data", "data\n");
    world.write("overlay/eclass/key-inner.eclass", "# @ECLASS: key-inner.eclass\nKEY_INNER=1\n");
    world.write("overlay/eclass/key-outer.eclass", "# @ECLASS: key-outer.eclass\ninherit key-inner\n");
    world.write("overlay/eclass/savedconfig.eclass", "# @ECLASS: savedconfig.eclass\nIUSE=\"savedconfig\"\n");
    world.write("overlay/eclass/linux-mod-r1.eclass", "# @ECLASS: linux-mod-r1.eclass\n");
    add(world, "key-apps/heir-1", &plain("inherit key-outer\n"));
    add(world, "key-apps/saved-1", &plain("inherit savedconfig\n"));
    add(world, "key-apps/unsaved-1", &plain("inherit savedconfig\n"));
    world.append("config/etc/portage/package.use", "key-apps/saved savedconfig\n");
    add(world, "key-apps/targeted-1", &plain("IUSE=\"lua_targets_lua5-1 lua_targets_lua5-4\"\n"));
    add(world, "key-apps/vector-1", &plain("IUSE=\"cpu_flags_x86_avx2\"\n"));
    add(world, "key-libs/bottom-1", &format!("SLOT=\"0/1\"\nIUSE=\"extra\"\n{INSTALL}"));
    add(world, "key-libs/selfless-1", &plain(""));
    add(world, "key-libs/middle-1", &plain("RDEPEND=\"key-libs/bottom\"\n"));
    add(world, "key-libs/tool-1", &plain(""));
    add(world, "key-apps/top-1", &plain("DEPEND=\"key-libs/middle\"\n"));
    add(world, "key-apps/runner-1", &plain("RDEPEND=\"key-libs/bottom\"\n"));
    add(world, "key-apps/late-1", &plain("PDEPEND=\"key-libs/bottom\"\n"));
    add(world, "key-apps/binder-1", &plain("RDEPEND=\"key-libs/bottom:=\"\n"));
    add(world, "key-apps/tooled-1", &plain("BDEPEND=\"key-libs/tool\"\n"));
    add(world, "key-apps/installs-1", &plain("IDEPEND=\"key-libs/tool\"\n"));
    add(world, "key-apps/module-1", &plain("inherit linux-mod-r1\n"));
    add(world, "key-apps/seated-1", &plain("DEPEND=\"key-base/stone\"\n"));
}

/// Roles that a program of the kit plays. `cc1` and `cc1plus` are asked of the compiler; `libc` is the library
/// that Python runs with; `portage` and `python3` run the plan.
pub(crate) const PLAYED: [&str; 13] =
    ["cc", "c++", "as", "ld", "ar", "rustc", "cargo", "go", "make", "bash", "pkg-config", "cc1", "cc1plus"];

/// The program that plays a role.
pub(crate) fn player(role: &str) -> String {
    let program = match role {
        "cc" => "gcc",
        "c++" => "g++",
        other => other,
    };
    format!("kit/roles/{program}")
}

/// Answers as GCC's driver does, for the processor that `kit/cpu` says it runs on.
const COMPILER: &str = r#"#!/bin/sh
kit=$(dirname "$(dirname "$0")")
case "$1" in
  -print-prog-name=*) echo "$kit/roles/${1#*=}"; exit ;;
  --version) echo "compiler $(cat "$kit/version.gcc")"; exit ;;
esac
words=
for word; do
  case $word in
    -march=native|-mtune=native|-mcpu=native) words="$words $(cat "$kit/cpu")" ;;
    -m*) words="$words $word" ;;
  esac
done
echo " $kit/roles/cc1 -E -quiet -$words" >&2
"#;

/// Answers as rustc does.
const RUSTC: &str = r#"#!/bin/sh
kit=$(dirname "$(dirname "$0")")
cpu=$(sed 's/-march=\([^ ]*\).*/\1/' "$kit/cpu")
case "$*" in
  --version) echo "rustc $(cat "$kit/version.rustc")" ;;
  "--print target-cpus") echo "    native                  - Select the CPU of the current host (currently $cpu)." ;;
  "--print cfg"*native) echo 'target_feature="sse2"'; echo 'target_feature="avx"' ;;
  "--print cfg"*) echo 'target_feature="sse2"' ;;
esac
"#;

/// What a private base shows of the machine's `/usr`: each directory as if it were a prefix with tools. Few have a
/// `bin`, so hardly any program is read.
fn show_usr(world: &World) -> Vec<PathBuf> {
    let mut shown = Vec::new();
    for entry in fs::read_dir("/usr").unwrap() {
        let path = entry.unwrap().path();
        if let Ok(target) = fs::read_link(&path) {
            symlink(target, world.path("base").join(path.strip_prefix("/").unwrap())).unwrap();
        } else if path.is_dir() && !path.ends_with("local") && !path.ends_with("src") {
            shown.push(path);
        }
    }
    shown
}

/// `base`: a root with a package database, kernel sources and the machine's `/etc`; its `/usr` is the machine's.
/// `kit`: a prefix whose programs play roles of the toolchain, outside of
/// its `bin`, so that they do not count as tools; the base's `PATH` leads to them.
pub(crate) fn add_base(world: &World) {
    for name in ["bin", "lib", "lib32", "lib64", "libx32", "sbin"] {
        if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
            fs::create_dir_all(world.path("base/usr")).unwrap();
            symlink(target, world.path("base").join(name)).unwrap();
        }
    }
    for file in ["passwd", "group", "ld.so.cache", "ld.so.conf", "nsswitch.conf"] {
        let from = Path::new("/etc").join(file);
        if from.is_file() {
            fs::create_dir_all(world.path("base/etc")).unwrap();
            fs::copy(from, world.path("base/etc").join(file)).unwrap();
        }
    }
    let cache = Path::new("/etc/ld.so.conf.d");
    if cache.is_dir() {
        copy(cache, &world.path("base/etc/ld.so.conf.d"));
    }
    for name in [".config", "Makefile", "Module.symvers"] {
        world.write(format!("base/usr/src/linux/{name}"), "the kernel\n");
    }
    let roles = world.path("kit/roles");
    world.write("base/etc/profile.env", &format!("export PATH='{}'\n", roles.display()));
    world.write("base/etc/app.conf", "as it was installed\n");
    let stone = [
        ("SLOT", "0"),
        ("EAPI", "8"),
        ("CATEGORY", "key-base"),
        ("PF", "stone-1"),
        ("repository", "swarmworld"),
        ("KEYWORDS", "amd64"),
        ("BUILD_TIME", "1700000000"),
        ("COUNTER", "1"),
        ("USE", "amd64"),
        ("CONTENTS", "dir /usr"),
        ("CFLAGS", "-O2"),
    ];
    for (name, value) in stone {
        world.write(format!("base/var/db/pkg/key-base/stone-1/{name}"), &format!("{value}\n"));
    }
    let dpkg = "Package: pebble\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n";
    world.write("base/var/lib/dpkg/status", dpkg);
    world.write("base/var/lib/rpm/database", "\n");
    world.write("kit/lib/data", "what a tool loads\n");
    world.write("kit/cpu", "-march=haswell -mavx2 --param l1-cache-size=32\n");
    for role in PLAYED {
        let path = player(role);
        let program = path.rsplit('/').next().unwrap();
        world.write(format!("kit/version.{program}"), "1.0\n");
        let text = match role {
            "cc" => COMPILER.to_owned(),
            "rustc" => RUSTC.to_owned(),
            "bash" => "#!/bin/sh\n[ \"$1\" = --version ] && exec cat \"${0%/*}/../version.bash\"\n\
                       exec /bin/bash \"$@\"\n"
                .to_owned(),
            _ => format!("#!/bin/sh\necho \"{role} $(cat \"${{0%/*}}/../version.{program}\")\"\n"),
        };
        world.write(&path, &text);
        executable(&world.path(&path));
    }
    world.write("kit/roles/rpm", "#!/bin/sh\nexec cat \"${0%/*}/../rpms\"\n");
    executable(&world.path("kit/roles/rpm"));
    world.write("kit/rpms", "rpm gravel 0:1-1 x86_64\n");
    world.write("kit/roles/other-cc", "#!/bin/sh\necho other 1.0\n");
    executable(&world.path("kit/roles/other-cc"));
    let shown: String = show_usr(world).iter().map(|path| format!(", {path:?}")).collect();
    let text = fs::read_to_string(world.path("swarmd.toml")).unwrap();
    let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("tools = ")).collect();
    let (base, kit, own) = (world.path("base"), world.path("kit"), tools());
    let text = kept
        .join("\n")
        .replace("[portage]\n", &format!("[portage]\nbase = {base:?}\ntools = [{kit:?}, {own:?}{shown}]\n"));
    fs::write(world.path("kit/swarmd.toml"), text + "\n").unwrap();
}

/// A machine's plan, before anything is changed.
pub(crate) fn trial(world: &World, start: Start) -> Trial<'_> {
    let mut atoms: Vec<String> = PACKAGES.iter().map(|name| (*name).to_owned()).collect();
    if start == Start::Base {
        atoms.extend(OF_BASE.iter().map(|name| (*name).to_owned()));
        fs::rename(world.path("kit/swarmd.toml"), world.path("swarmd.toml")).unwrap();
    }
    Trial { world, atoms, options: Vec::new(), environment: Vec::new(), runner: Vec::new() }
}

/// Packages named after `names`, each of which gets a line of its own from `line` by `package.env`.
pub(crate) fn add_each(trial: &mut Trial<'_>, names: &[String]) {
    trial.atoms.clear();
    for name in names {
        add(trial.world, &format!("key-apps/{name}-1"), &format!("SLOT=\"0\"\n{INSTALL}"));
        trial.atoms.push(format!("key-apps/{name}"));
    }
}

/// Lets the base's programs run with a C library of the kit.
pub(crate) fn own_libc(world: &World) {
    let python = prefix().map_or_else(|| "/usr/bin/python3".into(), |prefix| prefix.join("bin/python3"));
    let output = Command::new("ldd").arg(fs::canonicalize(python).unwrap()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let library = text.lines().find_map(|line| line.trim().strip_prefix("libc.so.6 => ")?.split(' ').next());
    fs::copy(library.unwrap(), world.path("kit/lib/libc.so.6")).unwrap();
    let mut places = String::new();
    writeln!(places, "{}\ninclude /etc/ld.so.conf", world.path("kit/lib").display()).unwrap();
    world.write("kit/ld.conf", &places);
    let mut command = Command::new("/sbin/ldconfig");
    command.arg("-X").arg("-C").arg(world.path("base/etc/ld.so.cache"));
    assert!(command.arg("-f").arg(world.path("kit/ld.conf")).status().unwrap().success());
}
