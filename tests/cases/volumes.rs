//! Volumes, bind mounts, memory.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use scenarios::{Stage, Verdict};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("a_named_volume_outlives_down_and_not_down_with_volumes", named),
        Scenario::plain("an_empty_volume_is_filled_from_the_image", filled),
        Scenario::plain("anonymous_volumes_go_with_their_container", anonymous),
        Scenario::plain("a_changed_volume_is_made_anew_only_if_that_is_agreed_to", changed),
        Scenario::plain("bind_mounts_show_the_host", bind),
        Scenario::plain("a_missing_bind_source_is_named", missing_source),
        Scenario::plain("folders_without_bottom_are_removed", bottomless),
        Scenario::plain("an_external_volume_is_found_and_never_removed", external),
    ]
}

/// A service that waits, with these volumes.
fn service(volumes: &str) -> String {
    format!(
        "services: {{box: {{image: 'rootfs:/', init: true, command: sleep infinity, volumes: [{volumes}]}}}}\n"
    )
}

fn names(stage: &Stage) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let listed = stage.compose(["volume", "ls", "--quiet"]).success()?.stdout;
    Ok(listed.lines().map(str::to_owned).collect())
}

fn named(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        &format!("{}volumes: {{data: {{labels: {{a: b}}}}}}\n", service("'data:/mnt'")),
    )?;
    stage.compose(["up", "--detach"]).success()?;
    stage.compose(["exec", "-T", "box", "sh", "-c", "echo kept > /mnt/file"]).success()?;
    stage.compose(["down"]).success()?;
    let name = format!("{}_data", stage.project);
    assert_eq!(names(stage)?, [name.as_str()]);
    let shown = stage.compose(["volume", "inspect", &name]).success()?.stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown)?;
    assert_eq!(shown[0]["Labels"]["a"], "b");
    assert_eq!(shown[0]["Labels"]["com.docker.compose.project"], stage.project);
    stage.compose(["up", "--detach"]).success()?;
    stage.compose(["exec", "-T", "box", "cat", "/mnt/file"]).success()?.says("kept")?;
    stage.compose(["volume", "rm", &name]).code(1)?.complains("box-1")?;
    stage.compose(["down", "--volumes"]).success()?;
    assert_eq!(names(stage)?, [""; 0]);
    Ok(())
}

fn changed(stage: &Stage) -> Verdict {
    let write = |label: &str| {
        let volume = format!("volumes: {{data: {{labels: {{a: {label}}}}}}}\n");
        stage.file("compose.yaml", &format!("{}{volume}", service("'data:/mnt'")))
    };
    let content = || stage.compose(["exec", "-T", "box", "sh", "-c", "cat /mnt/file; true"]);
    write("b")?;
    stage.compose(["up", "--detach"]).success()?;
    stage.compose(["exec", "-T", "box", "sh", "-c", "echo kept > /mnt/file"]).success()?;
    let id = stage.field("box", "ID")?;
    write("c")?;
    // Nobody can be asked: the answer is no.
    stage.compose(["up", "--detach"]).success()?.complains("is kept")?;
    assert_eq!(stage.field("box", "ID")?, id);
    let mut up = stage.start_on_terminal(&stage.compose_command(["up", "--detach"]))?;
    up.say("n\n")?;
    let said = up.finish(Duration::from_secs(30))?.success()?.stdout;
    assert!(said.contains("Its data will be lost. [yN]"), "{said}");
    content().success()?.says("kept")?;
    stage.compose(["--dry-run", "create", "--yes"]).success()?.says("remove volume")?;
    stage.compose(["plan", "--yes"]).code(2)?.says("remove volume")?;
    stage.compose(["plan"]).success()?.says("nothing to do")?;
    content().success()?.says("kept")?;
    let mut up = stage.start_on_terminal(&stage.compose_command(["up", "--detach"]))?;
    up.say("y\n")?;
    up.finish(Duration::from_secs(30))?.success()?;
    assert_eq!(content().success()?.stdout, "");
    assert_ne!(stage.field("box", "ID")?, id);
    let label = |label: &str| -> Verdict {
        let name = format!("{}_data", stage.project);
        let shown = stage.compose(["volume", "inspect", &name]).success()?.stdout;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        assert_eq!(shown[0]["Labels"]["a"], label);
        Ok(())
    };
    label("c")?;
    write("d")?;
    stage.compose(["create", "-y"]).success()?;
    label("d")?;
    // A one-off that has it is not removed for that.
    stage.compose(["run", "--detach", "box"]).success()?;
    write("e")?;
    stage.compose(["up", "-dy"]).code(1)?.complains("cannot be made anew")?;
    label("d")?;
    stage.compose(["down", "--volumes", "--remove-orphans", "-t", "0"]).success()?;
    Ok(())
}

