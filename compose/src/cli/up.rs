//! `compose up`.

mod attached;
mod beside;
mod keys;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::context::{Context, OrphanArgs};
use super::error::CommandError;
use super::replace::{self, Answer};
use super::session::Session;
use super::stop::grace;
use super::terminal::Terminal;
use super::watch::engine::Wishes;
use beside::Beside;
use images::registry::Environment;

use crate::api::{
    BuildOptions, BuildWhen, PullOptions, Recreate, UpOptions, UpRequest, Wait, path,
};
use crate::logs::paint::Look;
use crate::model::{Project, PullPolicy, ServiceName};

/// Bring the project to what its file says: create, replace, start
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// Services to bring up, with those they depend on (default: all)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Leave them running in the background
    #[arg(long, short)]
    detach: bool,
    /// Wait until they are running, or healthy if they have a health check; leaves them running
    #[arg(long, conflicts_with_all = ["abort_on_container_exit", "abort_on_container_failure", "attach", "attach_dependencies"])]
    wait: bool,
    /// Seconds after which to give up waiting
    #[arg(long, value_name = "SECONDS")]
    wait_timeout: Option<u32>,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    watch: WatchArgs,
    /// Carry every save into the containers as `develop.watch` says, and follow the compose file
    #[arg(long = "watch", short = 'w', conflicts_with_all = ["detach", "no_build", "wait", "no_start"])]
    live: bool,
    /// Go on following the files of the project in the background: a save is carried out as by `up`
    #[arg(long, requires = "detach")]
    follow: bool,
    /// Carry out a plan that `compose plan -o` has saved, or refuse if it is out of date
    #[arg(long, value_name = "FILE", conflicts_with_all = ["services", "follow", "live", "wait", "no_start", "no_deps"])]
    plan: Option<std::path::PathBuf>,
    /// Create and replace, but do not start
    #[arg(long, conflicts_with_all = ["wait", "attach", "attach_dependencies", "abort_on_container_exit", "abort_on_container_failure", "exit_code_from"])]
    no_start: bool,
    /// Leave services alone that these depend on
    #[arg(long)]
    no_deps: bool,
    /// Seconds to wait before SIGKILL; -1 for no end (default: `stop_grace_period` of the service)
    #[arg(long, short, value_name = "SECONDS", allow_negative_numbers = true, value_parser = grace)]
    timeout: Option<u32>,
}

/// What `up` and `create` may change
#[derive(Debug, clap::Args)]
pub struct ChangeArgs {
    /// Replace containers even if they match the file
    #[arg(long, conflicts_with = "no_recreate")]
    force_recreate: bool,
    /// Do not replace containers even if they do not match the file
    #[arg(long, conflicts_with_all = ["renew_anon_volumes", "always_recreate_deps"])]
    no_recreate: bool,
    /// Replace the containers of services that these depend on as well
    #[arg(long)]
    always_recreate_deps: bool,
    /// Give replaced containers new anonymous volumes
    #[arg(long, short = 'V')]
    renew_anon_volumes: bool,
    /// Number of containers of a service, instead of the file's
    #[arg(long = "scale", value_name = "SERVICE=N")]
    scales: Vec<Scale>,
    /// Do not show how images are fetched
    #[arg(long)]
    quiet_pull: bool,
    /// Answer every question with yes
    #[arg(long, short)]
    yes: bool,
    /// When to fetch images, instead of what the services say
    #[arg(long, value_enum, value_name = "WHEN")]
    pull: Option<PullWhen>,
    /// Build the images of services first, even if they are here
    #[arg(long, conflicts_with = "no_build")]
    build: bool,
    /// Do not build images, even if they are missing
    #[arg(long)]
    no_build: bool,
    /// Do not show how images are built
    #[arg(long)]
    quiet_build: bool,
    #[command(flatten)]
    orphans: OrphanArgs,
}

/// When images are fetched
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PullWhen {
    /// Each time
    Always,
    /// When they are not here
    Missing,
    /// Never: they must be here
    Never,
    /// Never: those that can be built are built
    #[value(hide = true)]
    Build,
}

impl From<PullWhen> for PullPolicy {
    fn from(when: PullWhen) -> Self {
        match when {
            PullWhen::Always => Self::Always,
            PullWhen::Missing => Self::Missing,
            PullWhen::Never => Self::Never,
            PullWhen::Build => Self::Build,
        }
    }
}

