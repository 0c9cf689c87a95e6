//! `compose watch`: brings the project up and follows its files.

mod copies;
mod due;
pub mod engine;
mod lock;
mod way;
mod work;

use super::context::Context;
use super::error::CommandError;
use super::session::Session;
use super::terminal::Terminal;
use crate::api::{BuildOptions, BuildWhen, PullOptions, UpOptions, UpRequest, path};
use crate::event::Failure;
use crate::model::{Project, ServiceName, WatchAction};
use crate::watch::rule::{Rule, RuleError, bound};
use crate::watch::source::WatchError;
use crate::watch::sync::SyncError;
use engine::{Engine, Wishes};
use images::registry::Environment;
pub use lock::WatchLock;

/// Bring the project up, and carry every save into its containers as `develop.watch` says
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// Services to watch (default: all with `develop.watch`)
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Do not build and start the services first
    #[arg(long)]
    no_up: bool,
    /// Remove the image that a rebuild has left without a name
    #[arg(long, value_name = "WHETHER", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    prune: bool,
    /// Do not show how images are built
    #[arg(long)]
    quiet: bool,
}

/// Follows the files until the command is ended.
///
/// # Errors
///
/// When no service has anything to watch, when the project cannot be brought up, and when the kernel has no more watches.
pub fn run(
    args: WatchArgs,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<u8, CommandError> {
    context.require_root()?;
    let loaded = context.load_to_follow(&args.services, terminal)?;
    let project = &loaded.project;
    super::up::known(project, args.services.iter())?;
    let rules = rules(project, &args.services, BuildWhen::Always, terminal)?;
    if rules.is_empty() {
        return Err(CommandError::failed("no service has anything to watch").help(
            "say under `develop.watch` of a service what is to happen when a file is saved",
        ));
    }
    if context.global().dry_run {
        return announce(&rules, terminal);
    }
    let session = Session::new(context, project.name.as_str());
    let _lock = WatchLock::acquire(context.roots(), project.name.as_str())?;
    let all = super::up::wanted(project, &args.services, false);
    context.check_support(project, &all, terminal)?;
    let options = UpOptions {
        services: args.services.clone(),
        parallel: context.parallel(),
        all_resources: context.global().all_resources,
        pull: PullOptions { environment: Environment::of_process(), ..PullOptions::default() },
        build: BuildOptions { quiet: args.quiet, ..BuildOptions::default() },
        ..UpOptions::default()
    };
    let wishes = Wishes { services: args.services, options, prune: args.prune, contexts: false };
    // Whatever is saved from here on counts, also while the project comes up.
    let engine = Engine::new(context, loaded, rules, wishes)?;
    if !args.no_up {
        let (project, mut options) = (engine.project().clone(), engine.options().clone());
        options.build.services = engine.services();
        let request = UpRequest { project, options };
        session.carry_out(path::UP, &request, terminal)?;
    }
    engine.run(None, terminal)
}

/// The rules of these services, or of all; warns of those that a bind mount makes idle.
///
/// # Errors
///
/// Patterns that cannot be read, and rebuilds of what is not built.
pub fn rules(
    project: &Project,
    services: &[ServiceName],
    when: BuildWhen,
    terminal: &mut Terminal,
) -> Result<Vec<Rule>, CommandError> {
    let mut rules = Vec::new();
    let wanted = |name: &ServiceName| services.is_empty() || services.contains(name);
    for service in project.services.values().filter(|service| wanted(&service.name)) {
        for rule in &service.watch {
            let rule = Rule::new(service, rule, &project.working_dir)?;
            if rule.action == WatchAction::Rebuild
                && (service.build.is_none() || when == BuildWhen::Never)
            {
                return Err(not_built(&rule, when));
            }
            let idle = matches!(rule.action, WatchAction::Sync | WatchAction::SyncRestart);
            if idle && let Some(source) = bound(service, &rule) {
                terminal.warn(&format!(
                    "service {}: {} is not copied, because {} is mounted into its containers",
                    service.name,
                    rule.path.display(),
                    source.display()
                ));
                continue;
            }
            rules.push(rule);
        }
    }
    Ok(rules)
}

fn not_built(rule: &Rule, when: BuildWhen) -> CommandError {
    let (service, path) = (&rule.service, rule.path.display());
    let message = format!("service {service} cannot be rebuilt when {path} changes");
    let help = match when {
        BuildWhen::Never => "leave --no-build out",
        _ => "give the service a `build`, or use the action `sync` or `restart`",
    };
    CommandError::failed(message).help(help)
}

fn announce(rules: &[Rule], terminal: &mut Terminal) -> Result<u8, CommandError> {
    for Rule { service, path, action, target, .. } in rules {
        let path = path.display();
        let to = target.display();
        let what = match action {
            WatchAction::Rebuild => format!("rebuild {service} when {path} changes"),
            WatchAction::Restart => format!("restart {service} when {path} changes"),
            WatchAction::Sync => format!("copy {path} to {to} in {service}"),
            WatchAction::SyncRestart => {
                format!("copy {path} to {to} in {service}, then restart it")
            }
            WatchAction::SyncExec => {
                format!("copy {path} to {to} in {service}, then run its command")
            }
        };
        terminal.print(format!("DRY-RUN MODE - {what}\n"))?;
    }
    Ok(0)
}

impl From<RuleError> for CommandError {
    fn from(error: RuleError) -> Self {
        let help = match error {
            RuleError::Pattern { .. } => "patterns are those of .dockerignore",
            RuleError::Ignore { .. } => "make it readable, a pattern on each line",
        };
        Self::new(&error).help(help)
    }
}

impl From<WatchError> for CommandError {
    fn from(error: WatchError) -> Self {
        let help = error.remedy().unwrap_or_else(|| "check the path of the rule".to_owned());
        Self::new(&error).help(help)
    }
}

impl From<SyncError> for CommandError {
    fn from(error: SyncError) -> Self {
        use std::io::ErrorKind::{ReadOnlyFilesystem, StorageFull};
        let said = Self::from(Failure::new(&error));
        match error.source.kind() {
            ReadOnlyFilesystem => {
                said.help("the container's root or mount is read-only: sync to a volume")
            }
            StorageFull => said.help("`df -h` shows which disk is full"),
            _ => said.help("the next save of the file tries again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{args, project};
    use crate::model::{Build, WatchRule};

    fn rule(action: WatchAction) -> WatchRule {
        WatchRule {
            path: "/src".into(),
            action,
            target: Some("/app".into()),
            ignore: Vec::new(),
            include: Vec::new(),
            exec: None,
            initial_sync: false,
        }
    }

    fn quiet() -> Terminal {
        use crate::cli::terminal::{Ansi, ProgressMode};
        Terminal::new(ProgressMode::Quiet, Ansi::Never, "watch", false)
    }

    #[test]
    fn prune_is_on_unless_switched_off() {
        for (words, on) in [(&[][..], true), (&["--prune"], true), (&["--prune=false"], false)] {
            assert_eq!(args::<WatchArgs>(words).prune, on, "{words:?}");
        }
    }

    #[test]
    fn only_what_is_built_can_be_rebuilt() {
        let mut project = project(&["web"]);
        let web = project.services.get_mut("web").unwrap();
        web.watch = vec![rule(WatchAction::Rebuild)];
        let error = rules(&project, &[], BuildWhen::Missing, &mut quiet()).unwrap_err();
        assert!(error.failures[0].message.contains("cannot be rebuilt"), "{error:?}");
        project.services.get_mut("web").unwrap().build = Some(Build::default());
        assert_eq!(rules(&project, &[], BuildWhen::Missing, &mut quiet()).unwrap().len(), 1);
        assert!(rules(&project, &[], BuildWhen::Never, &mut quiet()).is_err());
    }

    #[test]
    fn what_is_mounted_is_not_copied() {
        use crate::model::{Mount, MountKind, Recursive};
        let mut project = project(&["web"]);
        let web = project.services.get_mut("web").unwrap();
        web.watch = vec![rule(WatchAction::Sync), rule(WatchAction::SyncExec)];
        assert_eq!(rules(&project, &[], BuildWhen::Missing, &mut quiet()).unwrap().len(), 2);
        let web = project.services.get_mut("web").unwrap();
        let kind = MountKind::Bind {
            source: "/".into(),
            create_host_path: false,
            propagation: None,
            recursive: Recursive::Enabled,
            selinux: None,
        };
        web.mounts.push(Mount { target: "/app".into(), read_only: false, kind });
        let left = rules(&project, &[], BuildWhen::Missing, &mut quiet()).unwrap();
        let left: Vec<WatchAction> = left.iter().map(|rule| rule.action).collect();
        assert_eq!(left, [WatchAction::SyncExec]);
    }
}
