//! Which images are fetched and built before anything else, so that everything after that knows their ids.
//!
//! What a `FROM` names is no step of its own: only the Dockerfile says it, and planning reads nothing. `compose plan` names
//! it beside the step that builds ([`crate::build::bases`]).

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{Action, Cause, Named, Need, Plan, PlanError, Refusal, Step, StepId};
use crate::api::{BuildOptions, BuildWhen};
use crate::build::dependencies;
use crate::model::{Project, PullPolicy, Service, ServiceName};
use crate::observe::Observed;

/// Whose images are fetched and built, and when.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// The services that the command is about.
    pub services: &'a BTreeSet<ServiceName>,
    /// When they are fetched, over what the services say.
    pub policy: Option<PullPolicy>,
    /// When they are built.
    pub build: &'a BuildOptions,
    /// When the command began.
    pub now: Timestamp,
}

/// Plans the fetching of images, each once, and the building of those that have to be.
///
/// An image that can be built is built if it is not here and has no name of its own, or no registry has it.
///
/// Source: Compose specification, `pull_policy`; docker compose, `pkg/compose/pull.go`, `mustPull` and
/// `pullRequiredImages`, and `pkg/compose/build.go`, `ensureImagesExists`.
///
/// # Errors
///
/// [`Refusal::BuildCycle`].
pub fn images(
    project: &Project,
    observed: &Observed,
    wanted: &Images<'_>,
) -> Result<Plan, PlanError> {
    let builds = wanted_builds(project, observed, wanted);
    let mut plan = Plan::default();
    let mut pulls = BTreeMap::new();
    for (image, (action, cause)) in wanted_pulls(project, observed, wanted, &builds) {
        pulls.insert(image, plan.push(action, cause, BTreeSet::new()));
    }
    lay_out(&mut plan, project, builds, &pulls)?;
    Ok(plan)
}

/// Plans the building of the images of all these services that have `build`, and of those that they are built on.
///
/// # Errors
///
/// [`Refusal::BuildCycle`].
pub fn builds(project: &Project, services: &BTreeSet<ServiceName>) -> Result<Plan, PlanError> {
    let build = BuildOptions { when: BuildWhen::Always, ..BuildOptions::default() };
    let wanted = Images { services, policy: None, build: &build, now: Timestamp::UNIX_EPOCH };
    let builds = wanted_builds(project, &Observed::default(), &wanted);
    let mut plan = Plan::default();
    lay_out(&mut plan, project, builds, &BTreeMap::new())?;
    Ok(plan)
}

/// Takes what `plan` brings as there, under ids that no image has.
pub fn expect_images(observed: &mut Observed, plan: &Plan) {
    for (_, step) in plan.numbered() {
        let (image, id) = match &step.action {
            Action::PullImage { image, .. } => (image, "(to be fetched)"),
            Action::BuildImage { image, .. } => (image, "(to be built)"),
            _ => continue,
        };
        observed.images.entry(image.clone()).or_insert_with(|| id.to_owned());
    }
}

impl Images<'_> {
    /// Whether `service` can be built.
    fn may_build(&self, service: &Service) -> bool {
        service.build.is_some() && self.build.when != BuildWhen::Never
    }

    /// Whether somebody has asked for `service` to be built.
    fn asks_to_build(&self, service: &Service) -> bool {
        let named = self.build.services.contains(&service.name);
        self.may_build(service) && (named || self.build.when == BuildWhen::Always)
    }

    /// When the image of `service` is fetched, or built instead.
    fn policy_of(&self, service: &Service) -> PullPolicy {
        if self.asks_to_build(service) {
            return PullPolicy::Build;
        }
        self.policy.or(service.pull_policy).unwrap_or(PullPolicy::Missing)
    }

    /// When the images of its hooks and mounts are fetched.
    fn policy_of_others(&self, service: &Service) -> PullPolicy {
        match self.policy.or(service.pull_policy) {
            // Nobody builds these.
            None | Some(PullPolicy::Build) => PullPolicy::Missing,
            Some(policy) => policy,
        }
    }

    fn of<'p>(&self, project: &'p Project) -> impl Iterator<Item = &'p Service> {
        project.services.values().filter(|service| self.services.contains(&service.name))
    }
}

