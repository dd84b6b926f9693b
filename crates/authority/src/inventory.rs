//! The operator's list of modules: read from CSV, compared with what is listed, and brought in whole or not at all.
//!
//! The first line names the columns, in any order: `device`, `account`, and of each row either `ek_sha256` (SHA-256 of the
//! endorsement key's SubjectPublicKeyInfo, in hexadecimal) or `vendor` and `serial`; optional are `model` and `virtual`
//! (`true` for modules in software).

mod csv;

use std::collections::{BTreeMap, HashMap, HashSet};

use aws_lc_rs::rand;
use serde_json::{Value, json};
use vouchsafe_evidence::text::printable;

use crate::config::is_name;
use crate::error::{Error, Violation, own_codes};
use crate::record::{RecordError, Recorder, sha256};
use crate::request::{InventoryRequest, MODULE_NAME_OCTETS};
use crate::service::{Caller, Service, decision};
use crate::store::{DecisionKind, Digest, InventoryImport, InventoryRow, ListedIdentity, Outcome, Store};
use crate::text::{from_hex, to_hex};

/// Octets of a list.
pub const INVENTORY_OCTETS: usize = 4 * 1024 * 1024;
/// Rows of a list.
pub const INVENTORY_ROWS: usize = 50_000;
/// Octets of the salt in the digests of an import's rows.
const SALT_OCTETS: usize = 32;

/// What an import does, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InventoryReport {
    /// Devices that were not listed.
    pub added: Vec<String>,
    /// Devices that were listed otherwise.
    pub changed: Vec<Change>,
    /// How many devices were listed just so.
    pub unchanged: usize,
    /// Rows that stand against the import. While there are any, nothing is brought in.
    pub conflicting: Vec<Conflict>,
    /// Whether the rows are in the list now.
    pub is_applied: bool,
}

/// A device that was listed otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub device: String,
    /// How it was listed.
    pub before: String,
    /// How it is to be listed.
    pub after: String,
}

/// A row that stands against an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Its line, counted from one.
    pub line: usize,
    /// What is wrong with it, as a sentence.
    pub why: String,
}

impl InventoryReport {
    /// The report as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let changed: Vec<Value> = self
            .changed
            .iter()
            .map(|change| json!({"device": change.device, "before": change.before, "after": change.after}))
            .collect();
        let conflicting: Vec<Value> =
            self.conflicting.iter().map(|conflict| json!({"line": conflict.line, "why": conflict.why})).collect();
        json!({
            "added": self.added,
            "changed": changed,
            "unchanged": self.unchanged,
            "conflicting": conflicting,
            "applied": self.is_applied,
        })
    }

    fn violations(&self) -> Vec<Violation> {
        let violation =
            |conflict: &Conflict| own_codes::INVENTORY_ROW.found(format!("Line {}: {}", conflict.line, conflict.why));
        self.conflicting.iter().map(violation).collect()
    }
}

/// A row as the list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    line: usize,
    device: String,
    account: String,
    identity: ListedIdentity,
    model: String,
    is_virtual: bool,
}

impl Row {
    /// The row in one form, for reports and for its digest.
    fn text(&self) -> String {
        text(&self.account, &self.identity, &self.model, self.is_virtual)
    }
}

/// A listed module in one form.
fn text(account: &str, identity: &ListedIdentity, model: &str, is_virtual: bool) -> String {
    let identity = match identity {
        ListedIdentity::EndorsementKey(digest) => format!("ek_sha256={}", to_hex(digest)),
        ListedIdentity::Serial { vendor, serial } => format!("vendor={vendor:?} serial={serial:?}"),
    };
    format!("account={account} {identity} model={model:?} virtual={is_virtual}")
}

/// A row of the list in one form.
#[must_use]
pub fn row_text(row: &InventoryRow) -> String {
    text(&row.account, &row.identity, &row.model, row.is_virtual)
}

impl Service {
    /// Brings rows into the inventory, or says what that would do.
    pub(crate) fn import_inventory(
        &self,
        caller: &Caller,
        request: &InventoryRequest,
    ) -> Result<InventoryReport, Error> {
        let account = caller.account()?.name();
        import(&*self.store, &self.recorder, self.now(), account, request)
    }
}

