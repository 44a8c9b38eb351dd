//! I/O: the password that all members of a cache took last, kept in a Secret of the cache, so that a
//! rotation survives a restart of the operator.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use secrecy::SecretString;

use super::findings::{Findings, Thing};
use super::objects::{known_forms, timed};
use super::pass::Pass;
use super::{Context, Subject, mark};
use crate::decide::Decision;
use crate::manifests::{self, FIELD_MANAGER, Whose};
use crate::observe::keyring::same;
use crate::xsld::view::Answer;

/// The password that all members took last, and none before that was ever seen; or nothing when
/// that cannot be read, which is a finding.
pub(super) async fn held(
    context: &Context,
    subject: &Subject,
    findings: &mut Findings<'_>,
) -> Option<Option<SecretString>> {
    let secret = read(context, subject, findings).await?;
    // A Secret of that name which is not this cache's says nothing about its members.
    let ours = secret
        .filter(|secret| manifests::whose(&secret.metadata, &subject.identity).may_be_written());
    Some(ours.and_then(password))
}

fn password(secret: Secret) -> Option<SecretString> {
    let bytes = secret.data?.remove(manifests::KEY_ADMIN_PASSWORD)?;
    String::from_utf8(bytes.0).ok().map(SecretString::from)
}

async fn read(
    context: &Context,
    subject: &Subject,
    findings: &mut Findings<'_>,
) -> Option<Option<Secret>> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &subject.identity.namespace);
    let name = manifests::held_credentials_name(&subject.identity.name);
    let read = timed("read a Secret", context.times.request, api.get_opt(&name)).await;
    findings.read(&Thing::new("Secret", &name), read)
}

/// Keeps the present password once every member takes it. Until then the former one stays. A
/// refusal is a finding. At rest the kept one is put right where it is not as it was; one that is to
/// be renewed does not wait for that: a cache may wait for something for weeks, and the password may
/// be changed once more meanwhile.
pub(super) async fn keep(pass: &Pass<'_>, waits: &Decision, findings: &mut Findings<'_>) {
    let (Some(access), context) = (&pass.access, pass.context) else { return };
    let passwords = &access.passwords;
    let is_due = *waits == Decision::Rest || passwords.former.is_some();
    if !is_due || !all_take(pass, &passwords.current) {
        return;
    }
    let Some(live) = read(context, pass.subject, findings).await else { return };
    let metadata = live.as_ref().map(|secret| secret.metadata.clone());
    let whose = metadata.as_ref().map(|live| manifests::whose(live, &pass.subject.identity));
    // Somebody else's stays as it is, which is told of all of the cache's names together.
    if whose.as_ref().is_some_and(|whose| !whose.may_be_written()) {
        return;
    }
    // One that a former cache of this name left is taken over, also when it says the same.
    let held = live.and_then(password).filter(|_| whose == Some(Whose::Ours));
    let thing = Thing::new("Secret", manifests::held_credentials_name(&pass.subject.identity.name));
    if held.is_some_and(|held| same(&held, &passwords.current)) {
        findings.is_well(&thing);
        return;
    }
    // Its digest would tell something of a password: one wish is as good as another here.
    if !findings.may_write(&thing, "") {
        return;
    }
    let cache = Thing::new("XsldCache", &pass.subject.identity.name);
    let taken = mark::taken(context, pass.object).await;
    if findings.read(&cache, taken) != Some(None) {
        return;
    }
    let secret = manifests::held_credentials(&pass.subject.identity, &passwords.current);
    let namespace = &pass.subject.identity.namespace;
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let mut document = secret.expose_document();
    manifests::guard(&mut document, metadata.as_ref());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&document);
    let write = api.patch(secret.name(), &params, &patch);
    let written = timed("keep the password", context.times.request, write).await;
    findings.wrote(&thing, "", &known_forms(&passwords.current), written);
}

/// Whether the group is there, every committed member has a pod that answered, and with this
/// password.
fn all_take(pass: &Pass<'_>, password: &SecretString) -> bool {
    let (state, seen) = (&pass.state, &pass.seen);
    let Some(access) = &pass.access else { return false };
    let replicas = state.committed.replicas.unwrap_or(0);
    state.bootstrapped
        && replicas > 0
        && (0..replicas).all(|ordinal| {
            seen.pods.get(&ordinal).is_some_and(|pod| {
                let answered = seen.reports.get(&ordinal).is_some_and(|report| {
                    report.incarnation == pod.incarnation
                        && matches!(report.group, Answer::Known(_))
                });
                answered && access.keyring.takes(ordinal, &pod.incarnation, password)
            })
        })
}
