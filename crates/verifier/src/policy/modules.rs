//! Lists of certified modules, which operators supply: evidence alone is no validation status.
//!
//! A row names modules by vendor, model and firmware, and the certificate that they have. TOML and CSV say the same:
//!
//! ```text
//! [[module]]
//! vendor = "IFX"                    vendor,model,firmware,hardware,scheme,level,certificate,status,sunset
//! model = "SLB9670"                 IFX,SLB9670,7.85,,FIPS 140-2,2,3492,active,2029-09-21
//! firmware = "7.85"
//! scheme = "FIPS 140-2"
//! level = 2
//! certificate = "3492"
//! status = "active"
//! sunset = "2029-09-21"
//! ```

use serde::Deserialize;

use super::PolicyError;
use crate::advisory::Version;
use crate::time::Instant;

/// Rows of one list.
const ROWS: usize = 100_000;
/// Octets of one list.
const LIST_OCTETS: usize = 16 << 20;
const COLUMNS: [&str; 9] =
    ["vendor", "model", "firmware", "hardware", "scheme", "level", "certificate", "status", "sunset"];

/// Certified modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleList {
    rows: Vec<Row>,
}

/// A certified module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    vendor: String,
    model: String,
    firmware: Match,
    hardware: Match,
    scheme: String,
    level: u8,
    certificate: String,
    is_active: bool,
    sunset: Option<Instant>,
}

/// Which values a row is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Match {
    /// `*`: whatever the module says, and if it says nothing.
    Any,
    /// These.
    OneOf(Vec<String>),
}

/// A row as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowText {
    vendor: String,
    model: String,
    firmware: OneOrMany,
    #[serde(default)]
    hardware: OneOrMany,
    scheme: String,
    level: Level,
    certificate: String,
    status: String,
    #[serde(default)]
    sunset: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> Self {
        Self::One(String::new())
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Level {
    Number(u8),
    Text(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListText {
    #[serde(default)]
    module: Vec<RowText>,
}

/// What a module says of itself, as far as lists can be joined with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    pub vendor: &'a str,
    pub model: &'a str,
    pub firmware: Option<&'a str>,
    pub hardware: Option<&'a str>,
}

/// Why no row certifies a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotListed {
    /// No row is about it.
    NoRow,
    /// The best row that is about it, and what is wrong with it.
    Insufficient(String),
}

impl ModuleList {
    /// Reads a list: CSV if its first line is the heading of columns, else TOML.
    ///
    /// # Errors
    /// [`PolicyError::ModuleList`] for an unknown or missing column, and for a row that does not say which firmware it
    /// is about (`*` says: any).
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let refused = |why: String| PolicyError::ModuleList(why);
        if text.len() > LIST_OCTETS {
            return Err(refused(format!("it has more than {LIST_OCTETS} octets")));
        }
        let texts = if is_csv(text) {
            csv(text)?
        } else {
            toml::from_str::<ListText>(text).map_err(|error| refused(error.to_string()))?.module
        };
        if texts.len() > ROWS {
            return Err(refused(format!("it has more than {ROWS} rows")));
        }
        let rows = texts
            .into_iter()
            .enumerate()
            .map(|(index, row)| row.check().map_err(|why| refused(format!("row {}: {why}", index.saturating_add(1)))));
        Ok(Self { rows: rows.collect::<Result<_, _>>()? })
    }

    /// Takes the rows of another list.
    pub fn extend(&mut self, other: Self) {
        self.rows.extend(other.rows);
    }

    /// How many rows there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The certificate of a module that any of these certifications suffices for, at this time.
    pub(crate) fn certificate(
        &self,
        module: Identity<'_>,
        wanted: &[Certification],
        at: Instant,
    ) -> Result<String, NotListed> {
        let mut why = NotListed::NoRow;
        for row in self.rows.iter().filter(|row| row.is_about(module)) {
            match row.defect(wanted, at) {
                None => return Ok(format!("{} certificate {}, level {}", row.scheme, row.certificate, row.level)),
                Some(defect) => why = NotListed::Insufficient(defect),
            }
        }
        Err(why)
    }
}

/// A certification that suffices.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certification {
    /// The beginning of the scheme's name: `FIPS 140` is any version of it.
    pub scheme: String,
    /// The lowest level.
    pub level_min: u8,
}

