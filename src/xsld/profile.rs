//! The API profile: every path, command, parameter, field and word of the cache's
//! REST API that no public source states, as data.
//!
//! A user whose release differs writes a ConfigMap with the values that differ;
//! everything left out keeps the value of release 8.6.1.

mod check;
mod names;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::check::{check_command, check_distinct, check_name, check_path, check_words, invalid};
pub use self::names::{
    Commands, DisjoinNames, Fields, GridFields, GridWords, GroupFields, JoinNames, MemberFields,
    MemberWords, Names, PromoteNames, ReplicationNames, ReplicationWords, RestartNames, TaskFields,
    TaskWords, TemplateFields, Words,
};

/// Longest text of a profile, in bytes.
pub const MAX_PROFILE: usize = 64 * 1024;

/// Keys under which a ConfigMap may hold the profile.
pub const PROFILE_KEYS: [&str; 3] = ["profile.yaml", "profile.json", "profile"];

/// Why a profile cannot be used.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// The ConfigMap holds none of the keys, or more than one.
    #[error(
        "the ConfigMap must hold exactly one of the keys profile.yaml, profile.json, profile; \
         it holds {found}"
    )]
    Keys {
        /// How many of the keys it holds.
        found: usize,
    },
    /// The text is too long to be a profile.
    #[error("the profile has {bytes} bytes; at most {MAX_PROFILE} are read")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The text is not YAML or JSON of the right shape, or has an unknown key.
    #[error("the profile cannot be read: {0}")]
    Syntax(String),
    /// A value cannot be used.
    #[error("the profile's {field}: {problem}")]
    Invalid {
        /// Where, as a path through the document.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// Names of the cache's REST API for one release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApiProfile {
    /// Release that the profile is for; only shown.
    pub release: String,
    /// TCP port of the administration API.
    pub admin_port: u16,
    /// What every path but `apiDocs` begins with.
    pub base: String,
    /// Paths after `base`.
    pub paths: Paths,
    /// Commands of tasks and the names of their parameters.
    pub commands: Commands,
    /// Names of the fields in answers and in bodies that no source states.
    pub fields: Fields,
    /// Words that stand for a status.
    pub words: Words,
    /// Error text which says that a task's status cannot be told just now.
    pub task_status_unavailable: String,
}

/// Paths of the API. `{id}` stands for a task's number, `{name}` for a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Paths {
    /// List of tasks (GET) and start of one (POST).
    pub tasks: String,
    /// Status of a task; holds `{id}`.
    pub task_status: String,
    /// Forced cancellation of a task; holds `{id}`.
    pub cancel_task: String,
    /// The cache member group.
    pub group: String,
    /// List of grids.
    pub grids: String,
    /// One grid; holds `{name}`.
    pub grid: String,
    /// One template of grids; holds `{name}`.
    pub grid_template: String,
    /// The API's own description, from the root and not after `base`.
    pub api_docs: String,
}

impl Default for Paths {
    fn default() -> Paths {
        Paths {
            tasks: "/task".to_owned(),
            task_status: "/task/{id}/status".to_owned(),
            cancel_task: "/task/cancel/{id}/force".to_owned(),
            group: "/cacheMemberGroup".to_owned(),
            grids: "/grid".to_owned(),
            grid: "/grid/{name}".to_owned(),
            grid_template: "/gridTemplate/{name}".to_owned(),
            api_docs: "/ibm/api/docs".to_owned(),
        }
    }
}

impl Default for ApiProfile {
    /// The profile of release 8.6.1.
    fn default() -> ApiProfile {
        ApiProfile {
            release: "8.6.1".to_owned(),
            admin_port: 9445,
            base: "/wxsadmin/v1".to_owned(),
            paths: Paths::default(),
            commands: Commands::default(),
            fields: Fields::default(),
            words: Words::default(),
            task_status_unavailable: "Failed to get the task status".to_owned(),
        }
    }
}

impl ApiProfile {
    /// Reads a profile from the data of a ConfigMap.
    ///
    /// # Errors
    /// When it does not hold exactly one of [`PROFILE_KEYS`], or as [`Self::parse`].
    pub fn from_config_map(data: &BTreeMap<String, String>) -> Result<ApiProfile, ProfileError> {
        let found: Vec<&String> = PROFILE_KEYS.iter().filter_map(|key| data.get(*key)).collect();
        match found.as_slice() {
            [text] => ApiProfile::parse(text),
            _ => Err(ProfileError::Keys { found: found.len() }),
        }
    }

