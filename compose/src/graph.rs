//! Which services, in which order, on which conditions.
//!
//! The edges are the `depends_on` of the model, which the loader has completed
//! by what other keys imply (links, shared namespaces, `volumes_from`). An
//! edge to a service that is not enabled is left out: nobody waits for it.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, EdgeRef, Reversed};

use crate::model::{Dependency, Project, ServiceName};

/// Services that wait for each other in a circle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("services depend on each other in a cycle: {}", display(path))]
pub struct CycleError {
    /// The services in the order in which each depends on the next; the first
    /// stands at the end again.
    pub path: Vec<ServiceName>,
}

fn display(path: &[ServiceName]) -> String {
    path.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(" -> ")
}

/// The services of a project and what they wait for; it has no cycle.
#[derive(Debug)]
pub struct Graph<'p> {
    graph: DiGraph<&'p ServiceName, Dependency>,
    nodes: BTreeMap<&'p ServiceName, NodeIndex>,
    order: Vec<&'p ServiceName>,
}

impl<'p> Graph<'p> {
    /// Orders the enabled services of `project`.
    ///
    /// # Errors
    ///
    /// [`CycleError`] with the whole circle.
    pub fn new(project: &'p Project) -> Result<Self, CycleError> {
        let services = project.services.values();
        Self::of(services.map(|service| (&service.name, &service.depends_on)))
    }

    /// Orders services given with their dependencies.
    ///
    /// # Errors
    ///
    /// [`CycleError`] with the whole circle.
    pub fn of(
        services: impl Iterator<Item = (&'p ServiceName, &'p BTreeMap<ServiceName, Dependency>)> + Clone,
    ) -> Result<Self, CycleError> {
        let mut graph = DiGraph::new();
        let nodes: BTreeMap<_, _> =
            services.clone().map(|(name, _)| (name, graph.add_node(name))).collect();
        for (name, dependencies) in services {
            for (dependency, conditions) in dependencies {
                if let Some(target) = nodes.get(dependency) {
                    graph.add_edge(nodes[name], *target, *conditions);
                }
            }
        }
        let order = order(&graph, &nodes).map_err(|rest| cycle(&graph, rest))?;
        Ok(Self { graph, nodes, order })
    }

    /// All services, each after those that it depends on; where nothing else
    /// decides, in the order of their names.
    #[must_use]
    pub fn start_order(&self) -> &[&'p ServiceName] {
        &self.order
    }

    /// All services, each after those that depend on it.
    pub fn stop_order(&self) -> impl Iterator<Item = &'p ServiceName> {
        self.order.iter().rev().copied()
    }

    /// What `service` waits for, and how.
    pub fn dependencies(
        &self,
        service: &ServiceName,
    ) -> impl Iterator<Item = (&'p ServiceName, Dependency)> {
        self.neighbours(service, Direction::Outgoing)
    }

    /// Who waits for `service`, and how.
    pub fn dependents(
        &self,
        service: &ServiceName,
    ) -> impl Iterator<Item = (&'p ServiceName, Dependency)> {
        self.neighbours(service, Direction::Incoming)
    }

    /// These services and all that they depend on, directly or not. Names
    /// that are not in the graph are passed over.
    #[must_use]
    pub fn with_dependencies<'n>(
        &self,
        services: impl IntoIterator<Item = &'n ServiceName>,
    ) -> BTreeSet<&'p ServiceName> {
        let mut reached = BTreeSet::new();
        for start in services.into_iter().filter_map(|name| self.nodes.get(name)) {
            let mut walk = Dfs::new(&self.graph, *start);
            while let Some(node) = walk.next(&self.graph) {
                reached.insert(self.graph[node]);
            }
        }
        reached
    }

    /// These services and all that depend on them, directly or not. Names
    /// that are not in the graph are passed over.
    #[must_use]
    pub fn with_dependents<'n>(
        &self,
        services: impl IntoIterator<Item = &'n ServiceName>,
    ) -> BTreeSet<&'p ServiceName> {
        let mut reached = BTreeSet::new();
        for start in services.into_iter().filter_map(|name| self.nodes.get(name)) {
            let reversed = Reversed(&self.graph);
            let mut walk = Dfs::new(reversed, *start);
            while let Some(node) = walk.next(reversed) {
                reached.insert(self.graph[node]);
            }
        }
        reached
    }

    fn neighbours(
        &self,
        service: &ServiceName,
        direction: Direction,
    ) -> impl Iterator<Item = (&'p ServiceName, Dependency)> {
        let node = self.nodes.get(service).copied();
        node.into_iter().flat_map(move |node| {
            self.graph.edges_directed(node, direction).map(move |edge| {
                let other = match direction {
                    Direction::Outgoing => edge.target(),
                    Direction::Incoming => edge.source(),
                };
                (self.graph[other], *edge.weight())
            })
        })
    }
}

