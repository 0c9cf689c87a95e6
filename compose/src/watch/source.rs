//! The one watcher of a command: directories in, touched paths out.
//!
//! # Why
//!
//! inotify(7) watches directories, not trees. Each directory that a rule looks into is watched by itself, and not one
//! more: neither `.git` nor an ignored `node_modules` costs a watch. A directory that appears is watched first and read
//! then, so that no file falls in between. Files are watched through their directory, because a save may put another file
//! in their place.
//!
//! A directory costs inotify one watch, of which a user has up to a million (1 % of the memory). When there are none left, or no
//! instance, fanotify(7) takes over for the rest ([`super::marks`]); where it cannot, the message says which limit it is and how
//! to have more. inotify comes first because it tells in which order things have happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind};
use notify::{Config, ErrorKind, INotifyWatcher, RecursiveMode, Watcher};

use super::batch::Stage;
use super::marks::{Marks, Told};

/// Files cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The kernel has no more of something.
    #[error("cannot follow {}: all {value} of {limit} are in use", path.display())]
    Limit {
        /// What was to be followed.
        path: PathBuf,
        /// The name of the limit, as sysctl(8) knows it.
        limit: &'static str,
        /// What it is set to.
        value: u64,
    },
    /// Something else.
    #[error("cannot follow {}", path.display())]
    Watch {
        /// What was to be followed.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl WatchError {
    /// The command that raises the limit, if it is one.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::Limit { limit, value, .. } => {
                Some(format!("raise it: `sysctl -w {limit}={}`", value.saturating_mul(4)))
            }
            Self::Watch { .. } => None,
        }
    }

    /// Of what the kernel has said when `path` was to be followed.
    #[must_use]
    pub fn new(path: &Path, source: io::Error) -> Self {
        let limit = match source.raw_os_error() {
            Some(libc::ENOSPC) => Some("fs.inotify.max_user_watches"),
            Some(libc::EMFILE) => Some("fs.inotify.max_user_instances"),
            _ => None,
        };
        match limit {
            Some(limit) => Self::Limit { path: path.to_owned(), limit, value: value_of(limit) },
            None => Self::Watch { path: path.to_owned(), source },
        }
    }
}

fn value_of(limit: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/sys/{}", limit.replace('.', "/")));
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

/// Something that was touched.
#[derive(Debug)]
pub struct Touch {
    /// Its path.
    pub path: PathBuf,
    /// What is known of it.
    pub stage: Stage,
    /// When it was told.
    pub at: Instant,
}

/// What has come since it was last asked for.
#[derive(Debug, Default)]
struct Inbox {
    touched: Vec<Touch>,
    /// Events were lost.
    lost: bool,
}

/// Changes of files.
pub struct Source {
    /// None if the user has no instance left.
    watcher: Option<INotifyWatcher>,
    /// inotify has nothing left.
    is_exhausted: bool,
    /// What is watched in another way.
    marks: Option<Marks>,
    inbox: Arc<Mutex<Inbox>>,
    wake: Arc<dyn Fn() + Send + Sync>,
    /// The directories that are watched, and whether what appears in them is looked into.
    watched: BTreeMap<PathBuf, Extent>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut source = f.debug_struct("Source");
        source.field("watcher", &self.watcher).field("marks", &self.marks);
        source.field("watched", &self.watched).finish_non_exhaustive()
    }
}

/// How far a directory is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    /// Only what is in it.
    Entries,
    /// All that is below it.
    Tree,
}

/// What has changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// In the order in which it was told.
    pub touched: Vec<Touch>,
    /// More may have changed than was told.
    pub lost: bool,
}

