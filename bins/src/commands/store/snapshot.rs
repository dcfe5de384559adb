//! `store snapshot`

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use buildswarm_core::BlobId;
use buildswarm_store::{Entry, Node, Root, RootKind, Store, TreeOptions};

use crate::cli::SnapshotCommand;
use crate::report::bytes;
use crate::state::State;

pub(super) fn run(state: &State, command: &SnapshotCommand) -> Result<ExitCode> {
    match command {
        SnapshotCommand::Put { directory, root, skip_special, json } => {
            let options = TreeOptions { skip_special: *skip_special };
            put(&state.open_store()?, directory, root.as_deref(), &options, *json)?;
        }
        SnapshotCommand::Get { tree, destination, json } => {
            let store = state.read_store()?;
            get(&store, named(&store, tree)?, destination, *json)?;
        }
        SnapshotCommand::Ls { tree, json } => {
            let store = state.read_store()?;
            list(&store, named(&store, tree)?, *json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The tree that a root keeps, or that has this digest.
fn named(store: &Store, name: &str) -> Result<BlobId> {
    if let Ok(id) = name.parse() {
        return Ok(id);
    }
    match store.roots()?.into_iter().find(|root| root.name == name) {
        Some(Root { kind: RootKind::Tree, id, .. }) => Ok(id),
        Some(_) => bail!("the root {name:?} keeps a blob, not a tree"),
        None => {
            bail!("there is no root {name:?}, and it is no digest: `build-swarm store root ls` has the names")
        }
    }
}

fn put(store: &Store, directory: &Path, root: Option<&str>, options: &TreeOptions, json: bool) -> Result<()> {
    let put = store.put_tree(directory, options)?;
    if let Some(name) = root {
        store.set_root(name, RootKind::Tree, put.root)?;
    }
    if json {
        let line = serde_json::json!({
            "tree": put.root, "files": put.files, "directories": put.directories, "symlinks": put.symlinks,
            "bytes": put.bytes, "files_read": put.files_read, "new_blobs": put.new_blobs,
            "new_bytes": put.new_bytes,
        });
        println!("{line}");
        return Ok(());
    }
    println!("{}", put.root);
    eprintln!(
        "{} files, {} in {} directories; {} files read, {} new",
        put.files,
        bytes(put.bytes),
        put.directories,
        put.files_read,
        bytes(put.new_bytes)
    );
    Ok(())
}

fn get(store: &Store, tree: BlobId, destination: &Path, json: bool) -> Result<()> {
    let made = store.materialise(tree, destination)?;
    if json {
        let line = serde_json::json!({
            "tree": tree, "files": made.files, "directories": made.directories, "symlinks": made.symlinks,
            "bytes": made.bytes,
        });
        println!("{line}");
        return Ok(());
    }
    println!("{} files, {} in {}", made.files, bytes(made.bytes), destination.display());
    Ok(())
}

fn list(store: &Store, tree: BlobId, json: bool) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for entry in store.walk_tree(tree) {
        let (path, entry) = entry?;
        let line = if json { document(&path, &entry).to_string() } else { line(&path, &entry) };
        if let Err(error) = writeln!(out, "{line}") {
            // Whoever read it has seen enough.
            return if error.kind() == io::ErrorKind::BrokenPipe {
                Ok(())
            } else {
                Err(error).context("standard output")
            };
        }
    }
    out.flush().context("standard output")
}

/// An entry for a program. A path that is not text has its odd bytes replaced, and all of them beside it.
fn document(path: &Path, entry: &Entry) -> serde_json::Value {
    let mut document = serde_json::json!({ "path": path.to_string_lossy() });
    let mut add = |name: &str, value: serde_json::Value| document[name] = value;
    if path.to_str().is_none() {
        add("path_bytes", path.as_os_str().as_encoded_bytes().into());
    }
    match &entry.node {
        Node::File { mode, content } => {
            add("kind", "file".into());
            add("mode", mode.bits().into());
            add("size", content.size.into());
            add("content", content.id.to_string().into());
        }
        Node::Directory { mode, object } => {
            add("kind", "directory".into());
            add("mode", mode.bits().into());
            add("content", object.to_string().into());
        }
        Node::Symlink { target } => {
            add("kind", "symlink".into());
            add("target", target.as_os_str().to_string_lossy().into());
        }
    }
    document
}

/// An entry for a person: control characters of a name are shown, not obeyed.
fn line(path: &Path, entry: &Entry) -> String {
    let path = path.to_string_lossy().escape_debug().to_string();
    match &entry.node {
        Node::File { mode, content } => format!("-{:04o} {:>10}  {path}", mode.bits(), bytes(content.size)),
        Node::Directory { mode, .. } => format!("d{:04o} {:>10}  {path}/", mode.bits(), ""),
        Node::Symlink { target } => {
            let target = target.as_os_str().to_string_lossy().escape_debug().to_string();
            format!("l{:4} {:>10}  {path} -> {target}", "", "")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_text_is_shown_and_can_be_had_exactly() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join(std::ffi::OsStr::from_bytes(b"a\n\xff")), "x").unwrap();
        let root = store.put_tree(&tree, &TreeOptions { skip_special: false }).unwrap().root;
        let (path, entry) = store.walk_tree(root).next().unwrap().unwrap();
        assert!(line(&path, &entry).ends_with("  a\\n\u{fffd}"), "{}", line(&path, &entry));
        let document = document(&path, &entry);
        assert_eq!(document["path_bytes"], serde_json::json!([97, 10, 255]));
        assert_eq!((&document["kind"], &document["size"]), (&"file".into(), &1.into()));
    }

    #[test]
    fn a_tree_is_had_by_its_name_or_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        put(&store, &tree, Some("a/tree"), &TreeOptions { skip_special: false }, true).unwrap();
        let id = named(&store, "a/tree").unwrap();
        assert_eq!(named(&store, &id.to_string()).unwrap(), id);
        store.set_root("a/blob", RootKind::Blob, id).unwrap();
        let said = |name| named(&store, name).unwrap_err().to_string();
        assert!(said("a/blob").contains("not a tree") && said("none").contains("no root"));
    }
}
