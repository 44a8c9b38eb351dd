//! Child processes that end with their parent, whatever ends the parent.
//!
//! A child is started through `setpriv --pdeathsig KILL` where that program
//! exists, so that the kernel ends it when the parent dies. The signal is tied
//! to the *thread* that forked, hence one thread that lives as long as the
//! process starts all children. Where `setpriv` is missing, a pid file lets the
//! next start in the same directory end what was left over.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Why a child process could not be started or followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The program file is missing or cannot be run.
    #[error("cannot start {name} ({program})")]
    Start {
        /// Short name of the process.
        name: String,
        /// The program file.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file that belongs to the process could not be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system could not tell how the process ended.
    #[error("cannot wait for {name}")]
    Wait {
        /// Short name of the process.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Short name: used in messages.
    pub name: String,
    /// The program file, absolute.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables added to the environment.
    pub env: Vec<(String, String)>,
    /// Whether the child starts with an empty environment but for `PATH` and `env`.
    pub clean_env: bool,
    /// Where standard output and standard error go; appended to.
    pub log: PathBuf,
    /// Where the process id is kept while the process runs.
    pub pid_file: Option<PathBuf>,
}

/// A running child process. Dropping it kills the process.
#[derive(Debug)]
pub struct Guarded {
    name: String,
    pid: u32,
    child: Child,
    log: PathBuf,
    pid_file: Option<PathBuf>,
}

impl Guarded {
    /// Starts the process in a process group of its own, so that Ctrl-C in the
    /// terminal reaches only the parent, which then ends its children in order.
    pub async fn spawn(launch: Launch) -> Result<Self, ProcessError> {
        let Launch { name, program, args, env, clean_env, log, pid_file } = launch;
        let start =
            |source| ProcessError::Start { name: name.clone(), program: program.clone(), source };
        if !program.is_file() {
            return Err(start(io::Error::new(io::ErrorKind::NotFound, "no such file")));
        }
        if let Some(parent) = log.parent() {
            fs::create_dir_all(parent).map_err(file_error(parent))?;
        }
        let out = File::options().create(true).append(true).open(&log).map_err(file_error(&log))?;
        let err = out.try_clone().map_err(file_error(&log))?;
        let (first, before) = guard_prefix(&program);
        let mut command = Command::new(first);
        if clean_env {
            command.env_clear();
            command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        }
        command
            .args(before)
            .args(args)
            .envs(env)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(0)
            .kill_on_drop(true);
        let child = spawn_on_guard_thread(command).await.map_err(start)?;
        let pid = child.id().unwrap_or_default();
        if let Some(path) = &pid_file {
            fs::write(path, format!("{pid}\n{}\n", program.display())).map_err(file_error(path))?;
        }
        Ok(Self { name, pid, child, log, pid_file })
    }

    /// Short name of the process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How the process ended, or `None` while it runs.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        let status = self.child.try_wait();
        status.map_err(|source| ProcessError::Wait { name: self.name.clone(), source })
    }

    /// Waits until the process has ended and says how. Safe to cancel.
    pub async fn wait(&mut self) -> Result<ExitStatus, ProcessError> {
        let status = self.child.wait().await;
        self.forget_pid();
        status.map_err(|source| ProcessError::Wait { name: self.name.clone(), source })
    }

    /// Asks the process to end (SIGTERM), waits up to `grace`, then kills it.
    pub async fn terminate(&mut self, grace: Duration) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::TERM);
        match tokio::time::timeout(grace, self.wait()).await {
            Ok(status) => status,
            Err(_) => self.kill().await,
        }
    }

    /// Kills the process (SIGKILL) and waits until it is gone.
    pub async fn kill(&mut self) -> Result<ExitStatus, ProcessError> {
        self.signal(Signal::KILL);
        self.wait().await
    }

    /// Stops the process where it is (SIGSTOP).
    pub fn freeze(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets a stopped process go on (SIGCONT).
    pub fn thaw(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Sends a signal; a process that has ended already is no error.
    fn signal(&mut self, signal: Signal) {
        // `id` is None once the exit was reaped: the number may be another process by then.
        if let Some(pid) = self.child.id().and_then(pid_of) {
            let _ = kill_process(pid, signal);
        }
    }

    /// The last lines of the log, at most `lines`.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    fn forget_pid(&self) {
        if let Some(path) = &self.pid_file {
            let _ = fs::remove_file(path);
        }
    }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> ProcessError + use<> {
    let path = path.to_owned();
    move |source| ProcessError::File { path, source }
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// The command and leading arguments that make the kernel end `program` with its parent.
fn guard_prefix(program: &Path) -> (OsString, Vec<OsString>) {
    static SETPRIV: OnceLock<Option<PathBuf>> = OnceLock::new();
    match SETPRIV.get_or_init(|| find_in_path("setpriv")) {
        Some(setpriv) => {
            let before = ["--pdeathsig", "KILL", "--"].map(OsString::from);
            (setpriv.into(), before.into_iter().chain([program.into()]).collect())
        }
        None => (program.into(), Vec::new()),
    }
}

/// The first file of that name in the folders of `PATH`.
pub fn find_in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

type Order = (Command, Handle, oneshot::Sender<io::Result<Child>>);

async fn spawn_on_guard_thread(command: Command) -> io::Result<Child> {
    static ORDERS: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let orders = ORDERS.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, runtime, reply) in receiver {
                let _entered = runtime.enter();
                // A caller that gave up drops the child, which kills it.
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, answer) = oneshot::channel();
    let gone = |_| io::Error::other("the thread that starts processes has ended");
    orders.send((command, Handle::current(), reply)).map_err(|e| gone(e.to_string()))?;
    answer.await.map_err(|e| gone(e.to_string()))?
}

/// The last `lines` lines of a file, or a note that it cannot be read.
pub fn tail(path: &Path, lines: usize) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(16 * 1024)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    match read() {
        Ok(text) => {
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        }
        Err(error) => format!("({} cannot be read: {error})", path.display()),
    }
}

