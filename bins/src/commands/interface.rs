//! `interface`: what of a package can change how others build.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use buildswarm_core::BuildKey;
use buildswarm_core::artifact::Artifact;
use buildswarm_core::package::Cpv;
use buildswarm_portage::gpkg::{Gpkg, Limits};
use buildswarm_portage::interface::{Abi, ArchiveMember, Entry, Interface, Symbol};
use buildswarm_store::Store;

use super::store::key_beginning_with;
use crate::cli::InterfaceArgs;
use crate::config::Config;
use crate::report::Colors;
use crate::state::State;

pub(super) fn run(config: &Config, options: &InterfaceArgs) -> Result<ExitCode> {
    let subject = Subject::named(config, &options.package)?;
    let interface = subject.interface()?;
    if options.json {
        let mut document = subject.document();
        document["interface"] = serde_json::to_value(interface.digest())?;
        document["files"] = serde_json::to_value(&interface)?;
        println!("{document}");
        return Ok(ExitCode::SUCCESS);
    }
    let colors = Colors::of(&std::io::stdout());
    for (path, entry) in interface.entries() {
        println!("{}: {}", colors.name(path), in_words(entry));
        match entry {
            Entry::SharedObject { abi: Some(abi), .. } => print_abi(abi),
            Entry::Archive { members: Some(members), .. } => print_members(members),
            _ => {}
        }
    }
    println!("{} {}", interface.digest(), subject.name());
    Ok(ExitCode::SUCCESS)
}

/// What a command is to look at.
pub(super) enum Subject {
    /// A package file.
    File(PathBuf),
    /// An artifact of the store.
    Artifact(Store, Box<Artifact>),
}

impl Subject {
    /// A file if the name ends in `.tar` as those of packages do; else an artifact by package or by key.
    pub(super) fn named(config: &Config, name: &str) -> Result<Self> {
        if Path::new(name).extension().is_some_and(|extension| extension == "tar") {
            return Ok(Self::File(name.into()));
        }
        let store = State::of(config)?.read_store()?;
        let artifact = artifact_named(&store, name)?;
        Ok(Self::Artifact(store, Box::new(artifact)))
    }

    /// What it is, for people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Artifact(_, artifact) => format!("{} {}", artifact.key.short(), artifact.package),
        }
    }

    /// What it is, for programs.
    pub(super) fn document(&self) -> serde_json::Value {
        match self {
            Self::File(path) => serde_json::json!({"file": path}),
            Self::Artifact(_, artifact) => serde_json::json!({
                "key": artifact.key, "package": artifact.package, "payload": artifact.payload,
            }),
        }
    }

    pub(super) fn interface(&self) -> Result<Interface> {
        let interface = match self {
            Self::File(path) => File::open(path).map_err(anyhow::Error::from).and_then(interface_of),
            Self::Artifact(store, artifact) => match store.verified_path(artifact.file.id)? {
                Some(path) => interface_of(File::open(path)?),
                // Small packages are kept in the index.
                None => store
                    .read_blob(artifact.file.id, artifact.file.size)
                    .context("`build-swarm store verify` tells more")
                    .and_then(|bytes| interface_of(Cursor::new(bytes))),
            },
        };
        interface.with_context(|| self.name())
    }
}

fn interface_of(mut source: impl Read + Seek) -> Result<Interface> {
    let package = Gpkg::read(&mut source, &Limits::STANDARD)?;
    source.seek(SeekFrom::Start(0))?;
    Ok(Interface::of(&package, source, &Limits::STANDARD)?)
}

/// The newest artifact of `category/name-version`, of the only version of `category/name` or `name`, or the one
/// with a key.
fn artifact_named(store: &Store, name: &str) -> Result<Artifact> {
    let wanted = name.trim_start_matches('=');
    if let Ok(key) = wanted.parse() {
        return artifact_of(store, key);
    }
    let found = if let Ok(cpv) = wanted.parse::<Cpv>() {
        let mut found = store.artifacts_of(cpv.cp())?;
        found.retain(|artifact| artifact.package == cpv);
        found
    } else if wanted.contains('/') {
        store.artifacts_of(wanted)?
    } else {
        let mut named = Vec::new();
        for artifact in store.all_artifacts() {
            let artifact = artifact?;
            if artifact.package.name() == wanted || artifact.package.pf() == wanted {
                named.push(artifact);
            }
        }
        // What is no package's name may be the beginning of a key.
        if named.is_empty() {
            return artifact_of(store, key_beginning_with(store, wanted)?);
        }
        named
    };
    let versions: BTreeSet<&str> = found.iter().map(|artifact| artifact.package.as_str()).collect();
    if versions.len() > 1 {
        let versions: Vec<&str> = versions.into_iter().collect();
        bail!("{name} is {} packages: {}; name one of them", versions.len(), versions.join(", "));
    }
    found
        .into_iter()
        .max_by_key(|artifact| (artifact.built_at, artifact.key))
        .ok_or_else(|| anyhow!("nothing named {name} is in the store; `build-swarm store ls` lists what is"))
}

fn artifact_of(store: &Store, key: BuildKey) -> Result<Artifact> {
    store.artifact(key)?.ok_or_else(|| anyhow!("{key} is not in the store"))
}

fn in_words(entry: &Entry) -> String {
    let kind = entry.kind();
    match entry {
        Entry::File { content: digest, .. }
        | Entry::SharedObject { digest, .. }
        | Entry::Archive { digest, .. } => format!("{kind} {}", digest.short()),
        Entry::Symlink { target } => format!("{kind} to {target}"),
        Entry::Program { .. } | Entry::Directory => kind.to_owned(),
    }
}

fn print_abi(abi: &Abi) {
    if let Some(soname) = abi.soname() {
        println!("  SONAME {soname}");
    }
    abi.needed().for_each(|library| println!("  NEEDED {library}"));
    abi.versions.iter().for_each(|version| println!("  version {}", version.name));
    let sorted = |symbols: &[Symbol], line: fn(&Symbol) -> String| {
        let lines: BTreeSet<String> = symbols.iter().map(line).collect();
        lines.iter().for_each(|line| println!("  {line}"));
    };
    sorted(&abi.symbols, |symbol| match symbol.size.filter(|size| *size > 0) {
        Some(size) => format!("{} {symbol}, {size} bytes", symbol.type_name()),
        None => format!("{} {symbol}", symbol.type_name()),
    });
    sorted(&abi.undefined, |symbol| format!("undefined {symbol}"));
    abi.sections
        .iter()
        .for_each(|section| println!("  section {} {}", section.name, section.content.short()));
}

fn print_members(members: &[ArchiveMember]) {
    members.iter().for_each(|member| println!("  {} {}", member.content.short(), member.name));
}
