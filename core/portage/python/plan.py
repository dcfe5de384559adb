#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compute an emerge plan with the machine's own Portage and print it as JSON.

    plan.py [emerge options] ATOMS|@sets    the plan (schema: PLAN.md)
    plan.py --identity                      only the build root's identity
    plan.py --probe                         only schema, Portage and Python versions

stdout carries exactly one JSON document; everything Portage says goes to
stderr.  Exit status: 0 plan found, 1 the request was refused (see "refusals"),
2 usage or configuration error (also a refusal).  Nothing is installed, fetched
or written to the configuration.

Portage has no stable API for any of this, so nearly everything read here is
private.  Each such access goes through Probes, which turns a failure into a
null and a line in generator.probes instead of a crash.  Run it in a scrubbed
environment (env -i): what the caller exports reaches the exported build
environment exactly as it would reach a real build.
"""

import difflib
import functools
import hashlib
import importlib
import io
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import time
import traceback

SCHEMA = 1
EXIT_OK, EXIT_REFUSED, EXIT_CONFIG = 0, 1, 2
DEP_CLASSES = ("BDEPEND", "DEPEND", "RDEPEND", "PDEPEND", "IDEPEND")
BUILD_CLASSES = frozenset(("BDEPEND", "DEPEND"))

# Variables of config.environ() that are not exported.  Only what is volatile
# (differs between two runs over the same input), what this program itself
# needs, or bulk bookkeeping of Portage's; key membership is decided elsewhere.
DROPPED_VARIABLES = frozenset(
    """
    BASH_FUNC____in_portage_iuse%% PORTAGE_IUSE
    IUSE_EFFECTIVE PORTAGE_ARCHLIST PORTAGE_REPOSITORIES PORTAGE_REPO_REVISIONS
    PORTAGE_INTERNAL_CALLER PORTAGE_FORK_DEP_CALC PYTHONHASHSEED
    PORTAGE_COLORMAP PORTAGE_QUIET PORTAGE_VERBOSE PORTAGE_DEBUG
    NO_COLOR NOCOLOR COLORTERM TERM COLUMNS LINES LS_COLORS
    PWD OLDPWD SHLVL _ CLEAN_DELAY EMERGE_WARNING_DELAY EMERGE_DEFAULT_OPTS
    """.split()
)
DROPPED_PREFIXES = ("USE_EXPAND_VALUES_", "PORTAGE_ELOG_", "FETCHCOMMAND", "RESUMECOMMAND")

# Options that change nothing but the display, ask, write, or use binary
# packages; the last would change node types and build dependencies and so
# every key derived from the plan.
DROPPED_OPTIONS = frozenset(
    """
    --alphabetical --ask --ask-enter-invalid --autounmask --autounmask-backtrack
    --autounmask-continue --autounmask-keep-keywords --autounmask-keep-license
    --autounmask-keep-masks --autounmask-keep-use --autounmask-license
    --autounmask-only --autounmask-unrestricted-atoms --autounmask-use
    --autounmask-write --buildpkg --buildpkgonly --circular-deps-report
    --columns --fetch-all-uri --fetchonly --getbinpkg --getbinpkgonly
    --getbinpkg-exclude --getbinpkg-include --quiet --rebuilt-binaries --resume
    --skipfirst --tree --unordered-display --usepkg --usepkgonly
    --usepkg-exclude --usepkg-exclude-live --usepkg-include --verbose
    """.split()
)

# EMERGE_DEFAULT_OPTS is written for interactive use (--ask, --jobs,
# --getbinpkg, --autounmask-write ...), and two machines with the same
# configuration should get the same plan; only the search bound is taken, as it
# decides whether a plan is found but not what a plan means.
HARMLESS_DEFAULT_OPTIONS = ("--backtrack",)

# Files of an installed package's database entry that metadata_sha256 covers.
# Absent on purpose: CONTENTS and SIZE (follow from the rest), COUNTER (merge
# order), environment.bz2 (holds paths and times).
VDB_DIGEST_FILES = tuple(
    """
    BDEPEND BUILD_ID BUILD_TIME CATEGORY CBUILD CFLAGS CHOST CXXFLAGS
    DEFINED_PHASES DEPEND EAPI FEATURES IDEPEND INHERITED IUSE KEYWORDS LDFLAGS
    LICENSE NEEDED NEEDED.ELF.2 PDEPEND PF PROPERTIES PROVIDES RDEPEND REQUIRES
    RESTRICT SLOT USE USER_PATCHES repository
    """.split()
)

MASK_FILES = {
    "KEYWORDS": ("keyword", "package.accept_keywords"),
    "LICENSE": ("license", "package.license"),
    "package.mask": ("masked", "package.unmask"),
    "PROPERTIES": ("masked", "package.properties"),
    "RESTRICT": ("masked", "package.accept_restrict"),
}


class Refused(Exception):
    """Stops the run with one refusal and an exit status."""

    def __init__(self, status, kind, message, remedy, **fields):
        super().__init__(message)
        self.status = status
        self.refusal = refusal(kind, message, remedy, **fields)


class Unresolved(Exception):
    """A "native" compiler flag that could not be made concrete."""


def refusal(kind, message, remedy, atom=None, required_by=(), candidates=(), **fields):
    return dict(
        fields,
        kind=kind,
        atom=atom,
        required_by=list(required_by),
        message=message,
        remedy=remedy,
        candidates=list(candidates),
    )


class Probes:
    """Runs accesses to private API and remembers which ones failed, and why."""

    def __init__(self):
        self.results = {}

    def __call__(self, name, access, default=None):
        try:
            value = access()
        except Exception as error:
            self.results[name] = f"{type(error).__name__}: {error}"
            return default
        self.results.setdefault(name, True)
        return value

    def load(self, module, *names):
        """Attributes of a module, None for each one that is missing."""
        found = self(module, lambda: importlib.import_module(module))
        loaded = [self(f"{module}.{n}", lambda: getattr(found, n)) for n in names]
        return loaded[0] if len(loaded) == 1 else loaded


probe = Probes()


# ------------------------------------------------------------------ small tools


@functools.lru_cache(maxsize=None)
def sha256_file(path):
    """Digest of a file's bytes; None when it cannot be read."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
        return digest.hexdigest()
    except OSError:
        return None


@functools.lru_cache(maxsize=None)
def list_dir(path):
    """Sorted names in a directory, () when there is none."""
    try:
        return tuple(sorted(os.listdir(path), key=os.fsencode))
    except OSError:
        return ()


def walk_files(path):
    """Every file at or below a path, sorted."""
    if os.path.isfile(path):
        return [path]
    return sorted(os.path.join(d, f) for d, _, files in os.walk(path) for f in files)


def read_text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def strongly_connected(successors):
    """Tarjan's algorithm without recursion: components of more than one node."""
    index, low, on_stack, stack, components = {}, {}, set(), [], []
    for root in sorted(successors):
        if root in index:
            continue
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        work = [(root, iter(sorted(successors[root])))]
        while work:
            node, children = work[-1]
            for child in children:
                if child not in index:
                    index[child] = low[child] = len(index)
                    stack.append(child)
                    on_stack.add(child)
                    work.append((child, iter(sorted(successors[child]))))
                    break
                if child in on_stack:
                    low[node] = min(low[node], index[child])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = []
                    while not component or component[-1] != node:
                        component.append(stack.pop())
                        on_stack.discard(component[-1])
                    if len(component) > 1 or node in successors[node]:
                        components.append(sorted(component))
    return sorted(components)


# ------------------------------------------------------- identity of the root


def host_prefix():
    """Where the tools that build run from: "/" or the Prefix."""
    if "EPREFIX" in os.environ:
        return os.environ["EPREFIX"]
    return probe("portage.const", lambda: importlib.import_module("portage").const.EPREFIX, "")


def search_path(prefix):
    """Directories a build looks for tools in, like Portage's own PATH."""
    path = re.search(r"^export PATH='(.*)'$", read_text(prefix + "/etc/profile.env"), re.M)
    parts = path.group(1).split(":") if path else []
    parts += os.environ.get("PATH", "").split(":")
    for base in (prefix, "") if prefix else ("",):
        parts += [base + d for d in ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")]
    return list(dict.fromkeys(p for p in parts if p))


def which(name, path):
    if os.path.isabs(name):
        return name if os.access(name, os.X_OK) else None
    for directory in path:
        candidate = os.path.join(directory, name)
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    return None


def start(argv, path, **kwargs):
    environment = {"PATH": ":".join(path), "LC_ALL": "C", "HOME": os.environ.get("HOME", "/")}
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment,
        encoding="utf-8",
        errors="replace",
        **kwargs,
    )