/// Brings rows into the inventory, unless that is only asked about; all of them or none.
pub(crate) fn import(
    store: &dyn Store,
    recorder: &Recorder,
    now: i64,
    approver: &str,
    request: &InventoryRequest,
) -> Result<InventoryReport, Error> {
    let (rows, conflicting) = read(&request.csv)?;
    let mut report = InventoryReport { conflicting, ..InventoryReport::default() };
    let fresh = compare(store, rows, &mut report)?;
    report.conflicting.sort_by_key(|conflict| conflict.line);
    if request.is_dry_run {
        return Ok(report);
    }
    if !report.conflicting.is_empty() {
        return Err(Error::Rejected(report.violations()));
    }
    report.is_applied = true;
    if fresh.is_empty() {
        return Ok(report);
    }
    let mut salt = [0; SALT_OCTETS];
    rand::fill(&mut salt).map_err(|_| RecordError::Operation("the random source"))?;
    let rows = fresh.into_iter().map(|row| listed(row, &salt, approver)).collect();
    // The salt lies with the list in the sealed record: whoever may open that can show which row a digest is of.
    let kept = json!({"report": report.to_json(), "salt": to_hex(&salt)}).to_string();
    let decision =
        decision(recorder, now, (DecisionKind::Inventory, approver, Outcome::Accepted), kept.as_bytes(), &request.csv)?;
    store.import(InventoryImport { rows }, decision)?;
    Ok(report)
}

fn listed(row: Row, salt: &[u8], approver: &str) -> InventoryRow {
    let digest: Digest = sha256(&[salt, row.device.as_bytes(), b" ", row.text().as_bytes()].concat());
    InventoryRow {
        device: row.device,
        account: row.account,
        identity: row.identity,
        model: row.model,
        is_virtual: row.is_virtual,
        digest,
        approver: approver.to_owned(),
    }
}

/// The rows that are new or changed; what stands against them goes into the report.
fn compare(store: &dyn Store, rows: Vec<Row>, report: &mut InventoryReport) -> Result<Vec<Row>, Error> {
    let listed = store.inventory()?;
    let by_device: HashMap<&str, &InventoryRow> = listed.iter().map(|row| (row.device.as_str(), row)).collect();
    let keys = store.attesting_keys()?;
    let enrolled: BTreeMap<&str, &str> = keys
        .iter()
        .filter(|key| key.revocation.is_none())
        .map(|key| (key.device.as_str(), key.account.as_str()))
        .collect();
    let replaced: HashSet<&str> = rows.iter().map(|row| row.device.as_str()).collect();
    // Of devices that the import says nothing about; those of the others change hands.
    let taken: HashMap<&ListedIdentity, &str> = listed
        .iter()
        .filter(|row| !replaced.contains(row.device.as_str()))
        .map(|row| (&row.identity, row.device.as_str()))
        .collect();
    let (mut devices, mut modules) = (HashMap::new(), HashMap::new());
    let mut conflicting = Vec::new();
    for row in &rows {
        let mut conflict = |why: String| conflicting.push(Conflict { line: row.line, why });
        if let Some(line) = devices.insert(row.device.as_str(), row.line) {
            conflict(format!("the device {} stands in line {line} too.", row.device));
        }
        if let Some(line) = modules.insert(&row.identity, row.line) {
            conflict(format!("the module stands in line {line} too."));
        }
        if let Some(device) = taken.get(&row.identity) {
            conflict(format!("the module is listed for the device {device}."));
        }
        let before = by_device.get(row.device.as_str());
        let moves = before.is_none_or(|before| before.identity != row.identity || before.account != row.account);
        match enrolled.get(row.device.as_str()) {
            Some(account) if moves && before.is_some() => {
                conflict(format!(
                    "the device {} is enrolled by {account} with the module that is listed; approve a replacement first.",
                    row.device
                ));
            }
            Some(account) if *account != row.account => {
                conflict(format!("the device {} is enrolled by the account {account}.", row.device));
            }
            Some(_) | None => {}
        }
    }
    report.conflicting.extend(conflicting);
    let mut fresh = Vec::new();
    for row in rows {
        match by_device.get(row.device.as_str()) {
            None => report.added.push(row.device.clone()),
            Some(before) if row_text(before) == row.text() => {
                report.unchanged += 1;
                continue;
            }
            Some(before) => {
                report.changed.push(Change { device: row.device.clone(), before: row_text(before), after: row.text() })
            }
        }
        fresh.push(row);
    }
    Ok(fresh)
}

/// The rows of a list, and the lines that are none.
fn read(list: &[u8]) -> Result<(Vec<Row>, Vec<Conflict>), Error> {
    const EXPECTED: &str = "CSV in UTF-8 of at most 4 MiB and 50000 rows, whose first line names its columns";
    let malformed = || Error::Malformed { field: "inventory", expected: EXPECTED };
    if list.len() > INVENTORY_OCTETS {
        return Err(Error::BodyTooLarge { limit: INVENTORY_OCTETS });
    }
    let text = std::str::from_utf8(list).map_err(|_| malformed())?;
    let mut records = csv::records(text.strip_prefix('\u{FEFF}').unwrap_or(text), INVENTORY_ROWS + 1)
        .ok_or_else(malformed)?
        .into_iter();
    let header = records.next().ok_or_else(malformed)?;
    let columns = Columns::read(&header.fields).ok_or_else(malformed)?;
    let (mut rows, mut conflicting) = (Vec::new(), Vec::new());
    for record in records {
        match columns.row(&record) {
            Ok(row) => rows.push(row),
            Err(why) => conflicting.push(Conflict { line: record.line, why }),
        }
    }
    Ok((rows, conflicting))
}

