//! `provider`: a program of the host that stands in for the containers of a service.
//!
//! It is run as `TYPE compose --project-name=P up --OPTION=VALUE SERVICE`, and the same with `down` and `stop`, and says line by
//! line, in JSON, what it does. What it sets is in the environment of the services that depend on it; so it has to come
//! before anything is planned.
//!
//! Source: docker compose, `docs/extension.md` and `pkg/compose/plugins.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::readiness;
use super::server::Reporter;
use crate::event::{Event, Failure, Kind, Status, Step, Subject};
use crate::graph::Graph;
use crate::model::{Project, Provider, Service, ServiceName};
use crate::record::{
    RECORD_VERSION, RecordError, Roots, check_version, read_record, replace_volatile_record,
};

/// Where docker keeps its plugins, beside `.docker/cli-plugins` of the user.
const PLUGINS: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// The longest line and the longest description that is read.
const LONGEST: u64 = 1 << 20;

/// What a provider is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Provide.
    Up,
    /// Take back.
    Down,
    /// Rest, if it knows how.
    Stop,
}

impl Verb {
    const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Stop => "stop",
        }
    }

    const fn words(self) -> [Status; 2] {
        match self {
            Self::Up => [Status::Creating, Status::Created],
            Self::Down => [Status::Removing, Status::Removed],
            Self::Stop => [Status::Stopping, Status::Stopped],
        }
    }
}

/// Why a provider has not done what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// There is no such program.
    #[error(
        "there is no program `docker-{name}` among the plugins of docker, and no `{name}` in PATH"
    )]
    NoProgram {
        /// Its type.
        name: String,
    },
    /// It cannot be run.
    #[error("cannot run {}", path.display())]
    Run {
        /// The program.
        path: PathBuf,
        /// The kernel's words.
        source: io::Error,
    },
    /// It wants an option.
    #[error("it wants the option `{0}`")]
    Option(String),
    /// It says what is wrong.
    #[error("{0}")]
    Said(String),
    /// It has failed without a word.
    #[error("it exited with status {code}{}", after_colon(said))]
    Failed {
        /// Its exit code.
        code: i32,
        /// The end of what it wrote to standard error.
        said: String,
    },
    /// Another request has come in between.
    #[error("interrupted by another command")]
    Interrupted,
}

fn after_colon(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

/// A line of what a provider says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    message: String,
}

