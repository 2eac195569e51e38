//! What the environment asks of the agent: the variables of the environment contract that it reads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use koala_events::Address;
use koala_matcher::Strategy;

use crate::duration;
use crate::logger::{Format, Level, Target};

/// A variable that says nothing that koala understands.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{variable}: {value:?} is not understood; accepted: {accepted}")]
pub struct ConfigError {
    /// Its name.
    pub variable: &'static str,
    /// Its value.
    pub value: String,
    /// What it may be.
    pub accepted: &'static str,
}

/// How the request of a session is framed on its way to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum InboundProtocol {
    /// By its first bytes.
    #[default]
    Auto,
    /// FastCGI.
    FastCgi,
    /// HTTP/1.x.
    Http,
    /// No protocol: an answer ends when nothing more comes.
    Raw,
}

/// Where a server of the agent listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// At one address.
    At(SocketAddr),
    /// At every interface.
    Everywhere(u16),
}

/// Where the program is called in a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SutAddr {
    /// By TCP.
    Tcp(SocketAddr),
    /// By a unix socket; a path that begins with `@` is an abstract name.
    Unix(String),
}

impl SutAddr {
    /// Reads `ip:port`, `[ip6]:port` or `unix:/path`. An address that means every interface becomes the
    /// loopback, which is one of them.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            return (!path.is_empty()).then(|| Self::Unix(path.to_owned()));
        }
        let mut address = socket_addr(text)?;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            });
        }
        Some(Self::Tcp(address))
    }
}

impl std::fmt::Display for SutAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

/// What the agent was asked to do differently from its defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `KOALA_INBOUND_PROTOCOL`.
    pub inbound_protocol: InboundProtocol,
    /// `KOALA_INBOUND_ADDR`.
    pub inbound_addr: Listen,
    /// `KOALA_SUT_ADDR`.
    pub sut_addr: Option<SutAddr>,
    /// `KOALA_OUTBOUND_ADDR`.
    pub outbound_addr: Listen,
    /// `KOALA_INBOUND_READ_TIMEOUT`.
    pub inbound_read_timeout: Duration,
    /// `KOALA_OUTBOUND_BYPASS_PORT` (replay only).
    pub bypass_ports: Vec<u16>,
    /// `KOALA_OUTBOUND_BYPASS_ADDR`. A rule for a port of any host has the address 0.0.0.0.
    pub bypass_addrs: Vec<Address>,
    /// `KOALA_REPLAYING_MATCH_STRATEGY`.
    pub strategy: Strategy,
    /// `KOALA_REPLAYING_MATCH_THRESHOLD`: the mark, from 0 to 1, that a changed call needs. `chunk` does not look at it.
    pub threshold: f64,
    /// `KOALA_GC_GLOBAL_STATUS_TIMEOUT`.
    pub gc_timeout: Duration,
    /// `KOALA_LOG_FILE`; `None`: a file in the runtime directory.
    pub log_target: Option<Target>,
    /// `KOALA_LOG_LEVEL`.
    pub log_level: Level,
    /// `KOALA_LOG_FORMAT`.
    pub log_format: Format,
}

