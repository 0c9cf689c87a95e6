//! A store with a base image, a context, and what a build says.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use images::build::{
    BuildError, DockerfileSource, Event, FailedStep, Foreign, Mistakes, Recipe, RunNetwork,
    Sandbox, Source, Surroundings,
};
use images::{Image, Import, Platform, Reference, Store};
use serde_json::Value;

/// A static busybox.
pub fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].into_iter().map(PathBuf::from).find(|path| path.exists())
}

/// The programs that the base image has as links to busybox.
const PROGRAMS: [&str; 28] = [
    "sh", "cat", "ls", "echo", "mkdir", "rm", "touch", "ln", "cp", "mv", "chmod", "chown", "id",
    "env", "test", "sleep", "grep", "stat", "find", "pwd", "printf", "wc", "head", "seq", "mknod",
    "hostname", "sort", "df",
];

/// When all that is served was changed, in seconds.
pub const CHANGED: u64 = 1_234_567_890;

/// Everything that one test has.
pub struct World {
    pub dir: tempfile::TempDir,
    pub store: Store,
    pub events: Mutex<Vec<Event>>,
    /// The networks that were made.
    pub networks: Mutex<Vec<RunNetwork>>,
    filters: PathBuf,
}

/// A network namespace of a test: loopback only, whatever was asked for.
struct Alone(OwnedFd);

impl Sandbox for Alone {
    fn namespace(&self) -> &OwnedFd {
        &self.0
    }
    fn resolver(&self) -> String {
        "nameserver 127.0.0.11\n".to_owned()
    }
}

impl Surroundings for World {
    fn network(&self, kind: RunNetwork) -> Result<Box<dyn Sandbox>, Foreign> {
        self.networks.lock().unwrap().push(kind);
        // Made by a thread that ends, since it stays in the namespace.
        let made =
            std::thread::spawn(sys::namespace::new_network).join().map_err(|_| "a thread")??;
        Ok(Box::new(Alone(made)))
    }
    fn fetch(
        &self,
        image: &Reference,
        _: &Platform,
        _: &(dyn Fn(String) + Sync),
    ) -> Result<(), Foreign> {
        Err(format!("nobody has {}", image.familiar()).into())
    }
    fn download(&self, url: &str, to: &Path) -> Result<(), Foreign> {
        let name = url.strip_prefix("http://test/").ok_or("no such host")?;
        let name = match name.split('?').next() {
            None | Some("") => "file.bin",
            Some(name) => name,
        };
        fs::copy(self.dir.path().join("served").join(name), to)?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o600))?;
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(CHANGED);
        Ok(fs::File::options().write(true).open(to)?.set_modified(time)?)
    }
    fn tell(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
    fn filters(&self) -> &Path {
        &self.filters
    }
    fn on_failure(&self, _: &FailedStep) {}
}

impl World {
    pub fn new() -> Self {
        Self::inside(&std::env::temp_dir())
    }

