//! The anchor: the journal's head, kept outside its volume and moved by compare-and-swap.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
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
    /// Whether it cannot be made because its namespace is going: nobody can make one there any more,
    /// and no other operator can begin a term with it.
    pub fn says_namespace_ends(&self) -> bool {
        matches!(self, Self::Api { source, .. } if super::says_namespace_ends(source))
    }

    /// Whether the same may succeed a moment later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Malformed(_) | Self::Conflict => false,
            Self::Api { source, .. } => super::is_passing(source),
            Self::Timeout { .. } => true,
        }
    }
}

/// How often a write is tried in a row while others write beside it what is none of the anchor.
const TRIES_MAX: usize = 8;

/// Reads and moves the anchor, by compare-and-swap on what it anchors.
///
/// Only the four data of the anchor tell of another operator. Labels and annotations are anybody's:
/// they are kept, and a write that they came before is made again on the version that has them. A
/// version is taken over only with data that this keeper wrote, or had read before it wrote anything:
/// with any other data the anchor is another operator's, and stays so for every later write.
pub struct AnchorKeeper {
    api: Api<ConfigMap>,
    timeout: Duration,
    live: Option<ConfigMap>,
    last: Option<Anchor>,
    /// What was written since then without a clear answer: it may have taken effect, or may yet.
    unclear: Vec<Unclear>,
    /// Another operator moved it.
    lost: bool,
    /// What is told beside it.
    served: Option<Served>,
}

/// A write without a clear answer.
#[derive(Debug)]
struct Unclear {
    anchor: Anchor,
    /// The version that it replaces; none where it creates. On any other it is refused.
    on: Option<String>,
}

impl AnchorKeeper {
    /// A keeper that has not read the anchor yet. `served` is told beside each anchor that it writes.
    pub fn new(api: Api<ConfigMap>, timeout: Duration, served: Option<Served>) -> Self {
        Self { api, timeout, live: None, last: None, unclear: vec![], lost: false, served }
    }

    /// The anchor as it was last read or written.
    pub fn last(&self) -> Option<&Anchor> {
        self.last.as_ref()
    }

