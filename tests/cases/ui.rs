//! The whole screen: `compose ui`, and `compose stats` where it has room for bars.

use std::fs;
use std::num::NonZero;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scenarios::{Running, Stage, Verdict, eventually};

use super::commands::ONE;
use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("ui_shows_the_project_and_acts_on_it", acts),
        Scenario::plain("ui_gives_the_terminal_back", gives_back),
        Scenario::plain("ui_acts_on_one_of_several", one_of_several),
        Scenario::plain("ui_is_resized_and_suspended", resized),
        Scenario::plain("ui_needs_a_terminal", refused),
        Scenario::plain("stats_has_bars_on_a_wide_terminal", bars),
    ]
}

const BOUND: Duration = Duration::from_secs(60);

/// Services that say something, one that is not made, and one that nobody asked for.
const TALKING: &str = "
services:
  web: {image: 'rootfs:/', command: [sh, -c, 'echo begun; echo noise; exec sleep infinity']}
  db: {image: 'rootfs:/', command: [sh, -c, 'echo ready; exec sleep infinity']}
  idle: {image: 'rootfs:/', command: [sleep, infinity]}
  off: {image: 'rootfs:/', command: 'true', profiles: [more]}
";

/// A command on a terminal of 30 rows and 120 columns, and what that shows.
struct Screen<'s> {
    stage: &'s Stage,
    running: Running,
}

/// Leaves the modes of the terminal before and after in files, and the process id of what has it.
const AROUND: &str = r#"
    stty rows 30 cols 120
    stty -a > before
    TERM=xterm-256color sh -c 'echo $$ > pid; exec "$0" "$@"' "$0" "$@"
    code=$?
    stty -a > after
    exit $code
"#;

/// What a terminal of this size makes of it.
fn parsed(said: &str) -> vt100::Parser {
    const ROWS: NonZero<u16> = NonZero::new(30).expect("not zero");
    const COLUMNS: NonZero<u16> = NonZero::new(120).expect("not zero");
    let mut parser = vt100::Parser::new(ROWS, COLUMNS, 0);
    parser.process(said.as_bytes());
    parser
}

impl<'s> Screen<'s> {
    fn of(stage: &'s Stage, words: &[&str]) -> Result<Self, Box<dyn std::error::Error>> {
        for file in ["before", "after", "pid"] {
            let _absent = fs::remove_file(stage.folder.join(file));
        }
        let compose = stage.compose_command(words);
        let mut command = stage.command("sh");
        command.args(["-c", AROUND]).arg(compose.get_program()).args(compose.get_args());
        Ok(Self { stage, running: stage.start_on_terminal(&command)? })
    }

    fn shown(&self) -> String {
        parsed(&self.running.said()).screen().contents()
    }

    fn shows(&self, words: &str) -> Verdict {
        eventually(BOUND, || match self.shown() {
            shown if shown.contains(words) => Ok(()),
            shown => Err(format!("no {words:?} on the screen:\n{shown}").into()),
        })
    }

    fn hides(&self, words: &str) -> Verdict {
        eventually(BOUND, || match self.shown() {
            shown if !shown.contains(words) => Ok(()),
            shown => Err(format!("{words:?} is on the screen:\n{shown}").into()),
        })
    }

