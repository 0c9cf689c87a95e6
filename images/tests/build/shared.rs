//! Caches that other machines have written.

use std::fs;
use std::path::Path;

use images::build::{BuildError, CacheFrom, CacheTo, Event, Recipe};
use libtest_mimic::Failed;
use serde_json::Value;

use super::Case;
use super::world::{Files, World};

pub const CASES: &[Case] = &[
    ("a_cache_in_a_folder_saves_the_steps", folder),
    ("a_cache_has_what_is_asked_for", modes),
    ("a_cache_that_lies_is_not_used", lies),
    ("a_cache_that_cannot_be_read_costs_nothing", unreadable),
    ("a_cache_that_cannot_be_written_is_told", unwritable),
    ("an_image_is_its_own_cache", inline),
];

const DOCKERFILE: &str = "FROM base AS tools
RUN cat /proc/sys/kernel/random/uuid > /made && echo 1 > /lone
FROM base
COPY --from=tools /made /made
COPY . /src
RUN cat /proc/sys/kernel/random/uuid > /last";

/// Another machine with the same base image.
fn another(world: &World) -> World {
    let other = World::new();
    let mut archive = Vec::new();
    world.store.save(&["base".to_owned()], &mut archive).unwrap();
    other.store.load(&archive[..], &images::Platform::host()).unwrap();
    other
}

fn to(world: &World, recipe: Recipe, words: &str) -> Recipe {
    let cache = CacheTo::parse(words, world.dir.path()).unwrap();
    Recipe { cache_to: cache.into_iter().collect(), ..recipe }
}

fn from(world: &World, recipe: Recipe, words: &str) -> Recipe {
    let cache = CacheFrom::parse(words, world.dir.path()).unwrap();
    Recipe { cache_from: cache.into_iter().collect(), ..recipe }
}

/// Whether each step was in a cache; those about caches themselves are none.
fn cached(world: &World) -> Vec<bool> {
    let events = world.events.lock().unwrap();
    let mut about = Vec::new();
    let mut done = std::collections::BTreeMap::new();
    for event in events.iter() {
        match event {
            Event::Begun { step, name } if name.starts_with("[cache]") => about.push(*step),
            Event::Done { step, cached, .. } if !about.contains(step) => {
                done.insert(*step, *cached);
            }
            _ => {}
        }
    }
    done.into_values().collect()
}

fn warnings(world: &World) -> Vec<String> {
    let events = world.events.lock().unwrap();
    let warning = |event: &Event| match event {
        Event::Warning(text) => Some(text.clone()),
        _ => None,
    };
    events.iter().filter_map(warning).collect()
}

fn folder() -> Result<(), Failed> {
    let one = World::new();
    one.write("file", "x");
    let made = one.build_with(&to(&one, one.recipe(DOCKERFILE), "type=local,dest=c,mode=max"));
    assert_eq!(cached(&one), [false; 4]);
    let two = another(&one);
    two.write("file", "x");
    let recipe = from(&one, two.recipe(DOCKERFILE), "type=local,src=c");
    let again = two.build_with(&recipe);
    assert_eq!(cached(&two), [true; 4]);
    assert_eq!(warnings(&two), [""; 0]);
    assert_eq!((made.id, made.manifest), (again.id, again.manifest));
    assert_eq!(Files::of(&made).read("last"), Files::of(&again).read("last"));
    // What has come is in the cache of this machine from now on.
    fs::remove_dir_all(one.dir.path().join("c"))?;
    two.build_with(&recipe);
    assert_eq!(cached(&two), [true; 4]);
    assert_eq!(warnings(&two), [""; 0], "nobody looks for what is here");
    // What reads something else is carried out.
    let three = another(&one);
    three.write("file", "other");
    one.build_with(&to(&one, one.recipe(DOCKERFILE), "type=local,dest=c,mode=max"));
    three.build_with(&from(&one, three.recipe(DOCKERFILE), "type=local,src=c"));
    assert_eq!(cached(&three), [true, true, false, false]);
    Ok(())
}

