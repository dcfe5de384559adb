//! `finalize` and `rollback`

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use buildswarm_core::BuildKey;
use buildswarm_core::artifact::Artifact;
use buildswarm_core::package::Cpv;
use buildswarm_portage::binhost::{
    Binhost, ChannelName, FileFacts, Generation, IndexEntry, PackagesIndex, Publication, Published,
    PublishedPackage, pool_path,
};
use buildswarm_portage::gpkg;
use buildswarm_portage::openpgp::{Signer, SigningSession};
use buildswarm_store::{GenerationRow, JobRow, Purpose, RunState, SignedPackage, Store};

use super::status;
use crate::attempt::now;
use crate::cli::{Finalize, Rollback};
use crate::config::Config;
use crate::state::State;

/// What a publication did.
#[derive(Debug, serde::Serialize)]
pub(super) struct Outcome {
    channel: String,
    generation: u64,
    packages: usize,
    changed: bool,
    directory: PathBuf,
}

impl Outcome {
    pub(super) fn print(&self) {
        let verb = if self.changed { "published" } else { "unchanged:" };
        println!(
            "{verb} generation {} of channel {}, {} packages, in {}",
            self.generation,
            self.channel,
            self.packages,
            self.directory.display()
        );
    }
}

pub(super) fn finalize(config: &Config, options: &Finalize) -> Result<ExitCode> {
    let state = State::of(config)?;
    let store = state.open_store()?;
    let outcome = publish(config, &state, &store, options.channel.as_deref(), options.run, options.only)?;
    report(&outcome, options.json)
}

fn report(outcome: &Outcome, json: bool) -> Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string(outcome)?);
    } else {
        outcome.print();
    }
    Ok(ExitCode::SUCCESS)
}

fn channel_name(config: &Config, name: Option<&str>) -> Result<ChannelName> {
    Ok(name.unwrap_or(&config.publish.channel).parse()?)
}

/// Publishes what a run made, or found, together with what the channel offers already.
pub(super) fn publish(
    config: &Config,
    state: &State,
    store: &Store,
    channel: Option<&str>,
    run: Option<u32>,
    only: bool,
) -> Result<Outcome> {
    let channel = channel_name(config, channel)?;
    let binhost = Binhost::new(state.binhost());
    let mut artifacts = artifacts_of_run(store, run)?;
    if !only && let Some(current) = binhost.current(&channel)? {
        keep_offered(store, &current, &mut artifacts)?;
    }
    let signer = Signer::open_or_create(&state.signing_key(), &config.publish.user_id)?;
    let mut session = signer.session()?;
    let work = state.work_directory()?;
    let mut index = PackagesIndex { timestamp: 0, header: BTreeMap::new(), entries: Vec::new() };
    let mut packages = Vec::new();
    for artifact in artifacts.values() {
        let signed =
            signed_package(store, artifact, &signer, &mut session, work.path()).with_context(|| {
                format!("{} is damaged or missing in the store; build it again", artifact.package)
            })?;
        index.entries.push(signed.entry);
        packages.push(PublishedPackage {
            cpv: artifact.package.clone(),
            key: Some(artifact.key),
            digest: signed.package.file.id,
            source: signed.source,
        });
    }
    for artifact in artifacts.values().filter(|artifact| is_bindist_restricted(artifact)) {
        eprintln!(" *  {} may not be passed on to others (RESTRICT=bindist)", artifact.package);
    }
    let publication = Publication { index, packages, now: now() };
    let published = binhost.publish(&channel, publication, Some(&mut session))?;
    settle(config, state, store, &binhost, &channel, &published, &artifacts)
}

/// PMS 7.3.6: such a package is for the machines of whoever built it.
fn is_bindist_restricted(artifact: &Artifact) -> bool {
    let restricted = artifact.metadata.get("RESTRICT").map_or("", String::as_str);
    restricted.split_whitespace().any(|word| word == "bindist")
}

