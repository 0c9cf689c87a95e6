//! `COPY`, `ADD` and `WORKDIR`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use images::build::Source;
use libtest_mimic::Failed;

use super::Case;
use super::world::{CHANGED, Files, World};

pub const CASES: &[Case] = &[
    ("files_and_directories_go_where_they_are_to_go", places),
    ("ignored_files_are_not_seen", ignored),
    ("owners_modes_and_excludes_are_applied", flags),
    ("parents_and_links_are_kept", parents),
    ("stages_images_and_contexts_are_sources", origins),
    ("many_files_are_copied_as_one_is", many),
    ("heredocs_become_files", heredocs),
    ("archives_are_unpacked_and_addresses_fetched", adding),
    ("linked_layers_do_not_depend_on_what_is_below", linked),
    ("contexts_may_be_archives_and_repositories", contexts),
    ("contexts_may_be_fetched", fetched_contexts),
    ("working_directories_are_made", working_directory),
];

fn places() -> Result<(), Failed> {
    let world = World::new();
    world.write("a.txt", "a");
    world.write("dir/b.txt", "b");
    world.write("dir/sub/c.txt", "c");
    symlink("b.txt", world.context().join("dir/link"))?;
    fs::create_dir(world.context().join("dir/empty"))?;
    let files = Files::of(&world.build(
        "FROM base
COPY a.txt /one
COPY a.txt /into/
COPY a.txt dir/b.txt /several/
COPY dir /tree
COPY a.txt /tree
COPY dir/*.txt /wild/
COPY *.none /nothing/
COPY [\"a.txt\", \"/with space/\"]
COPY dir /lib
WORKDIR /work
COPY . .
COPY a.txt relative",
    ));
    for (path, content) in [
        ("one", "a"),
        ("into/a.txt", "a"),
        ("several/b.txt", "b"),
        ("tree/sub/c.txt", "c"),
        ("tree/a.txt", "a"),
        ("wild/b.txt", "b"),
        ("with space/a.txt", "a"),
        ("usr/lib/b.txt", "b"),
        ("work/dir/b.txt", "b"),
        ("work/relative", "a"),
    ] {
        assert_eq!(files.read(path).as_deref(), Some(content), "{path}");
    }
    assert_eq!(files.list("tree"), ["a.txt", "b.txt", "empty", "link", "sub"]);
    assert!(!files.exists("nothing") && !files.exists("wild/c.txt"));
    let mistakes = world.fail("FROM base\nCOPY a.txt /bin/sh/");
    assert!(mistakes.problems[0].message.contains("no directory"), "{mistakes}");
    Ok(())
}

fn ignored() -> Result<(), Failed> {
    let world = World::new();
    for name in ["keep", "secret", "logs/a.log", "logs/keep.log", "node_modules/x"] {
        world.write(name, name);
    }
    world.write(".dockerignore", "secret\n**/*.log\n!**/keep.log\nnode_modules\n");
    let files = Files::of(&world.build("FROM base\nCOPY . /all/"));
    assert_eq!(files.list("all"), [".dockerignore", "keep", "logs"]);
    assert_eq!(files.list("all/logs"), ["keep.log"]);
    let hidden = world.fail("FROM base\nCOPY secret /");
    assert_eq!(hidden.problems[0].message, "`secret` is hidden by a pattern of the ignore file");
    let bound = world.build("FROM base\nRUN --mount=target=/c cp -r /c /copied");
    assert_eq!(Files::of(&bound).list("copied"), [".dockerignore", "keep", "logs"]);
    world.write("Own", "FROM base\nCOPY . /all/");
    world.write("Own.dockerignore", "keep");
    let mut recipe = world.recipe("");
    recipe.dockerfile = images::build::DockerfileSource::File("Own".into());
    let files = Files::of(&world.build_with(&recipe));
    assert!(files.exists("all/secret") && !files.exists("all/keep"));
    Ok(())
}

fn flags() -> Result<(), Failed> {
    let world = World::new();
    world.write("run.sh", "#!/bin/sh");
    world.write("d/x.txt", "x");
    world.write("d/y.md", "y");
    fs::set_permissions(world.context().join("run.sh"), fs::Permissions::from_mode(0o640))?;
    let files = Files::of(&world.build(
        "FROM base
COPY --chown=app run.sh /made/by/app
COPY --chown=app:staff --chmod=4711 run.sh /b
COPY --chown=7 --chmod=u=rwX,go=rX d /d
COPY --exclude=*.md d /e
COPY run.sh /plain",
    ));
    assert_eq!(files.stat("made/by/app"), (0o640, 1000, 2000));
    assert_eq!(files.stat("made/by"), (0o755, 1000, 2000));
    assert_eq!(files.stat("b"), (0o4711, 1000, 50));
    assert_eq!(files.stat("d/x.txt"), (0o644, 7, 7));
    assert_eq!(files.list("e"), ["x.txt"]);
    assert_eq!(files.stat("plain"), (0o640, 0, 0));
    Ok(())
}

fn parents() -> Result<(), Failed> {
    let world = World::new();
    world.write("a/b/c.txt", "c");
    world.write("a/d.txt", "d");
    let files = Files::of(&world.build(
        "FROM base\nCOPY --parents a/b/c.txt a/d.txt /p/\nCOPY --parents a/./b/c.txt /q/\nCOPY --parents a/**/*.txt /r/",
    ));
    for path in ["p/a/b/c.txt", "p/a/d.txt", "q/b/c.txt", "r/a/b/c.txt", "r/a/d.txt"] {
        assert!(files.exists(path), "{path}");
    }
    Ok(())
}

fn origins() -> Result<(), Failed> {
    let world = World::new();
    let other = world.dir.path().join("other");
    fs::create_dir(&other)?;
    fs::write(other.join("file"), "other")?;
    let mut recipe = world.recipe(
        "FROM base AS build
RUN mkdir /out && echo built > /out/file && ln /out/file /out/hard && ln -s /out /latest
FROM base AS second
RUN echo second > /s
FROM scratch
COPY --from=build /latest/ /from-stage/
COPY --from=1 /s /from-number
COPY --from=base /etc/passwd /from-image
COPY --from=more file /from-context",
    );
    recipe.contexts.insert("more".to_owned(), Source::Directory(other));
    let files = Files::of(&world.build_with(&recipe));
    assert_eq!(files.read("from-stage/file").unwrap(), "built\n");
    assert_eq!(files.metadata("from-stage/file").unwrap().st_nlink, 2);
    assert_eq!(files.read("from-number").unwrap(), "second\n");
    assert!(files.read("from-image").unwrap().starts_with("root:"));
    assert_eq!(files.read("from-context").unwrap(), "other");
    let missing = world.fail("FROM scratch\nCOPY --from=nobody /a /b");
    assert_eq!(
        missing.problems[0].message,
        "cannot get the image nobody: nobody has nobody:latest"
    );
    Ok(())
}

/// So many that they go past the overlay, several at a time.
fn many() -> Result<(), Failed> {
    const COUNT: usize = 300;
    let world = World::new();
    for number in 0..COUNT {
        world.write(&format!("app/{}/{number}", number % 3), &format!("{number}\n").repeat(number));
        world.write(&format!("more/0/{number}"), "more");
    }
    world.write("app/large", &"x".repeat(200_000));
    world.write("app/0/sub/deep", "deep");
    world.write("more/0/sub/deep", "other");
    symlink("0/sub", world.context().join("app/link"))?;
    fs::hard_link(world.context().join("app/0/3"), world.context().join("app/0/same"))?;
    fs::set_permissions(world.context().join("app/1"), fs::Permissions::from_mode(0o2770))?;
    fs::set_permissions(world.context().join("app/1/1"), fs::Permissions::from_mode(0o4711))?;
    let image = world.build(
        "FROM base
RUN mkdir -p /there/0 /real/there && echo old > /there/0/3 && ln -s real /alias
COPY app /new
COPY --chown=7:8 app /there
COPY app /alias/there
COPY app more /both/
COPY app /again
COPY more /again
COPY --link app /linked",
    );
    let files = Files::of(&image);
    for place in ["new", "there", "real/there", "linked"] {
        for number in 0..COUNT {
            let path = format!("{place}/{}/{number}", number % 3);
            assert!(files.read(&path) == Some(format!("{number}\n").repeat(number)), "{path}");
        }
        assert_eq!(files.read(&format!("{place}/large")).unwrap().len(), 200_000);
        assert_eq!(files.read(&format!("{place}/link/deep")).unwrap(), "deep");
        let inode = |path: &str| files.metadata(&format!("{place}/0/{path}")).unwrap().st_ino;
        assert_eq!(inode("3"), inode("same"), "{place}");
        let owner = if place == "there" { (7, 8) } else { (0, 0) };
        assert_eq!(files.stat(&format!("{place}/1")), (0o2770, owner.0, owner.1));
        assert_eq!(files.stat(&format!("{place}/1/1")), (0o4711, owner.0, owner.1));
        assert_eq!(files.stat(&format!("{place}/1/4")), (0o644, owner.0, owner.1));
    }
    for place in ["both", "again"] {
        assert_eq!(files.read(&format!("{place}/0/0")).unwrap(), "more");
        assert_eq!(files.read(&format!("{place}/0/sub/deep")).unwrap(), "other");
        assert_eq!(files.read(&format!("{place}/0/299")).unwrap(), "more");
        assert_eq!(files.read(&format!("{place}/2/299")).unwrap(), "299\n".repeat(299));
    }
    // The archive of each layer says the same as its directory.
    let archive = world.dir.path().join("saved.tar");
    world.store.save(&["built".to_owned()], fs::File::create(&archive)?)?;
    let other = World::new();
    other.store.load(fs::File::open(&archive)?, &images::Platform::host())?;
    let loaded = other.store.find("built")?.unwrap();
    let unpacked = Files::of(&loaded);
    for place in ["new", "there", "real/there", "linked", "both", "again"] {
        for directory in ["", "/0", "/1", "/2", "/0/sub"] {
            let directory = format!("{place}{directory}");
            assert_eq!(files.list(&directory), unpacked.list(&directory));
            for name in files.list(&directory) {
                let path = format!("{directory}/{name}");
                assert!(files.read(&path) == unpacked.read(&path), "{path}");
                assert_eq!(files.stat(&path), unpacked.stat(&path), "{path}");
            }
        }
    }
    Ok(())
}

fn heredocs() -> Result<(), Failed> {
    let world = World::new();
    let files = Files::of(&world.build(
        "FROM base
ENV NAME=world
COPY <<hello.txt <<'raw' /texts/
hello \"$NAME\"
hello.txt
$NAME
raw
COPY --chmod=755 <<EOF /usr/local/bin/tool
#!/bin/sh
echo \\$1
EOF",
    ));
    assert_eq!(files.read("texts/hello.txt").unwrap(), "hello \"world\"\n");
    assert_eq!(files.read("texts/raw").unwrap(), "$NAME\n");
    assert_eq!(files.read("usr/local/bin/tool").unwrap(), "#!/bin/sh\necho $1\n");
    assert_eq!(files.stat("usr/local/bin/tool").0, 0o755);
    Ok(())
}

fn adding() -> Result<(), Failed> {
    let world = World::new();
    let mut archive = tar::Builder::new(Vec::new());
    for name in ["in/side", ".wh.kept"] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_uid(9);
        header.set_gid(9);
        header.set_size(4);
        archive.append_data(&mut header, name, &b"text"[..])?;
    }
    let archive = archive.into_inner()?;
    fs::write(world.context().join("a.tar"), &archive)?;
    let zipped = zstd_of(&archive);
    fs::write(world.context().join("a.tar.zst"), zipped)?;
    fs::write(world.context().join("a.tar.bz2"), bzip2_of(&archive))?;
    fs::write(world.context().join("a.txz"), xz())?;
    world.write("plain.gz", "no archive");
    fs::write(world.dir.path().join("served/file.bin"), "fetched")?;
    let digest = images::Digest::of(b"fetched");
    let files = Files::of(&world.build(&format!(
        "FROM base
ADD a.tar /plain/
ADD --chown=5:6 a.tar.zst /zipped
ADD a.tar.bz2 /bzip2/
ADD a.txz /xz/
ADD --unpack=false a.tar /kept/
ADD plain.gz /etc/
ADD --checksum={digest} http://test/file.bin?x=1 /fetched/
ADD --chmod=644 http://test/file.bin /as-file"
    )));
    assert_eq!(files.stat("plain/in/side"), (0o600, 9, 9));
    assert_eq!(files.list("plain"), [".wh.kept", "in"]);
    assert_eq!(files.list("bzip2"), [".wh.kept", "in"]);
    assert_eq!(files.stat("xz/in/side"), (0o600, 9, 9));
    assert_eq!(files.stat("zipped/in/side"), (0o600, 5, 6));
    assert!(
        files.exists("kept/a.tar") && files.exists("etc/plain.gz") && files.exists("etc/passwd")
    );
    assert_eq!(files.read("fetched/file.bin").unwrap(), "fetched");
    assert_eq!((files.stat("fetched/file.bin").0, files.stat("as-file").0), (0o600, 0o644));
    for path in ["fetched/file.bin", "as-file"] {
        assert_eq!(files.metadata(path).unwrap().st_mtime.cast_unsigned(), CHANGED, "{path}");
    }
    fs::write(world.dir.path().join("served/a.tar"), &archive)?;
    let files = Files::of(&world.build(
        "FROM base\nADD --chown=5:6 http://test/a.tar /kept/\nADD --unpack=true http://test/a.tar /open/",
    ));
    assert_eq!(files.stat("kept/a.tar"), (0o600, 5, 6));
    assert_eq!(files.list("open"), [".wh.kept", "in"]);
    let nameless = world.fail("FROM base\nADD http://test/ /dir/");
    assert!(nameless.problems[0].message.contains("no name"), "{nameless}");
    // What is known by its digest is not fetched again.
    let known = format!("FROM base\nADD --checksum={digest} http://test/file.bin /known");
    world.build(&known);
    fs::remove_file(world.dir.path().join("served/file.bin"))?;
    world.build(&known);
    assert_eq!(world.cached(), [true]);
    fs::write(world.dir.path().join("served/file.bin"), "fetched")?;
    let other = images::Digest::of(b"other");
    let wrong = world.fail(&format!("FROM base\nADD --checksum={other} http://test/file.bin /"));
    assert!(wrong.problems[0].message.contains("has the digest"), "{wrong}");
    // What only looks like an archive is a file.
    fs::write(world.context().join("b.tar.xz"), b"\xfd7zXZ\0 and more")?;
    let other = Files::of(&world.build("FROM base\nADD b.tar.xz /b/"));
    assert!(other.exists("b/b.tar.xz"));
    Ok(())
}

/// An archive of one file, `in/side`, compressed with xz.
const XZ: &str = "fd377a585a000004e6d6b4460200210116000000742fe5a3e027ff00605d00349b81e5b9c6bb7f6961a12169a1c397476c55\
    ce53a1a0551c6ed1cef4f52512ca38ef0701d61997efdff0f0c25f716c5cd16e16d3c939d37901931e2c3d1adf8f53c68da3\
    d947367eee7cdc88f253afb54fef9b767a8ca8ba280796a9edf400004e33811792d743d400017c805000000057a65ec5b1c4\
    67fb020000000004595a";

fn xz() -> Vec<u8> {
    let digits = XZ.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn bzip2_of(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = bzip2::read::BzEncoder::new(bytes, bzip2::Compression::fast());
    std::io::Read::read_to_end(&mut encoder, &mut out).unwrap();
    out
}

fn zstd_of(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn linked() -> Result<(), Failed> {
    let world = World::new();
    world.write("file", "f");
    let one = world.build("FROM base\nCOPY --link file /etc/linked");
    let other = world.build("FROM base\nRUN echo changed > /x\nCOPY --link file /etc/linked");
    assert_eq!(world.cached(), [false, true]);
    assert_eq!(one.layers[0], other.layers[0]);
    let files = Files::of(&other);
    assert!(files.exists("etc/linked") && files.exists("etc/passwd"));
    Ok(())
}

fn contexts() -> Result<(), Failed> {
    let world = World::new();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    let text = b"FROM base\nCOPY Dockerfile /copied\n";
    header.set_size(text.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "Dockerfile", &text[..])?;
    let path = world.dir.path().join("context.tar");
    fs::write(&path, archive.into_inner()?)?;
    let mut recipe = images::build::Recipe::new(Source::parse(path.to_str().unwrap())?);
    recipe.names = vec!["built".parse()?];
    assert!(Files::of(&world.build_with(&recipe)).exists("copied"));
    if std::process::Command::new("git").arg("--version").output().is_err() {
        return Ok(());
    }
    let repository = world.dir.path().join("repository.git");
    fs::create_dir_all(repository.join("sub"))?;
    fs::write(repository.join("sub/Dockerfile"), "FROM base\nCOPY . /all\n")?;
    let script =
        "git init -q -b trunk . && git add . && git -c user.name=n -c user.email=e commit -q -m m";
    let done =
        std::process::Command::new("sh").args(["-c", script]).current_dir(&repository).status()?;
    assert!(done.success());
    let url = format!("file://{}#trunk:sub", repository.display());
    recipe.context = Source::parse(&url)?;
    assert_eq!(Files::of(&world.build_with(&recipe)).list("all"), ["Dockerfile"]);
    assert_eq!(world.cached(), [false]);
    world.build_with(&recipe);
    assert_eq!(world.cached(), [true]);
    recipe.context = Source::parse(&format!("file://{}#absent", repository.display()))?;
    assert!(world.try_build(&recipe).unwrap_err().to_string().contains("git cannot fetch"));
    Ok(())
}

fn fetched_contexts() -> Result<(), Failed> {
    let world = World::new();
    let mut archive = tar::Builder::new(Vec::new());
    for (name, text) in [("sub/Dockerfile", "FROM base\nCOPY . /all\n"), ("file", "f")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, text.as_bytes())?;
    }
    let served = world.dir.path().join("served");
    fs::write(served.join("context.tar.zst"), zstd_of(&archive.into_inner()?))?;
    fs::write(served.join("recipe.txt"), "FROM base\nCOPY . /alone\n")?;
    let mut recipe = images::build::Recipe::new(Source::parse("http://test/context.tar.zst")?);
    recipe.dockerfile = images::build::DockerfileSource::File("sub/Dockerfile".into());
    recipe.names = vec!["built".parse()?];
    assert_eq!(Files::of(&world.build_with(&recipe)).list("all"), ["file", "sub"]);
    world.build_with(&recipe);
    assert_eq!(world.cached(), [true]);
    recipe.dockerfile = images::build::DockerfileSource::File("absent".into());
    let refused = world.try_build(&recipe).unwrap_err().to_string();
    assert!(refused.contains("http://test/context.tar.zst/absent"), "{refused}");
    fs::write(served.join("wrong.txt"), "FORM base\n")?;
    recipe.context = Source::parse("http://test/wrong.txt")?;
    assert_eq!(world.fail_with(&recipe).name, "http://test/wrong.txt");
    recipe.context = Source::parse("http://test/recipe.txt")?;
    assert_eq!(Files::of(&world.build_with(&recipe)).list("alone"), ["Dockerfile"]);
    recipe.context = Source::parse("http://test/absent")?;
    let refused = world.try_build(&recipe).unwrap_err().to_string();
    assert!(refused.contains("cannot fetch http://test/absent"), "{refused}");
    Ok(())
}

fn working_directory() -> Result<(), Failed> {
    let world = World::new();
    let image = world.build("FROM base\nENV D=deep\nWORKDIR /a/$D/er\nWORKDIR /a\nRUN pwd > here");
    let files = Files::of(&image);
    assert_eq!(files.stat("a/deep/er"), (0o755, 0, 0));
    assert_eq!(files.read("a/here").unwrap(), "/a\n");
    let shown = |text: &str| {
        world.build(&format!("FROM base\n{text}\nRUN pwd > /here"));
        world.config("built")["WorkingDir"].as_str().unwrap().to_owned()
    };
    // An absolute one as it is written, a relative one as it is meant: as docker does.
    assert_eq!(shown("WORKDIR /a/../b/"), "/a/../b/");
    assert_eq!(shown("WORKDIR /a/../b/\nWORKDIR c/"), "/b/c");
    Ok(())
}
