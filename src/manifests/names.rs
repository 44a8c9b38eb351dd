//! Names of a cache's objects, and back.

/// Name of the member, and of the pod, with an ordinal.
#[must_use]
pub fn pod_name(cache: &str, ordinal: u32) -> String {
    format!("{cache}-{ordinal}")
}

/// Name of the claim of the member with an ordinal.
#[must_use]
pub fn claim_name(cache: &str, ordinal: u32) -> String {
    format!("{}{}", CLAIM_PREFIX, pod_name(cache, ordinal))
}

/// The ordinal in a pod's name; none when the pod is not one of this cache.
#[must_use]
pub fn ordinal_of(cache: &str, pod: &str) -> Option<u32> {
    let digits = pod.strip_prefix(cache)?.strip_prefix('-')?;
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    if plain { digits.parse().ok() } else { None }
}

/// The ordinal in a claim's name; none when the claim is not one of this cache.
#[must_use]
pub fn ordinal_of_claim(cache: &str, claim: &str) -> Option<u32> {
    ordinal_of(cache, claim.strip_prefix(CLAIM_PREFIX)?)
}

/// The name by which a member is reached, without the cluster's own domain, which
/// differs from cluster to cluster.
#[must_use]
pub fn fqdn(cache: &str, namespace: &str, pod: &str) -> String {
    format!("{pod}.{cache}.{namespace}.svc")
}

/// Name of the Service for clients.
#[must_use]
pub fn client_service_name(cache: &str) -> String {
    format!("{cache}-client")
}

/// Name of the Secret that holds a copy of plain credentials.
#[must_use]
pub fn credentials_name(cache: &str) -> String {
    format!("{cache}-credentials")
}

/// Name of the Secret with the password that all members took last.
#[must_use]
pub fn held_credentials_name(cache: &str) -> String {
    format!("{cache}-held")
}

/// Name of the ConfigMap with the operator's own entrypoint.
#[must_use]
pub fn supplied_entrypoint_name(cache: &str) -> String {
    format!("{cache}-entrypoint")
}

/// The claim template is named `vol`.
const CLAIM_PREFIX: &str = "vol-";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_those_of_a_stateful_set() {
        assert_eq!(pod_name("example", 2), "example-2");
        assert_eq!(claim_name("example", 2), "vol-example-2");
        assert_eq!(fqdn("example", "team", "example-2"), "example-2.example.team.svc");
    }

    #[test]
    fn a_name_of_something_else_has_no_ordinal() {
        for pod in [
            "example",
            "example-",
            "example-01",
            "example--1",
            "example-+1",
            "example-a-1",
            "other-1",
            "example-99999999999",
            "example-1-2",
        ] {
            assert_eq!(ordinal_of("example", pod), None, "{pod}");
        }
        assert_eq!(ordinal_of_claim("example", "example-1"), None);
        assert_eq!(ordinal_of_claim("example", "data-example-1"), None);
    }

    proptest! {
        #[test]
        fn an_ordinal_survives_its_name(cache in "[a-z][a-z0-9-]{0,50}[a-z0-9]", ordinal: u32) {
            prop_assert_eq!(ordinal_of(&cache, &pod_name(&cache, ordinal)), Some(ordinal));
            prop_assert_eq!(ordinal_of_claim(&cache, &claim_name(&cache, ordinal)), Some(ordinal));
        }
    }
}
