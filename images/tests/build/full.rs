//! A disk without room.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use libtest_mimic::Failed;

use super::Case;
use super::world::{Files, World};

pub const CASES: &[Case] = &[("a_full_disk_is_said_and_takes_nothing_along", full)];

/// Runs [`command`] on a small file system, in a mount namespace of its own.
fn full() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let script = "mount -t tmpfs -o size=10m none \"$0\" && exec \"$1\" full \"$0\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(dir.path()).arg(std::env::current_exe()?);
    let output = command.output()?;
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    Ok(())
}

/// Builds on the small file system that is named.
pub fn command(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let world = World::inside(words.next().unwrap().as_ref());
    world.build("FROM base\nRUN echo kept > /kept");
    // The command finds no room itself; or its layer has none beside what it has written, which cannot be compressed.
    for (step, words) in [
        ("RUN head -c 30000000 /dev/zero > /large", "the command has ended with exit code 1"),
        ("RUN head -c 4500000 /dev/urandom > /noise", "No space left on device"),
    ] {
        let refused = world.fail(&format!("FROM base\nRUN echo kept > /kept\n{step}"));
        assert_eq!(&refused.text[refused.problems[0].span.clone()], step);
        assert!(refused.problems[0].message.contains(words), "{refused}");
        assert_eq!(world.cached(), [true], "what was built before is kept");
        assert!(world.store.verify().unwrap().faults.is_empty());
    }
    let image = world.build("FROM base\nRUN echo kept > /kept\nRUN cat /kept > /again");
    assert_eq!(Files::of(&image).read("again").unwrap(), "kept\n");
    ExitCode::SUCCESS
}
