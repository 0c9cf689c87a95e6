//! `compose cp`.
//!
//! Reads and writes the file system of the container through its root, below a descriptor: the image needs no program for
//! it, and the container need not run.

pub mod entry;
pub mod pack;
mod tree;
mod unpack;

use std::ffi::OsStr;
use std::io::{self, IsTerminal, stdin, stdout};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use sys::root::Root;

use super::context::{Context, Target};
use super::error::CommandError;
use super::inside;
use super::pick::{self, Among};
use super::terminal::Terminal;
use crate::event::{Event, Kind, Status};
use crate::model::ServiceName;
use crate::record::Container;
use entry::Look;
use pack::Packer;
pub use tree::CopyError;
use tree::{Owners, at, copy, copy_children};

/// Copy files between a container and this machine
#[derive(Debug, clap::Args)]
pub struct CpArgs {
    /// SERVICE:PATH, a path of this machine, or `-` for a tar stream
    #[arg(value_name = "FROM", allow_hyphen_values = true)]
    from: Side,
    /// SERVICE:PATH, a path of this machine, or `-` for a tar stream
    #[arg(value_name = "TO", allow_hyphen_values = true)]
    to: Side,
    /// Keep owners and groups
    #[arg(long, short)]
    archive: bool,
    /// Copy what a symbolic link leads to
    #[arg(long, short = 'L')]
    follow_link: bool,
    /// Number of the container among the replicas (default: from the lowest, to all)
    #[arg(long, value_name = "N")]
    index: Option<u32>,
    /// To the one-off containers of the service as well
    #[arg(long)]
    all: bool,
}

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Side {
    Container(ServiceName, PathBuf),
    Host(PathBuf),
    Stream,
}

impl std::str::FromStr for Side {
    type Err = String;

    /// As docker reads it: a path that begins with `/` or `.` is one of this machine, whatever colons it has.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Self::Stream);
        }
        match text.split_once(':') {
            Some((service, path)) if !text.starts_with(['/', '.']) && !service.contains('/') => {
                let service =
                    service.parse().map_err(|error: crate::model::NameError| error.to_string())?;
                if path.is_empty() {
                    return Err("say which path of the container is meant".to_owned());
                }
                Ok(Self::Container(service, PathBuf::from(path)))
            }
            _ => Ok(Self::Host(PathBuf::from(text))),
        }
    }
}

/// Copies in one of the two directions.
///
/// # Errors
///
/// When neither or both sides are containers, there is no such container, or something cannot be copied.
pub fn run(args: CpArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    context.require_root()?;
    let (service, outwards) = match (&args.from, &args.to) {
        (Side::Container(service, _), Side::Host(_) | Side::Stream) => (service, true),
        (Side::Host(_) | Side::Stream, Side::Container(service, _)) => (service, false),
        (Side::Container(..), Side::Container(..)) => {
            return Err(CommandError::usage("cannot copy from one container to another")
                .help("copy to a folder of this machine, and from there"));
        }
        _ => {
            return Err(CommandError::usage("one side must be a container: SERVICE:PATH"));
        }
    };
    let target = context.target(terminal)?;
    let containers = context.containers(target.name.as_str())?;
    let chosen = chosen(&args, service, outwards, &target, &containers)?;
    if context.global().dry_run {
        for container in chosen {
            let (from, to) = (shown(&args.from), shown(&args.to));
            let name = &container.record.name;
            terminal.print(format!("DRY-RUN MODE - copy {from} to {to} ({name})\n"))?;
        }
        return Ok(0);
    }
    let several = chosen.len() > 1;
    if several && args.from == Side::Stream {
        return Err(CommandError::usage("a stream can be copied to one container only")
            .help("say which one with --index"));
    }
    for container in chosen {
        let name = container.record.name.as_str();
        terminal.draw(&Event::step(Kind::Container, name, Status::Copying));
        // The process that a stopped container's file system is mounted in can leave it only by its end.
        let done = args.carry_out(container, context);
        let word = if done.is_ok() { Status::Copied } else { Status::Error };
        terminal.draw(&Event::step(Kind::Container, name, word));
        done?;
    }
    Ok(0)
}

