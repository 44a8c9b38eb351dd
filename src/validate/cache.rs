//! `XsldCache`: every rule on its own, and the changes that are allowed.

use super::quantity::Amount;
use super::{Findings, Invalid, LONGEST_NAME, labels, secret, unsigned};
use crate::crd::rules::{RESERVED_ENV, RESERVED_LABELS};
use crate::crd::{
    AntiAffinity, Choice, MAX_CACHE_NAME, MAX_MEMBERS, OnFailure, PlainSecret, PodSettings,
    ReplicationMode, ResetHalfJoined, Retention, SecretKeyRef, Storage, Tls, TlsMode, VolumePolicy,
    XsldCache, XsldCacheSpec,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A cache whose every field keeps its rules.
#[derive(Clone, Debug)]
pub struct ValidCache {
    /// Wanted number of members, 1 to [`MAX_MEMBERS`].
    pub size: u32,
    /// Image of every member.
    pub image: String,
    /// Where the password and the secret key come from.
    pub credentials: Credentials,
    /// Capacity of each member in GB, at least 1.
    pub capacity: u32,
    /// How many of the first members run a catalog server, at least 1.
    pub catalogs: u32,
    /// Where the members' entrypoint script comes from.
    pub entrypoint: EntrypointSource,
    /// Name of the cache group.
    pub group: GroupName,
    /// The volume of each member.
    pub storage: ValidStorage,
    /// Settings of the members' pods.
    pub pod: ValidPod,
    /// How members are brought to a new pod template.
    pub rollout: ValidRollout,
    /// Replication of the configuration database.
    pub replication: ValidReplication,
    /// Whether the volume of a half-joined member may be wiped.
    pub reset_half_joined: ResetHalfJoined,
    /// How members' certificates are trusted.
    pub tls: TlsTrust,
    /// Stop at the next step boundary.
    pub paused: bool,
    /// A ConfigMap with another API profile.
    pub api_profile_config_map: Option<String>,
}

/// Where the password and the secret key of a group come from.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The password of the user `xsadmin`.
    pub admin_password: SecretSource,
    /// The secret key of the group.
    pub secret_key: SecretSource,
}

impl Credentials {
    /// Whether either is written into the spec in plain text.
    #[must_use]
    pub fn any_plain(&self) -> bool {
        matches!(self.admin_password, SecretSource::Plain(_))
            || matches!(self.secret_key, SecretSource::Plain(_))
    }
}

/// Where one secret comes from.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// The spec holds it; the operator copies it into a Secret that it owns.
    Plain(SecretString),
    /// The user's Secret holds it.
    Ref(SecretKeyRef),
}

/// Where the members' entrypoint script comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntrypointSource {
    /// The operator's own ConfigMap.
    Supplied,
    /// The named ConfigMap of the user.
    ConfigMap(String),
}

/// The name of a cache group: 1 to 64 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupName(String);

impl GroupName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The volume of each member.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidStorage {
    /// Requested size, as it was written: a quantity above zero.
    pub size: String,
    /// Storage class; the cluster's default without it.
    pub class: Option<String>,
    /// Access modes of the claims, at least one.
    pub access_modes: Vec<String>,
    /// What happens to volumes that no member needs.
    pub retention: ValidRetention,
}

impl ValidStorage {
    /// The size as an amount, to compare with a claim's.
    ///
    /// # Panics
    /// Never: a size that is no quantity does not pass validation.
    #[must_use]
    pub fn amount(&self) -> Amount {
        Amount::parse(&self.size).expect("the size was read as a quantity when it was validated")
    }
}

/// What happens to volumes that no member needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidRetention {
    /// After the member was disjoined.
    pub when_scaled: VolumePolicy,
    /// After the XsldCache was deleted.
    pub when_deleted: VolumePolicy,
}

/// Settings of the members' pods.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidPod {
    /// The settings; every key, value, quantity and name in them has its syntax.
    pub settings: PodSettings,
    /// How strictly members are kept on different nodes.
    pub anti_affinity: AntiAffinity,
}

/// How members are brought to a new pod template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidRollout {
    /// How many members stay as they are.
    pub partition: u32,
    /// How long one member may take to come back.
    pub progress_deadline: Duration,
    /// What happens when one does not.
    pub on_failure: OnFailure,
}

