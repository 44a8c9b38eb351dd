//! Asks one member: reads of the group, its tasks and its grids, and the requests
//! that change them. Each request is sent once; nothing here tries again.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::call::{
    Call, CallError, GridBody, RequestDigest, TaskCommand, grid_path, template_path,
};
use super::profile::ApiProfile;
use super::text::bounded;
use super::transport::{Credentials, Exchange, Fingerprint, Request, Transport, Trust};
use super::view::{Answer, GridView, GroupView, TaskView};
use super::wire::{self, Acceptance, Reply, TemplateView};

/// The member that is asked, and how.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name in the network, `<pod>.<cache>.<namespace>.svc`.
    pub host: String,
    /// Its address from the pod's status; without it the name is resolved.
    pub address: Option<IpAddr>,
    /// Which certificate it may show.
    pub trust: Trust,
    /// Who asks.
    pub credentials: Credentials,
}

/// What became of a request that changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The member took it. Whether it does what was asked is shown by the task, or
    /// by the next observation.
    Accepted {
        /// The task that does it, where the member named one.
        task: Option<u64>,
        /// Digest of what was sent.
        digest: RequestDigest,
    },
    /// The member refused it and did nothing.
    Refused {
        /// HTTP status.
        status: u16,
        /// The member's text, bounded and without secrets.
        error: String,
    },
    /// It is certain that the member has not seen it.
    NotSent {
        /// Why.
        reason: String,
    },
    /// The member may or may not have acted on it: in doubt until observed.
    Unknown {
        /// What happened.
        reason: String,
    },
}

/// Asks one member.
pub struct GroupClient<'a> {
    transport: &'a dyn Transport,
    profile: &'a ApiProfile,
    member: &'a Member,
    deadline: Duration,
    certificate: Mutex<Option<Fingerprint>>,
    refused: Mutex<Option<Fingerprint>>,
}

