//! Who may do what: admins, submitters, and nobody else.

use nix::unistd::{Group, Uid, User, getgrouplist};
use std::collections::BTreeSet;
use std::ffi::CString;

use super::layers::Layers;

/// The group whose members a root daemon lets in without being told.
const USUAL_GROUP: &str = "orchd";

/// What somebody who was let in may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Add tasks, and do with their own as they like.
    Submitter,
}

/// Who is let in beside the daemon's user and root, who are admins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    own: u32,
    users: BTreeSet<u32>,
    groups: BTreeSet<u32>,
}

impl Access {
    pub(super) fn read(layers: &mut Layers) -> Self {
        let own = rustix::process::geteuid().as_raw();
        let users = ids(layers, "access.users", "user", |name| {
            Ok(User::from_name(name)?.map(|user| user.uid.as_raw()))
        });
        let mut groups = ids(layers, "access.groups", "group", |name| {
            Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
        });
        if own == 0
            && let Ok(Some(group)) = Group::from_name(USUAL_GROUP)
        {
            groups.insert(group.gid.as_raw());
        }
        Self { own, users, groups }
    }

    /// Whether anybody is let in who is no admin.
    pub fn lets_others_in(&self) -> bool {
        !self.users.is_empty() || !self.groups.is_empty()
    }

    /// What the user `uid`, whose process has the group `gid`, may do; none: not even connect.
    pub fn role(&self, uid: u32, gid: u32) -> Option<Role> {
        self.decide(uid, || groups_of(uid, gid))
    }

    /// The decision; `groups` are looked up only if it comes to them.
    fn decide(&self, uid: u32, groups: impl FnOnce() -> BTreeSet<u32>) -> Option<Role> {
        if uid == self.own || uid == 0 {
            return Some(Role::Admin);
        }
        let is_let_in =
            self.users.contains(&uid) || (!self.groups.is_empty() && !self.groups.is_disjoint(&groups()));
        is_let_in.then_some(Role::Submitter)
    }
}

/// The ids of the users or groups that a key names, by name or number.
fn ids(
    layers: &mut Layers,
    key: &'static str,
    kind: &str,
    find: impl Fn(&str) -> nix::Result<Option<u32>>,
) -> BTreeSet<u32> {
    let mut ids = BTreeSet::new();
    for name in layers.value(key, Vec::<String>::new()) {
        match name.parse().map_or_else(|_| find(&name), |id| Ok(Some(id))) {
            Ok(Some(id)) => drop(ids.insert(id)),
            Ok(None) => layers.wrong_value(key, &format!("{key}: no such {kind}: {name}")),
            Err(error) => {
                layers.wrong_value(key, &format!("{key}: {kind} cannot be looked up: {name}: {error}"))
            }
        }
    }
    ids
}

/// The groups of a process of this user: the one it has, and those that the system lists for its user.
fn groups_of(uid: u32, gid: u32) -> BTreeSet<u32> {
    let mut groups = BTreeSet::from([gid]);
    if let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid))
        && let Ok(name) = CString::new(user.name)
        && let Ok(listed) = getgrouplist(&name, user.gid)
    {
        groups.extend(listed.into_iter().map(nix::unistd::Gid::as_raw));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(own: u32, users: &[u32], groups: &[u32]) -> Access {
        Access { own, users: users.iter().copied().collect(), groups: groups.iter().copied().collect() }
    }

    #[test]
    fn the_daemons_user_and_root_are_admins_and_others_only_what_they_are_let() {
        let nobody = BTreeSet::new;
        for (rules, uid, expected) in [
            (access(1000, &[], &[]), 1000, Some(Role::Admin)),
            (access(1000, &[], &[]), 0, Some(Role::Admin)),
            (access(1000, &[], &[]), 1001, None),
            (access(1000, &[1001], &[]), 1001, Some(Role::Submitter)),
            (access(0, &[1001], &[]), 1002, None),
            // Being listed takes nothing away.
            (access(1000, &[1000], &[]), 1000, Some(Role::Admin)),
        ] {
            assert_eq!(rules.decide(uid, nobody), expected, "{rules:?} {uid}");
        }
    }

    #[test]
    fn one_group_of_several_is_enough() {
        let rules = access(0, &[], &[50, 60]);
        assert_eq!(rules.decide(1001, || BTreeSet::from([7, 60])), Some(Role::Submitter));
        assert_eq!(rules.decide(1001, || BTreeSet::from([7, 8])), None);
    }

    #[test]
    fn groups_are_looked_up_only_when_they_matter() {
        let rules = access(1000, &[1001], &[]);
        let never = || panic!("nobody asked for groups");
        assert_eq!(rules.decide(1001, never), Some(Role::Submitter));
        assert_eq!(access(1000, &[], &[]).decide(1002, || panic!("there are no groups")), None);
    }
}
