//! Single files that are mounted: what is put in the place of one is seen in the container, which runs on.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::symlink;
use std::thread;
use std::time::Duration;

use scenarios::{Need, Running, Stage, Verdict, eventually};

use super::build::base;
use super::kills::{Moments, kill_supervisor};
use super::watch::{begin, end};
use crate::Scenario;

/// A command that stays, if it does.
type Begun = Result<Option<Running>, Box<dyn Error>>;

/// How long a save may take to be seen on a machine that has much else to do.
const BOUND: Duration = Duration::from_secs(60);

/// How many times the supervisor is killed, and within what after a save: a save takes a few milliseconds to be seen.
const KILLS: u32 = 16;
const SOON: Duration = Duration::from_millis(12);

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("up_shows_another_file_in_the_place_of_a_mounted_one", |stage| {
            follows(stage, |stage| up(stage, &["up", "--detach"]))
        }),
        Scenario::plain("up_follow_shows_another_file_in_the_place_of_a_mounted_one", |stage| {
            follows(stage, |stage| up(stage, &["up", "--detach", "--follow"]))
        }),
        Scenario::plain("up_watch_shows_another_file_in_the_place_of_a_mounted_one", |stage| {
            follows(stage, |stage| begin(stage, &["up", "--watch"], "web").map(Some))
        }),
        Scenario::plain("watch_shows_another_file_in_the_place_of_a_mounted_one", |stage| {
            follows(stage, |stage| begin(stage, &["watch"], "web").map(Some))
        }),
        Scenario::plain("a_mounted_file_is_never_missing_whoever_is_killed", killed),
        Scenario::needing(
            "up_says_which_limit_keeps_a_mounted_file_from_being_followed",
            &[Need::Root, Need::Trace],
            runs_out,
        ),
    ]
}

fn up(stage: &Stage, words: &[&str]) -> Begun {
    stage.compose(words).success()?;
    Ok(None)
}

/// The kernel has no watch for the folder of the file, and one for everything else.
fn runs_out(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    image: base\n    command: sleep 600\n    stop_grace_period: 0s\n    volumes: ['./page:/page:ro']\n",
    )?;
    stage.file("page", "one")?;
    let compose = stage.compose_command(["up"]);
    let mut refused = stage.command("sh");
    refused.args([
        "-c",
        "exec strace -f -qq --seccomp-bpf -o /dev/null -e signal=none -e trace=inotify_add_watch \
                         -e inject=inotify_add_watch:error=ENOSPC -P \"$0\" \"$@\" 2>&1",
    ]);
    refused.arg(&stage.folder).arg(compose.get_program()).args(compose.get_args());
    let up = stage.start(refused)?;
    eventually(BOUND, || match up.said() {
        said if said.contains("which is mounted is not seen: cannot follow")
            && said.contains("`sysctl -w fs.inotify.max_user_watches=") =>
        {
            Ok(())
        }
        said => Err(said.into()),
    })?;
    // It runs all the same, and has the file.
    let words = ["exec", "-T", "web", "cat", "/page"];
    eventually(BOUND, || Ok(stage.compose(words).success()?.says("one").map(drop)?))?;
    stage.compose(["down"]).success()?;
    let _how = up.finish(BOUND)?;
    Ok(())
}

/// A web server in an image with nothing else in it, as a user that is not root, on a root that cannot be written to.
const FILE: &str = "services:
  web:
    image: base
    user: '1234:1234'
    read_only: true
    command: /bin/busybox httpd -f -p 8080 -h /www
    stop_grace_period: 0s
    ports: ['8080:8080']
    volumes: ['./page:/www/page:ro', './link:/www/link', './deep/er/file:/www/deep']
    secrets: [key]
    develop: {watch: [{action: restart, path: switch}]}
secrets: {key: {file: key}}
";

