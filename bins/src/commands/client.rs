//! `client`

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use buildswarm_portage::client::{self, BinaryRepository};
use buildswarm_portage::openpgp::{Signer, trust_remove, trust_setup};

use crate::cli::{ClientCertify, ClientCommand, ClientSetup};
use crate::config::Config;
use crate::planning;
use crate::report::Colors;
use crate::state::State;

pub(super) fn run(config: &Config, command: &ClientCommand) -> Result<ExitCode> {
    match command {
        ClientCommand::Setup(options) => setup(config, options),
        ClientCommand::Remove { root, name } => remove(root, name),
        ClientCommand::Certify(options) => certify(config, options),
        ClientCommand::Emerge { root, arguments } => emerge(config, root, arguments),
        ClientCommand::Key => {
            print!("{}", public_key(config)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The public key of this machine's binhost.
pub(super) fn public_key(config: &Config) -> Result<String> {
    let state = State::of(config)?;
    let home = state.signing_key();
    if !home.is_dir() {
        bail!("this machine has no signing key yet; `build-swarm finalize` makes one");
    }
    Ok(Signer::open_or_create(&home, &config.publish.user_id)?.export_public_key()?)
}

fn absolute(root: &Path) -> Result<PathBuf> {
    fs::canonicalize(root).with_context(|| format!("the root {}", root.display()))
}

/// Where the fingerprint of the key trusted for a section is kept, so that `remove` knows which.
fn fingerprint_file(root: &Path, name: &str) -> PathBuf {
    root.join("etc/portage/binrepos.conf").join(format!(".{name}.key"))
}

fn setup(config: &Config, options: &ClientSetup) -> Result<ExitCode> {
    let root = absolute(&options.root)?;
    let key = match &options.key {
        Some(path) => fs::read_to_string(path).with_context(|| path.display().to_string())?,
        None => public_key(config)?,
    };
    let repository = BinaryRepository {
        name: options.name.clone(),
        url: options.url.trim_end_matches('/').to_owned(),
        priority: options.priority,
    };
    let file = repository.write(&root)?;
    let trust = trust_setup(&root, &key)?;
    let record = fingerprint_file(&root, &options.name);
    fs::write(&record, &trust.fingerprint).with_context(|| record.display().to_string())?;
    if options.json {
        println!(
            "{}",
            serde_json::json!({
                "binrepos": file, "keyring": trust.home, "fingerprint": trust.fingerprint, "url": repository.url,
            })
        );
        return Ok(ExitCode::SUCCESS);
    }
    let root_option =
        if root == Path::new("/") { String::new() } else { format!(" --root {}", root.display()) };
    println!("{}: wrote section [{}]", file.display(), options.name);
    println!("{}: trusts {}", trust.home.display(), trust.fingerprint);
    println!(
        "note:          Portage before 3.0.77 checks signatures only with FEATURES=\"binpkg-request-signature\""
    );
    if repository.url.starts_with("file:") {
        println!(
            "note:          Portage before 3.0.59 installs nothing from file: addresses; see build-swarm serve"
        );
    }
    println!("install with:  emerge --ask --getbinpkgonly PACKAGE");
    println!("undo with:     build-swarm client remove{root_option} --name {}", options.name);
    Ok(ExitCode::SUCCESS)
}

fn remove(root: &Path, name: &str) -> Result<ExitCode> {
    let root = absolute(root)?;
    let record = fingerprint_file(&root, name);
    let had_section = client::remove(&root, name)?;
    let had_key = match fs::read_to_string(&record) {
        Ok(fingerprint) => {
            let removed = trust_remove(&root, fingerprint.trim())?;
            fs::remove_file(&record).with_context(|| record.display().to_string())?;
            removed
        }
        Err(_) => false,
    };
    if !had_section && !had_key {
        bail!("{} was not set up by build-swarm under the name {name}", root.display());
    }
    println!("removed section [{name}] and its key from {}", root.display());
    Ok(ExitCode::SUCCESS)
}

/// What emerge would do with one package.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    is_binary: bool,
    package: String,
}

/// `[binary  N g  ] cat/pkg-1:0/0::repo …` and `[ebuild  N     ] …` (emerge(1), OUTPUT).
fn steps(output: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for line in output.lines() {
        let Some((kind, rest)) = line.trim_start().strip_prefix('[').and_then(|line| line.split_once(']'))
        else {
            continue;
        };
        let is_binary = kind.starts_with("binary");
        if (is_binary || kind.starts_with("ebuild"))
            && let Some(package) = rest.split_whitespace().next()
        {
            steps.push(Step { is_binary, package: package.to_owned() });
        }
    }
    steps
}

fn certify(config: &Config, options: &ClientCertify) -> Result<ExitCode> {
    let machine = planning::machine(config)?;
    let root = absolute(&options.root)?;
    let work = State::of(config)?.work_directory()?;
    let pretend = |usage: &str, name: &str| -> Result<(bool, Vec<Step>, String)> {
        let work = work.path().join(name);
        fs::create_dir_all(&work)?;
        let mut command = client::emerge(&machine, &root, &work)?;
        command.args(["--pretend", "--color=n", "--nospinner", "--with-bdeps=n", usage, "--"]);
        let output = command.args(&options.atoms).output().context("emerge cannot be run")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((output.status.success(), steps(&text), text + &errors))
    };
    let (complete, mut found, mut text) = pretend("--getbinpkgonly", "only")?;
    if !complete {
        // Something has no binary; without that constraint emerge says what.
        let (planned, all, reason) = pretend("--getbinpkg", "all")?;
        if !planned {
            bail!("emerge finds no plan for {}:\n{}", options.atoms.join(" "), reason.trim());
        }
        found = all;
        text = reason;
    }
    let missing: BTreeSet<&str> =
        found.iter().filter(|step| !step.is_binary).map(|step| step.package.as_str()).collect();
    let binary = found.iter().filter(|step| step.is_binary).count();
    let is_certified = complete && missing.is_empty();
    if options.json {
        println!(
            "{}",
            serde_json::json!({
                "packages": found.len(), "binary": binary, "certified": is_certified, "missing": missing,
            })
        );
    } else {
        let colors = Colors::of(&std::io::stdout());
        let verdict = if is_certified { colors.good("certified") } else { colors.bad("not certified") };
        println!("{verdict}: {binary} of {} packages are binary", found.len());
        missing.iter().for_each(|package| println!("  to be built: {package}"));
        if !is_certified && missing.is_empty() {
            println!("{}", text.trim());
        }
    }
    Ok(if is_certified { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn emerge(config: &Config, root: &Path, arguments: &[std::ffi::OsString]) -> Result<ExitCode> {
    let machine = planning::machine(config)?;
    let root = absolute(root)?;
    let work = State::of(config)?.work_directory()?;
    let status = client::emerge(&machine, &root, work.path())?
        .args(arguments)
        .status()
        .context("emerge cannot be run")?;
    Ok(u8::try_from(status.code().unwrap_or(1)).map_or(ExitCode::FAILURE, ExitCode::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_emerge_is_read() {
        let output = "\nThese are the packages that would be merged, in order:\n\n\
                      [binary  N g   ] sys-libs/zlib-1.2.13-1:0/1.2::x  USE=\"a\"\n\
                      [ebuild   R    ] app-misc/hello-2.10::x\n[blocks B      ] a/b\n";
        assert_eq!(
            steps(output),
            [
                Step { is_binary: true, package: "sys-libs/zlib-1.2.13-1:0/1.2::x".to_owned() },
                Step { is_binary: false, package: "app-misc/hello-2.10::x".to_owned() },
            ]
        );
    }
}
