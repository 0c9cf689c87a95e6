//! What of a plan would be refused on the way, told before anything is changed.
//!
//! Only what can be known without making anything: the rest shows when the step is carried out, in the same words.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use oci_spec::image::Config as ImageConfig;
use runtime::{cgroup, seccomp, spec};
use volumes::bind::{self, Missing};

use super::container::CreateError;
use super::foreign;
use super::logging::{self, Subject};
use super::mounts::MountError;
use super::{endpoint, explain, network, storage, wishes};
use crate::event::Failure;
use crate::model::{FileSource, MountKind, Networking, Project, Seccomp, Service};
use crate::plan::{Action, Plan};
use crate::supervisor::Supervisor;

/// Everything in `plan` that is bound to fail, each with its place in the file.
pub fn check(supervisor: &Supervisor, project: &Project, plan: &Plan) -> Vec<Failure> {
    let mut checker = Checker { supervisor, project, images: BTreeMap::new() };
    let mut seen = BTreeSet::new();
    let actions = plan.steps.iter().map(|step| &step.action);
    let found = actions.filter_map(|action| match action {
        Action::CreateNetwork { key, .. } => {
            let wanted = project.networks.get(key)?;
            let error = network::wish(wanted).err()?;
            Some(prefixed("network", wanted.name.as_str(), explain::network(&error, Some(wanted))))
        }
        Action::CreateContainer(create) if seen.insert(&create.instance.service) => {
            let service = project.services.get(&create.instance.service)?;
            let error = checker.container(service, &create.image).err()?;
            Some(prefixed("service", service.name.as_str(), explain::creation(&error, service)))
        }
        _ => None,
    });
    found.collect()
}

fn prefixed(kind: &str, name: &str, failure: Failure) -> Failure {
    Failure { message: format!("{kind} {name}: {}", failure.message), ..failure }
}

struct Checker<'a> {
    supervisor: &'a Supervisor,
    project: &'a Project,
    /// What the images say about execution, by reference: many services may share one.
    images: BTreeMap<String, ImageConfig>,
}

impl Checker<'_> {
    fn container(&mut self, service: &Service, image: &str) -> Result<(), CreateError> {
        foreign::named(service)?;
        foreign::check_partners(service, self.project)?;
        storage::check(service, &self.supervisor.roots.data)?;
        self.mounts(service)?;
        let execution = self.execution(image)?.clone();
        let hostname = service.hostname.as_deref().unwrap_or("container");
        let wishes = wishes::wishes(service, &execution, hostname, Vec::new())?;
        let (id, name, image_id) = ("", "", "");
        let env = &wishes.env;
        logging::of_service(service, &Subject { id, name, image, image_id, env })?;
        spec::spec(&wishes)?;
        // The default profile has been compiled before; one of the user may say anything.
        if matches!(service.security.seccomp, Seccomp::Profile(_)) {
            seccomp::filter(&wishes, &self.supervisor.roots.cache())?;
        }
        let limits = wishes::limits(&service.limits, service.oom_kill_disable);
        cgroup::check(service.cgroup_parent.as_deref(), &limits)?;
        self.addresses(service)
    }

    fn execution(&mut self, image: &str) -> Result<&ImageConfig, CreateError> {
        if !self.images.contains_key(image) {
            let found = self.supervisor.images.find(image)?;
            let found = found.ok_or_else(|| CreateError::NoImage { image: image.to_owned() })?;
            self.images.insert(image.to_owned(), found.execution());
        }
        Ok(&self.images[image])
    }

    /// Sources that have to be there.
    fn mounts(&self, service: &Service) -> Result<(), MountError> {
        for mount in &service.mounts {
            if let MountKind::Bind { source, create_host_path: false, .. } = &mount.kind {
                let target = mount.target.clone();
                bind::check(source, Missing::Refuse)
                    .map_err(|source| MountError::Bind { target, source })?;
            }
        }
        let secrets = service.secrets.iter();
        let secrets =
            secrets.map(|grant| (&grant.target, &self.project.secrets[&grant.source].source));
        let configs = service.configs.iter();
        let configs =
            configs.map(|grant| (&grant.target, &self.project.configs[&grant.source].source));
        for (target, source) in secrets.chain(configs) {
            let target = target.clone();
            match source {
                FileSource::File(path) => {
                    bind::check(path, Missing::Refuse)
                        .map_err(|source| MountError::Bind { target, source })?;
                }
                FileSource::Environment { variable, value: None } => {
                    return Err(MountError::Unset { variable: variable.clone(), target });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Static addresses lie in a subnet of their network, where the file names one.
    fn addresses(&self, service: &Service) -> Result<(), CreateError> {
        let Networking::Attached(places) = &service.networking else { return Ok(()) };
        for (key, place) in places {
            endpoint::check(place)?;
            let network = &self.project.networks[key];
            if network.external {
                continue;
            }
            let named: Vec<&str> =
                network.ipam.pools.iter().filter_map(|pool| pool.subnet.as_deref()).collect();
            for address in place.fixed_addresses() {
                let has = match address {
                    IpAddr::V4(_) => network.enable_ipv4 != Some(false),
                    IpAddr::V6(_) => {
                        network.enable_ipv6 == Some(true)
                            || named.iter().any(|subnet| is_of(subnet, address))
                    }
                };
                if !has {
                    let network = network.name.to_string();
                    return Err(CreateError::NoFamily { network, address });
                }
                let mut same = named.iter().filter(|subnet| is_of(subnet, address)).peekable();
                if same.peek().is_some() && !same.any(|subnet| holds(subnet, address)) {
                    return Err(CreateError::Outside {
                        network: network.name.to_string(),
                        address,
                        subnets: named.iter().map(|subnet| (*subnet).to_owned()).collect(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Whether `subnet` has addresses of the family of `address`.
fn is_of(subnet: &str, address: IpAddr) -> bool {
    subnet.contains(':') == address.is_ipv6()
}

/// Whether `address` lies in `subnet`; what is no subnet is told elsewhere.
fn holds(subnet: &str, address: IpAddr) -> bool {
    subnet.parse::<::network::IpNet>().map_or(true, |net| net.contains(address))
}