/// What an attached `up` shows and when it ends
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// Stop all containers when one exits
    #[arg(long, conflicts_with_all = ["detach", "abort_on_container_failure"])]
    abort_on_container_exit: bool,
    /// Stop all containers when one exits with a code other than 0
    #[arg(long, conflicts_with = "detach")]
    abort_on_container_failure: bool,
    /// Stop all containers when one exits; end with the exit code of this service
    #[arg(long, value_name = "SERVICE", conflicts_with = "detach")]
    exit_code_from: Option<ServiceName>,
    /// Show the output of these services only
    #[arg(long, value_name = "SERVICE", conflicts_with_all = ["detach", "attach_dependencies"])]
    attach: Vec<ServiceName>,
    /// Show the output of services that those on the command line depend on as well
    #[arg(long, conflicts_with = "detach")]
    attach_dependencies: bool,
    /// Do not show the output of these services
    #[arg(long, value_name = "SERVICE")]
    no_attach: Vec<ServiceName>,
    /// Show output without colours
    #[arg(long)]
    no_color: bool,
    /// Show output without the name of the container
    #[arg(long)]
    no_log_prefix: bool,
    /// Show the time of each line of output
    #[arg(long)]
    timestamps: bool,
    /// Obey keys: `d` leaves everything running, `w` begins and ends the watch (on a terminal)
    #[arg(long, env = "COMPOSE_MENU", hide_env = true, value_parser = clap::builder::BoolishValueParser::new(), value_name = "WHETHER", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    menu: bool,
}

/// `SERVICE=N`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scale {
    /// The service.
    pub service: ServiceName,
    /// How many containers it is to have.
    pub replicas: u32,
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, replicas) =
            text.split_once('=').ok_or("write it as SERVICE=NUMBER".to_owned())?;
        Ok(Self {
            service: service.parse().map_err(|error: crate::model::NameError| error.to_string())?,
            replicas: replicas
                .parse()
                .map_err(|_| format!("`{replicas}` is no number of containers"))?,
        })
    }
}

impl ChangeArgs {
    /// What of this goes to the supervisor.
    ///
    /// # Errors
    ///
    /// When flags and environment contradict each other, or a service is scaled that is none.
    pub fn options(
        self,
        project: &Project,
        services: Vec<ServiceName>,
        context: &Context,
    ) -> Result<UpOptions, CommandError> {
        let scale: BTreeMap<ServiceName, u32> =
            self.scales.into_iter().map(|scale| (scale.service, scale.replicas)).collect();
        known(project, services.iter())?;
        check_scales(project, &scale)?;
        if project.services.is_empty() {
            return Err(CommandError::failed("no service selected").help(
                "every service has a profile: switch one on with --profile, or name a service",
            ));
        }
        let recreate = match (self.force_recreate, self.no_recreate) {
            (true, _) => Recreate::Always,
            (_, true) => Recreate::Never,
            _ => Recreate::Diverged,
        };
        let recreate_dependencies = match (self.always_recreate_deps, recreate) {
            (true, _) => Recreate::Always,
            // Without names every service is one of those on the command line.
            (_, recreate) if services.is_empty() => recreate,
            (_, Recreate::Never) => Recreate::Never,
            _ => Recreate::Diverged,
        };
        Ok(UpOptions {
            services,
            recreate,
            recreate_dependencies,
            scale,
            orphans: self.orphans.resolve(Some(project))?,
            renew_anonymous_volumes: self.renew_anon_volumes,
            parallel: context.parallel(),
            all_resources: context.global().all_resources,
            pull: PullOptions {
                policy: self.pull.map(Into::into),
                quiet: self.quiet_pull,
                environment: Environment::of_process(),
            },
            build: BuildOptions {
                when: match (self.build, self.no_build) {
                    (true, _) => BuildWhen::Always,
                    (_, true) => BuildWhen::Never,
                    _ => BuildWhen::Missing,
                },
                quiet: self.quiet_build,
                ..BuildOptions::default()
            },
            ..UpOptions::default()
        })
    }
}

impl ChangeArgs {
    /// Asks whether a project that others have written may be brought up.
    ///
    /// # Errors
    ///
    /// When it may not.
    pub fn agree(&self, context: &Context, terminal: &mut Terminal) -> Result<(), CommandError> {
        super::foreign::agree(context, self.yes, terminal)
    }

    /// How the question is answered whether a volume may be made anew.
    #[must_use]
    pub const fn answer(&self) -> Answer {
        if self.yes { Answer::Yes } else { Answer::Asked }
    }
}

/// Refuses services that the file does not have.
///
/// # Errors
///
/// A usage error that names the services there are.
pub fn known<'a>(
    project: &Project,
    services: impl Iterator<Item = &'a ServiceName>,
) -> Result<(), CommandError> {
    let known: BTreeSet<&str> =
        project.services.keys().chain(project.disabled.keys()).map(ServiceName::as_str).collect();
    let services: Vec<ServiceName> = services.cloned().collect();
    super::context::known_services(&services, &known)
}