    /// Waits for the end with this code; the terminal is as it was, and what was drawn is gone from it.
    fn ends(self, code: i32) -> Verdict {
        let shown = {
            let stage = self.stage;
            let said = self.running.finish(BOUND)?.code(code)?.stdout;
            let modes = |file: &str| fs::read_to_string(stage.folder.join(file));
            assert_eq!(modes("before")?, modes("after")?);
            let parser = parsed(&said);
            let screen = parser.screen();
            assert!(!screen.alternate_screen() && !screen.hide_cursor());
            screen.contents()
        };
        assert!(!shown.contains("SERVICE"), "{shown}");
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Verdict {
        let pid = fs::read_to_string(self.stage.folder.join("pid"))?;
        Ok(kill(Pid::from_raw(pid.trim().parse()?), signal)?)
    }
}

fn acts(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", TALKING)?;
    stage.compose(["up", "-d", "web", "db"]).success()?;
    let mut ui = Screen::of(stage, &["ui"])?;
    for words in ["SERVICE", "2/2 running", "web-1 │ begun", "db-1  │ ready", "db-1 started"] {
        ui.shows(words)?;
    }
    // What does not have the text is hidden while that is typed.
    ui.running.say("fNoi\u{7f}")?;
    ui.shows("filter: No")?;
    ui.running.say("\u{15}noi")?;
    ui.shows("lines: noi")?;
    ui.hides("begun")?;
    ui.running.say("\r\u{1b}")?;
    ui.shows("web-1 │ begun")?;
    // One service, restarted: another start, and its lines.
    ui.running.say("jjj")?;
    ui.shows("log: web")?;
    ui.hides("ready")?;
    ui.running.say("r")?;
    ui.shows("restarted web")?;
    let said = stage.compose(["logs", "--no-log-prefix", "web"]).success()?.stdout;
    assert_eq!(said.matches("begun").count(), 2, "{said}");
    eventually(BOUND, || match ui.shown().matches("begun").count() {
        2 => Ok(()),
        _ => Err(ui.shown().into()),
    })?;
    // Stopped and started by the same key.
    ui.running.say("s")?;
    ui.shows("stopped web")?;
    ui.shows("1/2 running")?;
    assert_eq!(stage.field("web", "State")?, "exited");
    ui.running.say("e")?;
    ui.shows("it does not run")?;
    ui.running.say("s")?;
    ui.shows("started web")?;
    assert_eq!(stage.field("web", "State")?, "running");
    // A shell in the container has the terminal meanwhile.
    ui.running.say("e")?;
    ui.hides("SERVICE")?;
    ui.running.say("echo in$((40+2))side > /seen; exit\n")?;
    ui.shows("SERVICE")?;
    stage.compose(["exec", "-T", "web", "cat", "/seen"]).success()?.says("in42side")?;
    // What another terminal does is seen without a key.
    stage.compose(["kill", "db"]).success()?;
    ui.shows("exited (137)")?;
    // What is not there is made.
    ui.shows("not created")?;
    ui.running.say("k")?;
    ui.shows("log: idle")?;
    ui.running.say("u")?;
    ui.hides("not created")?;
    ui.shows("2/3 running")?;
    assert_eq!(stage.field("idle", "State")?, "running");
    ui.running.say("q")?;
    ui.ends(0)?;
    assert_eq!(stage.field("web", "State")?, "running");
    stage.compose(["down"]).success()?;
    Ok(())
}

/// On the row of a container that container alone is meant; what it has written in colours has them.
fn one_of_several(stage: &Stage) -> Verdict {
    let file = "services: {web: {image: 'rootfs:/', deploy: {replicas: 2}, command: [sh, -c, 'printf \"\\033[31mred\\033[0m\\n\"; exec sleep infinity']}}";
    stage.file("compose.yaml", file)?;
    stage.compose(["up", "-d"]).success()?;
    let ids = || stage.compose(["ps", "--format", "{{.Name}} {{.RunningFor}} {{.State}}"]);
    let starts = |number: u32| -> Result<usize, Box<dyn std::error::Error>> {
        let said = stage.compose(["logs", "web"]).success()?.stdout;
        Ok(said.matches(&format!("web-{number} ")).count())
    };
    assert_eq!((starts(1)?, starts(2)?), (1, 1), "{:?}", ids());
    let mut ui = Screen::of(stage, &["ui"])?;
    ui.shows("2/2 running")?;
    ui.running.say("jjj")?;
    ui.shows("log: web-2")?;
    ui.shows("red")?;
    ui.running.say("r")?;
    ui.shows("restarted web-2")?;
    assert_eq!((starts(1)?, starts(2)?), (1, 2));
    ui.running.say("s")?;
    ui.shows("stopped web-2")?;
    ui.shows("1/2 running")?;
    ui.running.say("s")?;
    ui.shows("started web-2")?;
    ui.shows("2/2 running")?;
    assert_eq!((starts(1)?, starts(2)?), (1, 3));
    let said = ui.running.said();
    let parser = parsed(&said);
    let screen = parser.screen();
    let is_red = |row: u16, column: u16| {
        let cell = screen.cell(row, column);
        cell.is_some_and(|cell| cell.contents() == "r" && cell.fgcolor() == vt100::Color::Idx(1))
    };
    let any = (0..30).any(|row| (0..120).any(|column| is_red(row, column)));
    assert!(any, "nothing is red:\n{}", screen.contents());
    ui.running.say("q")?;
    ui.ends(0)?;
    stage.compose(["down", "-t", "0"]).success()?;
    Ok(())
}

/// The view fits a terminal that changes its size, and comes back after Ctrl-Z; a hundred services do not make it slow.
fn resized(stage: &Stage) -> Verdict {
    let many: String = (0..100)
        .map(|number| format!("  s{number:02}: {{image: 'rootfs:/', command: 'true'}}\n"))
        .collect();
    stage.file("compose.yaml", &format!("services:\n{many}"))?;
    let mut ui = Screen::of(stage, &["ui"])?;
    ui.shows("s03")?;
    // The keys of a whole walk are answered by the last row.
    ui.running.say(&"j".repeat(100))?;
    ui.shows("log: s99")?;
    let pid = fs::read_to_string(stage.folder.join("pid"))?;
    let pid = Pid::from_raw(pid.trim().parse()?);
    let terminal = fs::read_link(format!("/proc/{pid}/fd/0"))?;
    let mut stty = stage.command("stty");
    stty.arg("-F").arg(&terminal).args(["rows", "12", "cols", "60"]);
    stage.run(stty, None).success()?;
    // Nothing is drawn beyond it from now on.
    let drawn = ui.running.said().len();
    ui.running.say("k")?;
    eventually(BOUND, || {
        let said = ui.running.said();
        match said.get(drawn..).unwrap_or_default() {
            new if new.contains("s98") && !new.contains("\u{1b}[13;") => Ok(()),
            new => Err(format!("drawn: {new:?}").into()),
        }
    })?;
    // Ctrl-Z: it stops, and gives the terminal back meanwhile.
    ui.running.say("\u{1a}")?;
    let stopped = || -> Result<bool, Box<dyn std::error::Error>> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Ok(stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T')))
    };
    eventually(BOUND, || match stopped()? {
        true => Ok(()),
        false => Err("it goes on".into()),
    })?;
    assert!(!parsed(&ui.running.said()).screen().alternate_screen());
    kill(pid, Signal::SIGCONT)?;
    eventually(BOUND, || match parsed(&ui.running.said()).screen().alternate_screen() {
        true => Ok(()),
        false => Err("it has not come back".into()),
    })?;
    // Its modes are compared with those that it had.
    let mut stty = stage.command("stty");
    stty.arg("-F").arg(&terminal).args(["rows", "30", "cols", "120"]);
    stage.run(stty, None).success()?;
    ui.running.say("q")?;
    ui.ends(0)?;
    Ok(())
}

fn gives_back(stage: &Stage) -> Verdict {
    stage.file("project/compose.yaml", TALKING)?;
    stage.compose(["-f", "project/compose.yaml", "up", "-d", "web", "db"]).success()?;
    // By name, without a file.
    let words = ["-p", &stage.project, "ui"];
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let ui = Screen::of(stage, &words)?;
        ui.shows("2/2 running")?;
        ui.signal(signal)?;
        ui.ends(130)?;
    }
    let mut ui = Screen::of(stage, &words)?;
    ui.shows("2/2 running")?;
    ui.running.say("\u{3}")?;
    ui.ends(130)?;
    // What happens is told to a view that knows no file as well.
    let mut ui = Screen::of(stage, &words)?;
    ui.shows("2/2 running")?;
    // A supervisor that is killed is listened to again.
    super::kills::kill_supervisor(stage)?;
    ui.shows("the supervisor is there again")?;
    stage.compose(["-p", &stage.project, "stop", "db"]).success()?;
    ui.shows("1/2 running")?;
    ui.running.say("q")?;
    ui.ends(0)?;
    stage.compose(["-f", "project/compose.yaml", "down"]).success()?;
    Ok(())
}