impl<'a> GroupClient<'a> {
    /// A client of `member`; each of its requests may take as long as `deadline`.
    pub fn new(
        transport: &'a dyn Transport,
        profile: &'a ApiProfile,
        member: &'a Member,
        deadline: Duration,
    ) -> GroupClient<'a> {
        let (certificate, refused) = (Mutex::new(None), Mutex::new(None));
        GroupClient { transport, profile, member, deadline, certificate, refused }
    }

    /// The certificate that the member showed last, also when it was refused; none
    /// before the first handshake. With [`Trust::FirstUse`] it is what to record.
    pub fn certificate(&self) -> Option<Fingerprint> {
        *self.certificate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The certificate that the member showed last, if it was not trusted: nothing was sent then.
    pub fn refused_certificate(&self) -> Option<Fingerprint> {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group as the member sees it.
    pub async fn group(&self) -> Answer<GroupView> {
        let path = format!("{}{}", self.profile.base, self.profile.paths.group);
        self.read(path, |reply| wire::group(self.profile, reply)).await
    }

    /// The member's own list of tasks. It does not survive a restart of the member.
    pub async fn tasks(&self) -> Answer<Vec<TaskView>> {
        let path = format!("{}{}", self.profile.base, self.profile.paths.tasks);
        self.read(path, |reply| wire::tasks(self.profile, reply)).await
    }

    /// The status of one task of this member.
    pub async fn task_status(&self, id: u64) -> Answer<TaskView> {
        let path = self.profile.paths.task_status.replace("{id}", &id.to_string());
        let path = format!("{}{path}", self.profile.base);
        self.read(path, |reply| wire::task_status(self.profile, id, reply)).await
    }

    /// All grids of the group, each at least with its name.
    pub async fn grids(&self) -> Answer<Vec<GridView>> {
        let path = format!("{}{}", self.profile.base, self.profile.paths.grids);
        self.read(path, |reply| wire::grids(self.profile, reply)).await
    }

    /// One grid with its fields; [`Answer::is_absent`] where there is none.
    pub async fn grid(&self, name: &str) -> Answer<GridView> {
        match grid_path(self.profile, name) {
            Ok(path) => self.read(path, |reply| wire::grid(self.profile, name, reply)).await,
            Err(error) => Answer::Unknown { reason: error.to_string() },
        }
    }

    /// One template; [`Answer::is_absent`] where there is none.
    pub async fn grid_template(&self, name: &str) -> Answer<TemplateView> {
        match template_path(self.profile, name) {
            Ok(path) => self.read(path, |reply| wire::grid_template(self.profile, reply)).await,
            Err(error) => Answer::Unknown { reason: error.to_string() },
        }
    }

    /// The API's own description (Swagger), for a comparison with the profile.
    pub async fn api_docs(&self) -> Answer<Value> {
        self.read(self.profile.paths.api_docs.clone(), wire::document).await
    }

    /// Starts a task. It travels with the key in its description.
    pub async fn post_task(&self, command: &TaskCommand) -> Sent {
        self.send_made(Call::task(self.profile, command)).await
    }

    /// Cancels one of this member's tasks by force.
    pub async fn cancel_task(&self, id: u64, key: Uuid) -> Sent {
        self.send(&Call::cancel_task(self.profile, id, key)).await
    }

    /// Creates a grid.
    pub async fn create_grid(&self, name: &str, body: &GridBody, key: Uuid) -> Sent {
        self.send_made(Call::create_grid(self.profile, name, body, key)).await
    }

    /// Updates a grid.
    pub async fn update_grid(&self, name: &str, body: &GridBody, key: Uuid) -> Sent {
        self.send_made(Call::update_grid(self.profile, name, body, key)).await
    }

    /// Deletes a grid.
    pub async fn delete_grid(&self, name: &str, key: Uuid) -> Sent {
        self.send_made(Call::delete_grid(self.profile, name, key)).await
    }

    /// Uploads a template, both documents as they are.
    pub async fn put_grid_template(
        &self,
        name: &str,
        object_grid_xml: &str,
        deployment_policy_xml: &str,
        key: Uuid,
    ) -> Sent {
        let profile = self.profile;
        let call =
            Call::put_grid_template(profile, name, object_grid_xml, deployment_policy_xml, key);
        self.send_made(call).await
    }

    /// Deletes a template.
    pub async fn delete_grid_template(&self, name: &str, key: Uuid) -> Sent {
        self.send_made(Call::delete_grid_template(self.profile, name, key)).await
    }

    /// Sends a call that was made beforehand, once.
    pub async fn send(&self, call: &Call) -> Sent {
        match self.exchange(call).await {
            Exchange::Replied(response) => {
                let reply = Reply::read(&response, &self.redactor(call));
                match wire::acceptance(self.profile, &reply, call.needs_task) {
                    Acceptance::Accepted { task } => Sent::Accepted { task, digest: call.digest() },
                    Acceptance::Refused { status, error } => Sent::Refused { status, error },
                    Acceptance::Unknown { reason } => Sent::Unknown { reason },
                }
            }
            Exchange::NotSent { reason } | Exchange::Untrusted { reason, .. } => {
                Sent::NotSent { reason: bounded(&reason) }
            }
            Exchange::Unknown { reason } => Sent::Unknown { reason: bounded(&reason) },
        }
    }

    async fn send_made(&self, call: Result<Call, CallError>) -> Sent {
        match call {
            Ok(call) => self.send(&call).await,
            Err(error) => Sent::NotSent { reason: error.to_string() },
        }
    }

    async fn read<T>(&self, path: String, meaning: impl FnOnce(&Reply) -> Answer<T>) -> Answer<T> {
        let call = Call::read(path);
        match self.exchange(&call).await {
            Exchange::Replied(response) => meaning(&Reply::read(&response, &self.redactor(&call))),
            Exchange::NotSent { reason }
            | Exchange::Untrusted { reason, .. }
            | Exchange::Unknown { reason } => Answer::Unknown { reason: bounded(&reason) },
        }
    }

    fn redactor(&self, call: &Call) -> super::text::Redactor {
        let Credentials { user, password } = &self.member.credentials;
        call.redactor.clone().with_login(user, password)
    }

    async fn exchange(&self, call: &Call) -> Exchange {
        let Member { host, address, trust, credentials } = self.member;
        let request = Request {
            host: host.clone(),
            address: *address,
            port: self.profile.admin_port,
            method: call.method,
            path: call.path.clone(),
            body: call.body.clone(),
            key: call.key,
            credentials: credentials.clone(),
            trust: trust.clone(),
            deadline: self.deadline,
        };
        let exchange = self.transport.exchange(request).await;
        let shown = match &exchange {
            Exchange::Replied(response) => response.certificate,
            Exchange::Untrusted { presented, .. } => Some(*presented),
            Exchange::NotSent { .. } | Exchange::Unknown { .. } => None,
        };
        if shown.is_some() {
            let is_refused = matches!(exchange, Exchange::Untrusted { .. });
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) =
                shown.filter(|_| is_refused);
            *self.certificate.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        }
        exchange
    }
}

#[cfg(test)]
mod tests;
