//! What each command plans, as text.

use std::collections::BTreeMap;

use super::sketch::{name, project};
use super::world::World;
use crate::api::{
    BuildOptions, DownOptions, KillOptions, Orphans, PauseOptions, PullOptions, Recreate,
    RestartOptions, RmOptions, RunOptions, StartOptions, StopOptions, UpOptions, Wait,
};
use crate::model::Project;
use crate::plan::{self, Plan};
use crate::record::{Garbage, Health, HealthStatus, Phase};

const IMAGES: [&str; 2] = ["app:1", "app:2"];

/// The world after `up` of `text`.
fn after_up(text: &str) -> World {
    let mut world = World::with_images(&IMAGES);
    if text.is_empty() {
        return world;
    }
    let project = project(text);
    let began = world.now();
    let plan = plan::up(&project, &world.observed, &UpOptions::default(), began).unwrap();
    world.carry_out(&project, &plan, |_| 0);
    world
}

fn up(world: &mut World, project: &Project, options: &UpOptions) -> Plan {
    let began = world.now();
    plan::up(project, &world.observed, options, began).unwrap()
}

/// The plan without the prefix that all names of the project have.
fn lines(plan: &Plan) -> Vec<String> {
    plan.to_string().replace("shop-", "").replace("shop_", "").lines().map(str::to_owned).collect()
}

/// `up` of `after` in the world after `up` of `before`.
fn check(case: &str, before: &str, after: &str, options: &UpOptions, expected: &[&str]) {
    let mut world = after_up(before);
    let after = project(after);
    let plan = up(&mut world, &after, options);
    assert_eq!(lines(&plan), expected, "{case}");
}

