//! Logs of the services: to standard error, what VOUCHSAFE_LOG asks for; with VOUCHSAFE_LOG_FORMAT=json an object a line.

use tracing_subscriber::EnvFilter;

/// The environment variable that says what is logged, such as `debug` or `vouchsafe_agent=trace`.
const VARIABLE: &str = "VOUCHSAFE_LOG";

/// The environment variable that says how it is written: `text` or `json`.
const FORMAT_VARIABLE: &str = "VOUCHSAFE_LOG_FORMAT";

/// Starts logging; a second start changes nothing.
pub fn start() {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Whoever started before has decided.
    let _started_before = if std::env::var(FORMAT_VARIABLE).is_ok_and(|format| format == "json") {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init()
    };
}