/// Refuses replicas of services that are not there, and of those that can have one container only.
///
/// # Errors
///
/// The first that cannot be.
pub fn check_scales(
    project: &Project,
    scale: &BTreeMap<ServiceName, u32>,
) -> Result<(), CommandError> {
    known(project, scale.keys())?;
    scale.iter().try_for_each(|(service, replicas)| scalable(project, service, *replicas))
}

/// Two containers cannot have one name.
fn scalable(project: &Project, service: &ServiceName, replicas: u32) -> Result<(), CommandError> {
    let name = project.services.get(service).and_then(|service| service.container_name.as_ref());
    match name {
        Some(name) if replicas > 1 => Err(CommandError::failed(format!(
            "service {service} cannot have {replicas} containers: all of them would be called {name}"
        ))
        .help("take `container_name` out of the service")),
        _ => Ok(()),
    }
}

/// Brings the project up, and stays with it unless told otherwise.
///
/// # Errors
///
/// When the project cannot be read or brought up.
pub fn run(args: UpArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    context.require_root()?;
    if let Some(file) = &args.plan {
        return super::plan::carry_out(file, context, terminal);
    }
    let loaded = context.load_to_follow(&args.services, terminal)?;
    let project = loaded.project.clone();
    let UpArgs { services, detach, wait, wait_timeout, change, watch, no_start, no_deps, .. } =
        args;
    let (timeout, follow, live) = (args.timeout, args.follow, args.live);
    let all = wanted(&project, &services, no_deps);
    context.check_support(&project, &all, terminal)?;
    change.agree(context, terminal)?;
    let named = watch.exit_code_from.iter().chain(&watch.attach).chain(&watch.no_attach);
    known(&project, named)?;
    let answer = change.answer();
    let mut options = change.options(&project, services, context)?;
    options.replace_volumes = replace::agree(&project, &all, answer, context, terminal)?;
    options.dependencies = !no_deps;
    options.start = !no_start;
    options.timeout_seconds = timeout;
    options.wait = wait.then_some(Wait { timeout_seconds: wait_timeout });
    let session = Session::new(context, project.name.as_str());
    if follow {
        if project.files.iter().any(|file| file.as_os_str() == "-") {
            return Err(CommandError::usage("standard input cannot be followed")
                .help("save the compose file and name it with -f"));
        }
        options.follow = Some(context.follow(&project, &options.services));
    }
    let request = UpRequest { project, options };
    let (options, services) = (request.options.clone(), request.options.services.clone());
    let when = options.build.when;
    let wishes = Wishes { services, options, prune: true, contexts: true };
    let mut beside = Beside::new(context, wishes, when);
    if live && !context.global().dry_run {
        beside.prepare(loaded, terminal)?;
    }
    if detach || wait || no_start || context.global().dry_run {
        return carry_out(&session, &request, terminal);
    }
    let look = Look {
        prefix: !watch.no_log_prefix,
        colour: terminal.colours() && !watch.no_color,
        timestamps: watch.timestamps,
    };
    let menu = watch.menu;
    let watch = watch.resolve(&request);
    attached::run(&session, &request, watch, (look, menu), beside, context, terminal)
}

/// Asks the supervisor and waits for the end; says when there was nothing to do.
///
/// # Errors
///
/// When the project cannot be brought up.
pub fn carry_out(
    session: &Session<'_>,
    request: &UpRequest,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    let outcome = session.carry_out(path::UP, request, terminal)?;
    if !outcome.changed {
        terminal.note(&format!("Project {} is up to date, nothing to do", request.project.name));
    }
    Ok(outcome.code)
}

impl WatchArgs {
    /// Which services are shown and watched.
    fn resolve(self, request: &UpRequest) -> watch::Watched {
        let UpRequest { project, options } = request;
        let on: BTreeSet<ServiceName> = project.services.keys().cloned().collect();
        let named: BTreeSet<ServiceName> = options.services.iter().cloned().collect();
        let speaks = |name: &ServiceName| {
            project.services.get(name).is_some_and(|service| service.attach || named.contains(name))
        };
        let base = match (named.is_empty(), self.attach.is_empty()) {
            (_, false) => self.attach.iter().cloned().collect(),
            (true, true) => on.clone(),
            (false, true) if self.attach_dependencies => dependencies(project, &named),
            (false, true) => named.clone(),
        };
        let shown: BTreeSet<ServiceName> = base
            .into_iter()
            .filter(|name| self.attach.contains(name) || speaks(name))
            .filter(|name| !self.no_attach.contains(name))
            .collect();
        let monitored = match (named.is_empty(), shown.is_empty()) {
            (false, _) => named,
            (true, false) => shown.clone(),
            (true, true) => on,
        };
        let abort = match (self.abort_on_container_failure, self.abort_on_container_exit) {
            (true, _) => watch::Abort::OnFailure,
            (_, true) => watch::Abort::OnExit,
            _ if self.exit_code_from.is_some() => watch::Abort::OnExit,
            _ => watch::Abort::Never,
        };
        watch::Watched { shown, monitored, abort, exit_code_from: self.exit_code_from }
    }
}

