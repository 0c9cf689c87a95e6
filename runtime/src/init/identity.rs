//! Who the process is to be: names of the container's own files to numbers, and the change to them.

use std::io::{self, Read};
use std::path::Path;

use rustix::thread::{Gid, Uid};
use sys::root::Root;

use super::capabilities;
use super::entry::{Entry, own_root};
use super::error::{Attempt, StepError};
use crate::exec::ExecProcess;
use crate::failure::Failure;

/// The largest user database that is read: a file of an image is not trusted to be of a sensible size.
const LARGEST: u64 = 16 << 20;

/// A user in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub user: u32,
    pub group: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// The home directory, for `HOME`.
    pub home: String,
}

/// Looks the user up in the container's `/etc/passwd` and `/etc/group`.
pub(super) fn look_up(entry: &mut Entry) -> Result<(), StepError> {
    let root = own_root().attempt(|| "the root".to_owned())?;
    let identity = look_up_in(&root, &entry.process)?;
    if !entry.process.env.iter().any(|variable| variable.starts_with("HOME=")) {
        entry.process.env.push(format!("HOME={}", identity.home));
    }
    entry.identity = Some(identity);
    Ok(())
}

/// Looks the user of `process` up in the files of a container's `root`.
pub(super) fn look_up_in(root: &Root, process: &ExecProcess) -> Result<Identity, StepError> {
    let users = read(root, "etc/passwd")?;
    let groups = read(root, "etc/group")?;
    resolve(&process.user, &process.groups, &users, &groups)
        .map_err(|detail| StepError::refused(0, detail))
}

/// The user and the group that a process of `user` has in the container whose file system is `root`.
///
/// # Errors
///
/// When its user database does not know them, or cannot be read.
pub fn owner(root: &Root, user: &str) -> Result<(u32, u32), Failure> {
    let failed = |StepError { errno, detail }| Failure { step: "user".to_owned(), errno, detail };
    let users = read(root, "etc/passwd").map_err(failed)?;
    let groups = read(root, "etc/group").map_err(failed)?;
    let found = resolve(user, &[], &users, &groups);
    let found = found.map_err(|detail| failed(StepError::refused(0, detail)))?;
    Ok((found.user, found.group))
}

/// Reads a file of the image that does not have to exist: a regular one, of limited size.
fn read(root: &Root, path: &str) -> Result<String, StepError> {
    let file = match root.open_file(Path::new(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        file => file.attempt(|| format!("/{path} of the container"))?,
    };
    let mut content = Vec::new();
    file.take(LARGEST).read_to_end(&mut content).attempt(|| format!("/{path} of the container"))?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

/// A line of passwd(5).
struct User<'a> {
    name: &'a str,
    id: u32,
    group: u32,
    home: &'a str,
}

impl<'a> User<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let id = fields.nth(1)?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        Some(Self { name, id, group, home: fields.nth(1).unwrap_or("/") })
    }
}

/// A line of group(5).
struct Group<'a> {
    name: &'a str,
    id: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let id = fields.nth(1)?.parse().ok()?;
        Some(Self { name, id, members: fields.next().unwrap_or("") })
    }
}

/// Resolves `user` (`""`, `name`, `uid`, `name:group`, `uid:gid`) and `more` groups as Docker does: a name has to be in
/// the files, a number does not; without a group those that list the user count.
fn resolve(user: &str, more: &[String], users: &str, groups: &str) -> Result<Identity, String> {
    let (user, group) = user.split_once(':').map_or((user, ""), |(user, group)| (user, group));
    let wanted = if user.is_empty() { "0" } else { user };
    let number = number(wanted)?;
    let mut known = users.lines().filter_map(User::parse);
    let found = match number {
        Some(id) => known.find(|user| user.id == id),
        None => known.find(|user| user.name == wanted),
    };
    let id = match (number, &found) {
        (Some(id), _) => id,
        (None, Some(found)) => found.id,
        (None, None) => return Err(format!("no user {wanted:?} in /etc/passwd of the container")),
    };
    let mut identity = Identity {
        user: id,
        group: found.as_ref().map_or(0, |user| user.group),
        groups: Vec::new(),
        home: found.as_ref().map_or("/", |user| user.home).to_owned(),
    };
    if !group.is_empty() {
        identity.group = group_id(group, groups)?;
    } else if let Some(found) = &found {
        let listed = groups.lines().filter_map(Group::parse);
        let of_user =
            listed.filter(|group| group.members.split(',').any(|member| member == found.name));
        identity.groups.extend(of_user.map(|group| group.id));
    }
    for group in more {
        let id = group_id(group, groups)?;
        if !identity.groups.contains(&id) {
            identity.groups.push(id);
        }
    }
    Ok(identity)
}

