//! Users and policies (3001 to 3010), and the fields that sign a request (protocol.md 12.1).
//!
//! Owns the field tables only.

use crate::header;
use crate::text::Text;

header! {
    /// The signature that may ride along on any request. A request without an access key is anonymous.
    pub struct SignatureHeader<'a> {
        access_key: Option<Text<'a>> => "AccessKey" optional,
        signature: Option<Text<'a>> => "Signature" optional,
        security_token: Option<Text<'a>> => "SecurityToken" optional,
    }

    /// AUTH_CREATE_USER (3001) to AUTH_GET_USER (3004).
    pub struct UserHeader<'a> {
        username: Option<Text<'a>> => "username" optional,
    }

    /// AUTH_LIST_USER (3005).
    pub struct ListUserHeader<'a> {
        filter: Option<Text<'a>> => "filter" optional,
    }

    /// AUTH_CREATE_ACL (3006), AUTH_UPDATE_ACL (3007) and AUTH_GET_ACL (3009).
    pub struct SubjectHeader<'a> {
        subject: Option<Text<'a>> => "subject" optional,
    }

    /// AUTH_DELETE_ACL (3008).
    pub struct DeleteAclHeader<'a> {
        subject: Option<Text<'a>> => "subject" optional,
        policy_type: Option<Text<'a>> => "policyType" optional,
        resource: Option<Text<'a>> => "resource" optional,
    }

    /// AUTH_LIST_ACL (3010).
    pub struct ListAclHeader<'a> {
        subject_filter: Option<Text<'a>> => "subjectFilter" optional,
        resource_filter: Option<Text<'a>> => "resourceFilter" optional,
    }
}
