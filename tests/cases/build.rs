//! `build`: from a Dockerfile to a running container.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use scenarios::{Need, Stage, Verdict, eventually};

use super::registry::{end, registry};
use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("build_makes_what_up_runs", runs),
        Scenario::plain("build_again_is_found_and_a_change_recreates", changes),
        Scenario::plain("build_on_the_image_of_another_service", contexts),
        Scenario::plain("build_that_fails_is_told_where", fails),
        Scenario::plain("build_that_fails_can_be_looked_into", looks_into),
        Scenario::plain("build_is_given_up_with_ctrl_c", gives_up),
        Scenario::plain("build_has_what_its_client_has", lends),
        Scenario::plain("build_fetches_what_is_elsewhere", elsewhere),
        Scenario::needing(
            "build_on_what_only_a_registry_has",
            &[Need::Root, Need::Registry],
            fetches,
        ),
    ]
}

/// Brings an image called `base` in: a static busybox with its links.
pub(super) fn base(stage: &Stage) -> Verdict {
    let script = "mkdir -p root/bin root/etc root/tmp && cp /bin/busybox root/bin/ && \
        for name in sh cat echo env sleep id ip ls wget; do ln -s busybox root/bin/$name; done && \
        echo 'root:x:0:0::/root:/bin/sh' > root/etc/passwd && tar -C root -cf base.tar . && rm -r root";
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(&stage.folder);
    stage.run(command, None).success()?;
    stage.compose(["image", "import", "base.tar", "base"]).success()?;
    Ok(())
}

fn runs(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    build:\n      context: app\n      args: {GREETING: hello}\n      secrets: [token]\n      \
         labels: {own: label}\n      tags: [extra:tag]\nsecrets:\n  token: {file: token}\n",
    )?;
    stage.file("token", "s3cret")?;
    stage.file(
        "app/Dockerfile",
        "FROM base AS made\nARG GREETING\nRUN --mount=type=secret,id=token echo \"$GREETING $(cat /run/secrets/token)\" > /said\n\
         RUN ip route > /routes\nFROM made\nCOPY . /app/\nENV A=1\nWORKDIR /app\nCMD cat /said file && echo \"A=$A\" && sleep 600\n",
    )?;
    stage.file("app/file", "from the context\n")?;
    stage.file("app/hidden", "x")?;
    stage.file("app/.dockerignore", "hidden\n")?;
    stage.compose(["up", "--detach"]).success()?;
    let logs = || stage.compose(["logs", "--no-log-prefix"]).success();
    scenarios::eventually(std::time::Duration::from_secs(60), || {
        Ok(logs()?.says("hello s3cret")?.says("from the context")?.says("A=1")?)
    })?;
    let inside = |line: &str| stage.compose(["exec", "-T", "web", "sh", "-c", line]).success();
    inside("test -e hidden || echo absent")?.says("absent")?;
    inside("cat /routes")?.says("default via")?;
    let own = format!("{}-web", stage.project);
    stage.compose(["image", "inspect", &own]).success()?.says("\"own\": \"label\"")?;
    stage.compose(["image", "inspect", "extra:tag"]).success()?;
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

fn changes(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file("compose.yaml", "services:\n  web:\n    build: .\n    stop_grace_period: 0s\n")?;
    stage
        .file("Dockerfile", "FROM base\nCOPY page /page\nRUN cat /page > /copy\nCMD sleep 600\n")?;
    stage.file("page", "one")?;
    stage.compose(["up", "--detach"]).success()?;
    let first = stage.field("web", "ID")?;
    stage.compose(["build"]).success()?.complains("cached")?;
    stage.compose(["up", "--detach", "--build"]).success()?;
    assert_eq!(stage.field("web", "ID")?, first);
    stage.file("page", "two")?;
    stage.compose(["up", "--detach"]).success()?;
    assert_eq!(stage.field("web", "ID")?, first);
    stage.compose(["up", "--detach", "--build"]).success()?;
    assert_ne!(stage.field("web", "ID")?, first);
    stage.compose(["exec", "-T", "web", "cat", "/copy"]).success()?.says("two")?;

    let prune = |flags: &[&str]| stage.compose([&["builder", "prune"][..], flags].concat());
    prune(&[]).code(1)?.complains("`compose builder prune -f` does not ask")?;
    prune(&["-af", "--filter", "until=24h"]).success()?.says("Total: 0B")?;
    prune(&["-af", "--keep-storage", "1gb"]).success()?.says("Total: 0B")?;
    stage.compose(["build"]).success()?.complains("cached")?;
    let gone = prune(&["--all", "--force"]).success()?;
    assert!(!gone.stdout.contains("Total: 0B"), "{}", gone.stdout);
    let anew = stage.compose(["build"]).success()?;
    assert!(!anew.stderr.contains("cached"), "{}", anew.stderr);
    stage.compose(["down"]).success()?;
    Ok(())
}

