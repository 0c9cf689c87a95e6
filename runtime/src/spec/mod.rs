//! Plain wishes to an OCI runtime spec, with Docker's defaults and the kernel's refusals found beforehand.
//!
//! One pure step (but for looking at devices of the host, and at what this process itself may give):
//! what is wrong with the wishes comes out here, as a [`SpecError`], and not from the kernel in the middle of a start.
//!
//! ```
//! use runtime::spec::{self, Wishes};
//! let wishes = Wishes { args: vec!["true".into()], cap_drop: vec!["ALL".into()], ..Wishes::default() };
//! let spec = spec::spec(&wishes)?;
//! assert_eq!(spec.process().as_ref().and_then(|process| process.cwd().to_str()), Some("/"));
//! # Ok::<(), spec::SpecError>(())
//! ```
//!
//! The six usual device nodes, /dev/console and the links in /dev are the runtime's to make and are in no spec, as OCI has it.

pub(crate) mod capabilities;
mod devices;
mod error;
mod mounts;
mod paths;
mod similar;
mod sysctls;
mod tmpfs;
mod ulimits;
mod wishes;

pub use error::SpecError;
pub use wishes::{
    Bind, DeviceWish, MountWish, NamespaceWish, Propagation, Recursion, SeccompChoice,
    SharedMemory, Tmpfs, Ulimit, Wishes,
};

use std::collections::HashMap;
use std::path::{Component, PathBuf};

use oci_spec::runtime::{
    Linux, LinuxNamespace, LinuxNamespaceType, LinuxResources, Process, Root, Spec,
};

use capabilities::Set;

/// The version of the OCI runtime specification that the result follows.
const OCI_VERSION: &str = "1.2.1";

/// Where programs are looked for if nobody says so: Docker's value.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The longest host or domain name, `__NEW_UTS_LEN`.
const LONGEST_NAME: usize = 64;

/// Fills in Docker's defaults around the wishes.
///
/// # Errors
/// [`SpecError`] says which wish the kernel would refuse.
pub fn spec(wishes: &Wishes) -> Result<Spec, SpecError> {
    let held = Set::held();
    check_names(wishes)?;
    let mut root = Root::default();
    root.set_path("rootfs".into()).set_readonly(Some(wishes.read_only));
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.to_owned());
    spec.set_root(Some(root));
    spec.set_process(Some(process(wishes, held)?));
    spec.set_mounts(Some(mounts::mounts(wishes)?));
    spec.set_hostname(wishes.hostname.clone());
    spec.set_domainname(wishes.domainname.clone());
    let annotations = wishes.annotations.clone().into_iter().collect();
    spec.set_annotations(Some(annotations).filter(|all: &HashMap<_, _>| !all.is_empty()));
    spec.set_linux(Some(linux(wishes)?));
    Ok(spec)
}

fn process(wishes: &Wishes, held: Set) -> Result<Process, SpecError> {
    if wishes.args.is_empty() {
        return Err(SpecError::NoProgram);
    }
    for argument in &wishes.args {
        check_string("argument", argument)?;
    }
    let mut process = Process::default();
    process.set_terminal(Some(wishes.terminal));
    process.set_args(Some(wishes.args.clone()));
    process.set_env(Some(environment(wishes)?));
    process.set_cwd(working_directory(wishes)?);
    process.set_capabilities(Some(capabilities::wished(wishes, held)?.to_spec()));
    process.set_rlimits(Some(ulimits::rlimits(&wishes.ulimits, held)?));
    process.set_no_new_privileges(Some(wishes.no_new_privileges));
    process.set_apparmor_profile(apparmor(wishes)?);
    process.set_oom_score_adj(oom_score(wishes, held)?);
    Ok(process)
}

/// A profile needs a kernel that knows it by its name.
fn apparmor(wishes: &Wishes) -> Result<Option<String>, SpecError> {
    let Some(profile) = wishes.apparmor.clone() else { return Ok(None) };
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if enabled.is_ok_and(|enabled| enabled.trim() == "Y") {
        Ok(Some(profile))
    } else {
        Err(SpecError::NoAppArmor(profile))
    }
}