/// Replication of the configuration database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidReplication {
    /// Whether the operator sets it up.
    pub mode: ReplicationMode,
    /// How long the primary must stay lost before its replica is promoted.
    pub primary_grace: Duration,
}

/// How members' certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsTrust {
    /// The certificate of first use.
    Pin,
    /// Certificates signed by those in the Secret.
    Ca(SecretKeyRef),
    /// Any certificate.
    Insecure,
}

/// Checks a cache.
///
/// # Errors
/// Every rule that its name or its spec breaks, in the order of the fields.
pub fn cache(object: &XsldCache) -> Result<ValidCache, Vec<Invalid>> {
    let mut findings = Findings::default();
    let spec = &object.spec;
    name(object.metadata.name.as_deref().unwrap_or_default(), &mut findings);
    findings.require(
        spec.license.as_deref() == Some("accept"),
        "spec.license",
        "must be the word accept",
    );
    let size = findings.number(spec.size, 1, MAX_MEMBERS, "spec.size");
    findings.text(&spec.image, 512, "spec.image");
    findings.require(
        !spec.image.contains(char::is_whitespace),
        "spec.image",
        "must not have white space",
    );
    let credentials = credentials(spec, &mut findings);
    let capacity = findings.number(spec.capacity, 1, 65_536, "spec.capacity");
    let catalogs = findings.number(spec.catalogs, 1, MAX_MEMBERS, "spec.catalogs");
    let entrypoint = spec.entrypoint_config_map.as_ref();
    object_name(entrypoint, "spec.entrypointConfigMap", &mut findings);
    findings.text(&spec.group, 64, "spec.group");
    let storage = storage(&spec.storage, &mut findings);
    let pod = pod(&spec.pod, &mut findings);
    let rollout = rollout(spec, &mut findings);
    let replication = replication(spec, &mut findings);
    let reset_half_joined =
        findings.choice(&spec.repair.reset_half_joined, "spec.repair.resetHalfJoined");
    let tls = tls(&spec.tls, &mut findings);
    let profile = spec.api_profile_config_map.as_ref();
    object_name(profile, "spec.apiProfileConfigMap", &mut findings);
    let (Some(credentials), Some(tls)) = (credentials, tls) else {
        return Err(findings.0);
    };
    findings.into_result(ValidCache {
        size: unsigned(size),
        image: spec.image.clone(),
        credentials,
        capacity: unsigned(capacity),
        catalogs: unsigned(catalogs),
        entrypoint: entrypoint
            .map_or(EntrypointSource::Supplied, |name| EntrypointSource::ConfigMap(name.clone())),
        group: GroupName(spec.group.clone()),
        storage,
        pod,
        rollout,
        replication,
        reset_half_joined,
        tls,
        paused: spec.paused,
        api_profile_config_map: profile.cloned(),
    })
}

/// The changes that a cache's spec does not allow.
///
/// Plain credentials may be replaced by references and by nothing else; the group,
/// the capacity, the storage class and the access modes stay.
#[must_use]
pub fn cache_change(old: &XsldCacheSpec, new: &XsldCacheSpec) -> Vec<Invalid> {
    let mut findings = Findings::default();
    let fixed = "cannot be changed";
    plain_change(old.admin_pwd.as_ref(), new.admin_pwd.as_ref(), "spec.adminPwd", &mut findings);
    plain_change(old.secret_key.as_ref(), new.secret_key.as_ref(), "spec.secretKey", &mut findings);
    findings.require(old.group == new.group, "spec.group", fixed);
    findings.require(old.capacity == new.capacity, "spec.capacity", fixed);
    let (was, is) = (&old.storage, &new.storage);
    findings.require(
        was.storage_class_name == is.storage_class_name,
        "spec.storage.storageClassName",
        fixed,
    );
    findings.require(was.access_modes == is.access_modes, "spec.storage.accessModes", fixed);
    findings.0
}

fn plain_change(
    old: Option<&PlainSecret>,
    new: Option<&PlainSecret>,
    field: &str,
    findings: &mut Findings,
) {
    let rule = "cannot be changed; it can only be replaced by the reference to a Secret";
    findings.require(new.is_none() || new == old, field, rule);
}

/// A Service's name is a DNS label that begins with a letter.
fn name(name: &str, findings: &mut Findings) {
    let field = "metadata.name";
    findings.require(
        name.chars().count() <= MAX_CACHE_NAME,
        field,
        &format!("must have at most {MAX_CACHE_NAME} characters"),
    );
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    findings.require(
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && !name.ends_with('-')
            && name.bytes().all(inner),
        field,
        "must begin with a letter, end with a letter or digit \
         and have only lower-case letters, digits and '-' between",
    );
}

