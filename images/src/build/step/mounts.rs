//! The mounts of a `RUN`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::once::{Preparation, PrivateFile, Tree as LayerTree};
use runtime::spec::{Bind, MountWish};
use rustix::fs::{FlockOperation, Mode, OFlags};
use sys::root::Root;

use super::super::Secret;
use super::super::copy::{Wishes, Writer};
use super::super::dockerfile::{Heredoc, Problem, Word};
use super::super::error::Failed;
use super::super::mounts::{Mount, MountKind, Sharing};
use super::super::run::{Target, cache_directory, memory_file, path_of, tmpfs};
use super::super::ssh::{Agent, Keys, Ssh};
use super::super::state::join;
use super::super::tree::{below, kind};
use super::command::SCRIPT;
use super::layer::Fresh;
use super::{Origin, Stage, say};

/// How long a cache that somebody else has is left alone between two looks. flock(2) has no event that could be waited
/// for together with the end of a build.
const LOOK: Duration = Duration::from_millis(20);

/// The mounts of a `RUN`, as they are made.
pub(super) struct Mounts<'s, 'b, 'a> {
    stage: &'s Stage<'b, 'a>,
    fresh: &'s Fresh,
    pub(super) wishes: Vec<(MountWish, Target)>,
    pub(super) preparation: Preparation,
    pub(super) env: Vec<(String, String)>,
    /// Held until the command has ended.
    pub(super) locks: Vec<File>,
    count: usize,
}

impl<'s, 'b, 'a> Mounts<'s, 'b, 'a> {
    pub(super) fn new(stage: &'s Stage<'b, 'a>, fresh: &'s Fresh) -> Self {
        Self {
            stage,
            fresh,
            wishes: Vec::new(),
            preparation: Preparation::default(),
            env: Vec::new(),
            locks: Vec::new(),
            count: 0,
        }
    }

    fn directory(&mut self, name: &str) -> io::Result<PathBuf> {
        self.count += 1;
        let path = self.fresh.scratch.join(format!("{name}-{}", self.count));
        fs::create_dir(&path)?;
        Ok(path)
    }

    fn target(&self, mount: &Mount) -> PathBuf {
        join(&self.stage.state.directory(), &mount.target)
    }

    pub(super) fn add(
        &mut self,
        mount: &Mount,
        origin: Option<&Origin<'_>>,
        word: &Word,
    ) -> Result<(), Failed> {
        let help = "check the mount";
        let made = match mount.kind {
            MountKind::Tmpfs => {
                let target = self.target(mount);
                self.wishes.push((tmpfs(target, mount.size), Target::Directory));
                Ok(())
            }
            MountKind::Cache => return self.cache(mount, word),
            MountKind::Secret => return self.secret(mount, word),
            MountKind::Ssh => return self.ssh(mount, word),
            MountKind::Bind => match origin {
                Some(origin) => self.bind(mount, origin),
                None => Ok(()),
            },
        };
        made.map_err(|error| say(&word.place, &error, help))
    }

    fn bind(&mut self, mount: &Mount, origin: &Origin<'_>) -> io::Result<()> {
        let path = below(&mount.source);
        let found = origin.tree().root.resolve(&path, OFlags::PATH, Mode::empty())?;
        let is_directory = kind(&rustix::fs::fstat(&found)?) == rustix::fs::FileType::Directory;
        // Without links from here on.
        let real = path_of(&found)?;
        let writable = mount.writable == Some(true);
        let source = match origin {
            Origin::Context(tree) if tree.hidden.is_empty() && !writable => real,
            Origin::Context(tree) => {
                // What is hidden must not be seen: what is left is copied.
                let copy = self.directory("files")?;
                let root = Root::open(&copy)?;
                let wishes = Wishes::default();
                let mut writer = Writer::new(&root, &wishes);
                let source = tree.select_directory(&mount.source).map_err(io::Error::other)?;
                let target = if is_directory { "/" } else { "/file" };
                writer
                    .copy(tree, &[&source], target, is_directory)
                    .and_then(|()| writer.finish())
                    .map_err(io::Error::other)?;
                if is_directory { copy } else { copy.join("file") }
            }
            Origin::Layers(state, _) => {
                let at = self.directory("tree")?;
                let empty = self.directory("empty")?;
                let layers = [state.directories.clone(), vec![empty]].concat();
                let changes = if writable {
                    Some((self.directory("upper")?, self.directory("work")?))
                } else {
                    None
                };
                self.preparation.trees.push(LayerTree { at: at.clone(), layers, changes });
                at.join(real.strip_prefix("/").unwrap_or(&real))
            }
        };
        let target = self.target(mount);
        let bind = Bind { source, target, read_only: !writable, ..Bind::default() };
        let kind = if is_directory { Target::Directory } else { Target::File };
        self.wishes.push((MountWish::Bind(bind), kind));
        Ok(())
    }

