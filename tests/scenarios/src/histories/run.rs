//! Many histories side by side in one world; what is kept of one that fails.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::runtime::Runtime;
use xsld_histories::act::NODES;
use xsld_histories::generate::generate;
use xsld_histories::oracle::{Finding, judge, signature};
use xsld_histories::play::play;
use xsld_histories::script::Script;
use xsld_histories::shrink::shrink;
use xsld_histories::timeline;
use xsld_histories::weights::Weights;

use super::world::{Place, TAINT};
use crate::Result;
use crate::context::Context;
use crate::runner::{on_this_thread, progress, say};
use crate::stage::{Site, Stage, reserve_nodes};

/// A history that takes longer hangs: acts and waits, then the longest bound, then rest.
const LONGEST: Duration = Duration::from_secs(1200);

/// What is to be told.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Scripts that are told first.
    pub scripts: Vec<(String, Script)>,
    /// How many histories are made then; as many as the time allows without it.
    pub count: Option<u64>,
    /// No history is begun that would probably end later than this.
    pub time: Option<Duration>,
    /// Seed of the first; each later one has the next.
    pub seed: u64,
    /// Acts of each.
    pub size: usize,
    /// How often what is chosen.
    pub weights: Weights,
    /// How many side by side.
    pub threads: usize,
    /// Whether a failing one is shrunk, and by how many tries.
    pub tries: usize,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Histories in which everything held.
    pub passed: usize,
    /// Names of those in which something did not.
    pub failed: Vec<String>,
}

/// A history with a name.
#[derive(Clone, Debug)]
struct Job {
    name: String,
    script: Script,
}

/// The queue of a run.
struct Queue {
    kept: Mutex<VecDeque<Job>>,
    made: AtomicUsize,
    plan: Plan,
    begun: Instant,
    /// The longest history so far, in seconds.
    longest: AtomicUsize,
}

impl Queue {
    fn next(&self) -> Option<Job> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if kept.is_some() {
            return kept;
        }
        let longest = Duration::from_secs(self.longest.load(Ordering::Relaxed).max(60) as u64);
        if self.plan.time.is_some_and(|time| self.begun.elapsed() + longest > time) {
            return None;
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed) as u64;
        if self.plan.count.is_some_and(|count| number >= count)
            || (self.plan.count.is_none() && self.plan.time.is_none())
        {
            return None;
        }
        let seed = self.plan.seed.wrapping_add(number);
        let script = generate(seed, self.plan.size, self.plan.weights);
        Some(Job { name: format!("seed-{seed}"), script })
    }
}

/// Tells what the plan says. Each history's line goes to `told` as soon as it is over.
///
/// # Errors
/// When there is no world to tell them in.
pub fn run(runtime: &Arc<Runtime>, plan: Plan, told: &(dyn Fn(&str) + Sync)) -> Result<Outcome> {
    let threads = plan.threads.max(1);
    let site = Site { folder: "histories", nodes: threads * NODES as usize };
    let stage = runtime.block_on(async {
        let stage = Stage::raise(site, progress()).await?;
        let all = (0..threads).flat_map(nodes).map(|node| (node, TAINT));
        reserve_nodes(&stage.world, all).await?;
        anyhow::Ok(Arc::new(stage))
    })?;
    let kept = plan.scripts.iter();
    let kept = kept.map(|(name, script)| Job { name: name.clone(), script: script.clone() });
    let queue = Queue {
        kept: Mutex::new(kept.collect()),
        made: AtomicUsize::new(0),
        plan,
        begun: Instant::now(),
        longest: AtomicUsize::new(0),
    };
    let outcome = Mutex::new(Outcome::default());
    let numbers = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for slot in 0..threads {
            let (queue, outcome, numbers, stage) = (&queue, &outcome, &numbers, &stage);
            scope.spawn(move || {
                while let Some(job) = queue.next() {
                    let teller = Teller { stage: stage.clone(), slot, numbers };
                    let failed = on_this_thread(runtime, teller.tell_and_keep(&job, queue));
                    let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                    let word = if failed { "FAILED" } else { "ok" };
                    told(&format!("test {} ... {word}", job.name));
                    match failed {
                        true => outcome.failed.push(job.name),
                        false => outcome.passed += 1,
                    }
                }
            });
        }
    });
    let stage = Arc::into_inner(stage).context("something still holds the world")?;
    runtime.block_on(stage.world.stop())?;
    Ok(outcome.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The nodes of a slot.
fn nodes(slot: usize) -> Vec<String> {
    let first = slot * NODES as usize + 1;
    (first..first + NODES as usize).map(|number| format!("node-{number}")).collect()
}

/// Tells histories in one slot of the world.
struct Teller<'a> {
    stage: Arc<Stage>,
    slot: usize,
    numbers: &'a AtomicUsize,
}

/// What one telling came to.
struct Told {
    findings: Vec<Finding>,
    /// What is told of a failure.
    text: String,
    /// The history's folder; gone when all held.
    dir: PathBuf,
}

