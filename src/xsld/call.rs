//! What is asked of a member, as data: pure, so that the digest of a request can
//! be in the journal before the request is sent.

mod grid;

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;
use uuid::Uuid;

pub use self::grid::GridBody;
use super::profile::ApiProfile;
use super::text::Redactor;
use super::transport::Method;
use super::view::description_of;

/// Longest name in a path, in bytes.
const MAX_NAME: usize = 253;

/// Why a request cannot be made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CallError {
    /// A name cannot stand in a path.
    #[error("{name:?} cannot be the name of a {what}: {problem}")]
    Name {
        /// What is named.
        what: &'static str,
        /// The name, bounded.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A parameter of a task is missing.
    #[error("the {parameter} of the {command} is empty")]
    Empty {
        /// The command.
        command: String,
        /// The parameter.
        parameter: String,
    },
}

/// A task that a member is asked to run.
#[derive(Clone, Debug)]
pub enum TaskCommand {
    /// Joins the member that is asked to a group.
    Join {
        /// Idempotency key of the attempt.
        key: Uuid,
        /// Secret key of the group; cannot be printed.
        secret_key: SecretString,
        /// Name of the joining member.
        member: String,
        /// Address or host name of a member already in the group.
        group_host: String,
        /// Whether it is to run a catalog server.
        catalog: bool,
    },
    /// Takes a member, or the entry that one left behind, out of the group.
    Disjoin {
        /// Idempotency key of the attempt.
        key: Uuid,
        /// Name of the member that leaves.
        member: String,
    },
    /// Restarts the servers of a member.
    RestartServers {
        /// Idempotency key of the attempt.
        key: Uuid,
        /// Name of the member.
        member: String,
        /// Whether its grid servers restart too.
        grid_servers: bool,
    },
    /// Sets up a replica of the configuration database.
    ConfigureReplication {
        /// Idempotency key of the attempt.
        key: Uuid,
        /// Name of the member that is to hold the replica.
        replica: String,
    },
    /// Makes the replica the primary.
    Promote {
        /// Idempotency key of the attempt.
        key: Uuid,
        /// Name of the member that holds the replica.
        member: String,
    },
}

impl TaskCommand {
    /// Idempotency key of the attempt; it travels in the task's description.
    pub fn key(&self) -> Uuid {
        match self {
            TaskCommand::Join { key, .. }
            | TaskCommand::Disjoin { key, .. }
            | TaskCommand::RestartServers { key, .. }
            | TaskCommand::ConfigureReplication { key, .. }
            | TaskCommand::Promote { key, .. } => *key,
        }
    }
}

/// BLAKE3 of a request without its secrets: method, path and body. Two requests
/// with one digest ask for the same, except perhaps with another secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RequestDigest(blake3::Hash);

impl fmt::Display for RequestDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for RequestDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RequestDigest({self})")
    }
}

impl From<RequestDigest> for String {
    fn from(digest: RequestDigest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for RequestDigest {
    type Error = blake3::HexError;

    fn try_from(text: String) -> Result<RequestDigest, blake3::HexError> {
        Ok(RequestDigest(blake3::Hash::from_hex(text)?))
    }
}

/// One request, ready to be sent to whichever member takes it.
#[derive(Clone)]
pub struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Option<Value>,
    pub(super) key: Option<Uuid>,
    /// What the body holds that an answer must not bring into a log.
    pub(super) redactor: Redactor,
    /// Whether the answer must name a task to be understood.
    pub(super) needs_task: bool,
    digest: RequestDigest,
}

impl Call {
    fn new(method: Method, path: String, body: Option<Value>) -> Call {
        let digest = request_digest(method, &path, body.as_ref());
        let redactor = Redactor::new();
        Call { method, path, body, key: None, redactor, needs_task: false, digest }
    }

    fn with_key(mut self, key: Uuid) -> Call {
        self.key = Some(key);
        self
    }

    fn answered_by_a_task(mut self) -> Call {
        self.needs_task = true;
        self
    }