    fn cache(&mut self, mount: &Mount, word: &Word) -> Result<(), Failed> {
        let target = self.target(mount);
        let id = mount.id.clone().unwrap_or_else(|| target.display().to_string());
        let failed = |error: io::Error| say(&word.place, &error, "check the mount");
        let store = self.stage.builder.store;
        let mut number = 0;
        let path = loop {
            let name = if number == 0 { id.clone() } else { format!("{id} {number}") };
            let path = store.mount_path(&name);
            let lock = File::options()
                .create(true)
                .write(true)
                .truncate(false)
                .open(path.with_extension("lock"))
                .map_err(failed)?;
            if self.lock(&lock, mount.sharing, &failed)? {
                self.locks.push(lock);
                break path;
            }
            number += 1;
        };
        let mode = mount.mode.unwrap_or(0o755);
        let is_new = cache_directory(&path, mode, mount.uid, mount.gid).map_err(failed)?;
        if let (true, Some(from)) = (is_new, &mount.from) {
            let origin = self.stage.origin(Some(from), word)?;
            let source = origin.tree().select_directory(&mount.source);
            let source = source.map_err(|error| say(&word.place, &error, "check the source"))?;
            let root = Root::open(&path).map_err(failed)?;
            let wishes = Wishes::default();
            let mut writer = Writer::new(&root, &wishes);
            writer
                .copy(origin.tree(), &[&source], "/", true)
                .and_then(|()| writer.finish())
                .map_err(|error| say(&word.place, &error, "check the source"))?;
        }
        let read_only = mount.writable == Some(false);
        let bind = Bind { source: path, target, read_only, ..Bind::default() };
        self.wishes.push((MountWish::Bind(bind), Target::Directory));
        Ok(())
    }

    /// Takes the lock of a cache, or waits for it; false if somebody else has one that is for one alone.
    fn lock(
        &self,
        lock: &File,
        sharing: Sharing,
        failed: &dyn Fn(io::Error) -> Failed,
    ) -> Result<bool, Failed> {
        let operation = match sharing {
            Sharing::Shared => FlockOperation::NonBlockingLockShared,
            Sharing::Locked | Sharing::Private => FlockOperation::NonBlockingLockExclusive,
        };
        let builder = self.stage.builder;
        loop {
            match rustix::io::retry_on_intr(|| rustix::fs::flock(lock, operation)) {
                Ok(()) => return Ok(true),
                Err(rustix::io::Errno::WOULDBLOCK) if sharing == Sharing::Private => {
                    return Ok(false);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    builder.halt.rest(LOOK);
                    builder.go_on()?;
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    fn secret(&mut self, mount: &Mount, word: &Word) -> Result<(), Failed> {
        let by_target = || mount.target.rsplit('/').next().unwrap_or_default().to_owned();
        let id = mount.id.clone().unwrap_or_else(by_target);
        let content = match self.stage.builder.recipe.secrets.get(&id) {
            Some(Secret::Value(content)) => content.clone(),
            Some(Secret::File(path)) => fs::read(path).map_err(|error| {
                let help = format!("check the file {}", path.display());
                say(&word.place, &error, &help)
            })?,
            None if mount.required => {
                let message = format!("there is no secret `{id}`");
                return Err(Problem::new(
                    word.place.clone(),
                    message,
                    "name it in `build.secrets`",
                )
                .into());
            }
            None => return Ok(()),
        };
        if let Some(name) = &mount.env {
            self.env.push((name.clone(), String::from_utf8_lossy(&content).into_owned()));
            if mount.target.is_empty() {
                return Ok(());
            }
        }
        let target = if mount.target.is_empty() {
            Path::new("/run/secrets").join(&id)
        } else {
            self.target(mount)
        };
        self.file(target, content, mount.mode.unwrap_or(0o400), mount)
            .map_err(|error| say(&word.place, &error, "check the mount"))
    }

    fn file(
        &mut self,
        target: PathBuf,
        content: Vec<u8>,
        mode: u32,
        mount: &Mount,
    ) -> io::Result<()> {
        self.count += 1;
        let name = format!("file-{}", self.count);
        let file = PrivateFile { name, content, mode, uid: mount.uid, gid: mount.gid };
        let wish = memory_file(&mut self.preparation, &self.fresh.scratch, target, file)?;
        self.wishes.push((wish, Target::File));
        Ok(())
    }

    pub(super) fn script(&mut self, script: &Heredoc) -> io::Result<()> {
        let file = PrivateFile {
            name: "script".to_owned(),
            content: script.content.clone().into_bytes(),
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let wish = memory_file(&mut self.preparation, &self.fresh.scratch, SCRIPT.into(), file)?;
        self.wishes.push((wish, Target::File));
        Ok(())
    }

    fn ssh(&mut self, mount: &Mount, word: &Word) -> Result<(), Failed> {
        let id = mount.id.clone().unwrap_or_else(|| "default".to_owned());
        let Some(ssh) = self.stage.builder.recipe.ssh.get(&id) else {
            if mount.required {
                let message = format!("there is no agent `{id}`");
                return Err(
                    Problem::new(word.place.clone(), message, "name it in `build.ssh`").into()
                );
            }
            return Ok(());
        };
        let socket = match ssh {
            Ssh::Socket(path) => path.clone(),
            Ssh::Keys(keys) => self.agent(&id, keys).map_err(|error| {
                say(&word.place, &error, "check that the data root can be written to")
            })?,
        };
        let number = self.wishes.len();
        let target = if mount.target.is_empty() {
            PathBuf::from(format!("/run/buildkit/ssh_agent.{number}"))
        } else {
            self.target(mount)
        };
        self.env.push(("SSH_AUTH_SOCK".to_owned(), target.display().to_string()));
        let bind = Bind { source: socket, target, ..Bind::default() };
        self.wishes.push((MountWish::Bind(bind), Target::File));
        Ok(())
    }

    /// The socket of the agent that has these keys.
    fn agent(&self, id: &str, keys: &Keys) -> io::Result<PathBuf> {
        let builder = self.stage.builder;
        let mut agents = builder.agents.lock().expect("nobody panics with it");
        if let Some(agent) = agents.get(id) {
            return Ok(agent.path.clone());
        }
        let name = format!("agent-{}", agents.len());
        let agent = Agent::listen(builder.workspace.path(), &name, keys)?;
        let path = agent.path.clone();
        agents.insert(id.to_owned(), agent);
        Ok(path)
    }
}
