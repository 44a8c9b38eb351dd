use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

fn caches(all: &[(&str, &[(&str, &str)])]) -> Vec<Candidate> {
    let text = |text: &str| text.to_owned();
    all.iter()
        .map(|(name, labels)| Candidate {
            name: text(name),
            uid: text(name),
            labels: labels.iter().map(|(key, value)| (text(key), text(value))).collect(),
            is_anothers: labels.contains(&("operator", "another")),
            going: false,
        })
        .collect()
}

fn names(target: &TemplateTarget, all: &[Candidate]) -> Vec<String> {
    chosen(target, all).unwrap().into_iter().collect()
}

#[test]
fn a_template_goes_to_the_named_cache_or_the_only_one() {
    let one = caches(&[("a", &[])]);
    let two = caches(&[("a", &[]), ("b", &[])]);
    assert_eq!(names(&TemplateTarget::Only, &one), ["a"]);
    assert_eq!(names(&TemplateTarget::Named("b".into()), &two), ["b"]);
    let reason =
        |target: &TemplateTarget, all: &[Candidate]| chosen(target, all).unwrap_err().reason;
    assert_eq!(reason(&TemplateTarget::Only, &two), Reason::CacheAmbiguous);
    assert_eq!(reason(&TemplateTarget::Only, &[]), Reason::CacheMissing);
    assert_eq!(reason(&TemplateTarget::Named("c".into()), &two), Reason::CacheMissing);
}

#[test]
fn a_selector_chooses_by_label() {
    let all = caches(&[("a", &[("tier", "front")]), ("b", &[("tier", "back")]), ("c", &[])]);
    let by_label = |key: &str, value: &str| {
        let match_labels = Some(BTreeMap::from([(key.to_owned(), value.to_owned())]));
        TemplateTarget::Selected(LabelSelector { match_labels, ..LabelSelector::default() })
    };
    assert_eq!(names(&by_label("tier", "front"), &all), ["a"]);
    let every = TemplateTarget::Selected(LabelSelector::default());
    assert_eq!(names(&every, &all), ["a", "b", "c"]);
    assert_eq!(chosen(&by_label("tier", "none"), &all).unwrap_err().reason, Reason::CacheMissing);
    let wrong =
        LabelSelectorRequirement { key: "tier".into(), operator: "Perhaps".into(), values: None };
    let match_expressions = Some(vec![wrong]);
    let wrong = LabelSelector { match_expressions, ..LabelSelector::default() };
    let wrong = TemplateTarget::Selected(wrong);
    assert_eq!(chosen(&wrong, &all).unwrap_err().reason, Reason::SpecInvalid);
}

#[test]
fn a_template_is_told_by_the_operator_of_the_first_cache_that_it_goes_to() {
    let another: &[(&str, &str)] = &[("operator", "another")];
    let every = TemplateTarget::Selected(LabelSelector::default());
    let named = |name: &str| TemplateTarget::Named(name.into());
    let mixed = caches(&[("a", another), ("b", &[])]);
    assert!(is_anothers(Some(&every), &mixed) && is_anothers(Some(&named("a")), &mixed));
    assert!(!is_anothers(Some(&named("b")), &mixed));
    assert!(!is_anothers(Some(&named("c")), &mixed), "nobody's cache: both say the same");
    assert!(!is_anothers(None, &mixed) && !is_anothers(None, &[]));
    assert!(is_anothers(None, &caches(&[("a", another)])));
}

#[test]
fn a_pass_that_looks_may_upload_until_it_says_otherwise() {
    let sights = Sights::default();
    assert!(!sights.may_upload("c", "t"), "a cache that no pass looked at uploads nothing");
    sights.set("c", Sight::Looking);
    assert!(sights.may_upload("c", "t"));
    let known =
        |goes| Sight::Known(BTreeMap::from([("t".into(), Seen { goes, ..Seen::default() })]));
    sights.set("c", known(false));
    assert!(sights.may_upload("c", "t") && !sights.may_upload("c", "other"));
    sights.set("c", known(true));
    assert!(!sights.may_upload("c", "t"));
    sights.set("c", Sight::Looking);
    sights.forget("c");
    assert!(!sights.may_upload("c", "t"));
}
