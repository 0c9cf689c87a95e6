//! Which images are to be built, in which order.

use std::collections::BTreeSet;

use images::build::Recipe;

use super::super::error::CommandError;
use crate::build::{RecipeError, dependencies, recipe};
use crate::event::Failure;
use crate::model::{Project, ServiceName};

/// One image to be built.
pub(super) struct Job {
    pub(super) service: ServiceName,
    pub(super) recipe: Recipe,
    /// Services whose images it is built on.
    pub(super) after: Vec<ServiceName>,
}

pub(super) fn has_build(project: &Project, name: &ServiceName) -> bool {
    project.services.get(name).is_some_and(|service| service.build.is_some())
}

/// Adds the services whose images are contexts of these.
pub(super) fn with_contexts(project: &Project, wanted: &mut BTreeSet<ServiceName>) {
    let mut open: Vec<ServiceName> = wanted.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let service = project.services.get(&name).or_else(|| project.disabled.get(&name));
        for other in service.map(dependencies).unwrap_or_default() {
            let known = project.services.get(&other).or_else(|| project.disabled.get(&other));
            if known.is_some_and(|service| service.build.is_some()) && wanted.insert(other.clone())
            {
                open.push(other);
            }
        }
    }
}

pub(super) fn jobs(
    project: &Project,
    wanted: &BTreeSet<ServiceName>,
) -> Result<Vec<Job>, CommandError> {
    let mut jobs = Vec::new();
    for name in wanted {
        let service = project.services.get(name).or_else(|| project.disabled.get(name));
        let Some(service) = service else { continue };
        let Some(recipe) = recipe(project, service).map_err(|error| refused(&error, name))? else {
            continue;
        };
        let after = dependencies(service).into_iter().filter(|other| wanted.contains(other));
        jobs.push(Job { service: name.clone(), recipe, after: after.collect() });
    }
    in_order(jobs)
}

/// Puts those before that others are built on.
fn in_order(mut jobs: Vec<Job>) -> Result<Vec<Job>, CommandError> {
    let mut ordered: Vec<Job> = Vec::new();
    while !jobs.is_empty() {
        let ready = |job: &Job| {
            job.after.iter().all(|name| ordered.iter().any(|done| done.service == *name))
        };
        let Some(next) = jobs.iter().position(ready) else {
            let names: Vec<&str> = jobs.iter().map(|job| job.service.as_str()).collect();
            let message = format!("images are built on each other: {}", names.join(", "));
            return Err(CommandError::failed(message)
                .help("break the circle of `additional_contexts` with `service:`"));
        };
        ordered.push(jobs.remove(next));
    }
    Ok(ordered)
}

fn refused(error: &RecipeError, service: &ServiceName) -> CommandError {
    let help = match error {
        RecipeError::Context(_) => "write a directory, a git repository or docker-image://IMAGE",
        RecipeError::Name { .. } => "write NAME[:TAG] in lower case",
        RecipeError::Platform(_) => "write OS/ARCHITECTURE, such as linux/amd64",
        RecipeError::Foreign(_) => {
            "register an emulator with binfmt_misc, or build for this machine"
        }
        RecipeError::Secret(_) => "set its variable, or give it a file",
        RecipeError::Agent { .. } => {
            "name the socket of an agent, or the file of a key without a passphrase"
        }
        RecipeError::Service(_) => "name a service of the project",
        RecipeError::Gateway(_) => "write the address of the machine",
        RecipeError::Network(_) => "change `build.network`",
    };
    let mut failure = Failure::new(error);
    failure.message = format!("service {service} cannot be built: {}", failure.message);
    CommandError::from(failure).help(help)
}

/// What would be built, in the words of `docker buildx bake`.
pub(super) fn bake(project: &Project, jobs: &[Job]) -> serde_json::Value {
    let mut targets = serde_json::Map::new();
    for Job { service, recipe, after } in jobs {
        let build = project.services.get(service).and_then(|service| service.build.as_ref());
        let contexts = build.map(|build| {
            let target = |(name, text): (&String, &String)| {
                let text = text
                    .strip_prefix("service:")
                    .map_or(text.clone(), |name| format!("target:{name}"));
                (name.clone(), text.into())
            };
            build.additional_contexts.iter().map(target).collect::<serde_json::Map<_, _>>()
        });
        let names: Vec<String> = recipe.names.iter().map(images::Reference::familiar).collect();
        targets.insert(
            service.to_string(),
            serde_json::json!({
                "context": build.map(|build| build.context.clone()),
                "dockerfile": build.and_then(|build| build.dockerfile.clone()),
                "dockerfile-inline": build.and_then(|build| build.dockerfile_inline.clone()),
                "args": recipe.args,
                "labels": recipe.labels,
                "tags": names,
                "target": recipe.target,
                "contexts": contexts,
                "depends-on": after,
            }),
        );
    }
    let names: Vec<&str> = jobs.iter().map(|job| job.service.as_str()).collect();
    serde_json::json!({ "group": { "default": { "targets": names } }, "target": targets })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(service: &str, after: &[&str]) -> Job {
        let source = images::build::Source::Directory("/".into());
        Job {
            service: service.parse().unwrap(),
            recipe: Recipe::new(source),
            after: after.iter().map(|name| name.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn images_come_before_those_that_are_built_on_them() {
        let ordered = in_order(vec![job("a", &["b"]), job("b", &["c"]), job("c", &[])]).unwrap();
        let names: Vec<&str> = ordered.iter().map(|job| job.service.as_str()).collect();
        assert_eq!(names, ["c", "b", "a"]);
        assert!(in_order(vec![job("a", &["b"]), job("b", &["a"])]).is_err());
    }
}
