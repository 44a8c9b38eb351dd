//! The cache member group.

use serde_json::{Map, Value};

use super::{Reply, answer, bounded_list, find, name_of, shown, truth, whole_number};
use crate::xsld::profile::ApiProfile;
use crate::xsld::view::{Answer, GroupMember, GroupView, MemberStatus};

/// What stands as the status of a member whose name occurs more than once.
const LISTED_TWICE: &str = "listed more than once";

/// Reads the group as one member sees it.
///
/// Unknown, beside what no one could read: a list without any member (the one that
/// answers is in it) and an entry without a name. A name that occurs twice is one
/// member of which only that is known in which its entries agree: it is listed, but
/// it does not count as online.
pub fn group(profile: &ApiProfile, reply: &Reply) -> Answer<GroupView> {
    match reply.value() {
        Ok(value) => answer(view(profile, value)),
        Err(other) => other,
    }
}

fn view(profile: &ApiProfile, value: &Value) -> Result<GroupView, String> {
    let fields = &profile.fields.group;
    let group = value.as_object().ok_or("the answer is not a group: no object")?;
    let items = find(group, &fields.members)
        .and_then(Value::as_array)
        .ok_or("the answer is not a group: no list of members")?;
    let items = bounded_list(items)?;
    if items.is_empty() {
        return Err("the group lists no member, not even the one that answers".to_owned());
    }
    let mut members =
        items.iter().map(|item| member(profile, item)).collect::<Result<Vec<_>, String>>()?;
    members.sort_by(|one, other| one.name.cmp(&other.name));
    members.dedup_by(|other, one| {
        let same = other.name == one.name;
        if same {
            merge(one, other);
        }
        same
    });
    // A mark that is not understood must not make a view better than it is.
    let stale = find(group, &fields.stale).is_some_and(|mark| truth(mark).unwrap_or(true));
    let name = find(group, &fields.name).and_then(shown).unwrap_or_default();
    Ok(GroupView { name, members, stale })
}

/// Makes one entry of two for the same name.
fn merge(one: &mut GroupMember, other: &GroupMember) {
    fn agreed<T: PartialEq>(one: &mut Option<T>, other: &Option<T>) {
        if one != other {
            *one = None;
        }
    }
    agreed(&mut one.host, &other.host);
    agreed(&mut one.address, &other.address);
    agreed(&mut one.capacity, &other.capacity);
    agreed(&mut one.used, &other.used);
    agreed(&mut one.catalog, &other.catalog);
    agreed(&mut one.replication, &other.replication);
    // Taking a primary for an ordinary member would be the worse mistake.
    if one.primary != other.primary {
        let either = one.primary == Some(true) || other.primary == Some(true);
        one.primary = either.then_some(true);
    }
    one.status = MemberStatus::Unknown(LISTED_TWICE.to_owned());
}

fn member(profile: &ApiProfile, item: &Value) -> Result<GroupMember, String> {
    let fields = &profile.fields.member;
    let entry = item.as_object().ok_or("the group lists a member that is no object")?;
    let name = find(entry, &fields.name)
        .and_then(name_of)
        .ok_or("the group lists a member without a readable name")?;
    Ok(GroupMember {
        name,
        host: find(entry, &fields.host).and_then(shown),
        address: find(entry, &fields.address).and_then(shown),
        status: status(profile, entry),
        capacity: find(entry, &fields.capacity).and_then(whole_number),
        used: find(entry, &fields.used).and_then(whole_number),
        catalog: find(entry, &fields.catalog).and_then(truth),
        primary: find(entry, &fields.primary).and_then(truth),
        replication: find(entry, &fields.replication).and_then(shown).map(|word| {
            let words = &profile.words.replication;
            let known =
                [(&words.primary, "master"), (&words.replica, "slave"), (&words.none, "none")];
            let found = known.into_iter().find(|(names, _)| names.has(&word));
            found.map_or(word, |(_, role)| role.to_owned())
        }),
    })
}

fn status(profile: &ApiProfile, entry: &Map<String, Value>) -> MemberStatus {
    let word = find(entry, &profile.fields.member.status).and_then(shown).unwrap_or_default();
    let words = &profile.words.member;
    if words.online.has(&word) {
        MemberStatus::Online
    } else if words.starting.has(&word) {
        MemberStatus::Starting
    } else if words.stopped.has(&word) {
        MemberStatus::Stopped
    } else if words.unreachable.has(&word) {
        MemberStatus::Unreachable
    } else {
        MemberStatus::Unknown(word)
    }
}
