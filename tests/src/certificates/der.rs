//! DER by hand, and the object identifiers of certificates.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

/// Universal tags.
pub mod tag {
    #![allow(missing_docs)]
    pub const BOOLEAN: u8 = 0x01;
    pub const INTEGER: u8 = 0x02;
    pub const BITS: u8 = 0x03;
    pub const OCTETS: u8 = 0x04;
    pub const OID: u8 = 0x06;
    pub const UTF8: u8 = 0x0c;
    pub const PRINTABLE: u8 = 0x13;
    pub const UTC_TIME: u8 = 0x17;
    pub const GENERALIZED_TIME: u8 = 0x18;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;
}

/// Object identifiers by the names that RFC 5280 has for them.
pub mod oid {
    #![allow(missing_docs)]
    pub const SUBJECT_KEY_IDENTIFIER: &str = "2.5.29.14";
    pub const KEY_USAGE: &str = "2.5.29.15";
    pub const SUBJECT_ALT_NAME: &str = "2.5.29.17";
    pub const BASIC_CONSTRAINTS: &str = "2.5.29.19";
    pub const NAME_CONSTRAINTS: &str = "2.5.29.30";
    pub const CRL_DISTRIBUTION_POINTS: &str = "2.5.29.31";
    pub const CERTIFICATE_POLICIES: &str = "2.5.29.32";
    pub const AUTHORITY_KEY_IDENTIFIER: &str = "2.5.29.35";
    pub const POLICY_CONSTRAINTS: &str = "2.5.29.36";
    pub const EXT_KEY_USAGE: &str = "2.5.29.37";
    pub const COMMON_NAME: &str = "2.5.4.3";
    pub const ISSUER: &str = "1.3.6.1.4.1.57264.1.8";
    pub const ISSUER_RAW: &str = "1.3.6.1.4.1.57264.1.1";
    pub const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
    pub const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
    pub const ANY_USAGE: &str = "2.5.29.37.0";
    pub const EC_KEY: &str = "1.2.840.10045.2.1";
    pub const P256: &str = "1.2.840.10045.3.1.7";
    pub const P384: &str = "1.3.132.0.34";
    pub const K256: &str = "1.3.132.0.10";
    pub const ECDSA_SHA1: &str = "1.2.840.10045.4.1";
    pub const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";
    pub const ECDSA_SHA384: &str = "1.2.840.10045.4.3.3";
    pub const RSA_SHA256: &str = "1.2.840.113549.1.1.11";
    pub const ED25519: &str = "1.3.101.112";
}

/// One value: tag, length in its shortest form, content.
#[must_use]
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        Ok(byte) => out.extend([0x81, byte]),
        Err(_) => {
            out.push(0x82);
            out.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    out.extend(content);
    out
}

/// A SEQUENCE.
#[must_use]
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(tag::SEQUENCE, &parts.concat())
}

/// An OBJECT IDENTIFIER from dotted decimal.
#[must_use]
pub fn object(dotted: &str) -> Vec<u8> {
    let texts: Vec<&str> = dotted.split('.').collect();
    let arcs: Vec<u64> = texts.iter().map(|n| n.parse().unwrap()).collect();
    let mut content = Vec::new();
    for (at, arc) in arcs.iter().enumerate().skip(1) {
        let mut value = if at == 1 { arcs[0] * 40 + arc } else { *arc };
        let mut bytes = vec![(value & 0x7f) as u8];
        while value > 0x7f {
            value >>= 7;
            bytes.push((value & 0x7f) as u8 | 0x80);
        }
        // `08` for `8`: an arc with a zero in front, which DER does not have.
        content.extend(
            texts[at]
                .strip_prefix('0')
                .filter(|t| !t.is_empty())
                .map(|_| 0x80),
        );
        content.extend(bytes.iter().rev());
    }
    tlv(tag::OID, &content)
}

/// A SEQUENCE of object identifiers.
#[must_use]
pub fn objects(list: &[&str]) -> Vec<u8> {
    tlv(
        tag::SEQUENCE,
        &list.iter().flat_map(|o| object(o)).collect::<Vec<_>>(),
    )
}

/// An AlgorithmIdentifier without parameters.
#[must_use]
pub fn algorithm(id: &str) -> Vec<u8> {
    sequence(&[&object(id)])
}

/// A BIT STRING of whole bytes.
#[must_use]
pub fn bits(bytes: &[u8]) -> Vec<u8> {
    tlv(tag::BITS, &[&[0], bytes].concat())
}

/// A name of one common name, as a string of this type.
#[must_use]
pub fn name_of(tag: u8, text: &[u8]) -> Vec<u8> {
    let attribute = sequence(&[&object(oid::COMMON_NAME), &tlv(tag, text)]);
    sequence(&[&tlv(tag::SET, &attribute)])
}

/// A name of one common name.
#[must_use]
pub fn name(text: &str) -> Vec<u8> {
    name_of(tag::UTF8, text.as_bytes())
}

/// Unix seconds as `YYMMDDHHMMSSZ` or, with the century, as a GeneralizedTime has it.
#[must_use]
pub fn clock(seconds: u64, century: bool) -> String {
    // Days to a date in the Gregorian calendar, with years that begin in March.
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (date, month) = (day - (153 * month + 2) / 5 + 1, (month + 2) % 12 + 1);
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let year = if century {
        format!("{year:04}")
    } else {
        format!("{:02}", year % 100)
    };
    format!("{year}{month:02}{date:02}{hour:02}{minute:02}{second:02}Z")
}

/// A UTCTime.
#[must_use]
pub fn utc(seconds: u64) -> Vec<u8> {
    tlv(tag::UTC_TIME, clock(seconds, false).as_bytes())
}

/// A GeneralizedTime.
#[must_use]
pub fn generalized(seconds: u64) -> Vec<u8> {
    tlv(tag::GENERALIZED_TIME, clock(seconds, true).as_bytes())
}
