//! Names that are spoken for: what a cache needs beside its own name, and what the operator needs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::names::{
    client_service_name, credentials_name, held_credentials_name, supplied_entrypoint_name,
};
use super::policies::primary_budget_name;

/// The kinds and names of the objects that are made for a cache of this name, whatever its spec.
/// Pods and claims end in a number and those of two caches never meet.
#[must_use]
pub fn own_names(cache: &str) -> Vec<(&'static str, String)> {
    vec![
        ("StatefulSet", cache.to_owned()),
        ("Service", cache.to_owned()),
        ("Service", client_service_name(cache)),
        ("Secret", credentials_name(cache)),
        ("Secret", held_credentials_name(cache)),
        ("ConfigMap", supplied_entrypoint_name(cache)),
        ("NetworkPolicy", cache.to_owned()),
        ("PodDisruptionBudget", cache.to_owned()),
        ("PodDisruptionBudget", primary_budget_name(cache)),
    ]
}

/// The operator's own objects in its namespace, of the kinds that caches have.
const OPERATORS: [(&str, &str); 4] = [
    ("StatefulSet", "xsld-operator"),
    ("Service", "xsld-operator"),
    ("NetworkPolicy", "xsld-operator"),
    ("ConfigMap", "xsld-operator-journal"),
];

/// The first name that a cache of this name would share with the operator, in its namespace.
#[must_use]
pub fn operators_name(cache: &str) -> Option<(&'static str, String)> {
    let names = own_names(cache).into_iter();
    names.into_iter().find(|(kind, name)| OPERATORS.contains(&(*kind, &**name)))
}

/// A cache that may want a name that another one wants.
#[derive(Clone, Debug)]
pub struct Claimant<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its UID.
    pub uid: &'a str,
    /// When it was made.
    pub made: Option<&'a Time>,
}

/// The first name that this cache shares with another one of its namespace that goes first, with
/// that one's name.
///
/// Whoever holds the object goes first: a cache that runs is not stopped by one that comes. While
/// nobody holds it the older one does, and of two that were made in the same second the one with
/// the lower UID. `holder` tells the UID of the object's controller.
pub fn taken_first<'a>(
    own: &Claimant<'_>,
    others: impl IntoIterator<Item = Claimant<'a>>,
    holder: impl Fn(&'static str, &str) -> Option<String>,
) -> Option<(&'static str, String, &'a str)> {
    let age = |claimant: &Claimant<'_>| (claimant.made.map(|made| made.0), claimant.uid.to_owned());
    let wanted = own_names(own.name);
    others.into_iter().filter(|other| other.uid != own.uid).find_map(|other| {
        let shared = own_names(other.name).into_iter().find(|name| wanted.contains(name));
        let (kind, name) = shared?;
        let goes_first = match holder(kind, &name) {
            Some(uid) if uid == own.uid => false,
            Some(uid) if uid == other.uid => true,
            Some(_) | None => age(&other) < age(own),
        };
        goes_first.then_some((kind, name, other.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_caches_of_different_names_share_a_service_at_most() {
        let shared = |one: &str, other: &str| {
            let others = own_names(other);
            own_names(one).into_iter().find(|name| others.contains(name))
        };
        assert_eq!(shared("web", "web-client"), Some(("Service", "web-client".to_owned())));
        assert_eq!(shared("web-client", "web"), Some(("Service", "web-client".to_owned())));
        let suffixes = ["held", "credentials", "entrypoint", "0", "primary", "x-client"];
        for suffix in suffixes {
            assert_eq!(shared("web", &format!("web-{suffix}")), None, "{suffix}");
        }
    }

    #[test]
    fn the_operators_own_names_are_no_caches() {
        assert!(operators_name("xsld-operator").is_some());
        for name in ["xsld", "xsld-operator-journal", "operator", "xsld-operator-2"] {
            assert_eq!(operators_name(name), None, "{name}");
        }
    }

    fn at(second: i64) -> Time {
        Time(jiff::Timestamp::from_second(second).unwrap())
    }

    /// Who of `web` and `web-client` is refused.
    fn refused(web: (&str, i64), client: (&str, i64), holder: Option<&str>) -> Vec<&'static str> {
        let (web_made, client_made) = (at(web.1), at(client.1));
        let web = Claimant { name: "web", uid: web.0, made: Some(&web_made) };
        let client = Claimant { name: "web-client", uid: client.0, made: Some(&client_made) };
        let holder = |_: &'static str, _: &str| holder.map(str::to_owned);
        let all = || [web.clone(), client.clone()];
        let mut refused = Vec::new();
        for (own, word) in [(&web, "web"), (&client, "web-client")] {
            if let Some((kind, name, _)) = taken_first(own, all(), holder) {
                assert_eq!((kind, &*name), ("Service", "web-client"));
                refused.push(word);
            }
        }
        refused
    }

    #[test]
    fn the_later_of_two_caches_that_need_one_name_is_refused_and_never_both() {
        assert_eq!(refused(("b", 1), ("a", 2), None), ["web-client"]);
        assert_eq!(refused(("b", 2), ("a", 1), None), ["web"]);
        assert_eq!(refused(("b", 1), ("a", 1), None), ["web"]);
        assert_eq!(refused(("a", 1), ("b", 1), None), ["web-client"]);
        // A holder that is neither says nothing of the two.
        assert_eq!(refused(("a", 1), ("b", 1), Some("c")), ["web-client"]);
    }

    #[test]
    fn whoever_holds_the_name_is_not_refused() {
        for (web, client) in [(1, 2), (2, 1), (1, 1)] {
            assert_eq!(refused(("a", web), ("b", client), Some("a")), ["web-client"]);
            assert_eq!(refused(("a", web), ("b", client), Some("b")), ["web"]);
        }
    }
}
