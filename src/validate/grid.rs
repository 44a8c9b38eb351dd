//! `DataGrid`: every rule on its own, and the changes that are allowed.

use super::{Findings, Invalid, LONGEST_NAME, labels, unsigned};
use crate::crd::{
    DataGrid, DataGridSpec, DeletionPolicy, DriftPolicy, GridType, MAX_PARTITIONS, ObjectRef,
};

/// A grid whose every field keeps its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidGrid {
    /// Free text.
    pub description: Option<String>,
    /// Capacity in MB; 0 is unlimited.
    pub capacity: u64,
    /// Type of the grid.
    pub grid_type: GridType,
    /// User group that owns the grid.
    pub group_name: Option<String>,
    /// Seconds that a transaction waits for a lock.
    pub lock_timeout: u32,
    /// Asynchronous replicas of each partition.
    pub async_replicas: u32,
    /// Synchronous replicas of each partition.
    pub sync_replicas: u32,
    /// Number of partitions.
    pub partitions: PartitionCount,
    /// User that owns the grid.
    pub owner: String,
    /// What the grid is made from.
    pub template: GridTemplateSource,
    /// Seconds that an entry is kept; 0 is without end.
    pub time_to_live: u32,
    /// Seconds that a transaction may take.
    pub transaction_timeout: u32,
    /// Whether clients must authenticate.
    pub use_authentication: bool,
    /// Whether clients need a permission.
    pub use_authorization: bool,
    /// Whether the least recently used entries are evicted at the capacity.
    pub use_cap_lru_evictor: bool,
    /// The XsldCache that holds the grid; the only one of the namespace without it.
    pub cache: Option<String>,
    /// What happens to the grid when its object is deleted.
    pub deletion: DeletionPolicy,
    /// What happens when somebody else changed the grid.
    pub drift: DriftPolicy,
}

/// A number of partitions: 1 or a prime up to [`MAX_PARTITIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionCount(u32);

