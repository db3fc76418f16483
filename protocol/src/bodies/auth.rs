//! Users and policies: the bodies of 3001 to 3010.

use serde::{Deserialize, Serialize};

/// A user. Absent members are left as they are by an update.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UserInfo {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Its secret key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// `Super` or `Normal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_type: Option<String>,
    /// `enable` or `disable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_status: Option<String>,
}

/// What a subject may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AclInfo {
    /// `User:name`.
    pub subject: String,
    /// One per type.
    pub policies: Vec<PolicyInfo>,
}

/// Rules of one type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyInfo {
    /// `Custom` or `Default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_type: Option<String>,
    /// The rules.
    pub entries: Vec<PolicyEntryInfo>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyEntryInfo {
    /// `Topic:x`, `Group:prefix*`, `*`.
    pub resource: String,
    /// `Pub`, `Sub`, `All` and so on.
    pub actions: Vec<String>,
    /// Addresses or CIDR ranges; empty: any.
    pub source_ips: Vec<String>,
    /// `Allow` or `Deny`.
    pub decision: String,
}
