//! `serve`

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::Serve;
use crate::config::Config;
use crate::door::{self, AccessLog};

pub(super) fn run(config: &Config, options: &Serve) -> Result<ExitCode> {
    let listen = options.listen.as_deref().unwrap_or(&config.serve.listen);
    door::serve(config, listen, if options.json { AccessLog::Json } else { AccessLog::Text })
}
