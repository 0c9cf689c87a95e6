//! What holds for all projects and all worlds.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::sketch::{self, name};
use super::world::{World, is_job};
use crate::api::{DownOptions, Orphans, Recreate, UpOptions};
use crate::model::Project;
use crate::observe::Observed;
use crate::plan::{self, Action, Plan};
use crate::record::{Container, Phase};

const SERVICES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// A service that may depend on those before it, in the words of [`sketch`].
fn service(position: usize) -> impl Strategy<Value = String> {
    let earlier = &SERVICES[..position];
    let dependency = (
        proptest::sample::select(if earlier.is_empty() { &["none"] } else { earlier }.to_vec()),
        proptest::sample::select(vec!["", ".healthy", ".completed"]),
        proptest::sample::select(vec!["", "?", "!"]),
    );
    let dependencies = proptest::collection::vec(dependency, 0..3);
    let words = proptest::sample::subsequence(
        vec![
            "image=app:2",
            "env=1",
            "vol=data",
            "vol=logs",
            "anon",
            "port=80",
            "port=81",
            "label=1",
            "memory=64",
            "grace=1",
            "config=a",
            "always",
            "check",
            "first",
            "first",
            "turns",
            "rollback",
            "continue",
            "ratio=0.5",
        ],
        0..5,
    );
    let network = proptest::sample::select(vec![
        "",
        "net=front",
        "net=back",
        "net=front net=back",
        "net=front alias=x",
        "net=front at=10.0.0.7",
        "with",
    ]);
    (dependencies, words, network, 0..4u32, any::<Index>()).prop_map(
        move |(dependencies, words, network, replicas, partner)| {
            let mut text = format!("{} x{replicas} {}", SERVICES[position], words.join(" "));
            if position > 0 {
                for (dependency, condition, mark) in dependencies {
                    text += &format!(" {dependency}{condition}{mark}");
                }
            }
            match (network, position) {
                ("with", 0) => {}
                ("with", _) => text += &format!(" with={}", SERVICES[partner.index(position)]),
                _ => text += &format!(" {network}"),
            }
            text
        },
    )
}

/// Some of the services, in a file.
fn file() -> impl Strategy<Value = Vec<String>> {
    let services = (service(0), service(1), service(2), service(3), service(4));
    (services, proptest::collection::vec(any::<bool>(), 5)).prop_map(|((a, b, c, d, e), on)| {
        let all = [a, b, c, d, e].into_iter().zip(on);
        all.filter(|(_, on)| *on).map(|(service, _)| service).collect()
    })
}

/// A project of which all dependencies and partners are there.
fn project() -> impl Strategy<Value = Project> {
    (file(), any::<bool>()).prop_filter_map("no service", |(services, other)| {
        if services.is_empty() {
            return None;
        }
        let mut project = sketch::project(&services.join("\n"));
        if other {
            sketch::define_otherwise(&mut project, "data");
        }
        let known: BTreeSet<_> = project.services.keys().cloned().collect();
        for service in project.services.values_mut() {
            service.depends_on.retain(|dependency, _| known.contains(dependency));
            if let crate::model::Networking::Service(partner) = &service.networking
                && !known.contains(partner)
            {
                service.networking = crate::model::Networking::None;
            }
        }
        // Who shares with nobody can have no container.
        while let Some(lonely) = lonely(&project) {
            project.services.get_mut(&lonely).unwrap().replicas = 0;
        }
        Some(project)
    })
}

fn lonely(project: &Project) -> Option<crate::model::ServiceName> {
    let shares_with_nothing = |service: &&crate::model::Service| {
        let crate::model::Networking::Service(partner) = &service.networking else { return false };
        let nothing = project.services[partner].replicas == 0 || is_job(project, partner);
        service.replicas > 0 && nothing
    };
    project.services.values().find(shares_with_nothing).map(|service| service.name.clone())
}