#[test]
fn up_changes_what_the_file_changes() {
    #[rustfmt::skip]
    let table: [(&str, &str, &str, &[&str]); 31] = [
        ("hooks run before the first start, and before each", "", "web x2 hook each", &[
            "#1 create network default (missing) after {}",
            "#2 create web-1 (missing) after {}",
            "#3 create web-2 (missing) after {}",
            "#4 run web-1-pre_start-1 (missing) after {1, 2}",
            "#5 run web-1-pre_start-2 (missing) after {1, 2, 4}",
            "#6 start web-1 (missing) after {1, 2, 4, 5}",
            "#7 run web-2-pre_start-2 (missing) after {1, 3, 4}",
            "#8 start web-2 (missing) after {1, 3, 4, 7}",
        ]),
        ("beside one that runs only those for each do", "web hook each", "web x2 hook each", &[
            "#1 create web-2 (missing) after {}",
            "#2 run web-2-pre_start-2 (missing) after {1}",
            "#3 start web-2 (missing) after {1, 2}",
        ]),
        ("nothing runs yet", "", "web", &[
            "#1 create network default (missing) after {}",
            "#2 create web-1 (missing) after {}",
            "#3 start web-1 (missing) after {1, 2}",
        ]),
        ("already converged", "web db; db x2", "web db; db x2", &["nothing to do"]),
        ("new image", "web", "web image=app:2", &[
            "#1 create web-1 (image app:1 -> app:2) after {}",
            "#2 stop web-1 (image app:1 -> app:2) after {1}",
            "#3 remove web-1 (image app:1 -> app:2) after {2}",
            "#4 start web-1 (image app:1 -> app:2) after {1, 2}",
        ]),
        ("scaled up", "web x1", "web x3", &[
            "#1 create web-2 (missing) after {}",
            "#2 create web-3 (missing) after {}",
            "#3 start web-2 (missing) after {1}",
            "#4 start web-3 (missing) after {2}",
        ]),
        ("scaled to zero", "web", "web x0", &[
            "#1 stop web-1 (scaled down) after {}",
            "#2 remove web-1 (scaled down) after {1}",
        ]),
        ("starts in the order of dependencies, with waits", "", "web api.healthy; api job.completed db; job; db", &[
            "#1 create network default (missing) after {}",
            "#2 create db-1 (missing) after {}",
            "#3 create job-1 (missing) after {}",
            "#4 create api-1 (missing) after {}",
            "#5 create web-1 (missing) after {}",
            "#6 start db-1 (missing) after {1, 2}",
            "#7 start job-1 (missing) after {1, 3}",
            "#8 await job completed (api waits for it) after {7}",
            "#9 start api-1 (missing) after {1, 4, 6, 8}",
            "#10 await api healthy (web waits for it) after {9}",
            "#11 start web-1 (missing) after {1, 5, 10}",
        ]),
        ("an optional dependency may fail", "", "web db?; db", &[
            "#1 create network default (missing) after {}",
            "#2 create db-1 (missing) after {}",
            "#3 create web-1 (missing) after {}",
            "#4 start db-1 (missing) after {1, 2}",
            "#5 await db started if possible (web waits for it) after {} and the end of {4}",
            "#6 start web-1 (missing) after {1, 3, 5}",
        ]),
        ("nobody waits for what is scaled to zero", "db x0; web db.healthy", "db x0; web db.healthy env=1", &[
            "#1 create web-1 (environment.VALUE changed) after {}",
            "#2 stop web-1 (environment.VALUE changed) after {1}",
            "#3 remove web-1 (environment.VALUE changed) after {2}",
            "#4 start web-1 (environment.VALUE changed) after {1, 2}",
        ]),
        ("dependents with restart: true go along", "web db!; db", "web db!; db env=1", &[
            "#1 create db-1 (environment.VALUE changed) after {}",
            "#2 stop web-1 (depends on db, which is restarted) after {}",
            "#3 stop db-1 (environment.VALUE changed) after {1, 2}",
            "#4 remove db-1 (environment.VALUE changed) after {3}",
            "#5 start db-1 (environment.VALUE changed) after {1, 3}",
            "#6 start web-1 (depends on db, which is restarted) after {2, 5}",
        ]),
        ("dependents without do not", "web db; db", "web db; db env=1", &[
            "#1 create db-1 (environment.VALUE changed) after {}",
            "#2 stop db-1 (environment.VALUE changed) after {1}",
            "#3 remove db-1 (environment.VALUE changed) after {2}",
            "#4 start db-1 (environment.VALUE changed) after {1, 2}",
        ]),
        ("who shares is replaced as well", "web with=db; db", "web with=db; db env=1", &[
            "#1 create db-1 (environment.VALUE changed) after {}",
            "#2 create web-1 (shares with db, which is replaced) after {1}",
            "#3 stop web-1 (shares with db, which is replaced) after {2}",
            "#4 remove web-1 (shares with db, which is replaced) after {3}",
            "#5 stop db-1 (environment.VALUE changed) after {1, 3}",
            "#6 remove db-1 (environment.VALUE changed) after {5}",
            "#7 start db-1 (environment.VALUE changed) after {1, 5}",
            "#8 start web-1 (shares with db, which is replaced) after {2, 3, 7}",
        ]),
        ("a port changes hands", "a port=80; b", "a; b port=80", &[
            "#1 create b-1 (ports changed) after {}",
            "#2 stop b-1 (ports changed) after {1}",
            "#3 remove b-1 (ports changed) after {2}",
            "#4 update ports of a-1 live (ports changed) after {}",
            "#5 start b-1 (ports changed) after {1, 2, 4}",
        ]),
        ("two ports change hands", "a port=80; b port=81", "a port=81; b port=80", &[
            "#1 create a-1 (ports changed) after {}",
            "#2 create b-1 (ports changed) after {}",
            "#3 stop b-1 (ports changed) after {2}",
            "#4 remove b-1 (ports changed) after {3}",
            "#5 stop a-1 (ports changed) after {1}",
            "#6 remove a-1 (ports changed) after {5}",
            "#7 start a-1 (ports changed) after {1, 3, 5}",
            "#8 start b-1 (ports changed) after {2, 3, 5}",
        ]),
        ("what the kernel can change is changed live", "web x2", "web x2 label=1 memory=64 grace=1 always check port=80", &[
            "#1 update deploy.resources, healthcheck, labels.value, ports, restart, stop_grace_period of web-1 live (deploy.resources changed) after {}",
            "#2 update deploy.resources, healthcheck, labels.value, ports, restart, stop_grace_period of web-2 live (deploy.resources changed) after {}",
        ]),
        ("beside what it cannot the container is new", "web", "web label=1 env=1", &[
            "#1 create web-1 (environment.VALUE changed) after {}",
            "#2 stop web-1 (environment.VALUE changed) after {1}",
            "#3 remove web-1 (environment.VALUE changed) after {2}",
            "#4 start web-1 (environment.VALUE changed) after {1, 2}",
        ]),
        ("configs and secrets are replaced at their places", "web config=a secret=a", "web config=b secret=a", &[
            "#1 update configs of web-1 live (configs changed) after {}",
        ]),
        ("at other places they are those of a new container", "web config=a", "web config=a secret=a", &[
            "#1 create web-1 (secrets changed) after {}",
            "#2 stop web-1 (secrets changed) after {1}",
            "#3 remove web-1 (secrets changed) after {2}",
            "#4 start web-1 (secrets changed) after {1, 2}",
        ]),
        ("networks are joined when they are there and left before they go", "web net=front", "web net=back alias=x", &[
            "#1 create network back (missing) after {}",
            "#2 update networks of web-1 live (networks changed) after {1}",
            "#3 remove network front (orphan) after {2}",
        ]),
        ("the new one serves before the old one stops", "web x2 first", "web x2 first env=1", &[
            "#1 create web-1 (environment.VALUE changed) after {}",
            "#2 create web-2 (environment.VALUE changed) after {}",
            "#3 start web-1 beside the old one, and hand over when it is ready (environment.VALUE changed) after {1}",
            "#4 start web-2 beside the old one, and hand over when it is ready (environment.VALUE changed) after {2, 3}",
            "#5 stop web-1 (environment.VALUE changed) after {3}",
            "#6 remove web-1 (environment.VALUE changed) after {5}",
            "#7 stop web-2 (environment.VALUE changed) after {4}",
            "#8 remove web-2 (environment.VALUE changed) after {7}",
        ]),
        ("containers are replaced in turn", "web x2 turns", "web x2 turns continue env=1", &[
            "#1 create web-1 (environment.VALUE changed) after {}",
            "#2 create web-2 (environment.VALUE changed) after {}",
            "#3 stop the old web-1, then start the new one (environment.VALUE changed) after {1}",
            "#4 stop the old web-2, then start the new one, 5s later (environment.VALUE changed) after {2} and the end of {3}",
            "#5 remove web-1 (environment.VALUE changed) after {3}",
            "#6 remove web-2 (environment.VALUE changed) after {4}",
        ]),
        ("the old ones are kept until all have been", "web x2 first", "web x2 first rollback env=1", &[
            "#1 create web-1 (environment.VALUE changed) after {}",
            "#2 create web-2 (environment.VALUE changed) after {}",
            "#3 start web-1 beside the old one, and hand over when it is ready (environment.VALUE changed) after {1}",
            "#4 start web-2 beside the old one, and hand over when it is ready (environment.VALUE changed) after {2, 3}",
            "#5 stop web-1 (environment.VALUE changed) after {3} and the end of {4}",
            "#6 remove web-1 (environment.VALUE changed) after {5}",
            "#7 stop web-2 (environment.VALUE changed) after {4} and the end of {3}",
            "#8 remove web-2 (environment.VALUE changed) after {7}",
        ]),
        ("one of three may fail", "web x3 first ratio=0.4", "web x3 first ratio=0.4 env=1", &[
            "#1 create web-1 (environment.VALUE changed) after {}",
            "#2 create web-2 (environment.VALUE changed) after {}",
            "#3 create web-3 (environment.VALUE changed) after {}",
            "#4 start web-1 beside the old one, and hand over when it is ready (environment.VALUE changed) after {1}",
            "#5 start web-2 beside the old one, and hand over when it is ready (environment.VALUE changed) after {2} and the end of {4}",
            "#6 start web-3 beside the old one, and hand over when it is ready (environment.VALUE changed) after {3} and the end of {5}",
            "#7 stop web-1 (environment.VALUE changed) after {4}",
            "#8 remove web-1 (environment.VALUE changed) after {7}",
            "#9 stop web-2 (environment.VALUE changed) after {5}",
            "#10 remove web-2 (environment.VALUE changed) after {9}",
            "#11 stop web-3 (environment.VALUE changed) after {6}",
            "#12 remove web-3 (environment.VALUE changed) after {11}",
        ]),
        ("none of two may", "web x2 turns ratio=0.4", "web x2 turns ratio=0.4 env=1", &[
            "#1 create web-1 (environment.VALUE changed) after {}",
            "#2 create web-2 (environment.VALUE changed) after {}",
            "#3 stop the old web-1, then start the new one (environment.VALUE changed) after {1}",
            "#4 stop the old web-2, then start the new one, 5s later (environment.VALUE changed) after {2, 3}",
            "#5 remove web-1 (environment.VALUE changed) after {3}",
            "#6 remove web-2 (environment.VALUE changed) after {4}",
        ]),
        ("where it cannot the user is told", "web first net=a at=10.0.0.7", "web first net=a at=10.0.0.7 env=1", &[
            "warning: service web is stopped before its new containers start, although it asks for start-first: it has a fixed address, which two containers cannot have",
            "#1 create web-1 (environment.VALUE changed) after {}",
            "#2 stop web-1 (environment.VALUE changed) after {1}",
            "#3 remove web-1 (environment.VALUE changed) after {2}",
            "#4 start web-1 (environment.VALUE changed) after {1, 2}",
        ]),
        ("an alias is no new container", "web", "web net=default alias=x", &[
            "#1 update networks of web-1 live (networks changed) after {}",
        ]),
        ("another address is one", "web net=front", "web net=front at=10.0.0.7", &[
            "#1 create web-1 (networks changed) after {}",
            "#2 stop web-1 (networks changed) after {1}",
            "#3 remove web-1 (networks changed) after {2}",
            "#4 start web-1 (networks changed) after {1, 2}",
        ]),
        ("a name changes hands", "a called=x; b called=y", "a called=y; b called=x", &[
            "#1 stop y (container_name y -> x) after {}",
            "#2 remove y (container_name y -> x) after {1}",
            "#3 stop x (container_name x -> y) after {}",
            "#4 remove x (container_name x -> y) after {3}",
            "#5 create y (container_name x -> y) after {2}",
            "#6 create x (container_name y -> x) after {4}",
            "#7 start y (container_name x -> y) after {3, 5}",
            "#8 start x (container_name y -> x) after {1, 6}",
        ]),
        ("volumes and networks first, and stale networks last", "web net=front", "web net=back vol=data", &[
            "#1 create volume data (missing) after {}",
            "#2 create network back (missing) after {}",
            "#3 create web-1 (volumes changed) after {1}",
            "#4 stop web-1 (volumes changed) after {3}",
            "#5 remove web-1 (volumes changed) after {4}",
            "#6 start web-1 (volumes changed) after {2, 3, 4}",
            "#7 remove network front (orphan) after {4}",
        ]),
        ("a job runs again", "web job.completed; job", "web job.completed; job", &[
            "#1 start job-1 (not running) after {}",
        ]),
    ];
    for (case, before, after, expected) in table {
        check(case, before, after, &UpOptions::default(), expected);
    }
}

