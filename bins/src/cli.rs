//! The command line of `build-swarm`.

use std::path::PathBuf;

use buildswarm_core::BlobId;
use buildswarm_core::policy::Policy;
use clap::{Args, Parser, Subcommand};

use crate::config::{Config, KEEP_DAYS};
use crate::size;

/// Exit codes, as `--help` and the man page list them.
pub const EXIT_CODES: &str = "\
Exit status:
  0    done
  1    failed, refused, or something is missing; the reason is on standard error
  2    the command line is wrong
  130  interrupted";

/// Builds Gentoo packages once, keeps them by what went into them, and publishes a signed binhost.
#[derive(Debug, Parser)]
#[command(name = "build-swarm", version, max_term_width = 100, after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
pub struct Cli {
    /// Where everything is and how to build.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where everything is")]
pub struct Global {
    /// Read this configuration file after the system's; may be given more than once
    #[arg(long, global = true, value_name = "FILE", env = "BUILDSWARM_CONFIG", value_delimiter = ':')]
    pub config: Vec<PathBuf>,
    /// Keep everything in this directory
    #[arg(long, global = true, value_name = "DIR", env = "BUILDSWARM_STATE")]
    pub state: Option<PathBuf>,
    /// Take the configuration from DIR/etc/portage
    #[arg(long, global = true, value_name = "DIR")]
    pub config_root: Option<PathBuf>,
    /// Start builds from this root: a stage3, or /
    #[arg(long, global = true, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// Use the Portage in this Python prefix, where the base has none
    #[arg(long, global = true, value_name = "PREFIX")]
    pub portage: Option<PathBuf>,
    /// Look for programs in DIR/bin too; may be given more than once
    #[arg(long, global = true, value_name = "DIR")]
    pub tools: Vec<PathBuf>,
    /// Look for sources in this directory too; may be given more than once
    #[arg(long, global = true, value_name = "DIR")]
    pub distfiles: Vec<PathBuf>,
}

impl Global {
    /// The configuration files with these options over them.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn configuration(&self) -> anyhow::Result<Config> {
        let mut config = Config::read(&self.config)?;
        config.state = self.state.clone().or(config.state);
        let portage = &mut config.portage;
        portage.config_root = self.config_root.clone().unwrap_or(std::mem::take(&mut portage.config_root));
        portage.base = self.base.clone().unwrap_or(std::mem::take(&mut portage.base));
        portage.prefix = self.portage.clone().or(portage.prefix.take());
        portage.tools.extend(self.tools.iter().cloned());
        portage.distfiles.extend(self.distfiles.iter().cloned());
        Ok(config)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build what is not in the store
    #[command(after_help = "\
Examples:
  build-swarm build @world               whatever of the world is not in the store
  build-swarm build -p dev-lang/python   only show what would be built
  build-swarm build -a =app-misc/hello-2.10
  build-swarm build --finalize @world    and publish it")]
    Build(Build),
    /// Show what Portage would merge, and what of it is in the store
    #[command(after_help = "\
Examples:
  build-swarm plan @world
  build-swarm plan --json app-misc/hello | jq '.packages[] | select(.fate == \"build\")'
  build-swarm plan --emptytree @system")]
    Plan(PlanArgs),
    /// Say why a package is or is not in the store
    #[command(after_help = "\
Examples:
  build-swarm why app-misc/hello     which input differs from the nearest earlier build")]
    Why(Why),
    /// Say which inputs differ between two builds, and whether what is built with them notices
    #[command(after_help = "\
Examples:
  build-swarm diff 3f2a9c 77b01e     beginnings of keys are enough where they are unique
  build-swarm diff dev-libs/popt-1.18 dev-libs/popt-1.19
  build-swarm diff old/popt-1.19-1.gpkg.tar new/popt-1.19-1.gpkg.tar")]
    Diff(Diff),
    /// Build reused packages from scratch and compare
    #[command(after_help = "\
Examples:
  build-swarm audit @world               whatever was built otherwise and is reused
  build-swarm audit --sample 5 @world    five of them
  build-swarm audit --hits app-misc/foo  does it come out the same every time?")]
    Audit(Audit),
    /// Show what of a package can change how others build
    #[command(after_help = "\
Examples:
  build-swarm interface dev-libs/popt-1.19    of its newest build
  build-swarm interface 3f2a9c                of the build with this key
  build-swarm interface --json popt-1.19-1.gpkg.tar | jq .interface")]
    Interface(InterfaceArgs),
    /// Show what is being built, or what became of it
    #[command(after_help = "\
Examples:
  build-swarm status
  build-swarm status --json | jq '.jobs[] | select(.state == \"failed\")'")]
    Status(Status),
    /// Show build logs
    #[command(after_help = "\
Examples:
  build-swarm logs                    the last attempts
  build-swarm logs app-misc/hello     the log of the last one
  build-swarm logs -f app-misc/hello  and what is added to it")]
    Logs(Logs),
    /// Look after the store
    #[command(subcommand)]
    Store(StoreCommand),
    /// Publish: switch a channel to a new generation
    #[command(after_help = "\
Examples:
  build-swarm finalize                   what the last build made, with what the channel has
  build-swarm finalize --only            what the last build made, and nothing else
  build-swarm finalize --channel stable")]
    Finalize(Finalize),
    /// Switch a channel back to what an earlier generation offered
    #[command(after_help = "\
Examples:
  build-swarm rollback               to what was offered before
  build-swarm rollback --to 12
  build-swarm rollback --list        the generations there are")]
    Rollback(Rollback),
    /// Serve the published channels over HTTP, as emerge wants them
    #[command(after_help = "\
Examples:
  build-swarm serve
  build-swarm serve --listen 0.0.0.0:7080")]
    Serve(Serve),
    /// Set up machines that install from the binhost
    #[command(subcommand)]
    Client(ClientCommand),
    /// Print a completion script
    #[command(after_help = "\
Examples:
  build-swarm completions bash > /usr/share/bash-completion/completions/build-swarm")]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages
    #[command(after_help = "\
Examples:
  build-swarm man /usr/share/man/man1")]
    Man {
        /// Where to
        directory: PathBuf,
    },
}

/// What to plan.
#[derive(Debug, Clone, Args)]
pub struct Request {
    /// Atoms and sets, as emerge takes them
    #[arg(required = true, value_name = "ATOM")]
    pub atoms: Vec<String>,
    /// Plan as if nothing were installed in the build root
    #[arg(short, long)]
    pub emptytree: bool,
    /// Take newer versions of what is installed in the build root
    #[arg(short, long)]
    pub update: bool,
    /// Look at all dependencies, not only those of what is merged (always on; for the habit of it)
    #[arg(short = 'D', long)]
    pub deep: bool,
    /// Merge again what has other USE flags now
    #[arg(short = 'N', long)]
    pub newuse: bool,
    /// Leave these packages alone; may be given more than once
    #[arg(long, value_name = "ATOM")]
    pub exclude: Vec<String>,
    /// Which earlier builds to reuse: exact (the very same), interface (whose dependencies were the same as far as
    /// a build can see), slot (whose dependencies had the same slots) [default: interface]
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<Policy>,
    /// Another option of emerge that changes the plan; may be given more than once
    #[arg(long = "emerge-option", value_name = "OPTION", allow_hyphen_values = true)]
    pub emerge_options: Vec<String>,
}

impl Request {
    /// The same for Portage.
    #[must_use]
    pub fn to_portage(&self) -> buildswarm_portage::resolve::Request {
        let flags = [(self.emptytree, "--emptytree"), (self.update, "--update"), (self.newuse, "--newuse")];
        let flags = flags.into_iter().filter(|(set, _)| *set).map(|(_, option)| option.to_owned());
        let excluded = self.exclude.iter().map(|atom| format!("--exclude={atom}"));
        buildswarm_portage::resolve::Request {
            arguments: self.atoms.clone(),
            options: flags.chain(excluded).chain(self.emerge_options.iter().cloned()).collect(),
        }
    }
}

/// Options of `audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// What to audit.
    #[command(flatten)]
    pub request: Request,
    /// Only so many packages
    #[arg(long, value_name = "N")]
    pub sample: Option<usize>,
    /// Hits too, which are builds of the very same inputs
    #[arg(long)]
    pub hits: bool,
    /// Print only the result
    #[arg(short, long)]
    pub quiet: bool,
    /// Print one JSON object a line, the result last
    #[arg(long)]
    pub json: bool,
}

