# SPDX-License-Identifier: MIT
"""Tests of plan.py against the Portage on sys.path.

    python3 -m unittest test_plan        (run in this directory)

Everything happens in a temporary directory: a repository with an overlay, a
configuration and an empty installation, used as a Gentoo Prefix so that the
machine's own configuration and packages are never looked at.  Without Portage
the tests fail rather than being skipped.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
PLAN = os.path.join(HERE, "plan.py")

PROFILE = """
ARCH="amd64"
ACCEPT_KEYWORDS="amd64"
CHOST="x86_64-pc-linux-gnu"
CBUILD="x86_64-pc-linux-gnu"
ELIBC="glibc"
KERNEL="linux"
IUSE_IMPLICIT="prefix prefix-guest prefix-stack"
USE_EXPAND="ELIBC KERNEL PYTHON_TARGETS VIDEO"
USE_EXPAND_HIDDEN="ELIBC KERNEL"
USE_EXPAND_IMPLICIT="ARCH ELIBC KERNEL"
USE_EXPAND_UNPREFIXED="ARCH"
USE_EXPAND_VALUES_ARCH="amd64"
USE_EXPAND_VALUES_ELIBC="glibc musl"
USE_EXPAND_VALUES_KERNEL="linux"
PYTHON_TARGETS="python3_11"
CFLAGS="-O2 -pipe"
CXXFLAGS="${CFLAGS}"
ABI="amd64"
DEFAULT_ABI="amd64"
MULTILIB_ABIS="amd64"
LIBDIR_amd64="lib64"
ACCEPT_LICENSE="* -Evil"
"""

# name -> text below "EAPI=8".  SLOT, KEYWORDS and DESCRIPTION have defaults.
EBUILDS = {
    # Every field: eclass inheriting an eclass, := , USE_EXPAND, patches ...
    "app-misc/full-1.2-r3": """
