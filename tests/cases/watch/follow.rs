//! `up --follow`, and what both it and `up --watch` build.

use std::fs;

use scenarios::{Stage, Verdict, eventually};

use super::super::build::base;
use super::{BOUND, begin, end, expect, inside, save};

/// Included, extended, `.env`, env files, a link that leads elsewhere, and what is put in its place by git.
pub(super) fn sees_all(stage: &Stage) -> Verdict {
    base(stage)?;
    let own = "include: [inc/more.yaml]\nservices:\n  web:\n    extends: {file: common.yaml, service: common}\n    \
               environment: {A: '${A}'}\n    env_file: web.env\n";
    let common = |value: &str| {
        format!(
            "services:\n  common:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n    environment: {{B: {value}}}\n"
        )
    };
    let more = |value: &str| {
        format!(
            "services:\n  more:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n    environment: {{C: {value}}}\n"
        )
    };
    let linked = |value: &str| {
        stage.file(
            &format!("versions/{value}.yaml"),
            &format!("{own}    labels: {{own: {value}}}\n"),
        )
    };
    let leads_to = |value: &str| -> Verdict {
        std::os::unix::fs::symlink(format!("versions/{value}.yaml"), stage.folder.join("next"))?;
        Ok(fs::rename(stage.folder.join("next"), stage.folder.join("compose.yaml"))?)
    };
    linked("one")?;
    linked("two")?;
    leads_to("one")?;
    stage.file("common.yaml", &common("b1"))?;
    stage.file("inc/more.yaml", &more("c1"))?;
    stage.file(".env", "A=a1\n")?;
    stage.file("web.env", "D=d1\n")?;
    stage.compose(["up", "--detach", "--follow"]).success()?;
    let says = |service: &str, wanted: &str| {
        expect(stage, service, &["sh", "-c", "echo $A $B $C $D"], wanted)
    };
    says("web", "a1 b1 d1")?;
    let first = stage.field("more", "ID")?;
    stage.file(".env", "A=a2\n")?;
    says("web", "a2 b1 d1")?;
    save(stage, "common.yaml", &common("b2"))?;
    says("web", "a2 b2 d1")?;
    stage.file("web.env", "D=d2\n")?;
    says("web", "a2 b2 d2")?;
    assert_eq!(stage.field("more", "ID")?, first);
    let web = stage.field("web", "ID")?;
    save(stage, "inc/more.yaml", &more("c2"))?;
    says("more", "c2")?;
    assert_eq!(stage.field("web", "ID")?, web);
    let labelled = |wanted: &str| {
        eventually(BOUND, || match stage.field("web", "Labels")? {
            labels if labels.contains(&format!("own={wanted}")) => Ok(()),
            labels => Err(labels.into()),
        })
    };
    leads_to("two")?;
    labelled("two")?;
    stage.file("versions/two.yaml", &format!("{own}    labels: {{own: three}}\n"))?;
    labelled("three")?;
    assert_eq!(stage.field("web", "ID")?, web, "a label is no reason for a new container");
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

/// The supervisor follows the files, also one that comes after a kill.
pub(super) fn in_the_background(stage: &Stage) -> Verdict {
    base(stage)?;
    let text = |colour: &str| {
        format!(
            "services:\n  web:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n    environment: {{COLOUR: {colour}}}\n  db:\n    \
             image: base\n    command: sleep 600\n    stop_grace_period: 0s\n"
        )
    };
    let becomes = |colour: &str| expect(stage, "web", &["sh", "-c", "echo $COLOUR"], colour);
    stage.file("compose.yaml", &text("red"))?;
    stage.compose(["up", "--detach", "--follow"]).success()?;
    let db = stage.field("db", "ID")?;
    stage.file("compose.yaml", &text("blue"))?;
    becomes("blue")?;
    // A network that is not there: the file is well-formed, and cannot be brought up.
    let broken =
        text("green") + "    networks: [far]\nnetworks: {far: {external: true, name: far-away}}\n";
    stage.file("compose.yaml", &broken)?;
    eventually(BOUND, || {
        Ok(stage.compose(["ps"]).success()?.complains("is not as its files say").map(drop)?)
    })?;
    stage.file("compose.yaml", &text("yellow"))?;
    becomes("yellow")?;
    eventually(BOUND, || match stage.compose(["ps"]).success()?.stderr {
        said if said.contains("files say") => Err(said.into()),
        _ => Ok(()),
    })?;
    super::super::kills::kill_supervisor(stage)?;
    stage.file("compose.yaml", &text("white"))?;
    becomes("white")?;
    assert_eq!(stage.field("db", "ID")?, db);
    // A `watch` beside it does not, and nor does its end.
    let rules = "    develop:\n      watch:\n        - {action: restart, path: switch}\n";
    let watched = text("black").replace("  db:\n", &format!("{rules}  db:\n"));
    stage.file("compose.yaml", &watched)?;
    becomes("black")?;
    let watch = stage.start(stage.compose_command(["watch"]))?;
    let began = || inside(stage, "web", &["sh", "-c", "set -- $(cat /proc/1/stat); echo ${22}"]);
    let before = began()?;
    eventually(BOUND, || {
        stage.file("switch", "")?;
        if began()? == before { Err("it is not restarted".into()) } else { Ok(()) }
    })?;
    end(watch)?;
    stage.file("compose.yaml", &text("grey"))?;
    becomes("grey")?;
    // An `up` without it ends it.
    stage.compose(["up", "--detach"]).success()?;
    assert!(!stage.roots.join("data/projects").join(&stage.project).join("follow.json").exists());
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

/// A Dockerfile or a file of a context is saved: the supervisor builds, with nobody connected.
pub(super) fn builds_in_the_background(stage: &Stage) -> Verdict {
    base(stage)?;
    let text = |greeting: &str| {
        format!(
            "services:\n  web:\n    build: {{context: web, args: {{GREETING: {greeting}}}}}\n    stop_grace_period: 0s\n    volumes: ['./web/data:/data']\n  db:\n    \
             image: base\n    command: sleep 600\n    stop_grace_period: 0s\n"
        )
    };
    let dockerfile = |more: &str| {
        format!(
            "FROM base\nARG GREETING\nCOPY . /all/\nCOPY page /page\nRUN echo \"$GREETING $(cat /page)\" > /said\n{more}CMD sleep 600\n"
        )
    };
    let becomes = |said: &str| expect(stage, "web", &["cat", "/said"], said);
    stage.file("compose.yaml", &text("hello"))?;
    stage.file("web/Dockerfile", &dockerfile(""))?;
    stage.file("web/.dockerignore", "ignored\n")?;
    stage.file("web/page", "one")?;
    stage.file("web/data/log", "x")?;
    stage.compose(["up", "--detach", "--follow"]).success()?;
    let db = stage.field("db", "ID")?;
    becomes("hello one")?;
    stage.file("web/page", "two")?;
    becomes("hello two")?;
    stage.file("web/Dockerfile", &dockerfile("RUN echo more >> /said\n"))?;
    becomes("hello two\nmore")?;
    stage.file("compose.yaml", &text("welcome"))?;
    becomes("welcome two\nmore")?;
    // A build that fails leaves what runs, and is told.
    let web = stage.field("web", "ID")?;
    stage.file("web/Dockerfile", &dockerfile("RUN exit 7\n"))?;
    eventually(BOUND, || {
        let ps = stage.compose(["ps"]).success()?;
        Ok(ps.complains("the command has ended with exit code 7").map(drop)?)
    })?;
    assert_eq!(stage.field("web", "ID")?, web);
    // What is saved while no supervisor looks is built by the next.
    super::super::kills::kill_supervisor(stage)?;
    stage.file("web/Dockerfile", &dockerfile(""))?;
    stage.file("web/page", "three")?;
    becomes("welcome three")?;
    // What is ignored or mounted anyway builds nothing.
    let web = stage.field("web", "ID")?;
    stage.file("web/ignored", "x")?;
    stage.file("web/data/log", "y")?;
    stage.file("compose.yaml", &(text("welcome") + "    environment: {A: b}\n"))?;
    expect(stage, "db", &["sh", "-c", "echo A=$A"], "A=b")?;
    assert_eq!(stage.field("web", "ID")?, web);
    assert_ne!(stage.field("db", "ID")?, db);
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

/// Without rules of its own, a service is built when what it is built from is saved.
pub(super) fn builds_beside(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file("compose.yaml", "services:\n  web:\n    build: web\n    stop_grace_period: 0s\n")?;
    stage.file("web/Dockerfile", "FROM base\nCOPY page /page\nCMD sleep 600\n")?;
    stage.file("web/page", "one")?;
    let watch = begin(stage, &["up", "--watch"], "web")?;
    expect(stage, "web", &["cat", "/page"], "one")?;
    stage.file("web/page", "two")?;
    expect(stage, "web", &["cat", "/page"], "two")?;
    stage.file("web/Dockerfile", "FROM base\nRUN echo three > /page\nCMD sleep 600\n")?;
    expect(stage, "web", &["cat", "/page"], "three")?;
    end(watch)?;
    stage.compose(["down"]).success()?;
    Ok(())
}