/// What a provider says of itself when it is asked for its `metadata`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    up: Option<Parameters>,
    down: Option<Parameters>,
    stop: Option<Parameters>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameters {
    parameters: Vec<Parameter>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Parameter {
    name: String,
    required: bool,
}

impl Metadata {
    const fn of(&self, verb: Verb) -> Option<&Parameters> {
        match verb {
            Verb::Up => self.up.as_ref(),
            Verb::Down => self.down.as_ref(),
            Verb::Stop => self.stop.as_ref(),
        }
    }
}

/// What providers have set, as it is written down: for plans that are made without asking them again.
#[derive(Debug, Default, Serialize, Deserialize)]
struct ProvidedRecord {
    /// Version of this record's layout.
    version: u32,
    /// Variables, by provider.
    services: BTreeMap<ServiceName, Vec<(String, String)>>,
}

impl ProvidedRecord {
    fn read(path: &Path) -> Result<Self, RecordError> {
        let record: Option<Self> = read_record(path)?;
        let record = record.unwrap_or_default();
        check_version(path, record.version)?;
        Ok(Self { version: RECORD_VERSION, ..record })
    }
}

/// Gives the services of `project` what their providers have set when they were asked last.
///
/// # Errors
///
/// When the record is damaged, newer than this binary, or unreadable.
pub fn recall(roots: &Roots, project: &mut Project) -> Result<(), RecordError> {
    if project.services.values().all(|service| service.provider.is_none()) {
        return Ok(());
    }
    let record = ProvidedRecord::read(&roots.project(project.name.as_str()).provided())?;
    for (name, variables) in &record.services {
        give(project, name, variables);
    }
    Ok(())
}

/// Asks every provider in `services` to do `verb`, in the order of their dependencies or back. What they set by `up` is then
/// in the environment of the services that depend on them. A client that leaves takes back what it has asked for.
///
/// # Errors
///
/// The first failure, with its place in the file.
pub async fn ask_all(
    project: &mut Project,
    services: &BTreeSet<ServiceName>,
    verb: Verb,
    roots: &Roots,
    reporter: &Reporter,
    mut interrupts: watch::Receiver<u64>,
) -> Result<(), Failure> {
    for name in order(project, services, verb) {
        let Some(service) = project.services.get(&name).cloned() else { continue };
        let Some(provider) = &service.provider else { continue };
        let tell = |status, details| {
            let subject = Subject { kind: Kind::Service, name: name.to_string() };
            reporter.send(&Event::Step(Step { subject, status, details, amount: None }));
        };
        let [working, done] = verb.words();
        let working_on = |details| tell(working, details);
        let asked = Asked { project, service: &service, provider, verb };
        let answer = tokio::select! {
            answer = asked.answer(&working_on) => answer,
            Ok(()) = interrupts.changed() => Err(ProviderError::Interrupted),
            () = reporter.closed() => Err(ProviderError::Interrupted),
        };
        match answer {
            Ok(None) => {}
            Ok(Some(variables)) => {
                tell(done, None);
                give(project, &name, &variables);
                write_down(roots, project, &name, verb, variables)
                    .map_err(|error| Failure::new(&error))?;
            }
            Err(error) => {
                tell(Status::Error, None);
                return Err(explain(&error, &service));
            }
        }
    }
    Ok(())
}

fn explain(error: &ProviderError, service: &Service) -> Failure {
    let failure = Failure::new(error);
    let place = service.places.of("provider").or(service.place.as_ref());
    let help = match error {
        ProviderError::NoProgram { .. } => "install it, or correct `provider.type`",
        ProviderError::Option(_) => "add it to `provider.options`",
        _ => "the program of the provider may say more when it is run by hand",
    };
    Failure {
        message: format!("the provider of the service {}: {}", service.name, failure.message),
        help: Some(help.to_owned()),
        place: place.cloned().map(Into::into),
        ..Failure::default()
    }
}

fn write_down(
    roots: &Roots,
    project: &Project,
    name: &ServiceName,
    verb: Verb,
    variables: Vec<(String, String)>,
) -> Result<(), RecordError> {
    let path = roots.project(project.name.as_str()).provided();
    let mut record = ProvidedRecord::read(&path)?;
    match verb {
        Verb::Up => record.services.insert(name.clone(), variables),
        Verb::Down => record.services.remove(name),
        Verb::Stop => return Ok(()),
    };
    replace_volatile_record(&path, &record)
}

/// The providers among `services`: dependencies first, and last for what takes away.
fn order(project: &Project, services: &BTreeSet<ServiceName>, verb: Verb) -> Vec<ServiceName> {
    let provides = |name: &&ServiceName| {
        let service = project.services.get(*name);
        services.contains(*name) && service.is_some_and(|service| service.provider.is_some())
    };
    // A circle is told when the plan is made.
    let Ok(graph) = Graph::new(project) else { return Vec::new() };
    let mut names: Vec<ServiceName> =
        graph.start_order().iter().copied().filter(provides).cloned().collect();
    if verb != Verb::Up {
        names.reverse();
    }
    names
}

/// Puts what a provider has set into the environment of the services that depend on it.
fn give(project: &mut Project, provider: &ServiceName, variables: &[(String, String)]) {
    let dependents =
        project.services.values_mut().filter(|one| one.depends_on.contains_key(provider));
    for service in dependents {
        let variables = variables.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
        service.environment.extend(variables);
    }
}

/// One provider, and what it is asked.
struct Asked<'a> {
    project: &'a Project,
    service: &'a Service,
    provider: &'a Provider,
    verb: Verb,
}

