//! The real Portage as a judge of what we write.
//!
//! `BUILDSWARM_TEST_PORTAGE` names the prefix of a Python environment with Portage in it:
//! `python3 -m venv DIR && DIR/bin/pip install portage==3.0.83`. Without it these tests print a line and end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::*;

/// An installation of Portage with a repository of one package that takes a second to build.
pub(crate) struct Portage {
    prefix: PathBuf,
    /// Where this test's files go; readable for nobody, as whom Portage verifies.
    pub(crate) directory: tempfile::TempDir,
}

const MAKE_DEFAULTS: &str = r#"ARCH="amd64"
ACCEPT_KEYWORDS="amd64"
CHOST="x86_64-pc-linux-gnu"
ELIBC="glibc"
KERNEL="linux"
IUSE_IMPLICIT="prefix prefix-guest prefix-stack"
USE_EXPAND="ELIBC KERNEL"
USE_EXPAND_HIDDEN="ELIBC KERNEL"
USE_EXPAND_IMPLICIT="ARCH ELIBC KERNEL"
USE_EXPAND_UNPREFIXED="ARCH"
USE_EXPAND_VALUES_ARCH="amd64"
USE_EXPAND_VALUES_ELIBC="glibc musl"
USE_EXPAND_VALUES_KERNEL="linux"
"#;

const EBUILD: &str = r#"EAPI=8
DESCRIPTION="A package of text files"
HOMEPAGE="https://example.org/"
LICENSE="MIT"
SLOT="0/1"
KEYWORDS="amd64"
IUSE="+doc"
S="${WORKDIR}"
src_install() {
	echo "hello" > greeting || die
	insinto /usr/share/trivial
	doins greeting
	dosym greeting /usr/share/trivial/link
	ln "${ED}"/usr/share/trivial/greeting "${ED}"/usr/share/trivial/hard || die
	keepdir /var/lib/trivial
	cp "${ED}"/usr/share/trivial/greeting run || die
	dobin run
	fperms 4755 /usr/bin/run
	insinto /usr/share/trivial/$(printf 'd%.0s' {1..90})/$(printf 'e%.0s' {1..120})
	newins greeting "$(printf 'f%.0s' {1..140})"
}
"#;

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

impl Portage {
    /// The installation, unless there is none.
    pub(crate) fn find() -> Option<Self> {
        let Some(prefix) = std::env::var_os("BUILDSWARM_TEST_PORTAGE") else {
            println!("skipped: BUILDSWARM_TEST_PORTAGE does not name a prefix with Portage");
            return None;
        };
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let directory = tempfile::Builder::new().permissions(open).tempdir().unwrap();
        let this = Self { prefix: directory.path().join("python"), directory };
        this.adopt(Path::new(&prefix));
        let repository = this.repository();
        write(
            &repository.join("metadata/layout.conf"),
            "repo-name = test\nmasters =\nthin-manifests = true\n",
        );
        for (name, text) in [
            ("repo_name", "test\n"),
            ("eapi", "8\n"),
            ("arch.list", "amd64\n"),
            ("categories", "app-misc\n"),
            ("profiles.desc", "amd64 default stable\n"),
            ("default/make.defaults", MAKE_DEFAULTS),
            ("default/eapi", "8\n"),
        ] {
            write(&repository.join("profiles").join(name), text);
        }
        write(&repository.join("licenses/MIT"), "");
        write(&repository.join("app-misc/trivial/trivial-1.0.ebuild"), EBUILD);
        let mut tools = vec![("gtar", "tar")];
        if Command::new("scanelf").arg("-V").output().is_err() {
            tools.push(("scanelf", "true"));
        }
        fs::create_dir(this.path("tools")).unwrap();
        for (name, program) in tools {
            std::os::unix::fs::symlink(format!("/bin/{program}"), this.path("tools").join(name)).unwrap();
        }
        this.configure("build", "");
        Some(this)
    }