impl Teller<'_> {
    /// Tells a history, and keeps what there is of it when it fails; whether it did.
    async fn tell_and_keep(&self, job: &Job, queue: &Queue) -> bool {
        let begun = Instant::now();
        let told = self.tell(&job.name, &job.script).await;
        let seconds = begun.elapsed().as_secs_f64();
        queue.longest.fetch_max(seconds as usize, Ordering::Relaxed);
        let told = match told {
            Ok(told) => told,
            Err(error) => {
                say(&format!("FAILED {}: {error:#}", job.name));
                return true;
            }
        };
        let Some((rule, subject)) = signature(&told.findings) else {
            say(&format!("ok {} in {seconds:.1} s, {} acts", job.name, job.script.steps.len()));
            return false;
        };
        let kept = keep(&told, &job.script);
        let place = kept.as_ref().map_or_else(|e| format!("{e:#}"), |at| at.display().to_string());
        say(&format!(
            "FAILED {} in {seconds:.1} s: {rule}: {subject}\n  kept in {place}",
            job.name
        ));
        if let (Ok(place), true) = (kept, queue.plan.tries > 0) {
            self.shorten(job, &told, queue.plan.tries, &place).await;
        }
        true
    }

    /// Looks for a shorter script that fails alike, and keeps it beside the long one.
    async fn shorten(&self, job: &Job, told: &Told, tries: usize, place: &Path) {
        let wanted = signature(&told.findings);
        let short = shrink(&job.script, tries, async |script| {
            let name = format!("{}-short", job.name);
            let again = self.tell(&name, script).await;
            let fails = again.as_ref().is_ok_and(|told| signature(&told.findings) == wanted);
            if let Ok(told) = &again {
                let _ = std::fs::remove_dir_all(&told.dir);
            }
            say(&format!("{name}: {} acts, fails alike: {fails}", script.steps.len()));
            fails
        })
        .await;
        let file = place.join("script-short.json");
        if let Err(error) = std::fs::write(&file, short.text()) {
            say(&format!("cannot write {}: {error}", file.display()));
        }
        say(&format!("{}: {} acts are enough", job.name, short.steps.len()));
    }

    async fn tell(&self, name: &str, script: &Script) -> Result<Told> {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let c = Context::open(self.stage.clone(), &format!("history-{name}"), number).await?;
        let place = Place::new(&c, nodes(self.slot));
        let played = tokio::time::timeout(LONGEST, async {
            place.begin().await?;
            play(&place, script).await
        })
        .await;
        let (findings, text) = match played {
            Ok(Ok(evidence)) => {
                let findings = judge(&evidence);
                let text = timeline::told(&evidence, &findings);
                (findings, text)
            }
            Ok(Err(broken)) => (vec![of_the_world(&broken.0)], broken.0),
            Err(_) => {
                let why = format!("not over after {LONGEST:?}");
                (vec![of_the_world(&why)], why)
            }
        };
        let text = match findings.is_empty() {
            true => text,
            false => {
                let error = anyhow::anyhow!("{text}");
                crate::report::failure(&c, &error).await
            }
        };
        place.give_back().await;
        c.close(!findings.is_empty()).await;
        Ok(Told { findings, text, dir: c.dir.clone() })
    }
}

/// A failure of the world itself, or of what tells histories in it.
fn of_the_world(why: &str) -> Finding {
    let subject = why.split(['(', ':', '\n']).next().unwrap_or_default().to_owned();
    Finding { rule: "world_failed", subject, told: why.to_owned() }
}

/// Keeps script, log, journal and timeline in `target/histories/<run>/<seed>/`.
fn keep(told: &Told, script: &Script) -> Result<PathBuf> {
    let runs = told.dir.parent().and_then(Path::parent).context("a folder without a parent")?;
    let name = told.dir.file_name().context("a folder without a name")?;
    let place = match script.seed {
        0 => runs.join(name),
        seed => runs.join(seed.to_string()),
    };
    let _ = std::fs::remove_dir_all(&place);
    std::fs::write(told.dir.join("script.json"), script.text())?;
    std::fs::write(told.dir.join("failure.txt"), &told.text)?;
    std::fs::rename(&told.dir, &place)?;
    Ok(place)
}

/// The scripts of a folder, by name.
///
/// # Errors
/// When one is no script.
pub fn scripts(folder: &Path) -> Result<Vec<(String, Script)>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    files.iter().map(|file| script(file)).collect()
}

/// The script of a file, with the file's name.
///
/// # Errors
/// When it is no script.
pub fn script(file: &Path) -> Result<(String, Script)> {
    let shown = file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| shown.clone())?;
    let script = Script::parse(&text).map_err(|why| anyhow::anyhow!("{shown}: {why}"))?;
    ensure!(!script.steps.is_empty(), "{shown} has no acts");
    let name = file.file_stem().map_or(shown, |stem| stem.to_string_lossy().into_owned());
    Ok((name, script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kept_script_is_one_and_says_what_it_is_kept_for() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../histories");
        for (name, script) in scripts(&folder).unwrap() {
            assert!(!script.about.is_empty(), "{name} does not say what it is kept for");
        }
    }

    #[test]
    fn slots_have_nodes_of_their_own() {
        assert_eq!(nodes(0), ["node-1", "node-2", "node-3", "node-4"]);
        assert!(nodes(1).iter().all(|node| !nodes(0).contains(node)));
    }
}