fn group_id(wanted: &str, groups: &str) -> Result<u32, String> {
    if let Some(id) = number(wanted)? {
        return Ok(id);
    }
    let found = groups.lines().filter_map(Group::parse).find(|group| group.name == wanted);
    found
        .map(|group| group.id)
        .ok_or_else(|| format!("no group {wanted:?} in /etc/group of the container"))
}

/// A text of digits as an id, `None` for a name.
///
/// An id has to be one that the kernel can give: 4294967295 means "no change" to it, and a value above would be cut
/// off to another user (CVE-2026-30892).
fn number(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let id = text.parse::<u32>().ok().filter(|id| *id < u32::MAX);
    id.map(Some).ok_or_else(|| format!("the id {text} is out of range"))
}

/// Has the program confined by an AppArmor profile from its execution on: apparmor(7), `aa_change_onexec`.
pub(super) fn confine(entry: &mut Entry) -> Result<(), StepError> {
    let Some(profile) = &entry.process.apparmor else { return Ok(()) };
    let request = format!("exec {profile}");
    // The first is there since Linux 5.1, beside other security modules.
    let written = ["/proc/self/attr/apparmor/exec", "/proc/self/attr/exec"].map(Path::new);
    let file = written.into_iter().find(|path| path.exists()).unwrap_or(written[1]);
    std::fs::write(file, request).attempt(|| format!("the AppArmor profile {profile}"))
}

/// Becomes the user: bounding set, groups, group, user, then the capabilities that are left.
pub(super) fn assume(entry: &mut Entry) -> Result<(), StepError> {
    let Some(identity) = &entry.identity else {
        return Err(StepError::refused(0, "the user was not looked up"));
    };
    let sets = entry.process.capabilities.as_ref();
    if let Some(sets) = sets {
        capabilities::limit(sets)?;
    }
    rustix::thread::set_keep_capabilities(sets.is_some())
        .attempt(|| "keeping capabilities".to_owned())?;
    let groups: Vec<Gid> = identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    rustix::thread::set_thread_groups(&groups)
        .attempt(|| format!("the groups {:?}", identity.groups))?;
    let group = Gid::from_raw(identity.group);
    rustix::thread::set_thread_res_gid(group, group, group)
        .attempt(|| format!("the group {}", identity.group))?;
    let user = Uid::from_raw(identity.user);
    rustix::thread::set_thread_res_uid(user, user, user)
        .attempt(|| format!("the user {}", identity.user))?;
    match sets {
        Some(sets) => capabilities::take(sets),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nbad line\nmysql:x:999:998::/var/lib/mysql:/bin/false\n42:x:7:7::/odd:\n";
    const GROUPS: &str = "root:x:0:\nmysql:x:998:\nwheel:x:10:root,mysql\naudio:x:29:mysql\n";

    #[test]
    fn users_resolve_as_in_docker() {
        let someone = |user, group, groups: &[u32], home: &str| {
            Ok(Identity { user, group, groups: groups.to_vec(), home: home.to_owned() })
        };
        #[rustfmt::skip]
        let table = [
            ("", someone(0, 0, &[10], "/root")),
            ("root", someone(0, 0, &[10], "/root")),
            ("mysql", someone(999, 998, &[10, 29], "/var/lib/mysql")),
            ("999", someone(999, 998, &[10, 29], "/var/lib/mysql")),
            ("mysql:audio", someone(999, 29, &[], "/var/lib/mysql")),
            ("1234", someone(1234, 0, &[], "/")),
            ("1234:5678", someone(1234, 5678, &[], "/")),
            // A name of digits is a number.
            ("42", someone(42, 0, &[], "/")),
            ("nobody", Err("no user \"nobody\" in /etc/passwd of the container".to_owned())),
            ("root:none", Err("no group \"none\" in /etc/group of the container".to_owned())),
            ("4294967295", Err("the id 4294967295 is out of range".to_owned())),
            ("4294967296", Err("the id 4294967296 is out of range".to_owned())),
        ];
        for (user, expected) in table {
            assert_eq!(resolve(user, &[], USERS, GROUPS), expected, "{user}");
        }
    }

    #[test]
    fn further_groups_are_added_once() {
        let more = ["audio".to_owned(), "5".to_owned(), "10".to_owned()];
        assert_eq!(resolve("root", &more, USERS, GROUPS).unwrap().groups, [10, 29, 5]);
        assert_eq!(
            resolve("7", &more, "", "").unwrap_err(),
            "no group \"audio\" in /etc/group of the container"
        );
    }
}
