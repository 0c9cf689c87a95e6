//! The one table of attributes that are read and checked, and that `up` does not carry out (yet).
//!
//! Nothing is accepted and then silently ignored: what would change how a program runs is refused,
//! what is only a hint is said. An attribute that is carried out is taken out of the table here.

use std::collections::BTreeSet;
use std::path::Path;

use runtime::foreign::Kind;

use crate::diagnostic::Diagnostic;

use super::{
    FileSource, MountKind, Network, Networking, Project, Service, ServiceName, UsernsMode,
};

/// The variable that says where a server for models is.
pub const MODEL_RUNNER: &str = "COMPOSE_MODEL_RUNNER";

/// What `up` does about an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// It does not start: the program would not run as its author meant.
    Refused,
    /// It starts and says so: the program runs the same.
    Ignored,
}

/// An attribute of a service that is not carried out.
struct Row {
    attribute: &'static str,
    verdict: Verdict,
    /// True if the service says something that is not carried out.
    used: fn(&Service) -> bool,
    /// What to do.
    help: &'static str,
}

use Verdict::{Ignored, Refused};

#[rustfmt::skip]
static SERVICE: &[Row] = &[
    Row { attribute: "build.cache_from", verdict: Ignored, used: |s| built(s, |build| build.cache_from.iter().any(|line| is_foreign_cache(line))), help: "caches can be of the types registry, local and inline" },
    Row { attribute: "build.cache_to", verdict: Ignored, used: |s| built(s, |build| build.cache_to.iter().any(|line| is_foreign_cache(line))), help: "caches can be of the types registry, local and inline" },
    Row { attribute: "build.platforms", verdict: Refused, used: |s| built(s, |build| build.platforms.len() > 1), help: "an image is built for one platform at a time; name one" },
    Row { attribute: "build.provenance", verdict: Refused, used: |s| built(s, |build| is_on(build.provenance.as_ref())), help: "no attestations are made; write false, or remove the key" },
    Row { attribute: "build.sbom", verdict: Refused, used: |s| built(s, |build| is_on(build.sbom.as_ref())), help: "no attestations are made; write false, or remove the key" },
    Row { attribute: "build.secrets", verdict: Ignored, used: |s| built(s, owns_secrets), help: "`uid`, `gid` and `mode` are those of the mount in the Dockerfile: RUN --mount=type=secret,id=NAME,uid=1000" },
    Row { attribute: "build.isolation", verdict: Ignored, used: |s| built(s, |build| build.isolation.as_ref().is_some_and(|isolation| isolation != "default")), help: "it is for Windows" },
    Row { attribute: "pull_refresh_after", verdict: Ignored, used: |s| s.kept.contains_key("pull_refresh_after") && s.pull_policy.is_none(), help: "only the policy `refresh` looks at it" },
    Row { attribute: "volumes", verdict: Refused, used: |s| s.mounts.iter().any(|mount| matches!(mount.kind, MountKind::NamedPipe { .. } | MountKind::Cluster { .. })), help: "mounts can be of the types bind, volume, tmpfs and image" },
    Row { attribute: "volumes", verdict: Ignored, used: |s| s.mounts.iter().any(|mount| matches!(mount.kind, MountKind::Bind { selinux: Some(_), .. })), help: "files are not relabelled, which has a meaning only where SELinux is on" },
    Row { attribute: "models", verdict: Refused, used: |s| s.kept.contains_key("models"), help: "no model is run here: set `COMPOSE_MODEL_RUNNER`, in the environment or in .env, to the address at which containers reach a server with the interface of OpenAI, such as http://10.0.0.5:11434/v1 of ollama" },
    Row { attribute: "use_api_socket", verdict: Refused, used: |s| s.kept.get("use_api_socket").is_some_and(|kept| kept.value == true), help: "there is no Docker API to give to a container" },
    Row { attribute: "runtime", verdict: Refused, used: is_kata, help: "Kata Containers has taken no bundle on a command line since version 2, it is a shim of containerd; `runtime: runsc` (gVisor) gives a container a kernel of its own as well" },
    Row { attribute: "userns_mode", verdict: Refused, used: |s| matches!(s.userns, UsernsMode::Other(_)), help: "as with docker only `host` can be given, which is how users are mapped anyway: not at all" },
    Row { attribute: "storage_opt", verdict: Refused, used: |s| s.storage_opt.keys().any(|key| !key.eq_ignore_ascii_case("size")), help: "its one option is `size`, such as `storage_opt: {size: 1g}`" },
    Row { attribute: "security_opt", verdict: Ignored, used: |s| s.security.labels.iter().any(|label| label != "disable"), help: "labels are not set, which have a meaning only where SELinux is on" },
    Row { attribute: "cpu_rt_period", verdict: Refused, used: |s| s.limits.cpu_realtime_period_us.is_some_and(|period| period > 0), help: "only control groups of version 1 have it, and only with a share of every parent; give the program `cap_add: [SYS_NICE]` and `ulimits: {rtprio: 99}` instead, so that it may ask for a real-time priority itself" },
    Row { attribute: "cpu_rt_runtime", verdict: Refused, used: |s| s.limits.cpu_realtime_runtime_us.is_some_and(|runtime| runtime != 0), help: "only control groups of version 1 have it, and only with a share of every parent; give the program `cap_add: [SYS_NICE]` and `ulimits: {rtprio: 99}` instead, so that it may ask for a real-time priority itself" },
    Row { attribute: "logging", verdict: Ignored, used: foreign_log, help: "log lines are kept by compose and shown by `compose logs`; its drivers are json-file, local, none, syslog and journald" },
    Row { attribute: "logging", verdict: Ignored, used: |s| log_option(s, &["json-file", "local"], &["compress"]), help: "`compress`: files of the log that are full stay as they are" },
    Row { attribute: "logging", verdict: Ignored, used: |s| log_option(s, &["json-file"], &["tag", "labels", "labels-regex", "env", "env-regex"]), help: "with docker only `docker logs --details` shows tags, labels and variables of log lines" },
    Row { attribute: "logging", verdict: Ignored, used: never_drops, help: "`mode` and `max-buffer-size`: a program waits for nobody who reads or receives its log, and no line is dropped" },
    Row { attribute: "cpu_count", verdict: Ignored, used: |s| s.kept.contains_key("cpu_count"), help: "it is for Windows; use `cpus`" },
    Row { attribute: "cpu_percent", verdict: Ignored, used: |s| s.kept.contains_key("cpu_percent"), help: "it is for Windows; use `cpus`" },
    Row { attribute: "credential_spec", verdict: Ignored, used: |s| s.kept.contains_key("credential_spec"), help: "it is for Windows" },
    Row { attribute: "isolation", verdict: Ignored, used: |s| s.kept.get("isolation").is_some_and(|kept| kept.value != "default"), help: "it is for Windows" },
    Row { attribute: "deploy.mode", verdict: Ignored, used: |s| s.kept.get("deploy.mode").is_some_and(|kept| kept.value != "replicated"), help: "it is for clusters; on one host `global` means one container" },
    Row { attribute: "deploy.endpoint_mode", verdict: Ignored, used: |s| s.kept.contains_key("deploy.endpoint_mode"), help: "it is for clusters; names resolve to all containers" },
    Row { attribute: "deploy.placement", verdict: Ignored, used: |s| s.kept.contains_key("deploy.placement"), help: "it is for clusters; everything runs on this host" },
    Row { attribute: "deploy.labels", verdict: Ignored, used: |s| s.deploy.as_ref().is_some_and(|deploy| !deploy.labels.is_empty()), help: "they label the service and not its containers, as with docker; use `labels`" },
    Row { attribute: "deploy.resources.reservations.cpus", verdict: Ignored, used: |s| s.deploy.as_ref().is_some_and(|deploy| deploy.reserved_nano_cpus.is_some()), help: "it is for clusters; use `cpu_shares`" },
    Row { attribute: "deploy.resources.reservations.generic_resources", verdict: Ignored, used: |s| s.kept.contains_key("deploy.resources.reservations.generic_resources"), help: "they are for clusters" },
];

