//! What `run` changes about a service: words in the syntax of the compose file.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde_json::{Map, Value, json};
use volumes::VolumeName;

use crate::cli::context::Context;
use crate::cli::error::{CommandError, USAGE};
use crate::cli::terminal::Terminal;
use crate::model::{Project, Service, ServiceName, Volume, VolumeKey};

/// What is different about the container
#[derive(Debug, Default, clap::Args)]
pub struct WishArgs {
    /// Set a variable, or take it from this environment
    #[arg(long = "env", short, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Set the variables in a file
    #[arg(long, value_name = "FILE")]
    env_from_file: Vec<String>,
    /// Mount something, as under `volumes`
    #[arg(
        long = "volume",
        short,
        value_name = "SOURCE:TARGET[:OPTIONS]",
        visible_alias = "volumes"
    )]
    volumes: Vec<String>,
    /// Publish a port, as under `ports`
    #[arg(long, short = 'p', value_name = "[HOST:]PORT")]
    publish: Vec<String>,
    /// Program to run, instead of the image's
    #[arg(long, value_name = "COMMAND")]
    entrypoint: Option<String>,
    /// User, as under `user`
    #[arg(long, short, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Directory it runs in
    #[arg(long, short, value_name = "DIRECTORY")]
    workdir: Option<String>,
    /// Set a label
    #[arg(long = "label", short, value_name = "NAME[=VALUE]", visible_alias = "labels")]
    labels: Vec<String>,
    /// Give it a capability
    #[arg(long, value_name = "CAPABILITY")]
    cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_name = "CAPABILITY")]
    cap_drop: Vec<String>,
}

impl WishArgs {
    /// Whether ports are to be published.
    pub const fn publishes(&self) -> bool {
        !self.publish.is_empty()
    }

    /// Changes the service in `project`; returns the variables that were set.
    ///
    /// # Errors
    ///
    /// What the loader says about the words.
    pub fn apply(
        &self,
        project: &mut Project,
        name: &ServiceName,
        context: &Context,
        terminal: &mut Terminal,
    ) -> Result<BTreeMap<String, Option<String>>, CommandError> {
        let others = self.other_volumes(project);
        let wished = match self.document(project, name, &others) {
            Some(document) => read(&document, name, context, terminal)?,
            None => Service::new(name.clone()),
        };
        let environment = wished.environment.clone();
        if let Some(service) = project.services.get_mut(name) {
            self.change(service, wished);
        }
        for name in others {
            let volume = make(&name, context)?;
            project.volumes.insert(name, volume);
        }
        Ok(environment)
    }

    /// Volumes that the project does not know: as with docker, those of the machine with these very names.
    fn other_volumes(&self, project: &Project) -> BTreeSet<VolumeKey> {
        let sources = self.volumes.iter().filter_map(|word| Some(word.split_once(':')?.0));
        sources
            .filter(|source| VolumeName::parse(source).is_ok())
            .filter_map(|source| source.parse().ok())
            .filter(|key| !project.volumes.contains_key(key))
            .collect()
    }

    /// A compose file that says what the words say, so that one reader reads both. The volumes
    /// that the project has may be named in it.
    fn document(
        &self,
        project: &Project,
        name: &ServiceName,
        others: &BTreeSet<VolumeKey>,
    ) -> Option<Value> {
        let lists = [
            ("environment", &self.env),
            ("env_file", &self.env_from_file),
            ("volumes", &self.volumes),
            ("ports", &self.publish),
            ("labels", &self.labels),
            ("cap_add", &self.cap_add),
            ("cap_drop", &self.cap_drop),
        ];
        let texts = [
            ("entrypoint", &self.entrypoint),
            ("user", &self.user),
            ("working_dir", &self.workdir),
        ];
        let mut service = Map::new();
        for (key, words) in lists.into_iter().filter(|(_, words)| !words.is_empty()) {
            let words: Vec<String> = words.iter().map(|word| literal(word)).collect();
            service.insert(key.to_owned(), words.into());
        }
        for (key, text) in texts {
            if let Some(text) = text {
                service.insert(key.to_owned(), literal(text).into());
            }
        }
        if service.is_empty() {
            return None;
        }
        service.insert("image".to_owned(), "rootfs:/".into());
        let volumes: Map<String, Value> = project
            .volumes
            .keys()
            .chain(others)
            .map(|key| (key.to_string(), Value::Null))
            .collect();
        let services = Map::from_iter([(name.to_string(), Value::Object(service))]);
        Some(json!({ "name": project.name, "services": services, "volumes": volumes }))
    }

