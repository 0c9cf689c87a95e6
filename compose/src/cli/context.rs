//! What all commands share: the flags before the command, the roots, the project.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use runtime::launch::Launch;

use super::error::CommandError;
use super::terminal::{Ansi, ProgressMode, Terminal};
use crate::api::{Follow, Orphans};
use crate::diagnostic::{Diagnostic, Severity, Style};
use crate::file::{self, LoadOptions, Loaded, Skip};
use crate::model::{Project, ProjectName, ServiceName, unsupported};
use crate::platform;
use crate::record::{Container, ProjectRecord, Roots, list};
use crate::supervisor::provider;

/// The flags before the command
#[derive(Debug, Clone, clap::Args)]
pub struct GlobalArgs {
    /// Compose files; several are merged in this order
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Name of the project (default: `name` in the file, else the directory's)
    #[arg(short, long, value_name = "NAME")]
    pub project_name: Option<String>,
    /// Directory that relative paths start from (default: that of the first file)
    #[arg(long, alias = "workdir", value_name = "DIRECTORY", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub project_directory: Option<PathBuf>,
    /// Profiles to switch on; `*` for all
    #[arg(long = "profile", value_name = "PROFILE")]
    pub profiles: Vec<String>,
    /// Files with variables, instead of `.env`
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_files: Vec<PathBuf>,
    /// When to use colours and to move the cursor
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        env = "COMPOSE_ANSI",
        default_value = "auto",
        hide_env = true
    )]
    pub ansi: Ansi,
    /// As `--ansi never`
    #[arg(long, hide = true)]
    pub no_ansi: bool,
    /// How to show progress
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        env = "COMPOSE_PROGRESS",
        default_value = "auto",
        hide_env = true
    )]
    pub progress: ProgressMode,
    /// Steps to do side by side at most; -1 for no limit
    #[arg(
        long,
        value_name = "N",
        env = "COMPOSE_PARALLEL_LIMIT",
        allow_negative_numbers = true,
        hide_env = true
    )]
    pub parallel: Option<i32>,
    /// Make networks and volumes that no service uses as well
    #[arg(long)]
    pub all_resources: bool,
    /// Name containers as version 1 of docker compose did, with `_`
    #[arg(long, env = "COMPOSE_COMPATIBILITY", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub compatibility: bool,
    /// Say what would be done and change nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
}

/// The flags before the command and the place where everything lies.
#[derive(Debug, Clone)]
pub struct Context {
    global: GlobalArgs,
    roots: Roots,
}

impl Context {
    /// The context of a command with these flags.
    #[must_use]
    pub const fn new(global: GlobalArgs, roots: Roots) -> Self {
        Self { global, roots }
    }

    /// Where everything lies.
    #[must_use]
    pub const fn roots(&self) -> &Roots {
        &self.roots
    }

    /// The flags before the command.
    #[must_use]
    pub const fn global(&self) -> &GlobalArgs {
        &self.global
    }

    /// `--parallel` as the supervisor takes it.
    #[must_use]
    pub fn parallel(&self) -> Option<u32> {
        self.global.parallel.and_then(|limit| u32::try_from(limit).ok()).filter(|limit| *limit > 0)
    }

    /// Refuses to go on without the rights of root.
    ///
    /// # Errors
    ///
    /// When the process is not root.
    pub fn require_root(&self) -> Result<(), CommandError> {
        if rustix::process::geteuid().is_root() {
            return Ok(());
        }
        Err(CommandError::failed("containers, networks and volumes are made by root only")
            .help("run the same command with `sudo`; `compose config` needs no rights"))
    }

    /// Reads the project from its files, and says what is odd about them.
    ///
    /// # Errors
    ///
    /// When there is no file or it has mistakes; all of them are told.
    pub fn load(&self, terminal: &mut Terminal) -> Result<Project, CommandError> {
        self.read(&self.options(), terminal)
    }