    /// Everything in a new directory of this one.
    pub fn inside(parent: &Path) -> Self {
        let dir = tempfile::tempdir_in(parent).unwrap();
        let store = Store::open(&dir.path().join("images")).unwrap();
        let filters = dir.path().join("filters");
        for name in ["context", "served", "filters"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let world =
            Self { dir, store, events: Mutex::default(), networks: Mutex::default(), filters };
        world.import_base();
        world
    }

    /// The store and the context of another process's test.
    pub fn at(dir: &Path) -> Self {
        let store = Store::open(&dir.join("images")).unwrap();
        // It goes with that of the test when this process is killed.
        let own = tempfile::tempdir_in(dir).unwrap();
        symlink(dir.join("context"), own.path().join("context")).unwrap();
        let filters = dir.join("filters");
        Self { dir: own, store, events: Mutex::default(), networks: Mutex::default(), filters }
    }

    fn import_base(&self) {
        let root = self.dir.path().join("root");
        for name in ["bin", "etc", "tmp", "usr/bin", "usr/lib"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::copy(busybox().expect("busybox-static is installed"), root.join("bin/busybox"))
            .unwrap();
        for program in PROGRAMS {
            symlink("busybox", root.join("bin").join(program)).unwrap();
        }
        symlink("usr/lib", root.join("lib")).unwrap();
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::write(
            root.join("etc/passwd"),
            "root:x:0:0:root:/root:/bin/sh\napp:x:1000:2000::/home/app:/bin/sh\n",
        )
        .unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\nstaff:x:50:\napp:x:2000:\n").unwrap();
        let mut archive = tar::Builder::new(Vec::new());
        archive.follow_symlinks(false);
        archive.append_dir_all(".", &root).unwrap();
        let archive = archive.into_inner().unwrap();
        fs::remove_dir_all(root).unwrap();
        let import = Import { reference: Some("base".parse().unwrap()), ..Import::default() };
        self.store.import(&archive[..], &import).unwrap();
    }

    pub fn context(&self) -> PathBuf {
        self.dir.path().join("context")
    }

    /// Writes a file of the context.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.context().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn recipe(&self, dockerfile: &str) -> Recipe {
        Recipe {
            dockerfile: DockerfileSource::Inline(dockerfile.to_owned()),
            names: vec!["built".parse().unwrap()],
            ..Recipe::new(Source::Directory(self.context()))
        }
    }

    pub fn try_build(&self, recipe: &Recipe) -> Result<Image, BuildError> {
        self.events.lock().unwrap().clear();
        self.store.build(recipe, self)
    }

    #[track_caller]
    pub fn build(&self, dockerfile: &str) -> Image {
        self.build_with(&self.recipe(dockerfile))
    }

    #[track_caller]
    pub fn build_with(&self, recipe: &Recipe) -> Image {
        match self.try_build(recipe) {
            Ok(image) => image,
            Err(BuildError::Dockerfile(mistakes)) => {
                panic!("{mistakes}\n{}", mistakes.output.join("\n"))
            }
            Err(error) => {
                panic!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string))
            }
        }
    }

    /// What is wrong, of a build that fails at a place in its file.
    #[track_caller]
    pub fn fail(&self, dockerfile: &str) -> Mistakes {
        self.fail_with(&self.recipe(dockerfile))
    }

    #[track_caller]
    pub fn fail_with(&self, recipe: &Recipe) -> Mistakes {
        match self.try_build(recipe) {
            Err(BuildError::Dockerfile(mistakes)) => *mistakes,
            other => panic!("{other:?}"),
        }
    }

    /// The key `config` of the image.
    pub fn config(&self, name: &str) -> Value {
        self.store.inspect(name).unwrap().unwrap()["Config"].clone()
    }

    /// Whether each step was in the cache.
    pub fn cached(&self) -> Vec<bool> {
        let events = self.events.lock().unwrap();
        let done: BTreeMap<usize, bool> = events
            .iter()
            .filter_map(|event| match event {
                Event::Done { step, cached, .. } => Some((*step, *cached)),
                _ => None,
            })
            .collect();
        done.into_values().collect()
    }

    /// All that the steps have said.
    pub fn said(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let said = events.iter().filter_map(|event| match event {
            Event::Said { line, .. } => Some(line.clone()),
            _ => None,
        });
        said.collect()
    }
}

/// The files of an image, mounted for reading.
pub struct Files(sys::root::Root);

impl Files {
    pub fn of(image: &Image) -> Self {
        Self(sys::root::Root::from(runtime::overlay::view(&image.layers).unwrap()))
    }

    pub fn read(&self, path: &str) -> Option<String> {
        let file = self.0.open_file(Path::new(path)).ok()?;
        Some(std::io::read_to_string(file).unwrap())
    }

    /// Mode, owner and group.
    pub fn stat(&self, path: &str) -> (u32, u32, u32) {
        let stat = self.metadata(path).unwrap_or_else(|| panic!("{path} is not there"));
        (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid)
    }

    pub fn metadata(&self, path: &str) -> Option<rustix::fs::Stat> {
        self.0.place(Path::new(path)).ok()?.metadata().unwrap()
    }

    pub fn exists(&self, path: &str) -> bool {
        self.metadata(path).is_some()
    }

    /// The names in a directory, sorted.
    pub fn list(&self, path: &str) -> Vec<String> {
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        let directory = self.0.resolve(Path::new(path), flags, rustix::fs::Mode::empty()).unwrap();
        let mut names: Vec<String> = rustix::fs::Dir::read_from(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name != "." && name != "..")
            .collect();
        names.sort();
        names
    }
}