/// An image that is to be built.
#[derive(Debug)]
struct Build {
    image: String,
    cause: Cause,
    unless: BTreeSet<String>,
}

/// What is built, by service.
type Builds = BTreeMap<ServiceName, Build>;

fn wanted_builds(project: &Project, observed: &Observed, wanted: &Images<'_>) -> Builds {
    let mut builds = Builds::new();
    for service in wanted.of(project).filter(|service| wanted.may_build(service)) {
        let image = service.image_reference(&project.name);
        let is_here = observed.images.contains_key(&image);
        let policy = wanted.policy_of(service);
        // What is no name of an image is refused by those who need it.
        if observed.no_images.contains_key(&image) || is_here && policy != PullPolicy::Build {
            continue;
        }
        let is_fetched = service.image.is_some()
            && pull_cause(&image, service, observed, policy, wanted.now).is_some();
        let unless = is_fetched.then(|| image.clone()).into_iter().collect();
        let cause = match is_here || wanted.asks_to_build(service) {
            true => Cause::Requested,
            false => Cause::Missing,
        };
        builds.insert(service.name.clone(), Build { image, cause, unless });
    }
    add_contexts(project, &mut builds);
    builds
}

/// Adds the services on whose images others are built: these are built whenever those are.
fn add_contexts(project: &Project, builds: &mut Builds) {
    let mut open: Vec<ServiceName> = builds.keys().cloned().collect();
    while let Some(name) = open.pop() {
        let unless = builds[&name].unless.clone();
        for context in contexts(project, &name) {
            let Some(build) = builds.get_mut(&context.name) else {
                let image = context.image_reference(&project.name);
                let cause = Cause::BuiltUpon(Named::new(&name));
                builds.insert(context.name.clone(), Build { image, cause, unless: unless.clone() });
                open.push(context.name.clone());
                continue;
            };
            let before = build.unless.clone();
            match unless.is_empty() {
                true => build.unless.clear(),
                false if build.unless.is_empty() => {}
                false => build.unless.extend(unless.iter().cloned()),
            }
            if build.unless != before {
                open.push(context.name.clone());
            }
        }
    }
}

/// The services on whose images that of `service` is built, if they are built themselves.
fn contexts<'p>(project: &'p Project, service: &ServiceName) -> Vec<&'p Service> {
    let names = project.declared(service).map(dependencies).unwrap_or_default();
    let found = names.iter().filter_map(|name| project.declared(name));
    found.filter(|service| service.build.is_some()).collect()
}

/// Adds the builds to the plan, each after those that it is built on.
fn lay_out(
    plan: &mut Plan,
    project: &Project,
    mut builds: Builds,
    pulls: &BTreeMap<String, StepId>,
) -> Result<(), PlanError> {
    let mut laid_out: BTreeMap<ServiceName, StepId> = BTreeMap::new();
    while let Some(first) = builds.keys().next().cloned() {
        let is_ready = |name: &&ServiceName| {
            contexts(project, name).iter().all(|context| !builds.contains_key(&context.name))
        };
        let Some(service) = builds.keys().find(is_ready).cloned() else {
            let declared = project.declared(&first);
            let place = declared.and_then(|one| one.places.of("build").or(one.place.as_ref()));
            let (services, place) = (builds.into_keys().collect(), place.cloned());
            return Err(Refusal::BuildCycle { services, place }.into());
        };
        let Some(Build { image, cause, unless }) = builds.remove(&service) else { continue };
        let after = contexts(project, &service);
        let after = after.iter().filter_map(|context| laid_out.get(&context.name).copied());
        let after = after.collect();
        let after_end = unless.iter().filter_map(|image| pulls.get(image).copied()).collect();
        let action = Action::BuildImage { service: service.clone(), image, unless };
        plan.steps.push(Step { action, because: cause, after, after_end });
        laid_out.insert(service, StepId::from_index(plan.steps.len() - 1));
    }
    Ok(())
}

