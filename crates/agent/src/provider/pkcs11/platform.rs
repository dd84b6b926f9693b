//! What a token says of itself (C_GetTokenInfo), and of its validation where it is of PKCS #11 v3.2.

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle, ValidationAuthorityType};
use cryptoki::session::ValidationFlagsType;
use vouchsafe_evidence::emit::PlatformClaims;
use vouchsafe_evidence::oid::{self, Oid};

use super::objects::Attributes;
use super::token::Live;
use crate::provider::{ClaimSelection, Fault};

/// Validation objects that are looked at.
const VALIDATIONS: usize = 16;

/// A claim of the platform element.
const fn platform(number: u32) -> Oid {
    oid::within(oid::EVIDENCE_ARC, &[1, 1, number])
}

/// What is known of the token, each part if it says it.
#[derive(Default)]
pub(super) struct PlatformFacts {
    texts: [String; 5],
    validation: Option<Validation>,
}

/// A validation by the CMVP, as the token reports it (PKCS #11 v3.2, validation objects).
struct Validation {
    version: Option<String>,
    level: Option<u64>,
    module: Option<String>,
    /// Whether the session says that it is in force now.
    in_force: bool,
}

impl PlatformFacts {
    const VENDOR: usize = 0;
    const MODEL: usize = 1;
    const HARDWARE: usize = 2;
    const SERIAL: usize = 3;
    const FIRMWARE: usize = 4;

    pub(super) fn read(live: &Live<'_>) -> Result<Self, Fault> {
        let info = live.info()?;
        let texts = [
            info.manufacturer_id().trim().to_owned(),
            info.model().trim().to_owned(),
            info.hardware_version().to_string(),
            info.serial_number().trim().to_owned(),
            info.firmware_version().to_string(),
        ];
        Ok(Self { texts, validation: Validation::read(live)? })
    }

    fn text(&self, index: usize, asked: &ClaimSelection, number: u32) -> Option<&str> {
        let text = self.texts.get(index).map(String::as_str).filter(|text| !text.is_empty());
        text.filter(|_| asked.asks_for(platform(number), true))
    }

    /// The claims that were asked for, and how many they are.
    pub(super) fn say(&self, mut claims: PlatformClaims, asked: &ClaimSelection) -> (PlatformClaims, usize) {
        let mut said: usize = 0;
        let mut count = |claims| {
            said = said.saturating_add(1);
            claims
        };
        if let Some(text) = self.text(Self::VENDOR, asked, 0) {
            claims = count(claims.vendor(text));
        }
        if let Some(text) = self.text(Self::MODEL, asked, 2) {
            claims = count(claims.hw_model(text.as_bytes()));
        }
        if let Some(text) = self.text(Self::HARDWARE, asked, 3) {
            claims = count(claims.hw_version(text));
        }
        if let Some(text) = self.text(Self::SERIAL, asked, 4) {
            claims = count(claims.hw_serial(text));
        }
        if let Some(text) = self.text(Self::FIRMWARE, asked, 6) {
            claims = count(claims.sw_version(text));
        }
        let Some(validation) = &self.validation else { return (claims, said) };
        if asked.asks_for(platform(10), true) {
            claims = count(claims.fips_boot(validation.in_force));
        }
        if let Some(version) = validation.version.as_deref().filter(|_| asked.asks_for(platform(11), true)) {
            claims = count(claims.fips_version(version));
        }
        if let Some(level) = validation.level.filter(|_| asked.asks_for(platform(12), true)) {
            claims = count(claims.fips_level(level));
        }
        if let Some(module) = validation.module.as_deref().filter(|_| asked.asks_for(platform(13), true)) {
            claims = count(claims.fips_module(module));
        }
        (claims, said)
    }
}

impl Validation {
    /// The CMVP validation that the token reports, if it is of a version of PKCS #11 that can.
    fn read(live: &Live<'_>) -> Result<Option<Self>, Fault> {
        let version = live.pkcs11.get_library_info()?.cryptoki_version();
        if (version.major(), version.minor()) < (3, 2) {
            return Ok(None);
        }
        let template = [Attribute::Class(ObjectClass::VALIDATION)];
        let found: Vec<ObjectHandle> =
            live.session.iter_objects(&template)?.take(VALIDATIONS).collect::<Result<_, _>>()?;
        // Of several, the one that is in force; a library that does not say which is has none in force.
        let flags = live.session.get_validation_flags(ValidationFlagsType::VALIDATION_OK).unwrap_or(0);
        let mut reported: Option<Self> = None;
        for object in found {
            if let Some(validation) = Self::of(live, object, flags)?
                && !reported.as_ref().is_some_and(|known| known.in_force)
            {
                reported = Some(validation);
            }
        }
        Ok(reported)
    }

    fn of(live: &Live<'_>, object: ObjectHandle, flags: u64) -> Result<Option<Self>, Fault> {
        const TYPES: [AttributeType; 5] = [
            AttributeType::ValidationAuthorityType,
            AttributeType::ValidationVersion,
            AttributeType::ValidationLevel,
            AttributeType::ValidationModuleId,
            AttributeType::ValidationFlag,
        ];
        let mut validation = Self { version: None, level: None, module: None, in_force: false };
        let mut is_cmvp = false;
        for attribute in Attributes::read(live, object, &TYPES)?.iter() {
            match attribute {
                Attribute::ValidationAuthorityType(authority) => {
                    is_cmvp = *authority == ValidationAuthorityType::NIST_CMVP;
                }
                Attribute::ValidationVersion(version) => {
                    validation.version =
                        matches!(version.major(), 2 | 3).then(|| format!("FIPS 140-{}", version.major()));
                }
                Attribute::ValidationLevel(level) => {
                    validation.level = Some(**level).filter(|level| (1..=4).contains(level));
                }
                Attribute::ValidationModuleId(module) => {
                    let text = String::from_utf8(module.clone()).ok();
                    validation.module = text.filter(|text| !text.is_empty() && !text.contains(char::is_control));
                }
                Attribute::ValidationFlag(flag) => validation.in_force = **flag != 0 && flags & **flag == **flag,
                _ => {}
            }
        }
        Ok(is_cmvp.then_some(validation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fips_is_claimed_only_where_the_token_reports_it() {
        let texts = ["Example", "", "1.2", "7", "3.4"].map(str::to_owned);
        let mut facts = PlatformFacts { texts, validation: None };
        let default = ClaimSelection::Default;
        assert_eq!(facts.say(PlatformClaims::default(), &default).1, 4);
        let version = Some("FIPS 140-3".to_owned());
        facts.validation = Some(Validation { version, level: Some(3), module: None, in_force: true });
        assert_eq!(facts.say(PlatformClaims::default(), &default).1, 7);
        let serial = ClaimSelection::Only(vec![platform(4), platform(2)]);
        assert_eq!(facts.say(PlatformClaims::default(), &serial).1, 1);
    }
}
