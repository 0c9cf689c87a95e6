//! `plan` and `up --plan`: what would be done, and exactly that.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use scenarios::{Need, Stage, Verdict};

use super::build::base;
use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("plan_tells_what_up_would_do_and_changes_nothing", tells),
        Scenario::needing(
            "plan_makes_no_call_that_changes_anything",
            &[Need::Root, Need::Trace],
            only_looks,
        ),
        Scenario::plain("plan_is_carried_out_exactly_or_not_at_all", carries_out),
        Scenario::plain("plan_has_builds_and_they_are_carried_out", builds),
    ]
}

fn compose_file(stage: &Stage, web: &str) -> Verdict {
    let text = format!(
        "services:\n  web:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n{web}  db:\n    image: base\n    command: sleep 600\n    \
         stop_grace_period: 0s\n"
    );
    Ok(stage.file("compose.yaml", &text)?)
}

/// Every file with its size and the time of its last change.
fn files(folder: &Path) -> BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(look) = fs::symlink_metadata(&path) else { continue };
        found.insert(path.clone(), (look.size(), look.mtime(), look.mtime_nsec()));
        if look.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            open.extend(entries.map(|entry| entry.path()));
        }
    }
    found
}

fn tells(stage: &Stage) -> Verdict {
    base(stage)?;
    compose_file(stage, "")?;
    stage.compose(["plan"]).code(2)?.says("web-1: missing")?.says("steps")?;
    assert!(stage.containers()?.is_empty());
    stage.compose(["up", "--detach"]).success()?;
    let before = files(&stage.roots.join("data"));
    stage.compose(["plan"]).success()?.says("nothing to do")?;
    compose_file(stage, "    environment: {COLOUR: red}\n")?;
    let plan = stage.compose(["diff"]).code(2)?;
    let plan = plan.says("-web-1: environment.COLOUR")?.says("changed, compose.yaml:6:")?;
    assert!(!plan.stdout.contains("db"), "{}", plan.stdout);
    assert_eq!(files(&stage.roots.join("data")), before);
    // What is odd is no part of the result.
    stage.compose(["run", "-T", "web", "id"]).success()?;
    for (words, code) in [(&["plan"][..], 2), (&["up", "--dry-run"], 0)] {
        let run = stage.compose(words).code(code)?;
        let run = run.complains("warning: found orphan containers")?;
        assert!(!run.stdout.contains("orphan"), "{}", run.stdout);
    }
    let before = files(&stage.roots.join("data"));
    let json = stage.compose(["plan", "--format", "json"]).code(2)?.stdout;
    let plans: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(plans[0]["steps"][0]["action"], "create_container");
    assert_eq!(files(&stage.roots.join("data")), before);
    stage.compose(["down", "--remove-orphans"]).success()?;
    Ok(())
}

/// Calls that change something, or make somebody else do so. What is opened is looked at more closely.
const CALLS: &str = "open,openat,openat2,creat,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,renameat2,link,linkat,\
    symlink,symlinkat,mknod,mknodat,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,truncate,ftruncate,fallocate,utimensat,\
    setxattr,lsetxattr,fsetxattr,mount,umount2,move_mount,fsmount,pivot_root,unshare,setns,kill,tkill,tgkill,pidfd_send_signal,\
    fork,vfork,clone,clone3,execve,execveat,socket,bind,connect,sendto,sendmsg,sethostname,bpf,keyctl,pwrite64,pwritev,writev,\
    copy_file_range,sendfile,splice,sync,syncfs,fsync,fdatasync";

/// The calls of `words`, but for its own beginning and what it opens to read.
fn changes(stage: &Stage, words: &[&str]) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let told = stage.folder.join("calls");
    let compose = stage.compose_command(words);
    let mut traced = stage.command("strace");
    traced.args(["-f", "-qq", "-e", "signal=none", "-e"]).arg(format!("trace={CALLS}")).arg("-o");
    traced.arg(&told).arg(compose.get_program()).args(compose.get_args());
    let run = stage.run(traced, None);
    assert!(!run.timed_out && run.stderr.is_empty(), "{run:?}");
    let calls = fs::read_to_string(told)?;
    let call = |line: &str| line.split_once(' ').map(|(_, call)| call.trim().to_owned());
    let mut calls: Vec<String> = calls.lines().filter_map(call).collect();
    assert!(calls.first().is_some_and(|first| first.starts_with("execve(")), "{calls:?}");
    calls.remove(0);
    let only_reads = |call: &String| {
        let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_TMPFILE"];
        call.starts_with("open") && !writes.iter().any(|flag| call.contains(flag))
    };
    calls.retain(|call| !only_reads(call) && !call.starts_with("+++"));
    Ok(calls)
}

