//! `koala-agent`: reads its command line and its environment, and runs the agent.

use std::io::{self, Write};
use std::process::ExitCode;

use koala_agent::agent::Agent;
use koala_agent::args::{self, Request};
use koala_agent::config::Config;
use koala_agent::lifetime::Parent;

/// Bad input, or something is in the way.
const REFUSED: u8 = 2;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "koala-agent: {error}");
            ExitCode::from(REFUSED)
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let options = match args::parse(std::env::args_os().skip(1))? {
        Request::Run(options) => options,
        Request::Help => return Ok(writeln!(io::stdout(), "{}", args::USAGE)?),
        Request::Version => return Ok(writeln!(io::stdout(), "koala-agent {}", env!("CARGO_PKG_VERSION"))?),
    };
    let config = Config::from_environment()?;
    let parent = Parent::watch();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let started = Agent::start(options, config)?;
        let ready = serde_json::to_string(started.ready())?;
        let mut stdout = io::stdout();
        writeln!(stdout, "{ready}")?;
        stdout.flush()?;
        started.run(parent).await;
        Ok(())
    })
}