    /// Digest of the request, for the intent in the journal.
    pub fn digest(&self) -> RequestDigest {
        self.digest
    }

    /// Method of the request.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Path of the request, percent-encoded.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Starts a task (`POST /task`).
    ///
    /// # Errors
    /// When a name in the command is empty.
    pub fn task(profile: &ApiProfile, command: &TaskCommand) -> Result<Call, CallError> {
        let (name, mut parameters, secret) = parameters(profile, command);
        for (parameter, value) in &parameters {
            if value.as_str().is_some_and(str::is_empty) {
                return Err(CallError::Empty {
                    command: name.into(),
                    parameter: parameter.clone(),
                });
            }
        }
        let path = format!("{}{}", profile.base, profile.paths.tasks);
        let description = description_of(command.key());
        let document = |parameters: &Map<String, Value>| -> Value {
            json!({
                "command": name,
                "description": description,
                "parameters": parameters,
            })
        };
        let mut redactor = Redactor::new();
        // The digest is taken before the secret is put in.
        let digest = request_digest(Method::Post, &path, Some(&document(&parameters)));
        if let Some((parameter, secret)) = secret {
            if secret.expose_secret().is_empty() {
                return Err(CallError::Empty { command: name.into(), parameter: parameter.into() });
            }
            parameters.insert(parameter.to_owned(), secret.expose_secret().into());
            redactor = redactor.with(secret);
        }
        let body = document(&parameters);
        let call = Call::new(Method::Post, path, Some(body)).with_key(command.key());
        Ok(Call { digest, redactor, ..call }.answered_by_a_task())
    }

    /// Cancels a task by force (`PUT /task/cancel/{id}/force`).
    pub fn cancel_task(profile: &ApiProfile, id: u64, key: Uuid) -> Call {
        let path = profile.paths.cancel_task.replace("{id}", &id.to_string());
        Call::new(Method::Put, format!("{}{path}", profile.base), None).with_key(key)
    }

    /// Creates a grid (`POST /grid/{name}`).
    ///
    /// # Errors
    /// When the name cannot stand in a path.
    pub fn create_grid(
        profile: &ApiProfile,
        name: &str,
        body: &GridBody,
        key: Uuid,
    ) -> Result<Call, CallError> {
        let path = grid_path(profile, name)?;
        let call = Call::new(Method::Post, path, Some(body.to_json())).with_key(key);
        Ok(call.answered_by_a_task())
    }

    /// Updates a grid (`PUT /grid/{name}`). Whether the answer names a task is not
    /// known, so it need not.
    ///
    /// # Errors
    /// When the name cannot stand in a path.
    pub fn update_grid(
        profile: &ApiProfile,
        name: &str,
        body: &GridBody,
        key: Uuid,
    ) -> Result<Call, CallError> {
        let path = grid_path(profile, name)?;
        Ok(Call::new(Method::Put, path, Some(body.to_json())).with_key(key))
    }

    /// Deletes a grid (`DELETE /grid/{name}`).
    ///
    /// # Errors
    /// When the name cannot stand in a path.
    pub fn delete_grid(profile: &ApiProfile, name: &str, key: Uuid) -> Result<Call, CallError> {
        let path = grid_path(profile, name)?;
        Ok(Call::new(Method::Delete, path, None).with_key(key).answered_by_a_task())
    }

    /// Uploads a template (`PUT /gridTemplate/{name}`).
    ///
    /// # Errors
    /// When the name cannot stand in a path.
    pub fn put_grid_template(
        profile: &ApiProfile,
        name: &str,
        object_grid_xml: &str,
        deployment_policy_xml: &str,
        key: Uuid,
    ) -> Result<Call, CallError> {
        let fields = &profile.fields.grid_template;
        let mut body = Map::new();
        body.insert(fields.object_grid_xml.clone(), object_grid_xml.into());
        body.insert(fields.deployment_policy_xml.clone(), deployment_policy_xml.into());
        let path = template_path(profile, name)?;
        Ok(Call::new(Method::Put, path, Some(Value::Object(body))).with_key(key))
    }