#[test]
fn up_does_what_its_options_say() {
    let only = |service: &str| UpOptions { services: vec![name(service)], ..UpOptions::default() };
    let default = UpOptions::default;
    #[rustfmt::skip]
    let table: [(&str, &str, &str, UpOptions, &[&str]); 13] = [
        ("a service brings its dependencies", "", "web db; db; other", only("web"), &[
            "#1 create network default (missing) after {}",
            "#2 create db-1 (missing) after {}",
            "#3 create web-1 (missing) after {}",
            "#4 start db-1 (missing) after {1, 2}",
            "#5 start web-1 (missing) after {1, 3, 4}",
        ]),
        ("--no-deps", "", "web db.healthy; db", UpOptions { dependencies: false, ..only("web") }, &[
            "#1 create network default (missing) after {}",
            "#2 create web-1 (missing) after {}",
            "#3 start web-1 (missing) after {1, 2}",
        ]),
        ("--force-recreate", "web db; db", "web db; db", UpOptions { recreate: Recreate::Always, ..only("web") }, &[
            "#1 create web-1 (requested) after {}",
            "#2 stop web-1 (requested) after {1}",
            "#3 remove web-1 (requested) after {2}",
            "#4 start web-1 (requested) after {1, 2}",
        ]),
        ("--always-recreate-deps", "web db; db", "web db; db", UpOptions { recreate_dependencies: Recreate::Always, ..only("web") }, &[
            "#1 create db-1 (requested) after {}",
            "#2 stop db-1 (requested) after {1}",
            "#3 remove db-1 (requested) after {2}",
            "#4 start db-1 (requested) after {1, 2}",
        ]),
        ("--no-recreate", "web", "web image=app:2", UpOptions { recreate: Recreate::Never, ..default() }, &["nothing to do"]),
        ("--no-start", "", "web db.healthy; db", UpOptions { start: false, ..default() }, &[
            "#1 create network default (missing) after {}",
            "#2 create db-1 (missing) after {}",
            "#3 create web-1 (missing) after {}",
        ]),
        ("--scale over the file", "web x2", "web x2", UpOptions { scale: BTreeMap::from([(name("web"), 1)]), ..default() }, &[
            "#1 stop web-2 (scaled down) after {}",
            "#2 remove web-2 (scaled down) after {1}",
        ]),
        ("orphans are named", "old; web", "web", default(), &[
            "warning: found orphan containers (old-1) for project shop; if a service was removed or renamed in the file, `--remove-orphans` cleans them up",
            "nothing to do",
        ]),
        ("orphans are passed over", "old; web", "web", UpOptions { orphans: Orphans::Ignore, ..default() }, &["nothing to do"]),
        ("orphans are removed", "old; web", "web", UpOptions { orphans: Orphans::Remove, ..default() }, &[
            "#1 stop old-1 (orphan) after {}",
            "#2 remove old-1 (orphan) after {1}",
        ]),
        ("--wait", "", "web job.completed; job", UpOptions { wait: Some(Wait::default()), ..default() }, &[
            "#1 create network default (missing) after {}",
            "#2 create job-1 (missing) after {}",
            "#3 create web-1 (missing) after {}",
            "#4 start job-1 (missing) after {1, 2}",
            "#5 await job completed (web waits for it) after {4}",
            "#6 start web-1 (missing) after {1, 3, 5}",
            "#7 await web ready (requested) after {6}",
        ]),
        ("--wait for what is there", "web check", "web check", UpOptions { wait: Some(Wait::default()), ..default() }, &["nothing to do"]),
        ("-V", "web anon", "web anon env=1", UpOptions { renew_anonymous_volumes: true, ..default() }, &[
            "#1 create web-1 (environment.VALUE changed) after {}",
            "#2 stop web-1 (environment.VALUE changed) after {1}",
            "#3 remove web-1 with its volumes (environment.VALUE changed) after {2}",
            "#4 start web-1 (environment.VALUE changed) after {1, 2}",
        ]),
    ];
    for (case, before, after, options, expected) in table {
        check(case, before, after, &options, expected);
    }
}

