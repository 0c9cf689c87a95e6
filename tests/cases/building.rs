//! Which images are built, how often and of what, as docker compose's own end-to-end tests ask: see `tests/intents.txt`.

use scenarios::{Checked, Need, Stage, Verdict};

use super::build::base;
use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("builds_are_of_what_is_named", named),
        Scenario::plain("flags_of_build", flags),
        Scenario::plain("builds_are_made_once_each", once),
        Scenario::needing(
            "builds_have_as_much_memory_as_they_are_given",
            &[Need::Root, Need::Memory],
            memory,
        ),
        Scenario::plain("builds_on_a_chain_of_contexts", chain),
        Scenario::plain("builds_are_told_secrets_and_words", words),
        Scenario::plain("builds_for_another_machine", elsewhere),
        Scenario::plain("builds_may_do_what_they_are_entitled_to", entitled),
        Scenario::plain("attributes_of_a_build", attributes),
        Scenario::plain("images_of_one_replica", replica),
        Scenario::plain("images_are_found_by_their_id", by_id),
    ]
}

/// The services whose images were built, in the order of their names, and as often as they were.
fn built(stage: &Stage, run: &Checked) -> Vec<String> {
    let prefix = format!("Image {}-", stage.project);
    let lines = run.stderr.lines().filter_map(|line| line.trim().strip_prefix(&prefix));
    let names = lines.filter_map(|line| line.split_once("  Built")).map(|(name, _)| name);
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

/// A service that is built of one line, with more words.
fn service(name: &str, line: &str, words: &str) -> String {
    let inline = format!("FROM base\\n{line}\\nCMD sleep 600\\n");
    format!(
        "  {name}: {{build: {{dockerfile_inline: \"{inline}\"}}, stop_grace_period: 0s{words}}}\n"
    )
}

fn named(stage: &Stage) -> Verdict {
    base(stage)?;
    let file = [
        service("db", "LABEL of=db", ""),
        service("web", "LABEL of=web", ", depends_on: [db]"),
        service("other", "LABEL of=other", ""),
    ];
    stage.file("compose.yaml", &format!("services:\n{}", file.concat()))?;
    assert_eq!(built(stage, &stage.compose(["build", "web"]).success()?), ["web"]);
    let words = ["build", "--with-dependencies", "web"];
    assert_eq!(built(stage, &stage.compose(words).success()?), ["db", "web"]);
    assert_eq!(built(stage, &stage.compose(["build"]).success()?), ["db", "other", "web"]);
    // What is here is not built again, unless the policy says so.
    stage.compose(["up", "-d"]).success()?;
    let file = file.concat().replace(", depends_on", ", pull_policy: build, depends_on");
    stage.file("compose.yaml", &format!("services:\n{file}"))?;
    for _ in 0..2 {
        assert_eq!(built(stage, &stage.compose(["up", "-d"]).success()?), ["web"]);
    }
    stage.compose(["down"]).success()?;
    Ok(())
}

fn once(stage: &Stage) -> Verdict {
    base(stage)?;
    let policy = ", pull_policy: build";
    let file = [
        service("last", "LABEL of=last", policy),
        service("left", "LABEL of=left", &format!("{policy}, depends_on: [last]")),
        service("right", "LABEL of=right", &format!("{policy}, depends_on: [last]")),
        service("web", "LABEL of=web", &format!("{policy}, depends_on: [left, right]")),
    ];
    stage.file("compose.yaml", &format!("services:\n{}", file.concat()))?;
    let run = |words: &[&str]| -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let line = [&["run", "--rm", "-T", "--build"], words, &["id"]].concat();
        Ok(built(stage, &stage.compose(line).success()?))
    };
    assert_eq!(run(&["--no-deps", "web"])?, ["web"]);
    assert_eq!(run(&["left"])?, ["last", "left"]);
    assert_eq!(run(&["web"])?, ["last", "left", "right", "web"]);
    stage.compose(["down"]).success()?;
    Ok(())
}

fn chain(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "
services:
  top:
    build:
      dockerfile_inline: |
        FROM middle
        CMD cat /bottom /middle
      additional_contexts: {middle: 'service:middle'}
  middle:
    build:
      dockerfile_inline: |
        FROM bottom
        RUN echo of the middle > /middle
      additional_contexts: {bottom: 'service:bottom'}
  bottom:
    build:
      dockerfile_inline: |
        FROM base
        RUN echo of the bottom > /bottom
",
    )?;
    stage.compose(["build", "top"]).success()?;
    let words = ["run", "--rm", "-T", "top"];
    stage.compose(words).success()?.says("of the bottom\nof the middle\n")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