/// Options of `build`.
#[derive(Debug, Args)]
pub struct Build {
    /// What to build.
    #[command(flatten)]
    pub request: Request,
    /// Only show what would be built
    #[arg(short, long)]
    pub pretend: bool,
    /// Show what would be built and ask before building it
    #[arg(short, long, conflicts_with_all = ["pretend", "json"])]
    pub ask: bool,
    /// With --pretend or --ask: also show USE flags and keys
    #[arg(short, long)]
    pub verbose: bool,
    /// Print only failures and the summary
    #[arg(short, long)]
    pub quiet: bool,
    /// Print one JSON object a line, the summary last
    #[arg(long)]
    pub json: bool,
    /// Build so many packages at once
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<u32>,
    /// Go on with what does not need a failed package (the default)
    #[arg(long, overrides_with = "fail_fast")]
    pub keep_going: bool,
    /// Start nothing more after the first failure
    #[arg(long)]
    pub fail_fast: bool,
    /// Publish when everything is there
    #[arg(long, conflicts_with = "pretend")]
    pub finalize: bool,
}

/// Options of `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// What to plan.
    #[command(flatten)]
    pub request: Request,
    /// Show USE flags and keys
    #[arg(short, long)]
    pub verbose: bool,
    /// Print the plan as one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Options of `why`.
