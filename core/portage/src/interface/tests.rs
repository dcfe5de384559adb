//! Tests with files that the machine's own compiler and binutils make; `tests/made.rs` has ELF files made by hand.

mod files;
mod libraries;
mod made;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::gpkg::fixture::{Package, RawEntry as TarEntry, file};

/// The interface of an image with these entries, read out of a package as any other.
fn of_entries(entries: &[TarEntry]) -> Interface {
    let bytes = Package::with_image(entries).bytes();
    let package = Gpkg::read(&bytes[..], &Limits::STANDARD).unwrap();
    let interface = Interface::of(&package, std::io::Cursor::new(&bytes), &Limits::STANDARD).unwrap();
    let payload = package.payload(std::io::Cursor::new(&bytes), &Limits::STANDARD).unwrap();
    let both = package.payload_and_interface(std::io::Cursor::new(&bytes), &Limits::STANDARD).unwrap();
    assert_eq!(both, (payload, interface.clone()), "one pass gives what two do");
    interface
}

fn of_files(files: &[(&str, &[u8])]) -> Interface {
    of_entries(
        &files.iter().map(|(path, content)| file(format!("image/{path}"), content)).collect::<Vec<_>>(),
    )
}

/// The interface of one file.
fn of_file(path: &str, content: &[u8]) -> Interface {
    of_files(&[(path, content)])
}

const LIBRARY: &str = "usr/lib64/libfoo.so.1";

/// The differences between two versions of one library, without its path. That there are none if and only if the
/// digests agree is asserted on the way.
fn library_differences(before: &[u8], after: &[u8]) -> Vec<String> {
    let (before, after) = (of_file(LIBRARY, before), of_file(LIBRARY, after));
    for interface in [&before, &after] {
        let entry = &interface.entries()[LIBRARY];
        assert!(matches!(entry, Entry::SharedObject { abi: Some(_), .. }), "not understood: {entry:?}");
    }
    differences(&before, &after)
}

fn differences(before: &Interface, after: &Interface) -> Vec<String> {
    let found: Vec<String> = Interface::differences(before, after).iter().map(ToString::to_string).collect();
    assert_eq!(found.is_empty(), before.digest() == after.digest(), "{found:?}");
    let prefix = format!("{LIBRARY}: ");
    found.iter().map(|text| text.strip_prefix(&prefix).unwrap_or(text).to_owned()).collect()
}

/// A directory in which files are made.
struct Workshop(tempfile::TempDir);

impl Workshop {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(program).args(arguments).current_dir(self.0.path()).output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// A shared library with this source.
    fn library_with(&self, source: &str, options: &[&str]) -> Vec<u8> {
        fs::write(self.path("library.c"), source).unwrap();
        let usual = ["-shared", "-fPIC", "-o", "library.so", "library.c", "-Wl,-soname,libfoo.so.1"];
        self.run("cc", &[&usual, options].concat());
        self.read("library.so")
    }

    fn library(&self, source: &str) -> Vec<u8> {
        self.library_with(source, &[])
    }

    /// The same library, exporting what this version script says.
    fn versioned(&self, source: &str, script: &str) -> Vec<u8> {
        fs::write(self.path("script"), script).unwrap();
        self.library_with(source, &["-Wl,--version-script=script"])
    }

    /// A program that uses `int foo(int)` and `int data[]` of the library.
    fn program_linked_with(&self, library: &[u8]) -> Vec<u8> {
        fs::write(self.path("libfoo.so.1"), library).unwrap();
        let source = "int foo(int); extern int data[]; int main(void) { return foo(data[0]); }";
        fs::write(self.path("program.c"), source).unwrap();
        self.run("cc", &["-o", "program", "program.c", "libfoo.so.1", "-Wl,--build-id=none"]);
        self.read("program")
    }
}
