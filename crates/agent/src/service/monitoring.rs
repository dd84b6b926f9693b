//! Health and metrics on a socket of their own, over HTTP/1.1.
//!
//! `GET /health` is 200 if every provider's module answers and what is recorded can be, else 503; the body has a line for each.
//! `GET /metrics` is the Prometheus text format. A module is asked for one random octet, in its turn like any client's request.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use super::dispatch::Service;
use super::listener::SocketFile;
use crate::provider_identity::ProviderName;
use crate::wire::{Opcode, Status};

/// Longest request head that is read.
const MAX_HEAD_OCTETS: usize = 4096;

/// Requests that are answered at the same time.
const MAX_CONNECTIONS: usize = 16;

/// How long a request may take to come, and a response to go.
const FRAME_LIMIT: Duration = Duration::from_secs(5);

/// How long a module may take to answer before it counts as down.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Requests that were answered.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// By operation and status.
    answered: Mutex<BTreeMap<(&'static str, u16), Count>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    requests: u64,
    elapsed: Duration,
}

impl Metrics {
    /// Counts a request. Numbers that name no operation are counted together.
    pub(super) fn count(&self, opcode: u32, status: Status, elapsed: Duration) {
        let operation = Opcode::from_number(opcode).map_or("unknown", Opcode::name);
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let count = answered.entry((operation, status.number())).or_default();
        count.requests = count.requests.saturating_add(1);
        count.elapsed = count.elapsed.saturating_add(elapsed);
    }

    fn text(&self, state: &State) -> String {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut requests = String::from(
            "# HELP vouchsafe_agent_requests_total Requests answered.\n# TYPE vouchsafe_agent_requests_total counter\n",
        );
        let mut seconds = String::from(
            "# HELP vouchsafe_agent_request_seconds_total Time that requests took.\n\
             # TYPE vouchsafe_agent_request_seconds_total counter\n",
        );
        for ((operation, status), count) in answered {
            let labels = format!("{{operation=\"{operation}\",status=\"{status}\"}}");
            // Writing to a String does not fail.
            let _ = writeln!(requests, "vouchsafe_agent_requests_total{labels} {}", count.requests);
            let _ = writeln!(seconds, "vouchsafe_agent_request_seconds_total{labels} {}", count.elapsed.as_secs_f64());
        }
        let mut up = String::from(
            "# HELP vouchsafe_agent_provider_up Whether the provider's module answers.\n\
             # TYPE vouchsafe_agent_provider_up gauge\n",
        );
        for (provider, is_up) in &state.providers {
            let _ = writeln!(up, "vouchsafe_agent_provider_up{{provider=\"{provider}\"}} {}", u8::from(*is_up));
        }
        let audit = format!(
            "# HELP vouchsafe_agent_audit_entries_total Entries of the audit log since it was begun; fewer than before: some are gone.\n\
             # TYPE vouchsafe_agent_audit_entries_total counter\n\
             vouchsafe_agent_audit_entries_total {}\n\
             # HELP vouchsafe_agent_audit_up Whether what is recorded can be.\n\
             # TYPE vouchsafe_agent_audit_up gauge\n\
             vouchsafe_agent_audit_up {}\n",
            state.audit_entries,
            u8::from(state.is_audit_up),
        );
        requests + &seconds + &up + &audit
    }
}

/// Answers until told to stop.
pub(super) async fn serve(
    listener: UnixListener,
    file: SocketFile,
    service: Arc<Service>,
    mut shutdown: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Whatever is waited for, being told to stop ends it: clients that hold every permit do not delay it.
        let next = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            _ = shutdown.changed() => break,
            next = next => match next {
                (Ok(permit), Ok((stream, _))) => {
                    let service = Arc::clone(&service);
                    tokio::spawn(async move {
                        answer(stream, &service).await;
                        drop(permit);
                    });
                }
                (Ok(_), Err(error)) => {
                    tracing::warn!(%error, "cannot accept a monitoring connection");
                    tokio::select! {
                        _ = shutdown.changed() => break,
                        () = tokio::time::sleep(FRAME_LIMIT) => {}
                    }
                }
                // Nobody closes the semaphore.
                (Err(_), _) => break,
            },
        }
    }
    file.remove();
}

async fn answer(mut stream: UnixStream, service: &Service) {
    let Ok(Some(head)) = timeout(FRAME_LIMIT, head(&mut stream)).await else { return };
    let (status, body) = match request_target(&head) {
        Some("/health") => health(&probe(service).await),
        Some("/metrics") => ("200 OK", service.metrics().text(&probe(service).await)),
        Some(_) => ("404 Not Found", "/health or /metrics\n".to_owned()),
        None => ("405 Method Not Allowed", "GET alone\n".to_owned()),
    };
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // Whoever does not read it has gone.
    let _ = timeout(FRAME_LIMIT, stream.write_all(response.as_bytes())).await;
}

