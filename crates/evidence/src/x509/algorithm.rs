//! AlgorithmIdentifier (RFC 5280, 4.1.1.2).

use crate::Malformed;
use crate::oid::Oid;
use crate::x509::der::{Element, Reader, Tag};

/// An algorithm and its parameters, as original bytes.
///
/// ```asn1
/// AlgorithmIdentifier ::= SEQUENCE { algorithm OBJECT IDENTIFIER, parameters ANY OPTIONAL }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlgorithmIdentifier<'a> {
    der: &'a [u8],
    oid: Oid,
    parameters: Option<&'a [u8]>,
}

impl<'a> AlgorithmIdentifier<'a> {
    /// Reads the DER of one AlgorithmIdentifier. Parameters are not interpreted.
    ///
    /// # Errors
    /// [`Malformed`] unless `input` is exactly that, in strict DER.
    pub fn parse(input: &'a [u8]) -> Result<Self, Malformed> {
        let element = Element::parse(input, "AlgorithmIdentifier")?;
        element.check_strict()?;
        let mut reader = Reader::new(input, "AlgorithmIdentifier");
        let identifier = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(identifier)
    }

    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Self::from_element(&reader.expect(Tag::SEQUENCE, "AlgorithmIdentifier")?)
    }

    /// An identifier inside something larger, whose DER its parser checks.
    pub(crate) fn from_element(element: &Element<'a>) -> Result<Self, Malformed> {
        let mut fields = element.reader();
        let oid = fields.oid("algorithm")?;
        let parameters = if fields.is_empty() { None } else { Some(fields.element()?.as_der()) };
        fields.finish()?;
        Ok(Self { der: element.as_der(), oid, parameters })
    }

    /// An identifier that was read before.
    pub(crate) const fn from_parts(der: &'a [u8], oid: Oid, parameters: Option<&'a [u8]>) -> Self {
        Self { der, oid, parameters }
    }

    /// The original DER.
    #[must_use]
    pub const fn as_der(&self) -> &'a [u8] {
        self.der
    }

    /// The algorithm.
    #[must_use]
    pub const fn oid(&self) -> Oid {
        self.oid
    }

    /// The DER of the parameters, if any are there (NULL is `05 00`).
    #[must_use]
    pub const fn parameters(&self) -> Option<&'a [u8]> {
        self.parameters
    }
}