impl Default for Config {
    fn default() -> Self {
        let loopback = |port| Listen::At(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        Self {
            inbound_protocol: InboundProtocol::Auto,
            inbound_addr: loopback(2514),
            sut_addr: None,
            outbound_addr: loopback(2516),
            inbound_read_timeout: Duration::from_millis(100),
            bypass_ports: Vec::new(),
            bypass_addrs: Vec::new(),
            strategy: Strategy::Auto,
            threshold: koala_matcher::THRESHOLD,
            gc_timeout: Duration::from_secs(5),
            log_target: None,
            log_level: Level::Info,
            log_format: Format::HumanReadable,
        }
    }
}

const DURATION: &str = "a duration such as 100ms, 5s or 1h2m3.5s";
/// Bytes of a path, without its end (`PATH_MAX`, limits.h).
const LONGEST_PATH: usize = 4095;
const LISTEN: &str = "ip:port, [ip6]:port, or :port for every interface";

impl Config {
    /// Reads the configuration; `get` is asked for each variable. A variable that is empty counts as not set.
    ///
    /// # Errors
    ///
    /// The first variable whose value is not understood.
    pub fn read(get: impl Fn(&'static str) -> Option<String>) -> Result<Self, ConfigError> {
        let default = Self::default();
        let reader = Variables { get };
        // These two are the library's and the command line's; the agent is told of them where the library can't
        // understand them, to say so.
        reader.value("KOALA_MODE", "record, replay, or record,replay", (), |text| {
            text.split(',').all(|part| matches!(part.trim(), "record" | "replay")).then_some(())
        })?;
        reader.value("KOALA_RECORD_TO_DIR", "a path of at most 4095 bytes", (), |text| {
            (text.len() <= LONGEST_PATH).then_some(())
        })?;
        Ok(Self {
            inbound_protocol: reader.value(
                "KOALA_INBOUND_PROTOCOL",
                "auto, fastcgi, http, raw",
                default.inbound_protocol,
                |text| {
                    Some(match text {
                        "auto" => InboundProtocol::Auto,
                        "fastcgi" => InboundProtocol::FastCgi,
                        "http" => InboundProtocol::Http,
                        "raw" => InboundProtocol::Raw,
                        _ => return None,
                    })
                },
            )?,
            inbound_addr: reader.value("KOALA_INBOUND_ADDR", LISTEN, default.inbound_addr, listen)?,
            sut_addr: reader.value("KOALA_SUT_ADDR", "ip:port, [ip6]:port or unix:/path", None, |text| {
                SutAddr::parse(text).map(Some)
            })?,
            outbound_addr: reader.value(
                "KOALA_OUTBOUND_ADDR",
                "127.0.0.1:port, or :port for every interface (the program is redirected to 127.0.0.1)",
                default.outbound_addr,
                |text| {
                    listen(text).filter(|listen| match listen {
                        Listen::At(address) => address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST),
                        Listen::Everywhere(_) => true,
                    })
                },
            )?,
            inbound_read_timeout: reader.value(
                "KOALA_INBOUND_READ_TIMEOUT",
                DURATION,
                default.inbound_read_timeout,
                duration::parse,
            )?,
            bypass_ports: reader.list("KOALA_OUTBOUND_BYPASS_PORT", "ports, separated by commas", port)?,
            bypass_addrs: reader.list(
                "KOALA_OUTBOUND_BYPASS_ADDR",
                "ip:port or :port, separated by commas",
                bypass_addr,
            )?,
            strategy: reader.value(
                "KOALA_REPLAYING_MATCH_STRATEGY",
                Strategy::NAMES,
                default.strategy,
                // koala 1.x took it in any case.
                |text| Strategy::from_name(&text.to_ascii_lowercase()),
            )?,
            threshold: reader.value(
                "KOALA_REPLAYING_MATCH_THRESHOLD",
                "a number from 0 to 1",
                default.threshold,
                |text| text.parse().ok().filter(|threshold| (0.0..=1.0).contains(threshold)),
            )?,
            gc_timeout: reader.value(
                "KOALA_GC_GLOBAL_STATUS_TIMEOUT",
                DURATION,
                default.gc_timeout,
                duration::parse,
            )?,
            log_target: reader.value("KOALA_LOG_FILE", "STDOUT, STDERR or a path", None, |text| {
                Some(Some(match text {
                    "STDOUT" => Target::Stdout,
                    "STDERR" => Target::Stderr,
                    path => Target::File(PathBuf::from(path)),
                }))
            })?,
            log_level: reader.value(
                "KOALA_LOG_LEVEL",
                "TRACE, DEBUG, INFO, WARN, ERROR, FATAL",
                default.log_level,
                Level::parse,
            )?,
            log_format: reader.value(
                "KOALA_LOG_FORMAT",
                "HumanReadableFormat, CompactFormat, JSON",
                default.log_format,
                Format::parse,
            )?,
        })
    }