impl RowText {
    fn check(self) -> Result<Row, String> {
        for (column, text) in [("vendor", &self.vendor), ("model", &self.model), ("scheme", &self.scheme)] {
            if text.trim().is_empty() {
                return Err(format!("{column} is empty"));
            }
        }
        let level = match &self.level {
            Level::Number(level) => Some(*level),
            Level::Text(text) => level_of(text),
        };
        let sunset = match self.sunset.trim() {
            "" => None,
            date => Some(end_of_day(date).ok_or_else(|| format!("sunset {date:?} is no date"))?),
        };
        Ok(Row {
            vendor: vendor_name(&self.vendor),
            model: folded(&self.model),
            firmware: Match::of(self.firmware).ok_or("firmware is empty; * says any")?,
            hardware: Match::of(self.hardware).unwrap_or(Match::Any),
            scheme: self.scheme.trim().to_owned(),
            level: level.ok_or("level is no number")?,
            certificate: self.certificate.trim().to_owned(),
            is_active: self.status.trim().eq_ignore_ascii_case("active"),
            sunset,
        })
    }
}

impl Match {
    fn of(text: OneOrMany) -> Option<Self> {
        let values = match text {
            OneOrMany::One(value) => value.split(';').map(str::to_owned).collect(),
            OneOrMany::Many(values) => values,
        };
        let values: Vec<String> = values.iter().map(|value| folded(value)).filter(|value| !value.is_empty()).collect();
        match values.as_slice() {
            [] => None,
            [any] if any == "*" => Some(Self::Any),
            _ => Some(Self::OneOf(values)),
        }
    }

    fn fits(&self, value: Option<&str>) -> bool {
        let versions = |a: &str, b: &str| match (Version::parse(a), Version::parse(b)) {
            (Some(listed), Some(found)) => found.begins_with(&listed),
            (Some(_) | None, _) => false,
        };
        match (self, value) {
            (Self::Any, _) => true,
            (Self::OneOf(_), None) => false,
            (Self::OneOf(listed), Some(value)) => {
                listed.iter().any(|listed| *listed == folded(value) || versions(listed, value))
            }
        }
    }
}

impl Row {
    fn is_about(&self, module: Identity<'_>) -> bool {
        self.vendor == vendor_name(module.vendor)
            && self.model == folded(module.model)
            && self.firmware.fits(module.firmware)
            && self.hardware.fits(module.hardware)
    }

    /// Why it does not suffice.
    fn defect(&self, wanted: &[Certification], at: Instant) -> Option<String> {
        let name = format!("{} certificate {}", self.scheme, self.certificate);
        if !self.is_active {
            return Some(format!("{name} is not active"));
        }
        if self.sunset.is_some_and(|sunset| at > sunset) {
            return Some(format!("{name} is past its sunset date"));
        }
        let suffices = |wanted: &Certification| {
            folded(&self.scheme).starts_with(&folded(&wanted.scheme)) && self.level >= wanted.level_min
        };
        (!wanted.iter().any(suffices)).then(|| format!("{name} is of level {}", self.level))
    }
}

/// Case and space around do not matter.
fn folded(text: &str) -> String {
    text.trim().to_lowercase()
}

/// A vendor's name; a TPM's is its TCG identifier, with or without `id:` and in letters or hexadecimal.
fn vendor_name(text: &str) -> String {
    let text = folded(text);
    let octets = text.strip_prefix("id:").and_then(crate::hex::decode);
    let letters = octets.and_then(|octets| String::from_utf8(octets).ok());
    letters.map_or(text, |letters| folded(letters.trim_end_matches(['\0', ' '])))
}

/// The number in `2`, `Level 2` or `EAL4+`.
pub(crate) fn level_of(text: &str) -> Option<u8> {
    let digits: String =
        text.chars().skip_while(|letter| !letter.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn end_of_day(date: &str) -> Option<Instant> {
    Instant::from_rfc3339(&format!("{date}T23:59:59Z")).ok()
}

fn is_csv(text: &str) -> bool {
    text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| line.contains(',') && !line.contains('='))
}

/// Fields of one line; a field in quotation marks may hold commas, and quotation marks that are doubled.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match (letter, quoted) {
            ('"', true) if letters.peek() == Some(&'"') => {
                letters.next();
                field.push('"');
            }
            ('"', _) => quoted = !quoted,
            (',', false) => fields.push(std::mem::take(&mut field)),
            (letter, _) => field.push(letter),
        }
    }
    fields.push(field);
    fields
}

