//! How much room everything takes, and making room beside what runs.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use scenarios::{Need, Stage, Verdict, eventually};

use super::flags::services;
use super::registry::{end, registry};
use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    const REGISTRY: &[Need] = &[Need::Root, Need::Registry];
    vec![
        Scenario::plain("what_nobody_uses_is_pruned", pruned),
        Scenario::needing("a_prune_beside_a_pull_takes_nothing_of_it", REGISTRY, beside),
        Scenario::needing("images_are_found_by_a_word", REGISTRY, search),
        Scenario::plain("flags_of_images", image_flags),
    ]
}

/// An image that runs the programs of the host, which are to be mounted.
fn image(stage: &Stage, name: &str, content: &str) -> Verdict {
    let root = stage.folder.join("root");
    for folder in ["proc", "sys", "dev", "etc", "tmp", "host"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for folder in ["bin", "usr", "lib", "lib64"] {
        let _there_already = rustix::fs::symlink(format!("/host/{folder}"), root.join(folder));
    }
    fs::write(root.join("content"), content)?;
    stage.client("tar", &["-C", "root", "-cf", "root.tar", "."]).success()?;
    stage.compose(["image", "import", "root.tar", name]).success()?;
    Ok(())
}

const PROJECT: &str = "
x-host: &host
  command: sleep infinity
  init: true
  volumes: ['/usr:/host/usr:ro', '/usr/bin:/host/bin:ro', '/usr/lib:/host/lib:ro', '/usr/lib64:/host/lib64:ro']
services:
  box: {<<: *host, image: app:used}
  job: {<<: *host, image: app:job, command: 'true', profiles: [jobs], volumes: [/anonymous], labels: {job: yes}}
";

/// The line of `system df` that begins so.
fn line(stage: &Stage, kind: &str) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let format = "{{.Type}}|{{.TotalCount}}|{{.Active}}";
    let shown = stage.compose(["system", "df", "--format", format]).success()?.stdout;
    let found = shown.lines().find(|line| line.starts_with(kind)).unwrap_or_default();
    Ok(found.split('|').skip(1).map(str::to_owned).collect())
}

fn pruned(stage: &Stage) -> Verdict {
    for (name, content) in
        [("app:used", "1"), ("app:job", "2"), ("app:free", "3"), ("app:moved", "4")]
    {
        image(stage, name, content)?;
    }
    image(stage, "app:moved", "5")?;
    stage.file("compose.yaml", PROJECT)?;
    stage.compose(["up", "--detach"]).success()?;
    // What ends at once, and stays: of `run`, with a volume that nobody named.
    let _failed = stage.compose(["run", "job"]);
    assert_eq!(line(stage, "Images")?, ["5", "2"]);
    assert_eq!(line(stage, "Containers")?, ["2", "1"]);
    assert_eq!(line(stage, "Local Volumes")?, ["1", "1"]);
    let verbose = stage.compose(["system", "df", "--verbose"]).success()?;
    verbose.says("Images space usage:")?.says("box-1")?.says("Build cache usage: 0B")?;

    // Nobody is there who could be asked.
    stage
        .compose(["system", "prune"])
        .code(1)?
        .complains("`compose system prune -f` does not ask")?;
    let prune = ["system", "prune", "--force"];
    let kept = stage.compose([&prune[..], &["--filter", "until=24h"]].concat()).success()?;
    kept.says("Total reclaimed space: 0B")?;
    let kept = stage.compose([&prune[..], &["--filter", "label!=job"]].concat()).success()?;
    assert!(!kept.stdout.contains("Deleted Containers"), "{}", kept.stdout);
    let until = ["--volumes", "--filter", "until=1h"];
    stage.compose([&prune[..], &until].concat()).code(2)?.complains("is not for volumes")?;

    let gone = stage.compose(prune).success()?.says("Deleted Containers:")?;
    assert!(!gone.stdout.contains("untagged"), "{}", gone.stdout);
    assert_eq!(line(stage, "Containers")?, ["1", "1"]);
    assert_eq!(line(stage, "Images")?, ["4", "1"]);
    assert_eq!(line(stage, "Local Volumes")?, ["1", "0"]);
    let all = stage.compose([&prune[..], &["--all", "--volumes"]].concat()).success()?;
    all.says("Deleted Volumes:")?.says("untagged: app:job")?.says("untagged: app:free")?;
    assert_eq!(line(stage, "Images")?, ["1", "1"]);
    assert_eq!(line(stage, "Local Volumes")?, ["0", "0"]);

    // What runs has noticed nothing, and can be made again.
    stage.compose(["image", "prune", "--all", "--force"]).success()?;
    stage.compose(["exec", "-T", "box", "cat", "/content"]).success()?.says("1")?;
    stage.compose(["up", "--detach", "--force-recreate"]).success()?;
    stage.compose(["image", "verify"]).success()?.says("1 images")?;
    stage.compose(["down"]).success()?;
    let last = stage.compose([&prune[..], &["--all"]].concat()).success()?;
    last.says("untagged: app:used")?;
    assert_eq!(line(stage, "Images")?, ["0", "0"]);
    Ok(())
}

