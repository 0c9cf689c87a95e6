//! Which images are to be built, in which order.

use images::build::Recipe;

use super::super::error::CommandError;
use crate::apply::explain;
use crate::build::recipe;
use crate::model::{Project, ServiceName};
use crate::plan::{Action, Plan};

/// One image to be built.
pub(super) struct Job {
    pub(super) service: ServiceName,
    pub(super) recipe: Recipe,
    /// What it is called in the first place.
    pub(super) image: String,
    /// Services whose images it is built on.
    pub(super) after: Vec<ServiceName>,
}

pub(super) fn has_build(project: &Project, name: &ServiceName) -> bool {
    project.services.get(name).is_some_and(|service| service.build.is_some())
}

/// The builds of `plan`, with all that they need.
pub(super) fn jobs(project: &Project, plan: &Plan) -> Result<Vec<Job>, CommandError> {
    let mut jobs: Vec<Job> = Vec::new();
    for step in &plan.steps {
        let Action::BuildImage { service, image, .. } = &step.action else { continue };
        let Some(declared) = project.declared(service) else { continue };
        let recipe = recipe(project, declared).map_err(|error| explain::recipe(&error, service))?;
        let Some(recipe) = recipe else { continue };
        let after = step.after.iter().filter_map(|id| match &plan.steps[id.index()].action {
            Action::BuildImage { service, .. } => Some(service.clone()),
            _ => None,
        });
        let after = after.collect();
        jobs.push(Job { service: service.clone(), recipe, image: image.clone(), after });
    }
    Ok(jobs)
}

/// What would be built, in the words of `docker buildx bake`.
pub(super) fn bake(project: &Project, jobs: &[Job]) -> serde_json::Value {
    let mut targets = serde_json::Map::new();
    for Job { service, recipe, after, .. } in jobs {
        let build = project.declared(service).and_then(|service| service.build.as_ref());
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
                "cache-from": build.map(|build| build.cache_from.clone()),
                "cache-to": build.map(|build| build.cache_to.clone()),
            }),
        );
    }
    let names: Vec<&str> = jobs.iter().map(|job| job.service.as_str()).collect();
    serde_json::json!({ "group": { "default": { "targets": names } }, "target": targets })
}
