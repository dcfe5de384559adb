//! `emerge --getbinpkgonly` from a channel, over HTTP and from files.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use buildswarm_core::time::UnixSeconds;

use crate::gpkg::tests::portage::{Portage, repacked, said};
use crate::gpkg::{Limits, sign};
use crate::openpgp::{Signer, trust_setup};

use super::*;

/// A static web server on a port of its own choice.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new("python3");
        command.args(["-u", "-m", "http.server", "-b", "127.0.0.1", "0"]).current_dir(directory);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.split("port ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap();
        Self { child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Signs `unsigned` and publishes it to the channel `stable`.
fn publish(portage: &Portage, binhost: &Binhost, signer: &Signer, unsigned: &Path, now: u64) -> Published {
    let signed = portage.path(&format!("signed-{now}.gpkg.tar"));
    let mut session = signer.session().unwrap();
    sign(unsigned, &mut session, fs::File::create(&signed).unwrap()).unwrap();
    let facts = FileFacts::of(fs::File::open(&signed).unwrap()).unwrap();
    let package = crate::gpkg::Gpkg::open(&signed, &Limits::STANDARD).unwrap();
    let metadata = package.index_metadata().unwrap();
    let cpv: Cpv = "app-misc/trivial-1.0".parse().unwrap();
    let entry = IndexEntry::new(cpv.clone(), &metadata, &facts, pool_path(&facts.id), 1_790_000_000).unwrap();
    let index = PackagesIndex {
        entries: vec![entry],
        header: BTreeMap::from([("ARCH".to_owned(), "amd64".to_owned())]),
        ..PackagesIndex::default()
    };
    let packages = vec![PublishedPackage { cpv, key: None, digest: facts.id, source: signed }];
    let publication = Publication { index, packages, now: UnixSeconds(now) };
    binhost.publish(&"stable".parse().unwrap(), publication, Some(&mut session)).unwrap()
}

/// Installs from `uri` into an empty root, with signatures verified by the keyring at `client`.
fn install(portage: &Portage, client: &str, uri: &str) -> Result<(), String> {
    let home = portage.path(client).join("etc/portage/gnupg");
    let request =
        if portage.is_recent() { "" } else { "FEATURES=\"${FEATURES} binpkg-request-signature\"\n" };
    portage.configure(client, &format!("{request}BINPKG_GPG_VERIFY_GPG_HOME=\"{}\"", home.display()));
    let base = portage.path(client);
    let binrepos =
        format!("[swarm]\nsync-uri = {uri}\nverify-signature = true\nlocation = {}/cache\n", base.display());
    fs::write(base.join("etc/portage/binrepos.conf"), binrepos).unwrap();
    let output = portage.run(client, "emerge", &["--oneshot", "--getbinpkgonly", "app-misc/trivial"]);
    let greeting = base.join("root/usr/share/trivial/greeting");
    if output.status.success() && fs::read_to_string(greeting).is_ok_and(|text| text == "hello\n") {
        Ok(())
    } else {
        Err(said(&output))
    }
}

#[test]
fn emerge_installs_from_a_channel_and_only_what_we_signed() {
    let Some(portage) = Portage::find() else { return };
    let Some(signer) = crate::openpgp::tests::signer(&portage.path("ours")) else { return };
    let stranger = crate::openpgp::tests::signer(&portage.path("theirs")).unwrap();
    let (unsigned, _) = repacked(&portage, &portage.build(), "unsigned.gpkg.tar");
    let key = signer.export_public_key().unwrap();
    for client in ["http", "file", "stranger", "flipped"] {
        trust_setup(&portage.path(client), &key).unwrap();
    }
    let binhost = Binhost::new(portage.path("binhost"));
    let published = publish(&portage, &binhost, &signer, &unsigned, 1_790_000_100);
    let server = Server::start(binhost.directory());
    let uri = format!("http://127.0.0.1:{}/channels/stable/current", server.port);
    install(&portage, "http", &uri).unwrap();
    let current = binhost.directory().join("channels/stable/current");
    if portage.is_recent() {
        install(&portage, "file", &format!("file://{}", current.display())).unwrap();
    }

    publish(&portage, &binhost, &stranger, &unsigned, 1_790_000_200);
    let refused = install(&portage, "stranger", &uri).unwrap_err();
    assert!(refused.contains("NO_PUBKEY") || refused.contains("unknown key"), "{refused}");

    binhost.rollback(&"stable".parse().unwrap(), None, UnixSeconds(1_790_000_300), None).unwrap();
    let file = binhost.directory().join(pool_path(&published.generation().entries[0].digest));
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    install(&portage, "flipped", &uri).unwrap_err();
}
