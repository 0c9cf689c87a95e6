//! Devices by name: the Container Device Interface, `gpus` and `deploy.resources.reservations.devices`.
//!
//! A vendor's files in `/etc/cdi` and `/var/run/cdi` say what a container needs to use a device: nodes, mounts, variables,
//! groups, and programs that run while it is made. GPUs are asked for as docker ≥ 28 does without a driver of its own:
//! `gpus: all` is `nvidia.com/gpu=all`.
//!
//! Source: `tags.cncf.io/container-device-interface`, SPEC.md 1.0.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hook, Hooks, Spec};
use runtime::spec::{Bind, DeviceWish, MountWish, Tmpfs, Wishes};
use serde::Deserialize;

use crate::model::{Device, DeviceRequest, DeviceRequestCount, Service};

/// Where the files are; a later folder goes before an earlier one.
pub const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// What the classes of devices are called in requests for them.
const CLASSES: [&str; 3] = ["gpu", "tpu", "npu"];

/// A device that cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum CdiError {
    /// A file that cannot be read.
    #[error("cannot read the device specification {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// A file that is none.
    #[error("{} is no device specification: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No file has the device.
    #[error("there is no device {name} in {}", folders(searched))]
    Unknown {
        /// Its name.
        name: String,
        /// Where was looked.
        searched: Vec<PathBuf>,
    },
    /// Two files of one folder have it.
    #[error("the device {name} is in {} and in {}", one.display(), other.display())]
    Ambiguous {
        /// Its name.
        name: String,
        /// A file.
        one: PathBuf,
        /// Another one.
        other: PathBuf,
    },
    /// Nobody has devices of the class that is asked for.
    #[error("no device specification in {} has devices of the class {class}", folders(searched))]
    NoVendor {
        /// The class.
        class: String,
        /// Where was looked.
        searched: Vec<PathBuf>,
    },
    /// The device needs something that we do not do.
    #[error("the device {name} needs {what}, which is not done here")]
    Unsupported {
        /// Its name.
        name: String,
        /// What.
        what: String,
    },
}

