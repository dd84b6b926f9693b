//! Which versions of firmware and hardware a row is about.

use crate::advisory::Version;

/// What a row says of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum VersionMatch {
    /// `*`: whatever the module says, and if it says nothing.
    Any,
    /// One of these.
    OneOf(Vec<Listed>),
}

/// One version, or several with one beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// This text, to the letter.
    Exactly(String),
    /// `7.2.*`: these numbers, a point, and further numbers.
    Beneath(String),
}

impl VersionMatch {
    /// Reads the values of a column; `None` if there are none.
    ///
    /// # Errors
    /// What is wrong with a `*` that stands elsewhere than alone or after numbers.
    pub fn of(values: &[String]) -> Result<Option<Self>, String> {
        let values: Vec<&str> = values.iter().map(|value| value.trim()).filter(|value| !value.is_empty()).collect();
        match values.as_slice() {
            [] => Ok(None),
            ["*"] => Ok(Some(Self::Any)),
            several => Ok(Some(Self::OneOf(several.iter().map(|value| Listed::of(value)).collect::<Result<_, _>>()?))),
        }
    }

    /// Whether it is about this version, in the words of a module that is no TPM.
    pub fn fits(&self, version: Option<&str>) -> bool {
        self.fits_by(version, Listed::fits)
    }

    /// Whether it is about the firmwareVersion of a TPM, 16 hexadecimal digits. What begins with the numbers of a row is
    /// what the row is about: vendors number builds in the last 32 bits.
    pub fn fits_tpm(&self, version: Option<&str>) -> bool {
        self.fits_by(version, Listed::fits_tpm)
    }

    fn fits_by(&self, version: Option<&str>, fits: fn(&Listed, &str) -> bool) -> bool {
        match (self, version) {
            (Self::Any, _) => true,
            (Self::OneOf(_), None) => false,
            (Self::OneOf(listed), Some(version)) => listed.iter().any(|listed| fits(listed, version)),
        }
    }
}

impl Listed {
    fn of(value: &str) -> Result<Self, String> {
        let Some(beginning) = value.strip_suffix(".*") else {
            let is_exact = !value.contains('*');
            return is_exact.then(|| Self::Exactly(value.to_owned())).ok_or_else(|| format!("{value:?} has a * in it"));
        };
        let numbers = Version::dotted(beginning).map(|_| Self::Beneath(beginning.to_owned()));
        numbers.ok_or_else(|| format!("in {value:?} a * follows what are no numbers"))
    }

    fn fits(&self, version: &str) -> bool {
        match self {
            Self::Exactly(listed) => listed == version,
            Self::Beneath(beginning) => {
                let rest = version.strip_prefix(beginning.as_str()).and_then(|rest| rest.strip_prefix('.'));
                rest.is_some_and(|rest| Version::dotted(rest).is_some())
            }
        }
    }

    fn fits_tpm(&self, version: &str) -> bool {
        let (Self::Exactly(listed) | Self::Beneath(listed)) = self;
        let listed = Version::tpm(listed).or_else(|| Version::dotted(listed));
        listed.zip(Version::tpm(version)).is_some_and(|(listed, found)| found.begins_with(&listed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[&str]) -> VersionMatch {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        VersionMatch::of(&values).unwrap().unwrap()
    }

    #[test]
    fn a_version_is_matched_to_the_letter() {
        let row = row(&["8.0", "7.2.1"]);
        assert!(row.fits(Some("7.2.1")) && row.fits(Some("8.0")));
        for text in [
            "7.2.1-nonfips",
            "7.2.1debug",
            "7.2.1(engineering sample)",
            "7.2.1.99",
            "07.2.1",
            "v7.2.1",
            "7.2.1 ",
            "7.2.10",
            "7.2",
            "0007000200010000",
            "V0007000200010000",
        ] {
            assert!(!row.fits(Some(text)), "{text}");
        }
        assert!(!row.fits(None));
    }

    #[test]
    fn an_asterisk_stands_for_numbers() {
        let beneath = row(&["7.2.*"]);
        assert!(beneath.fits(Some("7.2.1")) && beneath.fits(Some("7.2.1.99")) && beneath.fits(Some("7.2.0")));
        for text in ["7.2", "7.2.", "7.20.1", "7.2.1-nonfips", "7.2.1debug", "7.2.01", "07.2.1", "7.2.*", "17.2.1"] {
            assert!(!beneath.fits(Some(text)), "{text}");
        }
        let any = row(&["*"]);
        assert!(any.fits(None) && any.fits(Some("7.2.1-nonfips")) && any.fits_tpm(None));
        for value in ["7.2*", "*.1", "7.*.1", "v7.*", "7.2-rc.*", ".*", "07.*", "**"] {
            assert!(VersionMatch::of(&[value.to_owned()]).is_err(), "{value}");
        }
        assert!(VersionMatch::of(&["*".to_owned(), "7.2".to_owned()]).is_err());
    }

    #[test]
    fn the_firmware_of_a_tpm_is_hexadecimal() {
        for listed in ["7.85", "7.85.*", "7.85.4555", "7.85.4555.0", "0007005511CB0000"] {
            assert!(row(&[listed]).fits_tpm(Some("0007005511cb0000")), "{listed}");
        }
        for listed in ["7.8", "7.85.1", "7.85-rc1", "07.85", "v7.85", "0007005511cb0001"] {
            assert!(!row(&[listed]).fits_tpm(Some("0007005511cb0000")), "{listed}");
        }
        for found in ["7.85", "7.85.4555.0", "0007005511cb0000-debug"] {
            assert!(!row(&["7.85"]).fits_tpm(Some(found)), "{found}");
        }
    }
}