def finish(process):
    """What a tool printed; "" when it failed or hung."""
    try:
        output = process.communicate(timeout=20)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return ""
    return output if process.returncode == 0 else ""


def toolchain(path):
    """The tools every build uses, each by path, version and content."""
    commands = {
        "cc": ("gcc", "cc", "clang"),
        "c++": ("g++", "c++", "clang++"),
        "as": ("as",),
        "ld": ("ld",),
        "ar": ("ar",),
        "rustc": ("rustc",),
        "cargo": ("cargo",),
        "go": ("go",),
        "python3": ("python3",),
        "make": ("make",),
        "bash": ("bash",),
        "pkg-config": ("pkg-config", "pkgconf"),
    }
    found = {r: next(filter(None, (which(n, path) for n in names)), None) for r, names in commands.items()}
    # Every process is started before any is waited for: the versions then cost
    # about as much as the slowest of them, and hashing overlaps with them.
    running = {
        role: start([file, "version" if role == "go" else "--version"], path, stderr=subprocess.STDOUT)
        for role, file in found.items()
        if file
    }
    if found["cc"]:
        for role in ("cc1", "cc1plus"):
            running[role] = start([found["cc"], f"-print-prog-name={role}"], path, stderr=subprocess.DEVNULL)
    for role in ("cc1", "cc1plus"):
        file = finish(running.pop(role)).strip() if role in running else ""
        found[role] = file if os.path.isabs(file) else None
    tools = {role: None for role in (*found, "libc", "portage")}
    for role, file in found.items():
        if file:
            real = os.path.realpath(file)
            tools[role] = {"path": file, "sha256": sha256_file(real), "version": None}
    for role, process in running.items():
        tools[role]["version"] = (finish(process).strip().splitlines() or [None])[0]
    for role in ("cc1", "cc1plus"):
        if tools[role]:  # part of the driver's package, and has no --version itself
            tools[role]["version"] = tools["cc"]["version"]
    maps = re.search(r" (/\S*/(?:libc\.so\.6|libc-[\d.]+\.so|ld-musl\S*))$", read_text("/proc/self/maps"), re.M)
    if maps:
        version = probe("libc version", lambda: os.confstr("CS_GNU_LIBC_VERSION"))
        tools["libc"] = {"path": maps.group(1), "sha256": sha256_file(maps.group(1)), "version": version}
    portage = probe("portage", lambda: importlib.import_module("portage"))
    if portage:
        tools["portage"] = {
            "path": os.path.dirname(portage.__file__),
            # Not only the version: people patch it, and its shell code runs in every build.
            "sha256": probe("portage files", lambda: sha256_trees(portage_directories(portage))),
            "version": probe("portage.VERSION", lambda: str(portage.VERSION)),
        }
    return tools


def portage_directories(portage):
    """Where the code of Portage is that runs builds: its two Python packages, and its shell code and helpers."""
    emerge = importlib.import_module("_emerge")
    return [
        os.path.dirname(portage.__file__),
        os.path.dirname(emerge.__file__),
        importlib.import_module("portage.const").PORTAGE_BIN_PATH,
    ]


def sha256_trees(directories):
    """Digest of every source file below the directories: name and content."""
    digest = hashlib.sha256()
    for directory in directories:
        for file in walk_files(directory):
            if not file.endswith((".pyc", ".pyo")):
                digest.update(f"{os.path.relpath(file, directory)} {sha256_file(file)}\n".encode())
    return digest.hexdigest()


def installed_packages(prefix, path):
    """One line per package installed in the root, whatever installed it."""
    target = os.environ.get("ROOT", "/").rstrip("/") + prefix
    running = probe("portage.const", lambda: importlib.import_module("portage").const.EPREFIX, "").rstrip("/")
    lines = vdb_lines(target, "")
    if target != running:  # a target root beside the one the tools run from
        lines += vdb_lines(running, "broot ")
    for stanza in read_text("/var/lib/dpkg/status").split("\n\n"):
        if "\nStatus: install ok installed" in stanza:
            fields = dict(line.split(": ", 1) for line in stanza.split("\n") if re.match(r"(Package|Version|Architecture): ", line))
            lines.append("dpkg {Package} {Version} {Architecture}".format_map(fields))
    rpm = os.path.isdir("/var/lib/rpm") and which("rpm", path)
    if rpm:
        query = [rpm, "-qa", "--qf", r"rpm %{NAME} %{EPOCH}:%{VERSION}-%{RELEASE} %{ARCH}\n"]
        lines += finish(start(query, path, stderr=subprocess.DEVNULL)).splitlines()
    return sorted(lines)


def vdb_lines(eroot, label):
    database = eroot + "/var/db/pkg"
    lines = []
    for category in list_dir(database):
        for name in list_dir(f"{database}/{category}"):
            entry = f"{database}/{category}/{name}"
            slot = read_text(entry + "/SLOT")
            if slot and not name.startswith("-MERGING-"):
                facts = [read_text(f"{entry}/{f}") for f in ("repository", "BUILD_TIME", "BUILD_ID")]
                lines.append("{}{}/{}:{}::{} BUILD_TIME={} BUILD_ID={}".format(label, category, name, slot, *facts))
    return lines


def build_root():
    """Identity of everything a build can see without declaring it."""
    prefix = host_prefix().rstrip("/")
    path = search_path(prefix)
    files = [prefix + f"/etc/{name}" for name in ("locale.gen", "ld.so.conf", "localtime", "gentoo-release")]
    for directory in ("/etc/env.d", "/etc/ld.so.conf.d", "/etc/python-exec", "/etc/eselect"):
        files += walk_files(prefix + directory)
    return {
        "packages": installed_packages(prefix, path),
        "toolchain": toolchain(path),
        "environment_files": {f: sha256_file(f) for f in files if os.path.isfile(f)},
    }


# ------------------------------------------------- concrete "native" flags

NATIVE_MACHINE = re.compile(r"-m(?:arch|cpu|tune)=native$")
NATIVE_RUST = re.compile(r"(?:(?:-C|--codegen)[ =]?)target-cpu=native(?!\S)")


def effective(words):
    """{option: the word that decides it}: drivers drop words that are overruled."""
    return {w if isinstance(w, tuple) else re.sub(r"^-m(?:no-)?|=.*", "", w): w for w in words}


