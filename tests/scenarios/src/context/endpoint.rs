//! The journal as the operator serves it, and the people who ask for it.

use std::path::PathBuf;
use std::process::Output;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::process::Command;

use super::operator::strip_colours;
use super::{Context, Kind};
use crate::Result;

/// Where the journal is served, and by which certificate.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// `https://` and the address.
    pub url: String,
    /// SHA-256 of its certificate.
    pub fingerprint: String,
}

/// Somebody with an account in the cluster.
#[derive(Clone, Debug)]
pub struct Person {
    /// The name that the API server gives for their token.
    pub user: String,
    /// Their kubeconfig.
    pub kubeconfig: PathBuf,
}

/// A rule of a Role: API group, resource, verb.
pub type Rule = (&'static str, &'static str, &'static str);

/// What a person needs to read the journal, found by its anchor.
pub const READER: [Rule; 2] =
    [("xsld.ibm.com", "xsldcaches/journal", "get"), ("", "configmaps", "get")];
/// What a person needs to be told what a spec would lead to.
pub const PLANNER: Rule = ("xsld.ibm.com", "xsldcaches/plan", "create");
/// What a person needs to decide.
pub const DECIDER: Rule = ("xsld.ibm.com", "xsldcaches/decision", "create");

impl Context {
    /// Where the journal is served, as the operator's log tells of its last start.
    ///
    /// # Errors
    /// When it tells of none.
    pub fn endpoint(&self) -> Result<Endpoint> {
        let text = std::fs::read_to_string(self.log())?;
        let line = text.lines().rev().find(|line| line.contains("serving the journal"));
        let plain = strip_colours(line.context("the log tells of no endpoint")?);
        let field = |name: &str| {
            let at = plain.find(name)? + name.len();
            plain[at..].split_whitespace().next().map(|word| word.trim_matches('"').to_owned())
        };
        let url = field("url=").context("the log tells no URL")?;
        Ok(Endpoint { url, fingerprint: field("fingerprint=").context("no fingerprint")? })
    }

    /// Makes an account with some rights in this namespace.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn person(&self, name: &str, rules: &[Rule]) -> Result<Person> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), &self.namespace);
        let account = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        accounts.create(&PostParams::default(), &account).await?;
        let rules: Vec<Value> = rules
            .iter()
            .map(|(group, resource, verb)| {
                json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]})
            })
            .collect();
        self.apply(Kind::Role, json!({"metadata": {"name": name}, "rules": rules})).await?;
        let binding = json!({
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}],
        });
        self.apply(Kind::RoleBinding, binding).await?;
        let text = self.stage.world.kubeconfig_for(&self.namespace, name).await?;
        let kubeconfig = self.dir.join(format!("{name}.kubeconfig"));
        std::fs::write(&kubeconfig, text)?;
        let user = format!("system:serviceaccount:{}:{name}", self.namespace);
        Ok(Person { user, kubeconfig })
    }

    /// A journal command on the endpoint that the operator's log tells of, as this person.
    ///
    /// # Errors
    /// When it cannot be run, or the journal is not served.
    pub async fn journal_over_https(&self, as_: &Person, arguments: &[&str]) -> Result<Output> {
        let Endpoint { url, fingerprint } = self.endpoint()?;
        let mut command = Command::new(&self.stage.binary);
        command.arg("journal").args(arguments);
        command.args(["--endpoint", &url, "--fingerprint", &fingerprint]);
        command.env("KUBECONFIG", &as_.kubeconfig).env("NO_COLOR", "1");
        command.output().await.context("cannot run the operator's journal command")
    }

    /// The program as kubectl starts it as its plugin, for this person.
    ///
    /// # Errors
    /// When the name cannot be given to it.
    pub fn plugin(&self, as_: &Person) -> Result<Command> {
        // Beside the scenarios' own folders, of which every byte is searched for secrets.
        let path = self.stage.runs.join("kubectl-xsld");
        match std::os::unix::fs::symlink(&self.stage.binary, &path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(error.into());
            }
            _ => {}
        }
        let mut command = Command::new(path);
        command.args(["--namespace", &self.namespace]);
        command.env("KUBECONFIG", &as_.kubeconfig).env("NO_COLOR", "1").kill_on_drop(true);
        command.env_remove("XSLD_OPERATOR_JOURNAL_DIR");
        Ok(command)
    }
}
