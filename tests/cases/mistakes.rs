//! What people get wrong: for each file in `mistakes/` the words that they read, the exit code, and nothing left behind.
//!
//! `NAME.yaml` is what `up` is given and `NAME.txt` what it answers, with the folder of the project as `FOLDER` and so on,
//! followed by the containers that are there to be looked at. Without such a container nothing at all may be left.
//! `UPDATE_EXPECTED=1` writes the answers anew: read them before they are committed.

use std::error::Error;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use scenarios::{Run, Stage, Verdict};

/// The file that is played on this stage: the scenario is called after it.
pub(super) fn play(stage: &Stage) -> Verdict {
    let name = stage.name.strip_prefix("mistake_").unwrap_or(&stage.name);
    stage.file("compose.yaml", &fs::read_to_string(folder().join(format!("{name}.yaml")))?)?;
    let holder = (name == "port_taken").then(|| TcpListener::bind("127.0.0.1:8080")).transpose()?;
    let up = stage.compose(["up", "--detach"]);
    drop(holder);
    let said = answer(stage, &up) + &remains(stage)?;
    expect(&folder(), name, &said)?;
    // A file that cannot be read cannot be taken down either; by its name the project can.
    let _some_fail = stage.compose(["--project-name", &stage.project, "down", "--volumes"]);
    stage.check_nothing_left()
}

/// Requires that `said` is what `NAME.txt` in `folder` has.
pub(super) fn expect(folder: &Path, name: &str, said: &str) -> Verdict {
    let expected = folder.join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&expected, said)?;
    }
    let expected = fs::read_to_string(&expected)
        .map_err(|error| format!("{}: {error}", expected.display()))?;
    if said == expected {
        return Ok(());
    }
    Err(format!("--- expected\n{expected}--- said\n{said}").into())
}

/// The names of all mistakes.
pub(super) fn names() -> Vec<String> {
    let entries = fs::read_dir(folder()).into_iter().flatten().flatten();
    let files = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> =
        files.filter_map(|file| file.strip_suffix(".yaml").map(str::to_owned)).collect();
    names.sort();
    names
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mistakes")
}

/// The containers that a failed `up` leaves for `ps` and `logs`, until `down`.
fn remains(stage: &Stage) -> Result<String, Box<dyn Error>> {
    // Of a file that cannot be read there is nothing to be shown.
    let listed =
        stage.compose(["--project-name", &stage.project, "ps", "--all", "--format", "json"]);
    let mut text = String::new();
    for line in listed.success()?.stdout.lines() {
        let container: serde_json::Value = serde_json::from_str(line)?;
        let [name, state] = ["Name", "State"].map(|field| container[field].as_str().unwrap_or("?"));
        text += &format!("left: {name} {state}, exit code {}\n", container["ExitCode"]);
    }
    if text.is_empty() {
        stage.check_nothing_left()?;
    }
    Ok(text.replace(&stage.project, "PROJECT"))
}

/// What was said on standard error and the exit code, without what differs from run to run.
pub(super) fn answer(stage: &Stage, run: &Run) -> String {
    let code =
        if run.timed_out { "none".to_owned() } else { run.status.code().unwrap_or(-1).to_string() };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let ceiling = run.stderr.split_once("that can be given here is ");
    let ceiling = ceiling.and_then(|(_, number)| number.lines().next()).unwrap_or("none");
    let text = run
        .stderr
        .replace(&format!("available ones, {}\n", online.trim()), "available ones, 0-LAST\n")
        .replace(
            &format!("{processors}.00, as there are {processors}"),
            "COUNT.00, as there are COUNT",
        )
        .replace(&format!("given here is {ceiling}\n"), "given here is MOST\n")
        .replace(&*stage.folder.to_string_lossy(), "FOLDER")
        .replace(&*stage.roots.to_string_lossy(), "ROOTS")
        .replace(&stage.project, "PROJECT");
    let words: String = text.split_inclusive('\n').filter(|line| !is_progress(line)).collect();
    format!("{}exit code {code}\n", without_holder(&words))
}

/// ` Container NAME  Creating`: what was done meanwhile, in an order that may differ.
fn is_progress(line: &str) -> bool {
    [" Network ", " Volume ", " Container "].iter().any(|kind| line.starts_with(kind))
}

/// `in use by NAME (pid PID)`, whoever it was.
fn without_holder(text: &str) -> String {
    let Some((before, rest)) = text.split_once("in use by ") else { return text.to_owned() };
    let Some((holder, after)) = rest.split_once(')') else { return text.to_owned() };
    let known = holder.split_once(" (pid ").is_some_and(|(_, pid)| pid.parse::<u32>().is_ok());
    let holder = if known { "NAME (pid PID)" } else { holder };
    format!("{before}in use by {holder}{after}")
}