    /// A Portage from PyPI reads `etc/portage` of its own prefix as well, so it gets a prefix of this test's own
    /// around the same files.
    fn adopt(&self, original: &Path) {
        fs::create_dir_all(self.prefix.join("bin")).unwrap();
        fs::create_dir_all(self.prefix.join("etc/portage")).unwrap();
        fs::copy(original.join("pyvenv.cfg"), self.prefix.join("pyvenv.cfg")).unwrap();
        for part in ["lib", "share"] {
            std::os::unix::fs::symlink(original.join(part), self.prefix.join(part)).unwrap();
        }
        for entry in fs::read_dir(original.join("bin")).unwrap().flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            let target = if target.is_absolute() { target } else { entry.path() };
            std::os::unix::fs::symlink(target, self.prefix.join("bin").join(entry.file_name())).unwrap();
        }
        let python = fs::canonicalize(original.join("bin/python3")).unwrap();
        fs::remove_file(self.prefix.join("bin/python3")).unwrap();
        std::os::unix::fs::symlink(python, self.prefix.join("bin/python3")).unwrap();
        let profile = self.repository().join("profiles/default");
        std::os::unix::fs::symlink(profile, self.prefix.join("etc/portage/make.profile")).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn repository(&self) -> PathBuf {
        self.path("repository")
    }

    /// A configuration root `name`, with its own directories, and an empty root `name/root`.
    pub(crate) fn configure(&self, name: &str, more: &str) {
        let base = self.path(name);
        for part in ["etc/portage", "tmp", "root"] {
            fs::create_dir_all(base.join(part)).unwrap();
        }
        std::os::unix::fs::symlink(
            self.repository().join("profiles/default"),
            base.join("etc/portage/make.profile"),
        )
        .unwrap();
        let shown = base.display();
        let conf = format!(
            "DISTDIR=\"{shown}/distfiles\"\nPKGDIR=\"{shown}/packages\"\nPORTAGE_TMPDIR=\"{shown}/tmp\"\n\
             PKG_TMPDIR=\"{shown}/tmp\"\nMAKEOPTS=\"-j1\"\nBINPKG_FORMAT=\"gpkg\"\n\
             FEATURES=\"-sandbox -usersandbox -userpriv -userfetch -usersync -news -merge-sync -network-sandbox \
             -pid-sandbox -ipc-sandbox\"\n{more}\n"
        );
        write(&base.join("etc/portage/make.conf"), &conf);
    }

