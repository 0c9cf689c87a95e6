//! What goes wrong around the file: archives, disks, rights, other projects. `tests/broken/NAME.txt` has the answers.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use scenarios::{Run, Stage, Verdict};

use super::mistakes::{answer, expect};
use crate::Scenario;

const SLEEPER: &str = "services: {web: {image: 'rootfs:/', command: sleep infinity, init: true}}\n";

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("archive_that_is_missing", archive_missing),
        Scenario::plain("archive_that_is_none", archive_none),
        Scenario::plain("archive_that_is_cut_off", archive_cut_off),
        Scenario::plain("image_without_a_command", no_command),
        Scenario::plain("disk_full_while_importing", full_while_importing),
        Scenario::plain("disk_full_while_coming_up", full_while_coming_up),
        Scenario::plain("disk_that_is_read_only", read_only),
        Scenario::plain("not_root", not_root),
        Scenario::plain("container_name_of_another_project", name_taken),
        Scenario::plain("port_of_another_project", port_of_other),
        Scenario::plain("run_of_no_such_program", run_missing),
        Scenario::plain("run_of_what_is_no_program", run_not_executable),
        Scenario::plain("run_that_cannot_be_made", run_refused),
    ]
}

/// Compares what was said with the file that is called after the scenario.
fn told(stage: &Stage, run: &Run) -> Verdict {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("broken");
    expect(&folder, &stage.name, &steady(&answer(stage, run)))
}

/// The text without ids and times, which differ from run to run.
fn steady(text: &str) -> String {
    let is_time = |word: &str| word.starts_with("20") && word.trim_end().ends_with('Z');
    let words = text.split_inclusive(' ').map(|word| match word.rsplit_once('\n') {
        Some((line, time)) if is_time(time) => format!("{}\nTIME ", without_ids(line)),
        _ => without_ids(word),
    });
    words.collect()
}

fn without_ids(text: &str) -> String {
    let is_id = |part: &str| part.len() >= 12 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = text.split_inclusive(['/', '-', ' ', '\n']).map(|part| {
        let bare = part.trim_end_matches(['/', '-', ' ', '\n']);
        if is_id(bare) { part.replace(bare, "ID") } else { part.to_owned() }
    });
    parts.collect()
}

fn archive_missing(stage: &Stage) -> Verdict {
    told(stage, &stage.compose(["image", "import", "not-here.tar", "app"]))?;
    no_images(stage)
}

fn archive_none(stage: &Stage) -> Verdict {
    stage.file("words.tar", &"these are words and no archive\n".repeat(40))?;
    told(stage, &stage.compose(["image", "import", "words.tar", "app"]))?;
    no_images(stage)
}

fn archive_cut_off(stage: &Stage) -> Verdict {
    archive(stage, 1 << 20)?;
    File::options().write(true).open(stage.folder.join("root.tar"))?.set_len(300_000)?;
    told(stage, &stage.compose(["image", "import", "root.tar", "app"]))?;
    no_images(stage)
}

fn no_command(stage: &Stage) -> Verdict {
    archive(stage, 10)?;
    stage.compose(["image", "import", "root.tar", "app"]).success()?;
    stage.file("compose.yaml", "services:\n  web:\n    image: app\n")?;
    told(stage, &stage.compose(["up", "--detach"]))?;
    stage.check_nothing_left()
}

fn full_while_importing(stage: &Stage) -> Verdict {
    archive(stage, 4 << 20)?;
    let data = stage.roots.join("data");
    mount("tmpfs", &data, "tmpfs", MountFlags::empty(), c"size=1m")?;
    let run = stage.compose(["image", "import", "root.tar", "app"]);
    let left = no_images(stage);
    unmount(&data, UnmountFlags::DETACH)?;
    told(stage, &run)?;
    left
}

fn full_while_coming_up(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", SLEEPER)?;
    let data = stage.roots.join("data");
    mount("tmpfs", &data, "tmpfs", MountFlags::empty(), c"size=256k")?;
    let _full = fs::write(data.join("ballast"), [0; 256 << 10]);
    let run = stage.compose(["up", "--detach"]);
    fs::remove_file(data.join("ballast"))?;
    // With room again the same words do their work.
    let again = stage.compose(["up", "--detach"]).success().map(drop);
    let down = stage.compose(["down"]).success().map(drop);
    unmount(&data, UnmountFlags::DETACH)?;
    told(stage, &run)?;
    again?;
    Ok(down?)
}