/// Where each column stands.
#[derive(Default)]
struct Columns {
    names: Vec<&'static str>,
}

/// Every column that there is.
const COLUMNS: [&str; 7] = ["device", "account", "ek_sha256", "vendor", "serial", "model", "virtual"];

impl Columns {
    /// Known columns, each once, and those without which there is no row.
    fn read(header: &[String]) -> Option<Self> {
        let mut names = Vec::new();
        for field in header {
            let name = COLUMNS.into_iter().find(|name| field.trim() == *name)?;
            if names.contains(&name) {
                return None;
            }
            names.push(name);
        }
        let has = |name: &str| names.contains(&name);
        let is_whole = has("device") && has("account") && (has("ek_sha256") || (has("vendor") && has("serial")));
        is_whole.then_some(Self { names })
    }

    fn row(&self, record: &csv::Record) -> Result<Row, String> {
        if record.fields.len() != self.names.len() {
            return Err(format!("it has {} fields, the first line {}.", record.fields.len(), self.names.len()));
        }
        let field = |name: &str| {
            let place = self.names.iter().position(|known| *known == name)?;
            record.fields.get(place).map(|field| field.trim()).filter(|field| !field.is_empty())
        };
        let named = |name: &str| match field(name) {
            Some(value) if is_name(value) => Ok(value.to_owned()),
            Some(_) | None => Err(format!("{name} must be 1 to 64 letters, digits, '-', '_', '.' or '@'.")),
        };
        let short = |name: &str, value: &str| {
            let fits = value.len() <= MODULE_NAME_OCTETS && value.bytes().all(|octet| (0x20..0x7F).contains(&octet));
            if fits {
                Ok(value.to_owned())
            } else {
                Err(format!("{name} must be at most 128 printable ASCII characters."))
            }
        };
        let identity = match (field("ek_sha256"), field("vendor"), field("serial")) {
            (Some(digest), None, None) => {
                let digest = from_hex(digest).and_then(|octets| octets.try_into().ok());
                ListedIdentity::EndorsementKey(digest.ok_or("ek_sha256 must be 64 hexadecimal digits.")?)
            }
            (None, Some(vendor), Some(serial)) => {
                ListedIdentity::Serial { vendor: short("vendor", vendor)?, serial: short("serial", serial)? }
            }
            (Some(_) | None, ..) => {
                return Err("it must name the module by ek_sha256, or by vendor and serial.".to_owned());
            }
        };
        let is_virtual = match field("virtual") {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => return Err(format!("virtual must be true or false, not {}.", printable(other))),
        };
        Ok(Row {
            line: record.line,
            device: named("device")?,
            account: named("account")?,
            identity,
            model: short("model", field("model").unwrap_or_default())?,
            is_virtual,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EK: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn rows_name_their_module_in_one_way() {
        let list = format!(
            "device,account,ek_sha256,vendor,serial,model,virtual\n\
             a,alice,{EK},,,,\nb,alice,,Maker,\"S,1\",M,true\nc,alice,{EK},Maker,1,,\nd,alice,,,,,\n\
             e f,alice,{EK},,,,\ng,alice,00,,,,\nh,alice,{EK},,,,maybe\ni,alice\n"
        );
        let (rows, conflicting) = read(list.as_bytes()).unwrap();
        assert_eq!(rows.iter().map(|row| (row.line, row.device.as_str())).collect::<Vec<_>>(), [(2, "a"), (3, "b")]);
        let serial = ListedIdentity::Serial { vendor: "Maker".to_owned(), serial: "S,1".to_owned() };
        assert_eq!((&rows[1].identity, rows[1].is_virtual, rows[1].model.as_str()), (&serial, true, "M"));
        assert_eq!(conflicting.iter().map(|conflict| conflict.line).collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn what_is_no_list_is_refused_whole() {
        for list in [
            "",
            "device,account\n",
            "device,account,ek_sha256,colour\n",
            "device,device,account,ek_sha256\n",
            "device,account,serial\n",
            "device,account,ek_sha256\n\"a,b,c\n",
        ] {
            assert!(matches!(read(list.as_bytes()), Err(Error::Malformed { field: "inventory", .. })), "{list}");
        }
        assert!(matches!(read(b"device,account,ek_sha256\n\xFF"), Err(Error::Malformed { .. })));
        let long = format!("device,account,ek_sha256\n{}", "a,b,c\n".repeat(INVENTORY_ROWS + 1));
        assert!(matches!(read(long.as_bytes()), Err(Error::Malformed { .. })));
    }
}