    /// Reads a profile from YAML or JSON. What is left out keeps its default.
    ///
    /// # Errors
    /// When the text is too long, is not of this shape, has a key that is not
    /// known, or holds a value that cannot be used.
    pub fn parse(text: &str) -> Result<ApiProfile, ProfileError> {
        if text.len() > MAX_PROFILE {
            return Err(ProfileError::TooLong { bytes: text.len() });
        }
        let profile: ApiProfile = serde_saphyr::from_str(text)
            .map_err(|error| ProfileError::Syntax(super::text::bounded(&error.to_string())))?;
        profile.validate()?;
        Ok(profile)
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`ProfileError::Invalid`] for the first value that cannot be used.
    pub fn validate(&self) -> Result<(), ProfileError> {
        check_name("release", &self.release)?;
        check_name("taskStatusUnavailable", &self.task_status_unavailable)?;
        if self.admin_port == 0 {
            return Err(invalid("adminPort", "0 is not a port"));
        }
        if !self.base.is_empty() {
            check_path("base", &self.base, None)?;
        }
        self.validate_paths()?;
        self.validate_commands()?;
        self.validate_fields()?;
        let words = &self.words;
        check_words("words.member", &words.member.entries())?;
        check_words("words.task", &words.task.entries())?;
        check_words("words.grid", &words.grid.entries())?;
        check_words("words.replication", &words.replication.entries())
    }

    fn validate_paths(&self) -> Result<(), ProfileError> {
        let Paths { tasks, task_status, cancel_task, group, grids, grid, grid_template, api_docs } =
            &self.paths;
        check_path("paths.tasks", tasks, None)?;
        check_path("paths.taskStatus", task_status, Some("{id}"))?;
        check_path("paths.cancelTask", cancel_task, Some("{id}"))?;
        check_path("paths.group", group, None)?;
        check_path("paths.grids", grids, None)?;
        check_path("paths.grid", grid, Some("{name}"))?;
        check_path("paths.gridTemplate", grid_template, Some("{name}"))?;
        check_path("paths.apiDocs", api_docs, None)
    }

    fn validate_commands(&self) -> Result<(), ProfileError> {
        let Commands { join, disjoin, restart_servers, configure_replication, promote } =
            &self.commands;
        check_command("commands.join", &join.entries())?;
        check_command("commands.disjoin", &disjoin.entries())?;
        check_command("commands.restartServers", &restart_servers.entries())?;
        check_command("commands.configureReplication", &configure_replication.entries())?;
        check_command("commands.promote", &promote.entries())
    }