fn wanted_pulls(
    project: &Project,
    observed: &Observed,
    wanted: &Images<'_>,
    builds: &Builds,
) -> BTreeMap<String, (Action, Cause)> {
    let mut pulls: BTreeMap<String, (Action, Cause)> = BTreeMap::new();
    let is_built =
        |image: &str| builds.values().any(|build| build.unless.is_empty() && build.image == image);
    for service in wanted.of(project) {
        let Some(image) = service.image.as_ref().filter(|image| !is_built(image)) else { continue };
        let policy = wanted.policy_of(service);
        let Some(cause) = pull_cause(image, service, observed, policy, wanted.now) else {
            continue;
        };
        let need = if wanted.may_build(service) { Need::Optional } else { Need::Required };
        match pulls.get(image) {
            // Whoever can build it makes it for the others too.
            Some((Action::PullImage { need: Need::Optional, .. }, _)) => {}
            Some(_) if need == Need::Required => {}
            _ => drop(pulls.insert(image.clone(), (pull(service, image, need), cause))),
        }
    }
    for (service, image) in further(project, wanted) {
        let policy = wanted.policy_of_others(service);
        let cause = pull_cause(image, service, observed, policy, wanted.now);
        if let Some(cause) = cause.filter(|_| !pulls.contains_key(image)) {
            pulls.insert(image.to_owned(), (pull(service, image, Need::Required), cause));
        }
    }
    pulls
}

fn pull(service: &Service, image: &str, need: Need) -> Action {
    Action::PullImage {
        service: service.name.clone(),
        image: image.to_owned(),
        platform: service.platform.clone(),
        need,
    }
}

/// Images of `pre_start` hooks and mounts that are not those of services which are built.
fn further<'a>(
    project: &'a Project,
    wanted: &'a Images<'_>,
) -> impl Iterator<Item = (&'a Service, &'a str)> {
    let built = |image: &str| {
        let mut services = project.services.values();
        services.any(|one| one.build.is_some() && one.image_reference(&project.name) == image)
    };
    wanted.of(project).flat_map(move |service| {
        let images = service.pre_start.iter().filter_map(|hook| hook.image.as_deref());
        let is_service = |name: &str| project.services.keys().any(|known| known.as_str() == name);
        let mounted = service.mounted_images().filter(move |image| !is_service(image));
        let images = images.chain(mounted);
        images.filter(move |image| !built(image)).map(move |image| (service, image))
    })
}

/// Whether `image` names a directory of the host, which is neither fetched nor removed.
pub(super) fn is_directory(image: &str) -> bool {
    image.starts_with("rootfs:")
}

