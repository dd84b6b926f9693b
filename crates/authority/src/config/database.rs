//! `database`: which database remembers.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use tokio_postgres::config::{Host, SslMode};

use super::{ConfigError, in_range};

/// The schemes of a URL that names a PostgreSQL database.
const SCHEMES: [&str; 2] = ["postgresql://", "postgres://"];
/// Connections that one authority holds at most, unless the configuration says otherwise.
const CONNECTIONS: i64 = 16;
/// The most that can be asked for.
const CONNECTIONS_MAX: i64 = 512;
/// Where a PostgreSQL server listens unless its URL says otherwise.
const PORT: u16 = 5432;

/// Why the database's part of a configuration is refused. No message repeats the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseConfigError {
    /// The URL names no server.
    #[error("the URL of the database names no server; append ?host=/run/postgresql for one on this machine")]
    NoHost,
    /// The URL is not one of PostgreSQL's.
    #[error("the URL of the database must begin with postgresql://; leave `database` out for a file of SQLite")]
    Scheme,
    /// A server elsewhere without TLS.
    #[error(
        "the database's server {host} is not on this machine: add tls_roots = \"FILE\" under [database], the certificates \
         (PEM) of the CAs that its certificate may come from"
    )]
    TlsRoots {
        /// The server.
        host: String,
    },
    /// The URL cannot be read.
    #[error("the URL of the database is not of the form postgresql://USER@HOST:PORT/DATABASE")]
    Url(#[source] tokio_postgres::Error),
}

/// Which database remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseConfig {
    /// A file of SQLite in the state folder.
    Sqlite,
    /// A PostgreSQL server, which several instances may share.
    Postgres(Box<PostgresConfig>),
}

/// A PostgreSQL server and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresConfig {
    pub(crate) client: tokio_postgres::Config,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) tls_roots: Option<PathBuf>,
    pub(crate) connections: usize,
}

impl PostgresConfig {
    /// The database and its server, without whatever is secret.
    #[must_use]
    pub fn place(&self) -> String {
        let ports = self.client.get_ports();
        let hosts = self.client.get_hosts().iter().enumerate().map(|(index, host)| {
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(PORT);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(folder) => folder.display().to_string(),
            }
        });
        let hosts: Vec<String> = hosts.collect();
        format!("PostgreSQL database {} at {}", self.client.get_dbname().unwrap_or("of its user"), hosts.join(", "))
    }
}

/// `database = "URL"`, or a table.
#[derive(Debug)]
pub(super) struct DatabaseSetting(DatabaseFile);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DatabaseFile {
    url: String,
    password_file: Option<PathBuf>,
    tls_roots: Option<PathBuf>,
    #[serde(default = "default_connections")]
    connections: i64,
}

const fn default_connections() -> i64 {
    CONNECTIONS
}

impl<'de> Deserialize<'de> for DatabaseSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UrlOrTable;
        impl<'de> Visitor<'de> for UrlOrTable {
            type Value = DatabaseFile;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a URL (postgresql://...) or a table with url")
            }

            fn visit_str<E: Error>(self, url: &str) -> Result<DatabaseFile, E> {
                let (url, connections) = (url.to_owned(), default_connections());
                Ok(DatabaseFile { url, password_file: None, tls_roots: None, connections })
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<DatabaseFile, M::Error> {
                DatabaseFile::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(UrlOrTable).map(Self)
    }
}

pub(super) fn check(setting: Option<DatabaseSetting>) -> Result<DatabaseConfig, ConfigError> {
    let Some(DatabaseSetting(file)) = setting else { return Ok(DatabaseConfig::Sqlite) };
    let connections = in_range("connections of the database", file.connections, 2, CONNECTIONS_MAX)?;
    if !SCHEMES.iter().any(|scheme| file.url.starts_with(scheme)) {
        return Err(DatabaseConfigError::Scheme.into());
    }
    let mut client: tokio_postgres::Config = file.url.parse().map_err(DatabaseConfigError::Url)?;
    if client.get_hosts().is_empty() {
        return Err(DatabaseConfigError::NoHost.into());
    }
    let is_local = client.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
    match (remote(&client), &file.tls_roots) {
        (Some(host), None) => return Err(DatabaseConfigError::TlsRoots { host }.into()),
        (_, Some(_)) if !is_local => client.ssl_mode(SslMode::Require),
        // A socket's permissions say who listens.
        (_, Some(_)) | (None, None) => client.ssl_mode(SslMode::Disable),
    };
    Ok(DatabaseConfig::Postgres(Box::new(PostgresConfig {
        client,
        password_file: file.password_file,
        tls_roots: file.tls_roots,
        connections: usize::try_from(connections).unwrap_or(1),
    })))
}

/// The first server that is not on this machine.
fn remote(client: &tokio_postgres::Config) -> Option<String> {
    let by_address = client.get_hostaddrs().iter().find(|address| !address.is_loopback());
    by_address.map(ToString::to_string).or_else(|| {
        client.get_hosts().iter().find_map(|host| match host {
            Host::Unix(_) => None,
            Host::Tcp(name) if name == "localhost" => None,
            Host::Tcp(name) if name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()) => None,
            Host::Tcp(name) => Some(name.clone()),
        })
    })
}

