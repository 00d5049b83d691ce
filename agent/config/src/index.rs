//! Positions of checks and sync groups in a configuration, with a type for each.

/// Position of a check in [`Config::checks`](crate::Config::checks), and in every list that has one element for each
/// check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckIndex(usize);

impl CheckIndex {
    /// Returns the position that follows `index` others.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// Returns the position after another check has been removed; `None` if it is this one.
    pub(crate) fn without(self, removed: Self) -> Option<Self> {
        (self != removed).then(|| Self(self.0 - usize::from(self > removed)))
    }

    /// Returns the element for this check in a list that has one for each check.
    pub fn of<T>(self, list: &[T]) -> Option<&T> {
        list.get(self.0)
    }

    /// Returns the element for this check in a list that has one for each check, to change it.
    pub fn of_mut<T>(self, list: &mut [T]) -> Option<&mut T> {
        list.get_mut(self.0)
    }
}

/// Position of a sync group in [`Config::sync_groups`](crate::Config::sync_groups).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupIndex(usize);

impl GroupIndex {
    /// Returns the position that follows `index` others.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// Returns the element for this group in a list that has one for each group.
    pub fn of<T>(self, list: &[T]) -> Option<&T> {
        list.get(self.0)
    }
}
