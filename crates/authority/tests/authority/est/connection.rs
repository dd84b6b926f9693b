//! An EST client: one TLS connection that is kept.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::site::{Identity, Reply, Site, b64};

pub struct Connection {
    stream: TlsStream<TcpStream>,
    authorization: Option<String>,
    buffer: Vec<u8>,
}

impl Reply {
    /// The octets of a body in base64.
    pub fn decoded(&self) -> Vec<u8> {
        assert_eq!(self.status, 200, "{}", self.text());
        assert!(self.head.to_lowercase().contains("content-transfer-encoding: base64"), "{}", self.head);
        STANDARD.decode(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The codes of a refusal with this status: that of the answer, then those of its violations.
    pub fn refused(&self, status: u16) -> Vec<String> {
        assert_eq!(self.status, status, "{}", self.text());
        assert!(self.head.to_lowercase().contains("content-type: text/plain"), "{}", self.head);
        self.text().lines().map(|line| line.split(": ").next().unwrap().to_owned()).collect()
    }
}

impl Connection {
    pub async fn open(site: &Site, identity: Option<Identity>) -> Self {
        Self::by(site, rustls::ALL_VERSIONS, identity).await.expect("a connection")
    }

    pub async fn by(
        site: &Site,
        versions: &[&'static rustls::SupportedProtocolVersion],
        identity: Option<Identity>,
    ) -> Option<Self> {
        let stream = site.connect_as(versions, identity).await?;
        Some(Self { stream, authorization: None, buffer: Vec::new() })
    }

    /// The same connection with a name and a token in every request from now on.
    pub fn authenticated(mut self, name: &str, token: &str) -> Self {
        self.authorization = Some(format!("Basic {}", b64(format!("{name}:{token}").as_bytes())));
        self
    }

    pub fn exporter(&self) -> [u8; 32] {
        let session = self.stream.get_ref().1;
        session.export_keying_material([0; 32], b"EXPORTER-vouchsafe-attestation-nonce", None).unwrap()
    }

    /// Sends a request and reads its answer; nothing if the server ended the connection.
    pub async fn attempt(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Option<Reply> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n",
            body.len()
        );
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        request.push_str("\r\n");
        self.stream.write_all(&[request.as_bytes(), body].concat()).await.ok()?;
        self.stream.flush().await.ok()?;
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.fill().await?;
        };
        let head = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
        let length = head.to_lowercase().split("content-length: ").nth(1).unwrap().lines().next().unwrap().to_owned();
        let length: usize = length.parse().unwrap();
        while self.buffer.len() < end + length {
            self.fill().await?;
        }
        let body = self.buffer[end..end + length].to_vec();
        self.buffer.drain(..end + length);
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Reply { status, head, body })
    }

    async fn fill(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.buffer).await.ok()?;
        (read > 0).then_some(())
    }

    pub async fn send(&mut self, method: &str, operation: &str, content_type: &str, body: &[u8]) -> Reply {
        let path = format!("/.well-known/est/{operation}");
        self.attempt(method, &path, content_type, body).await.expect("an answer")
    }

    pub async fn get(&mut self, operation: &str) -> Reply {
        self.send("GET", operation, "text/plain", b"").await
    }

    pub async fn post(&mut self, operation: &str, content_type: &str, body: &[u8]) -> Reply {
        self.send("POST", operation, content_type, body).await
    }

    pub async fn enroll(&mut self, operation: &str, csr: &[u8]) -> Reply {
        self.post(operation, "application/pkcs10", b64(csr).as_bytes()).await
    }

    /// A nonce for the profile of this label, such as `stock/`.
    pub async fn nonce(&mut self, label: &str) -> Vec<u8> {
        let reply = self.get(&format!("{label}nonce")).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(reply.head.contains("application/est-attestation-freshness+json"), "{}", reply.head);
        let answer: Value = reply.json();
        URL_SAFE_NO_PAD.decode(answer["nonce"].as_str().unwrap()).unwrap()
    }
}