impl Source {
    /// A watcher of nothing; `wake` is called, from another thread, whenever there is something to [take](Self::take).
    ///
    /// # Errors
    ///
    /// [`WatchError::Limit`] when the user has no instance left.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Result<Self, WatchError> {
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(wake);
        let (filled, woken) = (Arc::clone(&inbox), Arc::clone(&wake));
        let watcher = INotifyWatcher::new(
            move |event: notify::Result<notify::Event>| {
                if let Ok(mut inbox) = filled.lock()
                    && inbox.take_in(event)
                {
                    woken();
                }
            },
            Config::default(),
        );
        let watcher = watcher.map_err(|error| WatchError::new(Path::new("files"), cause(error)));
        let mut source = Self {
            watcher: None,
            is_exhausted: false,
            marks: None,
            inbox,
            wake,
            watched: BTreeMap::new(),
        };
        match watcher {
            Ok(watcher) => source.watcher = Some(watcher),
            Err(error) => source.take_over(error)?,
        }
        Ok(source)
    }

    /// Watches with marks what there is no watch for: `error` says so. It is told when that cannot be done.
    fn take_over(&mut self, error: WatchError) -> Result<(), WatchError> {
        if !matches!(error, WatchError::Limit { .. }) {
            return Err(error);
        }
        if self.marks.is_none() {
            let (filled, woken) = (Arc::clone(&self.inbox), Arc::clone(&self.wake));
            let marks = Marks::new(move |told| {
                if let Ok(mut inbox) = filled.lock() {
                    told.into_iter().for_each(|one| inbox.take_in_mark(one));
                    woken();
                }
            });
            match marks {
                Ok(marks) => self.marks = Some(marks),
                Err(reason) => {
                    tracing::debug!(error = %reason, "fanotify");
                    return Err(error);
                }
            }
        }
        self.is_exhausted = true;
        Ok(())
    }

    /// Watches the entries of a directory, but not what is below them. What is not there is not watched.
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub fn add_directory(&mut self, path: &Path) -> Result<(), WatchError> {
        if !self.watched.contains_key(path) && self.watch(path)? {
            self.watched.insert(path.to_owned(), Extent::Entries);
        }
        Ok(())
    }

    /// Watches all directories from `path` down that are `wanted`.
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub fn add_tree(
        &mut self,
        path: &Path,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<(), WatchError> {
        self.descend(path, wanted, &mut |_| {})
    }

    /// As [`Self::add_tree`]; returns all that is in it.
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub fn add_and_list(
        &mut self,
        path: &Path,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<PathBuf>, WatchError> {
        let mut list = Vec::new();
        self.descend(path, wanted, &mut |found| list.push(found.to_owned()))?;
        Ok(list)
    }

    /// Waits until what the kernel has to tell by now can be [taken](Self::take): on a busy machine the thread that reads it may come
    /// late. What marks tell is not waited for.
    pub fn catch_up(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        // It is asked for something that changes nothing. What it does meanwhile is done when it answers, and what is to be read
        // comes before a second question in any case.
        for _ in 0..2 {
            if let Err(error) = watcher.configure(Config::default()) {
                tracing::debug!(%error, "inotify");
            }
        }
    }

    /// What has changed since the last call. Directories that have appeared in a tree are watched from here on if they
    /// are `wanted`, and all that is in them counts as changed.
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub fn take(&mut self, wanted: &dyn Fn(&Path) -> bool) -> Result<Changes, WatchError> {
        let Inbox { touched, lost } =
            self.inbox.lock().map(|mut inbox| std::mem::take(&mut *inbox)).unwrap_or_default();
        let mut changes = Changes { touched: Vec::new(), lost };
        let mut last: Option<(PathBuf, bool)> = None;
        for Touch { path, stage, at } in touched {
            // One save is several events.
            let known = last.as_ref().filter(|(of, _)| *of == path).map(|(_, is_file)| *is_file);
            let is_file = match known {
                Some(is_file) => is_file,
                None => self.look_at(&path, wanted, &mut changes)?,
            };
            last = Some((path.clone(), is_file));
            let stage = if is_file { stage } else { Stage::Whole };
            changes.touched.push(Touch { path, stage, at });
        }
        if lost {
            let trees = self.watched.iter().filter(|(_, extent)| **extent == Extent::Tree);
            for path in trees.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
                self.read_again(&path, wanted, &mut changes)?;
            }
        }
        Ok(changes)
    }

    /// Keeps the watches right when a directory comes or goes. Returns whether it is a file.
    fn look_at(
        &mut self,
        path: &Path,
        wanted: &dyn Fn(&Path) -> bool,
        changes: &mut Changes,
    ) -> Result<bool, WatchError> {
        let kind = fs::symlink_metadata(path).ok().map(|found| found.file_type());
        if !kind.is_some_and(|kind| kind.is_dir()) {
            self.forget(path);
            return Ok(kind.is_some_and(|kind| kind.is_file()));
        }
        let in_tree = path.parent().and_then(|parent| self.watched.get(parent));
        if in_tree == Some(&Extent::Tree) && !self.watched.contains_key(path) {
            self.read_again(path, wanted, changes)?;
        }
        Ok(false)
    }

    fn read_again(
        &mut self,
        path: &Path,
        wanted: &dyn Fn(&Path) -> bool,
        changes: &mut Changes,
    ) -> Result<(), WatchError> {
        self.descend(path, wanted, &mut |found| changes.touched.push(Touch::whole(found)))
    }

    /// Watches what is below `path`, and tells `found` of every entry.
    fn descend(
        &mut self,
        path: &Path,
        wanted: &dyn Fn(&Path) -> bool,
        found: &mut dyn FnMut(&Path),
    ) -> Result<(), WatchError> {
        let mut open = vec![path.to_owned()];
        while let Some(directory) = open.pop() {
            if !wanted(&directory) {
                continue;
            }
            let known = self.watched.get(&directory) == Some(&Extent::Tree);
            if !known && !self.watch(&directory)? {
                continue;
            }
            self.watched.insert(directory.clone(), Extent::Tree);
            // What is gone again has been told.
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let path = entry.path();
                found(&path);
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    open.push(path);
                }
            }
        }
        Ok(())
    }

    /// Returns whether there is such a directory.
    fn watch(&mut self, path: &Path) -> Result<bool, WatchError> {
        if let Some(watcher) = self.watcher.as_mut().filter(|_| !self.is_exhausted) {
            match watcher.watch(path, RecursiveMode::NonRecursive).map_err(cause) {
                Ok(()) => return Ok(true),
                Err(error) if is_gone(&error) => return Ok(false),
                Err(error) => self.take_over(WatchError::new(path, error))?,
            }
        }
        let Some(marks) = &mut self.marks else { return Ok(false) };
        marks.add(path).map_err(|reason| {
            tracing::debug!(error = %reason, path = %path.display(), "fanotify");
            // What would help all the same.
            let limit = if self.watcher.is_some() { libc::ENOSPC } else { libc::EMFILE };
            WatchError::new(path, io::Error::from_raw_os_error(limit))
        })
    }

    /// A directory that is gone, or has another name now: its watch would tell of it under the old one.
    fn forget(&mut self, path: &Path) {
        let gone: BTreeSet<PathBuf> = self
            .watched
            .range(path.to_owned()..)
            .map(|(known, _)| known)
            .take_while(|known| known.starts_with(path))
            .cloned()
            .collect();
        for path in gone {
            self.watched.remove(&path);
            if let Some(marks) = &mut self.marks {
                marks.forget(&path);
            }
            if let Some(watcher) = &mut self.watcher {
                // The kernel may have taken it away by itself.
                let _ = watcher.unwatch(&path);
            }
        }
    }
}