/// Why `image` has to be fetched for `service`, if it has to be.
fn pull_cause(
    image: &str,
    service: &Service,
    observed: &Observed,
    policy: PullPolicy,
    now: Timestamp,
) -> Option<Cause> {
    if service.provider.is_some() || is_directory(image) {
        return None;
    }
    // What is no name of an image is refused by those who need it.
    if observed.no_images.contains_key(image) {
        return None;
    }
    let is_here = observed.images.contains_key(image);
    match policy {
        PullPolicy::Never | PullPolicy::Build => None,
        PullPolicy::Always => Some(Cause::Requested),
        _ if !is_here => Some(Cause::Missing),
        PullPolicy::Missing => None,
        PullPolicy::Every(interval) => {
            let age = observed.named.get(image).map(|named| now.duration_since(*named));
            let is_recent = age.is_some_and(|age| age.unsigned_abs() < interval);
            (!is_recent).then_some(Cause::OutOfDate)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

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
        let build = &BuildOptions::default();
        let wanted = Images { services: &services, policy, build, now };
        images(&project, &observed, &wanted).unwrap().to_string()
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
    }

    /// Services as `NAME image=NAME build on=SERVICE policy=WORD`, one a line, with these images here.
    fn project(text: &str, here: &[&str]) -> (Project, Observed) {
        let mut project = crate::cli::testing::project(&[]);
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let mut service = Service::new(words.next().unwrap().parse().unwrap());
            for word in words {
                match word.split_once('=').unwrap_or((word, "")) {
                    ("image", name) => service.image = Some(name.to_owned()),
                    ("on", other) => {
                        let build = service.build.get_or_insert_default();
                        build.additional_contexts.insert(other.into(), format!("service:{other}"));
                    }
                    ("policy", "build") => service.pull_policy = Some(PullPolicy::Build),
                    ("policy", "never") => service.pull_policy = Some(PullPolicy::Never),
                    ("policy", "always") => service.pull_policy = Some(PullPolicy::Always),
                    ("build", _) => drop(service.build.get_or_insert_default()),
                    other => panic!("{other:?}"),
                }
            }
            project.services.insert(service.name.clone(), service);
        }
        let mut observed = Observed::default();
        observed.images.extend(here.iter().map(|name| ((*name).to_owned(), format!("id-{name}"))));
        (project, observed)
    }

    fn all(project: &Project) -> BTreeSet<ServiceName> {
        project.services.keys().cloned().collect()
    }

    fn planned(text: &str, here: &[&str], build: &BuildOptions) -> Vec<String> {
        let (project, observed) = project(text, here);
        let now = Timestamp::UNIX_EPOCH;
        let wanted = Images { services: &all(&project), policy: None, build, now };
        let plan = images(&project, &observed, &wanted).unwrap();
        plan.to_string().lines().map(|line| line.replace(" after {}", "")).collect()
    }

    #[test]
    fn what_is_built_and_why() {
        let build = |when| BuildOptions { when, ..BuildOptions::default() };
        let missing = build(BuildWhen::Missing);
        let always = build(BuildWhen::Always);
        let never = build(BuildWhen::Never);
        let named = BuildOptions { services: ["a".parse().unwrap()].into(), ..missing.clone() };
        #[rustfmt::skip]
        let table: [(&str, &[&str], &BuildOptions, &[&str]); 17] = [
            ("a build", &[], &missing, &["#1 build image p-a (missing)"]),
            ("a build", &["p-a"], &missing, &["nothing to do"]),
            ("a build", &["p-a"], &always, &["#1 build image p-a (requested)"]),
            ("a build", &["p-a"], &named, &["#1 build image p-a (requested)"]),
            ("b build", &["p-b"], &named, &["nothing to do"]),
            ("a build", &[], &never, &["nothing to do"]),
            ("a image=x build", &[], &never, &["#1 pull image x (missing)"]),
            ("a image=x build", &[], &missing, &[
                "#1 pull image x if possible (missing)",
                "#2 build image x unless it can be fetched (missing) and the end of {1}",
            ]),
            ("a image=x build policy=never", &[], &missing, &["#1 build image x (missing)"]),
            ("a image=x build policy=build", &["x"], &missing, &["#1 build image x (requested)"]),
            // What is here does for an image that no registry has.
            ("a image=x build policy=always", &["x"], &missing, &["#1 pull image x if possible (requested)"]),
            ("a image=x build policy=always", &["x"], &always, &["#1 build image x (requested)"]),
            // One builds for all.
            ("a image=x\nb image=x build", &[], &always, &["#1 build image x (requested)"]),
            ("a image=x\nb image=x build", &[], &missing, &[
                "#1 pull image x if possible (missing)",
                "#2 build image x unless it can be fetched (missing) and the end of {1}",
            ]),
            ("a build on=b\nb build on=c\nc build", &["p-c"], &missing, &[
                "#1 build image p-c (b is built on it)",
                "#2 build image p-b (missing) after {1}",
                "#3 build image p-a (missing) after {2}",
            ]),
            ("a image=x on=b\nb build\nc image=y on=b", &["p-b"], &missing, &[
                "#1 pull image x if possible (missing)",
                "#2 pull image y if possible (missing)",
                "#3 build image p-b unless x and y can be fetched (c is built on it) and the end of {1, 2}",
                "#4 build image x unless it can be fetched (missing) after {3} and the end of {1}",
                "#5 build image y unless it can be fetched (missing) after {3} and the end of {2}",
            ]),
            ("a image=x on=b\nb build\nc on=b", &["p-b"], &missing, &[
                "#1 pull image x if possible (missing)",
                "#2 build image p-b (c is built on it)",
                "#3 build image x unless it can be fetched (missing) after {2} and the end of {1}",
                "#4 build image p-c (missing) after {2}",
            ]),
        ];
        for (text, here, build, expected) in table {
            assert_eq!(planned(text, here, build), expected, "{text} {here:?} {build:?}");
        }
    }

    #[test]
    fn images_that_are_built_on_each_other_are_refused() {
        for text in ["a on=b\nb on=a", "a on=a", "a on=b\nb on=c\nc on=b"] {
            let (project, _) = project(text, &[]);
            let error = builds(&project, &all(&project)).unwrap_err();
            let refusal = error.refusals.first();
            assert!(matches!(refusal, Some(Refusal::BuildCycle { .. })), "{text}: {error}");
        }
    }

    /// Carries the plan out where `registry` says which images there are; returns how often each was built.
    fn carry_out(
        plan: &Plan,
        observed: &mut Observed,
        registry: &BTreeSet<String>,
    ) -> BTreeMap<String, usize> {
        let mut built = BTreeMap::new();
        for (id, step) in plan.numbered() {
            assert!(step.after.iter().chain(&step.after_end).all(|before| *before < id));
            match &step.action {
                Action::PullImage { image, need, .. } => {
                    let comes = registry.contains(image);
                    assert!(comes || *need == Need::Optional, "nobody has {image}:\n{plan}");
                    if comes {
                        observed.images.insert(image.clone(), format!("pulled-{image}"));
                    }
                }
                Action::BuildImage { image, unless, service } => {
                    let here = |image: &String| observed.images.contains_key(image);
                    if unless.is_empty() || !unless.iter().all(here) {
                        observed.images.insert(image.clone(), format!("built-by-{service}"));
                        *built.entry(image.clone()).or_default() += 1;
                    }
                }
                other => panic!("{other}"),
            }
        }
        built
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// After the plan every image is here, what a registry has was not built unless somebody asked for it, and there
        /// is nothing left to do.
        #[test]
        fn a_plan_brings_all_images(
            kinds in proptest::collection::vec((0..4usize, any::<bool>(), any::<Index>()), 1..6),
            present in proptest::collection::vec(any::<bool>(), 6),
            elsewhere in proptest::collection::vec(any::<bool>(), 6),
            always in any::<bool>(),
        ) {
            let names = ["a", "b", "c", "d", "e"];
            let mut text = String::new();
            let mut own = BTreeSet::new();
            for (number, (kind, on, which)) in kinds.iter().enumerate() {
                let name = names[number];
                // Two may have the same image.
                let image = format!("image-{}", which.index(3));
                match kind {
                    0 => text += &format!("{name} build"),
                    _ => text += &format!("{name} image={image} build"),
                }
                if *kind > 0 {
                    own.insert(image);
                }
                if *on && number > 0 {
                    text += &format!(" on={}", names[which.index(number)]);
                }
                text.push('\n');
            }
            let known: Vec<String> = own.iter().cloned().chain(names.map(|name| format!("p-{name}"))).collect();
            let here: Vec<&str> = known.iter().zip(&present).filter(|(_, on)| **on).map(|(name, _)| name.as_str()).collect();
            let registry: BTreeSet<String> = own.iter().zip(&elsewhere).filter(|(_, on)| **on).map(|(name, _)| name.clone()).collect();
            let (project, mut observed) = project(&text, &here);
            let when = if always { BuildWhen::Always } else { BuildWhen::Missing };
            let build = BuildOptions { when, ..BuildOptions::default() };
            let services = all(&project);
            let wanted = Images { services: &services, policy: None, build: &build, now: Timestamp::UNIX_EPOCH };
            let plan = images(&project, &observed, &wanted).unwrap();
            let json = serde_json::to_string(&plan).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Plan>(&json).unwrap(), &plan);

            let built = carry_out(&plan, &mut observed, &registry);
            for service in project.services.values() {
                let image = service.image_reference(&project.name);
                prop_assert!(observed.images.contains_key(&image), "{image}:\n{plan}");
                if always {
                    prop_assert!(built.contains_key(&image), "{image}:\n{plan}");
                }
            }
            let is_context = |image: &String| {
                let all = project.services.values();
                all.flat_map(dependencies).any(|name| {
                    project.declared(&name).is_some_and(|one| one.image_reference(&project.name) == *image)
                })
            };
            for image in built.keys().filter(|image| !always && registry.contains(*image)) {
                prop_assert!(is_context(image), "{image} was built:\n{plan}");
            }
            let missing = BuildOptions::default();
            let wanted = Images { build: &missing, ..wanted };
            let second = images(&project, &observed, &wanted).unwrap();
            prop_assert!(second.is_empty(), "first:\n{plan}second:\n{second}");
        }
    }
}
