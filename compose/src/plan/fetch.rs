//! Which images are fetched before anything else, so that everything after that knows their ids.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Action, Cause, Need, Plan};
use crate::model::{Project, PullPolicy, Service, ServiceName};
use crate::observe::Observed;

/// Whose images are fetched, and when.
#[derive(Debug, Clone, Copy)]
pub struct Fetch<'a> {
    /// The services that the command is about.
    pub services: &'a BTreeSet<ServiceName>,
    /// Over what the services say.
    pub policy: Option<PullPolicy>,
    /// When the command began.
    pub now: Timestamp,
}

/// Plans the fetching of images, each once.
///
/// An image that is built can do without a registry: that it has none there is no failure.
///
/// Source: Compose specification, `pull_policy`; docker compose, `pkg/compose/pull.go`, `mustPull`.
pub fn fetch(project: &Project, observed: &Observed, wanted: &Fetch<'_>) -> Plan {
    let mut steps: BTreeMap<&str, (Action, Cause)> = BTreeMap::new();
    let services = project.services.values();
    for service in services.filter(|service| wanted.services.contains(&service.name)) {
        let (Some(image), Some(cause)) = (&service.image, cause(service, observed, wanted)) else {
            continue;
        };
        let need = if service.build.is_some() { Need::Optional } else { Need::Required };
        let action = Action::PullImage {
            service: service.name.clone(),
            image: image.clone(),
            platform: service.platform.clone(),
            need,
        };
        match steps.get(image.as_str()) {
            // Whoever can build it makes it for the others too.
            Some((Action::PullImage { need: Need::Optional, .. }, _)) => {}
            Some(_) if need == Need::Required => {}
            _ => drop(steps.insert(image, (action, cause))),
        }
    }
    for (service, image) in further(project, wanted) {
        let cause = cause_of(image, service, observed, wanted);
        if let Some(cause) = cause.filter(|_| !steps.contains_key(image)) {
            let action = Action::PullImage {
                service: service.name.clone(),
                image: image.to_owned(),
                platform: service.platform.clone(),
                need: Need::Required,
            };
            steps.insert(image, (action, cause));
        }
    }
    let mut plan = Plan::default();
    for (action, cause) in steps.into_values() {
        plan.push(action, cause, BTreeSet::new());
    }
    plan
}

/// Images of `pre_start` hooks and mounts that are not those of services which are built.
fn further<'a>(
    project: &'a Project,
    wanted: &'a Fetch<'_>,
) -> impl Iterator<Item = (&'a Service, &'a str)> {
    let built = |image: &str| {
        let mut services = project.services.values();
        services.any(|one| one.build.is_some() && one.image_reference(&project.name) == image)
    };
    let services = project.services.values();
    services.filter(|service| wanted.services.contains(&service.name)).flat_map(move |service| {
        let images = service.pre_start.iter().filter_map(|hook| hook.image.as_deref());
        let is_service = |name: &str| project.services.keys().any(|known| known.as_str() == name);
        let mounted = service.mounted_images().filter(move |image| !is_service(image));
        let images = images.chain(mounted);
        images.filter(move |image| !built(image)).map(move |image| (service, image))
    })
}

/// Why the image of a service has to be fetched, if it has to be.
fn cause(service: &Service, observed: &Observed, wanted: &Fetch<'_>) -> Option<Cause> {
    cause_of(service.image.as_ref()?, service, observed, wanted)
}

/// Why `image` has to be fetched for `service`, if it has to be.
fn cause_of(
    image: &str,
    service: &Service,
    observed: &Observed,
    wanted: &Fetch<'_>,
) -> Option<Cause> {
    if service.provider.is_some() || image.starts_with("rootfs:") {
        return None;
    }
    // What is no name of an image is refused by those who need it.
    if observed.no_images.contains_key(image) {
        return None;
    }
    let is_here = observed.images.contains_key(image);
    match wanted.policy.or(service.pull_policy).unwrap_or(PullPolicy::Missing) {
        PullPolicy::Never | PullPolicy::Build => None,
        PullPolicy::Always => Some(Cause::Requested),
        _ if !is_here => Some(Cause::Missing),
        PullPolicy::Missing => None,
        PullPolicy::Every(interval) => {
            let age = observed.named.get(image).map(|named| wanted.now.duration_since(*named));
            let is_recent = age.is_some_and(|age| age.unsigned_abs() < interval);
            (!is_recent).then_some(Cause::OutOfDate)
        }
    }
}