impl Asked<'_> {
    /// What it has set; `None` if it has nothing to do for this.
    async fn answer(
        &self,
        tell: &impl Fn(Option<String>),
    ) -> Result<Option<Vec<(String, String)>>, ProviderError> {
        let Self { project, service, provider, verb } = *self;
        let path = find(&provider.program, &project.environment)?;
        let metadata = self.metadata(&path).await;
        if verb == Verb::Stop && metadata.stop.is_none() {
            return Ok(None);
        }
        tell(None);
        let mut words = vec![format!("--project-name={}", project.name), verb.word().to_owned()];
        words.extend(flags(provider, metadata.of(verb))?);
        words.push(service.name.to_string());
        let mut program = self.start(&path, &words)?;
        let errors = last_line(program.child.stderr.take());
        let mut lines = lines(program.child.stdout.take());
        let mut said = None;
        let mut variables = Vec::new();
        while let Some(line) = lines.recv().await {
            match serde_json::from_str::<Message>(&line) {
                Ok(Message { kind, message }) => match kind.as_str() {
                    "info" => tell(Some(message)),
                    "error" => said = Some(message),
                    "setenv" => variables.extend(prefixed(&service.name, &message)),
                    "rawsetenv" => variables.extend(pair(&message)),
                    _ => tracing::debug!(service = service.name.as_str(), message, "provider"),
                },
                Err(_) => tracing::debug!(service = service.name.as_str(), line, "provider"),
            }
        }
        let errors = errors.await.unwrap_or_default();
        let status = program.ended().await;
        let status = status.map_err(|source| ProviderError::Run { path, source })?;
        match (said, status.success()) {
            (Some(said), _) => Err(ProviderError::Said(said)),
            (None, true) => Ok(Some(variables)),
            (None, false) => {
                Err(ProviderError::Failed { code: status.code().unwrap_or(255), said: errors })
            }
        }
    }

    /// What the program says of itself; one that says nothing takes every option.
    async fn metadata(&self, path: &Path) -> Metadata {
        let Ok(mut program) = self.start(path, &["metadata".to_owned()]) else {
            return Metadata::default();
        };
        let errors = last_line(program.child.stderr.take());
        let mut lines = lines(program.child.stdout.take());
        let mut text = String::new();
        while let Some(line) = lines.recv().await {
            text.push_str(&line);
            text.push('\n');
        }
        // Of no interest, but it must not be stuck in it.
        let _ = errors.await;
        match program.ended().await {
            Ok(status) if status.success() => serde_json::from_str(&text).unwrap_or_default(),
            _ => Metadata::default(),
        }
    }

    fn start(&self, path: &Path, words: &[String]) -> Result<Running, ProviderError> {
        let mut command = Command::new(path);
        command.arg("compose").args(words);
        command.env_clear().envs(&self.project.environment).current_dir(&self.project.working_dir);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        let child = child.map_err(|source| ProviderError::Run { path: path.to_owned(), source })?;
        Ok(Running { child })
    }
}

/// A program that is killed if nobody waits for its end any longer.
struct Running {
    child: Child,
}