fn shown(side: &Side) -> String {
    match side {
        Side::Container(service, path) => format!("{service}:{}", path.display()),
        Side::Host(path) => path.display().to_string(),
        Side::Stream => "-".to_owned(),
    }
}

/// One container to copy from, all replicas to copy to.
fn chosen<'a>(
    args: &CpArgs,
    service: &ServiceName,
    outwards: bool,
    target: &Target,
    containers: &'a [Container],
) -> Result<Vec<&'a Container>, CommandError> {
    if outwards || args.index.is_some() {
        return Ok(vec![pick::container(target, containers, service, args.index, Among::All)?]);
    }
    let of_service = |one: &&Container| one.record.service == *service;
    let mut all: Vec<&Container> = containers.iter().filter(of_service).collect();
    all.retain(|one| args.all || !one.record.oneoff);
    if all.is_empty() {
        return Ok(vec![pick::container(target, containers, service, None, Among::All)?]);
    }
    let at_rest = all.iter().filter(|one| one.state.process.is_none()).count();
    if at_rest > 0 && all.len() > 1 {
        // Each would need a mount namespace of its own.
        all.retain(|one| one.state.process.is_some());
        if all.is_empty() {
            let message = format!("service {service} has {at_rest} containers, and none runs");
            return Err(CommandError::failed(message)
                .help("say which one with --index, or `compose start` them"));
        }
    }
    Ok(all)
}

impl CpArgs {
    fn carry_out(&self, container: &Container, context: &Context) -> Result<(), CommandError> {
        // Before the container's: it may bring a mount namespace of its own.
        let host = Root::open(Path::new("/"))
            .map_err(|error| CommandError::failed(format!("cannot open /: {error}")))?;
        let inside = inside::root(container, context)?;
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        let absolute = |path: &Path| join(&here, path);
        match (&self.from, &self.to) {
            (Side::Container(_, from), Side::Host(to)) => {
                let (from, to) = (join(Path::new("/"), from), absolute(to));
                inside::check_path(container, &from, context)?;
                Ok(self.between(&inside, &from, &host, &to)?)
            }
            (Side::Host(from), Side::Container(_, to)) => {
                let (from, to) = (absolute(from), join(Path::new("/"), to));
                inside::check_path(container, &to, context)?;
                Ok(self.between(&host, &from, &inside, &to)?)
            }
            (Side::Container(_, from), Side::Stream) => {
                let from = join(Path::new("/"), from);
                inside::check_path(container, &from, context)?;
                self.send(&inside, &from)
            }
            (Side::Stream, Side::Container(_, to)) => {
                let to = join(Path::new("/"), to);
                inside::check_path(container, &to, context)?;
                let folder = inside.open_dir(&to).map_err(at(&to))?;
                drop(folder);
                Ok(unpack::unpack(stdin().lock(), &inside, &to)?)
            }
            // `run` has refused these.
            _ => Ok(()),
        }
    }