class NativeResolver:
    """Replaces "native" by what this machine's compilers make of it.

    The answer depends on the compiler as much as on the processor, so the
    compiler of the package at hand is asked.  Cache sizes (--param l1-...) are
    left out: they only tune, and would part machines of the same kind.
    """

    def __init__(self, path):
        self.path = path
        self.memo = {}

    def resolve(self, value, environment):
        """The value without "native"; raises Unresolved."""
        compiler = environment.get("CC"), environment.get("CHOST")
        key = (value, compiler, environment.get("RUSTC"))
        if key not in self.memo:
            try:
                result = value
                if any(NATIVE_MACHINE.match(w) for w in value.split()):
                    result = self.machine(result, *compiler)
                if NATIVE_RUST.search(value):
                    result = self.rust(result, environment.get("RUSTC") or "rustc")
                self.memo[key] = result
            except Unresolved as error:
                self.memo[key] = error
        if isinstance(self.memo[key], Unresolved):
            raise self.memo[key]
        return self.memo[key]

    def run(self, argv):
        try:
            process = start(argv, self.path, stderr=subprocess.STDOUT)
        except OSError as error:
            raise Unresolved(f"{argv[0]} cannot be run: {error}") from None
        output = finish(process)
        if not output:
            raise Unresolved(f"`{shlex.join(argv)}` failed")
        return output

    def machine(self, value, cc, chost):
        """All -m words of a value as the driver passes them to the compiler."""
        names = [shlex.split(cc)] if cc else [[f"{chost}-gcc"], ["gcc"]]
        command = next((n for n in names if n and which(n[0], self.path)), None)
        if command is None:
            raise Unresolved("no compiler found: " + " or ".join(" ".join(n) for n in names))
        words = value.split()
        given = [w for w in words if w.startswith("-m")]
        clang, wanted = self.driver(command, given)
        concrete = self.clang_words(command, given, wanted) if clang else wanted
        again = self.driver(command, concrete)[1]
        if effective(again) != effective(wanted) or any(NATIVE_MACHINE.match(w) for w in concrete):
            raise Unresolved(f"{command[0]} does not accept its own answer for {' '.join(given)}")
        # The driver puts what "native" stands for before the other -m words,
        # wherever they stand; replacing all of them keeps what it does.
        first = words.index(given[0])
        rest = [w for w in words[first:] if not w.startswith("-m")]
        return " ".join(words[:first] + concrete + rest)

    def driver(self, command, words):
        """(is clang, the -m words or target options given to the compiler proper)."""
        output = self.run([*command, *words, "-###", "-E", "-x", "c", "-"])
        for line in output.splitlines():
            if not re.search(r'cc1"? ', line):
                continue
            argv = shlex.split(line)
            if "-cc1" in argv:
                options = ("-target-cpu", "-target-feature", "-tune-cpu")
                return True, [(a, b) for a, b in zip(argv, argv[1:]) if a in options]
            return False, [w for w in argv[1:] if w.startswith("-m")]
        raise Unresolved(f"{command[0]} -### shows no compiler command")

    def clang_words(self, command, given, wanted):
        cpu = dict(wanted).get("-target-cpu")
        if not cpu:
            raise Unresolved(f"{command[0]} names no processor for native")
        named = [w.replace("=native", "=" + cpu) for w in given]
        have = self.driver(command, named)[1]
        extra = [b for a, b in wanted if a == "-target-feature" and (a, b) not in have]
        return named + [("-m" if f[0] == "+" else "-mno-") + f[1:] for f in extra]

    def rust(self, value, rustc):
        """Name and features; rustc only reports features that are stable."""
        if not which(rustc, self.path):
            raise Unresolved(f"no Rust compiler found: {rustc}")
        name = re.search(r"^\s*native\b.*\(currently (\S+)\)", self.run([rustc, "--print", "target-cpus"]), re.M)
        if not name:
            raise Unresolved(f"{rustc} names no processor for native")

        def features(cpu):
            printed = self.run([rustc, "--print", "cfg", "-C", f"target-cpu={cpu}"])
            return set(re.findall(r'^target_feature="([^"]+)"$', printed, re.M))

        native, named = features("native"), features(name.group(1))
        changes = ["+" + f for f in sorted(native - named)] + ["-" + f for f in sorted(named - native)]
        words = f"-Ctarget-cpu={name.group(1)}"
        if changes:
            words += " -Ctarget-feature=" + ",".join(changes)
        return NATIVE_RUST.sub(words, value)


# ------------------------------------------------------------- the exporter


