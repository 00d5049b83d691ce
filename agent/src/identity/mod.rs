//! The numbers that virtual routers have inside the agent, one type for each way of counting them.

use xvrrp_config::GroupIndex;

/// Number of a virtual router in the election: counts those that take part, one for each family of addresses, in the
/// order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterIndex(usize);

impl RouterIndex {
    /// Makes the number of the virtual router that comes after `index` others.
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// Returns how many virtual routers come before this one.
    pub const fn get(self) -> usize {
        self.0
    }
}

/// Place of a virtual router in the configuration: counts all of them, also those that wait, one for each family of
/// addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(usize);

impl Place {
    /// Makes the place of the virtual router that comes after `place` others.
    pub const fn new(place: usize) -> Self {
        Self(place)
    }

    /// Returns how many virtual routers come before this one.
    pub const fn get(self) -> usize {
        self.0
    }
}

/// Identifies what an operator is notified about: the changes of a virtual router or of a sync group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AudienceId {
    /// The virtual router at this place, with all of its families.
    Router(Place),
    /// The sync group with this position in the configuration.
    Group(GroupIndex),
    /// A virtual router that a reload has removed; they are counted.
    Removed(usize),
}

/// One value for each virtual router in the election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerRouter<T>(Vec<T>);

impl<T> PerRouter<T> {
    /// Returns the value of a virtual router, if the election has that number.
    pub fn get(&self, router: RouterIndex) -> Option<&T> {
        self.0.get(router.0)
    }

    /// Returns the value of a virtual router for changing it, if the election has that number.
    pub fn get_mut(&mut self, router: RouterIndex) -> Option<&mut T> {
        self.0.get_mut(router.0)
    }

    /// Returns the number of virtual routers.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the election has no virtual router.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the numbers of all virtual routers, in order. Does not borrow the values.
    pub fn indices(&self) -> impl Iterator<Item = RouterIndex> + use<T> {
        (0..self.0.len()).map(RouterIndex)
    }

    /// Returns all values, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Returns all values for changing them, in order.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, T> {
        self.0.iter_mut()
    }

    /// Returns all values with the numbers of their virtual routers.
    pub fn enumerate(&self) -> impl Iterator<Item = (RouterIndex, &T)> {
        self.indices().zip(&self.0)
    }

    /// Returns all values with the numbers of their virtual routers, for changing them.
    pub fn enumerate_mut(&mut self) -> impl Iterator<Item = (RouterIndex, &mut T)> {
        self.indices().zip(&mut self.0)
    }
}

impl<T> Default for PerRouter<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> FromIterator<T> for PerRouter<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl<T> IntoIterator for PerRouter<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a PerRouter<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, T> IntoIterator for &'a mut PerRouter<T> {
    type Item = &'a mut T;
    type IntoIter = std::slice::IterMut<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