fn contexts(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  app:\n    build:\n      dockerfile_inline: |\n        FROM shared\n        CMD cat /shared\n      \
         additional_contexts: {shared: 'service:common'}\n  common:\n    build:\n      dockerfile_inline: |\n        \
         FROM base\n        RUN echo from the other > /shared\n        CMD sleep 600\n",
    )?;
    stage.compose(["run", "--rm", "-T", "app"]).success()?.says("from the other")?;
    let printed = stage.compose(["build", "--print"]).success()?.says("target:common")?;
    let bake: serde_json::Value = serde_json::from_str(&printed.stdout)?;
    assert_eq!(bake["group"]["default"]["targets"], serde_json::json!(["common", "app"]));
    stage.compose(["down"]).success()?;
    Ok(())
}

fn fails(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file("compose.yaml", "services:\n  web:\n    build: .\n")?;
    stage.file("Dockerfile", "FROM base\nRUN echo what went wrong && \\\n  exit 7\n")?;
    stage
        .compose(["up", "--detach"])
        .code(1)?
        .complains("what went wrong")?
        .complains("the command has ended with exit code 7")?
        .complains("Dockerfile:2:1")?
        .complains("compose build --debug-on-failure web")?;
    stage.file("Dockerfile", "FORM base\nRUN true\n")?;
    stage.compose(["build", "--check"]).code(1)?.complains("did you mean FROM?")?;
    stage.compose(["up", "--detach", "--no-build"]).code(1)?;
    assert!(stage.containers()?.is_empty());
    Ok(())
}

/// `up` says how to get a shell in the step that has failed, and that is one.
fn looks_into(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file("compose.yaml", "services:\n  web:\n    build: .\n")?;
    stage.file("Dockerfile", "FROM base\nRUN echo was $((40+2)) > /left && exit 7\n")?;
    let hint = "look into the step with `compose build --debug-on-failure web`";
    stage.compose(["up", "--detach", "--build"]).code(1)?.complains(hint)?;
    stage.compose(["run", "--build", "web"]).code(125)?.complains(hint)?;
    let json = stage.compose(["--progress", "json", "up", "--detach"]).code(1)?;
    json.complains("\"file\":")?.complains("\"line\":2")?.complains(hint)?;
    let words = ["build", "--debug-on-failure", "web"];
    let mut shell = stage.start_on_terminal(&stage.compose_command(words))?;
    eventually(Duration::from_secs(60), || {
        shell.say("cat /left\r")?;
        match shell.said() {
            said if said.contains("was 42") => Ok(()),
            said => Err(said.into()),
        }
    })?;
    shell.say("exit\r")?;
    shell.finish(Duration::from_secs(60))?.code(1)?.says(hint)?;
    Ok(())
}