impl Touch {
    /// What is as it is to be, seen now.
    #[must_use]
    pub fn whole(path: &Path) -> Self {
        Self { path: path.to_owned(), stage: Stage::Whole, at: Instant::now() }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What the kernel has said.
fn cause(error: notify::Error) -> io::Error {
    match error.kind {
        ErrorKind::Io(error) => error,
        ErrorKind::MaxFilesWatch => io::Error::from_raw_os_error(libc::ENOSPC),
        ErrorKind::PathNotFound => io::ErrorKind::NotFound.into(),
        _ => io::Error::other(error),
    }
}

impl Inbox {
    fn take_in_mark(&mut self, told: Told) {
        match told {
            Told::Lost => self.lost = true,
            Told::Touched(path, stage) => {
                self.touched.push(Touch { path, stage, at: Instant::now() });
            }
        }
    }

    /// Returns whether that is worth a look.
    fn take_in(&mut self, event: notify::Result<notify::Event>) -> bool {
        let Ok(event) = event else {
            self.lost = true;
            return true;
        };
        if event.need_rescan() {
            self.lost = true;
            return true;
        }
        let stage = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => Stage::Whole,
            EventKind::Access(_) => return false,
            EventKind::Modify(ModifyKind::Data(_)) | EventKind::Create(CreateKind::File) => {
                Stage::Writing
            }
            _ => Stage::Whole,
        };
        let at = Instant::now();
        self.touched.extend(event.paths.into_iter().map(|path| Touch { path, stage, at }));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;

    /// A source over a directory, and what wakes its owner.
    fn source(top: &Path, wanted: &dyn Fn(&Path) -> bool) -> (Source, Receiver<()>) {
        let (sender, receiver) = channel();
        let mut source = Source::new(move || {
            // Whoever has left is not woken.
            let _ = sender.send(());
        })
        .unwrap();
        source.add_tree(top, wanted).unwrap();
        (source, receiver)
    }

    /// What is done with a source of each kind.
    fn with_both(
        top: &Path,
        wanted: &dyn Fn(&Path) -> bool,
        test: &dyn Fn(&mut Source, &Receiver<()>),
    ) {
        let (mut source, awake) = source(top, wanted);
        test(&mut source, &awake);
        drop(source);
        fs::read_dir(top).unwrap().for_each(|one| fs::remove_dir_all(one.unwrap().path()).unwrap());
        let (mut exhausted, awake) = self::source(&top.join("none"), wanted);
        let limit = io::Error::from_raw_os_error(libc::ENOSPC);
        exhausted.take_over(WatchError::new(top, limit)).unwrap();
        exhausted.add_tree(top, wanted).unwrap();
        test(&mut exhausted, &awake);
    }

    /// Waits until `path` was told as touched.
    fn expect(
        source: &mut Source,
        awake: &Receiver<()>,
        wanted: &dyn Fn(&Path) -> bool,
        path: &Path,
    ) {
        loop {
            let changes = source.take(wanted).unwrap();
            if changes.touched.iter().any(|touch| touch.path == path) {
                return;
            }
            awake.recv_timeout(Duration::from_secs(60)).unwrap();
        }
    }

    #[test]
    fn tells_of_files_however_they_are_saved() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        let all = |_: &Path| true;
        with_both(top, &all, &|source, awake| {
            fs::create_dir_all(top.join("a/b")).unwrap();
            expect(source, awake, &all, &top.join("a"));
            let file = top.join("a/b/file");
            fs::write(&file, "1").unwrap();
            expect(source, awake, &all, &file);
            fs::write(top.join("a/b/.new"), "2").unwrap();
            fs::rename(top.join("a/b/.new"), &file).unwrap();
            expect(source, awake, &all, &file);
            fs::remove_file(&file).unwrap();
            expect(source, awake, &all, &file);
        });
    }

    #[test]
    fn all_that_was_saved_is_there_after_catching_up() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        let all = |_: &Path| true;
        let (mut source, _awake) = source(top, &all);
        for _ in 0..20 {
            let files = || (0..100).map(|file| top.join(file.to_string()));
            files().for_each(|file| fs::write(file, "saved").unwrap());
            source.catch_up();
            let changes = source.take(&all).unwrap();
            let told: BTreeSet<PathBuf> = changes.touched.into_iter().map(|one| one.path).collect();
            assert_eq!(told, files().collect());
        }
    }

