//! No secret is where it does not belong, in whatever form.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use crate::Result;
use crate::context::{Context, Kind};

/// Looks for the password and the secret key in every output of the operator.
pub(super) async fn none_is_told(context: &Context) -> Result {
    let needles = needles(context);
    for file in files(&context.dir)? {
        let bytes = std::fs::read(&file)?;
        ensure_free(&needles, &bytes, &file.display().to_string())?;
    }
    for kind in [Kind::Cache, Kind::Grid] {
        for object in context.list(kind).await? {
            let status = object["status"].to_string();
            let what = format!("the status of {}", object["metadata"]["name"]);
            ensure_free(&needles, status.as_bytes(), &what)?;
        }
    }
    for change in context.history.of(Kind::Event) {
        let what = format!("the Event {}", change.name);
        ensure_free(&needles, change.object.to_string().as_bytes(), &what)?;
    }
    for kind in [Kind::ConfigMap, Kind::StatefulSet, Kind::Pod] {
        for object in context.list(kind).await? {
            let what = format!("the {kind:?} {}", object["metadata"]["name"]);
            ensure_free(&needles, object.to_string().as_bytes(), &what)?;
        }
    }
    if let Some(address) = context.operator_address()
        && let Ok(answer) = context.stage.http.get(format!("http://{address}/metrics")).send().await
    {
        ensure_free(&needles, answer.text().await?.as_bytes(), "/metrics")?;
    }
    Ok(())
}

/// Each secret in plain, base64 (alone and behind the user's name), hex and percent-encoded.
fn needles(context: &Context) -> Vec<(String, Vec<u8>)> {
    let mut needles = Vec::new();
    let secrets = context.credentials();
    for (what, secret) in [("password", &secrets.password), ("secret key", &secrets.secret_key)] {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let forms = [
            ("in plain", secret.clone()),
            ("in base64", STANDARD_NO_PAD.encode(secret)),
            ("in base64 for URLs", URL_SAFE_NO_PAD.encode(secret)),
            ("as an authorization", STANDARD.encode(format!("xsadmin:{secret}"))),
            ("in hex", hex.clone()),
            ("in upper-case hex", hex.to_uppercase()),
            ("percent-encoded", secret.replace('!', "%21")),
        ];
        needles.extend(forms.map(|(form, text)| (format!("the {what} {form}"), text.into_bytes())));
    }
    needles
}

fn ensure_free(needles: &[(String, Vec<u8>)], bytes: &[u8], place: &str) -> Result {
    for (what, needle) in needles {
        ensure!(!needle.is_empty(), "an empty secret proves nothing");
        if bytes.windows(needle.len()).any(|window| window == needle) {
            bail!("{what} is in {place}");
        }
    }
    Ok(())
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}