    /// Reads the configuration from the environment of this process.
    ///
    /// # Errors
    ///
    /// As [`Config::read`].
    pub fn from_environment() -> Result<Self, ConfigError> {
        Self::read(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }
}

struct Variables<G> {
    get: G,
}

impl<G: Fn(&'static str) -> Option<String>> Variables<G> {
    fn text(&self, variable: &'static str) -> Option<String> {
        (self.get)(variable).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn value<T>(
        &self,
        variable: &'static str,
        accepted: &'static str,
        default: T,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let Some(value) = self.text(variable) else { return Ok(default) };
        parse(&value).ok_or(ConfigError { variable, value, accepted })
    }

    fn list<T>(
        &self,
        variable: &'static str,
        accepted: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let Some(value) = self.text(variable) else { return Ok(Vec::new()) };
        let items: Option<Vec<T>> =
            value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(parse).collect();
        items.ok_or(ConfigError { variable, value, accepted })
    }
}

fn socket_addr(text: &str) -> Option<SocketAddr> {
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().ok()?)),
        None => text.parse().ok(),
    }
}

fn listen(text: &str) -> Option<Listen> {
    match text.strip_prefix(':') {
        Some(port) => Some(Listen::Everywhere(port.parse().ok()?)),
        None => socket_addr(text).map(Listen::At),
    }
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|&port| port != 0)
}