    #[test]
    fn only_for_want_of_watches_something_else_takes_over() {
        let (mut source, _) = source(Path::new("/none"), &|_| true);
        let other = WatchError::new(Path::new("/src"), io::ErrorKind::PermissionDenied.into());
        assert!(matches!(source.take_over(other), Err(WatchError::Watch { .. })));
        assert!(source.marks.is_none() && !source.is_exhausted);
    }

    #[test]
    fn directories_that_come_and_move_are_watched() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir_in(folder.path().parent().unwrap()).unwrap();
        let top = folder.path();
        let all = |_: &Path| true;
        with_both(top, &all, &|source, awake| {
            fs::create_dir_all(elsewhere.path().join("new/deep")).unwrap();
            fs::write(elsewhere.path().join("new/deep/file"), "").unwrap();
            fs::rename(elsewhere.path().join("new"), top.join("new")).unwrap();
            expect(source, awake, &all, &top.join("new/deep/file"));
            fs::rename(top.join("new"), top.join("moved")).unwrap();
            expect(source, awake, &all, &top.join("moved/deep/file"));
            fs::write(top.join("moved/deep/later"), "").unwrap();
            expect(source, awake, &all, &top.join("moved/deep/later"));
            assert!(!source.watched.keys().any(|path| path.starts_with(top.join("new"))));
        });
    }

    #[test]
    fn what_is_not_wanted_costs_no_watch() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        fs::create_dir_all(top.join("node_modules/a/b")).unwrap();
        fs::create_dir_all(top.join("src")).unwrap();
        let wanted = |path: &Path| !path.ends_with("node_modules");
        let (source, _) = source(top, &wanted);
        let watched: Vec<&Path> = source.watched.keys().map(PathBuf::as_path).collect();
        assert_eq!(watched, [top, &top.join("src")]);
    }

    #[test]
    fn a_limit_is_told_with_its_name_value_and_remedy() {
        let error = notify::Error::new(ErrorKind::MaxFilesWatch);
        let error = WatchError::new(Path::new("/src"), cause(error));
        let value = value_of("fs.inotify.max_user_watches");
        assert!(value > 0);
        let text =
            format!("cannot follow /src: all {value} of fs.inotify.max_user_watches are in use");
        assert_eq!(error.to_string(), text);
        let remedy = format!("raise it: `sysctl -w fs.inotify.max_user_watches={}`", value * 4);
        assert_eq!(error.remedy(), Some(remedy));
        let error = io::Error::from_raw_os_error(libc::EMFILE);
        let error = WatchError::new(Path::new("files"), cause(notify::Error::io(error)));
        assert!(error.to_string().contains("fs.inotify.max_user_instances"), "{error}");
    }
}
