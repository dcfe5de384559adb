//! A directory served over HTTP as it is, and a root that installs from it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::world::{Ran, World, copy, setup};

/// Serves until it is dropped.
#[derive(Debug)]
pub(crate) struct Site {
    directory: PathBuf,
    address: String,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Site {
    /// Serves a copy of what a world published, which the test may spoil.
    pub(crate) fn of(world: &World, name: &str) -> Self {
        let directory = world.path(name);
        copy(&world.state().join("binhost"), &directory);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let is_over = Arc::new(AtomicBool::new(false));
        let (root, over) = (directory.clone(), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                // A client that goes away is its own affair.
                let _ = stream.and_then(|stream| answer(&stream, &root));
            }
        });
        Self { directory, address, is_over, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/channels/default/current", self.address)
    }

    /// What is offered now.
    pub(crate) fn offered(&self) -> PathBuf {
        self.directory.join("channels/default/current")
    }

    /// Changes the index, of which only one form is left.
    pub(crate) fn change_index(&self, change: impl FnOnce(&str) -> String) {
        let path = self.offered().join("Packages");
        let text = change(&fs::read_to_string(&path).unwrap());
        let compressed = self.offered().join("Packages.gz");
        if compressed.exists() {
            fs::remove_file(compressed).unwrap();
        }
        fs::remove_file(&path).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The part of the index about a package.
    pub(crate) fn entry(&self, cpv: &str) -> String {
        let text = fs::read_to_string(self.offered().join("Packages")).unwrap();
        let mut entries = text.split("\n\n").filter(|entry| entry.contains(&format!("CPV: {cpv}\n")));
        entries.next().unwrap_or_else(|| panic!("no {cpv} in {text}")).to_owned()
    }

    /// The file of a package.
    pub(crate) fn file(&self, cpv: &str) -> PathBuf {
        let entry = self.entry(cpv);
        let path = entry.lines().find_map(|line| line.strip_prefix("PATH: ")).unwrap();
        self.offered().join(path)
    }

    /// Replaces a package, and what the index says of its bytes.
    pub(crate) fn replace(&self, cpv: &str, bytes: &[u8]) {
        let (file, before) = (self.file(cpv), self.entry(cpv));
        fs::remove_file(&file).unwrap();
        fs::write(&file, bytes).unwrap();
        let digest = |program: &str| {
            let output = Command::new(program).arg(&file).output().unwrap();
            String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().to_owned()
        };
        let facts =
            [("MD5", digest("md5sum")), ("SHA1", digest("sha1sum")), ("SIZE", bytes.len().to_string())];
        let lines: Vec<String> = before
            .lines()
            .map(|line| match facts.iter().find(|(key, _)| line.starts_with(&format!("{key}: "))) {
                Some((key, value)) => format!("{key}: {value}"),
                None => line.to_owned(),
            })
            .collect();
        self.change_index(|text| text.replace(&before, &lines.join("\n")));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes it.
        let _ = TcpStream::connect(&self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn answer(mut stream: &TcpStream, root: &Path) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let (status, body) = match fs::read(root.join(path)) {
        Ok(body) => ("200 OK", body),
        Err(_) => ("404 Not Found", Vec::new()),
    };
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)
}

/// Whether Portage heeds `verify-signature` in `binrepos.conf`.
fn knows_verify_signature() -> bool {
    let libraries = fs::read_dir(setup().join("portage/lib")).into_iter().flatten().flatten();
    let files = libraries.map(|library| library.path().join("site-packages/portage/binrepo/config.py"));
    // The system's Portage, on Gentoo, is newer.
    files.filter_map(|file| fs::read_to_string(file).ok()).all(|text| text.contains("verify_signature"))
}

/// A root with a configuration and nothing installed.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    pub(crate) world: &'a World,
    root: PathBuf,
}

impl<'a> Client<'a> {
    pub(crate) fn new(world: &'a World, name: &str) -> Self {
        let root = world.path(name);
        fs::create_dir_all(root.join("etc")).unwrap();
        copy(&world.etc(""), &root.join("etc/portage"));
        if !knows_verify_signature() {
            // Older ones ask for signatures everywhere or nowhere.
            let conf = root.join("etc/portage/make.conf");
            let text = fs::read_to_string(&conf).unwrap();
            fs::write(&conf, text + "FEATURES=\"binpkg-request-signature\"\n").unwrap();
        }
        Self { world, root }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// `client SUBCOMMAND --root ROOT ARGUMENTS`
    pub(crate) fn run(&self, subcommand: &str, arguments: &[&str]) -> Ran {
        let root = self.root.display().to_string();
        let all = ["client", subcommand, "--root", &root].into_iter().chain(arguments.iter().copied());
        self.world.run(all)
    }

    pub(crate) fn set_up(&self, site: &Site) {
        let ran = self.run("setup", &[&site.url()]);
        assert_eq!(ran.code, Some(0), "{ran}");
    }

    /// Stock emerge, which may use nothing but binary packages.
    pub(crate) fn install(&self, atom: &str) -> Ran {
        self.run("emerge", &["--", "--getbinpkgonly", "--oneshot", atom])
    }

    pub(crate) fn has_installed(&self, cpv: &str) -> bool {
        self.root.join("var/db/pkg").join(cpv).is_dir()
    }
}
