//! Objects that the API server must refuse: field and rule in the message, and no secret.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::context::{Context, Kind};
use crate::{Result, Scenario};

const SAMPLES: &str = "crds/samples";

/// How a message tells a rule: in our words, or in the API server's where it is a bound of the
/// schema.
const BOUNDS: [&str; 15] = [
    " must ",
    " cannot ",
    " can only ",
    " needs ",
    " may be set",
    " duplicate ",
    "should be at least",
    "should be greater than or equal to",
    "should be less than or equal to",
    "should match",
    "should have at least",
    "may not be more than",
    "Too long",
    "Unsupported value",
    "Required value",
];

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("input::every_illegal_sample_is_refused_at_apply", |c| {
            Box::pin(illegal_samples(c))
        })
        .without_operator()
        .with_nothing_left(),
        Scenario::new("input::every_legal_sample_is_taken_at_apply", |c| {
            Box::pin(legal_samples(c))
        })
        .without_operator()
        .with_nothing_left(),
    ]
}

fn samples(c: &Context, illegal: bool) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(c.stage.root.join(SAMPLES))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".yaml") && name.starts_with("illegal-") == illegal {
            found.push(name);
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "there are no samples");
    Ok(found)
}

fn kind_of(object: &Value) -> Result<Kind> {
    Ok(match object["kind"].as_str() {
        Some("XsldCache") => Kind::Cache,
        Some("DataGrid") => Kind::Grid,
        Some("GridTemplate") => Kind::Template,
        Some("ConfigMap") => Kind::ConfigMap,
        Some("Secret") => Kind::Secret,
        other => anyhow::bail!("a sample of kind {other:?}"),
    })
}

async fn illegal_samples(c: &Context) -> Result {
    let samples = samples(c, true)?;
    for sample in &samples {
        refused(c, sample).await.with_context(|| sample.clone())?;
    }
    // Once more through kubectl, whose message is what a user reads.
    for sample in samples.iter().filter(|name| name.contains("password")).take(6) {
        by_kubectl(c, sample).await.with_context(|| sample.clone())?;
    }
    Ok(())
}

/// The first line says which field and which rule; all objects but the last are accepted.
async fn refused(c: &Context, sample: &str) -> Result {
    let path = format!("{SAMPLES}/{sample}");
    let text = std::fs::read_to_string(c.stage.root.join(&path))?;
    let first = text.lines().next().unwrap_or_default();
    let told = first.strip_prefix("# Refused: ").context("its first line does not say why")?;
    let (field, rule) = told.split_once(": ").context("its first line names no field")?;
    let mut objects = c.documents(&path)?;
    let last = objects.pop().context("it is empty")?;
    for object in &objects {
        c.apply(kind_of(object)?, object.clone()).await.context("its first object was refused")?;
    }
    let outcome = c.apply(kind_of(&last)?, last.clone()).await;
    for object in &objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        c.delete(kind_of(object)?, name).await?;
    }
    let Err(error) = outcome else { anyhow::bail!("it was accepted") };
    let message = format!("{error:#}");
    told_well(&message, field, rule)?;
    no_secret(&message, &last)
}

fn told_well(message: &str, field: &str, rule: &str) -> Result {
    let short = field.strip_prefix("spec.").unwrap_or(field);
    // A message about a list's element or a map's entry names the field before the bracket.
    ensure!(message.contains(short), "the message does not name {field}: {message}");
    let said = BOUNDS.iter().any(|bound| message.contains(bound));
    ensure!(said, "the message does not tell the rule {rule:?}: {message}");
    Ok(())
}

fn no_secret(message: &str, object: &Value) -> Result {
    for field in ["adminPwd", "secretKey"] {
        if let Some(secret) = object["spec"][field].as_str().filter(|text| !text.is_empty()) {
            ensure!(!message.contains(secret), "the message holds the value of {field}: {message}");
        }
    }
    Ok(())
}

async fn by_kubectl(c: &Context, sample: &str) -> Result {
    let path = format!("{SAMPLES}/{sample}");
    let file = c.stage.root.join(&path).display().to_string();
    let Some(said) = c.kubectl(&["apply", "-f", &file]).await? else { return Ok(()) };
    let objects = c.documents(&path)?;
    for object in &objects {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        c.delete(kind_of(object)?, name).await?;
    }
    ensure!(!said.success, "kubectl applied it");
    objects.iter().try_for_each(|object| no_secret(&said.stderr, object))
}

async fn legal_samples(c: &Context) -> Result {
    for sample in samples(c, false)? {
        for object in c.documents(&format!("{SAMPLES}/{sample}"))? {
            c.apply(kind_of(&object)?, object).await.with_context(|| sample.clone())?;
        }
    }
    Ok(())
}
