//! The attesting keys of 20 devices are swapped: nothing of it is seen by the issuing authority.

use serde_json::Value;

use super::{FORGET, Pair, every_octet, found, known_by, masks};
use crate::module::{Module, SoftwareKey, Vendor};
use crate::site::{ALICE, NOW, Reply};

const DEVICES: usize = 20;

/// Everything that the issuing authority of one world saw and kept, without what is drawn at random.
struct Seen {
    wire: Vec<String>,
    database: Vec<String>,
    logs: Vec<String>,
}

/// The attesting keys, each with the key for which it vouches, in the order in which they come to the issuing authority.
type Keys = Vec<usize>;

struct Capture {
    masked: Vec<String>,
    octets: Vec<u8>,
}

impl Capture {
    fn request(&mut self, body: &Value) {
        self.masked.push(masks::json(body));
        self.keep(body);
    }

    fn reply(&mut self, reply: &Reply) {
        let is_drawn =
            |line: &&str| ["content-length", "date"].iter().any(|name| line.to_lowercase().starts_with(name));
        let head = reply.head.lines().filter(|line| !is_drawn(line));
        self.masked.push(format!("{} {}", head.collect::<Vec<_>>().join("|"), masks::json(&reply.json())));
        self.octets.extend(reply.head.as_bytes());
        self.keep(&reply.json());
    }

    /// As it went over the wire, and what is in base64 in it.
    fn keep(&mut self, value: &Value) {
        match value {
            Value::Object(members) => members.values().for_each(|of| self.keep(of)),
            Value::Array(values) => values.iter().for_each(|of| self.keep(of)),
            Value::String(text) => {
                use base64::Engine;
                self.octets.extend(text.as_bytes());
                self.octets.extend(base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default());
            }
            Value::Bool(_) | Value::Number(_) | Value::Null => {}
        }
    }
}

/// Every row of the issuing authority's database, in the order in which it was written.
fn database(pair: &Pair) -> Vec<String> {
    use rusqlite::types::ValueRef;
    let database = rusqlite::Connection::open(pair.issuing.state().join("authority.sqlite")).unwrap();
    let names = |sql: &str| -> Vec<String> {
        let mut rows = database.prepare(sql).unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let mut found = Vec::new();
    for table in names("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name") {
        let mut rows = Vec::new();
        let mut statement = database.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut read = statement.query([]).unwrap();
        while let Some(row) = read.next().unwrap() {
            let mut shape = table.clone();
            for (at, column) in columns.iter().enumerate() {
                let value = match row.get_ref(at).unwrap() {
                    ValueRef::Null => "null".to_owned(),
                    ValueRef::Integer(number) => number.to_string(),
                    ValueRef::Real(number) => number.to_string(),
                    ValueRef::Text(text) => masks::text(std::str::from_utf8(text).unwrap()),
                    // Signatures differ in length by a few octets, and so does what is sealed around them.
                    ValueRef::Blob(octets) if column == "sealed" => format!("about {}", (octets.len() + 128) / 256),
                    ValueRef::Blob(octets) => masks::der(octets).unwrap_or_else(|| format!("octets({})", octets.len())),
                };
                shape.push_str(&format!(" {column}={value}"));
            }
            rows.push(shape);
        }
        // The order of random keys is random.
        rows.sort();
        found.extend(rows);
    }
    found
}

/// Lines of the log without the time and the address of this run.
fn logs(pair: &Pair) -> Vec<String> {
    let text = String::from_utf8(pair.issuer.logs()).unwrap();
    let without_time = text.lines().filter_map(|line| Some(line.split_once(' ')?.1.to_owned()));
    let is_own = |line: &String| line.contains("vouchsafe") && !line.contains("listens");
    let mut lines: Vec<String> = without_time.filter(is_own).map(|line| masks::text(&line)).collect();
    lines.sort();
    lines
}

/// One world: device `d` has the attesting key `keys[d]`. The keys come to the issuing authority in their own order.
async fn world(vendor: &Vendor, modules: &mut [Module], users: &[SoftwareKey], keys: &Keys) -> (Seen, Vec<u8>) {
    let pair = Pair::start(FORGET, Some(vendor));
    let mut pseudonyms: Vec<Vec<Vec<u8>>> = vec![Vec::new(); DEVICES];
    for (device, key) in keys.iter().enumerate() {
        // The module of this device holds that key now.
        swap_keys(modules, device, *key);
        pseudonyms[*key] = pair.pseudonym(&modules[device], &format!("device-number-{device}")).await;
        swap_keys(modules, device, *key);
    }
    let mut capture = Capture { masked: Vec::new(), octets: Vec::new() };
    for (key, pseudonym) in pseudonyms.iter().enumerate() {
        let body = pair.certificate_request(&modules[key], &users[key], pseudonym).await;
        let reply = pair.issuing.post("/v1/certificates", Some(ALICE), body.clone()).await;
        assert_eq!(reply.status, 201, "{}", String::from_utf8_lossy(&reply.body));
        capture.request(&body);
        capture.reply(&reply);
    }
    let kept = [capture.octets.clone(), every_octet(&pair.issuing.state()), pair.issuer.logs()].concat();
    (Seen { wire: capture.masked, database: database(&pair), logs: logs(&pair) }, kept)
}

/// Exchanges the attesting keys of two modules.
fn swap_keys(modules: &mut [Module], one: usize, other: usize) {
    if one != other {
        let (low, high) = modules.split_at_mut(one.max(other));
        let (one, other) = (&mut low[one.min(other)], &mut high[0]);
        std::mem::swap(&mut one.ak, &mut other.ak);
        std::mem::swap(&mut one.ak_public, &mut other.ak_public);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_which_key_cannot_be_seen_by_the_issuing_authority() {
    let vendor = Vendor::new("Vendor", NOW);
    let mut modules: Vec<Module> = (0..DEVICES).map(|_| Module::new(&vendor, NOW)).collect();
    let users: Vec<SoftwareKey> = (0..DEVICES).map(|_| SoftwareKey::generate()).collect();
    let own: Keys = (0..DEVICES).collect();
    let swapped: Keys = (0..DEVICES).map(|device| (device * 7 + 3) % DEVICES).collect();
    assert!(own.iter().zip(&swapped).filter(|(a, b)| a != b).count() >= DEVICES - 2);
    let (before, kept_before) = world(&vendor, &mut modules, &users, &own).await;
    let (after, kept_after) = world(&vendor, &mut modules, &users, &swapped).await;
    assert_eq!(before.wire.len(), 2 * DEVICES);
    assert!(before.database.iter().filter(|row| row.starts_with("certificates ")).count() == DEVICES);
    assert!(before.logs.iter().filter(|line| line.contains("decided")).count() == DEVICES, "{:?}", before.logs);
    for (before, after) in
        [(&before.wire, &after.wire), (&before.database, &after.database), (&before.logs, &after.logs)]
    {
        assert_eq!(before.len(), after.len());
        before.iter().zip(after).for_each(|(before, after)| assert_eq!(before, after));
    }
    // And no device is named in any of it, whichever key it has.
    let facts = |(device, module)| known_by(module, &format!("device-number-{device}"));
    let facts: Vec<_> = modules.iter().enumerate().flat_map(facts).collect();
    for kept in [&kept_before, &kept_after] {
        assert_eq!(found(kept, &facts), Vec::<&str>::new());
    }
}