/// Tells the store what the channel needs now, so that it is kept, and lets go of old generations.
fn settle(
    config: &Config,
    state: &State,
    store: &Store,
    binhost: &Binhost,
    channel: &ChannelName,
    published: &Published,
    artifacts: &BTreeMap<Cpv, Artifact>,
) -> Result<Outcome> {
    let (generation, changed) = match published {
        Published::New(generation) => (generation, true),
        Published::Unchanged(generation) => (generation, false),
    };
    if changed {
        let manifest = store.put_bytes(serde_json::to_string(generation)?.as_bytes())?;
        let entries: Vec<BuildKey> = artifacts.values().map(|artifact| artifact.key).collect();
        let row = GenerationRow { number: generation.number, created: now(), entries, manifest };
        store.record_generation(channel.as_str(), &row)?;
        store.set_current(channel.as_str(), generation.number)?;
        binhost.prune(channel, config.publish.keep_generations)?;
        let kept: BTreeSet<u64> = binhost.generations(channel)?.iter().map(|kept| kept.number).collect();
        for row in store.generations(channel.as_str())? {
            if !kept.contains(&row.number) {
                store.remove_generation(channel.as_str(), row.number)?;
            }
        }
    }
    Ok(Outcome {
        channel: channel.as_str().to_owned(),
        generation: generation.number,
        packages: generation.entries.len(),
        changed,
        directory: state.binhost().join("channels").join(channel.as_str()).join("current"),
    })
}

fn artifacts_of_run(store: &Store, run: Option<u32>) -> Result<BTreeMap<Cpv, Artifact>> {
    let run = status::find(store, run)?;
    if run.state == RunState::Running {
        bail!("run {} is still building", run.id);
    }
    if run.purpose == Purpose::Audit {
        bail!("run {} was an audit: it made nothing to be published", run.id);
    }
    let jobs = store.jobs(run.id)?;
    let missing: Vec<String> = jobs
        .iter()
        .filter(|job| !matches!(job.state.as_str(), "hit" | "reused" | "built" | "unneeded"))
        .map(|job| job.package.to_string())
        .collect();
    if !missing.is_empty() {
        bail!(
            "run {} is not complete: {} of its packages are missing ({}); build again before publishing",
            run.id,
            missing.len(),
            missing.join(", ")
        );
    }
    let keys: Vec<BuildKey> =
        jobs.iter().filter(|job| job.state != "unneeded").map(JobRow::artifact_key).collect();
    let found = store.artifacts(&keys)?;
    let mut artifacts = BTreeMap::new();
    for key in keys {
        let artifact = found.get(&key).ok_or_else(|| {
            anyhow!("the artifact {key} of run {} is no longer in the store; build again", run.id)
        })?;
        artifacts.insert(artifact.package.clone(), artifact.clone());
    }
    Ok(artifacts)
}

/// Adds what the channel offers of other versions and packages.
fn keep_offered(store: &Store, current: &Generation, artifacts: &mut BTreeMap<Cpv, Artifact>) -> Result<()> {
    for entry in &current.entries {
        if artifacts.contains_key(&entry.cpv) {
            continue;
        }
        let key = entry.key.with_context(|| format!("{} was not published by buildswarm", entry.cpv))?;
        // An artifact removed since then is no longer offered.
        if let Some(artifact) = store.artifact(key)? {
            artifacts.insert(entry.cpv.clone(), artifact);
        }
    }
    Ok(())
}

struct Signed {
    package: SignedPackage,
    entry: IndexEntry,
    source: PathBuf,
}

