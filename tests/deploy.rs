//! The manifests in `deploy/`: the operator understands its own arguments there, has the rights that
//! it needs and no other, and gives a reason for each.
#![allow(clippy::unwrap_used, missing_docs, reason = "this is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use clap::{CommandFactory, Parser};
use serde_json::{Value, json};
use walkdir::WalkDir;
use xsld_operator::args::{Cli, Command, Run};

/// The files below `deploy/manifests`, by path from there.
fn files() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/manifests");
    let walk = WalkDir::new(&root).into_iter().map(Result::unwrap);
    let files = walk.filter(|entry| entry.file_type().is_file()).map(|entry| {
        let path = entry.path().strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        (path, fs::read_to_string(entry.path()).unwrap())
    });
    files.collect()
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// All Kubernetes objects of the manifests, each with its file.
fn objects() -> Vec<(String, Value)> {
    let mut objects = Vec::new();
    for (path, text) in files() {
        let documents = documents(&text).into_iter().filter(Value::is_object);
        let objects_of = documents.filter(|document| document["kind"] != "Kustomization");
        objects.extend(objects_of.map(|document| (path.clone(), document)));
    }
    objects
}

fn of_kind(kind: &str) -> Vec<Value> {
    let objects = objects().into_iter().map(|(_, object)| object);
    objects.filter(|object| object["kind"] == kind).collect()
}

fn stateful_set() -> Value {
    let mut found = of_kind("StatefulSet");
    assert_eq!(found.len(), 1, "the operator is one StatefulSet");
    found.remove(0)
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The operator's options with which the container starts. `extra` are more arguments.
fn options(extra: &[&str]) -> Run {
    let set = stateful_set();
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let arguments = words(&container["args"]);
    let arguments = arguments.into_iter().map(str::to_owned);
    let extra = extra.iter().map(|&word| word.to_owned());
    let all = ["xsld-operator".to_owned()].into_iter().chain(arguments).chain(extra);
    match Cli::try_parse_from(all).unwrap().command {
        Command::Run(run) => *run,
        _ => panic!("the container does not run the operator"),
    }
}

#[test]
fn every_object_has_a_kind_a_version_and_a_name() {
    let objects = objects();
    assert!(objects.len() > 8, "{}", objects.len());
    for (path, object) in objects {
        for field in ["/apiVersion", "/kind", "/metadata/name"] {
            assert!(object.pointer(field).is_some_and(Value::is_string), "{path}: no {field}");
        }
    }
}

#[test]
fn every_file_belongs_to_a_kustomization_and_every_entry_exists() {
    let files = files();
    let mut used = BTreeSet::new();
    for (path, text) in files.iter().filter(|(path, _)| path.ends_with("kustomization.yaml")) {
        let folder = path.strip_suffix("kustomization.yaml").unwrap();
        let document = documents(text).remove(0);
        let patches = document["patches"].as_array().into_iter().flatten();
        let patches = patches.filter_map(|patch| patch["path"].as_str());
        for entry in words(&document["resources"]).into_iter().chain(patches) {
            let target = match entry.strip_prefix("../") {
                Some(sibling) => sibling.to_owned(),
                None => format!("{folder}{entry}"),
            };
            let file = if files.contains_key(&target) {
                target
            } else {
                format!("{target}/kustomization.yaml")
            };
            assert!(files.contains_key(&file), "{path}: there is no {entry}");
            used.insert(file);
        }
    }
    // Nobody but the user names the two variants, and the roles for people.
    let starts = ["", "cluster-wide/", "people/"].map(|path| format!("{path}kustomization.yaml"));
    used.extend(starts);
    let unused: Vec<_> = files.keys().filter(|path| !used.contains(*path)).collect();
    assert!(unused.is_empty(), "no kustomization names {unused:?}");
}

/// Lines that begin a rule whose line before is no comment; from 1.
fn rules_without_reason(text: &str) -> Vec<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |line: &str| {
        let line = line.trim_start();
        ["- apiGroups:", "- resources:", "- verbs:", "- nonResourceURLs:", "- resourceNames:"]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let reasoned = |at: usize| at > 0 && lines[at - 1].trim_start().starts_with("# ");
    let rules = (0..lines.len()).filter(|&at| begins(lines[at]) && !reasoned(at));
    rules.map(|at| at + 1).collect()
}

#[test]
fn every_right_has_a_reason() {
    let mut rules = 0;
    for (path, text) in files() {
        assert_eq!(rules_without_reason(&text), Vec::<usize>::new(), "{path}");
        rules += text.matches("- apiGroups:").count();
    }
    let parsed: usize = roles().iter().map(|role| role["rules"].as_array().unwrap().len()).sum();
    assert_eq!(rules, parsed, "a rule is written in a way that this test does not see");
    assert_eq!(
        rules_without_reason("rules:\n  - apiGroups: [a]\n  # why\n  - apiGroups: [b]\n"),
        [2]
    );
}

fn roles() -> Vec<Value> {
    of_kind("Role").into_iter().chain(of_kind("ClusterRole")).collect()
}

/// What is wrong with a rule: wildcards, words that Kubernetes does not know, too much of Secrets.
fn faults(rule: &Value) -> Vec<String> {
    let known = ["get", "list", "watch", "create", "update", "patch", "delete"];
    let mut faults = Vec::new();
    for field in ["apiGroups", "resources", "verbs"] {
        let words = words(&rule[field]);
        if words.is_empty() {
            faults.push(format!("no {field}"));
        }
        if words.iter().any(|word| word.contains('*')) {
            faults.push(format!("a wildcard in {field}"));
        }
    }
    let verbs = words(&rule["verbs"]);
    faults.extend(verbs.iter().filter(|verb| !known.contains(verb)).map(|verb| format!("{verb}?")));
    if words(&rule["resources"]).contains(&"secrets")
        && verbs.iter().any(|verb| matches!(*verb, "list" | "watch" | "delete"))
    {
        faults.push("more of Secrets than those that are named".to_owned());
    }
    // The name of a subresource's object stands in the request.
    let whole = |resource: &&str| !resource.contains('/');
    if rule.get("resourceNames").is_some()
        && verbs.contains(&"create")
        && words(&rule["resources"]).iter().any(whole)
    {
        faults.push("create cannot be limited to names".to_owned());
    }
    faults
}

#[test]
fn no_right_is_wider_than_it_must_be() {
    for role in roles() {
        let mut seen = BTreeSet::new();
        for rule in role["rules"].as_array().unwrap() {
            assert_eq!(faults(rule), Vec::<String>::new(), "{} {rule}", role["metadata"]["name"]);
            for resource in words(&rule["resources"]) {
                let key = (
                    rule["apiGroups"].to_string(),
                    resource.to_owned(),
                    rule.get("resourceNames").is_some(),
                );
                assert!(
                    seen.insert(key),
                    "{resource} has two rules in {}",
                    role["metadata"]["name"]
                );
            }
        }
    }
    let bad = [
        json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}),
        json!({"apiGroups": ["*"], "resources": ["pods"], "verbs": ["get"]}),
        json!({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}),
        json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["gett"]}),
        json!({"apiGroups": [""], "resources": ["pods"]}),
        json!({"apiGroups": [""], "resources": ["a"], "resourceNames": ["b"], "verbs": ["create"]}),
    ];
    for rule in bad {
        assert!(!faults(&rule).is_empty(), "{rule}");
    }
}

