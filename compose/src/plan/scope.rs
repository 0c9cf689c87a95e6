//! Which services `up` is about.

use std::collections::{BTreeMap, BTreeSet};

use super::{PlanError, Refusal};
use crate::api::UpOptions;
use crate::graph::Graph;
use crate::model::{Project, ServiceName};

/// Why a service is in the scope of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The command names it, or names none.
    Named,
    /// One that is named depends on it.
    Dependency,
}

/// The services that `up` makes containers of: those named, or all, with what they depend on unless told otherwise.
/// What is wrong with the dependencies is refused by the plan itself.
pub fn scope(project: &Project, options: &UpOptions) -> BTreeSet<ServiceName> {
    let named = |name: &ServiceName| options.services.is_empty() || options.services.contains(name);
    let mut all: BTreeSet<ServiceName> =
        project.services.keys().filter(|name| named(name)).cloned().collect();
    let mut open: Vec<ServiceName> = all.iter().cloned().collect();
    while let Some(service) = open.pop().filter(|_| options.dependencies) {
        let Some(service) = project.services.get(&service) else { continue };
        for name in service.depends_on.keys().filter(|name| project.services.contains_key(*name)) {
            if all.insert(name.clone()) {
                open.push(name.clone());
            }
        }
    }
    // One that is scaled to nothing needs no image.
    let replicas = |name: &ServiceName| {
        let written = project.services.get(name).map_or(0, |service| service.replicas);
        options.scale.get(name).copied().unwrap_or(written)
    };
    all.retain(|name| replicas(name) > 0);
    all
}

/// Which services a command is about, and how many containers each is to have.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    standing: BTreeMap<&'a ServiceName, Standing>,
    replicas: BTreeMap<&'a ServiceName, u32>,
    visitor: Option<&'a ServiceName>,
}

impl<'a> Scope<'a> {
    /// Takes the named services, or all, with their dependencies unless told otherwise.
    pub fn new(
        project: &'a Project,
        graph: &Graph<'a>,
        options: &UpOptions,
    ) -> Result<Self, PlanError> {
        let mut refusals = Vec::new();
        if project.services.is_empty() {
            refusals.push(Refusal::NothingSelected);
        }
        let unknown = options.services.iter().chain(options.scale.keys());
        let unknown: BTreeSet<_> =
            unknown.filter(|name| !project.services.contains_key(*name)).collect();
        refusals.extend(
            unknown.into_iter().map(|name| Refusal::UnknownService { service: name.clone() }),
        );

        let is_named =
            |name: &ServiceName| options.services.is_empty() || options.services.contains(name);
        let named: Vec<&ServiceName> =
            project.services.keys().filter(|name| is_named(name)).collect();
        let mut standing: BTreeMap<_, _> = match options.dependencies {
            true => graph
                .with_dependencies(named.iter().copied())
                .into_iter()
                .map(|name| (name, Standing::Dependency))
                .collect(),
            false => BTreeMap::new(),
        };
        standing.extend(named.into_iter().map(|name| (name, Standing::Named)));

        let mut replicas = BTreeMap::new();
        for service in project.services.values() {
            let wanted = match &service.provider {
                Some(_) => 0,
                None => options.scale.get(&service.name).copied().unwrap_or(service.replicas),
            };
            if let (Some(name), true) = (&service.container_name, wanted > 1)
                && standing.contains_key(&service.name)
            {
                let place = service.places.of("container_name").or(service.place.as_ref());
                refusals.push(Refusal::NamedReplicas {
                    service: service.name.clone(),
                    name: name.clone(),
                    replicas: wanted,
                    place: place.cloned(),
                });
            }
            replicas.insert(&service.name, wanted);
        }
        if refusals.is_empty() {
            Ok(Self { standing, replicas, visitor: None })
        } else {
            Err(PlanError { refusals })
        }
    }

    /// Takes what `service` depends on, for a one-off of it that needs the
    /// networks and volumes of the service and none of its containers.
    pub fn for_one_off(
        project: &'a Project,
        graph: &Graph<'a>,
        service: &ServiceName,
        options: &UpOptions,
    ) -> Result<Self, PlanError> {
        let mut scope = Self::new(project, graph, options)?;
        scope.visitor = scope.standing.remove_entry(service).map(|(name, _)| name);
        Ok(scope)
    }

    /// Whether the command makes containers of `service` that need its networks and volumes.
    pub fn needs_resources_of(&self, service: &ServiceName) -> bool {
        self.contains(service) || self.visitor == Some(service)
    }

    /// Whether the command is about `service`.
    pub fn contains(&self, service: &ServiceName) -> bool {
        self.standing.contains_key(service)
    }

    /// Why the command is about `service`; `None` if it is not.
    pub fn standing(&self, service: &ServiceName) -> Option<Standing> {
        self.standing.get(service).copied()
    }

    /// How many containers `service` is to have.
    pub fn replicas(&self, service: &ServiceName) -> u32 {
        self.replicas.get(service).copied().unwrap_or_default()
    }
}
