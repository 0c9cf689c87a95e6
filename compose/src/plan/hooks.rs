//! `pre_start`: containers that run to their end before the containers of a service start.
//!
//! They run one after the other, before the first container of a service of which none runs; those that say
//! `per_replica` before each container. Each shares the volumes of the container that it runs for.
//!
//! Source: docker compose 5.3, `pkg/compose/pre_start.go`; `per_replica` is the word of the specification, which docker
//! compose refuses.

use std::collections::BTreeMap;

use super::{CreateContainer, Instance, PlannedJoin, Refusal};
use crate::model::{PreStart, Project, Service};
use crate::observe::Observed;
use crate::record::{ContainerRecord, labels};

/// A hook that is to run.
#[derive(Debug)]
pub(super) struct PlannedHook {
    /// Which one, from 0.
    pub index: usize,
    /// Its container.
    pub create: CreateContainer,
    /// It runs before all containers of the service, and not for one of them.
    pub once: bool,
}

/// Whether a container is that of a hook: of no further use when it has ended.
pub(super) fn is_hook(record: &ContainerRecord) -> bool {
    record.oneoff && record.labels.contains_key(labels::HOOK)
}

/// The image of a hook, as the file names it.
pub(super) fn image(project: &Project, service: &Service, hook: &PreStart) -> String {
    hook.image.clone().unwrap_or_else(|| service.image_reference(&project.name))
}

/// What is missing for the hooks of `service`.
pub(super) fn missing_image(
    project: &Project,
    observed: &Observed,
    service: &Service,
) -> Option<Refusal> {
    let images = service.pre_start.iter().map(|hook| image(project, service, hook));
    let image = images.into_iter().find(|image| !observed.images.contains_key(image))?;
    let place = service.places.of("pre_start").or(service.place.as_ref()).cloned();
    let service = service.name.clone();
    Some(match observed.no_images.get(&image) {
        Some(reason) => Refusal::ImageImpossible { service, reason: reason.clone(), place },
        None => Refusal::ImageMissing { service, image, place },
    })
}

/// What a container shares with others, and what it was made from.
pub(super) struct Likeness<'a> {
    pub config_hash: &'a str,
    pub joins: &'a [PlannedJoin],
}

/// The hooks that run before `instance` starts: all of them if it is the first of a service of which none runs.
pub(super) fn before(
    project: &Project,
    observed: &Observed,
    instance: &Instance,
    like: &Likeness<'_>,
    all: bool,
) -> Vec<PlannedHook> {
    let Some(service) = project.services.get(&instance.service) else { return Vec::new() };
    let hooks = service.pre_start.iter().enumerate();
    let hooks = hooks.filter(|(_, hook)| all || hook.per_replica);
    hooks
        .filter_map(|(index, hook)| {
            let image = image(project, service, hook);
            let create = CreateContainer {
                instance: Instance {
                    service: instance.service.clone(),
                    number: instance.number,
                    name: format!("{}-pre_start-{}", instance.name, index + 1),
                },
                oneoff: true,
                image_id: observed.images.get(&image)?.clone(),
                image,
                config_hash: like.config_hash.to_owned(),
                replaces: None,
                aside: false,
                beside: false,
                inherits: BTreeMap::new(),
                joins: like.joins.to_vec(),
            };
            Some(PlannedHook { index, create, once: !hook.per_replica })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_has_all_hooks_and_others_their_own() {
        let mut project = crate::cli::testing::project(&[]);
        let mut service = Service::new("web".parse().unwrap());
        service.image = Some("web:1".to_owned());
        let hook = |image: Option<&str>, per_replica| PreStart {
            image: image.map(str::to_owned),
            command: None,
            user: None,
            privileged: false,
            working_dir: None,
            environment: BTreeMap::new(),
            per_replica,
        };
        service.pre_start = vec![hook(None, false), hook(Some("tool:1"), true)];
        project.services.insert(service.name.clone(), service.clone());
        let mut observed = Observed::default();
        observed.images.insert("web:1".to_owned(), "sha256:1".to_owned());
        let refusal = missing_image(&project, &observed, &service).unwrap();
        assert_eq!(refusal.to_string(), "service web: there is no image tool:1");
        observed.images.insert("tool:1".to_owned(), "sha256:2".to_owned());
        assert_eq!(missing_image(&project, &observed, &service), None);
        let names = |number, all| -> Vec<String> {
            let name = format!("p-web-{number}");
            let instance = Instance { service: service.name.clone(), number, name };
            let like = Likeness { config_hash: "x", joins: &[] };
            let hooks = before(&project, &observed, &instance, &like, all).into_iter();
            hooks.map(|hook| format!("{} {}", hook.create.instance, hook.create.image_id)).collect()
        };
        let all = ["p-web-1-pre_start-1 sha256:1", "p-web-1-pre_start-2 sha256:2"];
        assert_eq!(names(1, true), all);
        assert_eq!(names(2, false), ["p-web-2-pre_start-2 sha256:2"]);
    }
}
