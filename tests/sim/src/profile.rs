//! What the simulated members' API is called and how it answers where no public source says so.
//!
//! [`Profile`] is names: paths and commands of one release. [`Behaviour`] is the switches: one for
//! each open answer of the REST contract. Both are data, so that a scenario can set others.

pub mod wire;

use serde::{Deserialize, Serialize};

use self::wire::Wire;

/// Paths and command names of one XSLD release. The default is release 8.6.1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Profile {
    /// The release that the names belong to.
    pub release: String,
    /// What every path of the administration API begins with.
    pub admin_base: String,
    /// What every path of the data API begins with.
    pub data_base: String,
    /// Paths after the bases.
    pub paths: Paths,
    /// Commands of tasks.
    pub commands: Commands,
    /// The one key of the object that a started task is answered with.
    pub task_id_key: String,
    /// Names of fields and parameters, and words.
    pub wire: Wire,
}

/// Paths after `admin_base` (and, for `entry`, `map` and `query`, after `data_base`). `{id}` is a
/// task's number; the other names in braces are one path segment each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Paths {
    /// List of tasks (GET) and start of one (POST).
    pub tasks: String,
    /// Status of a task (GET).
    pub task_status: String,
    /// Forced cancellation of a task (PUT).
    pub cancel_task: String,
    /// The cache member group (GET).
    pub group: String,
    /// List of grids (GET).
    pub grids: String,
    /// One grid (GET, POST, PUT, DELETE).
    pub grid: String,
    /// List of grid templates (GET).
    pub grid_templates: String,
    /// One grid template (GET, PUT, DELETE).
    pub grid_template: String,
    /// Permissions of a user group (GET).
    pub permissions: String,
    /// The API's own description (GET), from the root.
    pub api_docs: String,
    /// One entry of a map (GET, POST, DELETE).
    pub entry: String,
    /// A whole map (DELETE).
    pub map: String,
    /// Keys of a map by a regular expression (GET).
    pub query: String,
}

/// Commands of tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Commands {
    /// The member that receives it joins a group.
    pub join: String,
    /// Another member leaves the group.
    pub disjoin: String,
    /// A member's grid servers are started anew.
    pub restart: String,
    /// The configuration database is copied to another member and kept equal.
    pub replicate: String,
    /// The database's replica becomes the primary.
    pub promote: String,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            release: "8.6.1".to_owned(),
            admin_base: "/wxsadmin/v1".to_owned(),
            data_base: "/wxsdata/v1".to_owned(),
            paths: Paths::default(),
            commands: Commands::default(),
            task_id_key: "taskId".to_owned(),
            wire: Wire::default(),
        }
    }
}

impl Profile {
    /// The key in [`Commands`] of a command by its name.
    pub fn command_key(&self, command: &str) -> Option<&'static str> {
        let Commands { join, disjoin, restart, replicate, promote } = &self.commands;
        let known = [
            (join, "join"),
            (disjoin, "disjoin"),
            (restart, "restart"),
            (replicate, "replicate"),
            (promote, "promote"),
        ];
        known.into_iter().find(|(name, _)| *name == command).map(|(_, key)| key)
    }
}

impl Default for Paths {
    fn default() -> Self {
        let path = str::to_owned;
        Self {
            tasks: path("/task"),
            task_status: path("/task/{id}/status"),
            cancel_task: path("/task/cancel/{id}/force"),
            group: path("/cacheMemberGroup"),
            grids: path("/grid"),
            grid: path("/grid/{name}"),
            grid_templates: path("/gridTemplate"),
            grid_template: path("/gridTemplate/{name}"),
            permissions: path("/group/{name}/permissions"),
            api_docs: path("/ibm/api/docs"),
            entry: path("/grids/{grid}/{map}/{key}"),
            map: path("/grids/{grid}/{map}"),
            query: path("/query/{grid}/{map}"),
        }
    }
}

impl Default for Commands {
    fn default() -> Self {
        Self {
            join: "NewMemberJoinTaskCommand".to_owned(),
            disjoin: "MemberDisjoinTaskCommand".to_owned(),
            restart: "RestartServersTaskCommand".to_owned(),
            replicate: "ConfigureDerbyReplicationTaskCommand".to_owned(),
            promote: "DerbyFailoverTaskCommand".to_owned(),
        }
    }
}

/// One switch for each open answer of the REST contract. The default is what the contract chose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// The task list tells each task's description.
    pub task_descriptions: bool,
    /// Tasks and their numbers are kept in the volume; a task that ran when the member went is
    /// then `Failed`.
    pub tasks_survive_restart: bool,
    /// A join under a name that the group already lists fails. Otherwise the name is listed twice.
    pub refuse_duplicate_member: bool,
    /// What becomes of a membership task while another one runs in the group.
    pub parallel_tasks: ParallelTasks,
    /// The `Content-Type` of error bodies, which are JSON whatever it says.
    pub error_content_type: String,
    /// What a member whose join failed after it was listed takes itself for.
    pub failed_join_view: FailedJoinView,
    /// Paths and commands.
    pub profile: Profile,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            task_descriptions: true,
            tasks_survive_restart: false,
            refuse_duplicate_member: true,
            parallel_tasks: ParallelTasks::Refuse,
            error_content_type: "application/atom+xml".to_owned(),
            failed_join_view: FailedJoinView::Group,
            profile: Profile::default(),
        }
    }
}

/// What becomes of a membership task while another one runs in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParallelTasks {
    /// It is refused with 409.
    Refuse,
    /// It is accepted and begins when the other one has ended.
    Queue,
}

/// What a member whose join failed after it was listed takes itself for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedJoinView {
    /// A member of the group: its database was replaced.
    Group,
    /// A group of one: its own database came back.
    Alone,
}