/// Docker's own variables first, for anybody to replace.
fn environment(wishes: &Wishes) -> Result<Vec<String>, SpecError> {
    let mut all: Vec<(&str, &str)> = vec![("PATH", PATH)];
    all.extend(wishes.hostname.as_deref().map(|name| ("HOSTNAME", name)));
    all.extend(wishes.terminal.then_some(("TERM", "xterm")));
    for (name, value) in &wishes.env {
        check_string("environment variable", name)?;
        check_string("environment variable", value)?;
        if name.is_empty() || name.contains('=') {
            return Err(SpecError::BadString {
                what: "environment variable",
                value: name.clone(),
                problem: "must have a name without `=`",
            });
        }
        match all.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => entry.1 = value,
            None => all.push((name, value)),
        }
    }
    Ok(all.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

fn working_directory(wishes: &Wishes) -> Result<PathBuf, SpecError> {
    if wishes.cwd.as_os_str().is_empty() {
        return Ok("/".into());
    }
    let inside = wishes.cwd.is_absolute()
        && !wishes.cwd.components().any(|part| part == Component::ParentDir);
    if inside {
        Ok(wishes.cwd.clone())
    } else {
        Err(SpecError::BadPath { what: "working directory", path: wishes.cwd.clone() })
    }
}

/// A process without `CAP_SYS_RESOURCE` may not make itself (or its children) safer from the OOM killer than it is.
fn oom_score(wishes: &Wishes, held: Set) -> Result<Option<i32>, SpecError> {
    let Some(score) = wishes.oom_score_adj else { return Ok(None) };
    if !(-1000..=1000).contains(&score) {
        return Err(SpecError::BadOomScore { score, problem: "must be -1000 to 1000".into() });
    }
    let own = std::fs::read_to_string("/proc/self/oom_score_adj")
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    match own {
        Some(lowest) if score < lowest && !held.has("SYS_RESOURCE") => {
            Err(SpecError::BadOomScore {
                score,
                problem: format!("is below {lowest}, which takes CAP_SYS_RESOURCE"),
            })
        }
        _ => Ok(Some(score)),
    }
}

fn linux(wishes: &Wishes) -> Result<Linux, SpecError> {
    let (nodes, rules) = devices::devices(wishes)?;
    let mut resources = LinuxResources::default();
    resources.set_devices(Some(rules));
    let open = wishes.privileged || wishes.unmasked;
    let mut linux = Linux::default();
    linux.set_sysctl(Some(sysctls::sysctls(wishes)?));
    linux.set_resources(Some(resources));
    linux.set_namespaces(Some(namespaces(wishes)?));
    linux.set_devices(Some(nodes));
    linux.set_masked_paths(Some(if open { Vec::new() } else { paths::masked() }));
    linux.set_readonly_paths(Some(if open { Vec::new() } else { paths::read_only() }));
    Ok(linux)
}

/// Those that are new. The mount namespace always is.
fn namespaces(wishes: &Wishes) -> Result<Vec<LinuxNamespace>, SpecError> {
    if wishes.cgroup == NamespaceWish::Joined {
        return Err(SpecError::CannotJoin("cgroup"));
    }
    let table = [
        (LinuxNamespaceType::Mount, NamespaceWish::Private),
        (LinuxNamespaceType::Network, wishes.network),
        (LinuxNamespaceType::Uts, wishes.uts),
        (LinuxNamespaceType::Pid, wishes.pid),
        (LinuxNamespaceType::Ipc, wishes.ipc),
        (LinuxNamespaceType::Cgroup, wishes.cgroup),
    ];
    let new = table.into_iter().filter(|(_, wish)| *wish == NamespaceWish::Private);
    Ok(new
        .map(|(kind, _)| LinuxNamespace::clone(LinuxNamespace::default().set_typ(kind)))
        .collect())
}

fn check_names(wishes: &Wishes) -> Result<(), SpecError> {
    for (what, name) in [("hostname", &wishes.hostname), ("domainname", &wishes.domainname)] {
        let Some(name) = name else { continue };
        check_string(what, name)?;
        let problem = if wishes.uts != NamespaceWish::Private {
            "needs a UTS namespace of the container's own"
        } else if name.is_empty() {
            "must not be empty"
        } else if name.len() > LONGEST_NAME {
            "is longer than 64 bytes"
        } else {
            continue;
        };
        return Err(SpecError::BadName { what, name: name.clone(), problem });
    }
    Ok(())
}

/// The kernel ends strings at a NUL byte.
fn check_string(what: &'static str, value: &str) -> Result<(), SpecError> {
    if !value.contains('\0') {
        return Ok(());
    }
    Err(SpecError::BadString {
        what,
        value: value.escape_debug().to_string(),
        problem: "has a NUL byte in it",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes() -> Wishes {
        Wishes { args: vec!["true".into()], ..Wishes::default() }
    }

    #[test]
    fn asking_for_nothing_gives_dockers_defaults() {
        let spec =
            spec(&Wishes { hostname: Some("web".into()), terminal: true, ..wishes() }).unwrap();
        let process = spec.process().as_ref().unwrap();
        assert_eq!(
            process.env().as_ref().unwrap(),
            &[format!("PATH={PATH}"), "HOSTNAME=web".into(), "TERM=xterm".into()]
        );
        assert_eq!((process.no_new_privileges(), process.oom_score_adj()), (Some(false), None));
        assert_eq!(process.capabilities().as_ref().unwrap().bounding().as_ref().unwrap().len(), 14);
        assert_eq!(process.capabilities().as_ref().unwrap().inheritable(), &None);
        let linux = spec.linux().as_ref().unwrap();
        assert_eq!(linux.namespaces().as_ref().unwrap().len(), 6);
        assert!(linux.masked_paths().as_ref().unwrap().contains(&"/proc/kcore".to_owned()));
        assert_eq!(linux.readonly_paths().as_ref().unwrap().len(), 5);
        assert!(linux.seccomp().is_none(), "the filter is handed over compiled");
    }

    #[test]
    fn a_spec_survives_its_record() {
        let made = spec(&wishes()).unwrap();
        let text = serde_json::to_string(&made).unwrap();
        assert_eq!(serde_json::from_str::<Spec>(&text).unwrap(), made);
    }

    #[test]
    fn later_variables_replace_earlier_ones_in_their_place() {
        let pairs = [("A", "1"), ("PATH", "/bin"), ("A", "2")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let spec = spec(&Wishes { env: pairs.to_vec(), ..wishes() }).unwrap();
        assert_eq!(spec.process().as_ref().unwrap().env().as_ref().unwrap(), &["PATH=/bin", "A=2"]);
    }

    #[test]
    fn shared_namespaces_are_absent() {
        let shared =
            Wishes { network: NamespaceWish::Joined, pid: NamespaceWish::Host, ..wishes() };
        let spec = spec(&shared).unwrap();
        let kinds: Vec<_> = spec
            .linux()
            .as_ref()
            .unwrap()
            .namespaces()
            .as_ref()
            .unwrap()
            .iter()
            .map(|one| one.typ())
            .collect();
        assert!(
            !kinds.contains(&LinuxNamespaceType::Network)
                && !kinds.contains(&LinuxNamespaceType::Pid)
        );
        assert!(kinds.contains(&LinuxNamespaceType::Mount));
    }

    #[test]
    fn privilege_takes_the_masks_off() {
        for open in [Wishes { privileged: true, ..wishes() }, Wishes { unmasked: true, ..wishes() }]
        {
            let spec = spec(&open).unwrap();
            let linux = spec.linux().as_ref().unwrap();
            assert_eq!(
                (
                    linux.masked_paths().as_ref().unwrap().len(),
                    linux.readonly_paths().as_ref().unwrap().len()
                ),
                (0, 0)
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        #[rustfmt::skip]
        let table = [
            (Wishes::default(), "no program to run: neither the image nor the service names a command"),
            (Wishes { args: vec!["a\0b".into()], ..wishes() }, "argument `a\\0b` has a NUL byte in it"),
            (Wishes { env: pair("A=B", ""), ..wishes() }, "environment variable `A=B` must have a name without `=`"),
            (Wishes { cwd: "srv".into(), ..wishes() }, "working directory `srv` must be an absolute path without `..`"),
            (Wishes { oom_score_adj: Some(1001), ..wishes() }, "oom_score_adj 1001 must be -1000 to 1000"),
            (Wishes { hostname: Some("h".into()), uts: NamespaceWish::Host, ..wishes() },
                "hostname `h` needs a UTS namespace of the container's own"),
            (Wishes { hostname: Some(String::new()), ..wishes() }, "hostname `` must not be empty"),
            (Wishes { cgroup: NamespaceWish::Joined, ..wishes() }, "the cgroup namespace of another container cannot be joined"),
        ];
        for (wishes, message) in table {
            assert_eq!(spec(&wishes).unwrap_err().to_string(), message);
        }
    }
}
