//! Serving the binhost, for `build-swarm serve` and `swarmd` alike.

use std::io::{IsTerminal, Write};
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;

use anyhow::{Context, Result};
use buildswarm_net::http::{Access, HttpDoor, Site};
use buildswarm_portage::openpgp::Signer;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::state::State;

/// How requests are logged, on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessLog {
    /// A line for a person.
    Text,
    /// One JSON object a line.
    Json,
    /// Only what a person has to look at.
    Problems,
}

/// Serves the binhost at `listen` until SIGINT or SIGTERM.
///
/// # Errors
/// If the address cannot be had, or the signing key not be read.
pub fn serve(config: &Config, listen: &str, log: AccessLog) -> Result<ExitCode> {
    let state = State::of(config)?;
    let public_key = match state.signing_key() {
        home if home.is_dir() => {
            Some(Signer::open_or_create(&home, &config.publish.user_id)?.export_public_key()?)
        }
        _ => None,
    };
    let site = Site { binhost: state.binhost(), public_key: public_key.map(String::into_bytes) };
    // One door, mostly waiting: two threads serve it, further ones come for reads that block.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(32)
        .enable_all()
        .build()
        .context("threads cannot be started")?;
    runtime.block_on(async {
        let door = HttpDoor::bind(listen, site, move |access| report(access, log)).await?;
        let address = door.local_addr();
        println!("serving {} at http://{address}/", state.binhost().display());
        println!("channel {0}: http://{address}/binhost/{0}", config.publish.channel);
        if std::io::stdout().is_terminal() {
            println!(
                "set up a client with: build-swarm client setup http://{address}/binhost/{}",
                config.publish.channel
            );
        }
        std::io::stdout().flush()?;
        tell_supervisor("READY=1");
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let stopped = async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tell_supervisor("STOPPING=1");
        };
        let _ = door.run(stopped).await;
        Ok(ExitCode::SUCCESS)
    })
}

fn report(access: &Access, log: AccessLog) {
    match log {
        AccessLog::Problems if access.problem.is_none() => {}
        AccessLog::Text | AccessLog::Problems => eprintln!("{access}"),
        AccessLog::Json => eprintln!(
            "{}",
            serde_json::json!({
                "peer": access.peer.to_string(), "method": access.method, "path": access.path,
                "status": access.status, "bytes": access.bytes, "millis": access.millis, "problem": access.problem,
            })
        ),
    }
}

/// Tells systemd, or OpenRC with `notify=socket:ready`, how far the service is (sd_notify(3)). Without a
/// supervisor there is nobody to tell.
fn tell_supervisor(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Ok(socket) = UnixDatagram::unbound() {
        let _ = socket.send_to(state.as_bytes(), path);
    }
}