impl PartitionCount {
    /// The number, unless it is not allowed.
    #[must_use]
    pub fn new(count: i32) -> Option<Self> {
        let count = u32::try_from(count).ok()?;
        let highest = unsigned(MAX_PARTITIONS);
        (count == 1 || (count <= highest && is_prime(count))).then_some(Self(count))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// What a grid is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GridTemplateSource {
    /// A template that the cache group has under this name.
    Named(String),
    /// The GridTemplate of this name, once it is uploaded.
    Object(String),
}

/// Checks a grid.
///
/// # Errors
/// Every rule that its spec breaks, in the order of the fields.
pub fn grid(object: &DataGrid) -> Result<ValidGrid, Vec<Invalid>> {
    let mut findings = Findings::default();
    let spec = &object.spec;
    let capacity = findings.number(spec.grid_capacity, 0, i64::MAX, "spec.gridCapacity");
    let grid_type = findings.choice(&spec.grid_type, "spec.gridType");
    if spec.description.as_ref().is_some_and(|text| text.chars().count() > 1024) {
        findings.add("spec.description", "must have at most 1024 characters");
    }
    findings.optional_text(spec.group_name.as_ref(), 256, "spec.groupName");
    findings.text(&spec.owner_name, 256, "spec.ownerName");
    let mut number =
        |value: i32, highest: i32, field: &str| unsigned(findings.number(value, 0, highest, field));
    let lock_timeout = number(spec.lock_timeout, i32::MAX, "spec.lockTimeout");
    let async_replicas = number(spec.num_async_replicas, 100, "spec.numAsyncReplicas");
    let sync_replicas = number(spec.num_sync_replicas, 100, "spec.numSyncReplicas");
    let time_to_live = number(spec.time_to_live, i32::MAX, "spec.timeToLive");
    let transaction_timeout = number(spec.transaction_timeout, i32::MAX, "spec.transactionTimeout");
    let partitions = PartitionCount::new(spec.num_partition);
    findings.require(
        partitions.is_some(),
        "spec.numPartition",
        &format!("must be 1 or a prime number up to {MAX_PARTITIONS}"),
    );
    let template = template(spec, grid_type, &mut findings);
    reference(spec.cache_ref.as_ref(), "spec.cacheRef.name", &mut findings);
    let deletion = findings.choice(&spec.deletion_policy, "spec.deletionPolicy");
    let drift = findings.choice(&spec.drift_policy, "spec.driftPolicy");
    let (Some(partitions), Some(template)) = (partitions, template) else {
        return Err(findings.0);
    };
    findings.into_result(ValidGrid {
        description: spec.description.clone(),
        capacity: capacity.unsigned_abs(),
        grid_type,
        group_name: spec.group_name.clone(),
        lock_timeout,
        async_replicas,
        sync_replicas,
        partitions,
        owner: spec.owner_name.clone(),
        template,
        time_to_live,
        transaction_timeout,
        use_authentication: spec.use_authentication,
        use_authorization: spec.use_authorization,
        use_cap_lru_evictor: spec.use_cap_lru_evictor,
        cache: spec.cache_ref.as_ref().map(|reference| reference.name.clone()),
        deletion,
        drift,
    })
}

/// The changes that a grid's spec does not allow: a cache that is named stays.
#[must_use]
pub fn grid_change(old: &DataGridSpec, new: &DataGridSpec) -> Vec<Invalid> {
    let mut findings = Findings::default();
    findings.require(
        old.cache_ref.is_none() || old.cache_ref == new.cache_ref,
        "spec.cacheRef",
        "cannot be changed or removed once it is set",
    );
    findings.0
}

fn template(
    spec: &DataGridSpec,
    grid_type: GridType,
    findings: &mut Findings,
) -> Option<GridTemplateSource> {
    match (&spec.template_name, &spec.template_ref) {
        (Some(_), Some(_)) => {
            findings.add("spec.templateRef", "must not be set together with spec.templateName");
            None
        }
        (Some(name), None) => {
            findings.text(name, LONGEST_NAME, "spec.templateName");
            Some(GridTemplateSource::Named(name.clone()))
        }
        (None, Some(object)) => {
            reference(Some(object), "spec.templateRef.name", findings);
            Some(GridTemplateSource::Object(object.name.clone()))
        }
        (None, None) if grid_type == GridType::Custom => {
            findings
                .add("spec.gridType", "Custom needs one of spec.templateName and spec.templateRef");
            None
        }
        (None, None) => Some(GridTemplateSource::Named(grid_type.as_str().to_owned())),
    }
}

fn reference(reference: Option<&ObjectRef>, field: &str, findings: &mut Findings) {
    if let Some(reference) = reference {
        findings.require(
            labels::is_subdomain(&reference.name),
            field,
            "must be the name of an object",
        );
    }
}

fn is_prime(number: u32) -> bool {
    number > 1 && (2..).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::Choice;

    fn with(change: impl FnOnce(&mut DataGridSpec)) -> Result<ValidGrid, Vec<Invalid>> {
        let mut spec = DataGridSpec::default();
        change(&mut spec);
        grid(&DataGrid::new("example", spec))
    }

    fn field_of(change: impl FnOnce(&mut DataGridSpec)) -> String {
        let findings = with(change).unwrap_err();
        assert_eq!(findings.len(), 1, "{findings:?}");
        findings[0].field.clone()
    }

    fn object(name: &str) -> Option<ObjectRef> {
        Some(ObjectRef { name: name.to_owned() })
    }

    #[test]
    fn an_empty_spec_has_the_defaults_of_the_predecessor() {
        let grid = with(|_| ()).unwrap();
        assert_eq!(grid.partitions.get(), 3);
        assert_eq!((grid.async_replicas, grid.sync_replicas), (1, 0));
        assert_eq!((grid.lock_timeout, grid.transaction_timeout), (15, 30));
        assert_eq!(grid.owner, "xsadmin");
        assert_eq!(grid.capacity, 0);
        assert_eq!(grid.template, GridTemplateSource::Named("Simple".to_owned()));
        assert_eq!((grid.deletion, grid.drift), (DeletionPolicy::Delete, DriftPolicy::Correct));
    }

    #[test]
    fn partitions_are_one_or_a_prime_up_to_997() {
        let allowed: Vec<i32> =
            (-5..2000).filter(|count| PartitionCount::new(*count).is_some()).collect();
        assert_eq!(allowed[..11], [1, 2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert_eq!(allowed.len(), 169);
        assert_eq!(allowed.last(), Some(&997));
        assert!(allowed.contains(&37));
    }

    #[test]
    fn each_broken_rule_names_its_field() {
        assert_eq!(field_of(|s| s.num_partition = 4), "spec.numPartition");
        assert_eq!(field_of(|s| s.grid_capacity = -1), "spec.gridCapacity");
        assert_eq!(field_of(|s| s.num_sync_replicas = -1), "spec.numSyncReplicas");
        assert_eq!(field_of(|s| s.num_async_replicas = 101), "spec.numAsyncReplicas");
        assert_eq!(field_of(|s| s.lock_timeout = -1), "spec.lockTimeout");
        assert_eq!(field_of(|s| s.time_to_live = -1), "spec.timeToLive");
        assert_eq!(field_of(|s| s.transaction_timeout = -1), "spec.transactionTimeout");
        assert_eq!(field_of(|s| s.owner_name = String::new()), "spec.ownerName");
        assert_eq!(field_of(|s| s.cache_ref = object("")), "spec.cacheRef.name");
        assert_eq!(field_of(|s| s.template_ref = object("A_b")), "spec.templateRef.name");
        assert_eq!(field_of(|s| s.grid_type = GridType::Custom.into()), "spec.gridType");
        let unknown = || Choice::Unknown("Tree".to_owned());
        assert_eq!(field_of(|s| s.grid_type = unknown()), "spec.gridType");
        assert_eq!(
            field_of(|s| s.drift_policy = Choice::Unknown("x".to_owned())),
            "spec.driftPolicy"
        );
        assert_eq!(
            field_of(|s| {
                s.template_name = Some("a".to_owned());
                s.template_ref = object("b");
            }),
            "spec.templateRef"
        );
        assert_eq!(field_of(|s| s.description = Some("x".repeat(1025))), "spec.description");
    }

    #[test]
    fn all_broken_rules_are_told_at_once() {
        let findings = with(|s| {
            s.num_partition = 4;
            s.lock_timeout = -1;
        })
        .unwrap_err();
        assert_eq!(findings.len(), 2, "{findings:?}");
    }

    #[test]
    fn a_cache_can_be_named_once() {
        let unnamed = DataGridSpec::default();
        let named = DataGridSpec { cache_ref: object("a"), ..DataGridSpec::default() };
        let other = DataGridSpec { cache_ref: object("b"), ..DataGridSpec::default() };
        assert!(grid_change(&unnamed, &named).is_empty());
        assert!(grid_change(&named, &named).is_empty());
        assert_eq!(grid_change(&named, &other).len(), 1);
        assert_eq!(grid_change(&named, &unnamed).len(), 1);
    }
}
