//! Whether the members that stay can hold what those that leave hold.

use super::{Inputs, Waiting, views};
use crate::crd::conditions::ConditionReason as Reason;
use crate::xsld::view::GroupView;

/// Megabytes in a gigabyte of a member's capacity.
const MB_PER_GB: u64 = 1024;

/// What leaves and what there is room for, in MB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// What the leaving members hold.
    pub leaving: u64,
    /// What the staying members hold.
    pub used: u64,
    /// What the staying members can hold.
    pub capacity: u64,
}

impl Figures {
    /// What the staying members have room for.
    pub fn free(self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }

    /// Whether everything has a place afterwards.
    pub fn fits(self) -> bool {
        self.leaving <= self.free()
    }
}

/// The figures of the listed members, split by whether they stay. None where a member tells too
/// little: what is not known forbids nothing.
pub fn figures(view: &GroupView, stays: impl Fn(&str) -> bool) -> Option<Figures> {
    let mut figures = Figures { leaving: 0, used: 0, capacity: 0 };
    for member in &view.members {
        let used = member.used?;
        if stays(&member.name) {
            figures.used = figures.used.saturating_add(used);
            let capacity = member.capacity?.saturating_mul(MB_PER_GB);
            figures.capacity = figures.capacity.saturating_add(capacity);
        } else {
            figures.leaving = figures.leaving.saturating_add(used);
        }
    }
    Some(figures)
}

/// Why no further member is disjoined: by the primary's present figures the members that the spec
/// keeps cannot hold the rest. Asked before each disjoin, so that it goes on as soon as it fits.
pub(super) fn short(inputs: Inputs<'_>) -> Option<Waiting> {
    let Inputs { wanted, seen, state, .. } = inputs;
    let view = views::view_of(seen, state, views::primary(seen, state)?)?;
    let staying: Vec<String> =
        (0..wanted.size).map(|ordinal| views::name_of(state, ordinal)).collect();
    let figures = figures(view, |name| staying.iter().any(|stays| stays == name))?;
    if figures.fits() {
        return None;
    }
    let Figures { leaving, used, capacity } = figures;
    let message = format!(
        "size {} has no room for what the leaving members hold: they hold {leaving} MB, and those \
         that stay hold {used} of {capacity} MB, {} MB free; remove entries or keep more members",
        wanted.size,
        figures.free()
    );
    Some(Waiting::new(Reason::CapacityShort, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::World;
    use crate::decide::{Decision, Inputs};

    /// A group of three, scaled to `size`, whose members hold so many MB of 1 GB each.
    fn world(size: u32, used: [Option<u64>; 3]) -> World {
        let mut world = World::group(3);
        world.wanted.size = size;
        for report in world.seen.reports.values_mut() {
            let crate::xsld::view::Answer::Known(view) = &mut report.group else { panic!() };
            for (member, used) in view.members.iter_mut().zip(used) {
                member.capacity = Some(1);
                member.used = used;
            }
        }
        world
    }

    fn told(inputs: Inputs<'_>) -> Option<String> {
        short(inputs).map(|waiting| waiting.message)
    }

    #[test]
    fn what_does_not_fit_is_told_with_its_figures_and_begins_nothing() {
        let world = world(2, [Some(900), Some(800), Some(700)]);
        let message = told(world.inputs()).unwrap();
        for figure in ["700 MB", "1700 of 2048 MB", "348 MB free", "size 2"] {
            assert!(message.contains(figure), "{figure} is not in: {message}");
        }
        let Decision::Wait(waiting) = world.decide() else { panic!("{:?}", world.decide()) };
        assert_eq!(waiting.reason, Reason::CapacityShort);
    }

    #[test]
    fn what_fits_to_the_last_megabyte_leaves() {
        let fits = world(2, [Some(900), Some(800), Some(348)]);
        assert_eq!(told(fits.inputs()), None);
        assert!(matches!(fits.decide(), Decision::Begin { .. }), "{:?}", fits.decide());
        assert!(told(world(2, [Some(900), Some(800), Some(349)]).inputs()).is_some());
    }

    #[test]
    fn all_that_leave_are_counted_before_the_first_one_does() {
        let used = [Some(500), Some(500), Some(500)];
        assert_eq!(told(world(2, used).inputs()), None);
        assert!(told(world(1, used).inputs()).unwrap().contains("1000 MB"));
    }

    #[test]
    fn figures_that_are_not_told_forbid_nothing() {
        assert_eq!(told(world(1, [Some(1000), None, Some(1000)]).inputs()), None);
        assert_eq!(told(world(1, [None; 3]).inputs()), None);
    }
}