/// Whether the runtime is one to which only containerd can hand a container (kata-containers#1133, #3417).
fn is_kata(service: &Service) -> bool {
    service.runtime.as_deref().is_some_and(|name| Kind::of(Path::new(name)) == Kind::Kata)
}

/// Whether a secret of the build is to have an owner or permissions.
fn owns_secrets(build: &super::Build) -> bool {
    let mut secrets = build.secrets.iter();
    secrets.any(|grant| grant.uid.is_some() || grant.gid.is_some() || grant.mode.is_some())
}

fn built(service: &Service, odd: impl Fn(&super::Build) -> bool) -> bool {
    service.build.as_ref().is_some_and(odd)
}

/// Whether a line of `cache_from` or `cache_to` is about a service that is not known here, such as that of GitHub.
fn is_foreign_cache(line: &str) -> bool {
    let kind = line.split(',').find_map(|word| word.trim().strip_prefix("type="));
    kind.is_some_and(|kind| !matches!(kind, "registry" | "local" | "inline"))
}

fn is_on(attestation: Option<&String>) -> bool {
    attestation.is_some_and(|value| !matches!(value.as_str(), "" | "false" | "0"))
}

fn foreign_log(service: &Service) -> bool {
    let driver = service.logging.as_ref().and_then(|logging| logging.driver.as_deref());
    driver.is_some_and(|driver| {
        !matches!(driver, "" | "json-file" | "local" | "none" | "syslog" | "journald")
    })
}

