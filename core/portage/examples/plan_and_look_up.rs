//! Planning and looking up as a library, without a daemon and without building anything.
//!
//! Captures a configuration, lets the machine's own Portage resolve the atoms, computes every package's
//! key, and says which of them a store has already:
//!
//! ```text
//! cargo run -p buildswarm-portage --example plan_and_look_up -- CONFIG_ROOT PREFIXES STORE ATOM...
//! cargo run -p buildswarm-portage --example plan_and_look_up -- / - /var/lib/buildswarm/store @world
//! ```
//!
//! `CONFIG_ROOT` is the directory with `etc/portage`. `PREFIXES` is `-` on Gentoo; elsewhere the Python prefix that
//! has Portage, and after colons further ones whose `bin` has tools that the machine lacks. `STORE` need not
//! exist.

use std::error::Error;
use std::path::{Path, PathBuf};

use buildswarm_portage::capture::Configuration;
use buildswarm_portage::machine::Machine;
use buildswarm_portage::resolve::{self, Request};
use buildswarm_portage::root;
use buildswarm_store::Store;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [config_root, prefixes, store, atoms @ ..] = arguments.as_slice() else {
        return Err("usage: plan_and_look_up CONFIG_ROOT PREFIXES STORE ATOM...".into());
    };

    // 1. The machine: which Portage, which configuration, builds from which root.
    let mut prefixes = prefixes.split(':').filter(|prefix| *prefix != "-").map(std::path::absolute);
    let machine = Machine {
        config_root: std::path::absolute(config_root)?,
        base: PathBuf::from("/"),
        portage: prefixes.next().transpose()?,
        tools: prefixes.collect::<Result<_, _>>()?,
        rights: root::probe()?,
    };

    // 2. Its configuration, copied, so that it cannot change while the plan is made.
    let work = tempfile::tempdir()?;
    let below = |name: &str| work.path().join(name);
    let configuration = Configuration::capture(&machine.config_root, &machine.base, &below("configuration"))?;

    // 3. Portage decides what is needed.
    let request = Request { arguments: atoms.to_vec(), options: Vec::new() };
    let export = resolve::export(&machine, &configuration, &request, &below("metadata"), &below("resolve"))?;

    // 4. Every input of every package is hashed into its key.
    let mut recipes = resolve::recipes(&machine, &configuration, &export)?;
    let resolution = resolve::keyed(export, &mut recipes)?;

    // 5. A key that the store resolves is a package that needs no build.
    let keys: Vec<_> = resolution.keyed().map(|(_, key)| key).collect();
    let hits = match Path::new(store).exists() {
        true => Store::open_read_only(store)?.artifacts(&keys)?,
        false => Default::default(),
    };
    for (index, key) in resolution.keyed() {
        let found = if hits.contains_key(&key) { "hit " } else { "miss" };
        println!("{found} {} {}", key.short(), resolution.plan.package(index).package);
    }
    println!("{} packages, {} hits", keys.len(), hits.len());
    Ok(())
}
