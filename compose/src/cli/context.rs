//! What all commands share: the flags before the command, the roots, the project.

use std::path::PathBuf;

use super::error::CommandError;
use super::terminal::{Ansi, ProgressMode, Terminal};
use crate::api::Orphans;
use crate::model::{Project, ProjectName, ServiceName};
use crate::record::{Container, Roots, list};

/// The flags before the command
#[derive(Debug, clap::Args)]
pub struct GlobalArgs {
    /// Compose files; several are merged in this order
    #[arg(short, long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Name of the project (default: `name` in the file, else the directory's)
    #[arg(short, long, value_name = "NAME")]
    pub project_name: Option<String>,
    /// Directory that relative paths start from (default: that of the first file)
    #[arg(long, value_name = "DIRECTORY")]
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
    /// Say what would be done and change nothing
    #[arg(long, global = true)]
    pub dry_run: bool,
}

/// The flags before the command and the place where everything lies.
#[derive(Debug)]
pub struct Context {
    global: GlobalArgs,
    roots: Roots,
}

impl Context {
    /// The context of a command with these flags; the roots come from the environment.
    #[must_use]
    pub fn new(global: GlobalArgs) -> Self {
        Self { global, roots: Roots::from_env() }
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
        {
            let _ = terminal;
            Err(CommandError::failed("the loader is missing"))
        }
    }

    /// Reads the project; with `-p` the records do if there is no file.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn load_if_any(&self, terminal: &mut Terminal) -> Result<Option<Project>, CommandError> {
        {
            let _ = terminal;
            Err(CommandError::failed("the loader is missing"))
        }
    }

    /// The name of the project and, unless `-p` says the name and `-f` no file, the project.
    ///
    /// For commands that read records only: with `-p` they look at no file.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn target(&self, terminal: &mut Terminal) -> Result<Target, CommandError> {
        if let (Some(name), true) = (self.given_name()?, self.global.files.is_empty()) {
            return Ok(Target { name, project: None });
        }
        let project = self.load(terminal)?;
        Ok(Target { name: project.name.clone(), project: Some(project) })
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

    /// The containers of the project in the order of services and numbers.
    ///
    /// # Errors
    ///
    /// When a record cannot be read.
    pub fn containers(&self, project: &str) -> Result<Vec<Container>, CommandError> {
        Ok(list::containers(&self.roots, project)?.containers)
    }
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
        let known: std::collections::BTreeSet<&str> = in_files.chain(in_records).collect();
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
    known: &std::collections::BTreeSet<&str>,
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
    #[arg(long, env = "COMPOSE_REMOVE_ORPHANS", hide_env = true)]
    pub remove_orphans: bool,
}

impl OrphanArgs {
    /// What is to happen to orphans; `COMPOSE_IGNORE_ORPHANS` silences the warning.
    ///
    /// # Errors
    ///
    /// When they are to be ignored and removed.
    pub fn resolve(self) -> Result<Orphans, CommandError> {
        let ignore = std::env::var("COMPOSE_IGNORE_ORPHANS")
            .is_ok_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes"));
        match (self.remove_orphans, ignore) {
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
