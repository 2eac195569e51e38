//! The HTTP API: on the control socket, and on the inbound server's address.
//!
//! | request | control socket | inbound server |
//! | --- | --- | --- |
//! | `GET /status` | yes | no |
//! | `POST /finish` | yes | no |
//! | `POST /cbor?timeout=30s` | in a replay | yes |
//! | `POST /json?timeout=30s` | in a replay | yes |
//!
//! The inbound server refuses what a browser could be made to send: a request with an `Origin`, or with a `Host`
//! that is neither a loopback name nor its own address.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use koala_session::{cbor, koala1};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::agent::Agent;
use crate::duration;
use crate::replay::ReplayError;

/// The largest session that is taken.
const BODY_MAX: usize = 256 << 20;
/// How long a replay may take where the request does not say.
const TIMEOUT: Duration = Duration::from_secs(30);

/// By which door a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The control socket.
    Control,
    /// The inbound server, at this address.
    Inbound(SocketAddr),
}

type Answer = Response<Full<Bytes>>;

/// Serves a connection until it ends, or the agent has finished.
pub async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, door: Door, agent: Arc<Agent>) {
    let mut finished = agent.finished();
    let service = service_fn(|request| {
        let agent = agent.clone();
        async move { Ok::<_, Infallible>(answer(request, door, &agent).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        _ = finished.wait_for(|&finished| finished) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        agent.logger().debug(format_args!("an HTTP connection broke: {error}"));
    }
}

async fn answer(request: Request<Incoming>, door: Door, agent: &Agent) -> Answer {
    if let Door::Inbound(address) = door
        && let Err(reason) = check_origin(request.headers(), address)
    {
        return failure(StatusCode::FORBIDDEN, reason);
    }
    let control = door == Door::Control;
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/status") if control => json(&agent.status()),
        (&Method::POST, "/finish") if control => json(&agent.finish().await),
        (&Method::POST, "/cbor") => replay(request, agent, Form::Cbor).await,
        (&Method::POST, "/json") => replay(request, agent, Form::Json).await,
        (_, "/status" | "/finish") if control => {
            failure(StatusCode::METHOD_NOT_ALLOWED, "GET /status, POST /finish")
        }
        (_, "/cbor" | "/json") => failure(StatusCode::METHOD_NOT_ALLOWED, "POST /cbor, POST /json"),
        _ => failure(StatusCode::NOT_FOUND, "there is nothing here"),
    }
}

/// How a session is written.
#[derive(Clone, Copy)]
enum Form {
    Cbor,
    Json,
}

async fn replay(request: Request<Incoming>, agent: &Agent, form: Form) -> Answer {
    let limit = match timeout(request.uri().query().unwrap_or_default()) {
        Ok(limit) => limit,
        Err(reason) => return failure(StatusCode::BAD_REQUEST, reason),
    };
    let body = match Limited::new(request.into_body(), BODY_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return failure(StatusCode::PAYLOAD_TOO_LARGE, "the session is too large");
        }
        Err(error) => return failure(StatusCode::BAD_REQUEST, error),
    };
    let session = match form {
        Form::Cbor => cbor::decode(&body).map(|(session, _)| session).map_err(|error| error.to_string()),
        Form::Json => koala1::from_json(&body).map_err(|error| error.to_string()),
    };
    let session = match session {
        Ok(session) => session,
        Err(reason) => return failure(StatusCode::BAD_REQUEST, format_args!("not a session: {reason}")),
    };
    match agent.replay(session, limit).await {
        Some(Ok(replayed)) => match form {
            Form::Cbor => {
                let mut bytes = Vec::new();
                cbor::encode(&replayed, &mut bytes);
                response(StatusCode::OK, "application/cbor", bytes)
            }
            Form::Json => {
                response(StatusCode::OK, "application/json", koala1::to_json(&replayed).into_bytes())
            }
        },
        Some(Err(error)) => {
            let status = match &error {
                ReplayError::NoRequest(_) => StatusCode::BAD_REQUEST,
                ReplayError::Continues(_) => StatusCode::CONFLICT,
                ReplayError::Connect { .. } => StatusCode::BAD_GATEWAY,
                ReplayError::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
                ReplayError::Finishing => StatusCode::SERVICE_UNAVAILABLE,
            };
            failure(status, error)
        }
        None => failure(StatusCode::NOT_FOUND, "this agent records; it replays nothing"),
    }
}

fn timeout(query: &str) -> Result<Duration, &'static str> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("timeout="));
    match value {
        None => Ok(TIMEOUT),
        Some(value) => {
            duration::parse(value).ok_or("timeout: accepted: a duration such as 100ms, 5s or 1h2m3.5s")
        }
    }
}

/// Refuses what a page in a browser can be behind.
fn check_origin(headers: &HeaderMap, address: SocketAddr) -> Result<(), &'static str> {
    if headers.contains_key(ORIGIN) {
        return Err("requests with an Origin are refused");
    }
    let host = headers.get(HOST).map(HeaderValue::to_str);
    let Some(Ok(host)) = host else { return Err("requests without a Host are refused") };
    if is_own(host, address) { Ok(()) } else { Err("requests with a foreign Host are refused") }
}

fn is_own(host: &str, address: SocketAddr) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    match name.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip == address.ip(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

fn response(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn json(value: &impl serde::Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => response(StatusCode::OK, "application/json", body),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error),
    }
}

fn failure(status: StatusCode, reason: impl std::fmt::Display) -> Answer {
    let body = serde_json::json!({ "Error": reason.to_string() });
    response(status, "application/json", body.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_a_browser_could_send() {
        let address: SocketAddr = "127.0.0.1:2514".parse().unwrap();
        let check = |headers: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, HeaderValue::from_static(value));
            }
            check_origin(&map, address).is_ok()
        };
        assert!(check(&[("host", "127.0.0.1:2514")]));
        assert!(check(&[("host", "localhost:2514")]));
        assert!(check(&[("host", "[::1]:2514")]));
        assert!(!check(&[("host", "evil.example:2514")]));
        assert!(!check(&[("host", "127.0.0.1.evil.example")]));
        assert!(!check(&[("host", "127.0.0.1:2514"), ("origin", "http://localhost")]));
        assert!(!check(&[]));
        assert!(is_own("10.1.2.3:80", "10.1.2.3:80".parse().unwrap()));
    }

    #[test]
    fn reads_the_time_that_a_replay_may_take() {
        assert_eq!(timeout(""), Ok(TIMEOUT));
        assert_eq!(timeout("a=b&timeout=1.5s"), Ok(Duration::from_millis(1500)));
        assert!(timeout("timeout=soon").is_err());
    }
}
