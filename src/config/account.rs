//! What the process has to know of `[account]`; the rest of the section is routing's.

use serde::{Deserialize, Serialize};

use crate::id::AccountId;
use crate::money::Currency;

/// `[account]`: whom the server works for. Fields that nobody knows are refused by routing, which reads
/// them all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountSettings {
    /// In the name of every key in Redis; servers with the same share limits. Default `default`.
    pub id: AccountId,
    /// Of all amounts. Default `USD`.
    pub currency: Currency,
}
