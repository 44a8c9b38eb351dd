//! The anchor: the journal's head, kept outside its volume and moved by compare-and-swap.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use uuid::Uuid;

/// Name of the ConfigMap in the operator's namespace.
pub const ANCHOR_NAME: &str = "xsld-operator-journal";

/// Where the operator serves its journal.
const ENDPOINT: &str = "xsld.ibm.com/journal-endpoint";
/// SHA-256 of the certificate there, hex.
const FINGERPRINT: &str = "xsld.ibm.com/journal-fingerprint";
/// The pod that it runs in.
const POD: &str = "xsld.ibm.com/operator-pod";

/// What the anchor says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The journal.
    pub journal_id: Uuid,
    /// The newest term that has begun.
    pub epoch: u64,
    /// A record that was durable when the anchor was written.
    pub seq: u64,
    /// Its hash, hex.
    pub hash: String,
}

impl Anchor {
    /// What a ConfigMap anchors.
    ///
    /// # Errors
    /// When it is not an anchor.
    pub fn on(object: &ConfigMap) -> Result<Self, Error> {
        parse(object)
    }
}

/// Where the journal is served, as annotations on the anchor tell: whoever may read the anchor learns
/// from the API server which certificate is the operator's, and need not trust the first one shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// `https://` and the address that it listens on.
    pub url: String,
    /// SHA-256 of its certificate, hex.
    pub fingerprint: String,
    /// The pod that it runs in, where it runs in one.
    pub pod: Option<String>,
}

impl Served {
    /// What an anchor's annotations tell; none when its operator serves no journal.
    pub fn on(anchor: &ConfigMap) -> Option<Self> {
        let annotations = anchor.metadata.annotations.as_ref()?;
        let of = |name: &str| annotations.get(name).cloned();
        Some(Self { url: of(ENDPOINT)?, fingerprint: of(FINGERPRINT)?, pod: of(POD) })
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        let pod = self.pod.iter().map(|pod| (POD, pod));
        [(ENDPOINT, &self.url), (FINGERPRINT, &self.fingerprint)]
            .into_iter()
            .chain(pod)
            .map(|(name, value)| (name.to_owned(), value.clone()))
            .collect()
    }
}

/// Why the anchor cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It holds something else than an anchor.
    #[error("the ConfigMap {ANCHOR_NAME} is not an anchor: {0}")]
    Malformed(String),
    /// Somebody else wrote it: another operator has begun a newer term.
    #[error("the anchor was written by somebody else: another operator has begun a newer term")]
    Conflict,
    /// The API server refused.
    #[error("failed to {what} the anchor")]
    Api {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time; whether the write took effect is not known.
    #[error("the API server did not answer in time when the anchor was {what}")]
    Timeout {
        /// What was tried.
        what: &'static str,
    },
}

impl Error {
    /// Whether the same may succeed a moment later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Malformed(_) | Self::Conflict => false,
            Self::Api { source, .. } => super::is_passing(source),
            Self::Timeout { .. } => true,
        }
    }
}

/// Reads and moves the anchor. It remembers the resourceVersion of its last write, so that a write
/// by anybody else in between is a [`Error::Conflict`].
pub struct AnchorKeeper {
    api: Api<ConfigMap>,
    timeout: Duration,
    live: Option<ConfigMap>,
    last: Option<Anchor>,
    /// What is told beside it.
    served: Option<Served>,
}

impl AnchorKeeper {
    /// A keeper that has not read the anchor yet. `served` is told beside each anchor that it writes.
    pub fn new(api: Api<ConfigMap>, timeout: Duration, served: Option<Served>) -> Self {
        Self { api, timeout, live: None, last: None, served }
    }

    /// The anchor as it was last read or written.
    pub fn last(&self) -> Option<&Anchor> {
        self.last.as_ref()
    }

