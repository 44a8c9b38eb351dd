//! Changes of the group, as its primary carries them out. No network: each is one change of the
//! state, or a refusal that leaves it as it was.

use uuid::Uuid;

use super::database::{Grid, MemberEntry};
use super::lock::GroupLock;
use super::peer::{GroupChange, LockRequest, Refusal};
use super::{Member, State};

impl Member {
    /// Carries out a change, if this member is the primary.
    pub(super) fn change_group(&self, change: GroupChange) -> Result<(), Refusal> {
        if !self.read(State::is_primary) {
            return Err(Refusal::NoPrimary);
        }
        self.change(|state| state.apply(change))
    }
}

impl State {
    /// Carries out one change. A refused one changes nothing.
    fn apply(&mut self, change: GroupChange) -> Result<(), Refusal> {
        match change {
            GroupChange::Lock { request } => self.take_lock(request)?,
            GroupChange::Unlock { token } => {
                if self.owns(token).is_ok() {
                    self.lock = None;
                    self.leaving.clear();
                }
            }
            GroupChange::Admit { token, entry, duplicate } => {
                self.owns(token)?;
                return self.admit(&entry, duplicate);
            }
            GroupChange::Leave { token, ids } => {
                self.owns(token)?;
                self.leaving = ids;
            }
            GroupChange::ReserveGrid { name } => return self.reserve_grid(name),
            GroupChange::ReleaseGrid { name } => {
                self.pending_grids.retain(|pending| *pending != name);
            }
            change @ (GroupChange::List { .. }
            | GroupChange::Confirm { .. }
            | GroupChange::Evict { .. }
            | GroupChange::Reinstate { .. }
            | GroupChange::SetReplica { .. }
            | GroupChange::Relocate { .. }
            | GroupChange::SetPassword { .. }) => {
                self.apply_to_members(change)?;
                self.view.database.revision += 1;
            }
            change => {
                self.apply_to_grids(change)?;
                self.view.database.revision += 1;
            }
        }
        Ok(())
    }

    fn take_lock(&mut self, request: LockRequest) -> Result<(), Refusal> {
        match &self.lock {
            Some(lock) if lock.request.token != request.token => {
                Err(Refusal::Busy(lock.request.task))
            }
            _ => {
                // A member that is itself about to join another group takes nobody in.
                let joining = self.membership_task().filter(|_| self.lock.is_none());
                match joining.filter(|_| request.holder != self.identity.id) {
                    Some(task) => Err(Refusal::Busy(task)),
                    None => {
                        self.lock = Some(GroupLock { request });
                        Ok(())
                    }
                }
            }
        }
    }

    fn admit(&self, entry: &MemberEntry, duplicate: bool) -> Result<(), Refusal> {
        let database = &self.view.database;
        if database.member(entry.id).is_some() {
            return Err(Refusal::Conflict(format!("the member {} is in the group", entry.name)));
        }
        if !duplicate && database.member_named(&entry.name).is_some() {
            let taken = format!("the memberName {} is already in use in the group", entry.name);
            return Err(Refusal::Conflict(taken));
        }
        Ok(())
    }

    fn apply_to_members(&mut self, change: GroupChange) -> Result<(), Refusal> {
        let lock = self.lock.as_ref().map(|lock| lock.request.token);
        let owned = |token: Uuid| {
            if lock == Some(token) { Ok(()) } else { Err(Refusal::LockLost) }
        };
        let database = &mut self.view.database;
        let entry_of = |members: &mut Vec<MemberEntry>, id: Uuid| -> Result<usize, Refusal> {
            members.iter().position(|entry| entry.id == id).ok_or(Refusal::NotAMember)
        };
        match change {
            GroupChange::List { token, entry } => {
                owned(token)?;
                database.members.retain(|there| there.id != entry.id);
                database.members.push(MemberEntry { joined: false, ..entry });
            }
            GroupChange::Confirm { token, id } => {
                owned(token)?;
                let index = entry_of(&mut database.members, id)?;
                database.members[index].joined = true;
            }
            GroupChange::Evict { token, ids } => {
                owned(token)?;
                self.evict(&ids);
            }
            GroupChange::Reinstate { entry } => database.members.push(entry),
            GroupChange::SetReplica { token, replica } => {
                owned(token)?;
                database.replica = replica;
            }
            GroupChange::Relocate { id, address } => {
                let index = entry_of(&mut database.members, id)?;
                database.members[index].address = address;
            }
            GroupChange::SetPassword { user, password } => {
                database.users.insert(user, password);
            }
            _ => {}
        }
        Ok(())
    }

    fn evict(&mut self, ids: &[Uuid]) {
        let database = &mut self.view.database;
        database.members.retain(|entry| !ids.contains(&entry.id));
        if database.replica.is_some_and(|replica| ids.contains(&replica)) {
            database.replica = None;
        }
        for id in ids {
            self.view.statuses.remove(id);
        }
        for grid in database.grids.values_mut() {
            for copies in &mut grid.placement {
                copies.retain(|id| !ids.contains(id));
            }
        }
    }

    fn reserve_grid(&mut self, name: String) -> Result<(), Refusal> {
        let exists = self.view.database.grids.contains_key(&name);
        if exists || self.pending_grids.contains(&name) {
            return Err(Refusal::Conflict(format!("the grid {name} already exists")));
        }
        self.pending_grids.push(name);
        Ok(())
    }

    fn apply_to_grids(&mut self, change: GroupChange) -> Result<(), Refusal> {
        let database = &mut self.view.database;
        let absent = |name: &str| Refusal::Absent(format!("the grid {name} does not exist"));
        match change {
            GroupChange::CreateGrid { name, settings, shape } => {
                self.pending_grids.retain(|pending| *pending != name);
                let placement = vec![Vec::new(); shape.partitions];
                let grid = Grid { settings, shape, started: false, placed: false, placement };
                database.grids.insert(name, grid);
            }
            GroupChange::StartGrid { name } => {
                database.grids.get_mut(&name).ok_or_else(|| absent(&name))?.started = true;
            }
            GroupChange::UpdateGrid { name, settings, shape } => {
                let grid = database.grids.get_mut(&name).ok_or_else(|| absent(&name))?;
                grid.settings = settings;
                grid.shape = shape;
            }
            GroupChange::DeleteGrid { name } => {
                database.grids.remove(&name).ok_or_else(|| absent(&name))?;
            }
            GroupChange::PutTemplate { name, template } => {
                database.templates.insert(name, template);
            }
            GroupChange::DeleteTemplate { name } => {
                let uses = |grid: &Grid| {
                    grid.settings.get("templateName").and_then(|used| used.as_str()) == Some(&name)
                };
                if let Some((grid, _)) = database.grids.iter().find(|(_, grid)| uses(grid)) {
                    let used = format!("the template {name} is in use by the grid {grid}");
                    return Err(Refusal::Conflict(used));
                }
                let known = database.templates.remove(&name);
                let absent = format!("the template {name} does not exist");
                known.ok_or(Refusal::Absent(absent))?;
            }
            _ => {}
        }
        Ok(())
    }
}