    fn change(&self, service: &mut Service, wished: Service) {
        service.environment.extend(wished.environment);
        service.labels.extend(wished.labels);
        service.mounts.retain(|mount| wished.mounts.iter().all(|new| new.target != mount.target));
        service.mounts.extend(wished.mounts);
        if self.publishes() {
            service.ports = wished.ports;
        }
        service.cap_add.extend(wished.cap_add);
        service.cap_drop.extend(wished.cap_drop);
        if wished.entrypoint.is_some() {
            // The arguments were those of another program.
            service.entrypoint = wished.entrypoint;
            service.command = None;
        }
        if wished.user.is_some() {
            service.user = wished.user;
        }
        if wished.working_dir.is_some() {
            service.working_dir = wished.working_dir;
        }
    }
}

/// Makes the volume if there is none, and describes it. It is none of the project's.
fn make(name: &VolumeKey, context: &Context) -> Result<Volume, CommandError> {
    let is_dry = context.global().dry_run;
    if !is_dry {
        let name = VolumeName::parse(name.as_str()).map_err(|error| CommandError::new(&error))?;
        volumes::Store::open(&context.roots().volumes())?.create(&volumes::Wanted::named(name))?;
    }
    Ok(Volume { name: name.to_string(), external: !is_dry, ..Volume::default() })
}

/// The text as the loader takes it without looking for variables in it: the shell has done that.
fn literal(text: &str) -> String {
    text.replace('$', "$$")
}

/// Reads the document through a file that has no name (memfd_create(2)).
fn read(
    document: &Value,
    name: &ServiceName,
    context: &Context,
    terminal: &mut Terminal,
) -> Result<Service, CommandError> {
    let failed = |error: std::io::Error| {
        CommandError::failed(format!("cannot hold the words in memory: {error}"))
    };
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    let file = rustix::fs::memfd_create("words of the command line", flags);
    let mut file = std::fs::File::from(file.map_err(|error| failed(error.into()))?);
    file.write_all(document.to_string().as_bytes()).map_err(failed)?;
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let said = |mut error: CommandError| {
        error.drawn = error.drawn.replace(&path, "the command line");
        error.code(USAGE)
    };
    let mut project = context.read_document(path.as_str().into(), terminal).map_err(said)?;
    project.services.remove(name).ok_or_else(|| {
        CommandError::failed("the words on the command line make no service").code(USAGE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{args, project};

    #[test]
    fn words_become_a_document() {
        let args = args::<WishArgs>(&["-e", "PRICE=$5", "-v", "data:/d", "-p", "80", "-u", "app"]);
        let (project, web) = (project(&["web"]), "web".parse().unwrap());
        let others = args.other_volumes(&project);
        assert_eq!(others, BTreeSet::from(["data".parse().unwrap()]));
        let document = args.document(&project, &web, &others).unwrap();
        assert_eq!(document["volumes"], json!({"data": null}));
        assert_eq!(
            document["services"]["web"],
            json!({
                "environment": ["PRICE=$$5"],
                "volumes": ["data:/d"],
                "ports": ["80"],
                "user": "app",
                "image": "rootfs:/",
            })
        );
        assert!(WishArgs::default().document(&project, &web, &BTreeSet::new()).is_none());
    }

    #[test]
    fn an_entrypoint_drops_the_arguments() {
        let mut service = Service::new("web".parse().unwrap());
        service.command = Some(vec!["serve".to_owned()]);
        let mut wished = Service::new("web".parse().unwrap());
        wished.entrypoint = Some(vec!["sh".to_owned()]);
        WishArgs::default().change(&mut service, wished);
        assert_eq!((service.entrypoint, service.command), (Some(vec!["sh".to_owned()]), None));
    }
}