fn bypass_addr(text: &str) -> Option<Address> {
    match text.strip_prefix(':') {
        Some(number) => Some(Address::V4([0; 4], port(number)?)),
        None => socket_addr(text).filter(|address| address.port() != 0).map(crate::net::address_of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&'static str, &str)]) -> Result<Config, ConfigError> {
        Config::read(|name| {
            variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_is_the_defaults() {
        assert_eq!(read(&[]).unwrap(), Config::default());
        assert_eq!(read(&[("KOALA_INBOUND_ADDR", "")]).unwrap(), Config::default());
    }

    #[test]
    fn every_strategy_is_known_by_its_name() {
        for strategy in Strategy::ALL {
            let config = read(&[("KOALA_REPLAYING_MATCH_STRATEGY", strategy.name())]).unwrap();
            assert_eq!(config.strategy, strategy);
        }
        assert_eq!(read(&[("KOALA_REPLAYING_MATCH_STRATEGY", "SIM")]).unwrap().strategy, Strategy::Sim);
        let error = read(&[("KOALA_REPLAYING_MATCH_STRATEGY", "best")]).unwrap_err();
        assert!(error.to_string().contains("auto, chunk, sim"), "{error}");
    }

    #[test]
    fn reads_every_variable() {
        let config = read(&[
            ("KOALA_INBOUND_PROTOCOL", "raw"),
            ("KOALA_INBOUND_ADDR", ":2514"),
            ("KOALA_SUT_ADDR", "unix:/run/app.sock"),
            ("KOALA_OUTBOUND_ADDR", "127.0.0.1:0"),
            ("KOALA_INBOUND_READ_TIMEOUT", "1.5s"),
            ("KOALA_OUTBOUND_BYPASS_PORT", "9000, 9003"),
            ("KOALA_OUTBOUND_BYPASS_ADDR", "10.0.0.1:80,:53,[::1]:99"),
            ("KOALA_REPLAYING_MATCH_STRATEGY", "exact"),
            ("KOALA_REPLAYING_MATCH_THRESHOLD", "0.9"),
            ("KOALA_GC_GLOBAL_STATUS_TIMEOUT", "2m"),
            ("KOALA_LOG_FILE", "STDERR"),
            ("KOALA_LOG_LEVEL", "WARN"),
            ("KOALA_LOG_FORMAT", "JSON"),
            ("KOALA_MODE", "record, replay"),
            ("KOALA_RECORD_TO_DIR", "/recording"),
        ])
        .unwrap();
        assert_eq!(config.inbound_protocol, InboundProtocol::Raw);
        assert_eq!(config.inbound_addr, Listen::Everywhere(2514));
        assert_eq!(config.sut_addr, Some(SutAddr::Unix("/run/app.sock".to_owned())));
        assert_eq!(config.outbound_addr, Listen::At("127.0.0.1:0".parse().unwrap()));
        assert_eq!(config.inbound_read_timeout, Duration::from_millis(1500));
        assert_eq!(config.bypass_ports, [9000, 9003]);
        let mut v6_loopback = [0; 16];
        v6_loopback[15] = 1;
        assert_eq!(
            config.bypass_addrs,
            [Address::V4([10, 0, 0, 1], 80), Address::V4([0; 4], 53), Address::V6(v6_loopback, 99)]
        );
        assert_eq!(config.strategy, Strategy::Exact);
        assert!((config.threshold - 0.9).abs() < f64::EPSILON);
        assert_eq!(config.gc_timeout, Duration::from_secs(120));
        assert_eq!(config.log_target, Some(Target::Stderr));
        assert_eq!(config.log_level, Level::Warn);
        assert_eq!(config.log_format, Format::Json);
    }

    #[test]
    fn every_bad_value_names_its_variable_and_what_is_accepted() {
        for (variable, value) in [
            ("KOALA_INBOUND_PROTOCOL", "gopher"),
            ("KOALA_INBOUND_ADDR", "2514"),
            ("KOALA_INBOUND_ADDR", "127.0.0.1:99999"),
            ("KOALA_SUT_ADDR", "unix:"),
            ("KOALA_SUT_ADDR", "example"),
            ("KOALA_OUTBOUND_ADDR", "10.0.0.1:80"),
            ("KOALA_INBOUND_READ_TIMEOUT", "100"),
            ("KOALA_OUTBOUND_BYPASS_PORT", "80,x"),
            ("KOALA_OUTBOUND_BYPASS_PORT", "0"),
            ("KOALA_OUTBOUND_BYPASS_ADDR", "10.0.0.1"),
            ("KOALA_REPLAYING_MATCH_STRATEGY", "best"),
            ("KOALA_REPLAYING_MATCH_THRESHOLD", "high"),
            ("KOALA_REPLAYING_MATCH_THRESHOLD", "1.1"),
            ("KOALA_REPLAYING_MATCH_THRESHOLD", "NaN"),
            ("KOALA_GC_GLOBAL_STATUS_TIMEOUT", "5"),
            ("KOALA_LOG_LEVEL", "LOUD"),
            ("KOALA_LOG_FORMAT", "XML"),
            ("KOALA_MODE", "recording"),
            ("KOALA_MODE", "record,"),
            ("KOALA_MODE", "replay,banana"),
            ("KOALA_RECORD_TO_DIR", &"a/".repeat(LONGEST_PATH)),
        ] {
            let error = read(&[(variable, value)]).unwrap_err();
            assert_eq!((error.variable, error.value.as_str()), (variable, value));
            let text = error.to_string();
            assert!(text.starts_with(variable) && text.contains("accepted: "), "{text}");
        }
    }

    #[test]
    fn every_interface_is_called_by_loopback() {
        assert_eq!(SutAddr::parse("0.0.0.0:80"), Some(SutAddr::Tcp("127.0.0.1:80".parse().unwrap())));
        assert_eq!(SutAddr::parse("[::]:80"), Some(SutAddr::Tcp("[::1]:80".parse().unwrap())));
        assert_eq!(SutAddr::parse("localhost:80"), Some(SutAddr::Tcp("127.0.0.1:80".parse().unwrap())));
    }
}
