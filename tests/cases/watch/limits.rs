//! Watches that the kernel has not got.

use std::fs;

use scenarios::{Stage, Verdict, eventually};

use super::super::build::base;
use super::{BOUND, counted, end, save, synced};

pub(super) fn runs_out(stage: &Stage) -> Verdict {
    synced(stage)?;
    (0..20).try_for_each(|folder| stage.file(&format!("src/{folder}/file"), ""))?;
    stage.compose(["up", "--detach"]).success()?;
    // One watch too few, with nothing to take over; and no instance.
    for (limits, told) in [
        ([("max_inotify_watches", 10), ("max_fanotify_groups", 0)], "fs.inotify.max_user_watches"),
        ([("max_inotify_watches", 10), ("max_fanotify_marks", 2)], "fs.inotify.max_user_watches"),
        (
            [("max_inotify_instances", 0), ("max_fanotify_groups", 0)],
            "fs.inotify.max_user_instances",
        ),
    ] {
        let run = stage.run(stage.limited_command(["watch", "--no-up"], &limits), None).code(1)?;
        run.says(&format!("of {told} are in use"))?.says(&format!("`sysctl -w {told}="))?;
    }
    stage.compose(["down"]).success()?;
    Ok(())
}

/// Each change is a restart, which the supervisor makes: whoever watches here may do nothing else.
pub(super) fn takes_over(stage: &Stage) -> Verdict {
    base(stage)?;
    counted::file(stage, ":", "{action: restart, path: src}")?;
    (0..20).try_for_each(|folder| stage.file(&format!("src/{folder}/file"), ""))?;
    stage.compose(["up", "--detach"]).success()?;
    let mut starts = 1;
    for limit in ["max_inotify_watches", "max_inotify_instances"] {
        let value = u32::from(limit == "max_inotify_watches");
        let watch = stage.start(stage.limited_command(["watch", "--no-up"], &[(limit, value)]))?;
        eventually(BOUND, || match watch.said() {
            said if said.contains("Watch enabled") => Ok(()),
            said => Err(said.into()),
        })?;
        let at = |path: &str| stage.folder.join("src").join(path);
        let made = tempfile::tempdir_in(&stage.folder)?;
        fs::create_dir_all(made.path().join("new/deep"))?;
        let (new, file) = (at(limit), format!("src/{limit}/deep/file"));
        let changes: [&dyn Fn() -> Verdict; 6] = [
            &|| save(stage, "src/7/file", "saved"),
            &|| Ok(fs::rename(at("7/file"), at("7/renamed"))?),
            &|| Ok(fs::rename(at("7/renamed"), at("19/file"))?),
            &|| Ok(fs::remove_file(at("19/file"))?),
            &|| Ok(fs::rename(made.path().join("new"), &new)?),
            &|| save(stage, &file, "saved"),
        ];
        for change in changes {
            change()?;
            starts += 1;
            counted::expect(stage, starts)?;
        }
        end(watch)?;
    }
    stage.compose(["down"]).success()?;
    Ok(())
}