#[test]
fn up_repairs_the_world() {
    type Damage = fn(&mut World);
    #[rustfmt::skip]
    let table: [(&str, &str, Damage, &[&str]); 8] = [
        ("a container has exited", "web", |world| world.observed.containers[0].state.phase = Phase::Exited, &[
            "#1 start web-1 (not running) after {}",
        ]),
        ("who shares with it must restart", "web with=db; db", |world| world.observed.containers[0].state.phase = Phase::Dead, &[
            "#1 stop web-1 (shares with db, which is restarted) after {}",
            "#2 start db-1 (not running) after {}",
            "#3 start web-1 (shares with db, which is restarted) after {1, 2}",
        ]),
        ("a dependency is unhealthy", "web db.healthy; db", |world| {
            let health = Health { status: HealthStatus::Unhealthy, failing_streak: 3, log: vec![] };
            world.observed.containers[0].state.health = Some(health);
            world.observed.containers[1].state.phase = Phase::Exited;
        }, &[
            "#1 await db healthy (web waits for it) after {}",
            "#2 start web-1 (not running) after {1}",
        ]),
        ("the machine was rebooted", "web", |world| {
            world.observed.containers[0].state.phase = Phase::Exited;
            world.observed.networks.get_mut("shop_default").unwrap().live = false;
        }, &[
            "#1 create network default (not running) after {}",
            "#2 start web-1 (not running) after {1}",
        ]),
        ("a network is gone", "web", |world| world.observed.networks.clear(), &[
            "#1 create network default (missing) after {}",
            "#2 stop web-1 (network default is replaced) after {}",
            "#3 start web-1 (network default is replaced) after {1, 2}",
        ]),
        ("a creation was cut off", "web", |world| {
            world.observed.containers.clear();
            world.observed.garbage.push(Garbage { project: "shop".into(), id: "0123456789abcdef".into() });
        }, &[
            "#1 remove the remains of 0123456789ab (cut off) after {}",
            "#2 create web-1 (missing) after {1}",
            "#3 start web-1 (missing) after {2}",
        ]),
        ("an image was updated", "web", |world| { world.observed.images.insert("app:1".into(), "newer".into()); }, &[
            "#1 create web-1 (image updated) after {}",
            "#2 stop web-1 (image updated) after {1}",
            "#3 remove web-1 (image updated) after {2}",
            "#4 start web-1 (image updated) after {1, 2}",
        ]),
        ("a replacement was cut off", "web", |world| {
            let mut old = world.observed.containers[0].clone();
            old.record.id = "old".into();
            old.record.config_hash = "old".into();
            world.observed.containers[0].state.phase = Phase::Created;
            world.observed.containers.push(old);
        }, &[
            "#1 stop web-1 (superseded) after {}",
            "#2 remove web-1 (superseded) after {1}",
            "#3 start web-1 (not running) after {1}",
        ]),
    ];
    for (case, text, damage, expected) in table {
        let mut world = after_up(text);
        damage(&mut world);
        let project = project(text);
        let plan = up(&mut world, &project, &UpOptions::default());
        assert_eq!(lines(&plan), expected, "{case}");
    }
}