/// A request's head; `None` if it does not come whole or is too long.
async fn head(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    let mut octets = [0; 512];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let length = stream.read(&mut octets).await.ok()?;
        let read = octets.get(..length).filter(|read| !read.is_empty())?;
        head.extend_from_slice(read);
        if head.len() > MAX_HEAD_OCTETS {
            return None;
        }
    }
    Some(head)
}

/// What a GET asks for; `None` for other requests.
fn request_target(head: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(head.split(|octet| *octet == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    (words.next() == Some("GET")).then_some(())?;
    words.next()
}

/// What is told.
struct State {
    /// The providers by their names, and whether the module answers.
    providers: Vec<(ProviderName, bool)>,
    audit_entries: u64,
    is_audit_up: bool,
}

fn health(state: &State) -> (&'static str, String) {
    let word = |is_up: bool| if is_up { "up" } else { "down" };
    let mut text = String::new();
    for (provider, is_up) in &state.providers {
        let _ = writeln!(text, "provider {provider}: {}", word(*is_up));
    }
    let _ = writeln!(text, "audit: {}", word(state.is_audit_up));
    let all_up = state.is_audit_up && state.providers.iter().all(|(_, is_up)| *is_up);
    (if all_up { "200 OK" } else { "503 Service Unavailable" }, text)
}

/// Asks each provider's module for a sign of life.
async fn probe(service: &Service) -> State {
    let uid = rustix::process::geteuid().as_raw();
    let mut providers = Vec::new();
    for worker in &service.workers {
        let asked = worker.run(uid, |provider| Ok(provider.random(1)?));
        let is_up = matches!(timeout(PROBE_LIMIT, asked).await, Ok(Ok(_)));
        providers.push((worker.identity.name.clone(), is_up));
    }
    let audit = &service.shared.audit;
    State { providers, audit_entries: audit.position().0, is_audit_up: !audit.is_failing() }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Metrics, State, health, request_target};
    use crate::wire::{Opcode, Status};

    fn state(is_hsm_up: bool, is_audit_up: bool) -> State {
        let providers = vec![("tpm".parse().unwrap(), true), ("hsm-2".parse().unwrap(), is_hsm_up)];
        State { providers, audit_entries: 7, is_audit_up }
    }

    #[test]
    fn only_a_get_has_a_target() {
        assert_eq!(request_target(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"), Some("/health"));
        assert_eq!(request_target(b"POST /health HTTP/1.1\r\n\r\n"), None);
        assert_eq!(request_target(b"\xFF\r\n\r\n"), None);
    }

    #[test]
    fn one_module_that_is_down_is_told() {
        assert_eq!(
            health(&state(true, true)),
            ("200 OK", "provider tpm: up\nprovider hsm-2: up\naudit: up\n".to_owned())
        );
        let (status, text) = health(&state(false, true));
        assert_eq!(status, "503 Service Unavailable");
        assert!(text.contains("provider tpm: up\nprovider hsm-2: down\n"), "{text}");
        let (status, text) = health(&state(true, false));
        assert_eq!(status, "503 Service Unavailable");
        assert!(text.ends_with("audit: down\n"), "{text}");
    }

    #[test]
    fn numbers_of_clients_make_no_series_of_their_own() {
        let metrics = Metrics::default();
        for opcode in [0x7777, 0x8888, Opcode::Ping.number(), Opcode::Ping.number()] {
            metrics.count(opcode, Status::Success, Duration::from_millis(500));
        }
        let text = metrics.text(&state(false, true));
        assert!(text.contains("requests_total{operation=\"Ping\",status=\"0\"} 2\n"), "{text}");
        assert!(text.contains("request_seconds_total{operation=\"Ping\",status=\"0\"} 1\n"), "{text}");
        assert!(text.contains("requests_total{operation=\"unknown\",status=\"0\"} 2\n"), "{text}");
        assert!(text.contains("provider_up{provider=\"tpm\"} 1\n"), "{text}");
        assert!(text.contains("provider_up{provider=\"hsm-2\"} 0\n"), "{text}");
        assert!(text.contains("\nvouchsafe_agent_audit_entries_total 7\n"), "{text}");
        assert!(text.contains("\nvouchsafe_agent_audit_up 1\n"), "{text}");
    }
}