/// An image for another machine is built, as long as nothing of it has to run here.
fn elsewhere(stage: &Stage) -> Verdict {
    base(stage)?;
    let file = |last: &str| {
        let text = format!(
            "FROM --platform=$$BUILDPLATFORM base AS made\\nRUN echo made > /made\\n\
             FROM scratch\\nCOPY --from=made / /\\n{last}"
        );
        format!(
            "services:\n  tool:\n    image: tool\n    platform: linux/s390x\n    build: {{dockerfile_inline: \"{text}\"}}\n"
        )
    };
    stage.file("compose.yaml", &file("CMD cat /made"))?;
    stage.compose(["build"]).success()?;
    stage.compose(["image", "inspect", "tool"]).success()?.says("s390x")?;
    stage.file("compose.yaml", &file("RUN true"))?;
    let refused = stage.compose(["build"]).code(1)?;
    refused
        .complains("this machine does not run programs for linux/s390x")?
        .complains("RUN true")?;
    Ok(())
}

fn words(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "
services:
  web:
    build:
      dockerfile_inline: |
        FROM base
        ENV WORD=inside
        RUN --mount=type=secret,id=token echo \"$$WORD $WORD $(cat /run/secrets/token)\" > /said
        CMD cat /said
      secrets: [token]
secrets: {token: {environment: TOKEN}}
",
    )?;
    stage.file(".env", "TOKEN=s3cret\nWORD=outside\n")?;
    stage.compose(["run", "--rm", "-T", "web"]).success()?.says("inside outside s3cret\n")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn entitled(stage: &Stage) -> Verdict {
    base(stage)?;
    let build = |line: &str, words: &str| {
        let inline = format!("FROM base\\n{line}\\n");
        let build = format!("{{dockerfile_inline: \"{inline}\"{words}}}");
        stage.file("compose.yaml", &format!("services: {{web: {{build: {build}}}}}\n"))?;
        Ok::<_, Box<dyn std::error::Error>>(stage.compose(["build"]))
    };
    // A capability that a step has only if it is privileged: CAP_SYS_ADMIN.
    let admin = "RUN grep CapEff: /proc/self/status | grep -q '[2367abef].....$'";
    let admin = admin.replace("grep", "busybox grep");
    build(&admin, "")?.code(1)?;
    build(&admin, ", privileged: true")?.success()?;
    let insecure = admin.replace("RUN", "RUN --security=insecure");
    let refused = build(&insecure, "")?.code(1)?;
    refused.complains("add `security.insecure` to `build.entitlements`")?;
    build(&insecure, ", entitlements: [security.insecure]")?.success()?;
    Ok(())
}

/// Each with a command that succeeds only with it.
fn attributes(stage: &Stage) -> Verdict {
    base(stage)?;
    let build = |line: &str, words: &str| {
        let inline = format!("FROM base AS stage\\nRUN {line}\\n");
        let build = format!("{{dockerfile_inline: \"{inline}\"{words}}}");
        stage.file("compose.yaml", &format!("services: {{web: {{build: {build}}}}}\n"))?;
        Ok::<_, Box<dyn std::error::Error>>(stage.compose(["build"]))
    };
    let rows = [
        ("network: none", "test $$(ls /sys/class/net | busybox wc -l) = 1"),
        ("shm_size: 8m", "busybox df -k /dev/shm | busybox grep -q 8192"),
        ("extra_hosts: ['other:192.0.2.9']", "busybox grep -q other /etc/hosts"),
        (
            "ulimits: {nofile: {soft: 100, hard: 200}}",
            "test $$(ulimit -Sn):$$(ulimit -Hn) = 100:200",
        ),
    ];
    for (words, line) in rows {
        build(line, "")?.code(1)?;
        build(line, &format!(", {words}"))?.success()?;
    }
    build("echo once > /file", "")?.success()?;
    for (words, fresh) in
        [("", false), (", no_cache: true", true), (", no_cache_filter: [stage]", true)]
    {
        let said = build("echo once > /file", words)?.success()?.stderr;
        assert_eq!(!said.contains("cached"), fresh, "{words}: {said}");
    }
    Ok(())
}

fn replica(stage: &Stage) -> Verdict {
    base(stage)?;
    let two = "image: base, command: sleep 600, stop_grace_period: 0s, scale: 2";
    stage.file("compose.yaml", &format!("services: {{web: {{{two}}}}}\n"))?;
    stage.compose(["up", "-d"]).success()?;
    let mark = ["exec", "-T", "--index", "2", "web", "sh", "-c", "echo two > /mark"];
    stage.compose(mark).success()?;
    for (number, there) in [("1", false), ("2", true)] {
        stage.compose(["commit", "--index", number, "web", "made"]).success()?;
        let words = "image: made, command: sh -c 'test -e /mark'";
        stage.file("made.yaml", &format!("services: {{made: {{{words}}}}}\n"))?;
        let run = stage.compose(["-f", "made.yaml", "run", "--rm", "-T", "made"]);
        assert_eq!(run.success().is_ok(), there, "{number}");
        stage.compose(["export", "--index", number, "-o", "out.tar", "web"]).success()?;
        let listed = stage.client("tar", &["-tf", "out.tar"]).success()?.stdout;
        assert_eq!(listed.lines().any(|line| line.ends_with("mark")), there, "{number}");
    }
    stage.compose(["commit", "--index", "3", "web", "made"]).code(1)?.complains("number 3")?;
    stage.compose(["down"]).success()?;
    Ok(())
}