    /// Reads the project for a command that names services: naming one switches its profiles on.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_for(
        &self,
        services: &[ServiceName],
        terminal: &mut Terminal,
    ) -> Result<Project, CommandError> {
        Ok(self.load_to_follow(services, terminal)?.project)
    }

    /// As [`Self::load_for`], with the files that the project was read from.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_to_follow(
        &self,
        services: &[ServiceName],
        terminal: &mut Terminal,
    ) -> Result<Loaded, CommandError> {
        let mut options = self.options();
        let loaded = self.read_all(&options, terminal)?;
        let project = &loaded.project;
        let off = services.iter().filter_map(|name| project.disabled.get(name));
        let implied: Vec<String> = off.flat_map(|service| service.profiles.clone()).collect();
        if implied.is_empty() {
            return Ok(loaded);
        }
        if options.profiles.is_empty() {
            options.profiles = profiles_of(project);
        }
        options.profiles.extend(implied);
        // What is odd has been said.
        let loaded = file::load(&options).map_err(|found| mistakes(&found, &options, terminal))?;
        let compatibility = self.is_compatible(&loaded.project);
        let mut project = Project { compatibility, ..loaded.project };
        platform::fill_in(&mut project)?;
        Ok(Loaded { project, ..loaded })
    }

    /// How another process reads the same project again, when `services` are named.
    #[must_use]
    pub fn follow(&self, project: &Project, services: &[ServiceName]) -> Follow {
        let mut load = self.options();
        let known = services.iter().filter_map(|name| project.services.get(name));
        let implied: Vec<String> = known.flat_map(|service| service.profiles.clone()).collect();
        if !implied.is_empty() {
            if load.profiles.is_empty() {
                load.profiles = profiles_of(project);
            }
            load.profiles.extend(implied);
        }
        Follow { load, compatibility: project.compatibility }
    }

    /// Refuses what cannot be carried out of the services in `wanted`, and says what is left out.
    ///
    /// # Errors
    ///
    /// All that cannot be carried out, drawn over the lines of the file.
    pub fn check_support(
        &self,
        project: &Project,
        wanted: &BTreeSet<ServiceName>,
        terminal: &mut Terminal,
    ) -> Result<(), CommandError> {
        let found = unsupported(project, wanted);
        let options = self.options();
        if found.iter().any(|one| one.severity == Severity::Error) {
            return Err(mistakes(&found, &options, terminal));
        }
        terminal.warn_drawn(&draw(&found, &options, terminal));
        Ok(())
    }

    /// Reads the project; none if its name is given and there is no file here.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_if_any(&self, terminal: &mut Terminal) -> Result<Option<Project>, CommandError> {
        let options = self.given_options();
        if self.given_name()?.is_some() && !file::is_there(&options) {
            return Ok(None);
        }
        self.read(&options, terminal).map(Some)
    }

    /// Reads the service `name` from the compose file `document`, which is not on disk; paths are
    /// relative to the directory of the command.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read_document(
        &self,
        document: PathBuf,
        terminal: &mut Terminal,
    ) -> Result<Project, CommandError> {
        let options = self.options();
        let project_dir = Some(options.working_dir.clone());
        let options = LoadOptions {
            files: vec![document],
            project_dir,
            project_name: None,
            profiles: vec!["*".to_owned()],
            ..options
        };
        self.read(&options, terminal)
    }

    /// Reads the project that `options` say, and says what is odd about its files.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub(super) fn read(
        &self,
        options: &LoadOptions,
        terminal: &mut Terminal,
    ) -> Result<Project, CommandError> {
        Ok(self.read_all(options, terminal)?.project)
    }

    fn read_all(
        &self,
        options: &LoadOptions,
        terminal: &mut Terminal,
    ) -> Result<Loaded, CommandError> {
        let mut loaded =
            file::load(options).map_err(|found| mistakes(&found, options, terminal))?;
        loaded.project.compatibility = self.is_compatible(&loaded.project);
        platform::fill_in(&mut loaded.project)?;
        if self.global.dry_run {
            provider::recall(&self.roots, &mut loaded.project)?;
        }
        terminal.warn_drawn(&draw(&loaded.warnings, options, terminal));
        Ok(loaded)
    }

    /// Whether names are those of version 1, as the flag or the variable says, which may stand in `.env`.
    fn is_compatible(&self, project: &Project) -> bool {
        let variable = project.environment.get("COMPOSE_COMPATIBILITY");
        self.global.compatibility || variable.is_some_and(|value| is_on(value))
    }

    /// Which files are read: what the flags say; where they name a project and there is no file, those that it was made from.
    pub(super) fn options(&self) -> LoadOptions {
        let given = self.given_options();
        let is_open = given.files.is_empty() && given.project_dir.is_none();
        let name = given.project_name.as_deref().filter(|_| is_open && !file::is_there(&given));
        let record = name.and_then(|name| {
            // A name that none can have leads to no record.
            let name: ProjectName = name.parse().ok()?;
            ProjectRecord::read(&self.roots, name.as_str()).ok().flatten()
        });
        match record {
            Some(record)
                if !record.config_files.is_empty()
                    && record.config_files.iter().all(|file| file.is_file()) =>
            {
                let (files, project_dir) = (record.config_files, Some(record.working_dir));
                LoadOptions { files, project_dir, ..given }
            }
            _ => given,
        }
    }

    /// What the flags say about which files are read.
    fn given_options(&self) -> LoadOptions {
        let GlobalArgs { files, project_name, project_directory, profiles, env_files, .. } =
            &self.global;
        let variable = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        LoadOptions {
            // Without a directory of our own, paths that are absolute still work.
            working_dir: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            files: files.clone(),
            project_name: project_name.clone(),
            // A script may have nothing to say here, as with `-p ""`.
            project_dir: project_directory.clone().filter(|path| !path.as_os_str().is_empty()),
            env_files: env_files.clone(),
            profiles: profiles.clone(),
            environment: std::env::vars_os().filter_map(variable).collect(),
            services: Vec::new(),
            skip: Skip { unused: self.global.all_resources, ..Skip::default() },
        }
    }

    /// The name of the project and what its files say.
    ///
    /// For commands that can do with records only, as those of docker compose do: with `-p` and without `-f` they look at
    /// no file, and with `COMPOSE_PROJECT_NAME` there need not be one.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn target(&self, terminal: &mut Terminal) -> Result<Target, CommandError> {
        let records_only = self.global.project_name.is_some() && self.global.files.is_empty();
        let project = if records_only { None } else { self.load_if_any(terminal)? };
        self.target_of(project)
    }

    /// The name of the project, from its files if they were read, else from `-p`.
    ///
    /// # Errors
    ///
    /// When `-p` names no project.
    pub fn target_of(&self, project: Option<Project>) -> Result<Target, CommandError> {
        match project {
            Some(project) => Ok(Target { name: project.name.clone(), project: Some(project) }),
            None => {
                let name = self.given_name()?.ok_or_else(|| {
                    CommandError::usage("no project is named").help("say which with -p NAME")
                })?;
                Ok(Target { name, project: None })
            }
        }
    }

    fn given_name(&self) -> Result<Option<ProjectName>, CommandError> {
        let given =
            self.global.project_name.clone().or_else(|| {
                std::env::var("COMPOSE_PROJECT_NAME").ok().filter(|name| !name.is_empty())
            });
        let parsed = given.map(|name| name.parse::<ProjectName>()).transpose();
        parsed.map_err(|error| CommandError::new(&error).code(super::error::USAGE))
    }

    /// What a command as root is about, and all containers of that project.
    ///
    /// # Errors
    ///
    /// As [`Self::require_root`], [`Self::target`] and [`Self::containers`].
    pub fn target_with_containers(
        &self,
        terminal: &mut Terminal,
    ) -> Result<(Target, Vec<Container>), CommandError> {
        self.require_root()?;
        let target = self.target(terminal)?;
        let containers = self.containers(target.name.as_str())?;
        Ok((target, containers))
    }

    /// As [`Self::target_with_containers`], for a command that names services, all of which must be known.
    ///
    /// # Errors
    ///
    /// As there, and as [`Target::check`].
    pub fn containers_of(
        &self,
        services: &[ServiceName],
        terminal: &mut Terminal,
    ) -> Result<(Target, Vec<Container>), CommandError> {
        let (target, containers) = self.target_with_containers(terminal)?;
        target.check(services, &containers)?;
        Ok((target, containers))
    }

    /// The containers of the project in the order of services and numbers.
    ///
    /// # Errors
    ///
    /// When a record cannot be read.
    pub fn containers(&self, project: &str) -> Result<Vec<Container>, CommandError> {
        Ok(list::containers(&self.roots, project)?.containers)
    }

    /// How a container was started.
    ///
    /// # Errors
    ///
    /// When that was not written down.
    pub fn launch(&self, container: &Container) -> Result<Launch, CommandError> {
        let path = container.record.paths(&self.roots).launch();
        let broken = |error: &dyn std::fmt::Display| {
            CommandError::failed(format!("cannot read {}: {error}", path.display()))
                .help("`compose up --force-recreate` makes the container again")
        };
        let bytes = fs::read(&path).map_err(|error| broken(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| broken(&error))
    }

    /// As [`launch`](Self::launch); none if the container was removed since it was listed.
    ///
    /// # Errors
    ///
    /// As [`launch`](Self::launch).
    pub fn launch_if_there(&self, container: &Container) -> Result<Option<Launch>, CommandError> {
        match self.launch(container) {
            Err(_) if !container.record.paths(&self.roots).record().exists() => Ok(None),
            launch => launch.map(Some),
        }
    }
}