class Exporter:
    """Reads a solved dependency graph out of Portage."""

    def __init__(self, config, graph):
        self.config = config
        self.graph = graph
        self.dynamic = graph._dynamic_config
        self.settings = config.target_config.settings
        self.target_root = self.settings["EROOT"]
        self.user_config = os.path.join(self.settings["PORTAGE_CONFIGROOT"], "etc/portage")
        self.Package = probe.load("_emerge.Package", "Package")
        self.Blocker = probe.load("_emerge.Blocker", "Blocker")
        self.use_reduce, self.Atom = probe.load("portage.dep", "use_reduce", "Atom")
        self.native = NativeResolver(search_path(host_prefix().rstrip("/")))
        self.use_expand = sorted(self.settings.get("USE_EXPAND", "").split(), key=lambda v: (-len(v), v))
        self.warnings = []
        self.refusals = {}
        self.memo_ids, self.memo_manifests, self.memo_classes = {}, {}, {}
        self.memo_settings, self.memo_repositories, self.memo_qa = {}, {}, {}

    def warn(self, kind, message, node=None):
        self.warnings.append({"kind": kind, "node": node, "message": message})

    # -- names ---------------------------------------------------------------

    def node_id(self, package):
        """Stable name; the root is part of it only beside the target root."""
        name = self.memo_ids.get(package)
        if name is None:
            name = f"{package.type_name}:{package.cpv}"
            if not package.installed:
                name += f"::{package.repo}"
            if package.root != self.target_root:
                name += f"@{package.root}"
            self.memo_ids[package] = name
        return name

    def label(self, node):
        if isinstance(node, self.Package):
            return self.node_id(node)
        return str(getattr(node, "arg", node))

    def use(self, package):
        """Enabled flags the package knows (implicit ones of the profile too)."""
        enabled = self.graph._pkg_use_enabled(package)
        return sorted(f for f in enabled if package.iuse.is_valid_flag(f))

    # -- nodes ---------------------------------------------------------------

    def node(self, package):
        name = self.node_id(package)
        metadata = package._metadata
        use = probe("use", lambda: self.use(package), [])
        category, _, version_name = str(package.cpv).partition("/")
        short = package.cp.partition("/")[2]
        node = {
            "id": name,
            "kind": package.type_name,
            "operation": package.operation,
            "root": package.root,
            "cpv": str(package.cpv),
            "category": category,
            "package": short,
            "version": version_name[len(short) + 1 :],
            "slot": package.slot,
            "sub_slot": package.sub_slot,
            "repo": package.repo,
            "eapi": package.eapi,
            "keywords": sorted((metadata.get("KEYWORDS") or "").split()),
            "license": " ".join((metadata.get("LICENSE") or "").split()),
            "iuse": sorted((metadata.get("IUSE") or "").split()),
            "use": use,
            "use_expand": self.expanded(use),
            "properties": probe("properties", lambda: sorted(package.properties), []),
            "restrict": probe("restrict", lambda: sorted(package.restrict), []),
            "defined_phases": probe("defined_phases", lambda: sorted(set(package.defined_phases) - {"-"}), []),
        }
        if package.installed:
            node["build_time"] = probe("build_time", lambda: int(package.build_time))
            node["build_id"] = probe("build_id", lambda: package.build_id and int(package.build_id))
            node["metadata_sha256"] = probe("vdb", lambda: self.installed_digest(package))
        elif not package.built:
            settings = probe("config.setcpv", lambda: self.package_settings(package))
            if settings is not None:
                environment = probe("config.environ", lambda: self.environment(settings), {})
                node["native"] = self.make_concrete(environment, name, package)
                node["environment"] = environment
            node["ebuild"] = self.ebuild(package, use, settings, name)
        return node

    def expanded(self, use):
        """{VARIABLE: values} of the flags that belong to USE_EXPAND."""
        values = {}
        for flag in use:
            for variable in self.use_expand:
                prefix = variable.lower() + "_"
                if flag.startswith(prefix):
                    values.setdefault(variable, []).append(flag[len(prefix) :])
                    break
        return values

    def installed_digest(self, package):
        directory = package.root_config.trees["vartree"].dbapi.getpath(str(package.cpv))
        digest = hashlib.sha256()
        for name in VDB_DIGEST_FILES:
            try:
                with open(os.path.join(directory, name), "rb") as file:
                    content = file.read()
            except OSError:
                continue
            digest.update(f"{name} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    def package_settings(self, package):
        """The configuration as the phases of this package would get it."""
        settings = self.memo_settings.get(package.root)
        if settings is None:
            config = importlib.import_module("portage").config
            settings = config(clone=package.root_config.settings)
            self.memo_settings[package.root] = settings
        settings.setcpv(package)
        return settings

    def environment(self, settings):
        return {
            name: value
            for name, value in settings.environ().items()
            if name not in DROPPED_VARIABLES and not name.startswith(DROPPED_PREFIXES)
        }

    def make_concrete(self, environment, name, package):
        """Replaces native flags in place; returns what was replaced."""
        replaced = {}
        for variable in sorted(environment):
            value = environment[variable]
            if "native" not in value:
                continue
            rust = NATIVE_RUST.search(value)
            if not rust and not any(NATIVE_MACHINE.match(w) for w in value.split()):
                continue
            try:
                concrete = self.native.resolve(value, environment)
            except Unresolved as error:
                replaced[variable] = {"from": value, "to": None}
                # RUSTFLAGS stands in every package's environment, also on a
                # machine without Rust: there only users of Rust are affected.
                if rust and not {"cargo", "rust", "rust-toolchain"} & set(package.inherited):
                    continue
                self.native_refusal(variable, value, str(error), name)
                continue
            replaced[variable] = {"from": value, "to": concrete}
            environment[variable] = concrete
        return replaced

    def native_refusal(self, variable, value, why, name):
        known = self.refusals.setdefault(
            (variable, value),
            refusal(
                "native_unresolved",
                f'{variable}="{value}" cannot be made concrete on this machine: {why}.',
                f'Name the processor instead of "native" in {self.user_config}/make.conf, or install the compiler.',
                variable=variable,
                value=value,
            ),
        )
        known["required_by"].append(name)

    # -- what only the repository knows --------------------------------------

    def repository(self, package):
        if package.repo not in self.memo_repositories:
            database = package.root_config.trees["porttree"].dbapi
            location = database.getRepositoryPath(package.repo)
            repo = database.repositories.get_repo_for_location(location)
            self.memo_repositories[package.repo] = database, repo
        return self.memo_repositories[package.repo]

    def ebuild(self, package, use, settings, name):
        found = probe("findname", lambda: self.repository(package)[0].findname(package.cpv, myrepo=package.repo))
        if not found:
            self.warn("ebuild_missing", f"{package.cpv} has no ebuild file", name)
            return None
        directory = os.path.dirname(found)
        filesdir = os.path.join(directory, "files")
        return {
            "path": found,
            "sha256": sha256_file(found),
            "filesdir": filesdir if os.path.isdir(filesdir) else None,
            "eclasses": probe("eclasses", lambda: self.eclasses(package, name), []),
            "distfiles": probe("distfiles", lambda: self.distfiles(package, use, directory, name), []),
            "user_patches": self.user_patches(package),
            "hooks": self.hooks(package, settings),
            "package_env": probe(
                "package.env", lambda: [os.path.join(self.user_config, "env", f) for f in settings._penv], []
            ),
            "qa_checks": probe("qa_checks", lambda: self.qa_checks(package), []),
            "savedconfig": self.savedconfig(package, use, settings),
        }

    def eclasses(self, package, name):
        known = self.repository(package)[1].eclass_db.eclasses
        found = []
        for eclass in sorted(set((package._metadata.get("INHERITED") or "").split())):
            if eclass in known:
                path = known[eclass].location
                found.append({"name": eclass, "path": path, "sha256": sha256_file(path)})
            else:
                self.warn("eclass_missing", f"eclass {eclass} inherited by {package.cpv} was not found", name)
        return found

    def distfiles(self, package, use, directory, name):
        database, repo = self.repository(package)
        wanted = database.getFetchMap(package.cpv, useflags=frozenset(use), mytree=repo.location)
        if wanted and directory not in self.memo_manifests:
            # No DISTDIR: existing digests are only read, never regenerated.
            self.memo_manifests[directory] = probe(
                "load_manifest", lambda: repo.load_manifest(directory, "/").getTypeDigests("DIST"), {}
            )
        files = []
        for file, uris in sorted(wanted.items()):
            hashes = dict(self.memo_manifests[directory].get(file, {}))
            if not hashes:
                self.warn("manifest_missing", f"{file} is not in the Manifest of {package.cp}::{package.repo}", name)
            files.append({"name": file, "size": hashes.pop("size", None), "hashes": hashes, "uris": list(uris)})
        return files

    def user_patches(self, package):
        """As eapply_user: later directories win, an empty file cancels a name."""
        base = os.path.join(self.user_config, "patches", package.cp.partition("/")[0])
        if not list_dir(base):
            return []
        short, version = package.cp.partition("/")[2], str(package.cpv).partition("/")[2]
        bare = re.sub(r"-r\d+$", "", version)
        revised = version if bare != version else f"{version}-r0"
        patches = {}
        for name in (short, bare, revised):
            for directory in (f"{base}/{name}", f"{base}/{name}:{package.slot}"):
                for file in list_dir(directory):
                    if file.endswith((".patch", ".diff")):
                        path = f"{directory}/{file}"
                        if os.path.isfile(path) and os.path.getsize(path):
                            patches[file] = path
                        else:
                            patches.pop(file, None)
        return [patches[f] for f in sorted(patches, key=os.fsencode)]

    def hooks(self, package, settings):
        """What runs around the ebuild beside it, in the order Portage does."""
        hooks = []
        for path in probe("profile.bashrc", lambda: list(settings._pbashrc), []):
            kind = "profile.bashrc" if path.endswith("/profile.bashrc") else "package.bashrc"
            hooks.append((kind, path))
        user_bashrc = os.path.join(self.user_config, "bashrc")
        hooks.append(("bashrc", user_bashrc))
        if os.path.isfile(user_bashrc):
            # Not sourced by Portage itself, but by every bashrc that uses it.
            hooks += [("bashrc.d", f) for f in walk_files(user_bashrc + ".d")]
        category, short = package.cp.split("/")
        version = str(package.cpv).partition("/")[2]
        names = (short, f"{short}:{package.slot}", re.sub(r"-r\d+$", "", version), version)
        hooks += [("env", f"{self.user_config}/env/{category}/{n}") for n in dict.fromkeys(names)]
        # Not sourced: programs that run in the image after src_install (misc-functions.sh, install_hooks).
        programs = [f"{self.user_config}/hooks/install/{n}" for n in list_dir(f"{self.user_config}/hooks/install")]
        hooks += [("hooks/install", p) for p in programs if os.access(p, os.X_OK)]
        return [{"kind": kind, "path": path} for kind, path in hooks if os.path.isfile(path)]

    def qa_checks(self, package):
        """Checks run after src_install; the first directory with a name wins."""
        repo = self.repository(package)[1]
        if repo.name not in self.memo_qa:
            prefix = self.settings["EPREFIX"]
            directories = [f"{prefix}/usr/local/lib/install-qa-check.d", f"{prefix}/usr/lib/install-qa-check.d"]
            directories += [f"{t}/metadata/install-qa-check.d" for t in reversed(repo.eclass_db.porttrees)]
            checks = {}
            for directory in directories:
                for name in list_dir(directory):
                    checks.setdefault(name, f"{directory}/{name}")
            self.memo_qa[repo.name] = [checks[n] for n in sorted(checks)]
        return self.memo_qa[repo.name]

    def savedconfig(self, package, use, settings):
        """As savedconfig.eclass: the most specific file or directory."""
        if "savedconfig" not in use or "savedconfig" not in package.inherited:
            return []
        category, short = package.cp.split("/")
        version = str(package.cpv).partition("/")[2]
        hosts = [settings.get(v) for v in ("CTARGET", "CHOST")] if settings is not None else []
        for name in (version, re.sub(r"-r\d+$", "", version), short):
            for host in (*filter(None, hosts), "."):
                path = os.path.normpath(f"{self.user_config}/savedconfig/{host}/{category}/{name}")
                if os.path.exists(path):
                    return walk_files(path)
        return []

    # -- edges ---------------------------------------------------------------

    def atom_classes(self, package):
        """{atom text: dependency classes} over a package's active dependencies.

        The graph does not keep which variable an atom came from.
        """
        classes = self.memo_classes.get(package)
        if classes is None:
            classes = self.memo_classes[package] = {}
            use = frozenset(self.graph._pkg_use_enabled(package))
            for name in DEP_CLASSES:
                text = package._metadata.get(name)
                if not text:
                    continue
                atoms = self.use_reduce(
                    text,
                    uselist=use,
                    is_valid_flag=None if package.built else package.iuse.is_valid_flag,
                    eapi=package.eapi,
                    token_class=self.Atom,
                    flat=True,
                )
                for atom in atoms:
                    if isinstance(atom, self.Atom):
                        classes.setdefault(str(atom), set()).add(name)
                        classes.setdefault(str(atom.unevaluated_atom), set()).add(name)
        return classes

    def edges(self):
        atoms_of = {}
        for child, parents in self.dynamic._parent_atoms.items():
            for parent, atom in parents:
                atoms_of.setdefault((parent, child), []).append(atom)
        edges, arguments = [], {}
        for parent, (children, _, _) in self.dynamic.digraph.nodes.items():
            for child, priorities in children.items():
                if not isinstance(child, self.Package):
                    continue
                if isinstance(parent, self.Package):
                    edges.append(self.edge(parent, child, priorities, atoms_of.get((parent, child), ())))
                else:
                    arguments.setdefault(self.label(parent), set()).add(self.node_id(child))
        edges.sort(key=lambda e: (e["from"], e["to"]))
        return edges, [{"argument": a, "nodes": sorted(n)} for a, n in sorted(arguments.items())]

    def edge(self, parent, child, priorities, atoms):
        known = probe("atom_classes", lambda: self.atom_classes(parent), {})
        exported, classes = {}, set()
        for atom in atoms:
            text, unevaluated = str(atom), str(getattr(atom, "unevaluated_atom", atom))
            found = known.get(unevaluated) or known.get(text)
            if not found:
                # dep_check adds an exact atom for a virtual beside the real one.
                continue
            classes |= found
            operator = getattr(atom, "slot_operator", None)
            exported[text, unevaluated] = {
                "atom": text,
                "unevaluated": unevaluated,
                "classes": sorted(found),
                "slot_operator": operator,
                "resolved": f"{child.cp}:{child.slot}/{child.sub_slot}=" if operator == "=" else None,
            }
        if not classes:
            classes = self.priority_classes(priorities)
        return {
            "from": self.node_id(parent),
            "to": self.node_id(child),
            "classes": sorted(classes),
            "atoms": [exported[k] for k in sorted(exported)],
            "satisfied_by_installed": child.installed
            or all(getattr(p, "satisfied", None) for p in priorities),
        }

    def priority_classes(self, priorities):
        """Best guess from the edge's priority when no atom names the variable."""
        attributes = (
            ("buildtime", ("BDEPEND", "DEPEND")),
            ("installtime", ("IDEPEND",)),
            ("runtime_post", ("PDEPEND",)),
            ("runtime", ("RDEPEND",)),
        )
        return {c for p in priorities for a, cs in attributes if getattr(p, a, None) for c in cs}

    def blockers(self):
        found = {}
        for status, attribute in (
            ("solved", "_blocker_parents"),
            ("irrelevant", "_irrelevant_blockers"),
            ("unsolvable", "_unsolvable_blockers"),
        ):
            parents = probe(attribute, lambda: getattr(self.dynamic, attribute))
            for blocker in parents.nodes if parents else ():
                if isinstance(blocker, self.Blocker):
                    entry = self.blocker(blocker, parents)
                    found[entry["atom"], status, tuple(entry["parents"])] = dict(entry, status=status)
        return [found[k] for k in sorted(found)]

    def blocker(self, blocker, parents):
        blocked = self.dynamic._blocked_pkgs
        packages = blocked.child_nodes(blocker) if blocked and blocker in blocked.nodes else ()
        return {
            "atom": str(blocker.atom),
            "kind": "strong" if blocker.atom.blocker.overlap.forbid else "weak",
            "parents": sorted(self.node_id(p) for p in parents.parent_nodes(blocker)),
            "blocked": sorted(self.node_id(p) for p in packages),
        }

    # -- the document --------------------------------------------------------

    def plan(self):
        merge, packages = [], {}
        for task in self.graph.altlist():
            if isinstance(task, self.Package):
                packages[self.node_id(task)] = task
                merge.append({"node": self.node_id(task), "operation": task.operation})
        for node in self.dynamic.digraph.nodes:
            if isinstance(node, self.Package):
                packages.setdefault(self.node_id(node), node)
        # In tree order: neighbours share manifests and cached directory lists.
        nodes = [self.node(packages[name]) for name in sorted(packages)]
        edges, arguments = probe("edges", self.edges, ([], []))
        for attribute in ("_missing_args", "_pprovided_args"):
            for argument, atom in probe(attribute, lambda: getattr(self.dynamic, attribute), ()):
                what = "no ebuild for" if attribute == "_missing_args" else "package.provided stands in for"
                self.warn(attribute.strip("_"), f"{what} {atom} (from {self.label(argument)})")
        return {
            "merge": merge,
            "nodes": nodes,
            "edges": edges,
            "arguments": arguments,
            "blockers": probe("blockers", self.blockers, []),
            "cycles": self.cycles(edges, {n["id"] for n in nodes if n["kind"] == "ebuild"}),
            "refusals": [self.refusals[k] for k in sorted(self.refusals)],
        }

    @staticmethod
    def cycles(edges, built):
        """Packages that need each other, and whether to build or only to run."""
        successors = {name: set() for name in built}
        building = set()
        for edge in edges:
            if edge["from"] in built and edge["to"] in built:
                successors[edge["from"]].add(edge["to"])
                if BUILD_CLASSES & set(edge["classes"]):
                    building.add((edge["from"], edge["to"]))
        cycles = []
        for component in strongly_connected(successors):
            inside = set(component)
            build = any(a in inside and b in inside for a, b in building)
            cycles.append({"kind": "build" if build else "runtime", "nodes": component})
        return cycles


# ---------------------------------------------------------------- refusals


class Explainer(Exporter):
    """Turns a failed graph into refusals that say what to change, and where."""

    def __init__(self, config, graph):
        super().__init__(config, graph)
        self.masking = probe.load("portage.package.ebuild.getmaskingstatus", "_getmaskingstatus")
        self.mask_comment = probe.load("portage.package.ebuild.getmaskingreason", "getmaskingreason")
        self.required_use = probe.load("portage.dep", "check_required_use")

    def config_file(self, name, package_name):
        path = os.path.join(self.user_config, name)
        return os.path.join(path, package_name) if os.path.isdir(path) else path

    def add_line(self, line, file, package_name):
        """Remedy fields for one line to add to one configuration file."""
        path = self.config_file(file, package_name)
        return {"remedy": f'Run: echo "{line}" >> {path}', "remedy_line": line, "remedy_file": path}

    def chain(self, parent):
        """Who asked, from the immediate parent up to the argument."""
        chain, seen = [], set()
        while parent is not None and parent not in seen and len(chain) < 50:
            seen.add(parent)
            chain.append(self.label(parent))
            nodes = self.dynamic.digraph.nodes
            above = nodes[parent][1] if isinstance(parent, self.Package) and parent in nodes else ()
            parent = min((p for p in above if p not in seen), key=self.label, default=None)
        return chain

    def refusals_of_graph(self):
        found = []
        for name in ("unsatisfied", "circular", "slot_conflicts", "unsolved_blockers"):
            found += probe(f"refusals.{name}", getattr(self, name), [])
        return found

    # -- one dependency without a package ------------------------------------

    def unsatisfied(self):
        found = []
        for (root, atom), details in self.dynamic._unsatisfied_deps_for_display:
            chain = self.chain(details.get("myparent"))
            shown = str(getattr(atom, "unevaluated_atom", atom)).replace("null/", "")
            found += self.unsatisfied_atom(root, atom, shown, chain, details.get("show_req_use"))
        return found

    def unsatisfied_atom(self, root, atom, shown, chain, unmet):
        candidates = self.candidates(root, atom)
        described = [c["public"] for c in candidates][:20]
        if unmet is not None:
            candidates = [c for c in candidates if c["package"] is unmet] or candidates
        common = {"atom": shown, "required_by": chain, "candidates": described}
        best = min(candidates, key=lambda c: c["rank"], default=None)
        if best is None:
            return [self.nothing_matches(root, atom, common)]
        if not best["reasons"]:
            return [
                refusal(
                    "unsatisfied",
                    f"{best['public']['cpv']} exists, but Portage could not use it for {shown} "
                    "(excluded, or it conflicts with other choices).",
                    "Drop --exclude, or retry with --backtrack=200.",
                    **common,
                )
            ]
        return [refusal(**dict(reason, **common)) for reason in best["reasons"]]

    def nothing_matches(self, root, atom, common):
        database = self.config.trees[root]["porttree"].dbapi
        existing = [str(c) for c in database.cp_list(atom.cp)] if "/" in atom.cp else []
        if existing:
            common["candidates"] = [{"cpv": c} for c in existing]
            return refusal(
                "unsatisfied",
                f"No version of {atom.cp} matches {common['atom']}; there are {', '.join(existing)}.",
                "Sync the repositories, or ask for a version that exists.",
                **common,
            )
        wanted = atom.cp.partition("/")[2]
        names = {}
        for cp in database.cp_all():
            names.setdefault(cp.partition("/")[2], []).append(cp)
        similar = [cp for n in difflib.get_close_matches(wanted, sorted(names), 5) for cp in names[n]]
        common["candidates"] = [{"cp": cp} for cp in similar]
        hint = f"Did you mean {' or '.join(similar)}? " if similar else ""
        return refusal(
            "unknown_package",
            f"There is no package {atom.cp.replace('null/', '')} in any configured repository.",
            f"{hint}Correct the name, or add the repository that has it to {self.user_config}/repos.conf.",
            **common,
        )

    def candidates(self, root, atom):
        """Every ebuild the atom could mean, with all that stands in its way."""
        config = self.graph._frozen_config.roots[root]
        settings = self.graph._frozen_config.pkgsettings[root]
        database = config.trees["porttree"].dbapi
        found = []
        for position, cpv in enumerate(reversed(database.xmatch("match-all", atom.without_use))):
            package = probe("depgraph._pkg", lambda: self.graph._pkg(cpv, "ebuild", config, myrepo=cpv.repo))
            if package is None:
                continue
            reasons = self.mask_reasons(package, settings, database)
            uses = self.use_reasons(package, atom)
            reasons += [r for _, r in uses]
            if not uses:
                reasons += self.required_use_reasons(package)
            costs = {"keyword": 1, "license": 1, "use_change": 1, "required_use": 1, "masked": 4, "missing_iuse": 8}
            # The least change wins, then the newest version.
            cost = sum(costs[r["kind"]] + (3 if "**" in r.get("remedy_line", "") else 0) for r in reasons)
            public = {"cpv": str(cpv), "repo": cpv.repo, "reasons": [r["message"] for r in reasons]}
            found.append({"package": package, "reasons": reasons, "rank": (cost, position), "public": public})
        return found

    def mask_reasons(self, package, settings, database):
        reasons = []
        for mask in self.masking(package, settings, database, myrepo=package.repo):
            hint = getattr(mask.unmask_hint, "value", None)
            reasons.append(self.mask_reason(package, mask.category, mask.message, hint, settings, database))
        if package.invalid and not reasons:
            message = f"{package.cpv}::{package.repo} has invalid metadata."
            reasons.append({"kind": "masked", "message": message, "remedy": "Sync or repair its repository."})
        return reasons

    def mask_reason(self, package, category, message, hint, settings, database):
        kind, file = MASK_FILES.get(category, ("masked", None))
        short = package.cp.partition("/")[2]
        name = f"{package.cpv}::{package.repo}"
        reason = {"kind": kind, "cpv": str(package.cpv), "repo": package.repo}
        if category == "KEYWORDS":
            reason["keyword"] = hint or "**"
            reason["message"] = f"{name} is masked by: {message}."
            return dict(reason, **self.add_line(f"={package.cpv} {hint or '**'}", file, short))
        if category == "LICENSE":
            licenses = sorted(hint or ())
            reason["licenses"] = licenses
            reason["message"] = f"The licence {' '.join(licenses)} of {name} is not accepted."
            return dict(reason, **self.add_line(f"{package.cp} {' '.join(licenses)}", file, short))
        if category == "package.mask":
            comment, where = probe(
                "getmaskingreason",
                lambda: self.mask_comment(
                    package.cpv, metadata=package._metadata, settings=settings, portdb=database, return_location=True
                ),
            ) or (None, None)
            reason.update(mask_comment=(comment or "").strip() or None, mask_file=where)
            reason["message"] = f"{name} is masked by {where or 'package.mask'}."
            return dict(reason, **self.add_line(f"={package.cpv}", file, short))
        if file:
            words = " ".join(w for w in message.split() if w not in ("properties", "in", "RESTRICT", "||", "(", ")"))
            reason["message"] = f"{category} {words} of {name} is not accepted."
            return dict(reason, **self.add_line(f"{package.cp} {words}", file, short))
        reason["message"] = f"{name} cannot be used: {message}."
        return dict(reason, remedy="Update Portage or the repository; this cannot be unmasked.")

    def use_reasons(self, package, atom):
        """[(package, reason)] for the USE dependencies a candidate does not meet."""
        required = getattr(atom.unevaluated_atom, "use", None)
        if not required:
            return []
        missing = sorted(package.iuse.get_missing_iuse(required.required))
        name = f"{package.cpv}::{package.repo}"
        if missing:
            reason = {
                "kind": "missing_iuse",
                "cpv": str(package.cpv),
                "flags": missing,
                "message": f"{name} has no USE flag {' '.join(missing)}.",
                "remedy": f"Correct the USE dependency, or use a version of {package.cp} that has the flag.",
            }
            return [(package, reason)]
        enabled = self.graph._pkg_use_enabled(package)
        known = package.iuse.all
        changes = {f: True for f in (atom.use.enabled - enabled) & known if atom.use}
        changes.update({f: False for f in atom.use.disabled & enabled & known if atom.use})
        return [(package, self.use_change(package, changes))] if changes else []

    def use_change(self, package, changes):
        flags = [f if on else "-" + f for f, on in sorted(changes.items())]
        short = package.cp.partition("/")[2]
        name = f"{package.cpv}::{package.repo}"
        reason = {
            "kind": "use_change",
            "cpv": str(package.cpv),
            "changes": dict(changes),
            "message": f"{name} must be built with USE=\"{' '.join(flags)}\".",
        }
        fixed = probe("use.mask", lambda: sorted(package.use.mask & set(changes) | package.use.force & set(changes)), [])
        if not fixed:
            return dict(reason, **self.add_line(f">={package.cpv} {' '.join(flags)}", "package.use", short))
        reason["message"] += f" The profile fixes {' '.join(fixed)}."
        file = "profile/package.use.mask" if changes[fixed[0]] else "profile/package.use.force"
        return dict(reason, **self.add_line(f"{package.cp} {' '.join('-' + f for f in fixed)}", file, short))

    def required_use_reasons(self, package):
        expression = package._metadata.get("REQUIRED_USE")
        if not expression or package.invalid:
            return []
        enabled = set(self.graph._pkg_use_enabled(package))

        def unmet(use):
            result = self.required_use(expression, use, package.iuse.is_valid_flag, eapi=package.eapi)
            return None if result else result.tounicode()

        failing = unmet(enabled)
        if failing is None:
            return []
        reason = {
            "kind": "required_use",
            "cpv": str(package.cpv),
            "required_use": " ".join(expression.split()),
            "unmet": failing,
            "message": f'{package.cpv}::{package.repo} needs its USE flags to satisfy "{failing}".',
            "remedy": f"Choose flags that satisfy it in {self.config_file('package.use', package.cp.partition('/')[2])}.",
        }
        fixed = package.use.mask | package.use.force
        flags = sorted(set(re.findall(r"[A-Za-z0-9][\w+@.-]*", failing)) & set(package.iuse.all) - fixed)
        for count in (1, 2, 3):
            for chosen in itertools.combinations(flags[:12], count):
                if unmet(enabled.symmetric_difference(chosen)) is None:
                    words = " ".join("-" + f if f in enabled else f for f in chosen)
                    line = f">={package.cpv} {words}"
                    return [dict(reason, **self.add_line(line, "package.use", package.cp.partition("/")[2]))]
        return [reason]

    # -- conflicts -----------------------------------------------------------

    def circular(self):
        graph = self.dynamic._circular_deps_for_display
        if graph is None:
            return []
        module = importlib.import_module("_emerge.resolver.circular_dependency")
        handler = module.circular_dependency_handler(self.graph, graph)
        cycle = handler.shortest_cycle or []
        # Rotated so that the report does not depend on where the search began.
        start_at = min(range(len(cycle)), key=lambda i: self.label(cycle[i]), default=0)
        cycle = cycle[start_at:] + cycle[:start_at]
        steps, remedies = [], []
        for position, child in enumerate(cycle):
            parent = cycle[position - 1]
            atoms = [a for p, a in self.dynamic._parent_atoms.get(child, ()) if p == parent]
            edge = self.edge(parent, child, graph.nodes[parent][0].get(child, ()), atoms)
            steps.append({k: edge[k] for k in ("from", "to", "classes")})
            for changes in sorted(sorted(s) for s in (handler.solutions or {}).get(child, ())):
                remedies.append(self.use_change(parent, dict(changes)))
        names = [self.label(p) for p in cycle]
        if remedies:
            remedy = {k: v for k, v in remedies[0].items() if k.startswith("remedy")}
        else:
            remedy = {"remedy": "Install one of them first, or list it in "
                      f"{self.user_config}/profile/package.provided if the system has it already."}
        return [
            refusal(
                "circular",
                "These packages need each other, so none can be first: " + " -> ".join([*names, *names[:1]]) + ".",
                cycle=names,
                edges=steps,
                required_by=self.chain(cycle[0])[1:] if cycle else (),
                candidates=[{k: r[k] for k in ("cpv", "changes", "remedy")} for r in remedies],
                **remedy,
            )
        ]

    def slot_conflicts(self):
        found = []
        for conflict in self.dynamic._package_tracker.slot_conflicts():
            packages = []
            for package in conflict:
                parents = self.dynamic._parent_atoms.get(package, ())
                pulled = sorted({(self.label(p), str(a)) for p, a in parents})
                packages.append(
                    {"node": self.node_id(package), "required_by": [{"parent": p, "atom": a} for p, a in pulled]}
                )
            packages.sort(key=lambda p: p["node"])
            names = " and ".join(p["node"] for p in packages)
            found.append(
                refusal(
                    "slot_conflict",
                    f"{names} are both needed, but share the slot {conflict.atom}.",
                    "Make their parents agree on one version, for instance by masking the other: "
                    f'echo "={packages[-1]["node"].partition(":")[2].partition("::")[0]}" >> '
                    + self.config_file("package.mask", "conflicts"),
                    atom=str(conflict.atom),
                    required_by=sorted({r["parent"] for p in packages for r in p["required_by"]}),
                    candidates=packages,
                )
            )
        return sorted(found, key=lambda r: r["message"])

    def unsolved_blockers(self):
        found = []
        for blocker in self.dynamic._unsatisfied_blockers_for_display or ():
            entry = self.blocker(blocker, self.dynamic._blocker_parents)
            parents, blocked = " and ".join(entry["parents"]), " and ".join(entry["blocked"])
            found.append(
                refusal(
                    "blocker",
                    f"{parents} cannot be installed together with {blocked} ({entry['atom']}).",
                    "Leave one of them out of the request; if it is installed, remove it with: "
                    f"emerge --ask --depclean {entry['atom'].lstrip('!')}",
                    atom=entry["atom"],
                    required_by=entry["parents"],
                    candidates=[{"node": n} for n in entry["blocked"]],
                    strength=entry["kind"],
                )
            )
        return sorted(found, key=lambda r: r["message"])

    # -- changes that would make it work -------------------------------------

    def needed_changes(self):
        """What autounmask found, if configuration alone is in the way."""
        found = []
        database = self.config.target_config.trees["porttree"].dbapi
        for attribute, category in (
            ("_needed_unstable_keywords", "KEYWORDS"),
            ("_needed_p_mask_changes", "package.mask"),
            ("_needed_license_changes", "LICENSE"),
        ):
            packages = probe(attribute, lambda: getattr(self.dynamic, attribute), ())
            for package in sorted(packages, key=self.label):
                settings = self.graph._frozen_config.pkgsettings[package.root]
                for reason in self.mask_reasons(package, settings, database):
                    if reason["kind"] == MASK_FILES[category][0]:
                        found.append((package, reason))
        changes = probe("_needed_use_config_changes", lambda: self.dynamic._needed_use_config_changes, {})
        for package in sorted(changes, key=self.label):
            found.append((package, self.use_change(package, changes[package][1])))
        refusals = []
        for package, reason in found:
            parents = self.dynamic._parent_atoms.get(package, ())
            pulled = sorted((self.label(p), str(a)) for p, a in parents)
            refusals.append(
                refusal(
                    **reason,
                    atom=pulled[0][1] if pulled else str(package.cpv),
                    required_by=self.chain(package)[1:],
                    candidates=[{"cpv": str(package.cpv), "repo": package.repo}],
                )
            )
        return refusals

    def ambiguous_names(self, arguments):
        """Short names that Portage matched to more than one package."""
        found = []
        for argument in arguments:
            if argument.startswith("@") or "/" in argument.split(":")[0]:
                continue
            atoms = self.graph._dep_expand(self.config.target_config, argument)
            # Same preference as the resolver's: one real package beats virtuals.
            real = [a for a in atoms if a.cp.split("/")[0] not in ("acct-group", "acct-user", "virtual")]
            if len(atoms) > 1 and len(real) != 1:
                names = sorted(str(a) for a in atoms)
                found.append(
                    refusal(
                        "ambiguous",
                        f"The short name {argument} is ambiguous; it could be {' or '.join(names)}.",
                        f"Name the category, for instance: {names[0]}",
                        atom=argument,
                        candidates=[{"cp": n} for n in names],
                    )
                )
        return found


# --------------------------------------------------------------- the command


class Run:
    """One planning run; `document` always is complete enough to print."""

    def __init__(self, argv):
        self.argv = argv
        self.said = io.StringIO()
        self.said_at_failure = None
        self.timing = {}
        self.started = time.monotonic()
        self.document = dict(
            {k: [] for k in ("repositories", "merge", "nodes", "edges", "arguments", "blockers", "cycles")},
            schema=SCHEMA,
            success=False,
            request={"arguments": argv, "favorites": []},
            settings=None,
            refusals=[],
            warnings=[],
            build_root=None,
            text="",
        )

    def lap(self, name):
        now = time.monotonic()
        self.timing[name] = round(now - self.started, 4)
        self.started = now

    def finished(self):
        text = self.said.getvalue() if self.said_at_failure is None else self.said_at_failure
        # The only line of Portage's that differs between equal runs.
        text = re.sub(r"^Dependency resolution took .*\n?", "", text, flags=re.M)
        if not self.document["success"]:
            self.document["text"] = re.sub(r"\x1b\[[0-9;]*m", "", text).strip()
        self.document["generator"] = generator()
        self.document["timing"] = self.timing
        return self.document

    def execute(self):
        """Fills the document; returns the exit status."""
        # Portage prints through sys.stdout and sys.stderr; a StringIO in their
        # place collects the text a user would have seen.
        streams = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = self.said
        try:
            return self.plan()
        except Refused as stop:
            self.document["refusals"].append(stop.refusal)
            return stop.status
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            name = type(error).__name__
            loading = "load" not in self.timing
            self.document["refusals"].append(
                refusal(
                    "configuration" if loading and not isinstance(error, (AttributeError, TypeError)) else "exception",
                    f"{'Loading the configuration' if loading else 'Portage'} failed: {name}: {error}".rstrip(": ") + ".",
                    "See the text for what Portage said.",
                    exception=name,
                    traceback=traceback.format_exc(),
                )
            )
            return EXIT_CONFIG
        finally:
            sys.stdout, sys.stderr = streams
            sys.stderr.write(self.said.getvalue())
            sys.stderr.flush()

    # -- steps ---------------------------------------------------------------

    def parse(self, parse_opts, argv):
        try:
            return parse_opts(["--pretend", *argv])
        except SystemExit:
            said = [line for line in self.said.getvalue().strip().splitlines() if line]
            raise Refused(
                EXIT_CONFIG,
                "configuration",
                f"emerge does not understand these arguments: {said[-1] if said else ' '.join(argv)}",
                "See `emerge --help` for the options of this Portage.",
            ) from None

    def plan(self):
        parse_opts = probe.load("_emerge.main", "parse_opts")
        actions = "adjust_configs", "ensure_required_sets", "expand_set_arguments", "load_emerge_config"
        adjust_configs, ensure_required_sets, expand_set_arguments, load_emerge_config = probe.load(
            "_emerge.actions", *actions
        )
        create_depgraph_params = probe.load("_emerge.create_depgraph_params", "create_depgraph_params")
        backtrack_depgraph = probe.load("_emerge.depgraph", "backtrack_depgraph")
        if None in (parse_opts, load_emerge_config, create_depgraph_params, backtrack_depgraph):
            missing = "; ".join(f"{k}: {v}" for k, v in sorted(probe.results.items()) if v is not True)
            raise Refused(
                EXIT_CONFIG,
                "exception",
                f"This Portage cannot be used: {missing}.",
                "Use Portage 3.0.50 or newer, and report this version.",
            )
        action, options, arguments = self.parse(parse_opts, self.argv)
        if action is not None or not arguments:
            raise Refused(
                EXIT_CONFIG,
                "configuration",
                f"emerge --{action} is not a plan." if action else "There is nothing to plan: no package or set was named.",
                "Name packages or sets to install, and no other action.",
            )
        for option, variable in (
            ("--config-root", "PORTAGE_CONFIGROOT"),
            ("--sysroot", "SYSROOT"),
            ("--root", "ROOT"),
            ("--prefix", "EPREFIX"),
        ):
            if option in options:
                os.environ[variable] = options[option]
        config = load_emerge_config(action=action, args=arguments, opts=options)
        settings = config.target_config.settings
        self.describe(settings)
        self.check_configuration(settings)
        options = self.options(options, parse_opts, settings)
        adjust_configs(options, config.trees)
        for trees in config.trees.values():
            # Remembers every match: nothing changes the trees meanwhile.
            probe("portdbapi.freeze", trees["porttree"].dbapi.freeze)
        ensure_required_sets(config.trees)
        self.check_arguments(arguments, config)
        arguments, status = expand_set_arguments(arguments, action, config.target_config)
        if status != os.EX_OK:
            raise Refused(EXIT_CONFIG, "configuration", "A set could not be expanded.", "See the text.")
        self.lap("load")

        spinner = probe.load("_emerge.stdout_spinner", "stdout_spinner")()
        probe("stdout_spinner quiet", lambda: self.silence(spinner))

        def resolve(**changed):
            opts = dict(options, **{"--" + k.replace("_", "-"): v for k, v in changed.items()})
            params = create_depgraph_params(opts, action)
            return backtrack_depgraph(settings, config.trees, opts, params, action, list(arguments), spinner)

        success, graph, favorites = resolve(autounmask="n")
        self.document["request"]["favorites"] = sorted(str(f) for f in favorites)
        if not success:
            probe("display_problems", graph.display_problems)
            self.said_at_failure = self.said.getvalue()
        self.lap("resolve")
        if success:
            exporter = Exporter(config, graph)
            self.document.update(exporter.plan())
            self.document["warnings"] += sorted(
                exporter.warnings, key=lambda w: (w["kind"], w["node"] or "", w["message"])
            )
            self.document["build_root"] = build_root()
        else:
            self.document["refusals"] = self.explain(config, graph, arguments, resolve)
        self.document["success"] = not self.document["refusals"]
        self.lap("export")
        return EXIT_OK if self.document["success"] else EXIT_REFUSED

    @staticmethod
    def silence(spinner):
        if hasattr(spinner, "update_quiet"):  # until 3.0.82
            spinner.update = spinner.update_quiet
        else:
            spinner.mode = spinner.QUIET

    def options(self, options, parse_opts, settings):
        def given(name):
            return any(a == name or a.startswith(name + "=") for a in self.argv)

        dropped = sorted(k for k in options if k in DROPPED_OPTIONS)
        for option in dropped:
            del options[option]
            self.document["warnings"].append(
                {"kind": "option_ignored", "node": None, "message": f"{option} has no meaning for a plan"}
            )
        options["--pretend"] = True
        # Without these, dependencies that are installed already would be
        # missing from the graph, and with them inputs of the builds.
        options.setdefault("--with-bdeps", "y")
        options.setdefault("--deep", True)
        if not given("--complete-graph"):
            options["--complete-graph"] = True
        default = settings.get("EMERGE_DEFAULT_OPTS", "")
        if default and "--ignore-default-opts" not in options:
            try:
                defaults = parse_opts(shlex.split(default), silent=True)[1]
            except (SystemExit, ValueError):
                defaults = {}
            for option in HARMLESS_DEFAULT_OPTIONS:
                if option in defaults:
                    options.setdefault(option, defaults[option])
        return options

    def describe(self, settings):
        get = settings.get
        provided = probe("pprovideddict", lambda: settings.pprovideddict, {})
        self.document["settings"] = {
            "arch": get("ARCH"),
            "chost": get("CHOST"),
            "cbuild": get("CBUILD"),
            "profile": settings.profile_path,
            "profile_stack": list(settings.profiles),
            "features": sorted(settings.features),
            "distdir": get("DISTDIR"),
            "eroot": get("EROOT"),
            "accept_keywords": sorted(get("ACCEPT_KEYWORDS", "").split()),
            "accept_license": get("ACCEPT_LICENSE"),
            "package_provided": sorted({str(cpv) for cpvs in provided.values() for cpv in cpvs}),
        }
        main = probe("mainRepo", settings.repositories.mainRepo)
        self.document["repositories"] = [
            {
                "name": repo.name,
                "location": repo.location,
                "priority": repo.priority,
                "masters": [m.name for m in repo.masters or ()],
                "main": repo is main,
                "thin_manifests": bool(probe("thin_manifest", lambda: repo.thin_manifest)),
            }
            for repo in settings.repositories
        ]

    def check_configuration(self, settings):
        user_config = os.path.join(settings["PORTAGE_CONFIGROOT"], "etc/portage")
        usable = [r for r in settings.repositories if r.location and os.path.isdir(r.location)]
        if not usable:
            raise Refused(
                EXIT_CONFIG,
                "configuration",
                "No ebuild repository is configured, or none exists on disk.",
                f"Describe one in {user_config}/repos.conf and sync it.",
            )
        if not settings.profiles or not settings.get("ARCH"):
            raise Refused(
                EXIT_CONFIG,
                "configuration",
                f"{user_config}/make.profile is not a valid profile.",
                "Select one with `eselect profile set`, or link make.profile to a profile directory.",
            )

    def check_arguments(self, arguments, config):
        valid = probe.load("_emerge.is_valid_package_atom", "is_valid_package_atom")
        sets = config.target_config.sets
        for argument in arguments:
            if argument.startswith("@") and "{" not in argument:
                if argument[1:] not in sets:
                    names = sorted(sets)
                    raise Refused(
                        EXIT_REFUSED,
                        "set_not_found",
                        f"There is no package set {argument}.",
                        "Use one of these sets, or create it in "
                        f"{os.path.join(config.target_config.settings['PORTAGE_CONFIGROOT'], 'etc/portage/sets')}: "
                        + " ".join("@" + n for n in names),
                        atom=argument,
                        candidates=[{"set": "@" + n} for n in names],
                    )
            elif argument in ("system", "world") or argument.endswith((".ebuild", ".tbz2", ".xpak", ".gpkg.tar")):
                continue
            elif not argument.startswith(("/", "./", "../")) and valid and not valid(argument, allow_repo=True):
                raise Refused(
                    EXIT_REFUSED,
                    "invalid_atom",
                    f"{argument} is not a valid package atom.",
                    f"Write category/name, or ={argument} for one version; see ebuild(5).",
                    atom=argument,
                )

    def explain(self, config, graph, arguments, resolve):
        explainer = Explainer(config, graph)
        refusals = probe("ambiguous", lambda: explainer.ambiguous_names(arguments), [])
        refusals += explainer.refusals_of_graph()
        if {r["kind"] for r in refusals} & {"keyword", "license", "masked", "use_change"}:
            # Portage stops at the first such problem.  Ask once more, this time
            # letting it pretend to change the configuration, to name them all.
            more = resolve(
                autounmask="y",
                autounmask_use="y",
                autounmask_license="y",
                autounmask_keep_keywords="n",
                autounmask_keep_masks="n",
            )
            if not more[0]:
                explainer = Explainer(config, more[1])
                needed = probe("needed_changes", explainer.needed_changes, [])
                known = {(r["kind"], r["message"]) for r in refusals}
                refusals += [r for r in needed if (r["kind"], r["message"]) not in known]
        if not refusals:
            said = [line.strip(" !\t*") for line in self.said.getvalue().splitlines()]
            reason = next(filter(None, said), "no reason was given")
            refusals = [refusal("unsatisfied", f"Portage refused the request: {reason}", "See the text.")]
        return refusals


def generator():
    portage = sys.modules.get("portage")
    return {
        "portage": probe("portage.VERSION", lambda: str(portage.VERSION)),
        "python": sys.version.split()[0],
        "probes": probe.results,
    }


def main(argv):
    """Returns (exit status, document)."""
    if argv == ["--probe"]:
        portage = probe("portage", lambda: importlib.import_module("portage"))
        version = probe("portage.VERSION", lambda: str(portage.VERSION))
        document = {"schema": SCHEMA, "portage": version, "python": sys.version.split()[0]}
        return (EXIT_OK if version else EXIT_CONFIG), document
    if argv == ["--identity"]:
        return EXIT_OK, build_root()
    run = Run(argv)
    status = run.execute()
    return status, run.finished()


if __name__ == "__main__":
    # Portage iterates over sets here and there; a fixed hash seed makes its
    # choices repeatable.  A seed chosen by the caller is kept.
    if "PYTHONHASHSEED" not in os.environ and not sys.flags.ignore_environment:
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    # Whatever Portage or its children print goes to stderr, past any buffer.
    output = os.dup(1)
    os.dup2(2, 1)
    os.environ.update(PORTAGE_FORK_DEP_CALC="0", NO_COLOR="1")
    os.environ.setdefault("TERM", "dumb")
    exit_status, result = main(sys.argv[1:])
    with open(output, "w", encoding="utf-8") as stream:
        json.dump(result, stream, sort_keys=True, ensure_ascii=False, indent=1)
        stream.write("\n")
    sys.stdout.flush()
    sys.stderr.flush()
    # Portage leaves event loops and exit handlers behind that may hang or print.
    os._exit(exit_status)
