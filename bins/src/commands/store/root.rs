//! `store root`

use std::process::ExitCode;

use anyhow::{Result, bail};
use buildswarm_store::{Root, RootKind};

use crate::cli::RootCommand;
use crate::state::State;

pub(super) fn run(state: &State, command: &RootCommand) -> Result<ExitCode> {
    match command {
        RootCommand::Ls { json } => {
            for root in state.read_store()?.roots()? {
                print(&root, *json)?;
            }
        }
        RootCommand::Add { name, id, tree } => {
            let kind = if *tree { RootKind::Tree } else { RootKind::Blob };
            state.open_store()?.set_root(name, kind, *id)?;
        }
        RootCommand::Rm { name } => {
            if !state.open_store()?.remove_root(name)? {
                bail!("there is no root {name:?}; `build-swarm store root ls` lists them");
            }
            println!("removed {name}; `build-swarm store gc` frees what only it kept");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print(root: &Root, json: bool) -> Result<()> {
    let Root { name, kind, id, made } = root;
    if json {
        println!("{}", serde_json::json!({ "name": name, "kind": kind.name(), "id": id, "made": made }));
    } else {
        let made = jiff::Timestamp::from_second(i64::try_from(made.0)?)?;
        println!("{}  {made}  {}  {name}", id.short(), kind.name());
    }
    Ok(())
}