#[test]
fn both_variants_grant_the_same_for_caches() {
    let rules = |kind: &str| {
        let mut roles = of_kind(kind);
        roles.retain(|role| role["metadata"]["name"] == "xsld-operator-caches");
        assert_eq!(roles.len(), 1, "{kind}");
        roles.remove(0)["rules"].take()
    };
    assert_eq!(rules("Role"), rules("ClusterRole"));
}

#[test]
fn every_binding_names_a_role_and_the_operators_account() {
    let account = of_kind("ServiceAccount").remove(0)["metadata"]["name"].clone();
    let bindings: Vec<Value> =
        of_kind("RoleBinding").into_iter().chain(of_kind("ClusterRoleBinding")).collect();
    // Who is on call is for the cluster's administrators to say.
    let for_people = roles().into_iter().filter(|role| {
        let name = role["metadata"]["name"].as_str().unwrap_or_default();
        name.starts_with("xsld-journal-")
    });
    assert_eq!(bindings.len() + for_people.count(), roles().len());
    for binding in bindings {
        let named = &binding["roleRef"];
        let found = roles()
            .iter()
            .any(|role| role["kind"] == named["kind"] && role["metadata"]["name"] == named["name"]);
        assert!(found, "{named}");
        assert_eq!(binding["subjects"][0]["name"], account);
        assert_eq!(binding["subjects"].as_array().unwrap().len(), 1);
    }
    let set = stateful_set();
    assert_eq!(set["spec"]["template"]["spec"]["serviceAccountName"], account);
}

#[test]
fn the_lease_and_the_anchor_are_granted_by_the_names_that_the_program_uses() {
    let role = of_kind("Role").into_iter().find(|role| role["metadata"]["name"] == "xsld-operator");
    let role = role.unwrap();
    let named: BTreeMap<String, String> = role["rules"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|rule| rule.get("resourceNames").is_some())
        .map(|rule| {
            (words(&rule["resources"])[0].to_owned(), words(&rule["resourceNames"])[0].to_owned())
        })
        .collect();
    assert_eq!(named["leases"], xsld_operator::lease::LEASE_NAME);
    assert_eq!(named["configmaps"], xsld_operator::recover::anchor::ANCHOR_NAME);
}

