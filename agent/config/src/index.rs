//! The positions of checks and sync groups in the configuration, one type for each.

/// Position of a check in [`Config::checks`](crate::Config::checks), and in every list that has one element for each
/// check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckIndex(usize);

impl CheckIndex {
    /// The check that comes after `index` others.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// Returns this check's element of a list that has one for each check.
    pub fn of<T>(self, list: &[T]) -> Option<&T> {
        list.get(self.0)
    }

    /// Returns this check's element of a list that has one for each check, for changing it.
    pub fn of_mut<T>(self, list: &mut [T]) -> Option<&mut T> {
        list.get_mut(self.0)
    }
}

/// Position of a sync group in [`Config::sync_groups`](crate::Config::sync_groups).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupIndex(usize);

impl GroupIndex {
    /// The sync group that comes after `index` others.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }
}
