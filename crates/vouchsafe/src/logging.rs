//! Logs of the services: to standard error, what VOUCHSAFE_LOG asks for; with VOUCHSAFE_LOG_FORMAT=json an object a line.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;
use tracing_subscriber::filter::LevelFilter;

/// The environment variable that says what is logged, such as `debug` or `vouchsafe_agent=trace`.
const VARIABLE: &str = "VOUCHSAFE_LOG";

/// The environment variable that says how it is written: `text` or `json`.
const FORMAT_VARIABLE: &str = "VOUCHSAFE_LOG_FORMAT";

/// The wrapper of PKCS#11. It logs each mechanism of a token that it has no name for as an error, dozens at a time; what a token
/// really refuses comes back to the agent, which says it.
const NOISY: &str = "cryptoki";

/// What is logged: what was asked for, else what matters to an operator. [`NOISY`] only where it is asked for by name.
fn filter(asked: Option<&str>) -> EnvFilter {
    let filter = asked.and_then(|asked| EnvFilter::try_new(asked).ok()).unwrap_or_else(|| EnvFilter::new("info"));
    if asked.is_some_and(|asked| asked.contains(NOISY)) {
        return filter;
    }
    match format!("{NOISY}={}", LevelFilter::OFF).parse::<Directive>() {
        Ok(silence) => filter.add_directive(silence),
        Err(_) => filter,
    }
}

/// Starts logging; a second start changes nothing.
pub fn start() {
    let filter = filter(std::env::var(VARIABLE).ok().as_deref());
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Whoever started before has decided.
    let _started_before = if std::env::var(FORMAT_VARIABLE).is_ok_and(|format| format == "json") {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init()
    };
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::filter;

    /// What a writer got.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(asked: Option<&str>) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter(asked)).with_writer(move || writer.clone());
        tracing::subscriber::with_default(subscriber.finish(), || {
            tracing::error!(target: "cryptoki::mechanism", "not supported");
            tracing::info!(target: "vouchsafe_agent", "served");
        });
        let octets = lines.0.lock().unwrap().clone();
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn the_wrapper_of_pkcs11_is_heard_only_by_who_names_it() {
        for asked in [None, Some("info"), Some("debug"), Some("not=a=filter")] {
            let lines = logged(asked);
            assert!(lines.contains("served") && !lines.contains("not supported"), "{asked:?}: {lines}");
        }
        assert!(logged(Some("info,cryptoki=error")).contains("not supported"));
        assert_eq!(logged(Some("off")), "");
    }
}
