//! The predicate of a key-note (docs/formats.md, "key-note").

use super::{
    Body, Fields, KEY_NOTE_TYPE, Statement, StatementError, hash, number, object, one_subject,
    only, optional, payload, shape, short_text, strings,
};
use crate::Hash;
use crate::encoding::hex32;
use serde_json::{Map, Value, json};

/// When, where and by whom a key was generated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generated {
    /// By whom; 1 to 512 bytes.
    pub by: Option<String>,
    /// When, Unix seconds.
    pub time: Option<u64>,
    /// Where; 1 to 512 bytes.
    pub place: Option<String>,
}

/// The predicate of a key-note: what is known about a key, or about another secret under an
/// opaque id. It changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyNote {
    /// The project's id.
    pub project: Hash,
    /// The key's id, or the opaque id.
    pub key: Hash,
    /// Where and how it is kept; 1 to 512 bytes.
    pub custody: Option<String>,
    /// How it came to be.
    pub generated: Option<Generated>,
    /// Who answers for it; 1 to 512 bytes.
    pub owner: Option<String>,
    /// Where it is in use; a set of at most 64 texts of 1 to 512 bytes.
    pub uses: Vec<String>,
}

pub(super) fn parse(predicate: &Value, subjects: &[Value]) -> Result<Statement, StatementError> {
    let fields: &Fields = object(predicate)?;
    let known = ["custody", "generated", "key", "owner", "project", "uses"];
    only(fields, &known, "the key-note predicate")?;
    let key = hash(fields, "key")?;
    let uses = match fields.get("uses") {
        None => Vec::new(),
        Some(_) => uses(fields)?,
    };
    let note = KeyNote {
        project: hash(fields, "project")?,
        custody: optional(fields, "custody", short_text)?,
        generated: optional(fields, "generated", generated)?,
        owner: optional(fields, "owner", short_text)?,
        key,
        uses,
    };
    let subject = one_subject(subjects, &key)?;
    Ok(Statement {
        subject: vec![subject],
        body: Body::KeyNote(note),
    })
}

fn uses(fields: &Fields) -> Result<Vec<String>, StatementError> {
    let list = strings(fields, "uses")?;
    if list.is_empty() || list.len() > 64 {
        return Err(shape("uses must list 1 to 64 places"));
    }
    if list.iter().any(|text| !super::is_short(text)) {
        return Err(shape(
            "uses must hold texts of 1 to 512 bytes without control characters",
        ));
    }
    Ok(list.into_iter().map(str::to_owned).collect())
}

fn generated(fields: &Fields, name: &str) -> Result<Generated, StatementError> {
    let fields = object(fields.get(name).unwrap_or(&Value::Null))?;
    only(fields, &["by", "time", "where"], "generated")?;
    if fields.is_empty() {
        return Err(shape("generated says nothing"));
    }
    Ok(Generated {
        by: optional(fields, "by", short_text)?,
        time: optional(fields, "time", number)?,
        place: optional(fields, "where", short_text)?,
    })
}

impl KeyNote {
    /// The payload to sign: the statement's canonical JSON.
    ///
    /// # Errors
    /// [`StatementError`] where it is not one that a log would accept.
    pub fn to_payload(&self) -> Result<Vec<u8>, StatementError> {
        let key = hex32(&self.key);
        let mut predicate = json!({ "key": key, "project": hex32(&self.project) });
        if let Some(fields) = predicate.as_object_mut() {
            put(fields, "custody", self.custody.clone());
            put(fields, "owner", self.owner.clone());
            if let Some(g) = &self.generated {
                let mut generated = Map::new();
                put(&mut generated, "by", g.by.clone());
                put(&mut generated, "time", g.time);
                put(&mut generated, "where", g.place.clone());
                fields.insert("generated".into(), Value::Object(generated));
            }
            let mut uses = self.uses.clone();
            uses.sort();
            uses.dedup();
            put(fields, "uses", (!uses.is_empty()).then_some(uses));
        }
        let subject = json!([{ "digest": { "sha256": key }, "name": "key" }]);
        payload(KEY_NOTE_TYPE, &predicate, subject)
    }
}

fn put(fields: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        fields.insert(name.to_owned(), value.into());
    }
}
