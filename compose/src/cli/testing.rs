//! What the tests of commands share.

use std::collections::BTreeMap;

use clap::{Args, Command};

use crate::model::{Dependency, DependencyCondition, Project, Service, ServiceName};

/// The arguments of a command, read from `words`.
pub fn args<A: Args>(words: &[&str]) -> A {
    let matches = A::augment_args(Command::new("test").no_binary_name(true))
        .try_get_matches_from(words)
        .unwrap();
    A::from_arg_matches(&matches).unwrap()
}

/// Why `words` are not accepted, if they are not.
pub fn refusal<A: Args>(words: &[&str]) -> Option<String> {
    A::augment_args(Command::new("test").no_binary_name(true))
        .try_get_matches_from(words)
        .err()
        .map(|error| error.to_string())
}

/// The project `p` with these services.
pub fn project(services: &[&str]) -> Project {
    let service = |name: &&str| {
        let name: ServiceName = name.parse().unwrap();
        (name.clone(), Service::new(name))
    };
    Project {
        name: "p".parse().unwrap(),
        working_dir: "/p".into(),
        files: vec!["/p/compose.yaml".into()],
        environment: BTreeMap::new(),
        services: services.iter().map(service).collect(),
        disabled: BTreeMap::new(),
        networks: BTreeMap::new(),
        volumes: BTreeMap::new(),
        secrets: BTreeMap::new(),
        configs: BTreeMap::new(),
        kept: BTreeMap::new(),
        compatibility: false,
    }
}

/// A dependency that has only to be started.
pub fn dependency() -> Dependency {
    Dependency { condition: DependencyCondition::Started, required: true, restart: false }
}
