//! The group's configuration database: what the primary holds and the others copy. Plain data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::environment::Environment;

/// The administrator that every group has.
pub(super) const ADMINISTRATOR: &str = "xsadmin";

/// The configuration of one group. The primary's is the truth; the copies of the others are as old
/// as their last contact with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Database {
    /// Made with the group; two groups of one name differ by it.
    pub(super) group: Uuid,
    /// The name that is shown.
    pub(super) group_name: String,
    /// Counts promotions. Of two primaries the one with the lower term gives way.
    pub(super) term: u64,
    /// Counts changes within the term.
    pub(super) revision: u64,
    /// Who holds the database.
    pub(super) primary: Uuid,
    /// Who keeps it replicated, when replication is set up.
    pub(super) replica: Option<Uuid>,
    pub(super) secret_key: String,
    pub(super) users: BTreeMap<String, String>,
    /// In the order in which they joined.
    pub(super) members: Vec<MemberEntry>,
    pub(super) grids: BTreeMap<String, Grid>,
    pub(super) templates: BTreeMap<String, Template>,
}

/// A member as the group has recorded it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MemberEntry {
    /// Made with the member's volume; a member whose volume was lost is another one.
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) host_name: String,
    /// The address at the time of the join.
    pub(super) address: std::net::Ipv4Addr,
    pub(super) capacity: u32,
    pub(super) is_catalog: bool,
    /// Whether its join came to its end.
    pub(super) joined: bool,
}

/// A data grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Grid {
    /// The body that it was created or updated with, defaults filled in.
    pub(super) settings: Map<String, Value>,
    pub(super) shape: GridShape,
    /// Whether it was ever started.
    pub(super) started: bool,
    /// Whether every partition has the copies that the present members allow.
    pub(super) placed: bool,
    /// For each partition, who keeps or is to keep a copy; the first is asked first.
    pub(super) placement: Vec<Vec<Uuid>>,
}

/// The numbers of a grid that decide where its data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct GridShape {
    pub(super) partitions: usize,
    /// Replicas besides the primary copy.
    pub(super) replicas: usize,
}

/// A grid template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Template {
    pub(super) object_grid_xml: String,
    pub(super) deployment_policy_xml: String,
}

/// A member's status as the group shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum MemberStatus {
    Online,
    Starting,
    Stopped,
    Unreachable,
}

/// What one member knows of its group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct View {
    pub(super) database: Database,
    pub(super) statuses: BTreeMap<Uuid, MemberStatus>,
}

impl Database {
    /// The database of a fresh group of one.
    pub(super) fn of_one(environment: &Environment, member: MemberEntry) -> Self {
        Self {
            group: Uuid::new_v4(),
            group_name: environment.group.clone(),
            term: 1,
            revision: 1,
            primary: member.id,
            replica: None,
            secret_key: environment.secret_key.clone(),
            users: BTreeMap::from([(ADMINISTRATOR.to_owned(), environment.password.clone())]),
            members: vec![member],
            grids: BTreeMap::new(),
            templates: BTreeMap::new(),
        }
    }

    /// The entry with this id.
    pub(super) fn member(&self, id: Uuid) -> Option<&MemberEntry> {
        self.members.iter().find(|member| member.id == id)
    }

    /// The first entry with this name.
    pub(super) fn member_named(&self, name: &str) -> Option<&MemberEntry> {
        self.members.iter().find(|member| member.name == name)
    }

    /// Whether `other` is a later state of the same group.
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.group == other.group && (self.term, self.revision) < (other.term, other.revision)
    }

    /// What the members of this group prove to one another that they belong to it.
    pub(super) fn peer_token(&self) -> String {
        peer_token(&self.secret_key)
    }
}

/// What proves knowledge of a group's secret key without telling it.
pub(super) fn peer_token(secret_key: &str) -> String {
    let key = blake3::derive_key("xsld-sim 2026 peers of one group", secret_key.as_bytes());
    blake3::Hash::from(key).to_hex().to_string()
}