/// Ends the process that a killed former run left behind, if its pid file names
/// one that still runs. A process counts as ours only when it runs the program
/// in the pid file with an argument that lies under `dir`: process ids are reused.
pub async fn end_leftover(pid_file: &Path, dir: &Path) -> Result<bool, ProcessError> {
    let text = match fs::read_to_string(pid_file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(ProcessError::File { path: pid_file.to_owned(), source }),
    };
    let mut lines = text.lines();
    let pid = lines.next().and_then(|line| line.parse::<u32>().ok());
    let program = lines.next().unwrap_or_default().to_owned();
    let mut ended = false;
    if let Some(pid) = pid
        && let Some(process) = pid_of(pid)
    {
        let deadline = Instant::now() + Duration::from_secs(10);
        while is_ours(pid, &program, dir) && Instant::now() < deadline {
            ended = true;
            let _ = kill_process(process, Signal::KILL);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    fs::remove_file(pid_file).map_err(file_error(pid_file))?;
    Ok(ended)
}

fn is_ours(pid: u32, program: &str, dir: &Path) -> bool {
    // The command line of a process that has ended but was not reaped is empty.
    let Ok(command_line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let text = String::from_utf8_lossy(&command_line);
    let dir = format!("{}/", dir.display());
    let mut words = text.split('\0');
    !program.is_empty() && words.next() == Some(program) && words.any(|word| word.contains(&dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(dir: &Path, args: &[&str]) -> Launch {
        Launch {
            name: "sh".to_owned(),
            program: "/bin/sh".into(),
            args: args.iter().map(ToString::to_string).collect(),
            env: vec![("GREETING".to_owned(), "hello".to_owned())],
            clean_env: true,
            log: dir.join("sh.log"),
            pid_file: Some(dir.join("sh.pid")),
        }
    }

    #[tokio::test]
    async fn output_goes_to_the_log_and_the_exit_code_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let script = launch(dir.path(), &["-c", "echo $GREETING; exit 3"]);
        let mut process = Guarded::spawn(script).await.unwrap();
        assert_eq!(process.wait().await.unwrap().code(), Some(3));
        assert_eq!(process.log_tail(5), "hello");
        assert!(!dir.path().join("sh.pid").exists());
    }

    #[tokio::test]
    async fn a_process_that_ignores_the_request_is_killed_after_the_grace() {
        let dir = tempfile::tempdir().unwrap();
        let stubborn = launch(dir.path(), &["-c", "trap '' TERM; while :; do sleep 0.05; done"]);
        let mut process = Guarded::spawn(stubborn).await.unwrap();
        let status = process.terminate(Duration::from_millis(200)).await.unwrap();
        assert!(!status.success());
    }

    #[tokio::test]
    async fn a_missing_program_is_named_in_the_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut missing = launch(dir.path(), &[]);
        missing.program = dir.path().join("nothing");
        let error = Guarded::spawn(missing).await.unwrap_err();
        assert!(error.to_string().contains("nothing"), "{error}");
    }

    #[tokio::test]
    async fn a_leftover_is_ended_only_when_its_command_line_names_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let here = format!("--data-dir={}/data", dir.path().display());
        let script = "while :; do sleep 0.05; done";
        let mut ours = Guarded::spawn(launch(dir.path(), &["-c", script, &here])).await.unwrap();
        let copy = dir.path().join("copy.pid");
        fs::copy(dir.path().join("sh.pid"), &copy).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        // Until the guard has become the shell, the command line is the guard's.
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_ours(ours.pid(), "/bin/sh", dir.path()) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!end_leftover(&copy, &elsewhere).await.unwrap());
        assert!(ours.try_wait().unwrap().is_none());
        assert!(end_leftover(&dir.path().join("sh.pid"), dir.path()).await.unwrap());
        assert!(!ours.wait().await.unwrap().success());
    }
}
