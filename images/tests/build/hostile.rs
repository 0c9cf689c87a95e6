//! Contexts, images and archives that want to reach the host.

use std::fs;
use std::os::unix::fs::symlink;

use images::Import;
use libtest_mimic::Failed;
use tar::EntryType::{Char, Link, Regular, Symlink};

use super::Case;
use super::world::{Files, World};

pub const CASES: &[Case] = &[
    ("links_in_a_context_stay_in_it", context_links),
    ("links_in_a_stage_stay_in_it", stage_links),
    ("targets_stay_in_the_stage", targets),
    ("archives_stay_in_their_target", archives),
    ("mounts_stay_in_the_stage", mounts),
    ("devices_of_an_image_are_out_of_reach", devices),
];

/// A file of the host that no build may see.
fn outside(world: &World) -> std::path::PathBuf {
    let path = world.dir.path().join("outside");
    fs::write(&path, "host").unwrap();
    path
}

fn context_links() -> Result<(), Failed> {
    let world = World::new();
    let outside = outside(&world);
    symlink(&outside, world.context().join("absolute"))?;
    symlink("../outside", world.context().join("relative"))?;
    symlink("..", world.context().join("up"))?;
    for name in ["absolute", "relative", "up/outside", "../outside", "up/../outside"] {
        let refused = world.fail(&format!("FROM base\nCOPY {name} /x"));
        assert!(refused.problems[0].message.contains("is not there"), "{name}: {refused}");
        let refused = world.fail(&format!("FROM base\nRUN --mount=source={name},target=/x cat /x"));
        assert!(!refused.output.contains(&"host".to_owned()), "{name}");
    }
    // Inside of a directory a link is copied as it is.
    let image = world.build("FROM base\nCOPY . /all");
    assert_eq!(Files::of(&image).read("all/absolute"), None);
    world.write("Dockerfile", "FROM base");
    symlink("../outside", world.context().join(".dockerignore"))?;
    world.build("FROM base\nCOPY Dockerfile /");
    Ok(())
}

fn stage_links() -> Result<(), Failed> {
    let world = World::new();
    let outside = outside(&world);
    let path = outside.display();
    let stage = format!(
        "FROM base AS s\nRUN ln -s {path} /file && ln -s / /root && ln -s /../../../.. /up\n"
    );
    for source in ["/file", &format!("/root{path}"), &format!("/up{path}")] {
        let refused = world.fail(&format!("{stage}FROM base\nCOPY --from=s {source} /x"));
        assert!(refused.problems[0].message.contains("is not there"), "{source}: {refused}");
        let mount =
            format!("{stage}FROM base\nRUN --mount=from=s,source={source},target=/x cat /x");
        let refused = world.fail(&mount);
        assert!(refused.output.is_empty(), "{source}: {:?}", refused.output);
    }
    Ok(())
}

fn targets() -> Result<(), Failed> {
    let world = World::new();
    let outside = outside(&world);
    let host = world.dir.path().display();
    world.write("file", "from the context");
    let image = world.build(&format!(
        "FROM base
RUN ln -s {host} /host && ln -s {host}/outside /over && ln -s /../../.. /up
COPY file /host/outside
COPY file /over
COPY file /up{host}/outside
WORKDIR /host/made
ADD file ../../../../../..{host}/outside"
    ));
    assert_eq!(fs::read_to_string(outside)?, "host");
    assert!(!world.dir.path().join("made").exists());
    let files = Files::of(&image);
    assert_eq!(files.read("over").unwrap(), "from the context");
    Ok(())
}

fn archives() -> Result<(), Failed> {
    let world = World::new();
    let outside = outside(&world);
    let archive = |entries: &[(tar::EntryType, &str, &str)]| {
        let mut builder = tar::Builder::new(Vec::new());
        for (kind, name, target) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            let content: &[u8] = if *kind == Regular { b"evil" } else { b"" };
            header.set_size(content.len() as u64);
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
        fs::write(world.context().join("a.tar"), builder.into_inner().unwrap()).unwrap();
    };
    let host = outside.display().to_string();
    let add = "FROM base\nADD a.tar /t/";
    archive(&[(Regular, "../../outside", "")]);
    assert!(world.fail(add).problems[0].message.contains("leads out"));
    archive(&[(Link, "hard", &host)]);
    world.fail(add);
    archive(&[
        (Symlink, "link", world.dir.path().to_str().unwrap()),
        (Regular, "link/outside", ""),
    ]);
    // It goes where the link leads to, below the target.
    let _ = world.try_build(&world.recipe(add));
    assert_eq!(fs::read_to_string(&outside)?, "host");
    // Cut off in the middle.
    let whole = fs::read(world.context().join("a.tar"))?;
    fs::write(world.context().join("a.tar"), &whole[..700])?;
    world.fail(add);
    Ok(())
}

fn mounts() -> Result<(), Failed> {
    let world = World::new();
    let outside = outside(&world);
    let host = world.dir.path().display().to_string();
    world.write("file", "from the context");
    world.write("dir/file", "from the context");
    let names = || -> Vec<_> {
        let mut names: Vec<_> =
            fs::read_dir(world.dir.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let base = format!(
        "FROM base AS s\nRUN ln -s {host} /host && ln -s {host}/outside /over && ln -s /../../../.. /up\n"
    );
    for line in [
        "--mount=type=tmpfs,target=/host/made touch /host/made/x".to_owned(),
        format!("--mount=type=cache,target=/up{host}/made touch /up{host}/made/x"),
        format!("--mount=source=dir,target=../../../..{host}/made,rw touch {host}/made/x"),
        "--mount=source=file,target=/host/outside,rw echo evil > /host/outside".to_owned(),
        "--mount=source=file,target=/over,rw echo evil > /over".to_owned(),
        format!("--mount=type=cache,from=s,source=/up{host},target=/c echo evil > /c/outside"),
        format!("--mount=type=cache,from=s,source=/host,target=/c,id=../../{host} touch /c/made"),
        "--mount=from=s,source=/host,target=/c,rw touch /c/made".to_owned(),
    ] {
        // It is carried out below the root of the stage, or refused.
        let _ = world.try_build(&world.recipe(&format!("{base}RUN {line}")));
        assert_eq!(fs::read_to_string(&outside)?, "host", "{line}");
        assert_eq!(names(), before, "{line}");
    }
    Ok(())
}

/// A node in a layer is one, and no container can open it.
fn devices() -> Result<(), Failed> {
    let world = World::new();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(Char);
    header.set_path("kmsg")?;
    header.set_mode(0o666);
    header.set_size(0);
    header.set_device_major(1)?;
    header.set_device_minor(11)?;
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header, &b""[..])?;
    let import = Import { reference: Some("evil".parse()?), ..Import::default() };
    world.store.import(&archive.into_inner()?[..], &import)?;
    let image = world.build(
        "FROM base\nRUN --mount=from=evil,target=/e test -c /e/kmsg && ! head -c 1 /e/kmsg 2> /said",
    );
    let said = Files::of(&image).read("said").unwrap();
    assert!(said.contains("not permitted") || said.contains("denied"), "{said}");
    Ok(())
}
