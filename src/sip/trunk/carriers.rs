//! The carrier files: those built in, and those that replace or join them.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use smol_str::{SmolStr, format_smolstr};

use super::number::{Caller, Identity, IdentityHeader, NumberRules};
use super::profile::{Profile, Sample};

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        /// Name and text of every file in `carrier-configs/`.
        const BUILT_IN: &[(&str, &str)] = &[$(
            ($name, include_str!(concat!("../../../carrier-configs/", $name, ".toml"))),
        )*];
    };
}

built_in![
    "bandwidth",
    "didww",
    "flowroute",
    "loopback",
    "plivo",
    "sinch",
    "telnyx",
    "twilio-elastic",
    "voipms",
    "vonage",
];

/// Carrier files by name.
#[derive(Clone, Debug)]
pub struct Carriers {
    files: BTreeMap<SmolStr, Carrier>,
}

#[derive(Clone, Debug)]
pub(super) struct Carrier {
    pub(super) profile: Profile,
    /// The same, before it became typed: trunks replace single fields of it.
    pub(super) raw: Value,
}

/// A carrier file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("carrier file `{name}`: {problem}")]
pub struct CarrierFault {
    pub name: SmolStr,
    /// With field and value, or line and column.
    pub problem: String,
}

impl Carriers {
    /// The files that are part of the program.
    pub fn built_in() -> Self {
        let mut carriers = Self { files: BTreeMap::new() };
        for (name, text) in BUILT_IN {
            carriers.insert(name, text).expect("a test reads every built-in carrier file");
        }
        carriers
    }

    /// Adds a file, or replaces the one of that name. `name` is the file's without `.toml`.
    ///
    /// # Errors
    /// The text is no carrier file, holds a control character, calls itself otherwise, or one of
    /// its own samples is not read as it says.
    pub fn insert(&mut self, name: &str, text: &str) -> Result<(), CarrierFault> {
        let fault = |problem| CarrierFault { name: SmolStr::new(name), problem };
        let raw: Value =
            toml::from_str(text).map_err(|e| fault(e.to_string().trim_end().to_owned()))?;
        if let Some(path) = broken_line("", &raw) {
            return Err(fault(format!("{path}: holds a line end or another control character")));
        }
        let profile = typed(&raw).map_err(|e| fault(e.to_string()))?;
        if profile.name != name {
            return Err(fault(format!("calls itself `{}`; use its file's name", profile.name)));
        }
        profile.check_samples().map_err(|e| fault(e.to_string()))?;
        self.files.insert(profile.name.clone(), Carrier { profile, raw });
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.files.get(name).map(|carrier| &carrier.profile)
    }

    /// In alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &Profile> {
        self.files.values().map(|carrier| &carrier.profile)
    }

    pub(super) fn carrier(&self, name: &str) -> Option<&Carrier> {
        self.files.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &SmolStr> {
        self.files.keys()
    }
}

/// The first text that holds a control character: in a header field it would forge another.
fn broken_line(path: &str, value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text.contains(char::is_control).then(|| path.to_owned()),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(position, item)| broken_line(&format!("{path}[{position}]"), item))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            let separator = if path.is_empty() { "" } else { "." };
            if name.contains(char::is_control) {
                return Some(path.to_owned());
            }
            broken_line(&format!("{path}{separator}{name}"), field)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// A field that is not as the schema wants it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub(super) struct FieldFault {
    pub(super) path: String,
    pub(super) problem: String,
}

pub(super) fn typed(raw: &Value) -> Result<Profile, FieldFault> {
    serde_path_to_error::deserialize(raw)
        .map_err(|e| FieldFault { path: e.path().to_string(), problem: e.into_inner().to_string() })
}

/// A sample of a carrier file that is not read as the file says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tests[{position}]: expected {expected}, read {read}")]
pub struct SampleFault {
    pub position: usize,
    expected: Reading,
    read: Reading,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    did: String,
    caller: String,
    withheld: bool,
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let withheld = if self.withheld { ", withheld" } else { "" };
        write!(f, "did {}, caller {}{withheld}", self.did, self.caller)
    }
}

impl Profile {
    /// Reads every sample with the rules of the file.
    ///
    /// # Errors
    /// The first sample that is read otherwise.
    pub fn check_samples(&self) -> Result<(), SampleFault> {
        let rules = NumberRules::new(&self.inbound);
        for (position, sample) in self.tests.iter().enumerate() {
            let (expected, read) = (sample.expected(), sample.read(&rules));
            if expected != read {
                return Err(SampleFault { position, expected, read });
            }
        }
        Ok(())
    }
}

impl Sample {
    fn expected(&self) -> Reading {
        let shown = |number: Option<crate::phone::PhoneNumber>| {
            number.map_or_else(|| String::from("none"), |number| number.to_e164())
        };
        Reading { did: shown(self.did), caller: shown(self.caller), withheld: self.withheld }
    }

    fn read(&self, rules: &NumberRules) -> Reading {
        let did = rules.dialed_number(self.ruri.as_bytes(), self.to.as_bytes()).ok();
        let identity = |header, user: &'_ SmolStr| (header, user.clone());
        let headers: Vec<(IdentityHeader, SmolStr)> = std::iter::once(&self.from)
            .map(|user| identity(IdentityHeader::From, user))
            .chain(self.rpid.iter().map(|user| identity(IdentityHeader::Rpid, user)))
            .chain(self.pai.iter().map(|user| identity(IdentityHeader::Pai, user)))
            .collect();
        let identities: Vec<Identity<'_>> = headers
            .iter()
            .map(|(header, user)| Identity { header: *header, user: user.as_bytes() })
            .collect();
        let privacy = self.privacy.as_ref().map(|privacy| privacy.as_bytes());
        let Caller { number, withheld } = rules.caller_number(&identities, privacy);
        Self { did, caller: number, withheld, ..Self::default() }.expected()
    }
}

/// Such as `bandwidth, didww, …`, for a remedy.
pub(super) fn listed(carriers: &Carriers) -> SmolStr {
    let names: Vec<&str> = carriers.names().map(SmolStr::as_str).collect();
    format_smolstr!("{}", names.join(", "))
}