/// The signed package of an artifact: signed now unless it was before.
fn signed_package(
    store: &Store,
    artifact: &Artifact,
    signer: &Signer,
    session: &mut SigningSession<'_>,
    work: &Path,
) -> Result<Signed> {
    let package = match store.signed_package(artifact.key, signer.fingerprint())? {
        Some(package) => package,
        None => {
            let package = sign(store, artifact, session, work)?;
            store.put_signed(artifact.key, signer.fingerprint(), &package)?;
            package
        }
    };
    let facts: FileFacts = serde_json::from_str(&package.index_entry)
        .with_context(|| format!("what is kept of the signed {}", artifact.package))?;
    let entry = IndexEntry::new(
        artifact.package.clone(),
        &artifact.metadata,
        &facts,
        pool_path(&facts.id),
        artifact.built_at.0,
    )?;
    let source = file_of(store, package.file, work)?;
    Ok(Signed { package, entry, source })
}

fn sign(
    store: &Store,
    artifact: &Artifact,
    session: &mut SigningSession<'_>,
    work: &Path,
) -> Result<SignedPackage> {
    let unsigned = file_of(store, artifact.file, work)?;
    let mut signed = tempfile::tempfile_in(work).context("a signed package")?;
    gpkg::sign(&unsigned, session, &mut signed)
        .with_context(|| format!("{} cannot be signed", artifact.package))?;
    signed.flush()?;
    signed.seek(SeekFrom::Start(0))?;
    let facts = FileFacts::of(&mut signed)?;
    signed.seek(SeekFrom::Start(0))?;
    let file = store.put(&mut signed)?;
    Ok(SignedPackage { file, index_entry: serde_json::to_string(&facts)? })
}

/// A path to a blob's bytes: its own, or a copy of one that is kept inside the index.
fn file_of(store: &Store, blob: buildswarm_core::artifact::BlobRef, work: &Path) -> Result<PathBuf> {
    if let Some(path) = store.verified_path(blob.id)? {
        return Ok(path);
    }
    let path = work.join(blob.id.to_string());
    let bytes = store.read_blob(blob.id, blob.size)?;
    File::create(&path)
        .and_then(|mut file| file.write_all(&bytes))
        .with_context(|| path.display().to_string())?;
    Ok(path)
}

pub(super) fn rollback(config: &Config, options: &Rollback) -> Result<ExitCode> {
    let state = State::of(config)?;
    let channel = channel_name(config, options.channel.as_deref())?;
    let binhost = Binhost::new(state.binhost());
    if options.list {
        return list(&binhost, &channel, options.json);
    }
    if binhost.current(&channel)?.is_none() {
        bail!(nothing_published(&channel));
    }
    let store = state.open_store()?;
    let signer = Signer::open_or_create(&state.signing_key(), &config.publish.user_id)?;
    let mut session = signer.session()?;
    let published = binhost.rollback(&channel, options.to, now(), Some(&mut session))?;
    let generation = published.generation();
    let mut artifacts = BTreeMap::new();
    keep_offered(&store, generation, &mut artifacts)?;
    let outcome = settle(config, &state, &store, &binhost, &channel, &published, &artifacts)?;
    report(&outcome, options.json)
}

fn nothing_published(channel: &ChannelName) -> String {
    format!("nothing was published to channel {} yet; `build-swarm finalize` does", channel.as_str())
}

fn list(binhost: &Binhost, channel: &ChannelName, json: bool) -> Result<ExitCode> {
    let current = binhost.current(channel)?.map(|generation| generation.number);
    let generations = binhost.generations(channel)?;
    if json {
        println!(
            "{}",
            serde_json::json!({"channel": channel.as_str(), "current": current, "generations": generations})
        );
        return Ok(ExitCode::SUCCESS);
    }
    if generations.is_empty() {
        bail!(nothing_published(channel));
    }
    for generation in generations {
        let time = jiff::Timestamp::from_second(i64::try_from(generation.created.0)?)?;
        let mark = if Some(generation.number) == current { "*" } else { " " };
        println!("{mark} {:>4}  {time}  {} packages", generation.number, generation.entries.len());
    }
    Ok(ExitCode::SUCCESS)
}