/// Whether lines are to be dropped when they cannot be kept fast enough.
fn never_drops(service: &Service) -> bool {
    service.logging.as_ref().is_some_and(|logging| {
        let mode = logging.options.get("mode").map(String::as_str);
        mode == Some("non-blocking") || logging.options.contains_key("max-buffer-size")
    })
}

/// Whether one of the `options` is given to one of the `drivers`; the first is the one that needs no name.
fn log_option(service: &Service, drivers: &[&str], options: &[&str]) -> bool {
    service.logging.as_ref().is_some_and(|logging| {
        let driver = logging.driver.as_deref().filter(|driver| !driver.is_empty());
        drivers.contains(&driver.unwrap_or("json-file"))
            && options.iter().any(|option| {
                logging
                    .options
                    .get(*option)
                    .is_some_and(|value| !matches!(value.as_str(), "" | "false"))
            })
    })
}

/// What of `project` is not carried out: errors for what is refused, warnings for the rest.
///
/// Only the services in `wanted` are looked at, and the resources of the project.
pub fn unsupported(project: &Project, wanted: &BTreeSet<ServiceName>) -> Vec<Diagnostic> {
    let services = project.services.values().filter(|service| wanted.contains(&service.name));
    let mut found: Vec<Diagnostic> = services.flat_map(unsupported_in_service).collect();
    let made = |network: &&Network| !network.external && network.predefined().is_none();
    for network in project.networks.values().filter(made) {
        let driver = network.driver.as_deref().unwrap_or("bridge");
        if !matches!(driver, "bridge" | "default" | "macvlan" | "ipvlan") {
            let message = format!("networks of the driver `{driver}` cannot be made");
            let help = match driver {
                "overlay" => {
                    "it joins the machines of a cluster; on one machine `driver: bridge` does the same"
                }
                _ => "use `driver: bridge`, `macvlan` or `ipvlan`",
            };
            found.push(told(Refused, message, network.place.as_ref(), help));
        }
        if network.ipam.driver.as_deref().is_some_and(|driver| driver != "default") {
            let message = "address management by a plugin is not carried out".to_owned();
            found.push(told(Refused, message, network.place.as_ref(), "remove `ipam.driver`"));
        }
    }
    for service in project.services.values().filter(|service| wanted.contains(&service.name)) {
        let Networking::Attached(places) = &service.networking else { continue };
        let is_predefined = |key: &&super::NetworkKey| {
            project.networks.get(*key).and_then(Network::predefined).is_some()
        };
        if let Some(key) = places.keys().find(is_predefined) {
            let message = format!(
                "the service `{}` cannot be on the network `{key}` and on others beside it",
                service.name
            );
            let help = "a container that has the network of the host, or none, is on no other";
            let place = service.places.of("networks").or(service.place.as_ref());
            found.push(told(Refused, message, place, help));
        }
    }
    for volume in project.volumes.values().filter(|volume| !volume.external) {
        let driver = volume.driver.as_deref().unwrap_or("local");
        if driver != "local" {
            let message = format!("volumes of the driver `{driver}` cannot be made");
            found.push(told(Refused, message, volume.place.as_ref(), "use `driver: local`"));
        }
    }
    let secrets = project.secrets.values().map(|secret| ("secret", &secret.source, &secret.place));
    let configs = project.configs.values().map(|config| ("config", &config.source, &config.place));
    for (kind, source, place) in secrets.chain(configs) {
        if let FileSource::Driver(driver) = source {
            let message = format!("there is no driver `{driver}` that this {kind} could come from");
            let help =
                "remove `driver` and `driver_opts`, and give it a `file` or an `environment`";
            found.push(told(Refused, message, place.as_ref(), help));
        }
        if *source == FileSource::External {
            let message = format!("there is no store that this {kind} could come from");
            let help = "give it a `file` or an `environment`";
            found.push(told(Refused, message, place.as_ref(), help));
        }
        if let FileSource::Template(driver) = source {
            let message = format!("the template of this {kind} is not filled in by `{driver}`");
            let help = "remove `template_driver`; variables in `content` are filled in as everywhere in the file";
            found.push(told(Refused, message, place.as_ref(), help));
        }
    }
    found.extend(settings_of_models(project));
    found
}