/// Whoever asks for a build ends it by leaving, and so does a command that takes the project away.
fn gives_up(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file("compose.yaml", "services:\n  web:\n    build: .\n    stop_grace_period: 0s\n")?;
    stage.file("Dockerfile", "FROM base\nRUN echo begun; sleep 3600\nCMD sleep 600\n")?;
    let begin = |words: &[&str]| -> Result<scenarios::Running, Box<dyn std::error::Error>> {
        let running = stage.start_on_terminal(&stage.compose_command(words))?;
        eventually(Duration::from_secs(60), || match running.said() {
            said if said.contains("| begun") => Ok(()),
            said => Err(said.into()),
        })?;
        Ok(running)
    };
    for words in [["up", "--detach"].as_slice(), &["run", "--rm", "web"], &["build"]] {
        let mut running = begin(words)?;
        running.say("\u{3}")?;
        let ended = running.finish(Duration::from_secs(60))?.code(130)?;
        assert!(!ended.stdout.contains("Built"), "{}", ended.stdout);
        stage.check_nothing_left()?;
    }
    let running = begin(&["up", "--detach"])?;
    stage.compose(["down"]).success()?;
    running.finish(Duration::from_secs(60))?.code(1)?.says("interrupted by another command")?;
    stage.check_nothing_left()?;
    stage.file("Dockerfile", "FROM base\nCMD sleep 600\n")?;
    stage.compose(["up", "--detach"]).success()?;
    assert_eq!(stage.field("web", "State")?, "running");
    stage.compose(["down"]).success()?;
    Ok(())
}

/// A supervisor that was there before builds with the agent and the variables of whoever asks it, and says nothing if that
/// is wanted.
fn lends(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  first:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n  web:\n    build:\n      context: .\n      \
         ssh: [default]\n      args: [SAID]\n      secrets: [token]\n    stop_grace_period: 0s\n    profiles: [later]\n\
         secrets:\n  token: {environment: TOKEN}\n",
    )?;
    stage.file(
        "Dockerfile",
        "FROM base\nARG SAID\nRUN --mount=type=ssh --mount=type=secret,id=token test -S $SSH_AUTH_SOCK && \\\n  \
         echo \"$SAID $(cat /run/secrets/token)\" > /said && echo loud\nCMD sleep 600\n",
    )?;
    stage.compose(["up", "--detach"]).success()?;
    let agent = stage.folder.join("agent");
    let _listens = std::os::unix::net::UnixListener::bind(&agent)?;
    let up_with = |words: &[&str], agent: &std::path::Path| {
        let mut command = stage.compose_command(words);
        command.env("SSH_AUTH_SOCK", agent).env("SAID", "hello").env("TOKEN", "s3cret");
        stage.run(command, None)
    };
    let up = |words: &[&str]| up_with(words, &agent);
    up_with(&["up", "--detach", "web"], &stage.folder).code(1)?.complains("cannot be used")?;
    up(&["up", "--detach", "web"]).success()?.complains("web | loud")?;
    stage.compose(["exec", "-T", "web", "cat", "/said"]).success()?.says("hello s3cret")?;
    let run = ["run", "--rm", "-T", "--build", "--quiet-build", "web", "sh", "-c", "exit 0"];
    for words in [
        ["up", "--detach", "--build", "--quiet-build", "web"].as_slice(),
        &["create", "--build", "--quiet-build", "web"],
        &run,
    ] {
        let quiet = up(words).success()?;
        for word in ["cached", "Built"] {
            assert!(!quiet.stderr.contains(word), "{words:?}: {}", quiet.stderr);
        }
    }
    up(&["create", "--build", "web"]).success()?.complains("cached")?;
    stage.compose(["--profile", "later", "down"]).success()?;
    Ok(())
}