/// Takes what `fetch` brings as there, under an id that no image has.
pub fn expect_fetched(observed: &mut Observed, fetch: &Plan) {
    for (_, step) in fetch.numbered() {
        if let Action::PullImage { image, .. } = &step.action {
            observed.images.entry(image.clone()).or_insert_with(|| "(to be fetched)".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Build;

    fn plan(
        policy: Option<PullPolicy>,
        change: impl FnOnce(&mut Service, &mut Observed),
    ) -> String {
        let mut service = Service::new("web".parse().unwrap());
        service.image = Some("web:1".to_owned());
        let mut observed = Observed::default();
        change(&mut service, &mut observed);
        let mut project = crate::cli::testing::project(&[]);
        project.services.insert(service.name.clone(), service);
        let services = project.services.keys().cloned().collect();
        let now = "2026-11-20T10:00:00Z".parse().unwrap();
        fetch(&project, &observed, &Fetch { services: &services, policy, now }).to_string()
    }

    fn here(observed: &mut Observed) {
        observed.images.insert("web:1".to_owned(), "sha256:1".to_owned());
        observed.named.insert("web:1".to_owned(), "2026-11-20T08:00:00Z".parse().unwrap());
    }

    const NOTHING: &str = "nothing to do\n";

    #[test]
    fn a_policy_says_when() {
        let hour = Duration::from_secs(3600);
        let pull = |cause: &str| format!("#1 pull image web:1 ({cause}) after {{}}\n");
        #[rustfmt::skip]
        let table: [(Option<PullPolicy>, String, String); 7] = [
            (None, pull("missing"), NOTHING.to_owned()),
            (Some(PullPolicy::Missing), pull("missing"), NOTHING.to_owned()),
            (Some(PullPolicy::Always), pull("requested"), pull("requested")),
            (Some(PullPolicy::Never), NOTHING.to_owned(), NOTHING.to_owned()),
            (Some(PullPolicy::Build), NOTHING.to_owned(), NOTHING.to_owned()),
            (Some(PullPolicy::Every(hour)), pull("missing"), pull("out of date")),
            (Some(PullPolicy::Every(hour * 3)), pull("missing"), NOTHING.to_owned()),
        ];
        for (policy, absent, present) in table {
            assert_eq!(plan(None, |service, _| service.pull_policy = policy), absent, "{policy:?}");
            let found = plan(None, |service, observed| {
                service.pull_policy = policy;
                here(observed);
            });
            assert_eq!(found, present, "{policy:?}");
            // The command line is over the file.
            let over = plan(policy, |service, observed| {
                service.pull_policy = Some(PullPolicy::Never);
                here(observed);
            });
            let expected = if policy.is_none() { NOTHING } else { &present };
            assert_eq!(over, expected, "{policy:?}");
        }
    }

    #[test]
    fn what_has_no_registry_is_not_asked_for() {
        assert_eq!(plan(None, |service, _| service.image = None), NOTHING);
        let root =
            |service: &mut Service, _: &mut Observed| service.image = Some("rootfs:/".into());
        assert_eq!(plan(Some(PullPolicy::Always), root), NOTHING);
        let bad = |_: &mut Service, observed: &mut Observed| {
            observed.no_images.insert("web:1".to_owned(), "no".to_owned());
        };
        assert_eq!(plan(None, bad), NOTHING);
        assert_eq!(
            plan(None, |service, _| service.build = Some(Build::default())),
            "#1 pull image web:1 if possible (missing) after {}\n"
        );
    }
}