/// What a file says of how a model runs, when somebody else runs it.
fn settings_of_models(project: &Project) -> Vec<Diagnostic> {
    let (Some(runner), Some(models)) =
        (project.environment.get(MODEL_RUNNER), project.kept.get("models"))
    else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (name, model) in models.value.as_object().into_iter().flatten() {
        let settings = ["context_size", "runtime_flags"];
        for setting in settings.into_iter().filter(|setting| model.get(*setting).is_some()) {
            let message = format!("`{setting}` of the model `{name}` is not carried out");
            let help = format!("the server at {runner} has settings of its own");
            found.push(told(Ignored, message, models.place.as_ref(), &help));
        }
    }
    found
}

fn unsupported_in_service(service: &Service) -> Vec<Diagnostic> {
    let used = SERVICE.iter().filter(|row| (row.used)(service));
    used.map(|Row { attribute, verdict, help, .. }| {
        let message = match verdict {
            Refused => {
                format!("`{attribute}` of the service `{}` cannot be carried out", service.name)
            }
            Ignored => {
                format!("`{attribute}` of the service `{}` is not carried out", service.name)
            }
        };
        let top = attribute.split('.').take(2).collect::<Vec<_>>().join(".");
        let place = service.places.of(&top).or(service.place.as_ref());
        told(*verdict, message, place, help)
    })
    .collect()
}

fn told(verdict: Verdict, message: String, place: Option<&super::Place>, help: &str) -> Diagnostic {
    let diagnostic = match verdict {
        Refused => Diagnostic::error(message),
        Ignored => Diagnostic::warning(message),
    };
    match place {
        Some(place) => diagnostic.at(place, "").help(help),
        None => diagnostic.help(help),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Severity;
    use crate::model::{Build, Logging, Place, Places};

    #[test]
    fn a_plain_service_is_fine() {
        assert!(unsupported_in_service(&Service::new("web".parse().unwrap())).is_empty());
    }

    #[test]
    fn says_what_where_and_what_to_do() {
        let mut service = Service::new("web".parse().unwrap());
        let platforms = vec!["linux/amd64".to_owned(), "linux/arm64".to_owned()];
        let cache_to = vec!["type=gha".to_owned()];
        let cache_from = vec!["app:cache".to_owned(), "type=local,src=x".to_owned()];
        let build = Build { platforms, cache_to, cache_from, ..Build::default() };
        service.build = Some(build);
        service.logging = Some(Logging { driver: Some("gelf".into()), ..Logging::default() });
        let file = std::path::Path::new("/p/compose.yaml");
        let mut places = Places::default();
        places.insert("build", Place { file: file.into(), line: 3, column: 5 });
        service.places = places;
        let found = unsupported_in_service(&service);
        let shown: Vec<(Severity, &str)> =
            found.iter().map(|one| (one.severity, one.message.as_str())).collect();
        assert_eq!(
            shown,
            [
                (Severity::Warning, "`build.cache_to` of the service `web` is not carried out"),
                (Severity::Error, "`build.platforms` of the service `web` cannot be carried out"),
                (Severity::Warning, "`logging` of the service `web` is not carried out"),
            ]
        );
        assert_eq!(found[0].labels[0].place.line, 3);
        assert!(found.iter().all(|one| !one.help.is_empty()));
    }
}
