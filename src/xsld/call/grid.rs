//! The body with which a grid is created or updated.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Wanted fields of a grid. What is `None` is not sent, and the cache's own default
/// holds. The names on the wire are stated by public sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GridBody {
    /// Free text.
    pub description: Option<String>,
    /// `Simple`, `Session`, `DynaCache` or `Custom`.
    pub grid_type: Option<String>,
    /// Name of the template.
    pub template_name: Option<String>,
    /// User who owns the grid.
    pub owner_name: Option<String>,
    /// Group of users who own the grid.
    pub group_name: Option<String>,
    /// Whether clients must authenticate.
    pub use_authentication: Option<bool>,
    /// Whether clients must be authorised.
    pub use_authorization: Option<bool>,
    /// Whether the least recently used entries go when the capacity is reached.
    pub use_cap_lru_evictor: Option<bool>,
    /// Capacity in MB; 0 is unlimited.
    pub grid_capacity: Option<u64>,
    /// Timeout of a transaction in seconds.
    pub transaction_timeout: Option<u64>,
    /// Timeout of a lock in seconds.
    pub lock_timeout: Option<u64>,
    /// Seconds for which an entry is kept; 0 is without end.
    pub time_to_live: Option<u64>,
    /// Number of partitions; a prime.
    pub num_partition: Option<u64>,
    /// Number of synchronous replicas.
    pub num_sync_replicas: Option<u64>,
    /// Number of asynchronous replicas.
    pub num_async_replicas: Option<u64>,
}

impl GridBody {
    /// The body on the wire: booleans as JSON booleans, numbers as JSON strings.
    pub fn to_json(&self) -> Value {
        Value::Object(self.values())
    }

    /// The wanted fields by their names on the wire, as text: to be compared with
    /// the fields of a [`GridView`](crate::xsld::view::GridView).
    pub fn as_fields(&self) -> BTreeMap<String, String> {
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        self.values().into_iter().map(|(name, value)| (name, text(value))).collect()
    }

    fn values(&self) -> Map<String, Value> {
        let GridBody {
            description,
            grid_type,
            template_name,
            owner_name,
            group_name,
            use_authentication,
            use_authorization,
            use_cap_lru_evictor,
            grid_capacity,
            transaction_timeout,
            lock_timeout,
            time_to_live,
            num_partition,
            num_sync_replicas,
            num_async_replicas,
        } = self;
        let texts = [
            ("description", description),
            ("gridType", grid_type),
            ("templateName", template_name),
            ("ownerName", owner_name),
            ("groupName", group_name),
        ];
        let truths = [
            ("useAuthentication", use_authentication),
            ("useAuthorization", use_authorization),
            ("useCapLRUEvictor", use_cap_lru_evictor),
        ];
        let numbers = [
            ("gridCapacity", grid_capacity),
            ("transactionTimeout", transaction_timeout),
            ("lockTimeout", lock_timeout),
            ("timeToLive", time_to_live),
            ("numPartition", num_partition),
            ("numSyncReplicas", num_sync_replicas),
            ("numAsyncReplicas", num_async_replicas),
        ];
        let mut values = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                values.insert(name.to_owned(), value);
            }
        };
        texts.into_iter().for_each(|(name, it)| put(name, it.clone().map(Value::String)));
        truths.into_iter().for_each(|(name, it)| put(name, it.map(Value::Bool)));
        numbers
            .into_iter()
            .for_each(|(name, it)| put(name, it.map(|number| Value::String(number.to_string()))));
        values
    }
}