    fn validate_fields(&self) -> Result<(), ProfileError> {
        let Fields { group, member, task, grid, grid_template } = &self.fields;
        check_words("fields.group", &group.entries())?;
        check_words("fields.member", &member.entries())?;
        check_words("fields.task", &task.entries())?;
        check_words("fields.grid", &grid.entries())?;
        check_distinct("fields.gridTemplate", &grid_template.entries())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_document_is_the_default() {
        assert_eq!(ApiProfile::parse("{}").unwrap(), ApiProfile::default());
        ApiProfile::default().validate().unwrap();
    }

    #[test]
    fn the_default_survives_json() {
        let text = serde_json::to_string(&ApiProfile::default()).unwrap();
        assert_eq!(ApiProfile::parse(&text).unwrap(), ApiProfile::default());
    }

    #[test]
    fn what_is_given_replaces_only_itself() {
        let text = "
release: 8.6.2.1
adminPort: 19445
paths: {group: /group/all}
commands:
  disjoin: {command: LeaveTaskCommand}
words:
  member: {online: [Online, Started]}
fields:
  grid: {name: title}
";
        let profile = ApiProfile::parse(text).unwrap();
        assert_eq!(profile.release, "8.6.2.1");
        assert_eq!(profile.paths.group, "/group/all");
        assert_eq!(profile.paths.tasks, "/task");
        assert_eq!(profile.commands.disjoin.command, "LeaveTaskCommand");
        assert_eq!(profile.commands.disjoin.member_name, "memberName");
        assert!(profile.words.member.online.has("STARTED"));
        assert_eq!(profile.fields.grid.name.iter().collect::<Vec<_>>(), ["title"]);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_place() {
        let cases = [
            ("adminPort: 0", "adminPort"),
            ("release: ''", "release"),
            ("base: wxsadmin", "base: must begin with /"),
            ("paths: {tasks: /task?x=1}", "paths.tasks"),
            ("paths: {tasks: /a/../b}", "paths.tasks"),
            ("paths: {tasks: /a//b}", "paths.tasks"),
            ("paths: {group: '/group/{name}'}", "paths.group"),
            ("paths: {taskStatus: /task/status}", "paths.taskStatus: must hold {id} exactly once"),
            ("paths: {grid: '/grid/{name}/{name}'}", "paths.grid"),
            ("commands: {join: {secretKey: isCatalog}}", "commands.join.catalog"),
            ("commands: {promote: {command: ' '}}", "commands.promote.command"),
            ("words: {task: {success: [Done, running]}}", "words.task.success"),
            ("words: {grid: {error: []}}", "words.grid.error: must hold at least one name"),
            ("fields: {member: {name: status}}", "fields.member.status"),
            ("fields: {gridTemplate: {objectGridXml: deploymentPolicyXml}}", "fields.gridTemplate"),
            ("taskStatusUnavailable: ''", "taskStatusUnavailable"),
        ];
        for (text, place) in cases {
            let error = ApiProfile::parse(text).unwrap_err().to_string();
            assert!(error.contains(place), "{text}: {error}");
        }
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        for text in ["adminport: 9445", "paths: {task: /task}", "commands: {join: {colour: x}}"] {
            let error = ApiProfile::parse(text).unwrap_err();
            assert!(matches!(error, ProfileError::Syntax(_)), "{text}: {error}");
        }
        let error = ApiProfile::parse("paths: {task: /task}").unwrap_err().to_string();
        assert!(error.contains("task"), "{error}");
    }

    #[test]
    fn text_that_is_no_profile_is_refused() {
        for text in ["[1, 2]", "adminPort: many", "a: [", "adminPort: 70000", "- x\n y: {"] {
            assert!(ApiProfile::parse(text).is_err(), "{text}");
        }
        let long = format!("# {}", "x".repeat(MAX_PROFILE));
        assert!(matches!(ApiProfile::parse(&long), Err(ProfileError::TooLong { .. })));
    }

    #[test]
    fn a_config_map_holds_exactly_one_profile() {
        let map = |keys: &[&str]| {
            keys.iter().map(|key| ((*key).to_owned(), "{}".to_owned())).collect::<BTreeMap<_, _>>()
        };
        assert!(ApiProfile::from_config_map(&map(&["profile.yaml"])).is_ok());
        assert!(ApiProfile::from_config_map(&map(&["profile.json", "README"])).is_ok());
        for keys in [vec![], vec!["other"], vec!["profile.yaml", "profile"]] {
            let error = ApiProfile::from_config_map(&map(&keys)).unwrap_err();
            assert!(matches!(error, ProfileError::Keys { .. }), "{keys:?}");
        }
    }

    /// Fails unless every leaf of `default` has another value in `other`; the port aside, which
    /// public sources state.
    fn assert_all_differ(default: &serde_json::Value, other: &serde_json::Value, place: &str) {
        let Some(fields) = default.as_object() else {
            assert_ne!(default, other, "{place}");
            return;
        };
        for (name, value) in fields.iter().filter(|(name, _)| *name != "adminPort") {
            assert_all_differ(value, &other[name], &format!("{place}.{name}"));
        }
    }

    #[test]
    fn the_sample_gives_every_name_another_value() {
        let sample = include_str!("../../crds/samples/api-profile.yaml");
        let map: serde_json::Value = serde_saphyr::from_str(sample).unwrap();
        let data = serde_json::from_value(map["data"].clone()).unwrap();
        let sample = ApiProfile::from_config_map(&data).unwrap();
        let json = |profile: &ApiProfile| serde_json::to_value(profile).unwrap();
        assert_all_differ(&json(&ApiProfile::default()), &json(&sample), "profile");
    }
}
