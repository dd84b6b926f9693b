//! Lists of certified modules, which operators supply: evidence alone is no validation status.
//!
//! A row names modules by vendor, model and firmware, and the certificate that they have. It is joined with what modules
//! say of themselves, so it says as well in which format they say it: in `pkix-evidence` every maker whose root is trusted
//! may name every vendor, and only rows with that `format` count for it. TOML and CSV say the same:
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

mod scheme;
mod version_match;

use serde::Deserialize;
use vouchsafe_evidence::statement::FormatId;

use super::PolicyError;
use crate::time::Instant;
pub(crate) use scheme::level_of;
use scheme::{Scheme, WantedScheme};
use version_match::VersionMatch;

/// Rows of one list.
const ROWS: usize = 100_000;
/// Octets of one list.
const LIST_OCTETS: usize = 16 << 20;
const COLUMNS: [&str; 10] =
    ["format", "vendor", "model", "firmware", "hardware", "scheme", "level", "certificate", "status", "sunset"];
/// Columns that need not be there.
const OPTIONAL: [&str; 3] = ["format", "hardware", "sunset"];
/// The format in which modules name their vendors themselves, whoever made them.
const SELF_NAMED: &str = "pkix-evidence";
/// The format of TPMs among those of makers.
const WEBAUTHN_TPM: &str = "webauthn-tpm";

/// Certified modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleList {
    rows: Vec<Row>,
}

/// A certified module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    format: Option<FormatId>,
    vendor: String,
    model: String,
    firmware: VersionMatch,
    hardware: VersionMatch,
    scheme: Scheme,
    level: u8,
    certificate: String,
    is_active: bool,
    sunset: Option<Instant>,
}

/// A row as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowText {
    #[serde(default)]
    format: String,
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
    /// The formats of the statements that say so.
    pub formats: &'a [FormatId],
    /// Whether it says that it is not in FIPS mode.
    pub denies_fips: bool,
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
            match row.defect(module, wanted, at) {
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
    /// The scheme; `FIPS 140` is any version of it.
    pub scheme: WantedScheme,
    /// The lowest level.
    pub level_min: u8,
}

impl RowText {
    fn check(self) -> Result<Row, String> {
        for (column, text) in [("vendor", &self.vendor), ("model", &self.model)] {
            if text.trim().is_empty() {
                return Err(format!("{column} is empty"));
            }
        }
        let scheme = Scheme::named(&self.scheme);
        let scheme = scheme.ok_or_else(|| format!("scheme {:?} is not FIPS 140-2, FIPS 140-3 or CC", self.scheme))?;
        let level = match self.level {
            Level::Number(level) => level.to_string(),
            Level::Text(text) => text,
        };
        let level = scheme.level(&level).ok_or_else(|| {
            format!("level {level:?} is not of {scheme}, whose levels are {}", scheme.levels_in_words())
        })?;
        let format = match self.format.trim() {
            "" => None,
            id => Some(FormatId::from_id(id).ok_or_else(|| format!("format {id:?} is none that is known"))?),
        };
        let sunset = match self.sunset.trim() {
            "" => None,
            date => Some(end_of_day(date).ok_or_else(|| format!("sunset {date:?} is no date"))?),
        };
        Ok(Row {
            format,
            vendor: vendor_name(&self.vendor),
            model: folded(&self.model),
            firmware: VersionMatch::of(&self.firmware.values())?.ok_or("firmware is empty; * says any")?,
            hardware: VersionMatch::of(&self.hardware.values())?.unwrap_or(VersionMatch::Any),
            scheme,
            level,
            certificate: self.certificate.trim().to_owned(),
            is_active: self.status.trim().eq_ignore_ascii_case("active"),
            sunset,
        })
    }
}

impl OneOrMany {
    fn values(self) -> Vec<String> {
        match self {
            Self::One(value) => value.split(';').map(str::to_owned).collect(),
            Self::Many(values) => values,
        }
    }
}

impl Identity<'_> {
    /// Whether a TPM says all of it, whose firmware is then 16 hexadecimal digits.
    fn is_of_tpm(&self) -> bool {
        !self.formats.is_empty() && self.formats.iter().all(|format| is_tpm_format(*format))
    }
}

fn is_tpm_format(format: FormatId) -> bool {
    match format {
        FormatId::TpmCertify | FormatId::TpmQuote | FormatId::TpmCertifyX509 | FormatId::TpmEk => true,
        FormatId::KeyPop | FormatId::Cmw => false,
        FormatId::Listed(listed) => FormatId::Listed(listed).id() == WEBAUTHN_TPM,
    }
}

impl Row {
    fn is_about(&self, module: Identity<'_>) -> bool {
        let has_firmware = match module.is_of_tpm() {
            true => self.firmware.fits_tpm(module.firmware),
            false => self.firmware.fits(module.firmware),
        };
        self.counts_for(module.formats)
            && self.vendor == vendor_name(module.vendor)
            && self.model == folded(module.model)
            && has_firmware
            && self.hardware.fits(module.hardware)
    }

    /// Whether it counts for what statements of these formats say. Of a statement whose format is not known nothing counts.
    fn counts_for(&self, formats: &[FormatId]) -> bool {
        let is_meant = |format: &FormatId| match self.format {
            Some(meant) => *format == meant,
            None => format.id() != SELF_NAMED,
        };
        !formats.is_empty() && formats.iter().all(is_meant)
    }