fn follows(stage: &Stage, begin: fn(&Stage) -> Begun) -> Verdict {
    base(stage)?;
    stage.file("compose.yaml", FILE)?;
    stage.file("page", "one")?;
    stage.file("v1/file", "v1")?;
    stage.file("v2/file", "v2")?;
    stage.file("deep/er/file", "deep")?;
    stage.file("key", "KEY")?;
    symlink("v1", stage.folder.join("current"))?;
    symlink("current/file", stage.folder.join("link"))?;
    let running = begin(stage)?;
    shows("page", "one")?;
    shows("link", "v1")?;
    let life = life(stage)?;
    let in_place = |name: &str| stage.folder.join(name);

    save(stage, "page", "two")?;
    shows("page", "two")?;
    // What is gone is there until there is another one.
    fs::remove_file(in_place("page"))?;
    save(stage, "v1/file", "v1 again")?;
    shows("link", "v1 again")?;
    assert_eq!(get("page")?, "two");
    stage.file("page", "three")?;
    shows("page", "three")?;
    // `ln -sfn`
    symlink("v2", in_place("next"))?;
    fs::rename(in_place("next"), in_place("current"))?;
    shows("link", "v2")?;
    // Directories that go and come.
    fs::remove_dir_all(in_place("deep"))?;
    stage.file("deep/er/file", "deeper")?;
    shows("deep", "deeper")?;
    fs::rename(in_place("v2"), in_place("v3"))?;
    stage.file("v2/file", "v2 again")?;
    shows("link", "v2 again")?;
    checks_out(stage)?;
    // A secret is a file as well.
    save(stage, "key", "NEW")?;
    eventually(BOUND, || match inside(stage, &["cat", "/run/secrets/key"])?.as_str() {
        "NEW" => Ok(()),
        other => Err(other.into()),
    })?;

    // It is mounted as the one before it.
    stage.compose(as_root("echo no > /www/page")).code(1)?.complains("Read-only")?;
    stage.compose(as_root("echo yes > /www/link")).success()?;
    assert_eq!(fs::read_to_string(in_place("v2/file"))?, "yes\n");
    assert_eq!(self::life(stage)?, life, "it was not to be started again");
    stage.compose(["restart"]).success()?;
    shows("page", "other")?;
    save(stage, "page", "last")?;
    shows("page", "last")?;
    running.map_or(Ok(()), end)?;
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

/// A burst of files, one of them mounted.
fn checks_out(stage: &Stage) -> Verdict {
    let git = |words: &[&str]| -> Verdict {
        let mut command = stage.command("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@b.c"]).args(words);
        stage.run(command, None).success()?;
        Ok(())
    };
    let commit = |text: &str| -> Verdict {
        stage.file("page", text)?;
        (0..50).try_for_each(|file| stage.file(&format!("src/{file}"), text))?;
        git(&["add", "page", "src"])?;
        git(&["commit", "--quiet", "--message", text])
    };
    git(&["init", "--quiet", "--initial-branch", "main", "."])?;
    commit("three")?;
    git(&["checkout", "--quiet", "-b", "other"])?;
    commit("other")?;
    git(&["checkout", "--quiet", "main"])?;
    shows("page", "three")?;
    git(&["checkout", "--quiet", "other"])?;
    shows("page", "other")
}

/// A program that ends when the file is not there, or is empty.
fn killed(stage: &Stage) -> Verdict {
    base(stage)?;
    stage.file(
        "compose.yaml",
        "services:\n  web:\n    image: base\n    cpus: 0.2\n    command: sh -c 'while [ -s /etc/conf ]; do :; done'\n    \
         stop_grace_period: 0s\n    volumes: ['./conf:/etc/conf']\n",
    )?;
    stage.file("conf", "0")?;
    stage.compose(["up", "--detach"]).success()?;
    let life = life(stage)?;
    let mut moments = Moments::new();
    for turn in 1..=KILLS {
        save(stage, "conf", &turn.to_string())?;
        // The moment of the kill.
        thread::sleep(moments.within(SOON));
        kill_supervisor(stage)?;
        eventually(BOUND, || match inside(stage, &["cat", "/etc/conf"])? {
            said if said == turn.to_string() => Ok(()),
            said => Err(format!("turn {turn} of seed {}: {said:?}", moments.seed).into()),
        })?;
    }
    assert_eq!(self::life(stage)?, life);
    stage.compose(["down"]).success()?;
    stage.check_nothing_left()
}

fn save(stage: &Stage, name: &str, text: &str) -> Verdict {
    stage.file("saved", text)?;
    Ok(fs::rename(stage.folder.join("saved"), stage.folder.join(name))?)
}

fn get(page: &str) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, 8080))?;
    stream.set_read_timeout(Some(BOUND))?;
    write!(stream, "GET /{page} HTTP/1.0\r\n\r\n")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    let (_, body) = said.split_once("\r\n\r\n").ok_or("no body")?;
    Ok(body.to_owned())
}

fn shows(page: &str, wanted: &str) -> Verdict {
    eventually(BOUND, || match get(page)? {
        body if body == wanted => Ok(()),
        body => Err(format!("{page}: {body:?} instead of {wanted:?}").into()),
    })
}

fn inside(stage: &Stage, words: &[&str]) -> Result<String, Box<dyn Error>> {
    let words = [&["exec", "-T", "web", "/bin/busybox"], words].concat();
    Ok(stage.compose(words).success()?.stdout)
}

const fn as_root(script: &str) -> [&str; 8] {
    ["exec", "-T", "--user", "0", "web", "/bin/sh", "-c", script]
}

/// Which container it is, and when its program began.
fn life(stage: &Stage) -> Result<(String, String), Box<dyn Error>> {
    let began = inside(stage, &["sh", "-c", "set -- $(cat /proc/1/stat); echo ${22}"])?;
    Ok((stage.field("web", "ID")?, began))
}
