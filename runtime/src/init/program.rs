//! The last steps: the reaper, the working directory, and the program itself.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode};
use rustix::io::Errno;

use super::entry::{Entry, Role};
use super::error::{Attempt, StepError};

/// Where programs are looked for in a container that does not say it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the reaper is called where processes are listed.
const REAPER: &str = "init --";

/// Parts the reaper, which stays PID 1, from the process that becomes the program.
///
/// Both go on through the same steps: the reaper is as confined as the program, and runs it from an image of ours that
/// nobody in the container can write to.
pub(super) fn fork_reaper(entry: &mut Entry) -> Result<(), StepError> {
    if !entry.init {
        return Ok(());
    }
    // In the host's namespace of process numbers orphans would go to the keeper.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .attempt(|| "subreaper".to_owned())?;
    // A signal that comes before the reaper waits for it is kept.
    sys::process::block_signals();
    let fork = sys::clone::fork().attempt(|| "clone3".to_owned())?;
    let Some(program) = fork else {
        return own_group(entry);
    };
    entry.role = Role::Reaper(program);
    // Best effort: without it the container would see how its keeper was started.
    let _ = sys::memory::show_as(&format!("{REAPER} {}", entry.process.args.join(" ")));
    Ok(())
}

/// Makes the program the foreground of its terminal, beside the reaper that leads the session.
fn own_group(entry: &Entry) -> Result<(), StepError> {
    rustix::process::setpgid(None, None).attempt(|| "a process group".to_owned())?;
    if entry.terminal {
        // The signals that a background process would get for this are blocked until the program is executed.
        rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid())
            .attempt(|| "the foreground of the terminal".to_owned())?;
    }
    Ok(())
}

/// Enters the working directory with the rights of root; what only the user may enter is left for later.
pub(super) fn enter_directory(entry: &mut Entry) -> Result<(), StepError> {
    match rustix::process::chdir(&entry.process.cwd) {
        Ok(()) => entry.arrived = true,
        Err(Errno::ACCESS | Errno::PERM) => {}
        Err(error) => return Err(error).attempt(|| entry.process.cwd.display().to_string()),
    }
    Ok(())
}

/// Waits until whoever has asked for the start lets it come to its program. What is there to read stays in the pipe: a
/// reaper and its program wait at the same one.
pub(super) fn await_turn(entry: &mut Entry) -> Result<(), StepError> {
    let Some(gate) = entry.gate.take() else { return Ok(()) };
    let mut polled = [PollFd::new(&gate, PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))
        .attempt(|| "waiting for its turn".to_owned())?;
    match polled[0].revents().contains(PollFlags::IN) {
        true => Ok(()),
        false => Err(StepError::refused(libc::ECANCELED, "the start was given up")),
    }
}

/// Enters the working directory as the user, if root could not, and makes sure that it is one of the container
/// (CVE-2024-21626: a descriptor of the host in the place of a directory).
pub(super) fn enter_directory_as_user(entry: &mut Entry) -> Result<(), StepError> {
    let what = || entry.process.cwd.display().to_string();
    if !entry.arrived {
        rustix::process::chdir(&entry.process.cwd).attempt(what)?;
    }
    let here = rustix::process::getcwd(Vec::new()).attempt(what)?;
    if here.as_bytes().starts_with(b"/") {
        return Ok(());
    }
    Err(StepError::refused(libc::ENOENT, format!("{} is outside of the container", what())))
}

/// Executes the program, or becomes the reaper of the one that does.
pub(super) fn execute(entry: &mut Entry) -> Result<(), StepError> {
    // From here on it outlives whoever started it.
    rustix::process::set_parent_process_death_signal(None)
        .attempt(|| "prctl(PR_SET_PDEATHSIG)".to_owned())?;
    if let Role::Reaper(program) = entry.role {
        sys::process::reap(program);
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let process = &entry.process;
    let Some(name) = process.args.first() else {
        return Err(StepError::refused(libc::ENOENT, "no command was given"));
    };
    let program = find(name, &process.env)?;
    let text = |text: &str| {
        CString::new(text)
            .map_err(|_| StepError::refused(libc::EINVAL, format!("{text:?} contains a zero byte")))
    };
    let arguments =
        process.args.iter().map(|argument| text(argument)).collect::<Result<Vec<_>, _>>()?;
    let environment =
        process.env.iter().map(|variable| text(variable)).collect::<Result<Vec<_>, _>>()?;
    let path = CString::new(program.as_os_str().as_bytes())
        .map_err(io::Error::from)
        .attempt(|| name.clone())?;
    sys::process::default_signals();
    sys::fds::close_on_exec_from(3).attempt(|| "closing descriptors".to_owned())?;
    let error = match nix::unistd::execve(&path, &arguments, &environment) {
        Err(error) => io::Error::from_raw_os_error(error as i32),
        Ok(never) => match never {},
    };
    let program = program.display();
    match error.raw_os_error() {
        Some(errno @ libc::ENOENT) => {
            let detail = format!("{program}: its interpreter or loader is not in the image");
            Err(StepError::refused(errno, detail))
        }
        Some(errno @ libc::ENOEXEC) => {
            let detail = format!("{program}: no program of this machine, and no #! line");
            Err(StepError::refused(errno, detail))
        }
        _ => Err(error).attempt(|| program.to_string()),
    }
}

/// Finds the program as execvp(3) would, in the container's own `PATH`, with the rights of the user.
///
/// What was found and may not be executed is reported (126) rather than that nothing was found (127).
fn find(name: &str, environment: &[String]) -> Result<PathBuf, StepError> {
    find_with(name, environment, Path::new(""), usable)
}

/// As [`find`], for who looks otherwise whether a path is usable. A name with a slash is one below `directory`.
pub(super) fn find_with(
    name: &str,
    environment: &[String],
    directory: &Path,
    usable: impl Fn(&Path) -> Result<(), Errno>,
) -> Result<PathBuf, StepError> {
    if name.contains('/') {
        let path = directory.join(name);
        return usable(&path).map(|()| path).attempt(|| name.to_owned());
    }
    let path = environment
        .iter()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH);
    let mut refused = None;
    for directory in path.split(':').filter(|directory| !directory.is_empty() && !name.is_empty()) {
        let candidate = Path::new(directory).join(name);
        match usable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => refused = refused.or(Some((error, candidate))),
        }
    }
    match refused {
        Some((error, candidate)) => Err(error).attempt(|| candidate.display().to_string()),
        None => Err(StepError::refused(libc::ENOENT, format!("{name:?} is not in PATH ({path})"))),
    }
}

/// Whether a path is a file that this user may execute.
fn usable(path: &Path) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ACCESS);
    }
    // Effective ids are the real ones here, and faccessat without flags is a call that every filter allows.
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_told_from_one_that_cannot_be_executed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("data"), "x").unwrap();
        let path = vec![format!("PATH=/nowhere:{}:/bin", folder.path().display())];
        assert_eq!(find("sh", &path).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find("data", &path).unwrap_err().errno, libc::EACCES);
        assert_eq!(find("nothing", &path).unwrap_err().errno, libc::ENOENT);
        assert_eq!(find("", &path).unwrap_err().errno, libc::ENOENT);
        assert_eq!(find("/bin", &path).unwrap_err().errno, libc::EACCES);
        assert_eq!(find("/bin/none", &path).unwrap_err().errno, libc::ENOENT);
    }
}
