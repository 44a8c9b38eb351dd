//! What the images of this world run: a simulated member, or the operator's
//! own binary as a child process.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use tokio_util::sync::CancellationToken;

use super::container::log_path;
use super::mounts::Mounts;
use super::pods::PodContext;
use crate::control_plane::{Guarded, Launch};
use crate::member::{self, Exit, MemberConfig};

/// Where the cache's image keeps its state.
const MEMBER_VOLUME: &str = "/vol";
const TOKEN_SECONDS: i64 = 30 * 24 * 3600;

/// All that a process needs to start. `kill` is its SIGTERM.
pub(super) struct Start {
    pub(super) context: Arc<PodContext>,
    pub(super) container: String,
    pub(super) id: String,
    pub(super) mounts: Mounts,
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) kill: CancellationToken,
    pub(super) grace: Duration,
}

impl Start {
    /// A simulated member. The error is why the real image could not start.
    pub(super) fn member(self) -> Result<impl Future<Output = Exit> + Send + use<>, String> {
        let context = &self.context;
        let entrypoint = entrypoint(&self.command, &self.mounts)?;
        let volume = self.mounts.host_path(MEMBER_VOLUME).unwrap_or_else(|| {
            // Without a claim the state is the container's own and goes with the pod.
            context.dir.join("root").join(&self.container).join("vol")
        });
        fs::create_dir_all(&volume).map_err(|error| format!("{}: {error}", volume.display()))?;
        let config = MemberConfig {
            namespace: context.facts.namespace.clone(),
            cache: context.cache(),
            pod: context.facts.name.clone(),
            pod_uid: context.facts.uid.clone(),
            container_id: self.id,
            address: context.address.get(),
            volume,
            env: self.env,
            entrypoint,
            time_scale: context.world.scale,
            names: context.world.names(),
            faults: context.world.faults.clone(),
            calls: context.world.calls.clone(),
        };
        Ok(member::run(config, self.kill))
    }

    /// A process that runs until it is asked to end, and serves nothing.
    pub(super) fn silent(self) -> impl Future<Output = Exit> + Send + use<> {
        let kill = self.kill;
        async move {
            kill.cancelled().await;
            Exit { code: 143, reason: "SIGTERM".to_owned() }
        }
    }

    /// The operator's binary, started already.
    pub(super) async fn operator(
        self,
    ) -> Result<impl Future<Output = Exit> + Send + use<>, String> {
        let context = &self.context;
        let program = context.world.operator.clone();
        let program = program.ok_or("this world was started without the operator's binary")?;
        let mut words = self.command.iter();
        if let Some(first) = words.next()
            && Path::new(first).file_name() != Some("xsld-operator".as_ref())
        {
            return Err(format!("exec: \"{first}\": the image has only xsld-operator"));
        }
        let address = context.address.get().to_string();
        let here = |word: &String| {
            // Each pod has its own loopback address; "all addresses" would be this machine's.
            self.mounts.rewrite(&with_own_address(word, &address))
        };
        let mut env: Vec<(String, String)> =
            self.env.iter().map(|(name, value)| (name.clone(), here(value))).collect();
        let kubeconfig = self.write_kubeconfig().await?;
        env.push(("KUBECONFIG".to_owned(), kubeconfig));
        let launch = Launch {
            name: format!("{}/{}", context.facts.name, self.container),
            program,
            args: words.chain(&self.args).map(here).collect(),
            env,
            clean_env: true,
            log: log_path(context, &self.container),
            pid_file: Some(context.world.pid_file(&context.facts.uid, &self.container)),
        };
        let mut process = Guarded::spawn(launch).await.map_err(|error| error.to_string())?;
        let (kill, grace) = (self.kill, self.grace);
        Ok(async move {
            let ended = tokio::select! {
                ended = process.wait() => ended,
                () = kill.cancelled() => process.terminate(grace).await,
            };
            match ended {
                Ok(status) => {
                    use std::os::unix::process::ExitStatusExt;
                    let signal = status.signal().map_or(1, |signal| 128 + signal);
                    Exit { code: status.code().unwrap_or(signal), reason: process.log_tail(5) }
                }
                Err(error) => Exit { code: 255, reason: error.to_string() },
            }
        })
    }

    /// Writes a kubeconfig with a token of the pod's service account, bound to
    /// the pod as a real kubelet binds it.
    async fn write_kubeconfig(&self) -> Result<String, String> {
        let context = &self.context;
        let facts = &context.facts;
        let accounts: Api<ServiceAccount> =
            Api::namespaced(context.world.client.clone(), &facts.namespace);
        let spec = TokenRequestSpec {
            expiration_seconds: Some(TOKEN_SECONDS),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(facts.name.clone()),
                uid: Some(facts.uid.clone()),
            }),
            ..TokenRequestSpec::default()
        };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let account = &facts.service_account;
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await;
        let answer = answer.map_err(|error| format!("no token for {account}: {error}"))?;
        let token = answer.status.map(|status| status.token).unwrap_or_default();
        let text = context.world.server.kubeconfig(account, &token, &facts.namespace);
        let path = context.dir.join(format!("{}.kubeconfig", self.container));
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path.display().to_string())
    }
}

/// The script that replaces the image's own entry point, if the command names
/// one in a mounted volume.
fn entrypoint(command: &[String], mounts: &Mounts) -> Result<Option<String>, String> {
    let Some(first) = command.first() else { return Ok(None) };
    let Some(path) = mounts.host_path(first) else {
        // The image's own script, named in full, is the same as none.
        return if Path::new(first).file_name() == Some("entrypoint.sh".as_ref()) {
            Ok(None)
        } else {
            Err(format!("exec: \"{first}\": executable file not found in this world's image"))
        };
    };
    let text = fs::read_to_string(&path)
        .map_err(|_| format!("exec: \"{first}\": stat {first}: no such file or directory"))?;
    let mode = fs::metadata(&path).map(|meta| meta.permissions().mode()).unwrap_or_default();
    if mode & 0o111 == 0 {
        return Err(format!("exec: \"{first}\": permission denied"));
    }
    Ok(Some(text))
}

/// An argument in which "every address" is that of the pod.
fn with_own_address(word: &str, address: &str) -> String {
    let own = format!("{address}:");
    word.replace("0.0.0.0:", &own).replace("[::]:", &own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_that_of_the_pod() {
        for word in ["0.0.0.0:8080", "[::]:8080", "127.0.0.9:8080"] {
            assert_eq!(with_own_address(word, "127.0.0.9"), "127.0.0.9:8080");
        }
        assert_eq!(with_own_address("--listen", "127.0.0.9"), "--listen");
    }
}
