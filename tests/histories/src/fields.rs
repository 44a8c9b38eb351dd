//! Every field of the three kinds: values that can be asked for, values that nothing can come of,
//! and values that the API server must refuse.

use serde_json::Value;

use crate::act::Kind;

/// A field of a spec. Values are JSON texts.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Of which kind.
    pub kind: Kind,
    /// JSON pointer into the spec.
    pub path: &'static str,
    /// What can be asked for.
    pub good: &'static [&'static str],
    /// What is taken and nothing can come of, until it is taken back.
    pub broken: &'static [&'static str],
    /// What must be refused on an object that is there.
    pub refused: &'static [&'static str],
}

/// The values, parsed.
pub fn values(texts: &[&str]) -> Vec<Value> {
    texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
}

const fn field(
    kind: Kind,
    path: &'static str,
    good: &'static [&'static str],
    broken: &'static [&'static str],
    refused: &'static [&'static str],
) -> Field {
    Field { kind, path, good, broken, refused }
}

use Kind::{Cache, Grid, Template};

/// All of them.
pub const FIELDS: &[Field] = &[
    field(Cache, "/license", &[], &[], &[r#""no""#, "null"]),
    field(Cache, "/size", &["1", "2", "3", "4"], &[], &["0", "-1", "1000000"]),
    field(
        Cache,
        "/image",
        &[r#""ibmcom/xsld:8613""#, r#""ibmcom/xsld:8614""#, r#""ibmcom/xsld:8615""#],
        &[r#""ibmcom/xsld:missing""#, r#""ibmcom/xsld:silent""#],
        &[r#""""#, r#""two words""#],
    ),
    field(Cache, "/adminPwd", &[], &[], &[r#""short""#, r#""Password123!""#]),
    field(Cache, "/secretKey", &[], &[], &[r#""short""#, r#""Password123!""#]),
    field(
        Cache,
        "/adminPasswordSecretRef",
        &[],
        &[r#"{"name": "nowhere", "key": "adminPassword"}"#, r#"{"key": "nothing"}"#],
        &["null", r#"{"name": "Not A Name"}"#],
    ),
    field(
        Cache,
        "/secretKeySecretRef",
        &[],
        &[r#"{"name": "nowhere", "key": "secretKey"}"#],
        &["null"],
    ),
    field(Cache, "/capacity", &[], &[], &["0", "7"]),
    field(Cache, "/catalogs", &["1", "2", "3"], &[], &["0"]),
    field(Cache, "/entrypointConfigMap", &[], &[r#""nowhere""#], &[r#""Not A Name""#]),
    field(Cache, "/group", &[], &[], &[r#""another""#]),
    field(Cache, "/storage/size", &[r#""2Gi""#], &[], &[r#""much""#, r#""0""#]),
    field(Cache, "/storage/storageClassName", &[], &[], &[r#""another""#]),
    field(Cache, "/storage/accessModes", &[], &[], &[r#"["ReadWriteMany"]"#, "[]"]),
    field(
        Cache,
        "/storage/retention/whenScaled",
        &[r#""Delete""#, r#""Retain""#],
        &[],
        &[r#""Burn""#],
    ),
    field(
        Cache,
        "/storage/retention/whenDeleted",
        &[r#""Delete""#, r#""Retain""#],
        &[],
        &[r#""Burn""#],
    ),
    field(Cache, "/pod/resources", &[r#"{"requests": {"cpu": "10m"}}"#, "null"], &[], &[]),
    field(Cache, "/pod/serviceAccountName", &[], &[r#""nowhere""#], &[r#""Not A Name""#]),
    field(Cache, "/pod/imagePullSecrets", &[r#"[{"name": "pull"}]"#, "null"], &[], &[]),
    field(Cache, "/pod/nodeSelector", &[], &[r#"{"disk": "nowhere"}"#], &[]),
    field(Cache, "/pod/tolerations", &[r#"[{"key": "x", "operator": "Exists"}]"#], &[], &[]),
    field(Cache, "/pod/affinity", &[r#"{"podAntiAffinity": {}}"#], &[], &[]),
    field(
        Cache,
        "/pod/antiAffinity",
        &[r#""Preferred""#, r#""None""#, r#""Required""#],
        &[],
        &[r#""Never""#],
    ),
    field(
        Cache,
        "/pod/topologySpreadConstraints",
        &[
            r#"[{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}]"#,
            "null",
        ],
        &[],
        &[],
    ),
    field(Cache, "/pod/priorityClassName", &[], &[r#""nowhere""#], &[r#""Not A Name""#]),
    field(Cache, "/pod/securityContext", &[r#"{"fsGroup": 1001}"#, "null"], &[], &[]),
    field(
        Cache,
        "/pod/env",
        &[r#"[{"name": "TZ", "value": "Europe/Berlin"}]"#, r#"[{"name": "TZ", "value": "UTC"}]"#],
        &[],
        &[r#"[{"name": "SECRET_KEY", "value": "x"}]"#],
    ),
    field(
        Cache,
        "/pod/labels",
        &[r#"{"team": "front"}"#, r#"{"team": "back"}"#],
        &[],
        &[r#"{"app": "x"}"#],
    ),
    field(Cache, "/pod/annotations", &[r#"{"a/b": "c"}"#, r#"{"a/b": null}"#], &[], &[]),
    field(Cache, "/pod/terminationGracePeriodSeconds", &["30", "60"], &[], &["-1"]),
    field(Cache, "/rollout/partition", &["0"], &["1", "2"], &["-1"]),
    field(Cache, "/rollout/progressDeadlineSeconds", &["1800", "120"], &[], &["0"]),
    field(Cache, "/rollout/onFailure", &[r#""Halt""#, r#""Rollback""#], &[], &[r#""Panic""#]),
    field(Cache, "/replication/mode", &[r#""Auto""#, r#""Off""#], &[], &[r#""Maybe""#]),
    field(Cache, "/replication/primaryGraceSeconds", &["600", "5", "30"], &[], &["0"]),
    field(Cache, "/repair/resetHalfJoined", &[r#""Auto""#], &[r#""Never""#], &[r#""Maybe""#]),
    field(Cache, "/tls/mode", &[r#""Pin""#, r#""Insecure""#], &[], &[r#""CA""#, r#""Trust""#]),
    field(Cache, "/tls/caSecretRef", &[], &[], &[r#"{"name": "ca", "key": "ca.crt"}"#]),
    field(Cache, "/paused", &["false"], &["true"], &[r#""yes""#]),
    field(Cache, "/apiProfileConfigMap", &[], &[r#""nowhere""#], &[r#""Not A Name""#]),
    field(Grid, "/description", &[r#""orders""#, r#""baskets""#], &[], &[]),
    field(Grid, "/gridCapacity", &["0", "64"], &[], &["-1"]),
    field(Grid, "/gridType", &[r#""Simple""#], &[], &[r#""Odd""#]),
    field(Grid, "/groupName", &[r#""team""#], &[], &[r#""""#]),
    field(Grid, "/lockTimeout", &["15", "30"], &[], &["-1"]),
    field(Grid, "/numAsyncReplicas", &["1", "2"], &[], &["-1"]),
    field(Grid, "/numPartition", &["3", "5", "7"], &[], &["4", "0"]),
    field(Grid, "/numSyncReplicas", &["0", "1"], &[], &["-1"]),
    field(Grid, "/ownerName", &[r#""xsadmin""#, r#""somebody""#], &[], &[r#""""#]),
    field(Grid, "/templateName", &[], &[r#""Nowhere""#], &[r#""""#]),
    field(Grid, "/timeToLive", &["0", "3600"], &[], &["-1"]),
    field(Grid, "/transactionTimeout", &["30", "60"], &[], &["-1"]),
    field(Grid, "/useAuthentication", &["false", "true"], &[], &[r#""yes""#]),
    field(Grid, "/useAuthorization", &["false", "true"], &[], &[r#""yes""#]),
    field(Grid, "/useCapLRUEvictor", &["false", "true"], &[], &[r#""yes""#]),
    field(Grid, "/cacheRef", &[], &[], &[r#"{"name": "Not A Name"}"#]),
    field(Grid, "/templateRef", &[], &[], &[r#"{"name": "Not A Name"}"#]),
    field(Grid, "/deletionPolicy", &[r#""Delete""#, r#""Retain""#], &[], &[r#""Burn""#]),
    field(Grid, "/driftPolicy", &[r#""Correct""#, r#""Report""#], &[], &[r#""Ignore""#]),
    field(
        Template,
        "/objectGridXml",
        &[
            r#"{"inline": "<objectGridConfig><objectGrid name=\"orders\" txTimeout=\"31\"/></objectGridConfig>"}"#,
            r#"{"inline": "<objectGridConfig><objectGrid name=\"orders\" txTimeout=\"60\"/></objectGridConfig>"}"#,
        ],
        &[r#"{"inline": "<objectGridConfig><objectGrid"}"#],
        &[r#"{"inline": ""}"#, "null"],
    ),
    field(
        Template,
        "/deploymentPolicyXml",
        &[
            r#"{"inline": "<deploymentPolicy><mapSet name=\"orders\" id=\"2\"/></deploymentPolicy>"}"#,
        ],
        &[r#"{"inline": "no document"}"#],
        &[r#"{"inline": ""}"#, "null"],
    ),
    field(Template, "/cacheRef", &[], &[], &[r#"{"name": "Not A Name"}"#]),
    field(Template, "/cacheSelector", &[], &[], &[r#"{"matchLabels": {"tier": "front"}}"#]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Parts of a spec whose own fields are looked at one by one.
    const OPENED: [&str; 7] =
        ["/storage", "/storage/retention", "/pod", "/rollout", "/replication", "/repair", "/tls"];

    fn leaves(schema: &Value, at: &str, found: &mut BTreeSet<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{at}/{name}");
            match OPENED.contains(&path.as_str()) {
                true => leaves(field, &path, found),
                false => drop(found.insert(path)),
            }
        }
    }

    #[test]
    fn every_field_of_the_three_kinds_is_changed_or_made_invalid() {
        for (kind, file) in
            [(Cache, "xsldcaches.yaml"), (Grid, "datagrids.yaml"), (Template, "gridtemplates.yaml")]
        {
            let path = format!("{}/../../crds/{file}", env!("CARGO_MANIFEST_DIR"));
            let crd: Value =
                serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            let mut known = BTreeSet::new();
            let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
            leaves(crd.pointer(schema).unwrap(), "", &mut known);
            let told = FIELDS.iter().filter(|field| field.kind == kind);
            let told: BTreeSet<String> = told.map(|field| field.path.to_owned()).collect();
            assert_eq!(told, known, "{kind:?}");
        }
    }

    #[test]
    fn every_value_is_json_and_every_field_has_one() {
        for field in FIELDS {
            for texts in [field.good, field.broken, field.refused] {
                assert_eq!(values(texts).len(), texts.len(), "{field:?}");
            }
            assert!(
                !field.good.is_empty() || !field.broken.is_empty() || !field.refused.is_empty()
            );
        }
    }
}