/// Whether a variable switches something on.
fn is_on(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "t" | "true" | "y" | "yes" | "on")
}

/// `COMPOSE_PROFILES`.
fn profiles_of(project: &Project) -> Vec<String> {
    let listed = project.environment.get("COMPOSE_PROFILES").map(String::as_str);
    let listed = listed.unwrap_or_default().split(',').map(str::trim);
    listed.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The mistakes in the files, drawn over their lines.
pub(super) fn mistakes(
    found: &[Diagnostic],
    options: &LoadOptions,
    terminal: &Terminal,
) -> CommandError {
    CommandError::drawn(draw(found, options, terminal), super::error::FAILED)
}

/// What was found, drawn over the lines of the files, or as a line of JSON each.
pub(super) fn draw(found: &[Diagnostic], options: &LoadOptions, terminal: &Terminal) -> String {
    if terminal.speaks_json() {
        return found.iter().map(|one| format!("{}\n", one.to_json())).collect();
    }
    let style = Style { color: terminal.colours_error(), base: Some(options.working_dir.clone()) };
    found.iter().map(|one| format!("{}\n\n", one.render(&style).trim_end())).collect()
}

/// Which project a command is about.
#[derive(Debug)]
pub struct Target {
    /// Its name.
    pub name: ProjectName,
    /// What its files say, if they were read.
    pub project: Option<Project>,
}

impl Target {
    /// Whether a command is about `service` that names `services`, or none.
    #[must_use]
    pub fn means(&self, services: &[ServiceName], service: &ServiceName) -> bool {
        let in_file = || {
            let project = self.project.as_ref();
            project.is_none_or(|project| project.services.contains_key(service))
        };
        if services.is_empty() { in_file() } else { services.contains(service) }
    }

    /// Refuses services that neither the files nor the containers know.
    ///
    /// # Errors
    ///
    /// A usage error that names the services there are.
    pub fn check(
        &self,
        services: &[ServiceName],
        containers: &[Container],
    ) -> Result<(), CommandError> {
        let in_files = self.project.iter().flat_map(|project| {
            project.services.keys().chain(project.disabled.keys()).map(ServiceName::as_str)
        });
        let in_records = containers.iter().map(|container| container.record.service.as_str());
        let known: BTreeSet<&str> = in_files.chain(in_records).collect();
        known_services(services, &known)
    }
}

/// Refuses services that are not in `known`.
///
/// # Errors
///
/// A usage error that names the services there are.
pub fn known_services(
    services: &[ServiceName],
    known: &BTreeSet<&str>,
) -> Result<(), CommandError> {
    match services.iter().find(|service| !known.contains(service.as_str())) {
        None => Ok(()),
        Some(service) => {
            let known: Vec<&str> = known.iter().copied().collect();
            let help = match known.as_slice() {
                [] => "the project has no services".to_owned(),
                known => format!("the services are {}", known.join(", ")),
            };
            Err(CommandError::failed(format!("no such service: {service}")).help(help))
        }
    }
}

/// Flags of commands that may meet orphans
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct OrphanArgs {
    /// Remove containers of services that the file does not have
    #[arg(long, env = "COMPOSE_REMOVE_ORPHANS", hide_env = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub remove_orphans: bool,
}

impl OrphanArgs {
    /// What is to happen to orphans; `COMPOSE_IGNORE_ORPHANS` silences the warning. The variables may stand in `.env`.
    ///
    /// # Errors
    ///
    /// When they are to be ignored and removed.
    pub fn resolve(self, project: Option<&Project>) -> Result<Orphans, CommandError> {
        let says = |name: &str| {
            let of_file = || project?.environment.get(name).cloned();
            std::env::var(name).ok().or_else(of_file).is_some_and(|value| is_on(&value))
        };
        let remove = self.remove_orphans || says("COMPOSE_REMOVE_ORPHANS");
        match (remove, says("COMPOSE_IGNORE_ORPHANS")) {
            (true, true) => Err(CommandError::usage(
                "COMPOSE_IGNORE_ORPHANS and --remove-orphans cannot be combined",
            )
            .help("unset COMPOSE_IGNORE_ORPHANS, or leave the flag out")),
            (true, false) => Ok(Orphans::Remove),
            (false, true) => Ok(Orphans::Ignore),
            (false, false) => Ok(Orphans::Warn),
        }
    }
}