    /// Why it does not suffice.
    fn defect(&self, module: Identity<'_>, wanted: &[Certification], at: Instant) -> Option<String> {
        let name = format!("{} certificate {}", self.scheme, self.certificate);
        if !self.is_active {
            return Some(format!("{name} is not active"));
        }
        if self.sunset.is_some_and(|sunset| at > sunset) {
            return Some(format!("{name} is past its sunset date"));
        }
        if self.scheme.is_fips() && module.denies_fips {
            return Some(format!("{name} is for FIPS mode, in which the module says that it is not"));
        }
        let suffices = |wanted: &Certification| wanted.scheme.includes(self.scheme) && self.level >= wanted.level_min;
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
    let mut twice = heading.iter().enumerate();
    if let Some((_, name)) = twice.find(|(place, name)| heading.iter().take(*place).any(|before| before == *name)) {
        return Err(refused(format!("the column {name} is there twice")));
    }
    if let Some(missing) = COLUMNS.iter().find(|name| !OPTIONAL.contains(name) && !heading.iter().any(|h| h == *name)) {
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
                format: value("format"),
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
        let is_hexadecimal = firmware.is_some_and(|version| version.len() == 16);
        let formats = [if is_hexadecimal { FormatId::TpmQuote } else { format("yubihsm2") }];
        let module = Identity { formats: &formats, denies_fips: false, vendor, model, firmware, hardware: None };
        certificate(list, module, at)
    }

    fn format(id: &str) -> FormatId {
        FormatId::from_id(id).unwrap()
    }

    fn certificate(list: &ModuleList, module: Identity<'_>, at: &str) -> Result<String, NotListed> {
        let wanted = |scheme: &str, level_min| Certification {
            scheme: WantedScheme::try_from(scheme.to_owned()).unwrap(),
            level_min,
        };
        let wanted = [wanted("FIPS 140", 2), wanted("CC", 4)];
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

    /// One row about an Example HSM at 7.2.1, of this format.
    fn row_of(format: &str) -> ModuleList {
        let heading = "format,vendor,model,firmware,scheme,level,certificate,status\n";
        ModuleList::parse(&format!("{heading}{format},Example,HSM,7.2.1,FIPS 140-3,3,1,active\n")).unwrap()
    }

    #[test]
    fn a_row_counts_for_its_format() {
        let found = |row: &str, said_in: &[&str]| {
            let formats: Vec<FormatId> = said_in.iter().map(|id| format(id)).collect();
            let (vendor, model, firmware) = ("Example", "HSM", Some("7.2.1"));
            let module = Identity { formats: &formats, denies_fips: false, vendor, model, firmware, hardware: None };
            certificate(&row_of(row), module, "2026-12-01T00:00:00Z").is_ok()
        };
        assert!(found("pkix-evidence", &["pkix-evidence"]));
        assert!(found("yubihsm2", &["yubihsm2"]));
        assert!(found("", &["yubihsm2"]));
        // Whoever has a root can say in pkix-evidence that it is of any vendor.
        assert!(!found("", &["pkix-evidence"]));
        assert!(!found("yubihsm2", &["pkix-evidence"]));
        assert!(!found("", &["yubihsm2", "pkix-evidence"]));
        assert!(!found("pkix-evidence", &["yubihsm2", "pkix-evidence"]));
        assert!(!found("pkix-evidence", &["yubihsm2"]));
        assert!(!found("", &[]));
    }

    #[test]
    fn digits_of_a_module_that_is_no_tpm_are_its_text() {
        let found = |said_in: &str| {
            let formats = [format(said_in)];
            let (vendor, model, firmware) = ("Example", "HSM", Some("0007000200010000"));
            let module = Identity { formats: &formats, denies_fips: false, vendor, model, firmware, hardware: None };
            certificate(&row_of(""), module, "2026-12-01T00:00:00Z").is_ok()
        };
        assert!(found("tpm-certify") && found("tpm-quote") && found("webauthn-tpm"));
        assert!(!found("yubihsm2"));
    }

    #[test]
    fn a_module_that_is_not_in_fips_mode_is_not_certified_for_it() {
        let found = |list: &ModuleList, denies_fips| {
            let formats = [format("yubihsm2")];
            let (vendor, model, firmware) = ("Example", "HSM", Some("7.2.1"));
            let module = Identity { formats: &formats, denies_fips, vendor, model, firmware, hardware: None };
            certificate(list, module, "2026-12-01T00:00:00Z")
        };
        assert!(found(&row_of(""), false).is_ok());
        assert!(matches!(found(&row_of(""), true), Err(NotListed::Insufficient(why)) if why.contains("FIPS mode")));
        let text = "vendor,model,firmware,scheme,level,certificate,status\nExample,HSM,7.2.1,CC,EAL4+,1,active\n";
        assert!(found(&ModuleList::parse(text).unwrap(), true).is_ok());
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (text, why) in [
            ("vendor,model\nA,B\n", "missing"),
            ("vendor,model,colour\n", "no column"),
            (&CSV.replace("7.85; 7.86", ""), "firmware"),
            (&CSV.replace(",2,3492", ",two,3492"), "level"),
            (&CSV.replace("2029-09-21", "soon"), "date"),
            (&CSV.replace(",2,3492", ",FIPS 140-2 Level 1,3492"), "level"),
            (&CSV.replace(",2,3492", ",EAL 4,3492"), "level"),
            (&CSV.replace("EAL4+", "4"), "level"),
            (&CSV.replace("FIPS 140-2", "FIPS 140-1"), "scheme"),
            (&CSV.replace(",CC,", ",CCxyz,"), "scheme"),
            (&CSV.replace("7.85; 7.86", "7.85; 7*"), "*"),
            (&CSV.replace("hardware,", "level,"), "twice"),
            (&CSV.replace("hardware,", "format,").replace("7.86,,", "7.86,pkix,"), "format"),
            ("[[module]]\nvendro = 'IFX'\n", "vendro"),
        ] {
            let error = ModuleList::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
