//! `--demo`: shows what the operator can do.

use std::path::Path;

use anyhow::{Context, Result};
use tokio::process::Command;
use xsld_sim::world::World;

use crate::operator::Supervised;
use crate::ui::Ui;

/// The objects of the demonstration, below the workspace's root.
const SAMPLES: [&str; 2] = ["crds/samples/xsldcache.yaml", "crds/samples/datagrid.yaml"];

/// Creates the sample cache and its grid. The sandbox goes on afterwards.
pub(crate) async fn run(world: &World, operator: &mut Supervised, ui: &Ui) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let metrics = operator.address().to_owned();
    ui.heading(&format!("Demo; the operator is process {}", operator.process().pid()));
    for sample in SAMPLES {
        let done = Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(world.kubeconfig())
            .args(["apply", "--server-side", "-f"])
            .arg(root.join(sample))
            .output()
            .await
            .context("the demo needs kubectl in PATH")?;
        anyhow::ensure!(
            done.status.success(),
            "kubectl refused {sample}: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        );
        ui.say(&format!("applied {sample}"));
    }
    ui.say(&format!("follow it with `kubectl get xsldcache --watch` and http://{metrics}/metrics"));
    Ok(())
}