fn only_looks(stage: &Stage) -> Verdict {
    // Nothing is there yet, not even the folders of the stores.
    let none: Vec<String> = Vec::new();
    stage.file("compose.yaml", "services: {web: {image: 'rootfs:/', command: sleep 600}}")?;
    assert_eq!(changes(stage, &["plan"])?, none);
    base(stage)?;
    compose_file(stage, "    ports: ['127.0.0.1:8080:80']\n    volumes: [data:/data]\n")?;
    let mut text = fs::read_to_string(stage.folder.join("compose.yaml"))?;
    text.push_str("volumes: {data: {}}\n");
    stage.file("compose.yaml", &text)?;
    for words in [&["plan"][..], &["diff"], &["up", "--dry-run"]] {
        assert_eq!(changes(stage, words)?, none, "{words:?}");
    }
    stage.compose(["up", "--detach"]).success()?;
    stage.file("compose.yaml", &text.replace("sleep 600", "sleep 601"))?;
    for words in [&["plan"][..], &["plan", "--format", "json"], &["down", "--dry-run"]] {
        assert_eq!(changes(stage, words)?, none, "{words:?}");
    }
    stage.compose(["down", "--volumes"]).success()?;
    Ok(())
}

fn carries_out(stage: &Stage) -> Verdict {
    base(stage)?;
    compose_file(stage, "")?;
    stage.compose(["plan", "-o", "plan.json"]).code(2)?;
    stage.compose(["up", "--plan", "plan.json"]).success()?;
    assert_eq!(stage.field("web", "State")?, "running");
    let web = stage.field("web", "ID")?;
    // What was planned for is not there any more: nothing is done.
    stage.compose(["up", "--plan", "plan.json"]).code(1)?.complains("the plan is out of date")?;
    compose_file(stage, "    environment: {a: b}\n")?;
    stage.compose(["plan", "-o", "plan.json"]).code(2)?;
    // The plan has what the file said, and not what it says.
    compose_file(stage, "    environment: {a: c}\n")?;
    stage.compose(["rm", "--stop", "--force", "db"]).success()?;
    stage.compose(["up", "--plan", "plan.json"]).code(1)?.complains("the plan is out of date")?;
    assert_eq!(stage.field("web", "ID")?, web);
    stage.compose(["plan", "-o", "plan.json"]).code(2)?;
    stage.compose(["up", "--plan", "plan.json"]).success()?;
    assert_ne!(stage.field("web", "ID")?, web);
    stage.compose(["plan"]).success()?.says("nothing to do")?;
    stage.file("plan.json", "{}")?;
    stage.compose(["up", "--plan", "plan.json"]).code(2)?.complains("is no plan")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn builds(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    build: .\n    stop_grace_period: 0s\n  top:\n    build:\n      dockerfile_inline: FROM below\n      \
         additional_contexts: {below: 'service:web'}\n    stop_grace_period: 0s\n",
    )?;
    stage.file("Dockerfile", "FROM base\nCOPY page /page\nCMD sleep 600\n")?;
    stage.file("page", "one")?;
    let (web, top) = (format!("{}-web", stage.project), format!("{}-top", stage.project));
    stage.compose(["plan"]).code(2)?;
    let before = files(&stage.roots.join("data"));
    let dry = stage.compose(["--dry-run", "build"]).success()?;
    dry.says(&format!("DRY-RUN MODE - #1 build image {web} (requested) after {{}}"))?
        .says(&format!("DRY-RUN MODE - #2 build image {top} (requested) after {{1}}"))?;
    let dry = stage.compose(["--dry-run", "up", "--detach", "--build"]).success()?;
    dry.says(&format!("#1 build image {web} (requested)"))?.says("create")?;
    stage.compose(["--dry-run", "run", "top"]).success()?.says(&format!("build image {web}"))?;
    let plan = stage.compose(["plan"]).code(2)?;
    plan.says(&format!("build image {web}: missing\nbuild image {top}: missing\n"))?
        .says("web-1: missing")?;
    // Only the Dockerfile says what is fetched for a build.
    let text = "ARG OF=elsewhere\nFROM absent AS unused\nFROM $OF:1 AS made\nFROM base\nCOPY --from=made / /\nCOPY --from=other:2 / /\n";
    stage.file("Dockerfile", text)?;
    let plan = stage.compose(["plan"]).code(2)?;
    plan.says(&format!("build image {web} after fetching elsewhere:1, other:2: missing\n"))?
        .says(&format!("build image {top}: missing\n"))?;
    stage.file("Dockerfile", "FROM base\nCOPY page /page\nCMD sleep 600\n")?;
    assert_eq!(files(&stage.roots.join("data")), before);

    stage.compose(["plan", "-o", "plan.json"]).code(2)?;
    let saved: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(stage.folder.join("plan.json"))?)?;
    assert_eq!(saved["plans"][0]["steps"][1]["action"], "build_image");
    assert_eq!(saved["plans"][0]["steps"][1]["image"], *top);
    let up = stage.compose(["up", "--plan", "plan.json"]).success()?;
    up.complains(&format!("Image {web}  Built"))?;
    assert_eq!(stage.field("top", "State")?, "running");
    stage.compose(["plan"]).success()?.says("nothing to do")?;

    // What is built again need not be another image.
    let first = stage.field("web", "ID")?;
    stage.compose(["plan", "--build"]).code(2)?.says(&format!("build image {web}: requested"))?;
    stage.compose(["up", "--detach", "--build"]).success()?.complains("cached")?;
    assert_eq!(stage.field("web", "ID")?, first);
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    build: {context: ., additional_contexts: {a: 'service:web'}}\n",
    )?;
    stage
        .compose(["build"])
        .code(1)?
        .complains("images are built on each other: web")?
        .complains("compose.yaml:3:")?;
    stage.compose(["down", "--remove-orphans"]).success()?;
    Ok(())
}