#[test]
fn up_replaces_a_network_under_its_containers() {
    let mut world = after_up("web db; db; old; off x0");
    let mut project = project("web db; db; off x0");
    project.networks.get_mut("default").unwrap().internal = true;
    let plan = up(&mut world, &project, &UpOptions::default());
    #[rustfmt::skip]
    assert_eq!(lines(&plan)[1..], [
        "#1 stop old-1 (network default is replaced) after {}",
        "#2 stop web-1 (network default is replaced) after {}",
        "#3 stop db-1 (network default is replaced) after {2}",
        "#4 remove network default (definition changed) after {1, 2, 3}",
        "#5 create network default (definition changed) after {4}",
        "#6 start db-1 (network default is replaced) after {3, 5}",
        "#7 start web-1 (network default is replaced) after {2, 5, 6}",
        "#8 start old-1 (network default is replaced) after {1, 5}",
    ]);
}

#[test]
fn a_fixed_address_waits_for_the_network_that_has_it() {
    let mut world = after_up("web net=default at=10.1.0.9; db");
    let mut project = project("web net=default at=10.2.0.9; db");
    project.networks.get_mut("default").unwrap().internal = true;
    let plan = up(&mut world, &project, &UpOptions::default());
    #[rustfmt::skip]
    assert_eq!(lines(&plan), [
        "#1 stop web-1 (networks changed) after {}",
        "#2 remove web-1 (networks changed) after {1}",
        "#3 stop db-1 (network default is replaced) after {}",
        "#4 remove network default (definition changed) after {1, 3}",
        "#5 create network default (definition changed) after {4}",
        "#6 create web-1 (networks changed) after {2, 5}",
        "#7 start db-1 (network default is replaced) after {3, 5}",
        "#8 start web-1 (networks changed) after {1, 5, 6}",
    ]);
}