/// The services that a command with these names is about: all, those named, or these with all that they depend on.
pub fn wanted(project: &Project, named: &[ServiceName], no_deps: bool) -> BTreeSet<ServiceName> {
    let named: BTreeSet<ServiceName> = named.iter().cloned().collect();
    match (named.is_empty(), no_deps) {
        (true, _) => project.services.keys().cloned().collect(),
        (false, true) => named,
        (false, false) => dependencies(project, &named),
    }
}

/// The services in `named` and all that they depend on.
fn dependencies(project: &Project, named: &BTreeSet<ServiceName>) -> BTreeSet<ServiceName> {
    let mut all = named.clone();
    let mut open: Vec<&ServiceName> = named.iter().collect();
    while let Some(name) = open.pop() {
        let Some(service) = project.services.get(name) else { continue };
        for dependency in service.depends_on.keys() {
            if all.insert(dependency.clone()) {
                open.push(dependency);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{project, refusal};

    fn watched(words: &[&str]) -> watch::Watched {
        let args = crate::cli::testing::args::<UpArgs>(words);
        let mut project = project(&["db", "web", "job"]);
        let web = project.services.get_mut("web").unwrap();
        web.depends_on = [("db".parse().unwrap(), crate::cli::testing::dependency())].into();
        project.services.get_mut("job").unwrap().attach = false;
        let options = UpOptions { services: args.services, ..UpOptions::default() };
        args.watch.resolve(&UpRequest { project, options })
    }

    #[test]
    fn which_services_are_shown_and_monitored() {
        #[rustfmt::skip]
        let table: [(&[&str], &str, &str); 7] = [
            (&[], "db web", "db web"),
            (&["web"], "web", "web"),
            (&["web", "--attach-dependencies"], "db web", "web"),
            (&["job"], "job", "job"),
            (&["--attach", "job"], "job", "job"),
            (&["--no-attach", "db"], "web", "web"),
            (&["--no-attach", "db", "--no-attach", "web"], "", "db job web"),
        ];
        let words = |set: &BTreeSet<ServiceName>| {
            set.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(" ")
        };
        for (line, shown, monitored) in table {
            let watched = watched(line);
            assert_eq!(
                (words(&watched.shown), words(&watched.monitored)),
                (shown.into(), monitored.into()),
                "{line:?}"
            );
        }
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for line in [
            ["--force-recreate", "--no-recreate"].as_slice(),
            &["-V", "--no-recreate"],
            &["--always-recreate-deps", "--no-recreate"],
            &["-d", "--abort-on-container-exit"],
            &["-d", "--exit-code-from", "web"],
            &["-d", "--attach", "web"],
            &["--wait", "--abort-on-container-exit"],
            &["--attach", "web", "--attach-dependencies"],
            &["--abort-on-container-exit", "--abort-on-container-failure"],
            &["--wait", "--wait-timeout", "-3"],
            &["--scale", "web"],
            &["--build", "--no-build"],
        ] {
            assert!(refusal::<UpArgs>(line).is_some(), "{line:?}");
        }
        // As with docker, it means nothing there.
        assert!(refusal::<UpArgs>(&["--wait-timeout", "3"]).is_none());
    }

    #[test]
    fn exit_code_from_implies_abort() {
        assert_eq!(watched(&["--exit-code-from", "web"]).abort, watch::Abort::OnExit);
        assert_eq!(
            watched(&["--exit-code-from", "web", "--abort-on-container-failure"]).abort,
            watch::Abort::OnFailure
        );
    }

    #[test]
    fn a_fixed_name_is_for_one_container() {
        let mut project = project(&["web"]);
        project.services.get_mut("web").unwrap().container_name = Some("www".to_owned());
        let error = scalable(&project, &"web".parse().unwrap(), 2).unwrap_err();
        assert!(error.failures[0].message.contains("called www"), "{error:?}");
        assert!(scalable(&project, &"web".parse().unwrap(), 1).is_ok());
    }
}