fn modes() -> Result<(), Failed> {
    let one = World::new();
    one.write("file", "x");
    one.build_with(&to(&one, one.recipe(DOCKERFILE), "type=local,dest=c"));
    let two = another(&one);
    two.write("file", "x");
    two.build_with(&from(&one, two.recipe(DOCKERFILE), "type=local,src=c"));
    // The stage that is only copied from is not in the image, and what it makes is random.
    assert_eq!(cached(&two), [false; 4]);
    // Each tag is a cache of its own.
    one.build_with(&to(&one, one.recipe(DOCKERFILE), "type=local,dest=c,tag=all,mode=max"));
    let three = another(&one);
    three.write("file", "x");
    three.build_with(&from(&one, three.recipe(DOCKERFILE), "type=local,src=c,tag=all"));
    assert_eq!(cached(&three), [true; 4]);
    three.build_with(&from(&one, three.recipe("FROM base\nRUN echo"), "type=local,src=c,tag=no"));
    assert!(warnings(&three)[0].contains("it has no cache called `no`"), "{:?}", warnings(&three));
    Ok(())
}

fn lies() -> Result<(), Failed> {
    let one = World::new();
    let text = "FROM base\nRUN echo right > /file";
    one.build_with(&to(&one, one.recipe(text), "type=local,dest=c"));
    let blobs = one.dir.path().join("c/blobs/sha256");
    let is_document = |path: &Path| fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"{"));
    for blob in fs::read_dir(&blobs)?.flatten().map(|entry| entry.path()) {
        if !is_document(&blob) {
            fs::write(&blob, "something else")?;
        }
    }
    let two = another(&one);
    let built = two.build_with(&from(&one, two.recipe(text), "type=local,src=c"));
    assert_eq!(cached(&two), [false]);
    assert!(warnings(&two)[0].contains("is not what its name says"), "{:?}", warnings(&two));
    assert_eq!(Files::of(&built).read("file").unwrap(), "right\n");
    Ok(())
}

fn unreadable() -> Result<(), Failed> {
    let world = World::new();
    let text = "FROM base\nRUN echo 1 > /file";
    world.build_with(&from(&world, world.recipe(text), "type=local,src=nowhere"));
    let said = warnings(&world);
    assert!(said[0].contains("nowhere is not used: cannot read"), "{said:?}");
    let folder = world.dir.path().join("c");
    fs::create_dir(&folder)?;
    let damages = ["", "{}", "[]", r#"{"schemaVersion":2,"manifests":[{}]}"#];
    for (number, damaged) in damages.into_iter().enumerate() {
        fs::write(folder.join("index.json"), damaged)?;
        let recipe = world.recipe(&format!("FROM base\nRUN echo damage {number}"));
        world.build_with(&from(&world, recipe, "type=local,src=c"));
        assert_eq!((cached(&world), warnings(&world).len()), (vec![false], 1), "{damaged}");
    }
    Ok(())
}

fn unwritable() -> Result<(), Failed> {
    let world = World::new();
    fs::write(world.dir.path().join("c"), "a file")?;
    let text = "FROM base\nRUN echo 1 > /file";
    let failed = world.try_build(&to(&world, world.recipe(text), "type=local,dest=c"));
    assert!(matches!(failed, Err(BuildError::Cache { .. })), "{failed:?}");
    assert!(world.store.find("built")?.is_none());
    world.build_with(&to(&world, world.recipe(text), "type=local,dest=c,ignore-error=true"));
    assert_eq!(warnings(&world).len(), 1);
    Ok(())
}

fn inline() -> Result<(), Failed> {
    let world = World::new();
    let steps = |name: &str| -> Value {
        let image = world.store.find(name).unwrap().unwrap();
        let blob = world.dir.path().join("images/blobs/sha256").join(image.id.hex());
        let config: Value = serde_json::from_slice(&fs::read(blob).unwrap()).unwrap();
        config["compose.build.cache"]["steps"].clone()
    };
    let text = "FROM base\nRUN echo 1 > /file\nRUN echo 2 >> /file";
    world.build_with(&to(&world, world.recipe(text), "type=inline"));
    assert_eq!(steps("built").as_array().map(Vec::len), Some(2));
    // What is built on it is another image.
    let recipe = world.recipe("FROM built\nRUN echo 3 >> /file");
    world.build_with(&Recipe { names: vec!["next".parse().unwrap()], ..recipe });
    assert_eq!(steps("next"), Value::Null);
    Ok(())
}