fn csv(text: &str) -> Result<Vec<RowText>, PolicyError> {
    let refused = |why: String| PolicyError::ModuleList(why);
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let heading: Vec<String> = fields(lines.next().unwrap_or_default()).iter().map(|name| folded(name)).collect();
    if let Some(unknown) = heading.iter().find(|name| !COLUMNS.contains(&name.as_str())) {
        return Err(refused(format!("{unknown:?} is no column; columns are {}", COLUMNS.join(", "))));
    }
    let optional = ["hardware", "sunset"];
    if let Some(missing) = COLUMNS.iter().find(|name| !optional.contains(name) && !heading.iter().any(|h| h == *name)) {
        return Err(refused(format!("the column {missing} is missing")));
    }
    lines
        .map(|line| {
            let values = fields(line);
            if values.len() != heading.len() {
                return Err(refused(format!("a line has {} fields and not {}", values.len(), heading.len())));
            }
            let value = |name: &str| {
                let place = heading.iter().position(|heading| heading == name);
                place.and_then(|place| values.get(place)).cloned().unwrap_or_default()
            };
            Ok(RowText {
                vendor: value("vendor"),
                model: value("model"),
                firmware: OneOrMany::One(value("firmware")),
                hardware: OneOrMany::One(value("hardware")),
                scheme: value("scheme"),
                level: Level::Text(value("level")),
                certificate: value("certificate"),
                status: value("status"),
                sunset: value("sunset"),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "vendor,model,firmware,hardware,scheme,level,certificate,status,sunset\n\
        IFX,SLB9670,7.85; 7.86,,FIPS 140-2,2,3492,Active,2029-09-21\n\
        \"Example, Inc.\",HSM,*,,CC,EAL4+,\"X \"\"1\"\"\",active,\n";

    fn judge(
        list: &ModuleList,
        vendor: &str,
        model: &str,
        firmware: Option<&str>,
        at: &str,
    ) -> Result<String, NotListed> {
        let wanted = [
            Certification { scheme: "FIPS 140".to_owned(), level_min: 2 },
            Certification { scheme: "CC".to_owned(), level_min: 4 },
        ];
        let module = Identity { vendor, model, firmware, hardware: None };
        list.certificate(module, &wanted, Instant::from_rfc3339(at).unwrap())
    }

    #[test]
    fn a_module_is_joined_on_vendor_model_and_firmware() {
        let list = ModuleList::parse(CSV).unwrap();
        let today = "2026-12-01T00:00:00Z";
        assert_eq!(
            judge(&list, "id:49465800", "slb9670", Some("0007005511cb0000"), today),
            Ok("FIPS 140-2 certificate 3492, level 2".to_owned())
        );
        assert_eq!(judge(&list, "IFX", "SLB9670", Some("7.85"), today).map(|_| ()), Ok(()));
        assert_eq!(judge(&list, "IFX", "SLB9670", Some("7.40"), today), Err(NotListed::NoRow));
        assert_eq!(judge(&list, "IFX", "SLB9670", Some("7.8"), today), Err(NotListed::NoRow));
        assert_eq!(judge(&list, "IFX", "SLB9670", None, today), Err(NotListed::NoRow));
        assert_eq!(judge(&list, "IFX", "SLB9665", Some("7.85"), today), Err(NotListed::NoRow));
        assert_eq!(judge(&list, "NTC", "SLB9670", Some("7.85"), today), Err(NotListed::NoRow));
        assert_eq!(judge(&list, "Example, Inc.", "HSM", None, today).map(|_| ()), Ok(()));
    }

    #[test]
    fn a_certificate_counts_while_it_is_active() {
        let list = ModuleList::parse(CSV).unwrap();
        assert!(judge(&list, "IFX", "SLB9670", Some("7.85"), "2029-09-21T12:00:00Z").is_ok());
        let late = judge(&list, "IFX", "SLB9670", Some("7.85"), "2029-09-22T00:00:00Z");
        assert!(matches!(late, Err(NotListed::Insufficient(why)) if why.contains("sunset")));
        let historical = ModuleList::parse(&CSV.replace("Active", "historical")).unwrap();
        let found = judge(&historical, "IFX", "SLB9670", Some("7.85"), "2026-12-01T00:00:00Z");
        assert!(matches!(found, Err(NotListed::Insufficient(why)) if why.contains("not active")));
        let low = ModuleList::parse(&CSV.replace("140-2,2", "140-2,1")).unwrap();
        let found = judge(&low, "IFX", "SLB9670", Some("7.85"), "2026-12-01T00:00:00Z");
        assert!(matches!(found, Err(NotListed::Insufficient(why)) if why.contains("level 1")));
    }

    #[test]
    fn toml_says_the_same() {
        let text = "[[module]]\nvendor = 'IFX'\nmodel = 'SLB9670'\nfirmware = ['7.85', '7.86']\nscheme = 'FIPS 140-2'\n\
            level = 2\ncertificate = '3492'\nstatus = 'active'\nsunset = '2029-09-21'\n";
        let csv = ModuleList::parse(CSV).unwrap();
        assert_eq!(ModuleList::parse(text).unwrap().rows.first(), csv.rows.first());
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (text, why) in [
            ("vendor,model\nA,B\n", "missing"),
            ("vendor,model,colour\n", "no column"),
            (&CSV.replace("7.85; 7.86", ""), "firmware"),
            (&CSV.replace(",2,3492", ",two,3492"), "level"),
            (&CSV.replace("2029-09-21", "soon"), "date"),
            ("[[module]]\nvendro = 'IFX'\n", "vendro"),
        ] {
            let error = ModuleList::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