#[test]
fn the_operator_understands_its_arguments() {
    let run = options(&[]);
    // Probes and scrapers come by the pod's address, a forwarded port by its localhost, in either
    // family.
    assert_eq!(run.listen.to_string(), "[::]:8080");
    assert_eq!(run.journal_listen.map(|address| address.to_string()).unwrap(), "[::]:8443");
    assert!(!run.all_namespaces && run.namespace.is_none());
    let patch = documents(&files()["cluster-wide/all-namespaces.yaml"]).remove(0);
    let added: Vec<&str> =
        patch.as_array().unwrap().iter().filter_map(|change| change["value"].as_str()).collect();
    assert!(options(&added).all_namespaces);
}

#[test]
fn every_variable_of_the_container_is_read() {
    let command = Cli::command();
    let run = command.find_subcommand("run").unwrap();
    let read: BTreeSet<&str> =
        run.get_arguments().filter_map(|argument| argument.get_env()?.to_str()).collect();
    let set = stateful_set();
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let arguments = container["args"].to_string();
    for variable in container["env"].as_array().unwrap() {
        let name = variable["name"].as_str().unwrap();
        let used = read.contains(name) || arguments.contains(&format!("$({name})"));
        assert!(used, "nothing reads {name}");
    }
    for name in ["POD_UID", "POD_NAME", "POD_NAMESPACE"] {
        assert!(read.contains(name), "{read:?}");
    }
}

#[test]
fn the_journal_lies_on_the_claim_and_outlives_the_pod() {
    let set = stateful_set();
    let spec = &set["spec"];
    let container = &spec["template"]["spec"]["containers"][0];
    let mount = &container["volumeMounts"][0];
    let claim = &spec["volumeClaimTemplates"][0];
    assert!(options(&[]).journal_dir.starts_with(mount["mountPath"].as_str().unwrap()));
    assert_eq!(mount["name"], claim["metadata"]["name"]);
    assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteOncePod"]));
    let retention = &spec["persistentVolumeClaimRetentionPolicy"];
    assert_eq!(*retention, json!({"whenDeleted": "Retain", "whenScaled": "Retain"}));
    assert_eq!(spec["replicas"], 1);
}

#[test]
fn the_container_has_no_right_that_it_does_not_need() {
    let set = stateful_set();
    let pod = &set["spec"]["template"]["spec"];
    let inside = &pod["securityContext"];
    assert_eq!(inside["runAsNonRoot"], true);
    assert!(inside["runAsUser"].as_u64().is_some_and(|user| user > 0));
    assert_eq!(inside["seccompProfile"]["type"], "RuntimeDefault");
    let containers = pod["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    let context = &containers[0]["securityContext"];
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod.get(field).is_none(), "{field}");
    }
    assert!(containers[0]["resources"]["limits"]["memory"].is_string());
    assert_eq!(pod["terminationGracePeriodSeconds"], 30);
}

#[test]
fn probes_and_the_service_reach_the_port_that_the_operator_listens_on() {
    let set = stateful_set();
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let port = &container["ports"][0];
    assert_eq!(port["containerPort"], options(&[]).listen.port());
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": port["name"]}));
    }
    let service = of_kind("Service").remove(0);
    assert_eq!(service["metadata"]["name"], set["spec"]["serviceName"]);
    assert_eq!(service["spec"]["clusterIP"], "None");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], port["name"]);
    let journal = &container["ports"][1];
    let listens = options(&[]).journal_listen.unwrap();
    assert_eq!(journal["containerPort"], listens.port());
    assert_eq!(service["spec"]["ports"][1]["targetPort"], journal["name"]);
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    for selector in [&service["spec"]["selector"], &set["spec"]["selector"]["matchLabels"]] {
        let wanted = selector.as_object().unwrap();
        assert!(!wanted.is_empty() && wanted.iter().all(|(key, value)| labels[key] == *value));
    }
}

#[test]
fn the_image_is_of_this_version_and_runs_without_root() {
    let set = stateful_set();
    let image = set["spec"]["template"]["spec"]["containers"][0]["image"].clone();
    assert_eq!(image, concat!("xsld-operator:", env!("CARGO_PKG_VERSION")));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dockerfile = fs::read_to_string(root.join("deploy/Dockerfile")).unwrap();
    let (_, last) = dockerfile.rsplit_once("\nFROM ").unwrap();
    let user = &set["spec"]["template"]["spec"]["securityContext"]["runAsUser"];
    assert!(last.contains(&format!("\nUSER {user}:")), "{last}");
    assert!(last.contains("ENTRYPOINT [\"/usr/local/bin/xsld-operator\"]"), "{last}");
    assert!(last.contains(concat!("image.version=\"", env!("CARGO_PKG_VERSION"), "\"")), "{last}");
    assert!(dockerfile.contains("--profile dist"));
}
