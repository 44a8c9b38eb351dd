//! The Secret with a copy of plain credentials, and where pods find each secret.

use super::{
    Identity, document,
    names::{credentials_name, held_credentials_name},
};
use crate::crd::SecretKeyRef;
use crate::validate::{SecretSource, ValidCache};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Key of the password of the user `xsadmin` in the operator's Secret.
pub const KEY_ADMIN_PASSWORD: &str = "adminPassword";

/// Key of the group's secret key in the operator's Secret.
pub const KEY_SECRET_KEY: &str = "secretKey";

/// A Secret whose data is not printed.
#[derive(Clone)]
pub struct CredentialsSecret(Secret);

impl CredentialsSecret {
    /// Name of the Secret.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.metadata.name.as_deref().unwrap_or_default()
    }

    /// The object as it is applied. It holds the secrets: hand it to the client
    /// and to nothing else.
    #[must_use]
    pub fn expose_document(&self) -> Value {
        document(&self.0)
    }
}

impl fmt::Debug for CredentialsSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.0.data.iter().flat_map(BTreeMap::keys).collect();
        f.debug_struct("CredentialsSecret")
            .field("name", &self.name())
            .field("keys", &keys)
            .finish()
    }
}

/// The Secret with the password that all members took last.
#[must_use]
pub fn held_credentials(identity: &Identity, password: &SecretString) -> CredentialsSecret {
    let bytes = ByteString(password.expose_secret().as_bytes().to_vec());
    CredentialsSecret(Secret {
        metadata: identity.metadata(held_credentials_name(&identity.name)),
        data: Some([(KEY_ADMIN_PASSWORD.to_owned(), bytes)].into()),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    })
}

/// The operator's copy of the credentials that the spec holds in plain text; none
/// when the spec holds none.
#[must_use]
pub fn credentials_secret(cache: &ValidCache, identity: &Identity) -> Option<CredentialsSecret> {
    let credentials = &cache.credentials;
    let data: BTreeMap<String, ByteString> = [
        (KEY_ADMIN_PASSWORD, &credentials.admin_password),
        (KEY_SECRET_KEY, &credentials.secret_key),
    ]
    .into_iter()
    .filter_map(|(key, source)| match source {
        SecretSource::Plain(text) => {
            Some((key.to_owned(), ByteString(text.expose_secret().as_bytes().to_vec())))
        }
        SecretSource::Ref(_) => None,
    })
    .collect();
    if data.is_empty() {
        return None;
    }
    Some(CredentialsSecret(Secret {
        metadata: identity.metadata(credentials_name(&identity.name)),
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }))
}

/// Where the password of the user `xsadmin` is kept: the user's Secret or the operator's.
#[must_use]
pub fn admin_password_ref(cache: &ValidCache, identity: &Identity) -> SecretKeyRef {
    source(&cache.credentials.admin_password, KEY_ADMIN_PASSWORD, identity)
}

/// Where the group's secret key is kept: the user's Secret or the operator's.
#[must_use]
pub fn secret_key_ref(cache: &ValidCache, identity: &Identity) -> SecretKeyRef {
    source(&cache.credentials.secret_key, KEY_SECRET_KEY, identity)
}

fn source(source: &SecretSource, key: &str, identity: &Identity) -> SecretKeyRef {
    match source {
        SecretSource::Ref(reference) => reference.clone(),
        SecretSource::Plain(_) => {
            SecretKeyRef { name: credentials_name(&identity.name), key: key.to_owned() }
        }
    }
}