    /// Deletes a template (`DELETE /gridTemplate/{name}`).
    ///
    /// # Errors
    /// When the name cannot stand in a path.
    pub fn delete_grid_template(
        profile: &ApiProfile,
        name: &str,
        key: Uuid,
    ) -> Result<Call, CallError> {
        Ok(Call::new(Method::Delete, template_path(profile, name)?, None).with_key(key))
    }

    /// A read of the path `path`, from the root.
    pub(super) fn read(path: String) -> Call {
        Call::new(Method::Get, path, None)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Call")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("key", &self.key)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// The command's name, its parameters without secrets (all values are JSON
/// strings), and the secret with the name of its parameter.
fn parameters<'a>(
    profile: &'a ApiProfile,
    command: &'a TaskCommand,
) -> (&'a str, Map<String, Value>, Option<(&'a str, &'a SecretString)>) {
    let names = &profile.commands;
    let mut parameters = Map::new();
    let mut put = |name: &str, value: &str| {
        parameters.insert(name.to_owned(), value.into());
    };
    match command {
        TaskCommand::Join { key: _, secret_key, member, group_host, catalog } => {
            let names = &names.join;
            put(&names.member_name, member);
            put(&names.group_host, group_host);
            put(&names.catalog, word(*catalog));
            (&names.command, parameters, Some((&names.secret_key, secret_key)))
        }
        TaskCommand::Disjoin { key: _, member } => {
            put(&names.disjoin.member_name, member);
            (&names.disjoin.command, parameters, None)
        }
        TaskCommand::RestartServers { key: _, member, grid_servers } => {
            put(&names.restart_servers.member_name, member);
            put(&names.restart_servers.grid_servers, word(*grid_servers));
            (&names.restart_servers.command, parameters, None)
        }
        TaskCommand::ConfigureReplication { key: _, replica } => {
            put(&names.configure_replication.replica_name, replica);
            (&names.configure_replication.command, parameters, None)
        }
        TaskCommand::Promote { key: _, member } => {
            put(&names.promote.member_name, member);
            (&names.promote.command, parameters, None)
        }
    }
}

fn word(truth: bool) -> &'static str {
    if truth { "true" } else { "false" }
}

pub(super) fn grid_path(profile: &ApiProfile, name: &str) -> Result<String, CallError> {
    named_path(profile, &profile.paths.grid, "grid", name)
}

pub(super) fn template_path(profile: &ApiProfile, name: &str) -> Result<String, CallError> {
    named_path(profile, &profile.paths.grid_template, "grid template", name)
}

fn named_path(
    profile: &ApiProfile,
    path: &str,
    what: &'static str,
    name: &str,
) -> Result<String, CallError> {
    let problem = match name {
        "" => Some("it is empty"),
        "." | ".." => Some("in a path it means another place"),
        _ if name.len() > MAX_NAME => Some("it has more than 253 bytes"),
        _ if name.chars().any(char::is_control) => Some("it holds a control character"),
        _ => None,
    };
    match problem {
        Some(problem) => Err(CallError::Name { what, name: super::text::bounded(name), problem }),
        None => Ok(format!("{}{}", profile.base, path.replace("{name}", &percent_encoded(name)))),
    }
}

/// `name` with every byte but the unreserved ones of RFC 3986 as `%XX`.
fn percent_encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Digest of a request. The body must already be without its secrets; the order of
/// its members does not matter.
pub fn request_digest(method: Method, path: &str, body: Option<&Value>) -> RequestDigest {
    let mut hasher = blake3::Hasher::new_derive_key("xsld-operator request digest v1");
    hasher.update(method.as_str().as_bytes());
    hasher.update(b"\0");
    hasher.update(path.as_bytes());
    hasher.update(b"\0");
    if let Some(body) = body {
        hasher.update(canonical(body).to_string().as_bytes());
    }
    RequestDigest(hasher.finalize())
}

/// The value with the members of every object in the order of their names,
/// whichever order the JSON library keeps.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_str());
            sorted.into_iter().map(|(name, member)| (name.clone(), canonical(member))).collect()
        }
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests;
