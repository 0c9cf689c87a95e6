//! Images from and to a real registry: Debian's `docker-registry`, plain, with passwords, and with TLS.

use std::fs;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use scenarios::command::Running;
use scenarios::{Need, Stage, Verdict, eventually};

use crate::Scenario;

const NEEDS: &[Need] = &[Need::Root, Need::Registry];

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::needing("images_travel_through_a_registry", NEEDS, travels),
        Scenario::needing("flags_of_pull_and_push", NEEDS, flags),
        Scenario::needing("images_are_asked_for_when_their_policy_says_so", NEEDS, policies),
        Scenario::needing("a_registry_with_passwords", NEEDS, passwords),
        Scenario::needing("a_registry_with_tls", NEEDS, tls),
        Scenario::needing("a_project_travels_through_a_registry", NEEDS, published),
        Scenario::needing("builds_share_their_caches", NEEDS, caches),
        Scenario::needing("build_pushes_what_it_has_built", NEEDS, built_and_pushed),
        Scenario::needing("a_pull_from_a_registry_onto_a_full_disk", NEEDS, full),
    ]
}

/// Starts a registry at `address`, with `more` in its settings.
pub(super) fn registry(
    stage: &Stage,
    address: &str,
    more: &str,
) -> Result<Running, Box<dyn std::error::Error>> {
    let data = stage.folder.with_file_name("registry");
    let settings = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {address}\n{more}",
        data.display()
    );
    stage.file("registry.yml", &settings)?;
    let mut command = stage.command("docker-registry");
    command.args(["serve", "registry.yml"]);
    let running = stage.start(command)?;
    eventually(Duration::from_secs(20), || {
        let _listens = TcpStream::connect(address)?;
        Ok(())
    })?;
    Ok(running)
}

/// Ends it: nothing of a scenario may be left.
pub(super) fn end(registry: Running) -> Verdict {
    registry.signal(nix::sys::signal::Signal::SIGKILL)?;
    let _ended = registry.finish(Duration::from_secs(20))?;
    Ok(())
}