    fn between(
        &self,
        from_root: &Root,
        from: &Path,
        to_root: &Root,
        to: &Path,
    ) -> Result<(), CopyError> {
        let owners = if self.archive { Owners::Kept } else { Owners::Copier };
        let source = Source::find(from_root, from, self.follow_link).map_err(at(from))?;
        let present = to_root.resolve(to, OFlags::PATH, Mode::empty());
        let present = match present {
            Ok(found) => Some(FileType::from_raw_mode(
                rustix::fs::fstat(&found).map_err(io::Error::from).map_err(at(to))?.st_mode,
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(to)(error)),
        };
        let refuse = |message: &str| Err(at(to)(io::Error::other(message.to_owned())));
        let target = match (source.is_dir, present) {
            (_, Some(FileType::Directory)) if source.content_only => {
                let from = from_root.resolve(&source.path, OFlags::DIRECTORY, Mode::empty());
                let into = to_root.resolve(to, OFlags::DIRECTORY, Mode::empty());
                let (from, into) = (from.map_err(at(&source.path))?, into.map_err(at(to))?);
                return copy_children(from, into, owners, &source.path);
            }
            (_, Some(FileType::Directory)) => to.join(&source.name),
            (true, Some(_)) => return refuse("a directory cannot be copied to a file"),
            (false, None) if ends_with_slash(to) => {
                return refuse("there is no such directory");
            }
            (false, Some(_)) => resolved(to_root, to).map_err(at(to))?,
            (_, None) => to.to_owned(),
        };
        let from_place = from_root.place(&source.path).map_err(at(from))?;
        let to_place = to_root.place(&target).map_err(at(&target))?;
        copy(&from_place, &to_place, owners, &source.path)
    }

    fn send(&self, root: &Root, from: &Path) -> Result<(), CommandError> {
        if stdout().is_terminal() {
            return Err(CommandError::usage("a tar stream is nothing for a terminal")
                .help("lead it into a file or a program: `… - | tar t`"));
        }
        let source = Source::find(root, from, self.follow_link).map_err(at(from))?;
        let mut packer = Packer::new(io::BufWriter::new(stdout().lock()), None);
        if source.content_only {
            let folder = root.resolve(&source.path, OFlags::DIRECTORY, Mode::empty());
            packer.add_children(folder.map_err(at(from))?, Path::new(""))?;
        } else {
            let place = root.place(&source.path).map_err(at(from))?;
            packer.add(&place, Path::new(&source.name))?;
        }
        packer.finish().map_err(at(Path::new("standard output")))?;
        Ok(())
    }
}

/// What is copied.
struct Source {
    /// Where it is; no link in the last place if links are followed.
    path: PathBuf,
    /// What a copy of it in a directory is called.
    name: std::ffi::OsString,
    is_dir: bool,
    /// `…/.`: what is in the directory, and not the directory.
    content_only: bool,
}

impl Source {
    fn find(root: &Root, path: &Path, follow: bool) -> io::Result<Self> {
        let content_only = ends_with_dot(path) || path.file_name().is_none();
        let name = path.file_name().unwrap_or(OsStr::new("")).to_owned();
        let path = match follow || content_only || ends_with_slash(path) {
            true => resolved(root, path)?,
            false => path.to_owned(),
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let found: Look = rustix::fs::fstat(root.resolve(&path, flags, Mode::empty())?)?.into();
        let is_dir = found.kind == FileType::Directory;
        if content_only && !is_dir {
            return Err(io::Error::other("it is no directory"));
        }
        Ok(Self { path, name, is_dir, content_only })
    }
}

/// Where a path leads below `root`, by links that are followed one by one.
fn resolved(root: &Root, path: &Path) -> io::Result<PathBuf> {
    const LINKS: usize = 40;
    // Without a slash at the end, which has the kernel follow the last link by itself.
    let mut path: PathBuf = path.components().collect();
    for _ in 0..LINKS {
        if path.file_name().is_none() {
            return Ok(path);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let found = root.resolve(&path, flags, Mode::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
        if kind != FileType::Symlink {
            return Ok(path);
        }
        let target = rustix::fs::readlinkat(&found, "", Vec::new())?;
        path = path.with_file_name("").join(OsStr::from_bytes(target.as_bytes()));
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// `path` from `folder` on, without `.` and with `..` left to whoever follows links.
fn join(folder: &Path, path: &Path) -> PathBuf {
    let mut joined = folder.to_owned();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            other => joined.push(other),
        }
    }
    // `components` drops what the end says.
    let text = path.as_os_str().as_bytes();
    let ending: &[u8] = match text {
        _ if ends_with_dot(path) => b"/.",
        _ if text.ends_with(b"/") && text.len() > 1 => b"/",
        _ => b"",
    };
    let mut joined = joined.into_os_string();
    joined.push(OsStr::from_bytes(ending));
    PathBuf::from(joined)
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

fn ends_with_dot(path: &Path) -> bool {
    let text = path.as_os_str().as_bytes();
    text == b"." || text.ends_with(b"/.")
}

impl From<CopyError> for CommandError {
    fn from(error: CopyError) -> Self {
        let said = Self::new(&error);
        match error.source.kind() {
            io::ErrorKind::NotFound => said.help("check the path on both sides"),
            io::ErrorKind::StorageFull => said.help("`df -h` shows which disk is full"),
            io::ErrorKind::ReadOnlyFilesystem => {
                said.help("the container's root or mount is read-only: copy to a volume")
            }
            io::ErrorKind::BrokenPipe => Self::silent(super::error::BROKEN_PIPE),
            _ => said,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cli::testing::{args, refusal};

    #[test]
    fn sides_are_told_apart_as_docker_does() {
        let host = |path: &str| Side::Host(PathBuf::from(path));
        let web = |path: &str| Side::Container("web".parse().unwrap(), PathBuf::from(path));
        #[rustfmt::skip]
        let table = [
            ("web:/etc", web("/etc")), ("web:etc/x", web("etc/x")), ("/a:b", host("/a:b")), ("./web:x", host("./web:x")),
            ("web", host("web")), ("a/b:c", host("a/b:c")), ("-", Side::Stream),
        ];
        for (text, side) in table {
            assert_eq!(text.parse(), Ok(side), "{text}");
        }
        assert!(refusal::<CpArgs>(&["web:", "x"]).is_some());
    }

    /// A copy between two roots, as it is between machine and container.
    fn copied(dir: &Path, from: &str, to: &str, flags: &[&str]) -> Result<(), CopyError> {
        let args: CpArgs = args(&[flags, &["web:x", "y"]].concat());
        let (left, right) = (Root::open(&dir.join("left")), Root::open(&dir.join("right")));
        args.between(&left.unwrap(), Path::new(from), &right.unwrap(), Path::new(to))
    }

    #[test]
    fn the_end_of_a_path_decides_where_a_copy_goes() {
        type Case<'a> = (&'a str, &'a str, &'a [&'a str], Result<&'a str, &'a str>);
        #[rustfmt::skip]
        let table: [Case<'_>; 14] = [
            ("/file", "/new", &[], Ok("new")),
            ("/file", "/dir", &[], Ok("dir/file")),
            ("/file", "/dir/", &[], Ok("dir/file")),
            ("/file", "/old", &[], Ok("old")),
            ("/file", "/none/", &[], Err("there is no such directory")),
            ("/file", "/none/x", &[], Err("No such file")),
            ("/tree", "/new", &[], Ok("new/leaf")),
            ("/tree", "/dir", &[], Ok("dir/tree/leaf")),
            ("/tree/.", "/dir", &[], Ok("dir/leaf")),
            ("/tree", "/old", &[], Err("a directory cannot be copied to a file")),
            ("/link", "/dir", &["-L"], Ok("dir/link/leaf")),
            ("/link/", "/dir", &[], Ok("dir/link/leaf")),
            ("/file", "/through", &[], Ok("old")),
            ("/none", "/dir", &[], Err("No such file")),
        ];
        for (from, to, flags, expected) in table {
            let dir = tempfile::tempdir().unwrap();
            let (left, right) = (dir.path().join("left"), dir.path().join("right"));
            fs::create_dir_all(left.join("tree")).unwrap();
            fs::create_dir_all(right.join("dir")).unwrap();
            fs::write(left.join("file"), "x").unwrap();
            fs::write(left.join("tree/leaf"), "x").unwrap();
            symlink("/tree", left.join("link")).unwrap();
            fs::write(right.join("old"), "old").unwrap();
            symlink("/old", right.join("through")).unwrap();
            match (copied(dir.path(), from, to, flags), expected) {
                (Ok(()), Ok(made)) => {
                    let text = fs::read_to_string(right.join(made));
                    assert_eq!(text.unwrap(), "x", "{from} {to}");
                }
                (Err(error), Err(part)) => {
                    assert!(error.source.to_string().contains(part), "{from} {to}: {error:?}");
                }
                (got, _) => panic!("{from} {to}: {got:?}"),
            }
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("left")).unwrap();
        fs::create_dir_all(dir.path().join("right")).unwrap();
        symlink("/nowhere", dir.path().join("left/link")).unwrap();
        copied(dir.path(), "/link", "/copy", &[]).unwrap();
        assert_eq!(fs::read_link(dir.path().join("right/copy")).unwrap(), Path::new("/nowhere"));
    }

    #[test]
    fn joined_paths_keep_their_end() {
        #[rustfmt::skip]
        let table = [
            ("a", "/w/a"), ("./a/", "/w/a/"), ("/x/.", "/x/."), (".", "/w/."), ("..", "/w/.."), ("/", "/"),
        ];
        for (path, joined) in table {
            assert_eq!(join(Path::new("/w"), Path::new(path)).as_os_str(), joined, "{path}");
        }
    }
}