#[test]
fn up_refuses_before_anything_is_changed() {
    type Edit = fn(&mut Project, &mut World, &mut UpOptions);
    #[rustfmt::skip]
    let table: [(&str, Edit, &str); 10] = [
        ("", |_, _, _| {}, "no service selected"),
        ("web", |_, _, options| options.services.push(name("wbe")), "no such service: wbe"),
        ("a b; b c; c a", |_, _, _| {}, "services depend on each other in a cycle: a -> b -> c -> a"),
        ("web image=none", |_, _, _| {}, "service web: there is no image none"),
        ("web", |project, _, _| project.networks.get_mut("default").unwrap().external = true, "network shop_default is declared as external, but does not exist"),
        ("web vol=data", |project, _, _| project.volumes.get_mut("data").unwrap().external = true, "volume shop_data is declared as external, but does not exist"),
        ("web called=x x2", |_, _, _| {}, "service web: 2 containers cannot all be called x"),
        ("web with=db; db x0", |_, _, _| {}, "service web shares with service db, which has no container"),
        ("web", |_, world, _| {
            let holder = crate::record::names::NameHolder { project: "shop-web".into(), id: "0123456789abcdef".into() };
            world.observed.foreign_names.insert("shop-web-1".into(), holder);
        }, "service web: the container name shop-web-1 is in use by container 0123456789ab of project shop-web"),
        ("web image=none; api image=nil", |_, _, _| {}, "service api: there is no image nil; service web: there is no image none"),
    ];
    for (text, edit, expected) in table {
        let (mut project, mut world) = (project(text), World::with_images(&IMAGES));
        let mut options = UpOptions::default();
        edit(&mut project, &mut world, &mut options);
        let began = world.now();
        let refused = plan::up(&project, &world.observed, &options, began).unwrap_err();
        assert_eq!(refused.to_string(), expected, "{text}");
    }
}

#[test]
fn a_volume_is_made_anew_only_if_its_data_may_be_lost() {
    let (before, after) = ("db vol=data; web db; idle", "db other=data; web db; idle");
    let keep = UpOptions::default();
    let kept = "warning: volume data does not match the file and is kept, because its data would be lost; `compose up --yes` makes it anew";
    check("not agreed to", before, after, &keep, &[kept, "nothing to do"]);
    let replace_volumes = ["shop_data".to_owned()].into();
    let lose = UpOptions { replace_volumes, ..UpOptions::default() };
    #[rustfmt::skip]
    check("agreed to", before, after, &lose, &[
        "#1 stop db-1 (volume data is replaced) after {}",
        "#2 remove db-1 (volume data is replaced) after {1}",
        "#3 remove volume data (definition changed) after {2}",
        "#4 create volume data (definition changed) after {3}",
        "#5 create db-1 (volume data is replaced) after {2, 4}",
        "#6 start db-1 (volume data is replaced) after {1, 5}",
    ]);
    check("as before", after, after, &lose, &["nothing to do"]);
    let mut world = after_up(before);
    let gone =
        project(&after.replace("db other=data; ", "new other=data; ").replace("web db", "web"));
    let began = world.now();
    let refused = plan::up(&gone, &world.observed, &lose, began).unwrap_err();
    let expected = "volume shop_data cannot be made anew: container shop-db-1 uses it";
    assert_eq!(refused.to_string(), expected);
}

#[test]
fn run_brings_what_the_service_needs() {
    let options = RunOptions {
        service: name("web"),
        name: None,
        remove: false,
        detach: true,
        dependencies: true,
        publish: false,
        use_aliases: false,
        parallel: None,
        environment: BTreeMap::new(),
        orphans: Orphans::Warn,
        pull: PullOptions::default(),
        build: BuildOptions::default(),
    };
    #[rustfmt::skip]
    let table: [(&str, RunOptions, &[&str]); 2] = [
        ("with dependencies", options.clone(), &[
            "#1 create volume data (missing) after {}",
            "#2 create network default (missing) after {}",
            "#3 create db-1 (missing) after {1}",
            "#4 start db-1 (missing) after {2, 3}",
            "#5 await db healthy (web waits for it) after {4}",
            "#6 create web-run-1a (requested) after {1, 2, 5}",
            "#7 start web-run-1a (requested) after {6}",
        ]),
        ("without, attached", RunOptions { dependencies: false, detach: false, ..options }, &[
            "#1 create volume data (missing) after {}",
            "#2 create network default (missing) after {}",
            "#3 create web-run-1a (requested) after {1, 2}",
        ]),
    ];
    for (case, options, expected) in table {
        let project = project("web db.healthy vol=data; db");
        let mut world = World::with_images(&IMAGES);
        let began = world.now();
        let name = "shop-web-run-1a";
        let plan = plan::run(&project, &world.observed, &options, name, began).unwrap();
        assert_eq!(lines(&plan), expected, "{case}");
        world.carry_out(&project, &plan, |_| 0);
        assert!(
            !up(&mut world, &project, &UpOptions::default()).is_empty(),
            "web itself is missing"
        );
    }
}