fn folders(searched: &[PathBuf]) -> String {
    searched.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ")
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecFile {
    kind: String,
    #[serde(default)]
    container_edits: Edits,
    devices: Vec<NamedEdits>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedEdits {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

/// What a container needs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<Mount>,
    hooks: Vec<NamedHook>,
    #[serde(rename = "additionalGids")]
    groups: Vec<u32>,
    intel_rdt: Option<serde_json::Value>,
    net_devices: Vec<serde_json::Value>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    path: PathBuf,
    host_path: Option<PathBuf>,
    file_mode: Option<u32>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    host_path: PathBuf,
    container_path: PathBuf,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    options: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NamedHook {
    hook_name: String,
    path: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    timeout: Option<i64>,
}

/// What the devices of a container make of it.
#[derive(Debug, Default, PartialEq)]
pub struct Additions {
    edits: Edits,
}

impl Additions {
    /// Adds nodes, mounts and variables to what is wished.
    pub fn wish(&self, wishes: &mut Wishes) {
        for variable in &self.edits.env {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            wishes.env.retain(|(known, _)| known != name);
            wishes.env.push((name.to_owned(), value.to_owned()));
        }
        wishes.devices.extend(self.edits.device_nodes.iter().map(|node| DeviceWish {
            source: node.host_path.clone().unwrap_or_else(|| node.path.clone()),
            target: node.path.clone(),
            permissions: node.permissions.clone().unwrap_or_else(|| "rwm".to_owned()),
        }));
        for mount in &self.edits.mounts {
            let (target, options) = (mount.container_path.clone(), &mount.options);
            wishes.mounts.push(match mount.kind.as_deref() {
                Some("tmpfs") => {
                    MountWish::Tmpfs(Tmpfs { target, options: options.clone(), ..Tmpfs::default() })
                }
                _ => MountWish::Bind(Bind {
                    source: mount.host_path.clone(),
                    target,
                    read_only: options.iter().any(|option| option == "ro"),
                    ..Bind::default()
                }),
            });
        }
    }

    /// Adds what only the finished spec can say: owners of nodes, and hooks.
    pub fn finish(&self, spec: &mut Spec) {
        if let Some(linux) = spec.linux_mut()
            && let Some(devices) = linux.devices_mut()
        {
            for device in devices {
                let node = self.edits.device_nodes.iter().find(|node| node.path == *device.path());
                let Some(node) = node else { continue };
                if node.file_mode.is_some() {
                    device.set_file_mode(node.file_mode.map(|mode| mode & 0o7777));
                }
                if node.uid.is_some() {
                    device.set_uid(node.uid);
                }
                if node.gid.is_some() {
                    device.set_gid(node.gid);
                }
            }
        }
        if self.has_hooks() {
            let hooks = self.edits.hooks.iter().map(|hook| {
                let mut made = Hook::default();
                made.set_path(hook.path.clone());
                made.set_args(Some(hook.args.clone()).filter(|args| !args.is_empty()));
                made.set_env(Some(hook.env.clone()).filter(|env| !env.is_empty()));
                made.set_timeout(hook.timeout);
                made
            });
            let mut all = Hooks::default();
            all.set_create_container(Some(hooks.collect()));
            spec.set_hooks(Some(all));
        }
    }

    /// Whether programs run while the container is made.
    pub fn has_hooks(&self) -> bool {
        !self.edits.hooks.is_empty()
    }

    /// Further groups of its user.
    pub fn groups(&self) -> impl Iterator<Item = String> {
        self.edits.groups.iter().map(ToString::to_string)
    }
}

/// All specifications of a machine.
#[derive(Debug, Default)]
struct Known {
    searched: Vec<PathBuf>,
    files: Vec<(PathBuf, SpecFile)>,
}

/// What the devices of `service` make of its containers; nothing if it has none of those.
///
/// # Errors
///
/// [`CdiError`]
pub fn additions(service: &Service, folders: &[PathBuf]) -> Result<Additions, CdiError> {
    let by_name = service.devices.iter().filter_map(|device| match device {
        Device::Cdi(name) => Some(name.clone()),
        Device::Host { .. } => None,
    });
    let reserved = service.deploy.iter().flat_map(|deploy| &deploy.devices);
    let requests: Vec<(&DeviceRequest, Option<&str>)> = service
        .gpus
        .iter()
        .map(|request| (request, Some("gpu")))
        .chain(reserved.map(|request| (request, None)))
        .collect();
    let mut names: Vec<String> = by_name.collect();
    if names.is_empty() && requests.is_empty() {
        return Ok(Additions::default());
    }
    let known = Known::read(folders)?;
    for (request, class) in requests {
        names.extend(known.requested(request, class)?);
    }
    known.edits(&names).map(|edits| Additions { edits })
}

impl Known {
    fn read(folders: &[PathBuf]) -> Result<Self, CdiError> {
        let mut known = Self { searched: folders.to_vec(), files: Vec::new() };
        for folder in folders {
            let failed = |source| CdiError::Read { path: folder.clone(), source };
            let entries = match fs::read_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(failed)?,
            };
            let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                let extension = path.extension().and_then(|extension| extension.to_str());
                if matches!(extension, Some("json" | "yaml" | "yml")) {
                    let file = read_file(&path)?;
                    known.files.push((path, file));
                }
            }
        }
        Ok(known)
    }

    /// The names of the devices that meet a request.
    fn requested(
        &self,
        request: &DeviceRequest,
        class: Option<&str>,
    ) -> Result<Vec<String>, CdiError> {
        if request.driver.as_deref() == Some("cdi")
            && let DeviceRequestCount::Ids(ids) = &request.count
        {
            return Ok(ids.clone());
        }
        let mut capabilities = request.capabilities.iter().map(String::as_str);
        let asked = capabilities.find(|capability| CLASSES.contains(capability));
        let class = asked.or(class).unwrap_or("gpu");
        let kind = self.kind(class, request.driver.as_deref())?;
        let has = |name: &str| self.devices(kind).any(|device| device == name);
        let named = |name: &dyn std::fmt::Display| format!("{kind}={name}");
        Ok(match &request.count {
            DeviceRequestCount::Ids(ids) => ids.iter().map(|id| named(id)).collect(),
            DeviceRequestCount::Count(count) => (0..*count).map(|index| named(&index)).collect(),
            DeviceRequestCount::All if has("all") => vec![named(&"all")],
            DeviceRequestCount::All => self.devices(kind).map(|name| named(&name)).collect(),
        })
    }

    /// Whose devices of a class are meant: those of the driver, else NVIDIA's as with docker, else those of the only vendor.
    fn kind(&self, class: &str, driver: Option<&str>) -> Result<&str, CdiError> {
        let kinds: BTreeSet<&str> = self
            .files
            .iter()
            .map(|(_, file)| file.kind.as_str())
            .filter(|kind| kind.rsplit_once('/').is_some_and(|(_, found)| found == class))
            .collect();
        let of = |vendor: &str| {
            kinds.iter().copied().find(|kind| {
                kind.strip_suffix(class).and_then(|kind| kind.strip_suffix('/')).is_some_and(
                    |found| found == vendor || found.strip_suffix(".com") == Some(vendor),
                )
            })
        };
        let found = match driver.filter(|driver| !driver.is_empty() && *driver != "cdi") {
            Some(driver) => of(driver),
            None => of("nvidia").or_else(|| kinds.first().copied().filter(|_| kinds.len() == 1)),
        };
        found.ok_or_else(|| CdiError::NoVendor {
            class: driver.map_or_else(|| class.to_owned(), |driver| format!("{class} of {driver}")),
            searched: self.searched.clone(),
        })
    }

    fn devices<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        let files = self.files.iter().filter(move |(_, file)| file.kind == kind);
        let names: BTreeSet<&str> =
            files.flat_map(|(_, file)| &file.devices).map(|device| device.name.as_str()).collect();
        names.into_iter()
    }

    /// All that the devices need, each file's common part once.
    fn edits(&self, names: &[String]) -> Result<Edits, CdiError> {
        let mut all = Edits::default();
        let mut seen_files: BTreeSet<&Path> = BTreeSet::new();
        let mut seen: BTreeMap<&str, ()> = BTreeMap::new();
        for name in names {
            if seen.insert(name, ()).is_some() {
                continue;
            }
            let (path, file, device) = self.find(name)?;
            if seen_files.insert(path) {
                all.append(name, &file.container_edits)?;
            }
            all.append(name, &device.container_edits)?;
        }
        Ok(all)
    }

    fn find(&self, name: &str) -> Result<(&Path, &SpecFile, &NamedEdits), CdiError> {
        let unknown =
            || CdiError::Unknown { name: name.to_owned(), searched: self.searched.clone() };
        let (kind, wanted) = name.split_once('=').ok_or_else(unknown)?;
        let mut found: Option<(&Path, &SpecFile, &NamedEdits)> = None;
        for (path, file) in self.files.iter().filter(|(_, file)| file.kind == kind) {
            for device in file.devices.iter().filter(|device| device.name == wanted) {
                if let Some((other, _, _)) = found
                    && other.parent() == path.parent()
                {
                    return Err(CdiError::Ambiguous {
                        name: name.to_owned(),
                        one: other.to_owned(),
                        other: path.clone(),
                    });
                }
                found = Some((path, file, device));
            }
        }
        found.ok_or_else(unknown)
    }
}

