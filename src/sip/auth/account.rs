//! Who we are at a carrier or target, and who others are here.

use std::fmt;

use serde::Deserialize;
use smol_str::SmolStr;

use super::digest::Hash;

/// A password. `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Password(SmolStr);

impl Password {
    pub fn new(text: &str) -> Self {
        Self(SmolStr::new(text))
    }

    pub(super) fn reveal(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"…\"")
    }
}

/// `credentials` of a trunk or target, as written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountConfig {
    pub username: SmolStr,
    pub password: Password,
    /// The only realm that is told anything; absent for any. Without it whoever answers our
    /// request may challenge for a proof of the password.
    #[serde(default)]
    pub realm: Option<SmolStr>,
}

/// `digest` of a trunk: who may call, as written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestConfig {
    pub realm: SmolStr,
    pub users: Vec<UserConfig>,
    /// What is offered, the preferred first (RFC 8760 §2.4). Default SHA-256, then MD5.
    #[serde(default = "default_algorithms")]
    pub algorithms: Vec<Hash>,
}

fn default_algorithms() -> Vec<Hash> {
    vec![Hash::Sha256, Hash::Md5]
}

/// One that may call.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    pub username: SmolStr,
    pub password: Password,
}

/// What we answer challenges with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Where it belongs, such as `target/tgt_summit`: nonces are remembered by it.
    pub name: SmolStr,
    pub username: SmolStr,
    pub password: Password,
    pub realm: Option<SmolStr>,
}

impl Account {
    /// The account of `owner`, such as `target/tgt_summit`.
    pub fn new(owner: SmolStr, config: &AccountConfig) -> Self {
        Self {
            name: owner,
            username: config.username.clone(),
            password: config.password.clone(),
            realm: config.realm.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        let config: AccountConfig = serde_json::from_value(
            serde_json::json!({ "username": "harbor", "password": "hunter2" }),
        )
        .unwrap();

        let printed = format!("{:?}{:?}", config, Account::new("target/a".into(), &config));

        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