#[test]
fn the_network_of_what_has_ended_by_itself_goes_after_it() {
    let mut world = after_up("web; db");
    let db =
        world.observed.containers.iter_mut().find(|one| one.record.name == "shop-db-1").unwrap();
    db.state.phase = Phase::Exited;
    let plan = plan::down("shop", None, &world.observed, &DownOptions::default());
    let expected = [
        "#1 stop web-1 (requested) after {}",
        "#2 remove web-1 (requested) after {1}",
        "#3 remove db-1 (requested) after {}",
        "#4 remove network default (requested) after {1, 3}",
    ];
    assert_eq!(lines(&plan), expected);
}

#[test]
fn down_takes_away_what_up_has_made() {
    let text = "web db; db vol=data anon; cache net=back";
    let default = DownOptions::default;
    #[rustfmt::skip]
    let table: [(&str, DownOptions, &[&str]); 4] = [
        ("all", default(), &[
            "#1 stop web-1 (requested) after {}",
            "#2 remove web-1 (requested) after {1}",
            "#3 stop db-1 (requested) after {1}",
            "#4 remove db-1 (requested) after {3}",
            "#5 stop cache-1 (requested) after {}",
            "#6 remove cache-1 (requested) after {5}",
            "#7 remove network back (requested) after {5}",
            "#8 remove network default (requested) after {1, 3}",
        ]),
        ("one service and what depends on it", DownOptions { services: vec![name("db")], ..default() }, &[
            "#1 stop web-1 (requested) after {}",
            "#2 remove web-1 (requested) after {1}",
            "#3 stop db-1 (requested) after {1}",
            "#4 remove db-1 (requested) after {3}",
            "#5 remove network default (requested) after {1, 3}",
        ]),
        ("a network in use stays", DownOptions { services: vec![name("web")], ..default() }, &[
            "#1 stop web-1 (requested) after {}",
            "#2 remove web-1 (requested) after {1}",
        ]),
        ("-v", DownOptions { services: vec![name("db")], volumes: true, ..default() }, &[
            "#1 stop web-1 (requested) after {}",
            "#2 remove web-1 (requested) after {1}",
            "#3 stop db-1 (requested) after {1}",
            "#4 remove db-1 with its volumes (requested) after {3}",
            "#5 remove network default (requested) after {1, 3}",
            "#6 remove volume data (requested) after {4}",
        ]),
    ];
    let project = project(text);
    for (case, options, expected) in table {
        let mut world = after_up(text);
        for file in [Some(&project), None] {
            let plan = plan::down("shop", file, &world.observed, &options);
            assert_eq!(lines(&plan), expected, "{case}, with a file: {}", file.is_some());
        }
        let plan = plan::down("shop", None, &world.observed, &options);
        world.carry_out(&project, &plan, |_| 0);
        let plan = plan::down("shop", Some(&project), &world.observed, &options);
        assert!(plan.is_empty(), "{case}:\n{plan}");
    }
}

#[test]
fn down_leaves_strays_unless_told_otherwise() {
    let world = after_up("web; old");
    let project = project("web");
    let plan = plan::down("shop", Some(&project), &world.observed, &DownOptions::default());
    #[rustfmt::skip]
    assert_eq!(lines(&plan)[1..], [
        "#1 stop web-1 (requested) after {}",
        "#2 remove web-1 (requested) after {1}",
    ]);
    let options = DownOptions { orphans: Orphans::Remove, ..DownOptions::default() };
    let plan = plan::down("shop", Some(&project), &world.observed, &options);
    #[rustfmt::skip]
    assert_eq!(lines(&plan), [
        "#1 stop web-1 (requested) after {}",
        "#2 remove web-1 (requested) after {1}",
        "#3 stop old-1 (requested) after {}",
        "#4 remove old-1 (requested) after {3}",
        "#5 remove network default (requested) after {1, 3}",
    ]);
}