/// An image with one program that needs nothing else: ldconfig(8) is linked statically.
fn image(stage: &Stage, name: &str) -> Verdict {
    stage.file("root/data", "hello from the image\n")?;
    fs::copy("/sbin/ldconfig", stage.folder.join("root/ldconfig"))?;
    // With gzip, which all formats of images know.
    stage.client("tar", &["-C", "root", "-czf", "root.tar", "."]).success()?;
    let words =
        ["image", "import", "root.tar", name, "--change", r#"CMD ["/ldconfig", "--version"]"#];
    stage.compose(words).success()?;
    Ok(())
}

fn travels(stage: &Stage) -> Verdict {
    let registry = registry(stage, "127.0.0.1:5000", "")?;
    image(stage, "localhost:5000/team/app:1")?;
    stage.compose(["image", "push", "localhost:5000/team/app:1"]).success()?.complains("Pushed")?;
    // What is there is not sent again.
    let again = stage.compose(["image", "push", "localhost:5000/team/app:1"]).success()?;
    again.complains("Exists")?;
    // Others can read it, and write it in Docker's own format.
    let remote = "docker://localhost:5000/team/app:1";
    let seen = stage.client("skopeo", &["inspect", "--tls-verify=false", remote]).success()?;
    seen.says("\"Os\": \"linux\"")?;
    let copy = ["copy", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"];
    let to = "docker://localhost:5000/team/app:docker";
    stage.client("skopeo", &[&copy[..], &["--format", "v2s2", remote, to]].concat()).success()?;
    stage.compose(["image", "rm", "localhost:5000/team/app:1"]).success()?;

    // What is missing is fetched by whoever needs it.
    stage.file(
        "compose.yaml",
        "services:\n  app:\n    image: localhost:5000/team/app:docker\n  never:\n    image: localhost:5000/team/app:1\n    pull_policy: never\n",
    )?;
    stage.compose(["run", "--rm", "app"]).success()?.says("ldconfig")?;
    stage.compose(["create", "never"]).code(1)?.complains("there is no image")?;
    stage
        .compose(["--dry-run", "create", "--pull", "always", "never"])
        .success()?
        .says("pull image localhost:5000/team/app:1 (requested)")?;
    stage.compose(["create", "--pull", "always", "never"]).success()?.complains("Pulled")?;
    stage.compose(["images"]).success()?.says("localhost:5000/team/app")?;
    let json = stage.compose(["--progress", "json", "pull", "app"]).success()?;
    json.complains(
        r#"{"id":"Image localhost:5000/team/app:docker","status":"Working","text":"Pulling"}"#,
    )?;
    stage.compose(["pull", "--quiet"]).success()?;
    stage.compose(["image", "pull", "localhost:5000/team/none"]).code(1)?.complains("has no")?;
    // What names no platform is wanted for the one that the surroundings name, or the files beside.
    let mut foreign = stage.compose_command(["image", "pull", "localhost:5000/team/app:docker"]);
    foreign.env("DOCKER_DEFAULT_PLATFORM", "linux/s390x");
    stage.run(foreign, None).code(1)?.complains("linux/s390x")?;
    stage.file(".env", "DOCKER_DEFAULT_PLATFORM=linux/s390x\n")?;
    stage.compose(["pull", "app"]).code(1)?.complains("linux/s390x")?;
    stage.file(".env", "\n")?;
    stage.compose(["down"]).success()?;
    end(registry)
}

/// What one machine has built, another one with nothing but the base image need not build.
fn caches(stage: &Stage) -> Verdict {
    let registry = registry(stage, "127.0.0.1:5000", "")?;
    super::build::base(stage)?;
    stage.compose(["image", "save", "-o", "base.oci", "base"]).success()?;
    stage.file(
        "Dockerfile",
        "FROM base AS made\nRUN cat /proc/sys/kernel/random/uuid > /made\n\
         FROM base\nCOPY --from=made /made /made\nRUN cat /proc/sys/kernel/random/uuid > /own\nCMD cat /made /own\n",
    )?;
    let kinds = [
        ("[localhost:5000/cache:1]", "[\"type=registry,ref=localhost:5000/cache:1,mode=max\"]"),
        ("[\"type=local,src=cache\"]", "[\"type=local,dest=cache,mode=max\"]"),
    ];
    for (from, to) in kinds {
        let file = |key: &str, value: &str| {
            format!(
                "services:\n  web:\n    image: localhost:5000/web:1\n    build:\n      context: .\n      {key}: {value}\n"
            )
        };
        stage.file("compose.yaml", &file("cache_to", to))?;
        stage.compose(["build", "--no-cache"]).success()?.complains("[cache] to ")?;
        let said = stage.compose(["run", "--rm", "-T", "web"]).success()?.stdout;
        let elsewhere = stage.folder.join("elsewhere");
        let there = |words: &[&str]| {
            let mut command = stage.compose_command(words.iter().copied());
            command.env("COMPOSE_DATA_ROOT", &elsewhere);
            command.env("COMPOSE_RUN_ROOT", elsewhere.join("run"));
            stage.run(command, None)
        };
        there(&["image", "load", "-i", "base.oci"]).success()?;
        stage.file("compose.yaml", &file("cache_from", from))?;
        there(&["build"]).success()?.complains(" cached")?.complains("[cache] from ")?;
        assert_eq!(there(&["run", "--rm", "-T", "web"]).success()?.stdout, said, "{from}");
        there(&["down"]).success()?;
        stage.compose(["down"]).success()?;
        fs::remove_dir_all(&elsewhere)?;
    }
    // Others read it as the layout of an image.
    stage.client("skopeo", &["inspect", "--raw", "oci:cache:latest"]).success()?;
    end(registry)
}

fn built_and_pushed(stage: &Stage) -> Verdict {
    let registry = registry(stage, "127.0.0.1:5000", "")?;
    super::build::base(stage)?;
    stage.file("Dockerfile", "FROM base\nRUN echo 1 > /file\nCMD cat /file\n")?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    image: localhost:5000/web:1\n    build: {context: ., tags: ['localhost:5000/web:2'], cache_to: ['type=inline']}\n  own:\n    build: .\n",
    )?;
    stage.compose(["build", "--push", "own"]).success()?.complains("nothing is pushed")?;
    stage.compose(["build", "--push"]).success()?.complains("localhost:5000/web:2  Pushed")?;
    for tag in ["1", "2"] {
        let name = format!("docker://localhost:5000/web:{tag}");
        stage.client("skopeo", &["inspect", "--tls-verify=false", &name]).success()?;
    }
    // With `type=inline` the image is the cache for who has not built it.
    stage.compose(["image", "rm", "localhost:5000/web:1", "localhost:5000/web:2"]).success()?;
    stage.compose(["builder", "prune", "-af"]).success()?;
    let text = "services:\n  web:\n    build: {context: ., cache_from: ['localhost:5000/web:1']}\n";
    stage.file("compose.yaml", text)?;
    stage.compose(["build"]).success()?.complains(" cached")?;
    // What cannot be pushed is told, and what is built stays.
    end(registry)?;
    let text = "services:\n  web:\n    image: localhost:5000/web:3\n    build: .\n";
    stage.file("compose.yaml", text)?;
    stage
        .compose(["build", "--push"])
        .code(1)?
        .complains("cannot push image localhost:5000/web:3")?;
    stage.compose(["image", "inspect", "localhost:5000/web:3"]).success()?;
    Ok(())
}

fn passwords(stage: &Stage) -> Verdict {
    let made = stage.client("htpasswd", &["-Bbn", "me", "secret"]).success()?;
    stage.file("passwords", &made.stdout)?;
    let auth = format!(
        "auth:\n  htpasswd: {{realm: test, path: {}}}\n",
        stage.folder.join("passwords").display()
    );
    let registry = registry(stage, "127.0.0.1:5000", &auth)?;
    image(stage, "localhost:5000/app")?;
    let push = ["image", "push", "localhost:5000/app"];
    stage.compose(push).code(1)?.complains("compose login localhost:5000")?;
    let login =
        || stage.compose_command(["login", "-u", "me", "--password-stdin", "localhost:5000"]);
    let wrong = stage.run(login(), Some("wrong\n")).code(1)?;
    wrong.complains("refuses a login to `me`")?;
    let seen = ["login", "-u", "me", "--password", "wrong", "localhost:5000"];
    stage.compose(seen).code(1)?.complains("refuses a login to `me`")?;
    stage.run(login(), Some("secret\n")).success()?.says("Login Succeeded")?;
    stage.compose(push).success()?;
    // The one who asks the supervisor is the one whose credentials count.
    stage.compose(["image", "rm", "localhost:5000/app"]).success()?;
    stage.file("compose.yaml", "services:\n  app:\n    image: localhost:5000/app\n")?;
    stage.compose(["create"]).success()?.complains("Pulled")?;
    stage.compose(["down"]).success()?;
    stage.compose(["logout", "localhost:5000"]).success()?.says("Removed")?;
    stage.compose(["pull"]).code(1)?.complains("somebody without a name")?;
    stage.compose(["pull", "--ignore-pull-failures"]).success()?;
    end(registry)
}

fn tls(stage: &Stage) -> Verdict {
    let openssl = |words: &str| -> Verdict {
        let words: Vec<&str> = words.split(' ').collect();
        stage.client("openssl", &words).success()?;
        Ok(())
    };
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt",
    )?;
    openssl(
        "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=registry -keyout own.key -out own.csr",
    )?;
    stage.file("names", "subjectAltName=IP:192.0.2.2\n")?;
    openssl(
        "x509 -req -days 2 -in own.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -out own.crt",
    )?;
    let at = |name: &str| stage.folder.join(name).display().to_string();
    let more = format!("  tls: {{certificate: {}, key: {}}}\n", at("own.crt"), at("own.key"));
    let registry = registry(stage, "192.0.2.2:5443", &more)?;
    image(stage, "192.0.2.2:5443/app")?;
    let push = || stage.compose_command(["image", "push", "192.0.2.2:5443/app"]);
    stage.run(push(), None).code(1)?.complains("cannot speak TLS")?;
    let trusting = |mut command: Command| {
        command.env("SSL_CERT_FILE", at("ca.crt"));
        command
    };
    stage.run(trusting(push()), None).success()?;
    stage.compose(["image", "rm", "192.0.2.2:5443/app"]).success()?;
    let pull = || stage.compose_command(["image", "pull", "192.0.2.2:5443/app"]);
    stage.run(trusting(pull()), None).success()?.says("192.0.2.2:5443/app:latest")?;
    // Or nobody is asked who they are.
    stage.file("registries.json", r#"{"insecure-registries": ["192.0.2.0/24"]}"#)?;
    let mut careless = pull();
    careless.env("COMPOSE_REGISTRIES", at("registries.json"));
    stage.run(careless, None).success()?;
    end(registry)
}

/// The files of a project are published, read from there, and brought up.
fn published(stage: &Stage) -> Verdict {
    let registry = registry(stage, "127.0.0.1:5000", "")?;
    image(stage, "localhost:5000/team/app:1")?;
    stage.compose(["image", "push", "localhost:5000/team/app:1"]).success()?;
    stage.file("base/base.yaml", "services: {base: {labels: {from: base}}}\n")?;
    stage.file("app.env", "FROM_FILE=1\n")?;
    stage.file(
        "compose.yaml",
        "services:\n  app:\n    image: localhost:5000/team/app:1\n    extends: {file: base/base.yaml, service: base}\n    env_file: app.env\n    volumes: ['/tmp:/host:ro']\n    environment: {SAID: '${SAID:-nothing}'}\n    configs: [set]\n  off: {image: localhost:5000/team/app:1, profiles: [p]}\nconfigs: {set: {file: /etc/hostname}}\n",
    )?;
    let to = "localhost:5000/team/project:1";

    // Nothing leaves before it is agreed to.
    let refused = stage.compose(["publish", "--yes", to]).code(1)?;
    refused
        .complains("an env file would be published")?
        .complains("environment of service `app`")?;
    let asked = stage.compose(["publish", "--with-env", to]).code(1)?;
    asked.complains("cannot ask")?.complains("`compose publish --yes` does not ask")?;
    // A no is an answer, and no failure.
    let mut no = stage.start_on_terminal(&stage.compose_command(["publish", "--with-env", to]))?;
    eventually(Duration::from_secs(20), || match no.said() {
        said if said.contains("Are you sure?") => Ok(()),
        said => Err(said.into()),
    })?;
    no.say("n\n")?;
    no.finish(Duration::from_secs(20))?.success()?.says("nothing was published")?;
    stage.compose(["--dry-run", "publish", "--with-env", "--yes", to]).success()?;
    let from = "oci://localhost:5000/team/project:1";
    stage
        .compose(["-f", from, "config"])
        .code(1)?
        .complains("has no localhost:5000/team/project:1")?;
    let words = ["publish", "--app", "--with-env", "--yes", "--resolve-image-digests", to];
    let published = stage.compose(words).success()?;
    published.complains("Published")?.complains("/etc/hostname, which is not published")?;

    // What was written is what is read, on any machine that reaches the registry.
    fs::remove_file(stage.folder.join("compose.yaml"))?;
    let read = stage.compose(["-f", from, "config"]).success()?;
    read.says("FROM_FILE: \"1\"")?
        .says("from: base")?
        .says("SAID: nothing")?
        .says("image: localhost:5000/team/app:1@sha256:")?;
    let remote = stage.client(
        "skopeo",
        &["inspect", "--raw", "--tls-verify=false", "docker://localhost:5000/team/project:1"],
    );
    remote.success()?.says("application/vnd.docker.compose.project")?;

    // How the manifest says what it is depends on the version.
    stage.file("plain.yaml", "services: {app: {image: 'localhost:5000/team/app:1'}}\n")?;
    for (version, has_type) in [("1.0", false), ("1.1", true)] {
        let words = ["-f", "plain.yaml", "publish", "--oci-version", version, "-y"];
        stage.compose([&words[..], &["localhost:5000/team/plain:1"]].concat()).success()?;
        let plain = "docker://localhost:5000/team/plain:1";
        let words = ["inspect", "--raw", "--tls-verify=false", plain];
        let raw = stage.client("skopeo", &words).success()?.stdout;
        assert_eq!(raw.contains("artifactType"), has_type, "{version}: {raw}");
    }

    // It is included, extended, and its images are pinned.
    stage.file(
        "compose.yaml",
        &format!("include: ['{from}']\nservices: {{own: {{extends: {{file: '{from}', service: app}}}}}}\n"),
    )?;
    let both = stage.compose(["config", "--services"]).success()?;
    both.says("app\nown\n")?;
    let locked = stage.compose(["config", "--lock-image-digests", "own"]).success()?;
    locked.says("services:\n  own:\n    image: localhost:5000/team/app@sha256:")?;
    stage.file("compose.yaml", "services: {a: {image: 'localhost:5000/team/none'}, b: {image: 'localhost:5000/team/app:1'}}\n")?;
    stage
        .compose(["config", "--resolve-image-digests"])
        .code(1)?
        .complains("cannot find the digest of localhost:5000/team/none")?;

    stage
        .compose(["config", "--resolve-image-digests", "b"])
        .success()?
        .says("image: localhost:5000/team/app:1@sha256:")?;

    // Strangers' projects are brought up by whoever says so.
    let up = |yes: &[&str]| stage.compose([&["-f", from, "create"], yes].concat());
    up(&[]).code(1)?.complains("SAID")?.complains("cannot ask")?;
    up(&["--yes"])
        .success()?
        .complains("The files of oci://localhost:5000/team/project:1 are in")?;
    stage.compose(["-f", from, "down"]).success()?;
    end(registry)
}

/// The layer fits as it travels and does not fit unpacked: nothing is left, and with more room it is pulled.
fn full(stage: &Stage) -> Verdict {
    let registry = registry(stage, "127.0.0.1:5000", "")?;
    stage.client("mkdir", &["root", "small"]).success()?;
    stage.file("root/zeros", &"0".repeat(4_000_000))?;
    stage.client("tar", &["-C", "root", "-czf", "root.tar", "."]).success()?;
    stage.compose(["image", "import", "root.tar", "localhost:5000/app"]).success()?;
    stage.compose(["image", "push", "localhost:5000/app"]).success()?;
    stage.client("mount", &["-t", "tmpfs", "-o", "size=2m", "none", "small"]).success()?;
    let small = |words: &[&str]| {
        let mut command = stage.compose_command(["image"]);
        command.args(words).env("COMPOSE_DATA_ROOT", stage.folder.join("small"));
        stage.run(command, None)
    };
    small(&["pull", "localhost:5000/app"]).code(1)?.complains("no space left")?;
    small(&["verify"]).success()?.says("0 images, 0 blobs")?;
    stage.client("mount", &["-o", "remount,size=20m", "small"]).success()?;
    small(&["pull", "localhost:5000/app"]).success()?;
    small(&["verify"]).success()?.says("1 images, 3 blobs")?;
    stage.client("umount", &["small"]).success()?;
    end(registry)
}

/// An image that is here and not in the registry tells whether that was asked.
fn policies(stage: &Stage) -> Verdict {
    let registry = registry(stage, "127.0.0.1:5000", "")?;
    image(stage, "localhost:5000/none:1")?;
    stage.compose(["image", "tag", "localhost:5000/none:1", "localhost:5000/none"]).success()?;
    let file = |words: &str| {
        let built = "built: {build: {dockerfile_inline: 'FROM scratch'}, command: x}";
        stage.file("compose.yaml", &format!("services: {{one: {{{words}}}, {built}}}\n"))
    };
    file("image: 'localhost:5000/none:1'")?;
    // What is only built is in no registry, and nobody looks for it there.
    stage.compose(["pull", "--policy", "missing"]).success()?;
    stage.compose(["pull", "built"]).success()?;
    for words in [
        ["pull"].as_slice(),
        &["pull", "--policy", "always"],
        &["up", "-d", "--pull", "always", "one"],
        &["create", "--pull", "always", "one"],
    ] {
        stage.compose(words).code(1)?.complains("has no localhost:5000/none:1")?;
    }
    let words = ["run", "--rm", "-T", "--pull", "always", "one"];
    let refused = stage.run(stage.compose_command(words), None);
    assert!(refused.stderr.contains("has no localhost:5000/none:1"), "{}", refused.stderr);
    stage.compose(["run", "--rm", "-T", "one"]).success()?;
    stage.compose(["pull", "--ignore-pull-failures"]).success()?;
    // That name is looked at each time.
    file("image: 'localhost:5000/none'")?;
    stage.compose(["pull", "--policy", "missing"]).code(1)?.complains("has no")?;
    // The policy of the service says how old it may be.
    file("image: 'localhost:5000/none:1', pull_policy: every_1h")?;
    stage.compose(["create", "one"]).success()?;
    file("image: 'localhost:5000/none:1', pull_policy: every_1s")?;
    eventually(Duration::from_secs(30), || {
        let refused = stage.compose(["create", "one"]).code(1)?;
        Ok(refused.complains("has no localhost:5000/none:1")?)
    })?;
    stage.compose(["down"]).success()?;
    end(registry)
}

fn flags(stage: &Stage) -> Verdict {
    let registry = registry(stage, "127.0.0.1:5000", "")?;
    let name = |name: &str| format!("localhost:5000/{name}");
    for one in ["db", "web"] {
        image(stage, &name(one))?;
        stage.compose(["image", "push", "--quiet", &name(one)]).success()?;
        stage.compose(["image", "rm", &name(one)]).success()?;
    }
    stage.file(
        "compose.yaml",
        "
services:
  db: {image: 'localhost:5000/db'}
  web: {image: 'localhost:5000/web', depends_on: [db]}
  made: {image: 'localhost:5000/made', build: {dockerfile_inline: 'FROM scratch'}}
",
    )?;
    let here = || -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let listed = stage.compose(["image", "ls", "--format", "{{.Repository}}"]).success()?;
        let mut here: Vec<_> = listed
            .stdout
            .lines()
            .filter_map(|line| Some(line.rsplit_once('/')?.1.to_owned()))
            .collect();
        here.sort();
        Ok(here)
    };
    let forget = || -> Verdict {
        for one in here()? {
            stage.compose(["image", "rm", &name(&one)]).success()?;
        }
        Ok(())
    };
    stage.compose(["pull", "web"]).success()?;
    assert_eq!(here()?, ["web"]);
    let quiet = stage.compose(["pull", "--quiet", "--include-deps", "web"]).success()?;
    assert_eq!(here()?, ["db", "web"]);
    assert_eq!(quiet.stderr, "");
    // `latest` is looked at each time; another name only if it is not here.
    stage.compose(["image", "tag", &name("db"), "localhost:5000/none:1"]).success()?;
    stage.file("one.yaml", "services: {one: {image: 'localhost:5000/none:1'}}\n")?;
    stage.compose(["-f", "one.yaml", "pull", "--policy", "missing"]).success()?;
    stage.compose(["-f", "one.yaml", "pull", "--policy", "always"]).code(1)?.complains("has no")?;
    stage.compose(["-f", "one.yaml", "pull", "--ignore-pull-failures"]).success()?;
    stage.compose(["image", "rm", "localhost:5000/none:1"]).success()?;
    let buildable = stage.compose(["pull", "--ignore-buildable"]).success()?;
    assert!(!buildable.stderr.contains("made"), "{}", buildable.stderr);
    assert!(
        stage.compose(["pull"]).success().map_or_else(|_| true, |run| run.stderr.contains("made"))
    );
    // Nothing is told of how far it is.
    for words in [["up", "--no-start"].as_slice(), &["create"]] {
        forget()?;
        let line = [words, &["--quiet-pull", "web"]].concat();
        let said = stage.compose(line).success()?.stderr;
        assert!(!said.contains("Downloading") && !said.contains("Layer"), "{said}");
        stage.compose(["down"]).success()?;
    }
    forget()?;
    let run = stage.compose(["run", "--rm", "-T", "--quiet-pull", "--no-deps", "web"]).success()?;
    assert!(!run.stderr.contains("Layer"), "{}", run.stderr);
    stage.compose(["down"]).success()?;
    let missing = stage.compose(["image", "pull", "--platform", "linux/s390x", &name("web")]);
    missing.code(1)?.complains("linux/s390x")?;
    assert_eq!(stage.compose(["image", "pull", "--quiet", &name("web")]).success()?.stderr, "");
    // Only what is built is pushed, with what it depends on if that is asked for.
    stage.file(
        "compose.yaml",
        "
services:
  db: {image: 'localhost:5000/of-db', build: {dockerfile_inline: \"FROM scratch\\nLABEL a=db\"}}
  web: {image: 'localhost:5000/of-web', build: {dockerfile_inline: \"FROM scratch\\nLABEL a=web\"}, depends_on: [db]}
",
    )?;
    stage.compose(["build"]).success()?;
    let pushed = |words: &[&str]| -> Result<String, Box<dyn std::error::Error>> {
        Ok(stage.compose([&["push"], words, &["web"]].concat()).success()?.stderr)
    };
    let said = pushed(&[])?;
    assert!(said.contains("of-web") && !said.contains("of-db"), "{said}");
    let said = pushed(&["--include-deps"])?;
    assert!(said.contains("of-web") && said.contains("of-db"), "{said}");
    assert_eq!(pushed(&["--quiet"])?, "");
    end(registry)?;
    stage.compose(["push", "web"]).code(1)?;
    stage.compose(["push", "--ignore-push-failures", "web"]).success()?;
    Ok(())
}