fn options() -> impl Strategy<Value = UpOptions> {
    let recreate =
        || proptest::sample::select(vec![Recreate::Diverged, Recreate::Diverged, Recreate::Always]);
    (recreate(), recreate(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(recreate, recreate_dependencies, renew_anonymous_volumes, remove, lose)| UpOptions {
            recreate,
            recreate_dependencies,
            renew_anonymous_volumes,
            // An orphan that stays has its volume as well.
            replace_volumes: (lose && remove).then(|| "shop_data".to_owned()).into_iter().collect(),
            orphans: if remove { Orphans::Remove } else { Orphans::Ignore },
            ..UpOptions::default()
        },
    )
}

/// How the steps of a plan are interleaved, and where a cut falls.
#[derive(Debug, Clone)]
struct Luck {
    choices: Vec<Index>,
    cut: Index,
}

fn luck() -> impl Strategy<Value = Luck> {
    let choices = proptest::collection::vec(any::<Index>(), 1..20);
    (choices, any::<Index>()).prop_map(|(choices, cut)| Luck { choices, cut })
}

impl Luck {
    fn choose(&self) -> impl FnMut(usize) -> usize {
        let mut turn = 0;
        move |count| {
            turn += 1;
            self.choices[turn % self.choices.len()].index(count)
        }
    }
}

/// Some command on some file, cut off somewhere, and some containers that have exited since.
fn past() -> impl Strategy<Value = World> {
    (project(), options(), luck(), any::<bool>(), proptest::collection::vec(any::<bool>(), 20))
        .prop_map(|(project, options, luck, whole, exits)| {
            let mut world = World::with_images(&["app:1", "app:2"]);
            let plan = up(&mut world, &project, &options);
            let count = if whole { plan.steps.len() } else { luck.cut.index(plan.steps.len() + 1) };
            world.carry_out_some(&project, &plan, count, luck.choose());
            for (container, exited) in world.observed.containers.iter_mut().zip(exits) {
                if exited && container.state.phase == Phase::Running {
                    container.state.phase = Phase::Exited;
                    container.state.health = None;
                }
            }
            world
        })
}

fn up(world: &mut World, project: &Project, options: &UpOptions) -> Plan {
    let began = world.now();
    plan::up(project, &world.observed, options, began).unwrap()
}

/// What a user can tell worlds apart by: how many containers of which make, and what is beside them.
fn sight(project: &Project, observed: &Observed) -> BTreeMap<String, usize> {
    let mut sight = BTreeMap::new();
    let containers = observed.containers.iter().map(|container| {
        let Container { record, state } = container;
        let running = state.phase.is_up() || is_job(project, &record.service);
        let known = project.services.contains_key(&record.service);
        format!("{} {} {running} {known}", record.service, record.config_hash)
    });
    let networks = observed.networks.keys().map(|name| format!("network {name}"));
    let volumes = observed.volumes.keys().map(|name| format!("volume {name}"));
    for thing in containers.chain(networks).chain(volumes) {
        *sight.entry(thing).or_default() += 1;
    }
    sight
}

/// The anonymous volumes that records name.
fn anonymous(observed: &Observed) -> BTreeSet<String> {
    let records = observed.containers.iter().map(|container| &container.record);
    let volumes = records.flat_map(|record| record.anonymous_volumes());
    volumes.map(|(_, volume)| volume.to_owned()).collect()
}

/// The anonymous volumes that a plan passes on to mounts which still are there.
fn inherited(project: &Project, plan: &Plan) -> BTreeSet<String> {
    let creations = plan.steps.iter().filter_map(|step| match &step.action {
        Action::CreateContainer(create) => Some(create),
        _ => None,
    });
    let creations = creations.filter(|create| {
        let mounts = &project.services[&create.instance.service].mounts;
        create.inherits.keys().all(|target| mounts.iter().any(|mount| mount.target == *target))
    });
    creations.flat_map(|create| create.inherits.values().cloned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    /// Carrying out a plan makes the world as the file says: the same command
    /// finds nothing more to do. On the way no step protests.
    #[test]
    fn a_second_plan_is_empty(world in past(), project in project(), options in options(), luck in luck()) {
        let mut world = world;
        let began = world.now();
        let plan = plan::up(&project, &world.observed, &options, began).unwrap();
        world.carry_out(&project, &plan, luck.choose());
        let second = plan::up(&project, &world.observed, &options, began).unwrap();
        prop_assert!(second.is_empty(), "first:\n{plan}second:\n{second}");
        for service in project.services.values() {
            let containers = world.observed.containers.iter();
            let count = containers.filter(|one| one.record.service == service.name).count();
            prop_assert_eq!(count, service.replicas as usize, "{}", service.name);
        }
    }

    /// What is different afterwards is what a step was about, and nothing else.
    #[test]
    fn what_changes_is_what_was_planned(world in past(), project in project(), options in options(), luck in luck()) {
        let mut world = world;
        let before = world.observed.clone();
        let plan = up(&mut world, &project, &options);
        world.carry_out(&project, &plan, luck.choose());
        let told = |about: fn(&Action) -> Option<&String>| -> BTreeSet<&String> {
            plan.steps.iter().filter_map(|step| about(&step.action)).collect()
        };
        let removed = told(|action| match action {
            Action::RemoveContainer { id, .. } => Some(id),
            _ => None,
        });
        let stopped = told(|action| match action {
            Action::StopContainer { id, .. } => Some(id),
            _ => None,
        });
        let updated = told(|action| match action {
            Action::UpdateContainer(update) => Some(&update.id),
            _ => None,
        });
        let ids = |observed: &Observed| -> BTreeSet<String> {
            observed.containers.iter().map(|one| one.record.id.clone()).collect()
        };
        let (old, new) = (ids(&before), ids(&world.observed));
        prop_assert_eq!(old.difference(&new).collect::<BTreeSet<_>>(), removed, "{}", plan);
        let creations = plan.steps.iter().filter(|step| matches!(step.action, Action::CreateContainer(_)));
        prop_assert_eq!(new.difference(&old).count(), creations.count(), "{}", plan);
        for container in &before.containers {
            let id = &container.record.id;
            let Ok(now) = world.container(id) else { continue };
            prop_assert_eq!(now.record != container.record, updated.contains(id), "{}", plan);
            let started = now.state.started != container.state.started;
            prop_assert!(!started || !container.state.phase.is_up() || stopped.contains(id), "{plan}");
        }
    }

    /// A command that dies anywhere can be given again and reaches the same end.
    #[test]
    fn a_cut_and_a_new_plan_reach_the_same_end(world in past(), project in project(), options in options(), luck in luck()) {
        let mut whole = world.clone();
        let plan = up(&mut whole, &project, &options);
        whole.carry_out(&project, &plan, luck.choose());

        let mut cut = world.clone();
        let plan = up(&mut cut, &project, &options);
        cut.carry_out_some(&project, &plan, luck.cut.index(plan.steps.len() + 1), luck.choose());
        let rest = up(&mut cut, &project, &options);
        cut.carry_out(&project, &rest, luck.choose());
        prop_assert_eq!(
            sight(&project, &whole.observed), sight(&project, &cut.observed), "{}then\n{}", plan, rest
        );
    }

    /// An anonymous volume that is to pass from one container to the next is at
    /// every moment named by a record, wherever a command dies; but for the moment in which a volume beside it is made anew.
    #[test]
    fn anonymous_volumes_are_never_nobodys(world in past(), project in project(), options in options(), luck in luck()) {
        let replace_volumes = BTreeSet::new();
        let options = UpOptions { renew_anonymous_volumes: false, replace_volumes, ..options };
        let mut cut = world;
        let plan = up(&mut cut, &project, &options);
        let passed = inherited(&project, &plan);
        cut.carry_out_some(&project, &plan, luck.cut.index(plan.steps.len() + 1), luck.choose());
        prop_assert!(passed.is_subset(&anonymous(&cut.observed)), "{plan}");
        let rest = up(&mut cut, &project, &options);
        cut.carry_out(&project, &rest, luck.choose());
        prop_assert!(passed.is_subset(&anonymous(&cut.observed)), "{plan}then\n{rest}");
    }

    /// `down` leaves nothing, in whatever state it finds the world, and with
    /// or without a file.
    #[test]
    fn down_leaves_nothing(world in past(), project in project(), with_file in any::<bool>(), luck in luck()) {
        let mut world = world;
        let options = DownOptions { orphans: Orphans::Remove, volumes: true, ..DownOptions::default() };
        let file = with_file.then_some(&project);
        let plan = plan::down("shop", file, &world.observed, &options);
        world.carry_out_some(&project, &plan, luck.cut.index(plan.steps.len() + 1), luck.choose());
        let plan = plan::down("shop", file, &world.observed, &options);
        world.carry_out(&project, &plan, luck.choose());
        prop_assert!(world.observed.containers.is_empty());
        prop_assert!(world.observed.networks.is_empty(), "{:?}", world.observed.networks);
        prop_assert!(world.observed.volumes.is_empty(), "{:?}", world.observed.volumes);
    }

    /// Each step comes after steps with smaller ids, and a plan survives the way to the supervisor.
    #[test]
    fn plans_are_ordered_and_travel(world in past(), project in project(), options in options()) {
        let mut world = world;
        let plan = up(&mut world, &project, &options);
        for (id, step) in plan.numbered() {
            prop_assert!(step.after.iter().chain(&step.after_end).all(|before| *before < id));
        }
        let json = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }

    /// A plan for some services leaves the others as they are.
    #[test]
    fn a_selection_creates_nothing_else(project in project(), which in any::<Index>(), luck in luck()) {
        let mut world = World::with_images(&["app:1", "app:2"]);
        let services: Vec<_> = project.services.keys().cloned().collect();
        let chosen = services[which.index(services.len())].clone();
        let options = UpOptions { services: vec![name(chosen.as_str())], dependencies: true, ..UpOptions::default() };
        let plan = up(&mut world, &project, &options);
        world.carry_out(&project, &plan, luck.choose());
        let graph = crate::graph::Graph::new(&project).unwrap();
        let meant = graph.with_dependencies([&chosen]);
        for container in &world.observed.containers {
            prop_assert!(meant.contains(&container.record.service), "{plan}");
        }
    }
}
