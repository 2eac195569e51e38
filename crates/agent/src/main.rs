//! `koala-agent`: reads its command line and its environment, and runs the agent.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use koala_agent::agent::{Agent, Options, StartError, Task};
use koala_agent::args::{self, Request};
use koala_agent::config::{Config, ConfigError};
use koala_agent::lifetime::Parent;
use koala_agent::limits;
use koala_agent::logger::{Format, Level, Logger, Target};

/// What the library says where it was not told of a directory.
const NOWHERE: &str = "/dev/null";
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
    let detached = options.detached.map(|_| options.runtime_dir.join("agent.log"));
    match serve(options) {
        // Another one was faster.
        Err(error) if matches!(error.downcast_ref(), Some(StartError::Taken(_))) => Ok(()),
        Err(error) => {
            // Nobody reads what a detached agent prints.
            if let Some(path) = detached
                && let Some(logger) = last_resort(path)
            {
                logger.error(format_args!("nothing is recorded: {error}"));
            }
            Err(error)
        }
        Ok(()) => Ok(()),
    }
}

/// The log of an agent that can't start: where the environment says, or at this path.
fn last_resort(path: PathBuf) -> Option<Logger> {
    let open = |path: PathBuf| Logger::open(&Target::File(path), Level::Info, Format::HumanReadable).ok();
    let asked = std::env::var_os("KOALA_LOG_FILE").filter(|name| {
        // It has neither of these two.
        !name.is_empty() && name != "STDOUT" && name != "STDERR"
    });
    asked.and_then(|name| open(PathBuf::from(name))).or_else(|| {
        std::fs::create_dir_all(path.parent()?).ok()?;
        open(path)
    })
}

fn serve(options: Options) -> Result<(), Box<dyn std::error::Error>> {
    limits::lift();
    if matches!(options.task, Task::Record { .. }) {
        limits::go_first();
    }
    let config = Config::from_environment()?;
    if let Task::Record { to, .. } = &options.task
        && to == Path::new(NOWHERE)
        && let Some(url) = std::env::var_os("KOALA_RECORD_TO_ES")
    {
        return Err(Box::new(ConfigError {
            variable: "KOALA_RECORD_TO_ES",
            value: url.to_string_lossy().into_owned(),
            accepted: "nothing, as this koala can't write to Elasticsearch or OpenSearch; set KOALA_RECORD_TO_DIR",
        }));
    }
    let parent = if options.detached.is_some() { Parent::none() } else { Parent::watch() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut started = Agent::start(options, config)?;
        // Who is told that it is ready keeps the memory of one that can be gone on for.
        started.guard();
        let ready = serde_json::to_string(started.ready())?;
        let mut stdout = io::stdout();
        writeln!(stdout, "{ready}")?;
        stdout.flush()?;
        started.run(parent).await;
        Ok(())
    })
}