fn object_name(name: Option<&String>, field: &str, findings: &mut Findings) {
    if let Some(name) = name {
        findings.require(labels::is_subdomain(name), field, "must be the name of an object");
    }
}

fn credentials(spec: &XsldCacheSpec, findings: &mut Findings) -> Option<Credentials> {
    let admin_password = source(
        spec.admin_pwd.as_ref(),
        spec.admin_password_secret_ref.as_ref(),
        ["spec.adminPwd", "spec.adminPasswordSecretRef"],
        findings,
    );
    let secret_key = source(
        spec.secret_key.as_ref(),
        spec.secret_key_secret_ref.as_ref(),
        ["spec.secretKey", "spec.secretKeySecretRef"],
        findings,
    );
    Some(Credentials { admin_password: admin_password?, secret_key: secret_key? })
}

fn source(
    plain: Option<&PlainSecret>,
    reference: Option<&SecretKeyRef>,
    [plain_field, reference_field]: [&str; 2],
    findings: &mut Findings,
) -> Option<SecretSource> {
    match (plain, reference) {
        (Some(plain), None) => {
            secret::check(plain.expose(), plain_field, findings);
            Some(SecretSource::Plain(plain.to_secret()))
        }
        (None, Some(reference)) => {
            secret_ref(reference, reference_field, findings);
            Some(SecretSource::Ref(reference.clone()))
        }
        (Some(_), Some(_)) | (None, None) => {
            findings
                .add(plain_field, format!("exactly one of it and {reference_field} must be set"));
            None
        }
    }
}

fn secret_ref(reference: &SecretKeyRef, field: &str, findings: &mut Findings) {
    object_name(Some(&reference.name), &format!("{field}.name"), findings);
    let key = &reference.key;
    findings.require(
        (1..=LONGEST_NAME).contains(&key.len())
            && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
        &format!("{field}.key"),
        "must be a key of a Secret",
    );
}

fn storage(storage: &Storage, findings: &mut Findings) -> ValidStorage {
    findings.require(
        Amount::parse(&storage.size).is_some_and(|size| size > Amount::ZERO),
        "spec.storage.size",
        "must be a quantity above zero, such as 10Gi",
    );
    object_name(storage.storage_class_name.as_ref(), "spec.storage.storageClassName", findings);
    let modes = &storage.access_modes;
    let known = ["ReadWriteOnce", "ReadWriteOncePod", "ReadWriteMany"];
    let distinct: BTreeSet<_> = modes.iter().collect();
    findings.require(
        !modes.is_empty()
            && distinct.len() == modes.len()
            && modes.iter().all(|mode| known.contains(&mode.as_str()))
            && (modes.len() == 1 || modes.iter().all(|mode| mode != "ReadWriteOncePod")),
        "spec.storage.accessModes",
        "must be of ReadWriteOnce, ReadWriteMany, or ReadWriteOncePod alone, each once",
    );
    ValidStorage {
        size: storage.size.clone(),
        class: storage.storage_class_name.clone(),
        access_modes: modes.clone(),
        retention: retention(&storage.retention, findings),
    }
}

fn retention(retention: &Retention, findings: &mut Findings) -> ValidRetention {
    let mut policy = |choice: &Choice<VolumePolicy>, field: &str| match choice {
        Choice::Known(policy) => *policy,
        Choice::Unknown(word) => {
            findings.add(field, format!("{word:?} must be Delete or Retain"));
            VolumePolicy::Retain
        }
    };
    ValidRetention {
        when_scaled: policy(&retention.when_scaled, "spec.storage.retention.whenScaled"),
        when_deleted: policy(&retention.when_deleted, "spec.storage.retention.whenDeleted"),
    }
}