inherit outer savedconfig
SRC_URI="https://example.org/full.tar.gz -> ${P}.tar.gz
    doc? ( https://example.org/full-doc.tar.gz mirror://example/full-doc.tar.gz )
    unused? ( https://example.org/never.tar.gz )"
LICENSE="|| ( GPL-2 MIT )"
SLOT="0/5"
IUSE="+doc unused -extra python_targets_python3_11 python_targets_python3_12 video_nv"
RESTRICT="test mirror"
PROPERTIES="live"
BDEPEND="dev-build/tool"
DEPEND="dev-libs/lib:=[foo] doc? ( dev-libs/docs )"
RDEPEND="dev-libs/lib:=[foo] virtual/thing"
PDEPEND="app-misc/plugin"
IDEPEND="dev-build/register"
src_compile() { :; }
pkg_postinst() { :; }
""",
    "dev-libs/lib-2.1": 'SLOT="2/2.1"\nIUSE="+foo bar"',
    "dev-libs/lib-1.0": 'SLOT="0/1"\nIUSE="+foo bar"',
    "dev-libs/docs-1": "",
    "dev-build/tool-1": "",
    "dev-build/register-1": "",
    "app-misc/plugin-1": 'RDEPEND="app-misc/full"',
    "virtual/thing-0": 'RDEPEND="|| ( app-misc/thing-a app-misc/thing-b )"',
    "app-misc/thing-a-1": "",
    "app-misc/thing-b-1": "",
    # Cycles.
    "app-cycle/run-a-1": 'RDEPEND="app-cycle/run-b"',
    "app-cycle/run-b-1": 'RDEPEND="app-cycle/run-a"',
    "app-cycle/build-a-1": 'IUSE="+boot"\nDEPEND="boot? ( app-cycle/build-b )"',
    "app-cycle/build-b-1": 'DEPEND="app-cycle/build-a"',
    "app-cycle/hard-a-1": 'DEPEND="app-cycle/hard-b"',
    "app-cycle/hard-b-1": 'DEPEND="app-cycle/hard-a"',
    # Refusals.
    "app-no/testing-2": 'KEYWORDS="~amd64"',
    "app-no/needs-testing-1": 'RDEPEND="app-no/testing app-no/licence"',
    "app-no/nokeyword-9999": 'KEYWORDS=""',
    "app-no/licence-1": 'LICENSE="Evil"',
    "app-no/masked-1": "",
    "app-no/needs-use-1": 'DEPEND="dev-libs/lib:2[bar] app-no/more"',
    "app-no/more-1": 'DEPEND="dev-libs/lib:2[-foo]"',
    "app-no/needs-iuse-1": 'DEPEND="dev-libs/lib[nosuchflag]"',
    "app-no/needs-fixed-1": 'DEPEND="app-no/fixed[frozen]"',
    "app-no/fixed-1": 'IUSE="frozen"',
    "app-no/required-1": 'IUSE="a b"\nREQUIRED_USE="^^ ( a b )"',
    "app-no/needs-required-1": 'RDEPEND="app-no/required"',
    "app-no/newer-1": 'RDEPEND=">=dev-libs/lib-7"',
    "app-no/unknown-1": 'RDEPEND="dev-libs/libb"',
    "app-no/slot-a-1": 'RDEPEND="=app-no/shared-1"',
    "app-no/slot-b-1": 'RDEPEND="=app-no/shared-2"',
    "app-no/shared-1": "",
    "app-no/shared-2": "",
    "app-no/blocker-1": 'RDEPEND="!!app-no/blocked"',
    "app-no/blocked-1": "",
    "app-no/interactive-1": 'PROPERTIES="interactive"',
    "app-no/future-1": "EAPI=99",
    "app-x/same-1": "",
    "app-y/same-1": "",
    # Odds and ends.
    "app-misc/provided-1": "",
    "app-misc/uses-provided-1": 'DEPEND="app-misc/provided"',
    "app-misc/native-1": "src_compile() { :; }",
    "app-misc/rusty-1": "inherit cargo",
    "app-misc/unlisted-1": 'SRC_URI="https://example.org/unlisted.tar"',
    "app-misc/soft-1": 'RDEPEND="!app-misc/ghost"',
    "app-misc/ghost-1": "",
    "app-misc/needs-done-1": 'RDEPEND="app-misc/done:="\nBDEPEND="app-misc/done"',
    "app-misc/done-1": 'SLOT="0/3"\nIUSE="+flag"\nRDEPEND="app-misc/below"\nS="${WORKDIR}"',
    "app-misc/below-1": 'S="${WORKDIR}"',
}

OVERLAY_EBUILDS = {
    "app-misc/over-1": "inherit outer\nIUSE=\"u\"\n",
}

ECLASSES = {
    "base": "BASE=1",
    "outer": "inherit base",
    "cargo": "",
    "savedconfig": 'IUSE="savedconfig"',
}


def write(path, text="", mode=None):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    if mode:
        os.chmod(path, mode)
    return path


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class World:
    """A Prefix with one repository, one overlay and no packages."""

    def __init__(self):
        self.top = os.path.realpath(tempfile.mkdtemp(prefix="plan-test-"))
        self.prefix = f"{self.top}/prefix"
        self.etc = f"{self.prefix}/etc/portage"
        self.repo = self.repository("test", "", EBUILDS)
        self.overlay = self.repository("over", "test", OVERLAY_EBUILDS)
        for name, text in ECLASSES.items():
            write(f"{self.repo}/eclass/{name}.eclass", text + "\n")
        write(f"{self.overlay}/eclass/base.eclass", "BASE=2\n")
        write(f"{self.repo}/profiles/arch.list", "amd64\n")
        write(f"{self.repo}/profiles/package.mask", "# Broken since ever.\napp-no/masked\n")
        write(f"{self.repo}/profiles/profiles.desc", "amd64 default stable\n")
        write(f"{self.repo}/profiles/thirdpartymirrors", "example https://mirror.example.org/\n")
        self.profile = f"{self.repo}/profiles/default"
        for licence in ("GPL-2", "MIT", "Evil"):
            write(f"{self.repo}/licenses/{licence}")
        write(f"{self.profile}/eapi", "8\n")
        write(f"{self.profile}/make.defaults", PROFILE)
        write(f"{self.profile}/profile.bashrc", ": profile\n")
        write(f"{self.profile}/package.use.mask", "app-no/fixed frozen\n")
        write(f"{self.profile}/packages", "*dev-build/tool\n")
        self.full = f"{self.repo}/app-misc/full"
        write(f"{self.full}/files/some.patch", "x")
        write(
            f"{self.full}/Manifest",
            "DIST full-1.2.tar.gz 12 BLAKE2B ab12 SHA512 cd34\nDIST full-doc.tar.gz 34 BLAKE2B ef SHA512 01\n",
        )
        for repo in (self.repo, self.overlay):
            write(f"{repo}/metadata/install-qa-check.d/60-common", f": {repo}\n")
        write(f"{self.repo}/metadata/install-qa-check.d/50-test", ": test\n")
        write(f"{self.prefix}/usr/local/lib/install-qa-check.d/60-common", ": admin\n")
        os.makedirs(self.etc)
        os.symlink(self.profile, f"{self.etc}/make.profile")
        write(
            f"{self.etc}/make.conf",
            f'DISTDIR="{self.top}/distfiles"\nPKGDIR="{self.top}/packages"\nPORTAGE_TMPDIR="{self.top}/tmp"\n'
            'MAKEOPTS="-j1"\nVIDEO="nv"\nBINPKG_FORMAT="gpkg"\nEMERGE_DEFAULT_OPTS="--usepkg --ask --backtrack=7"\n'
            'FEATURES="-sandbox -usersandbox -userpriv -userfetch -usersync -news -merge-sync"\n',
        )
        write(f"{self.etc}/profile/package.provided", "app-misc/provided-1\n")
        for directory in ("tmp", "distfiles", "packages", "bin", "home"):
            os.makedirs(f"{self.top}/{directory}")
        # Where a Portage installed from PyPI finds its defaults in a Prefix.
        os.makedirs(f"{self.prefix}/share/portage")
        os.symlink(f"{sys.prefix}/share/portage/config", f"{self.prefix}/share/portage/config")

    def repository(self, name, masters, ebuilds):
        path = f"{self.top}/{name}"
        write(
            f"{path}/metadata/layout.conf",
            f"repo-name = {name}\nmasters = {masters}\nthin-manifests = true\nsign-manifests = false\n"
            "profile-formats = portage-2 profile-bashrcs\ncache-formats = md5-dict\n",
        )
        write(f"{path}/profiles/repo_name", name + "\n")
        write(f"{path}/profiles/eapi", "8\n")
        categories = set()
        for package, text in ebuilds.items():
            category, version = package.split("/")
            categories.add(category)
            head = "EAPI=8\nDESCRIPTION='ünïcode'\nLICENSE=MIT\nSLOT=0\nKEYWORDS=amd64\nS=${WORKDIR}\n"
            if text.startswith("EAPI="):
                head, text = text + "\n" + head.split("\n", 1)[1], ""
            directory = f"{path}/{category}/{re.sub('-[0-9].*', '', version)}"
            write(f"{directory}/{version}.ebuild", head + text + "\n")
            write(f"{directory}/Manifest")
        write(f"{path}/profiles/categories", "".join(c + "\n" for c in sorted(categories)))
        return path

    def environment(self, **extra):
        user, group = (subprocess.check_output(["id", f], text=True).strip() for f in ("-un", "-gn"))
        repositories = (
            f"[DEFAULT]\nmain-repo = test\n[test]\nlocation = {self.repo}\n"
            f"[over]\nlocation = {self.overlay}\neclass-overrides = over\n"
        )
        environment = {
            "HOME": f"{self.top}/home",
            "LC_ALL": "C.UTF-8",
            "TERM": "dumb",
            "PATH": f"{self.top}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PORTAGE_OVERRIDE_EPREFIX": self.prefix,
            "PORTAGE_REPOSITORIES": repositories,
            "PORTAGE_USERNAME": user,
            "PORTAGE_GRPNAME": group,
            "EMERGE_LOG_DIR": self.top,
            # Portage may be importable only because the caller said where.
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p and p != HERE),
        }
        environment.update(extra)
        return {k: v for k, v in environment.items() if v is not None}

    def raw(self, *arguments, **extra):
        return subprocess.run(
            [sys.executable, PLAN, *arguments],
            env=self.environment(**extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=300,
        )

    def plan(self, *arguments, **extra):
        done = self.raw(*arguments, **extra)
        try:
            plan = json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"no JSON: {done.stdout!r}\n{done.stderr}") from None
        plan["status"] = done.returncode
        plan["stderr"] = done.stderr
        return plan

    def emerge(self, *arguments):
        main = "import sys; from _emerge.main import emerge_main; sys.exit(emerge_main())"
        done = subprocess.run(
            [sys.executable, "-c", main, "--ignore-default-opts", *arguments],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=300,
        )
        if done.returncode:
            raise AssertionError(done.stdout)


world = None


def setUpModule():
    global world
    world = World()


def tearDownModule():
    if os.environ.get("PLAN_TEST_KEEP"):
        print(world.top, file=sys.stderr)
    else:
        shutil.rmtree(world.top)


class PlanTest(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.full = world.plan("app-misc/full")
        cls.nodes = {n["id"]: n for n in cls.full["nodes"]}
        cls.node = cls.nodes["ebuild:app-misc/full-1.2-r3::test"]

    def edges_from(self, plan, node):
        return {e["to"]: e for e in plan["edges"] if e["from"] == node}

    # -- the document ---------------------------------------------------------

    def test_success(self):
        self.assertEqual((self.full["status"], self.full["success"], self.full["refusals"]), (0, True, []))
        self.assertEqual(self.full["schema"], 1)
        self.assertEqual(self.full["text"], "")
        self.assertEqual(set(self.full["timing"]), {"load", "resolve", "export"})

    def test_every_probe_worked(self):
        broken = {k: v for k, v in self.full["generator"]["probes"].items() if v is not True}
        self.assertEqual(broken, {})

    def test_request(self):
        self.assertEqual(self.full["request"], {"arguments": ["app-misc/full"], "favorites": ["app-misc/full"]})

    def test_settings(self):
        settings = self.full["settings"]
        self.assertEqual((settings["arch"], settings["chost"]), ("amd64", "x86_64-pc-linux-gnu"))
        self.assertEqual(settings["accept_keywords"], ["amd64"])
        self.assertEqual(settings["package_provided"], ["app-misc/provided-1"])
        self.assertEqual(settings["eroot"], world.prefix + "/")
        self.assertEqual(settings["profile_stack"][0], world.profile)
        self.assertEqual(settings["features"], sorted(settings["features"]))
        self.assertEqual(settings["distdir"], world.top + "/distfiles")

    def test_repositories(self):
        repos = {r["name"]: r for r in self.full["repositories"]}
        self.assertEqual(repos["over"]["masters"], ["test"])
        self.assertEqual((repos["test"]["main"], repos["over"]["main"]), (True, False))
        self.assertTrue(repos["test"]["thin_manifests"])
        self.assertEqual(repos["test"]["location"], world.repo)

    def test_merge_order_follows_dependencies(self):
        order = [m["node"] for m in self.full["merge"]]
        self.assertEqual({m["operation"] for m in self.full["merge"]}, {"merge"})
        self.assertLess(order.index("ebuild:dev-libs/lib-2.1::test"), order.index(self.node["id"]))
        self.assertEqual(set(order), set(self.nodes))

    def test_arguments(self):
        found = {a["argument"]: a["nodes"] for a in self.full["arguments"]}
        self.assertEqual(found["app-misc/full"], [self.node["id"]])

    # -- nodes ----------------------------------------------------------------

    def test_node_metadata(self):
        node = self.node
        self.assertEqual((node["kind"], node["operation"]), ("ebuild", "merge"))
        self.assertEqual((node["category"], node["package"], node["version"]), ("app-misc", "full", "1.2-r3"))
        self.assertEqual((node["slot"], node["sub_slot"], node["repo"], node["eapi"]), ("0", "5", "test", "8"))
        self.assertEqual(node["license"], "|| ( GPL-2 MIT )")
        self.assertEqual(node["keywords"], ["amd64"])
        self.assertIn("+doc", node["iuse"])
        self.assertEqual((node["restrict"], node["properties"]), (["mirror", "test"], ["live"]))
        self.assertEqual(node["defined_phases"], ["compile", "postinst"])

    def test_use(self):
        self.assertIn("doc", self.node["use"])
        self.assertNotIn("unused", self.node["use"])
        expand = self.node["use_expand"]
        self.assertEqual((expand["PYTHON_TARGETS"], expand["VIDEO"]), (["python3_11"], ["nv"]))

    def test_ebuild_files(self):
        ebuild = self.node["ebuild"]
        self.assertEqual(ebuild["path"], f"{world.full}/full-1.2-r3.ebuild")
        self.assertEqual(ebuild["sha256"], sha256(ebuild["path"]))
        self.assertEqual(ebuild["filesdir"], f"{world.full}/files")
        self.assertIsNone(self.nodes["ebuild:dev-libs/docs-1::test"]["ebuild"]["filesdir"])

    def test_eclasses_are_transitive(self):
        eclasses = {e["name"]: e for e in self.node["ebuild"]["eclasses"]}
        self.assertEqual(sorted(eclasses), ["base", "outer", "savedconfig"])
        self.assertEqual(eclasses["base"]["sha256"], sha256(f"{world.repo}/eclass/base.eclass"))

    def test_eclasses_honour_masters_and_overrides(self):
        plan = world.plan("app-misc/over")
        node = next(n for n in plan["nodes"] if n["package"] == "over")
        paths = {e["name"]: e["path"] for e in node["ebuild"]["eclasses"]}
        self.assertEqual(
            paths, {"base": f"{world.overlay}/eclass/base.eclass", "outer": f"{world.repo}/eclass/outer.eclass"}
        )

    def test_distfiles(self):
        files = {d["name"]: d for d in self.node["ebuild"]["distfiles"]}
        self.assertEqual(sorted(files), ["full-1.2.tar.gz", "full-doc.tar.gz"])
        self.assertEqual(files["full-1.2.tar.gz"]["size"], 12)
        self.assertEqual(files["full-1.2.tar.gz"]["hashes"], {"BLAKE2B": "ab12", "SHA512": "cd34"})
        self.assertEqual(files["full-1.2.tar.gz"]["uris"], ["https://example.org/full.tar.gz"])
        self.assertEqual(len(files["full-doc.tar.gz"]["uris"]), 2)

    def test_distfile_without_manifest(self):
        plan = world.plan("app-misc/unlisted")
        node = next(n for n in plan["nodes"] if n["package"] == "unlisted")
        self.assertEqual(node["ebuild"]["distfiles"][0]["hashes"], {})
        warnings = [w for w in plan["warnings"] if w["kind"] == "manifest_missing"]
        self.assertEqual([w["node"] for w in warnings], [node["id"]])
        self.assertIn("unlisted.tar", warnings[0]["message"])

    def test_environment(self):
        environment = self.node["environment"]
        self.assertEqual(environment["CFLAGS"], "-O2 -pipe")
        self.assertEqual(environment["USE"].split(), self.node["use"])
        self.assertEqual(environment["PYTHON_TARGETS"], "python3_11")
        for name in environment:
            self.assertNotIn("IUSE_EFFECTIVE", name)
            self.assertFalse(name.startswith("BASH_FUNC"), name)

    def test_calling_environment_reaches_the_package(self):
        plan = world.plan("dev-libs/docs", LEAKED="ünïcode")
        node = next(n for n in plan["nodes"] if n["package"] == "docs")
        self.assertEqual(node["environment"]["LEAKED"], "ünïcode")

    def test_configuration_of_a_package(self):
        etc = world.etc
        category = f"{etc}/patches/app-misc"
        made = [
            write(f"{etc}/package.env", "app-misc/full debug.conf\n"),
            write(f"{etc}/env/debug.conf", 'CFLAGS="-O0 -g"\n'),
            write(f"{etc}/env/app-misc/full", ": env\n"),
            write(f"{etc}/env/app-misc/full:0", ": env\n"),
            write(f"{etc}/bashrc", ": bashrc\n"),
            write(f"{etc}/bashrc.d/10-x", ": d\n"),
            write(f"{etc}/hooks/install/no-program", ": no\n"),
            write(f"{etc}/hooks/install/program", "#!/bin/sh\n"),
            write(f"{etc}/package.use", "app-misc/full savedconfig\n"),
            write(f"{etc}/savedconfig/app-misc/full-1.2/config", "X=1\n"),
            write(f"{etc}/savedconfig/app-misc/full", "less specific\n"),
            write(f"{category}/full/b.patch", "less specific"),
            write(f"{category}/full/a.diff", "a"),
            write(f"{category}/full/cancelled.patch", "c"),
            write(f"{category}/full/README", "no patch"),
            write(f"{category}/full:0/B.patch", "capitals sort first"),
            write(f"{category}/full-1.2/b.patch", "more specific"),
            write(f"{category}/full-1.2-r3:0/cancelled.patch", ""),
            write(f"{category}/full-1.2-r2/never.patch", "other revision"),
            write(f"{world.profile}/package.bashrc", "app-misc/full extra.sh\n"),
            write(f"{world.profile}/bashrc/extra.sh", ": extra\n"),
        ]
        self.addCleanup(lambda: [os.unlink(p) for p in made])
        os.chmod(f"{etc}/hooks/install/program", 0o755)
        plan = world.plan("app-misc/full")
        node = next(n for n in plan["nodes"] if n["package"] == "full")
        other = next(n for n in plan["nodes"] if n["package"] == "lib")
        self.assertEqual(node["environment"]["CFLAGS"], "-O0 -g")
        self.assertEqual(other["environment"]["CFLAGS"], "-O2 -pipe")
        ebuild = node["ebuild"]
        self.assertEqual(ebuild["package_env"], [f"{etc}/env/debug.conf"])
        self.assertEqual(
            ebuild["user_patches"],
            [f"{category}/full:0/B.patch", f"{category}/full/a.diff", f"{category}/full-1.2/b.patch"],
        )
        self.assertEqual(
            [(h["kind"], h["path"]) for h in ebuild["hooks"]],
            [
                ("profile.bashrc", f"{world.profile}/profile.bashrc"),
                ("package.bashrc", f"{world.profile}/bashrc/extra.sh"),
                ("bashrc", f"{etc}/bashrc"),
                ("bashrc.d", f"{etc}/bashrc.d/10-x"),
                ("env", f"{etc}/env/app-misc/full"),
                ("env", f"{etc}/env/app-misc/full:0"),
                ("hooks/install", f"{etc}/hooks/install/program"),
            ],
        )
        self.assertEqual(ebuild["savedconfig"], [f"{etc}/savedconfig/app-misc/full-1.2/config"])
        self.assertEqual((other["ebuild"]["user_patches"], other["ebuild"]["package_env"]), ([], []))
        self.assertEqual(other["ebuild"]["savedconfig"], [])

    def test_qa_checks(self):
        self.assertEqual(
            self.node["ebuild"]["qa_checks"],
            [
                f"{world.repo}/metadata/install-qa-check.d/50-test",
                f"{world.prefix}/usr/local/lib/install-qa-check.d/60-common",
            ],
        )

    # -- native ---------------------------------------------------------------

    def native(self, package="native", **variables):
        conf = f"{world.etc}/make.conf"
        before = read(conf)
        self.addCleanup(write, conf, before)
        write(conf, before + "".join(f'{k}="{v}"\n' for k, v in variables.items()))
        plan = world.plan(f"app-misc/{package}")
        return plan, next(n for n in plan["nodes"] if n["package"] == package)

    def test_native_is_resolved_by_the_compiler(self):
        plan, node = self.native(CFLAGS="-mno-sse4a -O2 -march=native -pipe", CXXFLAGS="-O2 -mtune=native")
        self.assertEqual(plan["status"], 0, plan["refusals"])
        flags = node["environment"]["CFLAGS"].split()
        self.assertNotIn("-march=native", flags)
        self.assertEqual(node["native"]["CFLAGS"]["from"], "-mno-sse4a -O2 -march=native -pipe")
        self.assertEqual(node["native"]["CFLAGS"]["to"].split(), flags)
        self.assertRegex(node["native"]["CXXFLAGS"]["to"], r"^-O2 .*-mtune=(?!native)")
        self.assertNotIn("--param", flags)
        # Compiling with either says the same about the target.
        macros = [
            subprocess.check_output(
                ["gcc", "-dM", "-E", "-x", "c", os.devnull, *words], text=True, env={"PATH": "/usr/bin:/bin"}
            )
            for words in (flags, ["-mno-sse4a", "-O2", "-march=native"])
        ]
        self.assertEqual(*macros)

    def tool(self, name, text):
        path = write(f"{world.top}/bin/{name}", "#!/bin/sh\n" + text, 0o755)
        self.addCleanup(os.unlink, path)

    def test_native_with_clang(self):
        # A clang whose "native" is haswell without avx2.
        self.tool(
            "clang",
            'case "$*" in\n'
            '*march=native*|*march=haswell*mno-avx2*) f="-target-feature -avx2" ;;\n'
            '*march=haswell*) f="-target-feature +avx2" ;;\nesac\n'
            'echo " \\"/usr/bin/clang\\" \\"-cc1\\" \\"-triple\\" \\"x\\" -target-cpu haswell $f" >&2\n',
        )
        plan, node = self.native(CC="clang", CFLAGS="-march=native -O2")
        self.assertEqual(plan["refusals"], [])
        self.assertEqual(node["environment"]["CFLAGS"], "-march=haswell -mno-avx2 -O2")

    def test_native_rust(self):
        self.tool(
            "rustc",
            'case "$*" in\n'
            '"--print target-cpus") echo "    native  - Select the CPU (currently zen9)." ;;\n'
            "*target-cpu=native) echo 'target_feature=\"avx\"'; echo 'target_feature=\"sse\"' ;;\n"
            "*) echo 'target_feature=\"sse\"'; echo 'target_feature=\"vaes\"' ;;\nesac\n",
        )
        plan, node = self.native("rusty", RUSTFLAGS="-C target-cpu=native -C debuginfo=1")
        self.assertEqual(plan["refusals"], [])
        self.assertEqual(
            node["environment"]["RUSTFLAGS"], "-Ctarget-cpu=zen9 -Ctarget-feature=+avx,-vaes -C debuginfo=1"
        )

    def test_native_unresolved(self):
        plan, node = self.native(CC="no-such-cc", CFLAGS="-march=native")
        self.assertEqual((plan["status"], plan["success"]), (1, False))
        refused = plan["refusals"][0]
        self.assertEqual((refused["kind"], refused["variable"]), ("native_unresolved", "CFLAGS"))
        self.assertIn(node["id"], refused["required_by"])
        self.assertIn("no-such-cc", refused["message"])
        self.assertEqual(node["native"]["CFLAGS"], {"from": "-march=native", "to": None})

    def test_native_rust_only_matters_to_rust(self):
        self.tool("rustc", "exit 1\n")
        plan, node = self.native("rusty", RUSTFLAGS="-Ctarget-cpu=native")
        self.assertEqual([r["kind"] for r in plan["refusals"]], ["native_unresolved"])
        self.assertEqual(plan["refusals"][0]["required_by"], [node["id"]])
        self.doCleanups()
        self.tool("rustc", "exit 1\n")
        plan, node = self.native("native", RUSTFLAGS="-Ctarget-cpu=native")
        self.assertEqual(plan["refusals"], [])
        self.assertIsNone(node["native"]["RUSTFLAGS"]["to"])

    # -- edges ----------------------------------------------------------------

    def test_edges(self):
        edges = self.edges_from(self.full, self.node["id"])
        classes = {to.split(":")[1]: e["classes"] for to, e in edges.items()}
        self.assertEqual(
            classes,
            {
                "dev-build/tool-1": ["BDEPEND"],
                "dev-libs/lib-2.1": ["DEPEND", "RDEPEND"],
                "dev-libs/docs-1": ["DEPEND"],
                "virtual/thing-0": ["RDEPEND"],
                "app-misc/plugin-1": ["PDEPEND"],
                "dev-build/register-1": ["IDEPEND"],
            },
        )
        atom = edges["ebuild:dev-libs/lib-2.1::test"]["atoms"][0]
        self.assertEqual(atom["atom"], "dev-libs/lib:=[foo]")
        self.assertEqual((atom["slot_operator"], atom["resolved"]), ("=", "dev-libs/lib:2/2.1="))
        self.assertEqual(edges["ebuild:dev-libs/docs-1::test"]["satisfied_by_installed"], False)

    def test_virtual_leads_to_the_chosen_provider(self):
        edges = self.edges_from(self.full, "ebuild:virtual/thing-0::test")
        self.assertEqual(list(edges), ["ebuild:app-misc/thing-a-1::test"])

    def test_package_provided_removes_the_edge(self):
        plan = world.plan("app-misc/uses-provided")
        self.assertEqual(plan["success"], True)
        self.assertNotIn("app-misc/provided-1", {n["cpv"] for n in plan["nodes"]})
        plan = world.plan("app-misc/provided")
        self.assertEqual([w["kind"] for w in plan["warnings"]], ["pprovided_args"])

    def test_runtime_cycle(self):
        plan = world.plan("app-cycle/run-a")
        self.assertEqual(
            plan["cycles"],
            [{"kind": "runtime", "nodes": ["ebuild:app-cycle/run-a-1::test", "ebuild:app-cycle/run-b-1::test"]}],
        )

    def test_blockers(self):
        plan = world.plan("app-misc/soft")
        self.assertEqual(
            [(b["atom"], b["kind"], b["parents"]) for b in plan["blockers"]],
            [("!app-misc/ghost", "weak", ["ebuild:app-misc/soft-1::test"])],
        )

    def test_target_root_beside_the_running_root(self):
        root = f"{world.top}/elsewhere"
        os.makedirs(root, exist_ok=True)
        plan = world.plan("app-misc/full", ROOT=root, SYSROOT=root)
        self.assertEqual(plan["refusals"], [])
        full = next(n for n in plan["nodes"] if n["package"] == "full" and "@" not in n["id"])
        self.assertEqual(full["root"], f"{root}{world.prefix}/")
        tools = [to for to in self.edges_from(plan, full["id"]) if "dev-build/tool" in to]
        self.assertEqual(tools, [f"ebuild:dev-build/tool-1::test@{world.prefix}/"])


class InstalledTest(unittest.TestCase):
    """With app-misc/done and its dependency really installed by emerge."""

    @classmethod
    def setUpClass(cls):
        world.emerge("--oneshot", "--quiet", "app-misc/done")
        cls.plan = world.plan("app-misc/needs-done")
        cls.nodes = {n["id"]: n for n in cls.plan["nodes"]}

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(f"{world.prefix}/var/db/pkg")

    def test_installed_nodes(self):
        self.assertEqual([m["node"] for m in self.plan["merge"]], ["ebuild:app-misc/needs-done-1::test"])
        done = self.nodes["installed:app-misc/done-1"]
        self.assertEqual((done["kind"], done["operation"], done["sub_slot"]), ("installed", "nomerge", "3"))
        self.assertLess(abs(done["build_time"] - time.time()), 3600)
        self.assertRegex(done["metadata_sha256"], "^[0-9a-f]{64}$")
        self.assertIn("flag", done["use"])
        # Complete: what an installed dependency needs in turn is there too.
        self.assertIn("installed:app-misc/below-1", self.nodes)

    def test_edges(self):
        edge = next(e for e in self.plan["edges"] if e["to"] == "installed:app-misc/done-1")
        self.assertEqual(edge["classes"], ["BDEPEND", "RDEPEND"])
        self.assertTrue(edge["satisfied_by_installed"])
        resolved = {a["resolved"] for a in edge["atoms"]}
        self.assertEqual(resolved, {None, "app-misc/done:0/3="})

    def test_digest_follows_the_build(self):
        entry = f"{world.prefix}/var/db/pkg/app-misc/done-1"
        before = self.nodes["installed:app-misc/done-1"]["metadata_sha256"]
        for name, changes in (("USE", True), ("BUILD_TIME", True), ("NEEDED.ELF.2", True), ("COUNTER", False)):
            with self.subTest(name):
                path = f"{entry}/{name}"
                existed = os.path.exists(path)
                text = read(path) if existed else ""
                write(path, "99\n" if name != "USE" else text.strip() + " other\n")
                plan = world.plan("app-misc/needs-done")
                node = next(n for n in plan["nodes"] if n["id"] == "installed:app-misc/done-1")
                write(path, text) if existed else os.unlink(path)
                self.assertEqual(node["metadata_sha256"] != before, changes)

    def test_build_root_lists_installed_packages(self):
        packages = self.plan["build_root"]["packages"]
        self.assertTrue([p for p in packages if p.startswith("app-misc/done-1:0/3::test BUILD_TIME=")], packages[:3])
        self.assertEqual(packages, sorted(packages))

    def test_build_cycle_with_installed_packages(self):
        world.emerge("--oneshot", "--quiet", "--nodeps", "app-cycle/hard-a", "app-cycle/hard-b")
        plan = world.plan("--emptytree", "app-cycle/hard-a")
        self.assertEqual(plan["refusals"], [])
        pair = ["ebuild:app-cycle/hard-a-1::test", "ebuild:app-cycle/hard-b-1::test"]
        self.assertEqual(plan["cycles"], [{"kind": "build", "nodes": pair}])
        edge = next(e for e in plan["edges"] if [e["from"], e["to"]] == pair)
        self.assertTrue(edge["satisfied_by_installed"])

    def test_uninstall(self):
        world.emerge("--oneshot", "--quiet", "app-misc/ghost")
        plan = world.plan("app-misc/soft")
        self.assertIn({"node": "installed:app-misc/ghost-1", "operation": "uninstall"}, plan["merge"])
        ghost = next(n for n in plan["nodes"] if n["id"] == "installed:app-misc/ghost-1")
        self.assertEqual(ghost["operation"], "uninstall")
        self.assertEqual(plan["blockers"][0]["blocked"], ["installed:app-misc/ghost-1"])

    def test_everything_installed_is_a_plan_too(self):
        plan = world.plan("--noreplace", "app-misc/done")
        self.assertEqual((plan["status"], [m["operation"] for m in plan["merge"]]), (0, ["nomerge"] * len(plan["merge"])))


class RefusalTest(unittest.TestCase):
    maxDiff = None

    def refused(self, *arguments, status=1, **extra):
        plan = world.plan(*arguments, **extra)
        self.assertEqual((plan["status"], plan["success"]), (status, False), plan["refusals"])
        self.assertTrue(plan["refusals"])
        self.assertEqual((plan["merge"], plan["nodes"], plan["edges"]), ([], [], []))
        for refusal in plan["refusals"]:
            for key in ("kind", "atom", "required_by", "message", "remedy", "candidates"):
                self.assertIn(key, refusal)
            self.assertTrue(refusal["message"].rstrip().endswith((".", "::test")) or status == 2, refusal["message"])
            self.assertNotIn("null/", json.dumps(refusal))
        return plan

    def one(self, kind, *arguments, **extra):
        plan = self.refused(*arguments, **extra)
        self.assertEqual([r["kind"] for r in plan["refusals"]], [kind], plan["refusals"])
        return plan["refusals"][0]

    def line(self, refusal, file, line):
        path = f"{world.etc}/{file}"
        self.assertEqual((refusal["remedy_file"], refusal["remedy_line"]), (path, line))
        self.assertEqual(refusal["remedy"], f'Run: echo "{line}" >> {path}')

    def heals(self, refusals, *arguments):
        """The remedies' lines make the same request succeed."""
        files = {r["remedy_file"] for r in refusals}
        kept = {f: read(f) for f in files if os.path.exists(f)}
        try:
            for refusal in refusals:
                os.makedirs(os.path.dirname(refusal["remedy_file"]), exist_ok=True)
                with open(refusal["remedy_file"], "a", encoding="utf-8") as file:
                    file.write(refusal["remedy_line"] + "\n")
            plan = world.plan(*arguments)
            self.assertEqual(plan["refusals"], [])
        finally:
            for file in files:
                os.unlink(file)
            for file, text in kept.items():
                write(file, text)

    def test_keyword(self):
        refusal = self.one("keyword", "app-no/testing")
        self.line(refusal, "package.accept_keywords", "=app-no/testing-2 ~amd64")
        self.assertEqual((refusal["atom"], refusal["required_by"]), ("app-no/testing", ["app-no/testing"]))
        self.assertEqual(refusal["candidates"][0]["cpv"], "app-no/testing-2")
        self.heals([refusal], "app-no/testing")

    def test_remedy_goes_into_a_directory(self):
        directory = f"{world.etc}/package.accept_keywords"
        os.mkdir(directory)
        self.addCleanup(shutil.rmtree, directory)
        refusal = self.one("keyword", "app-no/testing")
        self.assertEqual(refusal["remedy_file"], f"{directory}/testing")

    def test_no_keyword(self):
        refusal = self.one("keyword", "app-no/nokeyword")
        self.line(refusal, "package.accept_keywords", "=app-no/nokeyword-9999 **")
        self.heals([refusal], "app-no/nokeyword")

    def test_license(self):
        refusal = self.one("license", "app-no/licence")
        self.line(refusal, "package.license", "app-no/licence Evil")
        self.assertEqual(refusal["licenses"], ["Evil"])
        self.heals([refusal], "app-no/licence")

    def test_masked(self):
        refusal = self.one("masked", "app-no/masked")
        self.line(refusal, "package.unmask", "=app-no/masked-1")
        self.assertIn("Broken since ever", refusal["mask_comment"])
        self.assertEqual(refusal["mask_file"], f"{world.repo}/profiles/package.mask")
        self.heals([refusal], "app-no/masked")

    def test_properties(self):
        plan = self.refused("app-no/interactive", ACCEPT_PROPERTIES="-interactive")
        self.line(plan["refusals"][0], "package.properties", "app-no/interactive interactive")

    def test_unsupported_eapi(self):
        refusal = self.one("masked", "app-no/future")
        self.assertIn("EAPI", refusal["message"])

    def test_all_changes_are_named_at_once(self):
        plan = self.refused("app-no/needs-testing")
        self.assertEqual(sorted(r["kind"] for r in plan["refusals"]), ["keyword", "license"])
        for refusal in plan["refusals"]:
            self.assertEqual(refusal["required_by"], ["ebuild:app-no/needs-testing-1::test", "app-no/needs-testing"])
        self.heals(plan["refusals"], "app-no/needs-testing")

    def test_use_change(self):
        refusal = self.refused("app-no/needs-use", "dev-libs/docs")["refusals"][0]
        self.assertEqual((refusal["kind"], refusal["changes"]), ("use_change", {"bar": True}))
        self.line(refusal, "package.use", ">=dev-libs/lib-2.1 bar")

    def test_use_changes_together(self):
        plan = self.refused("app-no/needs-use")
        self.assertEqual({r["kind"] for r in plan["refusals"]}, {"use_change"})
        self.heals(plan["refusals"], "app-no/needs-use")

    def test_use_flag_fixed_by_the_profile(self):
        refusal = self.one("use_change", "app-no/needs-fixed")
        self.line(refusal, "profile/package.use.mask", "app-no/fixed -frozen")

    def test_missing_iuse(self):
        refusal = self.one("missing_iuse", "app-no/needs-iuse")
        self.assertEqual(refusal["flags"], ["nosuchflag"])
        self.assertEqual(refusal["atom"], "dev-libs/lib[nosuchflag]")

    def test_required_use(self):
        for argument in ("app-no/required", "app-no/needs-required"):
            refusal = self.one("required_use", argument)
            self.assertEqual(refusal["unmet"], "^^ ( a b )")
            self.line(refusal, "package.use", ">=app-no/required-1 a")
            self.heals([refusal], argument)

    def test_unsatisfied_version(self):
        refusal = self.one("unsatisfied", "app-no/newer")
        self.assertEqual([c["cpv"] for c in refusal["candidates"]], ["dev-libs/lib-1.0", "dev-libs/lib-2.1"])
        self.assertEqual(refusal["atom"], ">=dev-libs/lib-7")

    def test_unknown_package(self):
        refusal = self.one("unknown_package", "app-no/unknown")
        self.assertIn({"cp": "dev-libs/lib"}, refusal["candidates"])
        self.assertEqual(refusal["required_by"], ["ebuild:app-no/unknown-1::test", "app-no/unknown"])
        refusal = self.one("unknown_package", "plugim")
        self.assertIn("app-misc/plugin", refusal["remedy"])

    def test_circular(self):
        refusal = self.one("circular", "app-cycle/hard-a")
        self.assertEqual(
            set(refusal["cycle"]), {"ebuild:app-cycle/hard-a-1::test", "ebuild:app-cycle/hard-b-1::test"}
        )
        self.assertEqual([e["classes"] for e in refusal["edges"]], [["DEPEND"], ["DEPEND"]])
        self.assertIn("package.provided", refusal["remedy"])

    def test_circular_with_a_way_out(self):
        refusal = self.one("circular", "app-cycle/build-a")
        self.line(refusal, "package.use", ">=app-cycle/build-a-1 -boot")
        self.heals([refusal], "app-cycle/build-a")

    def test_slot_conflict(self):
        plan = self.refused("app-no/slot-a", "app-no/slot-b")
        refusal = next(r for r in plan["refusals"] if r["kind"] == "slot_conflict")
        self.assertEqual(
            [c["node"] for c in refusal["candidates"]],
            ["ebuild:app-no/shared-1::test", "ebuild:app-no/shared-2::test"],
        )
        self.assertEqual(
            refusal["required_by"], ["ebuild:app-no/slot-a-1::test", "ebuild:app-no/slot-b-1::test"]
        )

    def test_blocker(self):
        refusal = self.one("blocker", "app-no/blocker", "app-no/blocked")
        self.assertEqual((refusal["atom"], refusal["strength"]), ("!!app-no/blocked", "strong"))
        self.assertEqual(refusal["candidates"], [{"node": "ebuild:app-no/blocked-1::test"}])

    def test_ambiguous(self):
        refusal = self.one("ambiguous", "same")
        self.assertEqual(refusal["candidates"], [{"cp": "app-x/same"}, {"cp": "app-y/same"}])
        self.assertIn("app-x/same or app-y/same", refusal["message"])

    def test_invalid_atom(self):
        refusal = self.one("invalid_atom", "app-misc/full-1.2-r3")
        self.assertIn("=app-misc/full-1.2-r3", refusal["remedy"])
        self.one("invalid_atom", "full[")

    def test_set_not_found(self):
        refusal = self.one("set_not_found", "@nosuch")
        self.assertIn({"set": "@world"}, refusal["candidates"])

    def test_text_is_what_portage_said(self):
        plan = self.refused("app-no/testing")
        self.assertIn("All ebuilds that could satisfy", plan["text"])
        self.assertIn("All ebuilds that could satisfy", plan["stderr"])

    # -- usage and configuration ----------------------------------------------

    def test_unknown_option(self):
        refusal = self.one("configuration", "--no-such-option", "app-misc/full", status=2)
        self.assertIn("--no-such-option", refusal["message"])

    def test_nothing_asked(self):
        self.one("configuration", status=2)

    def test_other_action(self):
        self.one("configuration", "--unmerge", "app-misc/full", status=2)

    def test_invalid_profile(self):
        refusal = self.one("configuration", "app-misc/full", status=2, PORTAGE_CONFIGROOT=f"{world.top}/home")
        self.assertIn("make.profile", refusal["message"])

    def test_no_repositories(self):
        for repositories in ("", f"[gone]\nlocation = {world.top}/gone\n"):
            plan = self.refused("app-misc/full", status=2, PORTAGE_REPOSITORIES=repositories)
            self.assertEqual(plan["refusals"][0]["kind"], "configuration")

    def test_broken_configuration(self):
        conf = f"{world.etc}/make.conf"
        text = read(conf)
        self.addCleanup(write, conf, text)
        write(conf, text + 'USE="unterminated\n')
        self.one("configuration", "app-misc/full", status=2)

    def test_exception(self):
        # A Portage whose resolver is gone.
        write(f"{world.top}/broken/_emerge/__init__.py")
        path = os.pathsep.join([f"{world.top}/broken", world.environment()["PYTHONPATH"]])
        refusal = self.one("exception", "app-misc/full", status=2, PYTHONPATH=path)
        self.assertIn("_emerge.depgraph", refusal["message"])


class OptionTest(unittest.TestCase):
    def test_options_that_have_no_meaning_are_dropped(self):
        plan = world.plan("--usepkgonly", "--ask", "--autounmask=y", "--autounmask-write", "app-misc/full")
        self.assertEqual(plan["refusals"], [])
        ignored = {w["message"].split()[0] for w in plan["warnings"] if w["kind"] == "option_ignored"}
        self.assertEqual(ignored, {"--usepkgonly", "--ask", "--autounmask", "--autounmask-write"})

    def test_the_caller_may_say_otherwise(self):
        plan = world.plan("--nodeps", "app-misc/full")
        self.assertEqual([n["cpv"] for n in plan["nodes"]], ["app-misc/full-1.2-r3"])

    def test_nothing_is_written_to_the_configuration(self):
        before = sorted(os.path.join(d, f) for d, _, fs in os.walk(world.etc) for f in fs)
        world.plan("--autounmask-write", "--autounmask-continue", "app-no/testing")
        self.assertEqual(before, sorted(os.path.join(d, f) for d, _, fs in os.walk(world.etc) for f in fs))

    def test_sets(self):
        plan = world.plan("--emptytree", "@system")
        self.assertEqual([m["node"] for m in plan["merge"]], ["ebuild:dev-build/tool-1::test"])


class DeterminismTest(unittest.TestCase):
    def test_same_output_under_any_hash_seed(self):
        for arguments in (["app-misc/full", "@system"], ["app-no/needs-testing", "app-no/needs-use"], ["app-cycle/hard-a"]):
            outputs = set()
            for seed in ("1", "2", None):
                text = world.raw(*arguments, PYTHONHASHSEED=seed).stdout
                outputs.add(re.sub(r'"timing": \{[^}]*\}', "", text))
            self.assertEqual(len(outputs), 1, arguments)


class IdentityTest(unittest.TestCase):
    def test_identity(self):
        os.makedirs(f"{world.prefix}/etc/env.d", exist_ok=True)
        made = write(f"{world.prefix}/etc/env.d/99x", "A=1\n")
        self.addCleanup(os.unlink, made)
        identity = json.loads(world.raw("--identity").stdout)
        self.assertEqual(set(identity), {"packages", "toolchain", "environment_files"})
        self.assertEqual(identity["environment_files"], {made: sha256(made)})
        self.assertEqual(identity, world.plan("dev-libs/docs")["build_root"])

    def test_toolchain(self):
        tools = json.loads(world.raw("--identity").stdout)["toolchain"]
        roles = "cc c++ cc1 cc1plus as ld ar rustc cargo go python3 libc make bash portage pkg-config".split()
        self.assertEqual(sorted(tools), sorted(roles))
        for role in ("cc", "cc1", "as", "ld", "bash", "libc"):
            tool = tools[role]
            self.assertEqual(tool["sha256"], sha256(os.path.realpath(tool["path"])), role)
            self.assertTrue(tool["version"], role)

    def test_absent_tools_are_null(self):
        environment = world.environment()
        tools = json.loads(world.raw("--identity").stdout)["toolchain"]
        for role in ("rustc", "cargo", "go", "make", "pkg-config"):
            path = environment["PATH"] + ":/usr/local/bin"
            names = (role, "pkgconf") if role == "pkg-config" else (role,)
            self.assertEqual(tools[role] is not None, any(shutil.which(n, path=path) for n in names), role)

    def test_debian_packages(self):
        packages = json.loads(world.raw("--identity").stdout)["packages"]
        installed = []
        if os.path.exists("/var/lib/dpkg/status"):
            form = "${db:Status-Abbrev}|dpkg ${Package} ${Version} ${Architecture}\n"
            listed = subprocess.check_output(["dpkg-query", "-W", "-f", form], text=True)
            installed = sorted(line.split("|")[1] for line in listed.splitlines() if line.startswith("ii "))
        self.assertEqual(installed, [p for p in packages if p.startswith("dpkg ")])

    def test_probe(self):
        probed = json.loads(world.raw("--probe").stdout)
        self.assertEqual(set(probed), {"schema", "portage", "python"})
        self.assertRegex(probed["portage"], r"^\d+\.\d+")


if __name__ == "__main__":
    unittest.main()