fn read_only(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", SLEEPER)?;
    let data = stage.roots.join("data");
    mount("tmpfs", &data, "tmpfs", MountFlags::empty(), c"size=1m")?;
    mount_remount(&data, MountFlags::RDONLY, "")?;
    let run = stage.compose(["up", "--detach"]);
    unmount(&data, UnmountFlags::DETACH)?;
    told(stage, &run)
}

fn not_root(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", SLEEPER)?;
    let mut up = unprivileged(stage)?;
    up.args(["up", "--detach"]);
    told(stage, &stage.run(up, None))
}

/// The binary for user 65534, at a place that this user may enter.
fn unprivileged(stage: &Stage) -> Result<Command, Box<dyn std::error::Error>> {
    use std::os::unix::fs::PermissionsExt;
    let scratch = stage.folder.parent().ok_or("the folder has a parent")?;
    for open in [scratch, &stage.folder] {
        fs::set_permissions(open, fs::Permissions::from_mode(0o755))?;
    }
    let binary = scratch.join("compose");
    fs::copy(stage.compose_command(["version"]).get_program(), &binary)?;
    let mut command = stage.command(&binary);
    command.uid(65534).gid(65534);
    Ok(command)
}

fn name_taken(stage: &Stage) -> Verdict {
    let file = "services:\n  web:\n    image: rootfs:/\n    command: sleep infinity\n    init: true\n    container_name: the-one\n";
    stage.file("compose.yaml", file)?;
    beside_another(stage)
}

fn port_of_other(stage: &Stage) -> Verdict {
    let file = "services:\n  web:\n    image: rootfs:/\n    command: sleep infinity\n    init: true\n    ports: [\"127.0.0.1:8085:80\"]\n";
    stage.file("compose.yaml", file)?;
    beside_another(stage)
}

/// Brings the same file up as another project first.
fn beside_another(stage: &Stage) -> Verdict {
    let other = format!("{}other", stage.project);
    stage.compose(["--project-name", &other, "up", "--detach"]).success()?;
    let run = stage.compose(["up", "--detach"]);
    let listed = stage.containers().map(|own| own.is_empty());
    stage.compose(["--project-name", &other, "down"]).success()?;
    assert!(listed?, "something of the refused project is there");
    told(stage, &run)
}

fn run_missing(stage: &Stage) -> Verdict {
    run_once(stage, &["run", "--rm", "-T", "web", "not-a-program"])
}

fn run_not_executable(stage: &Stage) -> Verdict {
    run_once(stage, &["run", "--rm", "-T", "web", "/etc/passwd"])
}

fn run_refused(stage: &Stage) -> Verdict {
    run_once(stage, &["run", "--rm", "-T", "--volume", "data:relative", "web", "true"])
}

fn run_once(stage: &Stage, words: &[&str]) -> Verdict {
    stage.file("compose.yaml", "services:\n  web:\n    image: rootfs:/\n")?;
    let run = stage.compose(words);
    let left = stage.containers()?;
    assert!(left.is_empty(), "--rm removes what did not start as well, and here is {left:?}");
    stage.compose(["down"]).success()?;
    told(stage, &run)
}

/// A root file system of one file with `bytes` bytes, as `root.tar`.
fn archive(stage: &Stage, bytes: usize) -> Verdict {
    let noise: Vec<u8> = (0..bytes).map(|at| u8::try_from(at * 7919 % 251).unwrap_or(0)).collect();
    fs::create_dir_all(stage.folder.join("root"))?;
    fs::write(stage.folder.join("root/file"), noise)?;
    stage.client("tar", &["--create", "--file=root.tar", "--directory=root", "."]).success()?;
    Ok(())
}

fn no_images(stage: &Stage) -> Verdict {
    let listed = stage.compose(["image", "ls", "--quiet"]).success()?;
    assert_eq!(listed.stdout, "", "an image was made of it");
    Ok(())
}
