//! The one world that all scenarios of a run share.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use xsld_sim::control_plane::Progress;
use xsld_sim::world::{World, WorldError, WorldOptions};

use crate::Result;
use crate::calls::Calls;

/// What every duration of the cache is divided by.
pub const TIME_SCALE: f64 = 60.0;

/// Nodes that every scenario's pods may run on.
const NODES: usize = 4;

/// Nodes that only pods which tolerate [`RESERVED`] run on, so that one can be stopped without
/// taking other scenarios' members with it.
const RESERVED_NODES: usize = 2;

/// The taint of the reserved Nodes.
pub const RESERVED: &str = "xsld.test/reserved";

/// Nodes for each scenario that drains some: whoever else ran there would be evicted.
const DRAINED_NODES: usize = 3;

/// Scenarios that drain Nodes.
const DRAINS: usize = 2;

/// The taint of the Nodes that are drained.
pub const DRAINED: &str = "xsld.test/drained";

/// How many runs may go on at the same time in one target folder.
const RUNS: usize = 4;

/// Names the binary to run, which is then not built.
const BINARY: &str = "XSLD_OPERATOR_BINARY";

/// What a stage is raised for: a folder of its own below `target/`, and its nodes.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// The folder.
    pub folder: &'static str,
    /// How many nodes there are.
    pub nodes: usize,
}

/// The site of the scenarios.
pub const SCENARIOS: Site =
    Site { folder: "scenarios", nodes: NODES + RESERVED_NODES + DRAINS * DRAINED_NODES };

/// The shared world, the operator's binary, and where files go.
pub struct Stage {
    /// The operator.
    pub binary: PathBuf,
    /// The repository.
    pub root: PathBuf,
    /// What belongs to one scenario goes into a folder of its own in here.
    pub runs: PathBuf,
    /// The world.
    pub world: World,
    /// Its members' call log.
    pub calls: Calls,
    /// For members and for faults: it trusts any certificate, because it only watches.
    pub http: reqwest::Client,
    /// `kubectl`, where the machine has it.
    pub kubectl: Option<PathBuf>,
}

impl Stage {
    /// Builds the operator and starts the world, with progress told to `progress`.
    ///
    /// # Errors
    /// When either is impossible here, in one line.
    pub async fn raise(site: Site, progress: Progress) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = root.canonicalize().context("the repository is gone")?;
        let folder = profile_folder()?;
        let binary = operator(&root, &folder, &progress).await?;
        let (world, base, binary) = world(site, &folder, &binary, &progress).await?;
        let crds = world.apply_crds(&root.join("crds")).await?;
        ensure!(crds > 0, "there are no custom resource definitions in crds/");
        let runs = base.join("runs");
        let _ = std::fs::remove_dir_all(&runs);
        std::fs::create_dir_all(&runs)?;
        let http = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .pool_max_idle_per_host(0)
            .timeout(Duration::from_secs(5))
            .build()?;
        let calls = Calls::new(world.calls().path());
        Ok(Self { binary, root, runs, world, calls, http, kubectl: find_on_path("kubectl") })
    }
}

/// `target/<profile>`, the folder that this very program was built into.
fn profile_folder() -> Result<PathBuf> {
    let me = std::env::current_exe()?;
    let folder = me.parent().context("this program is in no target folder")?;
    // Test programs lie in `deps`, the others beside it.
    let is_deps = folder.file_name().is_some_and(|name| name == "deps");
    let folder = if is_deps { folder.parent() } else { Some(folder) };
    Ok(folder.context("this program is in no target folder")?.to_owned())
}

async fn operator(root: &Path, folder: &Path, progress: &Progress) -> Result<PathBuf> {
    use xsld_sim::control_plane::Step;
    if let Some(binary) = std::env::var_os(BINARY) {
        let binary = PathBuf::from(binary);
        ensure!(binary.is_file(), "{BINARY} names {}, which is no file", binary.display());
        return Ok(binary.canonicalize()?);
    }
    let what = "building the operator".to_owned();
    progress.report(Step::Started { what: what.clone() });
    let begun = Instant::now();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(name) => name,
    };
    // Together with this package: the dependencies then have the features they have already.
    let output = xsld_sim::build::cargo()
        .args(["build", "-p", "xsld-operator", "-p", "xsld-scenarios"])
        .args(["--bin", "xsld-operator", "--profile", profile, "--target-dir"])
        .arg(folder.parent().context("the target folder has no parent")?)
        .current_dir(root)
        .stdin(Stdio::null())
        .output()
        .await
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the operator does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    progress.report(Step::Finished { what, elapsed: begun.elapsed() });
    let binary = folder.join("xsld-operator");
    ensure!(binary.is_file(), "cargo built no {}", binary.display());
    Ok(binary)
}

/// Starts the world in the first folder that no other run uses. The operator's binary is copied
/// into it: a build that goes on meanwhile must not change what is run.
async fn world(
    site: Site,
    folder: &Path,
    binary: &Path,
    progress: &Progress,
) -> Result<(World, PathBuf, PathBuf)> {
    let target = folder.parent().context("the target folder has no parent")?;
    let mut busy = String::new();
    for run in 1..=RUNS {
        let base = target.join(site.folder).join(run.to_string());
        let mine = base.join("bin").join("xsld-operator");
        let mut options = WorldOptions::new(base.join("world"));
        options.time_scale = TIME_SCALE;
        options.nodes = site.nodes;
        options.operator = Some(mine.clone());
        options.progress = progress.clone();
        match World::start(options).await {
            Ok(world) => {
                std::fs::create_dir_all(base.join("bin"))?;
                // What still runs from a former run keeps its own file.
                let _ = std::fs::remove_file(&mine);
                std::fs::copy(binary, &mine).context("cannot copy the operator's binary")?;
                return Ok((world, base, mine));
            }
            Err(error @ WorldError::Busy { .. }) => busy = error.to_string(),
            Err(error) => return Err(anyhow::Error::new(error).context("there is no world")),
        }
    }
    bail!("{RUNS} runs go on already: {busy}")
}

/// The nodes of the scenarios that only some pods may run on.
pub(crate) fn scenario_taints() -> Vec<(String, &'static str)> {
    let drained = (0..DRAINS).flat_map(drained_nodes).map(|node| (node, DRAINED));
    reserved_nodes().into_iter().map(|node| (node, RESERVED)).chain(drained).collect()
}

/// Keeps pods off nodes that do not tolerate the taint.
pub(crate) async fn reserve_nodes(
    world: &World,
    taints: impl IntoIterator<Item = (String, &'static str)>,
) -> Result {
    let api: Api<Node> = Api::all(world.client());
    for (node, key) in taints {
        let taint = json!({"key": key, "effect": "NoSchedule"});
        let patch = Patch::Merge(json!({"spec": {"taints": [taint]}}));
        api.patch(&node, &PatchParams::default(), &patch).await?;
    }
    Ok(())
}

/// Names of the reserved Nodes.
pub fn reserved_nodes() -> Vec<String> {
    (NODES + 1..=NODES + RESERVED_NODES).map(|number| format!("node-{number}")).collect()
}

/// Names of the Nodes that one of the [`DRAINS`] scenarios has for itself.
pub fn drained_nodes(drain: usize) -> Vec<String> {
    let first = NODES + RESERVED_NODES + drain * DRAINED_NODES + 1;
    (first..first + DRAINED_NODES).map(|number| format!("node-{number}")).collect()
}

/// The first program of this name on the path.
pub fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
