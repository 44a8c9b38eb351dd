//! Objects as etcd stores them: to set the API server back to an older state, as the restoring of a
//! backup does. Through the API that is impossible: it raises generations and gives new UIDs.

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::{Context, Kind};
use crate::Result;

/// An object as it was stored at some time.
#[derive(Clone, Debug)]
pub struct Stored {
    key: String,
    /// The bytes in base64; none when there was no such object.
    value: Option<String>,
}

impl Kind {
    /// Where the API server stores objects of this kind.
    fn folder(self) -> &'static str {
        match self {
            Self::Cache => "xsld.ibm.com/xsldcaches",
            Self::Grid => "xsld.ibm.com/datagrids",
            Self::Template => "xsld.ibm.com/gridtemplates",
            Self::StatefulSet => "statefulsets",
            Self::Pod => "pods",
            Self::Claim => "persistentvolumeclaims",
            Self::Service => "services/specs",
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
            Self::Event => "events",
            Self::Lease => "leases",
            Self::Budget => "poddisruptionbudgets",
            Self::Policy => "networkpolicies",
            Self::Role => "roles",
            Self::RoleBinding => "rolebindings",
        }
    }
}

impl Context {
    /// The object as it is stored now.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn backup(&self, kind: Kind, name: &str) -> Result<Stored> {
        let key = format!("/registry/{}/{}/{name}", kind.folder(), self.namespace);
        let answer = self.etcd("range", json!({"key": BASE64.encode(&key)})).await?;
        let value = answer["kvs"][0]["value"].as_str().map(str::to_owned);
        Ok(Stored { key, value })
    }

    /// Sets the object back to what it was.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub async fn restore(&self, stored: &Stored) -> Result {
        let key = BASE64.encode(&stored.key);
        match &stored.value {
            Some(value) => self.etcd("put", json!({"key": key, "value": value})).await.map(drop),
            None => self.etcd("deleterange", json!({"key": key})).await.map(drop),
        }
    }

    async fn etcd(&self, command: &str, body: Value) -> Result<Value> {
        let url = format!("{}/v3/kv/{command}", self.stage.world.etcd_url());
        let request = self.stage.http.post(url).body(body.to_string());
        let answer = request.send().await.context("etcd does not answer")?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "etcd answers {command} with {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}