impl Edits {
    fn append(&mut self, name: &str, more: &Self) -> Result<(), CdiError> {
        let unsupported = |what: String| Err(CdiError::Unsupported { name: name.to_owned(), what });
        if more.intel_rdt.is_some() {
            return unsupported("a class of Intel RDT".to_owned());
        }
        if !more.net_devices.is_empty() {
            return unsupported("a network device".to_owned());
        }
        // The other moments are before or after the container is made, and nobody uses them.
        if let Some(hook) = more.hooks.iter().find(|hook| hook.hook_name != "createContainer") {
            return unsupported(format!("a hook at the moment `{}`", hook.hook_name));
        }
        let bind = |mount: &Mount| {
            matches!(mount.kind.as_deref(), None | Some("" | "bind" | "none" | "tmpfs"))
        };
        if let Some(mount) = more.mounts.iter().find(|mount| !bind(mount)) {
            let kind = mount.kind.as_deref().unwrap_or_default();
            return unsupported(format!("a mount of the type {kind}"));
        }
        self.env.extend(more.env.iter().cloned());
        self.device_nodes.retain(|node| more.device_nodes.iter().all(|one| one.path != node.path));
        self.device_nodes.extend(more.device_nodes.iter().cloned());
        let targets: BTreeSet<&Path> =
            more.mounts.iter().map(|mount| mount.container_path.as_path()).collect();
        self.mounts.retain(|mount| !targets.contains(mount.container_path.as_path()));
        self.mounts.extend(more.mounts.iter().cloned());
        self.hooks.extend(more.hooks.iter().cloned());
        self.groups.extend(more.groups.iter().copied());
        Ok(())
    }
}

