//! What is built again, and what is not.

use std::fs;
use std::time::{Duration, SystemTime};

use images::build::Fresh;
use libtest_mimic::Failed;

use super::Case;
use super::world::{Files, World};

pub const CASES: &[Case] = &[
    ("the_same_again_is_found", again),
    ("only_what_reads_a_change_is_built", changes),
    ("contents_count_and_times_do_not", touched),
    ("stages_with_equal_files_are_equal", equal_stages),
    ("a_failed_build_keeps_its_steps", failed),
    ("nothing_of_named_stages_comes_from_the_cache", fresh),
    ("layers_are_reproducible", reproducible),
    ("layers_of_the_cache_are_no_garbage", garbage),
];

const DOCKERFILE: &str = "FROM base
WORKDIR /app
COPY package .
RUN cp package installed
COPY . .
RUN cat source > built
CMD [\"built\"]";

fn again() -> Result<(), Failed> {
    let world = World::new();
    world.write("package", "p");
    world.write("source", "s");
    let one = world.build(DOCKERFILE);
    assert_eq!(world.cached(), [false; 5]);
    let two = world.build(DOCKERFILE);
    assert_eq!(world.cached(), [true; 5]);
    assert_eq!((one.id, one.manifest), (two.id, two.manifest));
    Ok(())
}

fn changes() -> Result<(), Failed> {
    let world = World::new();
    world.write("package", "p");
    world.write("source", "s");
    world.build(DOCKERFILE);
    world.write("source", "changed");
    let image = world.build(DOCKERFILE);
    assert_eq!(world.cached(), [true, true, true, false, false]);
    assert_eq!(Files::of(&image).read("app/built").unwrap(), "changed");
    world.build("FROM base\nARG A=1\nRUN echo fixed\nRUN echo $A > /a");
    let mut recipe = world.recipe("FROM base\nARG A=1\nRUN echo fixed\nRUN echo $A > /a");
    recipe.args.insert("A".to_owned(), "2".to_owned());
    let image = world.build_with(&recipe);
    assert_eq!(Files::of(&image).read("a").unwrap(), "2\n");
    world.build("FROM base\nENV LATER=1\nRUN echo fixed");
    assert_eq!(world.cached(), [false]);
    Ok(())
}

fn touched() -> Result<(), Failed> {
    let world = World::new();
    world.write("package", "p");
    world.write("source", "s");
    world.build(DOCKERFILE);
    for name in ["package", "source"] {
        let file = fs::File::options().write(true).open(world.context().join(name))?;
        file.set_modified(SystemTime::now() - Duration::from_secs(5000))?;
    }
    fs::remove_file(world.context().join("source"))?;
    world.write("source", "s");
    world.build(DOCKERFILE);
    assert_eq!(world.cached(), [true; 5]);
    Ok(())
}

fn equal_stages() -> Result<(), Failed> {
    let world = World::new();
    let text = |comment: &str| {
        format!(
            "FROM base AS b\nRUN echo {comment} > /noise && echo same > /out\nFROM base\n\
             COPY --from=b /out /out\nRUN cat /out > /used"
        )
    };
    world.build(&text("one"));
    world.build(&text("two"));
    // The copied file is another one with another time, and has the same content.
    assert_eq!(world.cached(), [false, true, true]);
    Ok(())
}

fn failed() -> Result<(), Failed> {
    let world = World::new();
    world.fail("FROM base\nRUN echo long > /long\nRUN exit 1");
    world.build("FROM base\nRUN echo long > /long\nRUN exit 0");
    assert_eq!(world.cached(), [true, false]);
    Ok(())
}

fn fresh() -> Result<(), Failed> {
    let world = World::new();
    let text = "FROM base AS a\nRUN echo a > /a\nFROM a AS b\nRUN echo b > /b";
    world.build(text);
    let mut recipe = world.recipe(text);
    recipe.fresh = Fresh::Stages(vec!["a".to_owned()]);
    world.build_with(&recipe);
    assert!(!world.cached()[0]);
    recipe.fresh = Fresh::Everything;
    world.build_with(&recipe);
    assert_eq!(world.cached(), [false, false]);
    Ok(())
}

fn reproducible() -> Result<(), Failed> {
    let text =
        "FROM base\nWORKDIR /w\nCOPY . .\nRUN echo made > made && mkdir -p d/e && ln made d/e/l";
    let build = |seconds: u64| {
        let world = World::new();
        for name in ["b", "a/deep", "c"] {
            world.write(name, name);
            let file = fs::File::options().write(true).open(world.context().join(name)).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds);
            file.set_modified(time).unwrap();
        }
        let mut recipe = world.recipe(text);
        recipe.args.insert("SOURCE_DATE_EPOCH".to_owned(), "1600000000".to_owned());
        let image = world.build_with(&recipe);
        let layers = image.config.rootfs().diff_ids()[1..].to_vec();
        let time = Files::of(&image).metadata("w/made").unwrap().st_mtime;
        assert_eq!(time, 1_600_000_000);
        (layers, image.created)
    };
    assert_eq!(build(1), build(2));
    Ok(())
}

fn garbage() -> Result<(), Failed> {
    let world = World::new();
    let text = "FROM base AS hidden\nRUN echo hidden > /h\nFROM scratch\nCOPY --from=hidden /h /h";
    world.build(text);
    world.store.remove("built", images::Force::Yes, |_| None)?;
    // The next writer deletes what nobody needs.
    world.build("FROM base\nRUN echo other");
    world.build(text);
    assert_eq!(world.cached(), [true, true]);
    Ok(())
}