    /// Runs one of Portage's programs, or Python, under the configuration root `name`.
    pub(crate) fn run(&self, name: &str, program: &str, arguments: &[&str]) -> Output {
        let id = |what| {
            let output = Command::new("id").arg(what).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let (base, bin) = (self.path(name), self.prefix.join("bin"));
        let mut command = Command::new(bin.join("python3"));
        if program != "python3" {
            command.arg(bin.join(program));
        }
        command.args(arguments).env_clear().env("HOME", self.directory.path()).env("LC_ALL", "C.UTF-8");
        command.env(
            "PATH",
            format!("{}:{}:/usr/sbin:/usr/bin:/sbin:/bin", bin.display(), self.path("tools").display()),
        );
        command.env("EPREFIX", "").env("ROOT", base.join("root")).env("SYSROOT", base.join("root"));
        command.env("PORTAGE_CONFIGROOT", &base).env("EMERGE_LOG_DIR", &base).env("PORTAGE_TRUST_HELPER", "");
        command.env("PORTAGE_USERNAME", id("-un")).env("PORTAGE_GRPNAME", id("-gn"));
        command.env("NO_COLOR", "1").env("TERM", "dumb").env("PYTHONHASHSEED", "0");
        let repositories = format!(
            "[DEFAULT]\nmain-repo = test\n[test]\nlocation = {}\nauto-sync = no\n",
            self.repository().display()
        );
        command.env("PORTAGE_REPOSITORIES", repositories).output().unwrap()
    }

    /// Builds the package and gives its gpkg.
    pub(crate) fn build(&self) -> PathBuf {
        let arguments = ["--oneshot", "--nodeps", "--buildpkgonly", "=app-misc/trivial-1.0"];
        let output = self.run("build", "emerge", &arguments);
        let packages = self.path("build/packages/app-misc/trivial");
        let mut found: Vec<PathBuf> = fs::read_dir(packages)
            .unwrap_or_else(|_| panic!("{}", said(&output)))
            .map(|e| e.unwrap().path())
            .collect();
        found.sort();
        found.pop().unwrap()
    }

    /// Whether this Portage knows `verify-signature` of `binrepos.conf`, and fetches packages from `file://`.
    pub(crate) fn is_recent(&self) -> bool {
        const SCRIPT: &str = "import inspect, portage.gpkg as g; print(inspect.signature(g.gpkg.__init__))";
        said(&self.run("build", "python3", &["-c", SCRIPT])).contains("verify_signature")
    }

    /// Has Portage's own class read `package`, with signatures if `verify`; what it says if it refuses.
    pub(crate) fn judge(&self, name: &str, package: &Path, verify: bool) -> Result<String, String> {
        const SCRIPT: &str = "
import inspect, os, sys
verify = sys.argv[2] == 'yes'
if verify:  # what older versions have in the place of the argument below
    os.environ['FEATURES'] = 'binpkg-request-signature'
import portage, portage.gpkg
known = inspect.signature(portage.gpkg.gpkg.__init__).parameters
options = {'verify_signature': verify} if 'verify_signature' in known else {}
package = portage.gpkg.gpkg(portage.settings, gpkg_file=sys.argv[1], **options)
print(sorted(package.get_metadata()))
package.decompress(sys.argv[3])
";
        let target = tempfile::tempdir_in(self.directory.path()).unwrap();
        let (package, target) = (package.to_str().unwrap(), target.path().to_str().unwrap());
        let arguments = ["-c", SCRIPT, package, if verify { "yes" } else { "no" }, target];
        let output = self.run(name, "python3", &arguments);
        if output.status.success() { Ok(said(&output)) } else { Err(said(&output)) }
    }
}

/// Everything a program printed.
pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const OPTIONS: RepackOptions =
    RepackOptions { build_id: 1, build_time: 1_790_000_000, limits: Limits::STANDARD };

/// Repacks `source` into `name`; the path and what was found.
pub(crate) fn repacked(portage: &Portage, source: &Path, name: &str) -> (PathBuf, Repacked) {
    let path = portage.path(name);
    let facts = repack(source, fs::File::create(&path).unwrap(), &OPTIONS).unwrap();
    (path, facts)
}

#[test]
fn portage_reads_what_we_repack_and_builds_agree() {
    let Some(portage) = Portage::find() else { return };
    let (first, one) = repacked(&portage, &portage.build(), "first.gpkg.tar");
    let said = portage.judge("build", &first, false).unwrap();
    assert!(said.contains("'SLOT'") && said.contains("'trivial-1.0.ebuild'"), "{said}");
    assert_eq!((one.payload.hardlinks, one.payload.symlinks), (1, 1));
    let (_, two) = repacked(&portage, &portage.build(), "second.gpkg.tar");
    assert_eq!(one.payload.digest, two.payload.digest, "two builds of the same thing agree");
    if portage.is_recent() {
        // With older ones the saved environment is another one each time.
        assert_eq!(one.payload, two.payload);
    }
}

#[test]
fn portage_verifies_what_we_sign_and_refuses_the_rest() {
    let Some(portage) = Portage::find() else { return };
    let Some(signer) = crate::openpgp::tests::signer(&portage.path("ours")) else { return };
    let stranger = crate::openpgp::tests::signer(&portage.path("theirs")).unwrap();
    let trust =
        crate::openpgp::trust_setup(&portage.path("client"), &signer.export_public_key().unwrap()).unwrap();
    portage.configure("client", &format!("BINPKG_GPG_VERIFY_GPG_HOME=\"{}\"", trust.home.display()));

    let (unsigned, _) = repacked(&portage, &portage.build(), "unsigned.gpkg.tar");
    let signed_by = |signer: &crate::openpgp::Signer, name: &str| {
        let path = portage.path(name);
        let mut session = signer.session().unwrap();
        sign(&unsigned, &mut session, fs::File::create(&path).unwrap()).unwrap();
        path
    };
    let ours = signed_by(&signer, "ours.gpkg.tar");
    portage.judge("client", &ours, true).unwrap();
    assert!(portage.judge("client", &unsigned, true).is_err(), "no signature");
    let theirs = portage.judge("client", &signed_by(&stranger, "theirs.gpkg.tar"), true).unwrap_err();
    assert!(["unknown key", "NO_PUBKEY"].iter().any(|said| theirs.contains(said)), "{theirs}");

    // One bit of the image.
    let mut bytes = fs::read(&ours).unwrap();
    let package = Gpkg::read(&bytes[..], &Limits::STANDARD).unwrap();
    let at = usize::try_from(package.image_member().offset() + package.image_member().size() / 2).unwrap();
    bytes[at] ^= 1;
    let flipped = portage.path("flipped.gpkg.tar");
    fs::write(&flipped, bytes).unwrap();
    assert!(portage.judge("client", &flipped, true).is_err());
    assert!(crate::openpgp::trust_remove(&portage.path("client"), signer.fingerprint()).unwrap());
    assert!(portage.judge("client", &ours, true).is_err(), "no longer trusted");
}
