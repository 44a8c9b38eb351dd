//! The names that a profile holds, each group with its defaults.

use serde::{Deserialize, Serialize};

macro_rules! names {
    ($(#[$doc:meta])* $type:ident {
        $($(#[$field_doc:meta])* $field:ident = $value:literal,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct $type { $($(#[$field_doc])* pub $field: String,)+ }

        impl Default for $type {
            fn default() -> $type {
                $type { $($field: $value.to_owned(),)+ }
            }
        }

        impl $type {
            /// Each value with the name of its key in the document.
            pub(super) fn entries(&self) -> Vec<(&'static str, &str)> {
                vec![$((stringify!($field), self.$field.as_str()),)+]
            }
        }
    };
}

macro_rules! many_names {
    ($(#[$doc:meta])* $type:ident {
        $($(#[$field_doc:meta])* $field:ident = [$($value:literal),+],)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
        pub struct $type { $($(#[$field_doc])* pub $field: Names,)+ }

        impl Default for $type {
            fn default() -> $type {
                $type { $($field: Names::of(&[$($value),+]),)+ }
            }
        }

        impl $type {
            /// Each value with the name of its key in the document.
            pub(super) fn entries(&self) -> Vec<(&'static str, &Names)> {
                vec![$((stringify!($field), &self.$field),)+]
            }
        }
    };
}

/// Commands of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Commands {
    /// A member joins the group.
    pub join: JoinNames,
    /// A member leaves the group.
    pub disjoin: DisjoinNames,
    /// Servers of a member start anew.
    pub restart_servers: RestartNames,
    /// The configuration database gets a replica.
    pub configure_replication: ReplicationNames,
    /// The replica becomes the primary.
    pub promote: PromoteNames,
}

names! {
    /// The join command and its parameters.
    JoinNames {
        /// The command.
        command = "NewMemberJoinTaskCommand",
        /// Secret key of the group.
        secret_key = "secretKey",
        /// Name of the new member.
        member_name = "memberName",
        /// Address of a member already in the group.
        group_host = "cacheMemberGroupHost",
        /// Whether the new member runs a catalog server, `"true"` or `"false"`.
        catalog = "isCatalog",
    }
}

names! {
    /// The disjoin command and its parameters.
    DisjoinNames {
        /// The command.
        command = "MemberDisjoinTaskCommand",
        /// Name of the member that leaves.
        member_name = "memberName",
    }
}

names! {
    /// The command that restarts a member's servers and its parameters.
    RestartNames {
        /// The command.
        command = "RestartServersTaskCommand",
        /// Name of the member.
        member_name = "memberName",
        /// Whether its grid servers restart too, `"true"` or `"false"`.
        grid_servers = "restartGridServers",
    }
}

names! {
    /// The command that sets up replication and its parameters.
    ReplicationNames {
        /// The command.
        command = "ConfigureDerbyReplicationTaskCommand",
        /// Name of the member that is to hold the replica.
        replica_name = "slaveMemberName",
    }
}

names! {
    /// The command that makes the replica the primary and its parameters.
    PromoteNames {
        /// The command.
        command = "DerbyFailoverTaskCommand",
        /// Name of the member that holds the replica.
        member_name = "memberName",
    }
}

/// One or more names for the same thing; the first that occurs is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "OneOrMany", into = "Vec<String>")]
pub struct Names(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Names {
    fn from(names: OneOrMany) -> Names {
        match names {
            OneOrMany::One(name) => Names(vec![name]),
            OneOrMany::Many(names) => Names(names),
        }
    }
}

impl From<Names> for Vec<String> {
    fn from(names: Names) -> Vec<String> {
        names.0
    }
}

impl Names {
    fn of(names: &[&str]) -> Names {
        Names(names.iter().map(|name| (*name).to_owned()).collect())
    }

    /// The names in the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// True when `word` is one of the names; the case of letters does not matter.
    pub fn has(&self, word: &str) -> bool {
        self.0.iter().any(|name| name.eq_ignore_ascii_case(word))
    }
}

/// Names of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fields {
    /// Of the group.
    pub group: GroupFields,
    /// Of a member in the group.
    pub member: MemberFields,
    /// Of a task, in a list or alone.
    pub task: TaskFields,
    /// Of a grid.
    pub grid: GridFields,
    /// Of a template, in answers and in the body of an upload.
    pub grid_template: TemplateFields,
}

many_names! {
    /// Fields of the group.
    GroupFields {
        /// Name of the group.
        name = ["cacheMemberGroupName"],
        /// List of its members.
        members = ["members"],
        /// True when the answer is what the member knew before it lost the primary.
        stale = ["stale"],
    }
}

many_names! {
    /// Fields of a member.
    MemberFields {
        /// Its name.
        name = ["memberName"],
        /// Its host name.
        host = ["hostName"],
        /// Its IP address.
        address = ["ipAddress"],
        /// Its status.
        status = ["status"],
        /// Its capacity in GB.
        capacity = ["capacity"],
        /// What it holds, in MB.
        used = ["usedCapacity"],
        /// Whether it runs a catalog server.
        catalog = ["isCatalog"],
        /// Whether it is the primary.
        primary = ["isPrimary"],
        /// Its part in replication.
        replication = ["replicationRole"],
    }
}

many_names! {
    /// Fields of a task.
    TaskFields {
        /// Its number.
        id = ["taskId"],
        /// Its command.
        command = ["command"],
        /// Its description.
        description = ["description"],
        /// Its overall status.
        status = ["status"],
        /// Its progress in percent.
        progress = ["progress"],
        /// Text for people.
        message = ["message"],
        /// The member that it works on.
        member = ["memberName"],
        /// The time of its start.
        started = ["startTime"],
    }
}

many_names! {
    /// Fields of a grid.
    GridFields {
        /// Its name.
        name = ["gridName", "name"],
        /// Its status.
        status = ["status"],
    }
}

names! {
    /// Fields of a template.
    TemplateFields {
        /// The ObjectGrid descriptor.
        object_grid_xml = "objectGridXml",
        /// The deployment policy.
        deployment_policy_xml = "deploymentPolicyXml",
    }
}

/// Words for a status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Words {
    /// Of a member.
    pub member: MemberWords,
    /// Of a task.
    pub task: TaskWords,
    /// Of a grid.
    pub grid: GridWords,
    /// Of a member's part in replication.
    pub replication: ReplicationWords,
}

many_names! {
    /// Words for a member's status.
    MemberWords {
        /// It serves.
        online = ["Online"],
        /// It starts.
        starting = ["Starting"],
        /// It was stopped.
        stopped = ["Stopped"],
        /// The group cannot reach it.
        unreachable = ["Unreachable"],
    }
}

many_names! {
    /// Words for a task's status.
    TaskWords {
        /// It works.
        running = ["Running"],
        /// It ended well.
        success = ["Success"],
        /// It ended badly.
        failed = ["Failed"],
    }
}

many_names! {
    /// Words for a grid's status.
    GridWords {
        /// It is defined but not placed.
        created = ["Created"],
        /// It serves.
        online = ["Online"],
        /// It cannot serve.
        error = ["Error"],
    }
}

many_names! {
    /// Words for a member's part in replication.
    ReplicationWords {
        /// It holds the configuration database.
        primary = ["master"],
        /// It holds the replica.
        replica = ["slave"],
        /// It holds neither.
        none = ["none"],
    }
}