fn by_id(stage: &Stage) -> Verdict {
    base(stage)?;
    let listed = ["image", "ls", "--quiet", "--no-trunc"];
    let id = stage.compose(listed).success()?.stdout.trim().to_owned();
    let words = "command: cat /etc/passwd";
    let file = |image: &str| {
        stage.file("compose.yaml", &format!("services: {{web: {{image: '{image}', {words}}}}}\n"))
    };
    file(&id)?;
    stage.compose(["up"]).success()?.says("root:x:0:0")?;
    let first = stage.field("web", "ID")?;
    stage.compose(["up", "-d"]).success()?;
    assert_eq!(stage.field("web", "ID")?, first);
    // What the container was made of is known when the image is gone.
    stage.compose(["image", "rm", "base"]).code(1)?;
    stage.compose(["image", "rm", "--force", "base"]).success()?;
    let after = stage.compose(["images", "--quiet"]).success()?.stdout;
    assert!(id.contains(after.trim()) && !after.trim().is_empty(), "{after}");
    stage.compose(["down"]).success()?;
    Ok(())
}

fn flags(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "
services:
  db:
    build:
      dockerfile_inline: |
        FROM base
        RUN echo of the database > /said
        CMD cat /said
  web:
    depends_on: [db]
    build:
      dockerfile_inline: |
        FROM base
        ARG WORD=none
        RUN echo $$WORD > /said
        CMD cat /said
",
    )?;
    let is_here = |service: &str| {
        let name = format!("{}-{service}", stage.project);
        stage.compose(["image", "inspect", &name]).success().is_ok()
    };
    let id = || -> Result<String, Box<dyn std::error::Error>> {
        let name = format!("{}-web", stage.project);
        let shown = stage.compose(["image", "inspect", &name]).success()?.stdout;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        Ok(shown[0]["Id"].to_string())
    };
    assert!(stage.compose(["create", "--no-build", "--no-recreate"]).success().is_err());
    stage.compose(["build", "web"]).success()?;
    assert!(is_here("web") && !is_here("db"));
    stage.compose(["build", "--with-dependencies", "web"]).success()?;
    assert!(is_here("db"));
    stage.compose(["build", "web"]).success()?.complains("cached")?;
    let anew = stage.compose(["build", "--no-cache", "web"]).success()?.stderr;
    assert!(!anew.contains("cached"), "{anew}");
    let quiet = stage.compose(["build", "--quiet", "web"]).success()?;
    assert_eq!(quiet.stderr, "");
    let before = id()?;
    stage.compose(["build", "--build-arg", "WORD=given", "web"]).success()?;
    assert_ne!(id()?, before);
    stage.compose(["run", "--rm", "-T", "--no-deps", "web"]).success()?.says("given")?;
    // Built again, from what the file says.
    let line = ["run", "--rm", "-T", "--no-deps", "--build", "web"];
    stage.compose(line).success()?.says("none")?;
    stage.compose(["down", "--rmi", "local"]).success()?;
    assert!(!is_here("web"));
    stage.compose(["create", "--build", "web"]).success()?;
    assert!(is_here("web"));
    stage
        .compose(["plan", "--build", "web"])
        .code(2)?
        .says(&format!("build image {}-web", stage.project))?;
    stage.compose(["down", "--rmi", "local"]).success()?;
    stage.compose(["plan", "--no-build", "web"]).code(1)?;
    // An agent that the file does not name.
    let line = "RUN --mount=type=ssh,required=true test -S $$SSH_AUTH_SOCK";
    stage.file("compose.yaml", &format!("services:\n{}", service("web", line, "")))?;
    stage.compose(["build"]).code(1)?;
    let _listens = std::os::unix::net::UnixListener::bind(stage.folder.join("agent"))?;
    stage.compose(["build", "--ssh", "default=agent"]).success()?;
    Ok(())
}

fn memory(stage: &Stage) -> Verdict {
    base(stage)?;
    let line = "RUN busybox dd if=/dev/zero of=/dev/null bs=64M count=1";
    stage.file("compose.yaml", &format!("services:\n{}", service("web", line, "")))?;
    stage.compose(["build", "--memory", "16m"]).code(1)?;
    stage.compose(["build", "--memory", "512m"]).success()?;
    stage.compose(["build", "--memory", "much"]).code(2)?.complains("no number of bytes")?;
    Ok(())
}