#[derive(Debug, Args)]
pub struct Why {
    /// What to plan and explain.
    #[command(flatten)]
    pub request: Request,
    /// Explain every package of the plan, not only those named
    #[arg(long)]
    pub all: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Options of `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// The earlier build: its key or the beginning of it, its package, or a package file
    pub before: String,
    /// The later build
    pub after: String,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Options of `interface`.
#[derive(Debug, Args)]
pub struct InterfaceArgs {
    /// A package of the store (category/name-version), a key or the beginning of one, or a package file
    pub package: String,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Of this run, instead of the last one
    #[arg(long, value_name = "NUMBER")]
    pub run: Option<u32>,
    /// Show hits too
    #[arg(short, long)]
    pub verbose: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Options of `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// A package (category/name, with or without version) or the beginning of a key; without it, the last
    /// attempts are listed
    pub package: Option<String>,
    /// Go on printing while the build runs
    #[arg(short, long, requires = "package")]
    pub follow: bool,
    /// List attempts instead of printing the log
    #[arg(short, long)]
    pub list: bool,
    /// Print the list as JSON
    #[arg(long)]
    pub json: bool,
}

/// `store`.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// List artifacts
    #[command(after_help = "Examples:\n  build-swarm store ls dev-libs/popt")]
    Ls {
        /// Only of this category/name
        package: Option<String>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Count what is there
    #[command(after_help = "Examples:\n  build-swarm store stats --json | jq .artifacts")]
    Stats {
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Read and hash everything again
    #[command(after_help = "\
What is damaged is taken out of service; building again heals it, and so does another store that has it.

Examples:
  build-swarm store verify && build-swarm finalize
  build-swarm store verify --rate 50M --resume
  build-swarm store verify --repair-from /mnt/backup")]
    Verify(StoreVerify),
    /// Copy the whole store while it is in use
    #[command(after_help = "\
The directory is new, empty or an earlier backup: then only what is new is copied. A backup is a store. On the same file
system blobs get a second name, which is no help when the disk fails.

Examples:
  build-swarm store backup /mnt/backup")]
    Backup {
        /// Directory for the backup
        #[arg(value_name = "DIRECTORY")]
        to: PathBuf,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Make the store from a backup
    #[command(after_help = "\
There must be no store yet. Every blob is read and hashed.

Examples:
  build-swarm store restore /mnt/backup")]
    Restore {
        /// The backup
        #[arg(value_name = "DIRECTORY")]
        from: PathBuf,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Make a lost or damaged index again from blobs and journal
    #[command(after_help = "\
The old index is kept beside the new one. Runs and attempts are not in the new one.

Examples:
  build-swarm store rebuild && build-swarm store verify")]
    Rebuild {
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Remove what nothing refers to
    #[command(after_help = "\
With a quota, blobs that nothing refers to go though they were used within the last day, the least recently used first,
until what is left fits. Artifacts stay unless --evict-artifacts is given, and those that a generation needs stay in any case.

Examples:
  build-swarm store gc --dry-run
  build-swarm store gc --keep-days 7
  build-swarm store gc --quota 50G --evict-artifacts")]
    Gc(Collect),
    /// List, set and remove roots: what is kept for good, by name
    #[command(subcommand, after_help = "Examples:\n  build-swarm store root ls")]
    Root(RootCommand),
    /// Remove an artifact: its key no longer resolves
    #[command(after_help = "Examples:\n  build-swarm store rm 3f2a9c77")]
    Rm {
        /// Key, or the beginning of it
        key: String,
    },
    /// Store directory trees, and make their files again
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
}

/// Subcommands of `store snapshot`.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Store a directory tree: names, permissions, contents and symbolic links
    #[command(after_help = "\
What an earlier snapshot of the directory read, and what has not changed since, is not read again.

Examples:
  build-swarm store snapshot put /etc/portage --root machines/here
  build-swarm store snapshot put /run/build --skip-special")]
    Put {
        /// The directory
        directory: PathBuf,
        /// Keep it under this name; an earlier tree of the name is kept by it no longer
        #[arg(long, value_name = "NAME")]
        root: Option<String>,
        /// Leave out named pipes, sockets and devices instead of refusing them
        #[arg(long)]
        skip_special: bool,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// Make the files of a tree
    #[command(after_help = "Examples:\n  build-swarm store snapshot get machines/here /tmp/portage")]
    Get {
        /// Name of a root, or digest of the tree
        tree: String,
        /// Where: a directory that is not there yet, or empty
        destination: PathBuf,
        /// One JSON document
        #[arg(long)]
        json: bool,
    },
    /// List what is in a tree
    #[command(after_help = "Examples:\n  build-swarm store snapshot ls machines/here --json | jq -r .path")]
    Ls {
        /// Name of a root, or digest of the tree
        tree: String,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
}

/// Options of `store verify`.
#[derive(Debug, Args)]
pub struct StoreVerify {
    /// Read no more than so many bytes a second, as in 50M
    #[arg(long, value_name = "SIZE", value_parser = crate::size::parse)]
    pub rate: Option<u64>,
    /// Go on where the last one with this option ended
    #[arg(long)]
    pub resume: bool,
    /// Take what is damaged or missing from another store or a backup
    #[arg(long, value_name = "DIRECTORY")]
    pub repair_from: Option<PathBuf>,
    /// One JSON document
    #[arg(long)]
    pub json: bool,
}

/// Options of `store gc`.
#[derive(Debug, Args)]
pub struct Collect {
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
    /// Keep logs of attempts so many days
    #[arg(long, default_value_t = KEEP_DAYS)]
    pub keep_days: u32,
    /// Evict until the blobs take no more than this, as in 50G or 512M; without it, store.quota-bytes counts
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub quota: Option<u64>,
    /// Evict artifacts too, as far as the quota demands and no generation needs them
    #[arg(long)]
    pub evict_artifacts: bool,
    /// One JSON document
    #[arg(long)]
    pub json: bool,
}

/// `store root`.
#[derive(Debug, Subcommand)]
pub enum RootCommand {
    /// List roots
    #[command(after_help = "Examples:\n  build-swarm store root ls --json | jq .name")]
    Ls {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Keep a blob, or a tree with everything below it; a root of that name is set anew
    #[command(after_help = "Examples:\n  build-swarm store root add --tree etc/portage 3f2a…")]
    Add {
        /// Its name: letters, digits and . _ - + @ : /
        name: String,
        /// Address of the blob, or of the directory at the top of the tree
        id: BlobId,
        /// Keep everything below the directory too
        #[arg(long)]
        tree: bool,
    },
    /// Remove a root: what only it kept goes with the next collection
    #[command(after_help = "Examples:\n  build-swarm store root rm etc/portage")]
    Rm {
        /// Its name
        name: String,
    },
}

/// Options of `finalize`.
#[derive(Debug, Args)]
pub struct Finalize {
    /// The channel
    #[arg(long)]
    pub channel: Option<String>,
    /// Publish what this run made, instead of the last one
    #[arg(long, value_name = "NUMBER")]
    pub run: Option<u32>,
    /// Offer nothing else: drop what the channel has from before
    #[arg(long)]
    pub only: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Options of `rollback`.
#[derive(Debug, Args)]
pub struct Rollback {
    /// The channel
    #[arg(long)]
    pub channel: Option<String>,
    /// To this generation, instead of the one before
    #[arg(long, value_name = "NUMBER")]
    pub to: Option<u64>,
    /// Only list the generations there are
    #[arg(long, conflicts_with = "to")]
    pub list: bool,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// Address and port; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Print one JSON object a request instead of a line
    #[arg(long)]
    pub json: bool,
}

/// `client`.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Let a root install from the binhost: binrepos.conf and the trusted key
    #[command(after_help = "\
Examples:
  build-swarm client setup http://builder:7080/binhost/default
  build-swarm client setup --root /mnt/gentoo --key swarm.asc https://…/binhost/default")]
    Setup(ClientSetup),
    /// Undo `setup`
    #[command(after_help = "Examples:\n  build-swarm client remove --root /mnt/gentoo")]
    Remove {
        /// The root
        #[arg(long, default_value = "/")]
        root: PathBuf,
        /// The name given at setup
        #[arg(long, default_value = "buildswarm")]
        name: String,
    },
    /// Ask the root's own emerge how many of a plan's packages it would install as binaries
    #[command(after_help = "\
Examples:
  build-swarm client certify @world
  build-swarm client certify --root /mnt/gentoo app-misc/hello")]
    Certify(ClientCertify),
    /// Run emerge on a root that has none of its own, with the configured Portage
    #[command(after_help = "\
Examples:
  build-swarm client emerge --root /mnt/target -- --getbinpkgonly app-misc/hello")]
    Emerge {
        /// The root
        #[arg(long)]
        root: PathBuf,
        /// Arguments of emerge
        #[arg(required = true, last = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Print the public key that packages are signed with
    #[command(after_help = "Examples:\n  build-swarm client key > swarm.asc")]
    Key,
}

/// Options of `client setup`.
#[derive(Debug, Args)]
pub struct ClientSetup {
    /// The channel's address: http, https or file
    pub url: String,
    /// The root to set up
    #[arg(long, default_value = "/")]
    pub root: PathBuf,
    /// Name of the section in binrepos.conf
    #[arg(long, default_value = "buildswarm")]
    pub name: String,
    /// The public key; without it, this machine's own
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Its priority over other binhosts
    #[arg(long, default_value_t = 10)]
    pub priority: i32,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}

/// Options of `client certify`.
#[derive(Debug, Args)]
pub struct ClientCertify {
    /// Atoms and sets
    #[arg(required = true, value_name = "ATOM")]
    pub atoms: Vec<String>,
    /// The root that would install
    #[arg(long, default_value = "/")]
    pub root: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    pub json: bool,
}