#[test]
fn commands_on_containers_that_exist() {
    let text = "web db!; db";
    let project = project(text);
    let mut world = after_up(text);

    let restart = RestartOptions { services: vec![name("db")], ..RestartOptions::default() };
    #[rustfmt::skip]
    assert_eq!(lines(&plan::restart(Some(&project), &world.observed, &restart)), [
        "#1 stop web-1 (depends on db, which is restarted) after {}",
        "#2 stop db-1 (requested) after {1}",
        "#3 start db-1 (requested) after {2}",
        "#4 start web-1 (depends on db, which is restarted) after {1, 3}",
    ]);
    let nobody = RestartOptions { only: vec!["no-such-id".to_owned()], ..restart.clone() };
    #[rustfmt::skip]
    assert_eq!(lines(&plan::restart(Some(&project), &world.observed, &nobody)), [
        "#1 stop web-1 (depends on db, which is restarted) after {}",
        "#2 start web-1 (depends on db, which is restarted) after {1}",
    ]);
    let restart = RestartOptions { dependents: false, ..restart };
    #[rustfmt::skip]
    assert_eq!(lines(&plan::restart(Some(&project), &world.observed, &restart)), [
        "#1 stop db-1 (requested) after {}",
        "#2 start db-1 (requested) after {1}",
    ]);
    #[rustfmt::skip]
    assert_eq!(lines(&plan::recover(&world.observed, &name("db"))), [
        "#1 stop web-1 (depends on db, which is restarted) after {}",
        "#2 start web-1 (depends on db, which is restarted) after {1}",
    ]);
    assert!(plan::recover(&world.observed, &name("web")).is_empty());
    let joined = after_up("web db! with=db; db");
    assert!(plan::recover(&joined.observed, &name("db")).is_empty(), "it has the namespaces still");
    let kill = KillOptions { services: vec![name("db")], ..KillOptions::default() };
    #[rustfmt::skip]
    assert_eq!(lines(&plan::kill(Some(&project), &world.observed, &kill)), [
        "#1 send SIGKILL to db-1 (requested) after {}",
    ]);
    let rm = RmOptions::default();
    assert!(plan::rm(Some(&project), &world.observed, &rm).is_empty(), "both run");

    let stop = plan::stop(Some(&project), &world.observed, &StopOptions::default());
    #[rustfmt::skip]
    assert_eq!(lines(&stop), [
        "#1 stop web-1 (requested) after {}",
        "#2 stop db-1 (requested) after {1}",
    ]);
    world.carry_out(&project, &stop, |_| 0);
    let wait = Some(Wait::default());
    let web = StartOptions { services: vec![name("web")], wait, ..StartOptions::default() };
    let start = plan::start(Some(&project), &world.observed, &web).unwrap();
    #[rustfmt::skip]
    assert_eq!(lines(&start), [
        "#1 start db-1 (requested) after {}",
        "#2 start web-1 (requested) after {1}",
        "#3 await db ready (requested) after {1}",
        "#4 await web ready (requested) after {2}",
    ]);
    #[rustfmt::skip]
    assert_eq!(lines(&plan::rm(Some(&project), &world.observed, &rm)), [
        "#1 remove web-1 (requested) after {}",
        "#2 remove db-1 (requested) after {}",
    ]);
    let db = world.observed.containers.iter().find(|one| one.record.service.as_str() == "db");
    let only = RmOptions { only: vec![db.unwrap().record.id.clone()], ..RmOptions::default() };
    assert_eq!(
        lines(&plan::rm(None, &world.observed, &only)),
        ["#1 remove db-1 (requested) after {}"]
    );

    let nothing = World::default();
    let refused = plan::start(Some(&project), &nothing.observed, &StartOptions::default());
    assert_eq!(
        refused.unwrap_err().to_string(),
        "service db has no container to start; service web has no container to start"
    );
}

#[test]
fn commands_leave_orphans_alone() {
    let world = after_up("web; old");
    let project = project("web");
    let observed = &world.observed;
    let (stop, restart, pause) =
        (StopOptions::default(), RestartOptions::default(), PauseOptions::default());
    let rm = RmOptions { stop: true, ..RmOptions::default() };
    let kill = |orphans| KillOptions { orphans, ..KillOptions::default() };
    let (leave, remove) = (kill(Orphans::Warn), kill(Orphans::Remove));
    let (with, without) = (Some(&project), None);
    for (case, plan, both) in [
        ("stop", plan::stop(with, observed, &stop), false),
        ("stop without a file", plan::stop(without, observed, &stop), true),
        ("restart", plan::restart(with, observed, &restart), false),
        ("restart without a file", plan::restart(without, observed, &restart), true),
        ("pause", plan::pause(with, observed, &pause), false),
        ("pause without a file", plan::pause(without, observed, &pause), true),
        ("rm", plan::rm(with, observed, &rm), false),
        ("rm without a file", plan::rm(without, observed, &rm), true),
        ("kill", plan::kill(with, observed, &leave), false),
        ("kill --remove-orphans", plan::kill(with, observed, &remove), true),
        ("kill without a file", plan::kill(without, observed, &leave), true),
    ] {
        let text = plan.to_string();
        assert!(text.contains("web-1"), "{case}: {text}");
        assert_eq!(text.contains("old-1"), both, "{case}: {text}");
    }
    let named = StopOptions { services: vec![name("old")], ..StopOptions::default() };
    assert_eq!(lines(&plan::stop(with, observed, &named)), ["#1 stop old-1 (requested) after {}"]);
}