fn filled(stage: &Stage) -> Verdict {
    let root = stage.folder.join("root");
    for folder in ["srv/data/inner", "proc", "sys", "dev", "etc", "tmp"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for folder in ["bin", "usr", "lib", "lib64"] {
        let _absent_on_some = rustix::fs::symlink(format!("/host/{folder}"), root.join(folder));
    }
    fs::write(root.join("srv/data/inner/file"), "from the image")?;
    std::os::unix::fs::chown(root.join("srv/data"), Some(1234), Some(1235))?;
    let text = "
services:
  box:
    image: rootfs:ROOT
    init: true
    command: sleep infinity
    volumes:
      - data:/srv/data
      - {type: volume, source: bare, target: /srv/bare, volume: {nocopy: true}}
      - /usr:/host/usr:ro
      - /usr/bin:/host/bin:ro
      - /usr/lib:/host/lib:ro
      - /usr/lib64:/host/lib64:ro
volumes: {data: {}, bare: {}}
";
    stage.file("compose.yaml", &text.replace("ROOT", &root.to_string_lossy()))?;
    stage.compose(["up", "--detach"]).success()?;
    stage
        .compose(["exec", "-T", "box", "cat", "/srv/data/inner/file"])
        .success()?
        .says("from the image")?;
    let data = stage.roots.join(format!("data/volumes/{}_data/_data", stage.project)).metadata()?;
    assert_eq!((data.uid(), data.gid()), (1234, 1235));
    stage.compose(["down", "--volumes"]).success()?;
    Ok(())
}

fn anonymous(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", &service("/mnt"))?;
    stage.compose(["up", "--detach"]).success()?;
    let made = names(stage)?;
    assert!(matches!(made.as_slice(), [only] if only.len() == 64), "{made:?}");
    // A container that is replaced hands them on.
    stage.compose(["exec", "-T", "box", "sh", "-c", "echo kept > /mnt/file"]).success()?;
    stage.compose(["up", "--detach", "--force-recreate"]).success()?;
    stage.compose(["exec", "-T", "box", "cat", "/mnt/file"]).success()?.says("kept")?;
    assert_eq!(names(stage)?, made);
    stage.compose(["down", "--volumes"]).success()?;
    assert_eq!(names(stage)?, [""; 0]);
    Ok(())
}

fn bind(stage: &Stage) -> Verdict {
    stage.file("shared/file", "of the host")?;
    stage.file(
        "compose.yaml",
        &service("'./shared:/mnt', './made:/srv', './shared/file:/opt/file:ro'"),
    )?;
    stage.compose(["up", "--detach"]).success()?;
    stage
        .compose(["exec", "-T", "box", "cat", "/mnt/file", "/opt/file"])
        .success()?
        .says("of the hostof the host")?;
    stage
        .compose(["exec", "-T", "box", "sh", "-c", "echo x > /opt/file"])
        .code(2)?
        .complains("Read-only")?;
    stage.compose(["exec", "-T", "box", "touch", "/srv/of-the-container"]).success()?;
    assert!(stage.folder.join("made/of-the-container").exists());
    stage.compose(["down", "--volumes"]).success()?;
    assert!(stage.folder.join("shared/file").exists());
    Ok(())
}

fn missing_source(stage: &Stage) -> Verdict {
    let mount = "{type: bind, source: ./not-there, target: /mnt, bind: {create_host_path: false}}";
    stage.file("compose.yaml", &service(mount))?;
    stage.compose(["up", "--detach"]).code(1)?.complains("not-there does not exist")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn external(stage: &Stage) -> Verdict {
    stage.file(
        "compose.yaml",
        &format!("{}volumes: {{data: {{external: true, name: ours}}}}\n", service("'data:/mnt'")),
    )?;
    stage.compose(["up", "--detach"]).code(1)?.complains("ours")?;
    stage.compose(["volume", "create", "ours"]).success()?;
    stage.compose(["up", "--detach"]).success()?;
    stage.compose(["exec", "-T", "box", "touch", "/mnt/file"]).success()?;
    stage.compose(["down", "--volumes"]).success()?;
    assert_eq!(names(stage)?, ["ours"]);
    assert!(stage.roots.join("data/volumes/ours/_data/file").exists());
    stage.compose(["volume", "rm", "ours"]).success()?;
    Ok(())
}

fn bottomless(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", &format!("{}volumes: {{data: {{}}}}\n", service("'data:/mnt'")))?;
    stage.compose(["up", "--detach"]).success()?;
    // Deeper than a process may have files open, and than a path may be long.
    for top in ["/mnt", "/tmp"] {
        let dig = format!(
            "import os, tempfile; os.chdir(tempfile.mkdtemp(dir='{top}'))\nfor _ in range(5000): os.mkdir('d'); os.chdir('d')"
        );
        stage.compose(["exec", "-T", "box", "python3", "-c", &dig]).success()?;
    }
    stage.compose(["down", "--volumes"]).success()?;
    assert_eq!(names(stage)?, [""; 0]);
    let left: Vec<_> = fs::read_dir(stage.roots.join("data/volumes"))?.flatten().collect();
    assert!(left.iter().all(|entry| entry.file_name() == ".lock"), "{left:?}");
    Ok(())
}