fn refused(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ONE)?;
    stage.compose(["ui"]).code(2)?.complains("compose logs --follow")?;
    let dumb = stage.start_on_terminal(&stage.compose_command(["ui"]))?;
    dumb.finish(BOUND)?.code(2)?.says("needs a terminal")?;
    Ok(())
}

fn bars(stage: &Stage) -> Verdict {
    stage.file("compose.yaml", ONE)?;
    stage.compose(["up", "-d"]).success()?;
    let stats = stage.compose_command(["stats"]);
    for (columns, wide) in [(200, true), (80, false)] {
        let line = format!("stty cols {columns}; exec \"$0\" \"$@\"");
        let mut command = stage.command("sh");
        command.args(["-c", &line]).arg(stats.get_program()).args(stats.get_args());
        let mut live = stage.start_on_terminal(&command)?;
        eventually(BOUND, || match live.said() {
            said if said.contains("web-1") && said.contains('%') => Ok(()),
            said => Err(said.into()),
        })?;
        live.say("\u{3}")?;
        let said = live.finish(BOUND)?.code(130)?.stdout;
        assert_eq!(said.contains("HISTORY"), wide, "{said}");
        assert_eq!(said.contains("█"), wide, "{said}");
    }
    let piped = stage.compose(["stats", "--no-stream"]).success()?.says("CONTAINER ID")?;
    assert!(!piped.stdout.contains("HISTORY"), "{}", piped.stdout);
    stage.compose(["down"]).success()?;
    Ok(())
}