impl Running {
    async fn ended(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        let pid = Pid::from_child(&self.child);
        let exited = readiness::register(pidfd_open(pid, PidfdFlags::empty())?)?;
        let _exited = exited.readable().await?;
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has been waited for is left alone by both.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of what a program says.
fn lines(output: Option<impl Read + Send + 'static>) -> mpsc::UnboundedReceiver<String> {
    let (sender, receiver) = mpsc::unbounded_channel();
    if let Some(output) = output {
        spawn_blocking(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            let next = |output: &mut BufReader<_>, line: &mut Vec<u8>| {
                line.clear();
                output.take(LONGEST).read_until(b'\n', line).is_ok_and(|count| count > 0)
            };
            while next(&mut output, &mut line) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sender.send(text).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

/// The last line of what a program complains of, when it has closed its output.
fn last_line(output: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    let mut lines = lines(output);
    tokio::spawn(async move {
        let mut last = String::new();
        while let Some(line) = lines.recv().await {
            if !line.is_empty() {
                last = line;
            }
        }
        last
    })
}

/// The options as flags: those that the program declares, if it does.
fn flags(provider: &Provider, declared: Option<&Parameters>) -> Result<Vec<String>, ProviderError> {
    let declared = declared.map_or(&[][..], |declared| &declared.parameters);
    let missing = declared
        .iter()
        .find(|parameter| parameter.required && !provider.options.contains_key(&parameter.name));
    if let Some(missing) = missing {
        return Err(ProviderError::Option(missing.name.clone()));
    }
    let is_meant =
        |name: &str| declared.is_empty() || declared.iter().any(|parameter| parameter.name == name);
    let options = provider.options.iter().filter(|(name, _)| is_meant(name));
    Ok(options
        .flat_map(|(name, values)| values.iter().map(move |value| format!("--{name}={value}")))
        .collect())
}

/// The program of a provider: a plugin of docker, or one in `PATH`.
fn find(name: &str, environment: &BTreeMap<String, String>) -> Result<PathBuf, ProviderError> {
    let missing = || ProviderError::NoProgram { name: name.to_owned() };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| is_program(path)).ok_or_else(missing);
    }
    let own = environment.get("HOME").map(|home| Path::new(home).join(".docker/cli-plugins"));
    let plugins = own.into_iter().chain(PLUGINS.map(PathBuf::from));
    let plugins = plugins.map(|folder| folder.join(format!("docker-{name}")));
    let path = environment.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str);
    let folders = path.split(':').filter(|folder| !folder.is_empty());
    let in_path = folders.map(|folder| Path::new(folder).join(name));
    plugins.chain(in_path).find(|path| is_program(path)).ok_or_else(missing)
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

fn pair(message: &str) -> Option<(String, String)> {
    let (name, value) = message.split_once('=')?;
    (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
}

/// A variable with the name of its provider before it; what a shell takes for no name is given in its spelling too.
fn prefixed(service: &ServiceName, message: &str) -> Vec<(String, String)> {
    let Some((name, value)) = pair(message) else { return Vec::new() };
    let upper = service.as_str().to_ascii_uppercase();
    let plain = upper.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
    let mut variables = vec![(format!("{plain}_{name}"), value.clone())];
    if plain != upper {
        variables.push((format!("{upper}_{name}"), value));
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_the_name_of_their_provider() {
        let names = |service: &str, message: &str| -> Vec<String> {
            let service: ServiceName = service.parse().unwrap();
            prefixed(&service, message)
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        };
        assert_eq!(names("db", "URL=a=b"), ["DB_URL=a=b"]);
        assert_eq!(names("my-db", "URL=x"), ["MY_DB_URL=x", "MY-DB_URL=x"]);
        assert!(names("db", "nonsense").is_empty() && names("db", "=x").is_empty());
    }

    #[test]
    fn options_are_flags_if_the_program_wants_them() {
        let options = [("size", vec!["1", "2"]), ("other", vec!["x"])];
        let options = options.map(|(name, values)| {
            (name.to_owned(), values.into_iter().map(str::to_owned).collect())
        });
        let provider = Provider { program: "p".to_owned(), options: options.into() };
        let parameter = |name: &str, required| Parameter { name: name.to_owned(), required };
        assert_eq!(flags(&provider, None).unwrap(), ["--other=x", "--size=1", "--size=2"]);
        let declared = Parameters { parameters: vec![parameter("size", true)] };
        assert_eq!(flags(&provider, Some(&declared)).unwrap(), ["--size=1", "--size=2"]);
        let declared = Parameters { parameters: vec![parameter("region", true)] };
        let error = flags(&provider, Some(&declared)).unwrap_err();
        assert_eq!(error.to_string(), "it wants the option `region`");
    }

    #[test]
    fn a_program_is_a_plugin_or_in_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let environment = |path: &str| {
            BTreeMap::from([
                ("PATH".to_owned(), path.to_owned()),
                ("HOME".to_owned(), folder.path().to_string_lossy().into_owned()),
            ])
        };
        assert_eq!(find("sh", &environment("/nowhere:/bin")).unwrap(), Path::new("/bin/sh"));
        let error = find("none-such", &environment("/bin")).unwrap_err().to_string();
        assert!(error.contains("no `none-such` in PATH"), "{error}");
        let plugins = folder.path().join(".docker/cli-plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        std::os::unix::fs::symlink("/bin/true", plugins.join("docker-sh")).unwrap();
        assert_eq!(find("sh", &environment("/bin")).unwrap(), plugins.join("docker-sh"));
    }
}