fn read_file(path: &Path) -> Result<SpecFile, CdiError> {
    let text = fs::read_to_string(path)
        .map_err(|source| CdiError::Read { path: path.to_owned(), source })?;
    let bad = |reason: String| CdiError::Parse { path: path.to_owned(), reason };
    // JSON is YAML.
    let file: SpecFile = serde_yaml::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let parts = file.kind.split_once('/');
    if !parts.is_some_and(|(vendor, class)| !vendor.is_empty() && !class.is_empty()) {
        return Err(bad(format!("its kind `{}` is not VENDOR/CLASS", file.kind)));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VENDOR: &str = r#"
cdiVersion: 0.8.0
kind: acme.com/gpu
containerEdits:
  env: [ACME=yes]
  mounts: [{hostPath: /usr/lib/acme.so, containerPath: /usr/lib/acme.so, options: [ro, bind]}]
devices:
  - name: "0"
    containerEdits:
      env: [ACME_0=yes]
      deviceNodes: [{path: /dev/acme0, hostPath: /dev/null, permissions: rw, fileMode: 0o660, uid: 7, gid: 8}]
      additionalGids: [44]
      hooks: [{hookName: createContainer, path: /usr/bin/acme, args: [acme, link]}]
  - name: "1"
    containerEdits: {deviceNodes: [{path: /dev/acme1, hostPath: /dev/zero}]}
"#;

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let folders = ["etc", "run"].map(|name| folder.path().join(name)).to_vec();
        (folder, folders)
    }

    fn request(count: DeviceRequestCount, driver: Option<&str>) -> DeviceRequest {
        DeviceRequest {
            capabilities: vec!["gpu".to_owned()],
            driver: driver.map(str::to_owned),
            count,
            options: BTreeMap::new(),
        }
    }

    fn service(devices: &[&str], gpus: Vec<DeviceRequest>) -> Service {
        let mut service = Service::new("web".parse().unwrap());
        service.devices = devices.iter().map(|name| Device::Cdi((*name).to_owned())).collect();
        service.gpus = gpus;
        service
    }

    fn nodes(service: &Service, folders: &[PathBuf]) -> Result<Vec<String>, String> {
        let additions = additions(service, folders).map_err(|error| error.to_string())?;
        let mut wishes = Wishes::default();
        additions.wish(&mut wishes);
        Ok(wishes.devices.iter().map(|device| device.target.display().to_string()).collect())
    }

    #[test]
    fn a_device_brings_what_it_needs() {
        let (_folder, folders) = folder(&[("etc/acme.yaml", VENDOR)]);
        let additions = additions(&service(&["acme.com/gpu=0"], Vec::new()), &folders).unwrap();
        let mut wishes = Wishes { args: vec!["true".into()], ..Wishes::default() };
        additions.wish(&mut wishes);
        let env: Vec<&str> = wishes.env.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(env, ["ACME", "ACME_0"]);
        let MountWish::Bind(bind) = &wishes.mounts[0] else { panic!() };
        assert!(bind.read_only);
        assert_eq!(wishes.devices[0].source, Path::new("/dev/null"));
        assert_eq!(wishes.devices[0].permissions, "rw");
        let mut spec = runtime::spec::spec(&wishes).unwrap();
        additions.finish(&mut spec);
        let devices = spec.linux().as_ref().unwrap().devices().clone().unwrap();
        assert_eq!((devices[0].uid(), devices[0].gid()), (Some(7), Some(8)));
        assert_eq!(devices[0].file_mode(), Some(0o660));
        let hooks = spec.hooks().as_ref().unwrap().create_container().clone().unwrap();
        assert_eq!(hooks[0].path(), Path::new("/usr/bin/acme"));
        assert_eq!(additions.groups().collect::<Vec<_>>(), ["44"]);
        assert!(additions.has_hooks());
    }

    #[test]
    fn requests_are_for_the_devices_of_a_vendor() {
        use DeviceRequestCount::{All, Count, Ids};
        let nvidia = r#"{"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": [
            {"name": "all", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}, {"path": "/dev/nvidia1"}]}},
            {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0"}]}}]}"#;
        let (_one, only) = folder(&[("etc/acme.yaml", VENDOR)]);
        let (_two, both) = folder(&[("etc/acme.yaml", VENDOR), ("run/nvidia.json", nvidia)]);
        let ask = |count, driver, folders: &[PathBuf]| {
            nodes(&service(&[], vec![request(count, driver)]), folders).map(|nodes| nodes.join(" "))
        };
        assert_eq!(ask(All, None, &only), Ok("/dev/acme0 /dev/acme1".into()));
        assert_eq!(ask(Count(1), None, &only), Ok("/dev/acme0".into()));
        assert_eq!(ask(All, None, &both), Ok("/dev/nvidia0 /dev/nvidia1".into()));
        assert_eq!(ask(All, Some("nvidia"), &both), Ok("/dev/nvidia0 /dev/nvidia1".into()));
        assert_eq!(ask(Ids(vec!["1".into()]), Some("acme"), &both), Ok("/dev/acme1".into()));
        let full = Ids(vec!["nvidia.com/gpu=0".into()]);
        assert_eq!(ask(full, Some("cdi"), &both), Ok("/dev/nvidia0".into()));
        let missing = ask(All, Some("amd"), &both).unwrap_err();
        assert!(missing.contains("of the class gpu of amd"), "{missing}");
        assert!(
            ask(Count(3), None, &only)
                .unwrap_err()
                .starts_with("there is no device acme.com/gpu=2")
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let of = |files: &[(&str, &str)], name: &str| {
            let (_folder, folders) = folder(files);
            nodes(&service(&[name], Vec::new()), &folders).map(|nodes| nodes.join(" "))
        };
        let twice = [("etc/a.yaml", VENDOR), ("etc/b.yaml", VENDOR)];
        assert!(of(&twice, "acme.com/gpu=0").unwrap_err().contains("etc/a.yaml and in"));
        // A file of the later folder goes before one of the earlier.
        let over = VENDOR.replace("/dev/acme1", "/dev/over1");
        let over = [("etc/a.yaml", VENDOR), ("run/a.yaml", over.as_str())];
        assert_eq!(of(&over, "acme.com/gpu=1"), Ok("/dev/over1".into()));
        let unknown = of(&[], "acme.com/gpu=0").unwrap_err();
        assert!(unknown.starts_with("there is no device acme.com/gpu=0 in /"), "{unknown}");
        let broken = of(&[("etc/a.json", "{")], "a.com/b=c").unwrap_err();
        assert!(broken.contains("a.json is no device specification"), "{broken}");
        let hook = VENDOR.replace("createContainer", "poststop");
        let hook = of(&[("etc/a.yaml", hook.as_str())], "acme.com/gpu=0").unwrap_err();
        assert!(hook.contains("a hook at the moment `poststop`"), "{hook}");
    }
}