#[cfg(test)]
impl DatabaseConfig {
    /// The database of a configuration file that says nothing else.
    pub(crate) fn from_toml(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct File {
            database: Option<DatabaseSetting>,
        }
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        check(file.database).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DatabaseConfig, String> {
        DatabaseConfig::from_toml(text)
    }

    fn server(text: &str) -> PostgresConfig {
        match read(text).unwrap() {
            DatabaseConfig::Postgres(server) => *server,
            DatabaseConfig::Sqlite => panic!("no server"),
        }
    }

    #[test]
    fn one_line_is_enough() {
        assert_eq!(read("").unwrap(), DatabaseConfig::Sqlite);
        let line = server("database = 'postgresql:///vouchsafe?host=/run/postgresql'");
        assert_eq!(line, server("[database]\nurl = 'postgresql:///vouchsafe?host=/run/postgresql'"));
        assert_eq!(line.place(), "PostgreSQL database vouchsafe at /run/postgresql");
        assert_eq!((line.connections, line.client.get_ssl_mode()), (16, SslMode::Disable));
        let loopback = server("database = 'postgresql://ca:hush@127.0.0.1:6000,localhost:6001/records'");
        assert_eq!(loopback.place(), "PostgreSQL database records at 127.0.0.1:6000, localhost:6001");
        assert!(!format!("{loopback:?}").contains("hush"));
    }

    #[test]
    fn a_server_elsewhere_is_reached_by_verified_tls_alone() {
        for host in ["db.example", "192.0.2.1", "localhost,db.example"] {
            let refused =
                read(&format!("database = 'postgresql://ca:hush@{host}/records?sslmode=disable'")).unwrap_err();
            assert!(refused.contains("add tls_roots") && !refused.contains("hush"), "{refused}");
        }
        // Another address than the name says.
        let refused = read("database = 'postgresql://localhost/records?hostaddr=192.0.2.1'").unwrap_err();
        assert!(refused.contains("192.0.2.1"), "{refused}");
        let remote =
            server("[database]\nurl = 'postgresql://db.example/records?sslmode=disable'\ntls_roots = '/roots.pem'");
        assert_eq!(remote.client.get_ssl_mode(), SslMode::Require);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_remedy_and_without_the_password() {
        for (text, remedy) in [
            ("database = 'sqlite://ca:hush@/file'", "must begin with postgresql://"),
            ("database = 'postgresql:///records'", "append ?host="),
            ("database = 'postgresql://ca:hush@localhost:port/records'", "not of the form"),
            ("database = 'postgresql://ca:hush@localhost/records?colour=red'", "not of the form"),
            ("database = 5", "a URL (postgresql://...) or a table"),
            ("[database]\nurl = 'postgresql://localhost/x'\nuser = 'ca'", "unknown field `user`"),
            ("[database]\nurl = 'postgresql://localhost/x'\nconnections = 1", "allowed are 2 to 512"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(remedy) && !refused.contains("hush"), "{text}: {refused}");
        }
    }
}
