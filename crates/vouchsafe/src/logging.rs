//! Logs of the services: to standard error, what VOUCHSAFE_LOG asks for.

use tracing_subscriber::EnvFilter;

/// The environment variable that says what is logged, such as `debug` or `vouchsafe_agent=trace`.
const VARIABLE: &str = "VOUCHSAFE_LOG";

/// Starts logging; a second start changes nothing.
pub fn start() {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new("info"));
    // Whoever started before has decided.
    let _started_before = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
}