    /// Reads the anchor; none when there is no ConfigMap.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub async fn read(&mut self) -> Result<Option<Anchor>, Error> {
        let read = tokio::time::timeout(self.timeout, self.api.get_opt(ANCHOR_NAME));
        self.live = read
            .await
            .map_err(|_| Error::Timeout { what: "read" })?
            .map_err(|source| Error::Api { what: "read", source: Box::new(source) })?;
        self.last = self.live.as_ref().map(parse).transpose()?;
        Ok(self.last.clone())
    }

    /// Tells beside the anchor where the journal is served, and leaves what it anchors as it is.
    ///
    /// # Errors
    /// [`Error::Conflict`] when somebody else wrote it.
    pub async fn tell_served(&mut self) -> Result<(), Error> {
        let (Some(served), Some(live)) = (&self.served, &mut self.live) else { return Ok(()) };
        if Served::on(live).as_ref() == Some(served) {
            return Ok(());
        }
        live.metadata.annotations.get_or_insert_default().extend(served.annotations());
        let params = PostParams::default();
        let write = self.api.replace(ANCHOR_NAME, &params, live);
        let written = tokio::time::timeout(self.timeout, write).await;
        let written = written.map_err(|_| Error::Timeout { what: "written" })?;
        let failed = |source| Error::Api { what: "write", source: Box::new(source) };
        match written.map_err(failed) {
            Ok(written) => *live = written,
            Err(error) if is_conflict(&error) => return Err(Error::Conflict),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Moves the anchor. After an unclear answer the anchor is read again: a write that did take
    /// effect is recognised as our own.
    ///
    /// # Errors
    /// [`Error::Conflict`] when somebody else wrote it.
    pub async fn write(&mut self, next: Anchor) -> Result<(), Error> {
        if self.last.as_ref() == Some(&next) {
            return Ok(());
        }
        let object = object(&next, self.live.as_ref(), self.served.as_ref());
        let params = PostParams::default();
        let write = async {
            match &self.live {
                None => self.api.create(&params, &object).await,
                Some(_) => self.api.replace(ANCHOR_NAME, &params, &object).await,
            }
        };
        let written = tokio::time::timeout(self.timeout, write).await;
        let error = match written {
            Ok(Ok(live)) => {
                self.live = Some(live);
                self.last = Some(next);
                return Ok(());
            }
            Ok(Err(source)) => Error::Api { what: "write", source: Box::new(source) },
            Err(_) => Error::Timeout { what: "written" },
        };
        match self.read().await {
            Ok(Some(found)) if found == next => Ok(()),
            Ok(_) if is_conflict(&error) => Err(Error::Conflict),
            Ok(_) | Err(_) => Err(error),
        }
    }
}

fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Api { source, .. }
        if matches!(&**source, kube::Error::Api(status) if status.code == 409))
}

fn object(anchor: &Anchor, live: Option<&ConfigMap>, served: Option<&Served>) -> ConfigMap {
    let data = BTreeMap::from([
        ("journalId".to_owned(), anchor.journal_id.to_string()),
        ("epoch".to_owned(), anchor.epoch.to_string()),
        ("sequence".to_owned(), anchor.seq.to_string()),
        ("hash".to_owned(), anchor.hash.clone()),
    ]);
    let labels = BTreeMap::from([
        ("app.kubernetes.io/name".to_owned(), "xsld-operator".to_owned()),
        ("app.kubernetes.io/component".to_owned(), "journal-anchor".to_owned()),
    ]);
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(ANCHOR_NAME.to_owned()),
            labels: Some(labels),
            annotations: served.map(Served::annotations),
            resource_version: live.and_then(|live| live.metadata.resource_version.clone()),
            ..ObjectMeta::default()
        },
        data: Some(data),
        ..ConfigMap::default()
    }
}

fn parse(object: &ConfigMap) -> Result<Anchor, Error> {
    let field = |name: &str| {
        object
            .data
            .as_ref()
            .and_then(|data| data.get(name))
            .ok_or_else(|| Error::Malformed(format!("`{name}` is missing")))
    };
    let number = |name: &str| -> Result<u64, Error> {
        field(name)?.parse().map_err(|_| Error::Malformed(format!("`{name}` is not a number")))
    };
    let journal_id = field("journalId")?
        .parse()
        .map_err(|_| Error::Malformed("`journalId` is not a UUID".to_owned()))?;
    Ok(Anchor {
        journal_id,
        epoch: number("epoch")?,
        seq: number("sequence")?,
        hash: field("hash")?.clone(),
    })
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_reads_back_as_it_was_written() {
        let anchor =
            Anchor { journal_id: Uuid::from_u128(5), epoch: 3, seq: 9, hash: hex(&[1, 255]) };
        assert_eq!(parse(&object(&anchor, None, None)).unwrap(), anchor);
        assert_eq!(anchor.hash, "01ff");
    }

    #[test]
    fn where_the_journal_is_served_is_told_beside_the_anchor_and_only_while_it_is() {
        let anchor = Anchor { journal_id: Uuid::nil(), epoch: 1, seq: 1, hash: String::new() };
        let mut served = Served {
            url: "https://10.0.0.7:8443".into(),
            fingerprint: "ab".into(),
            pod: Some("xsld-operator-0".into()),
        };
        for pod in [served.pod.clone(), None] {
            served.pod = pod;
            let live = object(&anchor, None, Some(&served));
            assert_eq!(Served::on(&live), Some(served.clone()));
            assert_eq!(Served::on(&object(&anchor, Some(&live), None)), None);
        }
    }

    #[test]
    fn anything_else_is_no_anchor_and_says_why() {
        let mut object = object(
            &Anchor { journal_id: Uuid::nil(), epoch: 1, seq: 1, hash: String::new() },
            None,
            None,
        );
        object.data.as_mut().unwrap().insert("epoch".into(), "x".into());
        assert!(parse(&object).unwrap_err().to_string().contains("epoch"));
        object.data = None;
        assert!(parse(&object).is_err());
    }
}