/// Bytes of the parts of images that are on their way.
fn moving(stage: &Stage) -> u64 {
    let partial = stage.roots.join("data/images/partial");
    let length = |path: &Path| path.metadata().map_or(0, |found| found.len());
    fs::read_dir(partial).into_iter().flatten().flatten().map(|entry| length(&entry.path())).sum()
}

fn beside(stage: &Stage) -> Verdict {
    let registry = registry(stage, "127.0.0.1:5000", "")?;
    stage.client("mkdir", &["root"]).success()?;
    let mut noise = Vec::new();
    fs::File::open("/dev/urandom")?.take(16 << 20).read_to_end(&mut noise)?;
    fs::write(stage.folder.join("root/noise"), noise)?;
    stage.client("tar", &["-C", "root", "-cf", "root.tar", "."]).success()?;
    let name = "localhost:5000/app";
    stage.compose(["image", "import", "root.tar", name]).success()?;
    stage.compose(["image", "push", name]).success()?;
    let index = stage.roots.join("data/images/index.json");
    let mut met = false;
    for _ in 0..20 {
        stage.compose(["image", "rm", name]).success()?;
        let pull = stage.start(stage.compose_command(["image", "pull", name]))?;
        // Held in the middle, if it is met there.
        let seen = eventually(Duration::from_secs(60), || {
            let there = fs::read_to_string(&index)?.contains(name);
            if moving(stage) > 0 || there { Ok(()) } else { Err("not yet".into()) }
        });
        pull.signal(Signal::SIGSTOP)?;
        seen?;
        met = moving(stage) > 0;
        if met {
            for prune in [&["image", "prune", "--all", "--force"][..], &["system", "prune", "-af"]]
            {
                stage.compose(prune).success()?;
            }
            assert!(moving(stage) > 0, "what is on its way has been taken away");
        }
        pull.signal(Signal::SIGCONT)?;
        let pulled = pull.finish(Duration::from_secs(120))?;
        pulled.success()?.says(name)?;
        stage.compose(["image", "verify"]).success()?.says("1 images")?;
        if met {
            break;
        }
    }
    assert!(met, "no pull was met in the middle");
    stage.compose(["image", "prune", "--all", "--force"]).success()?.says("untagged")?;
    stage.compose(["image", "verify"]).success()?.says("0 images")?;
    end(registry)
}

fn search(stage: &Stage) -> Verdict {
    let registry = registry(stage, "127.0.0.1:5000", "")?;
    stage.client("mkdir", &["root"]).success()?;
    stage.client("tar", &["-C", "root", "-cf", "root.tar", "."]).success()?;
    for name in ["team/app", "team/apple", "other"] {
        let name = format!("localhost:5000/{name}");
        stage.compose(["image", "import", "root.tar", &name]).success()?;
        stage.compose(["image", "push", &name]).success()?;
    }
    let found = stage.compose(["image", "search", "localhost:5000/app"]).success()?;
    found.says("localhost:5000/team/apple")?.says("OFFICIAL")?;
    let names = ["image", "search", "--format", "{{.Name}}", "--limit", "1", "localhost:5000/app"];
    let one = stage.compose(names).success()?.stdout;
    assert_eq!(one, "localhost:5000/team/app\n");
    let none = ["image", "search", "--format", "{{.Name}}", "localhost:5000/none"];
    assert_eq!(stage.compose(none).success()?.stdout, "");
    stage.compose(["image", "search", "localhost:1/x"]).code(1)?.complains("cannot search for")?;
    end(registry)
}