fn elsewhere(stage: &Stage) -> Verdict {
    const SERVER: &str = "127.0.0.1:8900";
    base(stage)?;
    stage.file("served/file.txt", "from elsewhere\n")?;
    let dockerfile = format!(
        "FROM base\nADD --chmod=644 http://{SERVER}/file.txt /fetched/\nCMD cat /fetched/file.txt\n"
    );
    stage.file("served/app/Dockerfile", &dockerfile)?;
    stage.client("tar", &["-C", "served/app", "-czf", "served/app.tar.gz", "."]).success()?;
    let mut command = stage.command("/bin/busybox");
    command.args(["httpd", "-f", "-p", SERVER, "-h", "served"]);
    let server = stage.start(command)?;
    eventually(Duration::from_secs(60), || {
        let _listens = TcpStream::connect(SERVER)?;
        Ok(())
    })?;
    stage.file(
        "compose.yaml",
        &format!(
            "services:\n  whole:\n    build: http://{SERVER}/app.tar.gz\n  \
             alone:\n    build: http://{SERVER}/app/Dockerfile\n"
        ),
    )?;
    for service in ["whole", "alone"] {
        stage.compose(["run", "--rm", "-T", service]).success()?.says("from elsewhere")?;
    }
    stage.compose(["build"]).success()?.complains("cached")?;
    stage.file("served/app/Dockerfile", "FROM base\nADD http://127.0.0.1:8900/absent /\n")?;
    stage.compose(["build", "alone"]).code(1)?.complains("has no /absent")?.complains(":2:1")?;
    end(server)?;
    stage
        .compose(["build", "whole"])
        .code(1)?
        .complains("cannot fetch http://127.0.0.1:8900/app.tar.gz")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn fetches(stage: &Stage) -> Verdict {
    const NAME: &str = "localhost:5000/team/base:1";
    let server = registry(stage, "127.0.0.1:5000", "")?;
    base(stage)?;
    let push = |said: &str| -> Verdict {
        stage.file("base.yaml", &format!("services:\n  base:\n    image: {NAME}\n    build:\n      dockerfile_inline: |\n        FROM base\n        RUN echo {said} > /said\n"))?;
        stage.compose(["-f", "base.yaml", "build"]).success()?;
        stage.compose(["image", "push", NAME]).success()?;
        stage.compose(["image", "rm", NAME]).success()?;
        Ok(())
    };
    push("first")?;
    stage.file("compose.yaml", "services:\n  web:\n    build: .\n  top:\n    build:\n      dockerfile_inline: |\n        FROM web\n        \
         RUN true\n      additional_contexts: {web: 'service:web'}\n    profiles: [top]\n")?;
    stage.file("Dockerfile", &format!("FROM {NAME} AS made\nRUN cat /said > /copy\nFROM scratch\nCOPY --from=made / /\nCOPY --from={NAME} /said /other\nCMD cat /copy\n"))?;
    // What is not here is fetched.
    stage.compose(["build"]).success()?.complains("[base] localhost:5000/team/base:1 for")?;
    stage.compose(["run", "--rm", "-T", "web"]).success()?.says("first")?;

    // An image that has a name is built only if its registry does not have it.
    stage.file(
        "named.yaml",
        &format!(
            "services:\n  web:\n    image: {NAME}\n    command: cat /said\n    build:\n      dockerfile_inline: FROM absent\n"
        ),
    )?;
    stage.compose(["image", "rm", "--force", NAME]).success()?;
    let ran = stage.compose(["-f", "named.yaml", "run", "--rm", "-T", "web"]).success()?;
    ran.says("first")?.complains(&format!("Image {NAME}  Pulled"))?;
    let nowhere = "localhost:5000/team/nowhere:1";
    let text = format!(
        "services:\n  web:\n    image: {nowhere}\n    build:\n      dockerfile_inline: |\n        FROM base\n        CMD echo built\n"
    );
    stage.file("named.yaml", &text)?;
    stage
        .compose(["-f", "named.yaml", "plan"])
        .code(2)?
        .says(&format!("pull image {nowhere} if possible: missing"))?
        .says(&format!("build image {nowhere} unless it can be fetched: missing"))?;
    let ran = stage.compose(["-f", "named.yaml", "run", "--rm", "-T", "web"]).success()?;
    ran.says("built")?.complains(&format!("Image {nowhere}  Built"))?;

    // What is here is not asked for, unless that is wanted.
    stage.compose(["image", "tag", NAME, "kept"]).success()?;
    push("second")?;
    stage.compose(["image", "tag", "kept", NAME]).success()?;
    stage.compose(["build"]).success()?;
    stage.compose(["run", "--rm", "-T", "web"]).success()?.says("first")?;
    stage.compose(["build", "--pull"]).success()?;
    stage.compose(["run", "--rm", "-T", "web"]).success()?.says("second")?;
    // That of another service is in no registry.
    stage.compose(["--profile", "top", "build", "--pull"]).success()?;

    // Nothing has changed there; then nobody is there.
    stage.compose(["build", "--pull"]).success()?.complains("cached")?;
    end(server)?;
    stage.compose(["build"]).success()?;
    stage
        .compose(["build", "--pull"])
        .code(1)?
        .complains("cannot get the image localhost:5000/team/base:1")?
        .complains("Dockerfile:1:6")?;
    stage.compose(["down"]).success()?;
    Ok(())
}
