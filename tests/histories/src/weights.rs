//! How often what happens.

macro_rules! families {
    ($($name:ident $all:literal $share:literal $why:literal;)*) => {
        /// Acts that are chosen together.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the acts say what they are")]
        pub enum Family { $($name,)* }

        impl Family {
            /// Every family there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its word.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Its weight when all acts may happen.
            fn of_all(self) -> u64 {
                match self { $(Self::$name => $all,)* }
            }

            /// Its weight unless all acts may happen; 0 only with a reason.
            fn of_share(self) -> u64 {
                match self { $(Self::$name => $share,)* }
            }

            /// Why the share goes without it; empty when it does not.
            pub fn left_out(self) -> &'static str {
                match self { $(Self::$name => $why,)* }
            }
        }
    };
}

// What the share goes without is known to end badly, and told in docs/histories.md: a weight goes up
// from 0 in the same change that mends it.
families! {
    Create 10 10 "";
    Resize 30 30 "";
    Image 10 10 "";
    CacheField 10 10 "";
    Broken 6 6 "";
    Invalid 4 4 "";
    Pause 6 6 "";
    Delete 6 6 "";
    SecondCache 3 3 "";
    CollidingCache 2 2 "";
    Grid 10 10 "";
    GridField 6 6 "";
    Template 4 4 "";
    TemplateField 2 2 "";
    Rotate 2 2 "";
    Evict 5 5 "";
    Drain 3 3 "";
    Cordon 3 3 "";
    NodeStop 3 3 "";
    Foreign 3 3 "";
    Labels 3 3 "";
    Finalizers 1 1 "";
    DeleteObject 8 8 "";
    DeleteClaim 2 2 "";
    Annotate 3 3 "";
    ByHand 4 4 "";
    Refuse 4 4 "";
    Rewrite 2 2 "";
    Quota 3 3 "";
    MemberFault 30 30 "";
    Kill 12 12 "";
    KillAtBoundary 15 15 "";
    End 3 3 "";
    Freeze 4 4 "";
    SecondOperator 2 2 "";
    JournalLost 2 2 "";
    JournalSetBack 2 2 "";
    AnchorLost 2 2 "";
}

/// How often each family is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Everything.
    All,
    /// Everything but what is known to end badly.
    Share,
}

impl Weights {
    /// The weight of a family.
    pub fn of(self, family: Family) -> u64 {
        match self {
            Self::All => family.of_all(),
            Self::Share => family.of_share(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_out_without_a_reason_that_the_documents_tell() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/histories.md");
        let page = std::fs::read_to_string(page).unwrap_or_default();
        for family in Family::ALL {
            assert!(Weights::All.of(*family) > 0, "{family:?}");
            let is_out = Weights::Share.of(*family) == 0;
            assert_eq!(is_out, !family.left_out().is_empty(), "{family:?}");
            let told = page.contains(&format!("| `{}` |", family.word()));
            assert!(!is_out || told, "docs/histories.md does not tell of {family:?}");
        }
    }
}