type Services<'p> = DiGraph<&'p ServiceName, Dependency>;

/// Takes the services that wait for nothing more, the first by name each time.
/// What is left in the end waits for itself.
fn order<'p>(
    graph: &Services<'p>,
    nodes: &BTreeMap<&'p ServiceName, NodeIndex>,
) -> Result<Vec<&'p ServiceName>, BTreeSet<NodeIndex>> {
    let mut waiting: BTreeMap<NodeIndex, usize> =
        nodes.values().map(|node| (*node, graph.neighbors(*node).count())).collect();
    let mut ready: BTreeSet<(&ServiceName, NodeIndex)> = nodes
        .iter()
        .filter(|(_, node)| waiting[*node] == 0)
        .map(|(name, node)| (*name, *node))
        .collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some((name, node)) = ready.pop_first() {
        order.push(name);
        waiting.remove(&node);
        for dependent in graph.neighbors_directed(node, Direction::Incoming) {
            if let Some(count) = waiting.get_mut(&dependent) {
                *count -= 1;
                if *count == 0 {
                    ready.insert((graph[dependent], dependent));
                }
            }
        }
    }
    if waiting.is_empty() { Ok(order) } else { Err(waiting.into_keys().collect()) }
}

/// Walks along unmet dependencies until a service comes up again: each of
/// `rest` has such a dependency, so the walk must return to where it was.
fn cycle(graph: &Services<'_>, rest: BTreeSet<NodeIndex>) -> CycleError {
    let mut path: Vec<NodeIndex> = rest.first().copied().into_iter().collect();
    while let Some(next) = path.last().and_then(|last| {
        graph.neighbors(*last).filter(|node| rest.contains(node)).min_by_key(|node| graph[*node])
    }) {
        if let Some(start) = path.iter().position(|node| *node == next) {
            path.push(next);
            path.drain(..start);
            break;
        }
        path.push(next);
    }
    CycleError { path: path.into_iter().map(|node| graph[node].clone()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Services = BTreeMap<ServiceName, BTreeMap<ServiceName, Dependency>>;

    /// `web: db cache; db:` and so on.
    fn services(text: &str) -> Services {
        let name = |text: &str| text.trim().parse::<ServiceName>().unwrap();
        text.split(';')
            .map(|service| service.split_once(':').unwrap())
            .map(|(service, dependencies)| {
                let dependencies = dependencies.split_whitespace();
                let dependencies = dependencies.map(|one| (name(one), Dependency::default()));
                (name(service), dependencies.collect())
            })
            .collect()
    }

    fn graph(services: &Services) -> Result<Graph<'_>, CycleError> {
        Graph::of(services.iter())
    }

    fn words<'a>(names: impl IntoIterator<Item = &'a ServiceName>) -> String {
        names.into_iter().map(ServiceName::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn orders_by_dependency_and_then_by_name() {
        #[rustfmt::skip]
        let table = [
            ("b:; a:; c:", "a b c"),
            ("a: z; z:", "z a"),
            ("web: db cache; cache:; db: disk; disk:", "cache disk db web"),
            ("web: gone; gone2:", "gone2 web"),
        ];
        for (text, expected) in table {
            let services = services(text);
            let graph = graph(&services).unwrap();
            assert_eq!(words(graph.start_order().iter().copied()), expected, "{text}");
            let mut stop: Vec<_> = graph.stop_order().collect();
            stop.reverse();
            assert_eq!(words(stop), expected, "{text}");
        }
    }

    #[test]
    fn selects_along_edges() {
        let services = services("web: api; api: db; db:; cache:; job: db");
        let graph = graph(&services).unwrap();
        let name = |text: &str| text.parse::<ServiceName>().unwrap();
        assert_eq!(words(graph.with_dependencies(&[name("web")])), "api db web");
        assert_eq!(words(graph.with_dependents(&[name("db")])), "api db job web");
        assert_eq!(words(graph.with_dependents(&[name("cache"), name("nobody")])), "cache");
        assert_eq!(words(graph.dependents(&name("db")).map(|(name, _)| name)), "job api");
    }

    #[test]
    fn names_the_whole_cycle_and_nothing_beside_it() {
        #[rustfmt::skip]
        let table = [
            ("a: a", "a -> a"),
            ("a: b; b: c; c: a", "a -> b -> c -> a"),
            ("entry: a; a: b; b: a; leaf:", "a -> b -> a"),
        ];
        for (text, expected) in table {
            let services = services(text);
            let message = graph(&services).unwrap_err().to_string();
            assert_eq!(message, format!("services depend on each other in a cycle: {expected}"));
        }
    }
}