fn pod(settings: &PodSettings, findings: &mut Findings) -> ValidPod {
    if let Some(resources) = &settings.resources {
        quantities(resources.limits.as_ref(), "spec.pod.resources.limits", findings);
        quantities(resources.requests.as_ref(), "spec.pod.resources.requests", findings);
    }
    object_name(settings.service_account_name.as_ref(), "spec.pod.serviceAccountName", findings);
    object_name(settings.priority_class_name.as_ref(), "spec.pod.priorityClassName", findings);
    environment(settings, findings);
    for (field, map) in
        [("spec.pod.labels", &settings.labels), ("spec.pod.nodeSelector", &settings.node_selector)]
    {
        for (key, value) in map {
            findings.require(
                labels::is_key(key) && labels::is_value(value),
                field,
                &format!("{key:?}: {value:?} must be a label's key and value"),
            );
        }
    }
    for key in RESERVED_LABELS.iter().filter(|key| settings.labels.contains_key(**key)) {
        findings.add("spec.pod.labels", format!("must not name {key}, which the operator sets"));
    }
    for key in settings.annotations.keys().filter(|key| !labels::is_key(key)) {
        findings.add("spec.pod.annotations", format!("{key:?} must be an annotation's key"));
    }
    findings.number(
        settings.termination_grace_period_seconds,
        0,
        3600,
        "spec.pod.terminationGracePeriodSeconds",
    );
    let anti_affinity = findings.choice(&settings.anti_affinity, "spec.pod.antiAffinity");
    ValidPod { settings: settings.clone(), anti_affinity }
}

fn quantities(list: Option<&BTreeMap<String, Quantity>>, field: &str, findings: &mut Findings) {
    for (name, quantity) in list.into_iter().flatten() {
        findings.require(
            Amount::parse(&quantity.0).is_some_and(|amount| amount >= Amount::ZERO),
            field,
            &format!("{name} must be a quantity such as 500m or 2Gi"),
        );
    }
}

/// The values are not shown: an environment often holds what is secret.
fn environment(settings: &PodSettings, findings: &mut Findings) {
    let field = "spec.pod.env";
    let mut seen = BTreeSet::new();
    for variable in &settings.env {
        let name = variable.name.as_str();
        findings.require(
            !name.is_empty()
                && name.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'='),
            field,
            &format!("{name:?} must be the name of a variable"),
        );
        findings.require(seen.insert(name), field, &format!("{name:?} must be there once"));
        findings.require(
            !RESERVED_ENV.contains(&name),
            field,
            &format!("must not name {name}, which the operator sets"),
        );
        let value = variable.value.as_deref().unwrap_or_default();
        findings.require(
            value.is_empty() || variable.value_from.is_none(),
            field,
            &format!("{name:?} must have one of value and valueFrom"),
        );
    }
}

fn rollout(spec: &XsldCacheSpec, findings: &mut Findings) -> ValidRollout {
    let rollout = &spec.rollout;
    let partition = findings.number(rollout.partition, 0, MAX_MEMBERS, "spec.rollout.partition");
    let deadline = rollout.progress_deadline_seconds;
    let field = "spec.rollout.progressDeadlineSeconds";
    ValidRollout {
        partition: unsigned(partition),
        progress_deadline: seconds(findings.number(deadline, 1, 86_400, field)),
        on_failure: findings.choice(&rollout.on_failure, "spec.rollout.onFailure"),
    }
}

fn replication(spec: &XsldCacheSpec, findings: &mut Findings) -> ValidReplication {
    let replication = &spec.replication;
    let grace = replication.primary_grace_seconds;
    let field = "spec.replication.primaryGraceSeconds";
    ValidReplication {
        mode: findings.choice(&replication.mode, "spec.replication.mode"),
        primary_grace: seconds(findings.number(grace, 1, 86_400, field)),
    }
}

fn tls(tls: &Tls, findings: &mut Findings) -> Option<TlsTrust> {
    let field = "spec.tls.caSecretRef";
    match (findings.choice(&tls.mode, "spec.tls.mode"), &tls.ca_secret_ref) {
        (TlsMode::Pin, None) => Some(TlsTrust::Pin),
        (TlsMode::Insecure, None) => Some(TlsTrust::Insecure),
        (TlsMode::Ca, Some(reference)) => {
            secret_ref(reference, field, findings);
            Some(TlsTrust::Ca(reference.clone()))
        }
        (TlsMode::Ca, None) => {
            findings.add(field, "must be set with spec.tls.mode CA");
            None
        }
        (TlsMode::Pin | TlsMode::Insecure, Some(_)) => {
            findings.add(field, "must not be set without spec.tls.mode CA");
            None
        }
    }
}

fn seconds(seconds: i32) -> Duration {
    Duration::from_secs(u64::from(unsigned(seconds)))
}

#[cfg(test)]
mod tests;