fn image_flags(stage: &Stage) -> Verdict {
    stage.file("root/etc/one", "one\n")?;
    stage.client("tar", &["-cf", "root.tar", "-C", "root", "."]).success()?;
    let words = ["image", "import", "--change", "CMD [\"/none\"]", "root.tar", "own:1"];
    stage.compose(words).success()?;
    stage.compose(["image", "inspect", "own:1"]).success()?.says("/none")?;
    stage.file("more/etc/two", "two\n")?;
    stage.client("tar", &["-cf", "more.tar", "-C", "more", "."]).success()?;
    stage.compose(["image", "import", "--base", "own:1", "more.tar", "own:2"]).success()?;
    let history = |words: &[&str]| -> Result<String, Box<dyn std::error::Error>> {
        Ok(stage.compose([&["image", "history"], words, &["own:2"]].concat()).success()?.stdout)
    };
    assert_eq!(history(&["-q"])?.lines().count(), 2, "{}", history(&[])?);
    assert!(history(&["--no-trunc"])?.len() >= history(&[])?.len());
    assert!(history(&["--format", "json"])?.trim_start().starts_with(['{', '[']));
    stage.compose(["image", "save", "--output", "saved.tar", "own:2"]).success()?;
    services(stage, &[("web", "image: 'own:2'")])?;
    stage.compose(["create"]).success()?;
    let listed = stage.compose(["images", "--format", "json"]).success()?.stdout;
    assert!(serde_json::from_str::<serde_json::Value>(&listed)?[0]["Tag"] == "2", "{listed}");
    let ids = stage.compose(["images", "--quiet"]).success()?.stdout;
    assert_eq!(ids.split_whitespace().count(), 1, "{ids}");
    stage.compose(["down", "--rmi", "all"]).success()?;
    let left = || -> Result<String, Box<dyn std::error::Error>> {
        let format = "{{.Repository}}:{{.Tag}}";
        Ok(stage.compose(["image", "ls", "--format", format]).success()?.stdout)
    };
    assert_eq!(left()?.trim(), "own:1");
    let quiet = stage.compose(["image", "load", "--quiet", "--input", "saved.tar"]).success()?;
    assert_eq!(quiet.stderr, "");
    assert_eq!(left()?.lines().count(), 2);
    // The same for another machine, as the index of its archive says.
    stage.client("sh", &["-c", "mkdir saved && tar -xf saved.tar -C saved"]).success()?;
    let index = stage.folder.join("saved/index.json");
    let mut text: serde_json::Value = serde_json::from_str(&fs::read_to_string(&index)?)?;
    text["manifests"][0]["platform"] = serde_json::json!({"os": "linux", "architecture": "s390x"});
    fs::write(&index, text.to_string())?;
    fs::remove_file(stage.folder.join("saved/manifest.json"))?;
    stage.client("tar", &["-cf", "other.tar", "-C", "saved", "."]).success()?;
    stage.compose(["image", "load", "-i", "other.tar"]).code(1)?.complains("linux/s390x")?;
    let load = ["image", "load", "--platform", "linux/s390x", "-i", "other.tar"];
    stage.compose(load).success()?;
    let full = stage.compose(["image", "ls", "--no-trunc", "-q"]).success()?.stdout;
    let short = stage.compose(["image", "ls", "-q"]).success()?.stdout;
    assert!(full.len() > short.len(), "{full}{short}");
    services(stage, &[("web", "image: 'own:2', command: /none")])?;
    stage.compose(["create"]).success()?;
    assert!(stage.compose(["image", "rm", "own:2"]).success().is_err(), "a container has it");
    stage.compose(["down"]).success()?;
    stage.compose(["image", "rm", "own:2"]).success()?;
    Ok(())
}