    /// Reads the anchor before anything is written; none when there is no ConfigMap.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub async fn read(&mut self) -> Result<Option<Anchor>, Error> {
        self.live = self.fetch().await?;
        self.last = self.live.as_ref().map(parse).transpose()?;
        Ok(self.last.clone())
    }

    async fn fetch(&self) -> Result<Option<ConfigMap>, Error> {
        let read = tokio::time::timeout(self.timeout, self.api.get_opt(ANCHOR_NAME));
        read.await
            .map_err(|_| Error::Timeout { what: "read" })?
            .map_err(|source| Error::Api { what: "read", source: Box::new(source) })
    }

    /// Reads the anchor again after a write that was refused or not answered clearly. What is found
    /// must be what this keeper wrote, or what was there before; none at all is made again.
    async fn look_again(&mut self) -> Result<(), Error> {
        let live = self.fetch().await?;
        if let Some(live) = &live {
            let found = parse(live).ok();
            let known = |anchor: &Anchor| {
                self.last.as_ref() == Some(anchor)
                    || self.unclear.iter().any(|unclear| unclear.anchor == *anchor)
            };
            match found.filter(known) {
                Some(found) => self.last = Some(found),
                None => return Err(self.lose()),
            }
            // On another version than theirs they are refused.
            let version = &live.metadata.resource_version;
            self.unclear.retain(|unclear| unclear.on == *version);
        } else {
            self.unclear.retain(|unclear| unclear.on.is_none());
        }
        self.live = live;
        Ok(())
    }

    fn lose(&mut self) -> Error {
        self.lost = true;
        Error::Conflict
    }

    /// Tells beside the anchor where the journal is served, and leaves what it anchors as it is.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another operator moved it.
    pub async fn tell_served(&mut self) -> Result<(), Error> {
        let Some(served) = self.served.clone() else { return Ok(()) };
        for _ in 0..TRIES_MAX {
            let Some(live) = &self.live else { return Ok(()) };
            if Served::on(live).as_ref() == Some(&served) {
                return Ok(());
            }
            let mut told = live.clone();
            told.metadata.annotations.get_or_insert_default().extend(served.annotations());
            match self.put(&told).await {
                Ok(live) => {
                    self.live = Some(live);
                    return Ok(());
                }
                Err(error) if is_conflict(&error) => self.look_again().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves the anchor. After an unclear answer it is read again: a write that did take effect is
    /// recognised as our own.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another operator moved it, now or before.
    pub async fn write(&mut self, next: Anchor) -> Result<(), Error> {
        if self.lost {
            return Err(Error::Conflict);
        }
        if !self.unclear.is_empty() {
            self.look_again().await?;
        }
        let mut tries = 0;
        while self.last.as_ref() != Some(&next) || self.live.is_none() {
            let object = object(&next, self.live.as_ref(), self.served.as_ref());
            let error = match self.put(&object).await {
                Ok(live) => {
                    (self.live, self.last) = (Some(live), Some(next));
                    self.unclear.clear();
                    return Ok(());
                }
                Err(error) => error,
            };
            // A refusal too may be that of a repetition which something on the way made.
            let on = object.metadata.resource_version;
            self.unclear.push(Unclear { anchor: next.clone(), on });
            tries += 1;
            match self.look_again().await {
                Ok(()) if self.last.as_ref() == Some(&next) => break,
                Ok(()) if is_behind(&error) && tries < TRIES_MAX => {}
                Err(Error::Conflict) => return Err(Error::Conflict),
                Ok(()) | Err(_) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends one write; where the anchor is, and with its version.
    async fn put(&self, object: &ConfigMap) -> Result<ConfigMap, Error> {
        let params = PostParams::default();
        let write = async {
            match object.metadata.resource_version {
                None => self.api.create(&params, object).await,
                Some(_) => self.api.replace(ANCHOR_NAME, &params, object).await,
            }
        };
        tokio::time::timeout(self.timeout, write)
            .await
            .map_err(|_| Error::Timeout { what: "written" })?
            .map_err(|source| Error::Api { what: "write", source: Box::new(source) })
    }
}

fn is_conflict(error: &Error) -> bool {
    has_code(error, 409)
}

/// Whether the write was refused because the anchor is otherwise, or not there, by now.
fn is_behind(error: &Error) -> bool {
    is_conflict(error) || has_code(error, 404)
}

fn has_code(error: &Error, code: u16) -> bool {
    matches!(error, Error::Api { source, .. }
        if matches!(&**source, kube::Error::Api(status) if status.code == code))
}

/// The anchor as it is to be: what others wrote beside it stays.
fn object(anchor: &Anchor, live: Option<&ConfigMap>, served: Option<&Served>) -> ConfigMap {
    let mut object = live.cloned().unwrap_or_default();
    object.metadata.name = Some(ANCHOR_NAME.to_owned());
    object.metadata.managed_fields = None;
    object.metadata.labels.get_or_insert_default().extend([
        ("app.kubernetes.io/name".to_owned(), "xsld-operator".to_owned()),
        ("app.kubernetes.io/component".to_owned(), "journal-anchor".to_owned()),
    ]);
    let annotations = object.metadata.annotations.get_or_insert_default();
    annotations.retain(|name, _| ![ENDPOINT, FINGERPRINT, POD].contains(&name.as_str()));
    annotations.extend(served.map(Served::annotations).unwrap_or_default());
    object.metadata.annotations.take_if(|annotations| annotations.is_empty());
    object.data.get_or_insert_default().extend([
        ("journalId".to_owned(), anchor.journal_id.to_string()),
        ("epoch".to_owned(), anchor.epoch.to_string()),
        ("sequence".to_owned(), anchor.seq.to_string()),
        ("hash".to_owned(), anchor.hash.clone()),
    ]);
    object
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
mod tests;
