//! What one instruction does.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use runtime::once::{Preparation, PrivateFile, Tree as LayerTree};
use runtime::overlay;
use runtime::spec::{Bind, MountWish};
use rustix::fs::{FlockOperation, Mode, OFlags, Timespec};
use serde_json::json;
use sys::root::Root;

use super::cache::{CachedLayer, StepRecord};
use super::copy::{Wishes, Writer};
use super::dockerfile::{Command, Copy, Flag, Heredoc, Instruction, Kind, Problem, Run, Word};
use super::error::{Failed, whole};
use super::event::Event;
use super::ignore::Patterns;
use super::mode::{ModeChange, owner};
use super::mounts::{Mount, MountKind, Sharing};
use super::pack::pack;
use super::run::{
    Container, RunError, Target, cache_directory, environment, host, memory_file, path_of, tmpfs,
};
use super::solve::{Builder, Named, PROXIES, expand};
use super::state::{State, join, ports};
use super::tree::{Source, Tree, below, field, kind};
use super::{Entitlement, RunNetwork, Secret};
use crate::change::check_signal;
use crate::digest::{Digest, Hasher};
use crate::layer::unpack_below;
use crate::store::StoreError;
use crate::store::workspace::{StagedBlob, StagedLayer};
use crate::words::Expansion;

/// A step that took longer is written to disk at once, so that a machine that goes down does not take it along.
const PRECIOUS: Duration = Duration::from_secs(1);

/// Layers of a stage that are not part of the store yet.
#[derive(Default)]
struct Pending {
    layers: Vec<StagedLayer>,
    blobs: Vec<StagedBlob>,
    records: Vec<(Digest, StepRecord)>,
}

/// The stage that is being built.
struct Stage<'b, 'a> {
    builder: &'b Builder<'a>,
    index: usize,
    state: State,
    pending: Pending,
    label: String,
    position: usize,
    total: usize,
    fresh: bool,
}

/// Where files come from.
enum Origin<'b> {
    Context(&'b Tree),
    /// The files of a stage or an image.
    Layers(Arc<State>, Tree),
}

impl Origin<'_> {
    fn tree(&self) -> &Tree {
        match self {
            Self::Context(tree) => tree,
            Self::Layers(_, tree) => tree,
        }
    }

    /// What says that nothing has changed, without looking at files; not known of a context.
    fn identity(&self) -> Option<Digest> {
        match self {
            Self::Context(_) => None,
            Self::Layers(state, _) => Some(state.chain()),
        }
    }
}

/// A digest of several things.
fn key(parts: &[&[u8]]) -> Digest {
    let mut hasher = Hasher::default();
    for part in parts {
        field(&mut hasher, part);
    }
    hasher.finish().0
}

fn say(span: &std::ops::Range<usize>, error: &dyn std::error::Error, help: &str) -> Failed {
    Problem::new(span.clone(), whole(error), help).into()
}

impl Builder<'_> {
    /// Carries out the instructions of a stage.
    pub(super) fn run_instructions(
        &self,
        index: usize,
        mut state: State,
        instructions: &[Instruction],
    ) -> Result<State, Failed> {
        // A proxy needs no ARG.
        for name in PROXIES {
            if let Some(value) = self.recipe.args.get(name) {
                state.args.insert(name.to_owned(), value.clone());
            }
        }
        let changes_files = |one: &&Instruction| {
            matches!(one.kind, Kind::Add(_) | Kind::Copy(_) | Kind::Run(_) | Kind::Workdir(_))
        };
        let name = self.file.stages[index].name.clone();
        let label = name.unwrap_or_else(|| match self.file.stages.len() {
            1 => String::new(),
            _ => format!("stage-{index}"),
        });
        let mut stage = Stage {
            builder: self,
            index,
            state,
            pending: Pending::default(),
            label: if label.is_empty() { label } else { format!("{label} ") },
            position: 0,
            total: instructions.iter().filter(changes_files).count(),
            fresh: self.is_fresh(index),
        };
        let done = instructions.iter().try_for_each(|instruction| stage.carry_out(instruction));
        // What was built until then is of use to the next build.
        let kept = stage.commit();
        done?;
        kept?;
        Ok(stage.state)
    }
}

impl<'b> Stage<'b, '_> {
    fn carry_out(&mut self, instruction: &Instruction) -> Result<(), Failed> {
        self.builder.go_on()?;
        let variables = self.state.variables();
        let Instruction { source, kind, .. } = instruction;
        match kind {
            Kind::Add(copy) => return self.copy(instruction, copy, &variables, true),
            Kind::Copy(copy) => return self.copy(instruction, copy, &variables, false),
            Kind::Run(run) => return self.run(instruction, run, &variables),
            Kind::Workdir(path) => return self.work_directory(instruction, path, &variables),
            Kind::Arg(arguments) => {
                for argument in arguments {
                    let variables = self.state.variables();
                    if let Some(value) = self.builder.argument(argument, &variables)? {
                        self.state.args.insert(argument.name.text.clone(), value);
                    }
                }
            }
            Kind::Cmd(command) => {
                let words = self.state.command(command);
                self.state.set("Cmd", json!(words));
                self.state.has_command = true;
            }
            Kind::Entrypoint(command) => {
                let words = self.state.command(command);
                self.state.set("Entrypoint", json!(words));
                // It was written for the entrypoint of the base image.
                if !self.state.has_command {
                    self.state.config.remove("Cmd");
                }
            }
            Kind::Env(pairs) => {
                for (name, value) in pairs {
                    let name = self.word(name, &variables)?;
                    let value = self.word(value, &variables)?;
                    self.state.set_env(&name, &value);
                }
            }
            Kind::Label(pairs) => {
                for (name, value) in pairs {
                    let name = self.word(name, &variables)?;
                    let value = self.word(value, &variables)?;
                    self.state.add_label(&name, &value);
                }
            }
            Kind::Expose(words) => {
                let mut all = Vec::new();
                for word in words {
                    for part in self.word(word, &variables)?.split_whitespace() {
                        let found = ports(part).map_err(|error| {
                            Problem::new(
                                word.place.clone(),
                                error.to_string(),
                                "write EXPOSE 80 or EXPOSE 53/udp",
                            )
                        })?;
                        all.extend(found);
                    }
                }
                self.state.add_keys("ExposedPorts", all);
            }
            Kind::Volume(words) => {
                let mut all = Vec::new();
                for word in words {
                    let path = self.word(word, &variables)?;
                    if path.is_empty() {
                        let help = "write VOLUME and a directory";
                        return Err(
                            Problem::new(word.place.clone(), "the volume is empty", help).into()
                        );
                    }
                    all.push(path);
                }
                self.state.add_keys("Volumes", all);
            }
            Kind::User(word) => {
                let user = self.word(word, &variables)?;
                self.state.set("User", json!(user));
            }
            Kind::StopSignal(word) => {
                let signal = self.word(word, &variables)?;
                check_signal(&signal).map_err(|error| {
                    Problem::new(word.place.clone(), error.to_string(), "write STOPSIGNAL SIGTERM")
                })?;
                self.state.set("StopSignal", json!(signal));
            }
            Kind::Healthcheck(health) => self.state.set_health(health),
            Kind::Maintainer(name) => {
                self.state.document.insert("author".to_owned(), json!(name));
            }
            Kind::Onbuild(trigger) => {
                let mut triggers = self.state.list("OnBuild");
                triggers.push(trigger.clone());
                self.state.set("OnBuild", json!(triggers));
            }
            Kind::Shell(words) => self.state.set("Shell", json!(words)),
        }
        self.state.note(source);
        Ok(())
    }

    fn word(&self, word: &Word, variables: &HashMap<String, String>) -> Result<String, Problem> {
        expand(self.builder.file.escape, word, variables)
    }

    /// Takes a layer from the cache, by `quick` or else by `exact`, or makes it with `work`.
    fn layer(
        &mut self,
        instruction: &Instruction,
        quick: Option<Digest>,
        exact: impl FnOnce() -> Result<Digest, Failed>,
        work: impl FnOnce(&Self, &Fresh, &dyn Fn(String)) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        self.position += 1;
        let builder = self.builder;
        let step = builder.next_step();
        let name =
            format!("[{}{}/{}] {}", self.label, self.position, self.total, instruction.source);
        builder.surroundings.tell(Event::Begun { step, name });
        let begun = Instant::now();
        let outcome = self.find_or_make(instruction, quick, exact, work, step);
        let took = begun.elapsed();
        match outcome {
            Ok(cached) => builder.surroundings.tell(Event::Done { step, cached, took }),
            Err(failed) => {
                builder.surroundings.tell(Event::Failed { step });
                return Err(failed);
            }
        }
        if took > PRECIOUS { self.commit() } else { Ok(()) }
    }

    fn find_or_make(
        &mut self,
        instruction: &Instruction,
        quick: Option<Digest>,
        exact: impl FnOnce() -> Result<Digest, Failed>,
        work: impl FnOnce(&Self, &Fresh, &dyn Fn(String)) -> Result<(), Failed>,
        step: usize,
    ) -> Result<bool, Failed> {
        let builder = self.builder;
        let find = |key: Digest| if self.fresh { None } else { builder.store.find_step(key) };
        if let Some(record) = quick.and_then(find) {
            self.adopt(instruction, &record);
            return Ok(true);
        }
        let exact = exact()?;
        if let Some(record) = find(exact) {
            if let Some(quick) = quick {
                builder.store.remember_step(quick, &record);
            }
            self.adopt(instruction, &record);
            return Ok(true);
        }
        builder.built.store(true, Ordering::Relaxed);
        let _slot = builder.slot();
        builder.go_on()?;
        let fresh = Fresh::new(self, step)?;
        work(self, &fresh, &|line| builder.surroundings.tell(Event::Said { step, line }))?;
        let (blob_path, blob) = builder.workspace.new_blob(&format!("blob-{step}"))?;
        let packed = pack(&fresh.upper, blob, builder.latest)
            .map_err(|error| say(&instruction.span, &error, "see what is said about the file"))?;
        let layer = packed.map(|packed| {
            let path = fresh.upper.clone();
            self.pending.layers.push(StagedLayer {
                diff_id: packed.diff_id,
                path,
                size: packed.size,
            });
            let (digest, size) = (packed.blob, packed.blob_size);
            self.pending.blobs.push(StagedBlob { digest, path: blob_path, size });
            CachedLayer { diff_id: packed.diff_id, blob: digest, blob_size: size }
        });
        let record = StepRecord { version: StepRecord::VERSION, layer, created: Timestamp::now() };
        self.state.add_step(&instruction.source, &record, layer.map(|_| fresh.upper.clone()));
        self.pending
            .records
            .extend(quick.into_iter().chain([exact]).map(|key| (key, record.clone())));
        Ok(false)
    }

    fn adopt(&mut self, instruction: &Instruction, record: &StepRecord) {
        let directory = record.layer.map(|layer| self.builder.store.layer(layer.diff_id));
        self.state.add_step(&instruction.source, record, directory);
    }

    /// Makes what was built part of the store.
    fn commit(&mut self) -> Result<(), Failed> {
        let Pending { layers, blobs, records } = std::mem::take(&mut self.pending);
        if !layers.is_empty() {
            self.builder.workspace.keep(&layers, &blobs)?;
            for layer in layers {
                let kept = self.builder.store.layer(layer.diff_id);
                for directory in &mut self.state.directories {
                    if *directory == layer.path {
                        directory.clone_from(&kept);
                    }
                }
            }
            let mut seen = std::collections::HashSet::new();
            self.state.directories.retain(|directory| seen.insert(directory.clone()));
        }
        for (key, record) in records {
            self.builder.store.remember_step(key, &record);
        }
        Ok(())
    }

    /// The layers of the stage, topmost first, and below them an empty one.
    fn lower(&self) -> Result<Vec<PathBuf>, Failed> {
        let empty = self.builder.workspace.path().join("empty");
        match fs::create_dir(&empty) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::access("create", &empty)(error).into());
            }
            _ => {}
        }
        Ok([self.state.directories.clone(), vec![empty]].concat())
    }

    /// The files of the stage, for reading.
    fn view(&self, span: &std::ops::Range<usize>) -> Result<Root, Failed> {
        let view =
            overlay::view(&self.lower()?).map_err(|error| say(span, &error, "too many layers?"))?;
        Ok(Root::from(view))
    }

    fn work_directory(
        &mut self,
        instruction: &Instruction,
        path: &Word,
        variables: &HashMap<String, String>,
    ) -> Result<(), Failed> {
        let text = self.word(path, variables)?;
        if text.is_empty() {
            let help = "write WORKDIR and a directory";
            return Err(Problem::new(path.place.clone(), "the directory is empty", help).into());
        }
        let directory = join(&self.state.directory(), &text);
        self.state.set("WorkingDir", json!(directory.display().to_string()));
        let exact = key(&[
            b"workdir 1",
            self.state.chain().as_bytes(),
            directory.as_os_str().as_encoded_bytes(),
            &self.epoch(),
        ]);
        let span = instruction.span.clone();
        self.layer(
            instruction,
            None,
            || Ok(exact),
            |stage, fresh, _| {
                let wishes = Wishes { latest: stage.builder.latest, ..Wishes::default() };
                let root = fresh.root(&span, Linked::No)?;
                let mut writer = Writer::new(&root, &wishes);
                let time = Timespec { tv_sec: stage.builder.latest.unwrap_or(0), tv_nsec: 0 };
                writer
                    .directory(&below(&directory.display().to_string()), time)
                    .and_then(|_| writer.finish())
                    .map_err(|error| say(&span, &error, "choose another directory"))
            },
        )
    }

    fn epoch(&self) -> Vec<u8> {
        self.builder.latest.map(|latest| latest.to_le_bytes().to_vec()).unwrap_or_default()
    }

    /// Where `COPY --from` and `RUN --mount=from=` take files from.
    fn origin(&self, from: Option<&str>, word: &Word) -> Result<Origin<'b>, Failed> {
        let Some(from) = from else {
            return Ok(Origin::Context(&self.builder.context.tree));
        };
        let state = match self.builder.contexts.get(&from.to_ascii_lowercase()) {
            Some(Named::Files(context)) => {
                return Ok(Origin::Context(&context.tree));
            }
            Some(Named::Image(image)) => {
                self.builder.image(image, &self.builder.recipe.platform, word)?
            }
            None => match self.builder.origin_stage(from, self.index) {
                Some(stage) => self.builder.stage(stage)?,
                None => self.builder.image(from, &self.builder.recipe.platform, word)?,
            },
        };
        let layers =
            [state.directories.clone(), self.lower()?.pop().into_iter().collect()].concat();
        let view =
            overlay::view(&layers).map_err(|error| say(&word.place, &error, "too many layers?"))?;
        let tree =
            Tree { root: Root::from(view), hidden: Patterns::default(), owned: true, stats: None };
        Ok(Origin::Layers(state, tree))
    }

    fn copy(
        &mut self,
        instruction: &Instruction,
        copy: &Copy,
        variables: &HashMap<String, String>,
        is_add: bool,
    ) -> Result<(), Failed> {
        let span = instruction.span.clone();
        let flags = CopyFlags::read(self, &copy.flags, variables)?;
        let target = self.state.absolute(&self.word(&copy.target, variables)?);
        let from = copy.flags.iter().find(|flag| flag.name == "from").map(|flag| &flag.value);
        let origin =
            self.origin(from.map(|word| word.text.as_str()), from.unwrap_or(&copy.target))?;
        let mut texts: Vec<Vec<u8>> = vec![target.clone().into_bytes(), flags.text(), self.epoch()];
        let mut sources = Vec::new();
        for word in &copy.sources {
            let text = self.word(word, variables)?;
            texts.push(text.clone().into_bytes());
            sources.push(self.copy_source(word, &word.text, text, copy, variables, is_add)?);
        }
        if flags.checksum.is_some() && !matches!(sources[..], [CopySource::Url(_)]) {
            let message = "`--checksum` is for one file that is fetched by its address";
            return Err(Problem::new(span, message, "remove the flag").into());
        }
        let linked = if flags.link && flags.owner.as_ref().is_none_or(|owner| is_numeric(owner)) {
            Linked::Yes
        } else {
            Linked::No
        };
        let chain = match linked {
            Linked::Yes => Digest::of(b"nothing below"),
            Linked::No => self.state.chain(),
        };
        let verb: &[u8] = if is_add { b"add 1" } else { b"copy 1" };
        let mut parts: Vec<&[u8]> = vec![verb, chain.as_bytes()];
        parts.extend(texts.iter().map(Vec::as_slice));
        let base = key(&parts);
        let quick = origin.identity().map(|identity| key(&[base.as_bytes(), identity.as_bytes()]));
        let builder = self.builder;
        let fetched = std::cell::OnceCell::new();
        let selected = std::cell::OnceCell::new();
        let exact = || {
            let files = select(origin.tree(), &sources, &flags)?;
            let digest = origin
                .tree()
                .digest(&files)
                .map_err(|error| say(&span, &error, "check what is copied"))?;
            let others = fetch(builder, &sources, &flags, &span)?;
            let mut parts: Vec<Vec<u8>> =
                vec![base.as_bytes().to_vec(), digest.as_bytes().to_vec()];
            for other in &others {
                parts.push(other.digest(&span)?.as_bytes().to_vec());
            }
            for source in &sources {
                if let CopySource::Text(name, content) = source {
                    parts.extend([name.clone().into_bytes(), content.clone().into_bytes()]);
                }
            }
            let _ = selected.set(files);
            let _ = fetched.set(others);
            Ok(key(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()))
        };
        self.layer(instruction, quick, exact, |stage, fresh, _| {
            let files = selected.get().expect("the key was made of them");
            let others = fetched.get().expect("the key was made of them");
            let root = fresh.root(&span, linked)?;
            let owner = match &flags.owner {
                Some(text) if is_numeric(text) => owner(text, &root).ok(),
                Some(text) => {
                    let view = stage.view(&span)?;
                    let help = "name a user of the stage, or a number";
                    Some(owner(text, &view).map_err(|error| say(&span, &error, help))?)
                }
                None => None,
            };
            let wishes = Wishes {
                owner,
                mode: flags.mode.clone(),
                latest: stage.builder.latest,
                parents: flags.parents,
            };
            let put = Put { tree: origin.tree(), target: &target, wishes: &wishes, span: &span };
            put.all(&root, files, others, &sources, is_add && flags.unpack)
        })
    }

    fn copy_source(
        &self,
        word: &Word,
        raw: &str,
        text: String,
        copy: &Copy,
        variables: &HashMap<String, String>,
        is_add: bool,
    ) -> Result<CopySource, Failed> {
        if let Some(name) = super::dockerfile::heredoc_name(raw)
            && let Some(heredoc) = copy.heredocs.iter().find(|heredoc| heredoc.name == name)
        {
            let Heredoc { content, expand, .. } = heredoc;
            let content = if *expand {
                let expansion = Expansion { variables, escape: self.builder.file.escape };
                expansion.body(content).map_err(|error| {
                    Problem::new(
                        word.place.clone(),
                        error.to_string(),
                        "quote the name of the heredoc to keep its text as it is",
                    )
                })?
            } else {
                content.clone()
            };
            return Ok(CopySource::Text(name, content));
        }
        if is_add {
            if let Some(git) = super::GitSource::parse(&text) {
                return Ok(CopySource::Git(git));
            }
            if text.starts_with("http://") || text.starts_with("https://") {
                return Ok(CopySource::Url(text));
            }
        }
        Ok(CopySource::Files(text, word.clone()))
    }

    fn run(
        &mut self,
        instruction: &Instruction,
        run: &Run,
        variables: &HashMap<String, String>,
    ) -> Result<(), Failed> {
        let span = instruction.span.clone();
        let plan = RunPlan::read(self, run, variables)?;
        let args = self.run_args(run);
        let env = environment(self.state.env(), &self.state.args);
        let mut parts: Vec<Vec<u8>> =
            vec![b"run 1".to_vec(), self.state.chain().as_bytes().to_vec()];
        parts.extend(args.iter().map(|arg| arg.clone().into_bytes()));
        parts.push(b"env".to_vec());
        let counts = |name: &str| !PROXIES.contains(&name) || !self.state.args.contains_key(name);
        parts.extend(
            env.iter()
                .filter(|(name, _)| counts(name))
                .map(|(name, value)| format!("{name}={value}").into_bytes()),
        );
        parts.push(
            format!("{:?} {:?} {}", plan.network, plan.insecure, self.state.text("User"))
                .into_bytes(),
        );
        parts.push(self.state.directory().as_os_str().as_encoded_bytes().to_vec());
        parts.push(self.epoch());
        parts.extend(plan.mounts.iter().map(|(mount, _)| format!("{mount:?}").into_bytes()));
        let base = key(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
        // What comes from contexts is looked at; what comes from stages has an identity, and may have an equal content.
        let mut origins = Vec::new();
        for (mount, word) in &plan.mounts {
            if mount.kind == MountKind::Bind {
                origins.push((
                    mount.clone(),
                    self.origin(mount.from.as_deref(), word)?,
                    word.clone(),
                ));
            }
        }
        let identities: Option<Vec<Digest>> =
            origins.iter().map(|(_, origin, _)| origin.identity()).collect();
        let quick = identities.filter(|all| !all.is_empty()).map(|all| {
            let mut parts: Vec<&[u8]> = vec![base.as_bytes()];
            parts.extend(all.iter().map(|one| one.as_bytes().as_slice()));
            key(&parts)
        });
        let exact = || {
            let mut parts = vec![base.as_bytes().to_vec()];
            for (mount, origin, word) in &origins {
                let files = origin
                    .tree()
                    .select_directory(&mount.source)
                    .and_then(|files| origin.tree().digest(&files));
                let digest = files
                    .map_err(|error| say(&word.place, &error, "check the source of the mount"))?;
                parts.push(digest.as_bytes().to_vec());
            }
            Ok(key(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()))
        };
        self.layer(instruction, quick, exact, |stage, fresh, say_line| {
            let failed = |error: RunError| say(&span, &error, "see what is said about it");
            let mut mounts = Mounts::new(stage, fresh);
            for (mount, word) in &plan.mounts {
                let origin =
                    origins.iter().find(|(known, ..)| known == mount).map(|(_, origin, _)| origin);
                mounts.add(mount, origin, word)?;
            }
            if let Some(script) = plan.script.as_ref() {
                mounts
                    .script(script)
                    .map_err(|error| failed(host("cannot write the script")(error)))?;
            }
            let builder = stage.builder;
            let sandbox = match plan.network {
                RunNetwork::Host => None,
                kind => Some(builder.surroundings.network(kind).map_err(|error| {
                    say(&span, &*error, "write RUN --network=none if it needs no network")
                })?),
            };
            let Mounts { wishes, preparation, env: more, locks: _locks, .. } = mounts;
            let container = Container {
                recipe: builder.recipe,
                scratch: fresh.scratch.clone(),
                layers: stage.state.directories.clone(),
                upper: fresh.upper.clone(),
                work: fresh.work.clone(),
                args: args.clone(),
                env: [env.clone(), more].concat(),
                directory: stage.state.directory(),
                user: stage.state.text("User"),
                shell: stage.state.shell(),
                network: plan.network,
                insecure: plan.insecure,
                mounts: wishes,
                preparation,
                filters: builder.surroundings.filters(),
            };
            let running = |place: Option<&runtime::cgroup::Place>| {
                let mut places = builder.places.lock().expect("nobody panics with it");
                match place {
                    Some(place) => places.push(place.clone()),
                    None => places.retain(|known| !known.pids().is_empty()),
                }
            };
            let on_failure = |step: &super::FailedStep| {
                if builder.go_on().is_ok() {
                    builder.surroundings.on_failure(step);
                }
            };
            let ended = container.run(sandbox.as_deref(), say_line, &running, &on_failure);
            builder.go_on()?;
            let ended = ended.map_err(failed)?;
            if ended.status.success() {
                return Ok(());
            }
            let message = match ended.status.signal {
                Some(signal) => format!("the command was ended by signal {signal}"),
                None => {
                    format!("the command has ended with exit code {}", ended.status.shell_code())
                }
            };
            let problem = Problem::new(span.clone(), message, "what it said last stands above");
            Err(Failed::At { problem, output: ended.tail, debuggable: true })
        })
    }

    /// What is executed.
    fn run_args(&self, run: &Run) -> Vec<String> {
        match (&run.script, &run.command) {
            (Some(script), _) if script.content.starts_with("#!") => vec![SCRIPT.to_owned()],
            (Some(script), _) => [self.state.shell(), vec![script.content.clone()]].concat(),
            (None, command @ (Command::Exec(_) | Command::Shell(_))) => self.state.command(command),
        }
    }
}

/// Where a script with its own interpreter is.
const SCRIPT: &str = "/dev/pipes/script";

fn is_numeric(owner: &str) -> bool {
    owner.bytes().all(|byte| byte.is_ascii_digit() || byte == b':')
}

/// Whether the layer is made without regard to what is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Linked {
    Yes,
    No,
}

/// The directories of a step that is being made.
struct Fresh {
    upper: PathBuf,
    work: PathBuf,
    /// For everything else.
    scratch: PathBuf,
    lower: Vec<PathBuf>,
}

impl Fresh {
    fn new(stage: &Stage<'_, '_>, step: usize) -> Result<Self, Failed> {
        let workspace = &stage.builder.workspace;
        Ok(Self {
            upper: workspace.new_layer(&format!("upper-{step}"))?,
            work: workspace.new_layer(&format!("work-{step}"))?,
            scratch: workspace.new_layer(&format!("scratch-{step}"))?,
            lower: stage.lower()?,
        })
    }

    /// The files of the stage, for changing.
    fn root(&self, span: &std::ops::Range<usize>, linked: Linked) -> Result<Root, Failed> {
        let upper = |source| StoreError::access("open", &self.upper)(source);
        if linked == Linked::Yes {
            return Ok(Root::open(&self.upper).map_err(upper)?);
        }
        let mounted = overlay::writable(&self.lower, &self.upper, &self.work);
        Ok(Root::from(mounted.map_err(|error| say(span, &error, "too many layers?"))?))
    }
}

/// The flags of `ADD` and `COPY`.
struct CopyFlags {
    owner: Option<String>,
    mode: Option<ModeChange>,
    link: bool,
    parents: bool,
    exclude: Patterns,
    checksum: Option<Digest>,
    keep_git: bool,
    unpack: bool,
    /// All of them, as they were written.
    written: Vec<String>,
}

impl CopyFlags {
    fn read(
        stage: &Stage<'_, '_>,
        flags: &[Flag],
        variables: &HashMap<String, String>,
    ) -> Result<Self, Failed> {
        let mut read = Self {
            owner: None,
            mode: None,
            link: false,
            parents: false,
            exclude: Patterns::default(),
            checksum: None,
            keep_git: false,
            unpack: true,
            written: Vec::new(),
        };
        let mut excluded = Vec::new();
        for Flag { name, value } in flags {
            let text = stage.word(value, variables)?;
            if !matches!(*name, "from" | "link") {
                read.written.push(format!("{name}={text}"));
            }
            let wrong = |help: &str| {
                let message = format!("`{text}` cannot be the value of `--{name}`");
                Failed::from(Problem::new(value.place.clone(), message, help))
            };
            let switch = || match text.as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(wrong("write true or false")),
            };
            match *name {
                "chown" if text.is_empty() => {}
                "chown" => read.owner = Some(text),
                "chmod" => {
                    let help = "write octal digits such as 755, or u=rwX,go=rX";
                    read.mode = Some(ModeChange::parse(&text).ok_or_else(|| wrong(help))?);
                }
                "link" => read.link = switch()?,
                "parents" => read.parents = switch()?,
                "keep-git-dir" => read.keep_git = switch()?,
                "unpack" => read.unpack = switch()?,
                "exclude" => excluded.push(text),
                "checksum" => {
                    read.checksum =
                        Some(text.parse().map_err(|_| wrong("write sha256: and 64 digits"))?);
                }
                _ => {}
            }
        }
        read.exclude = Patterns::of(excluded.iter().map(String::as_str)).map_err(|error| {
            let place = flags.first().map_or(0..0, |flag| flag.value.place.clone());
            Failed::from(Problem::new(place, error.to_string(), "close the bracket"))
        })?;
        Ok(read)
    }

    fn text(&self) -> Vec<u8> {
        self.written.join("\n").into_bytes()
    }
}

/// A source of `ADD` or `COPY`.
enum CopySource {
    Files(String, Word),
    Text(String, String),
    Url(String),
    Git(super::GitSource),
}

/// Something that was fetched.
enum Fetched {
    File { path: PathBuf, name: String, digest: Digest },
    Directory(PathBuf),
}

impl Fetched {
    fn tree(path: &Path) -> io::Result<Tree> {
        Ok(Tree { root: Root::open(path)?, hidden: Patterns::default(), owned: false, stats: None })
    }

    fn digest(&self, span: &std::ops::Range<usize>) -> Result<Digest, Failed> {
        match self {
            Self::File { name, digest, .. } => Ok(key(&[name.as_bytes(), digest.as_bytes()])),
            Self::Directory(path) => {
                let help = "check the repository";
                let tree = Self::tree(path).map_err(|error| say(span, &error, help))?;
                let files = tree.select("", &Patterns::default());
                files.and_then(|files| tree.digest(&files)).map_err(|error| say(span, &error, help))
            }
        }
    }
}

/// The files that the sources mean.
fn select(tree: &Tree, sources: &[CopySource], flags: &CopyFlags) -> Result<Vec<Source>, Failed> {
    let mut all = Vec::new();
    for source in sources {
        if let CopySource::Files(text, word) = source {
            // What stands before `/./` is no part of the path that is kept.
            let (pivot, rest) = match text.split_once("/./").filter(|_| flags.parents) {
                Some((pivot, _)) => (below(pivot), text.as_str()),
                None => (PathBuf::new(), text.as_str()),
            };
            let found = tree.select(rest, &flags.exclude).map_err(|error| {
                say(
                    &word.place,
                    &error,
                    "paths are relative to the root of the context, stage or image",
                )
            })?;
            all.extend(found.into_iter().map(|source| {
                let path =
                    source.path.strip_prefix(&pivot).map_or(source.path.clone(), Path::to_owned);
                Source { path, ..source }
            }));
        }
    }
    Ok(all)
}

/// Fetches what is elsewhere.
fn fetch(
    builder: &Builder<'_>,
    sources: &[CopySource],
    flags: &CopyFlags,
    span: &std::ops::Range<usize>,
) -> Result<Vec<Fetched>, Failed> {
    let mut all = Vec::new();
    for source in sources {
        let path = builder.workspace.path().join(format!("fetched-{}", builder.next_step()));
        match source {
            CopySource::Url(url) => {
                let help = "check the address";
                builder
                    .surroundings
                    .download(url, &path)
                    .map_err(|error| say(span, &*error, help))?;
                let read = || -> io::Result<Digest> {
                    let mut hasher = Hasher::default();
                    io::copy(&mut File::open(&path)?, &mut hasher)?;
                    Ok(hasher.finish().0)
                };
                let digest = read().map_err(StoreError::access("read", &path))?;
                if let Some(wanted) = flags.checksum.filter(|wanted| *wanted != digest) {
                    let message = format!("{url} has the digest {digest}, and not {wanted}");
                    return Err(Problem::new(
                        span.clone(),
                        message,
                        "check the file before you change the digest",
                    )
                    .into());
                }
                let tail = url.split(['?', '#']).next().unwrap_or_default();
                let name =
                    tail.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
                all.push(Fetched::File { path, name, digest });
            }
            CopySource::Git(git) => {
                let keep = if flags.keep_git {
                    super::context::KeepGit::Yes
                } else {
                    super::context::KeepGit::No
                };
                let found = git
                    .fetch(&path, keep)
                    .map_err(|error| say(span, &error, "check the repository"))?;
                all.push(Fetched::Directory(found));
            }
            CopySource::Files(..) | CopySource::Text(..) => {}
        }
    }
    Ok(all)
}

/// What is put where.
struct Put<'a> {
    tree: &'a Tree,
    target: &'a str,
    wishes: &'a Wishes,
    span: &'a std::ops::Range<usize>,
}

impl Put<'_> {
    fn all(
        &self,
        root: &Root,
        files: &[Source],
        others: &[Fetched],
        sources: &[CopySource],
        unpacks: bool,
    ) -> Result<(), Failed> {
        let help = "end a target that is a directory with `/`";
        let fail = |error: super::copy::CopyError| say(self.span, &error, help);
        let mut writer = Writer::new(root, self.wishes);
        let texts = sources.iter().filter(|source| matches!(source, CopySource::Text(..))).count();
        let count = files.len() + others.len() + texts;
        let into = writer.goes_into(self.target, count);
        let mut plain = Vec::new();
        for source in files {
            if unpacks && self.unpack(root, source)? {
                continue;
            }
            plain.push(source.clone());
        }
        writer.copy(self.tree, &plain, self.target, into).map_err(fail)?;
        let place = |name: &str| {
            let target = below(self.target);
            if into { target.join(name) } else { target }
        };
        for source in sources {
            if let CopySource::Text(name, content) = source {
                writer.write(&place(name), content.as_bytes()).map_err(fail)?;
            }
        }
        for fetched in others {
            match fetched {
                Fetched::File { path, name, .. } => {
                    let content = fs::read(path).map_err(StoreError::access("read", path))?;
                    if into && name.is_empty() {
                        let message = "the address has no name for the file";
                        return Err(Problem::new(
                            self.span.clone(),
                            message,
                            "write the name in the target",
                        )
                        .into());
                    }
                    let mode = self.wishes.mode.clone().or(Some(ModeChange::Set(0o600)));
                    let wishes = Wishes { mode, ..self.wishes.clone() };
                    let mut writer = Writer::new(root, &wishes);
                    writer
                        .write(&place(name), &content)
                        .and_then(|()| writer.finish())
                        .map_err(fail)?;
                }
                Fetched::Directory(path) => {
                    let tree = Fetched::tree(path).map_err(StoreError::access("read", path))?;
                    let files = tree
                        .select("", &Patterns::default())
                        .map_err(|error| say(self.span, &error, help))?;
                    writer.copy(&tree, &files, self.target, into).map_err(fail)?;
                }
            }
        }
        writer.finish().map_err(fail)
    }

    /// Unpacks a local archive into the target; false for what is none.
    fn unpack(&self, root: &Root, source: &Source) -> Result<bool, Failed> {
        let Some(item) = source.items.first() else { return Ok(false) };
        if kind(&item.stat) != rustix::fs::FileType::RegularFile {
            return Ok(false);
        }
        let help = "decompress it before, or write ADD --unpack=false";
        let open = || self.tree.root.open_file(&item.from);
        let is_archive = open().and_then(crate::layer::is_archive);
        match is_archive {
            Ok(false) => return Ok(false),
            Ok(true) => {}
            Err(error) => return Err(say(self.span, &error, help)),
        }
        let mut writer = Writer::new(root, self.wishes);
        let time = Timespec { tv_sec: item.stat.st_mtime, tv_nsec: 0 };
        let target = below(self.target);
        writer
            .directory(&target, time)
            .map_err(|error| say(self.span, &error, "choose another target"))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let directory = root
            .resolve(&target, flags, Mode::empty())
            .map_err(|error| say(self.span, &error, help))?;
        let file = open().map_err(|error| say(self.span, &error, help))?;
        unpack_below(file, directory, self.wishes.owner)
            .map_err(|error| say(self.span, &error, "check the archive"))?;
        Ok(true)
    }
}

/// What the flags of a `RUN` ask for.
struct RunPlan {
    network: RunNetwork,
    insecure: bool,
    mounts: Vec<(Mount, Word)>,
    script: Option<Heredoc>,
}

impl RunPlan {
    fn read(
        stage: &Stage<'_, '_>,
        run: &Run,
        variables: &HashMap<String, String>,
    ) -> Result<Self, Failed> {
        let recipe = stage.builder.recipe;
        let mut plan = Self {
            network: recipe.network,
            insecure: recipe.privileged,
            mounts: Vec::new(),
            script: run.script.clone().filter(|script| script.content.starts_with("#!")),
        };
        for Flag { name, value } in &run.flags {
            let text = stage.word(value, variables)?;
            let wrong = |message: String, help: &str| {
                Failed::from(Problem::new(value.place.clone(), message, help))
            };
            let unknown =
                |help: &str| wrong(format!("`{text}` cannot be the value of `--{name}`"), help);
            match (*name, text.as_str()) {
                ("network", "default") => plan.network = RunNetwork::Default,
                ("network", "none") => plan.network = RunNetwork::None,
                ("network", "host") => {
                    let allowed = recipe.entitlements.contains(&Entitlement::NetworkHost)
                        || recipe.network == RunNetwork::Host;
                    if !allowed {
                        let message =
                            "the network of the machine is not allowed to this build".to_owned();
                        return Err(wrong(message, "add `network.host` to `build.entitlements`"));
                    }
                    plan.network = RunNetwork::Host;
                }
                ("network", _) => return Err(unknown("write default, none or host")),
                ("security", "sandbox") => plan.insecure = recipe.privileged,
                ("security", "insecure") => {
                    let allowed = recipe.privileged
                        || recipe.entitlements.contains(&Entitlement::SecurityInsecure);
                    if !allowed {
                        let message =
                            "a command with all rights is not allowed to this build".to_owned();
                        return Err(wrong(
                            message,
                            "add `security.insecure` to `build.entitlements`",
                        ));
                    }
                    plan.insecure = true;
                }
                ("security", _) => return Err(unknown("write sandbox or insecure")),
                _ => {
                    let help = "see \"RUN --mount\" of the Dockerfile reference";
                    let mount = Mount::parse(&text).map_err(|message| wrong(message, help))?;
                    plan.mounts.push((mount, value.clone()));
                }
            }
        }
        Ok(plan)
    }
}

/// The mounts of a `RUN`, as they are made.
struct Mounts<'s, 'b, 'a> {
    stage: &'s Stage<'b, 'a>,
    fresh: &'s Fresh,
    wishes: Vec<(MountWish, Target)>,
    preparation: Preparation,
    env: Vec<(String, String)>,
    /// Held until the command has ended.
    locks: Vec<File>,
    count: usize,
}

impl<'s, 'b, 'a> Mounts<'s, 'b, 'a> {
    fn new(stage: &'s Stage<'b, 'a>, fresh: &'s Fresh) -> Self {
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

    fn add(
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
                let sources = tree.select_directory(&mount.source).map_err(io::Error::other)?;
                let target = if is_directory { "/" } else { "/file" };
                writer
                    .copy(tree, &sources, target, is_directory)
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
            let operation = match mount.sharing {
                Sharing::Shared => FlockOperation::LockShared,
                Sharing::Locked => FlockOperation::LockExclusive,
                Sharing::Private => FlockOperation::NonBlockingLockExclusive,
            };
            match rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, operation)) {
                Ok(()) => {
                    self.locks.push(lock);
                    break path;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => number += 1,
                Err(error) => return Err(failed(error.into())),
            }
        };
        let mode = mount.mode.unwrap_or(0o755);
        let is_new = cache_directory(&path, mode, mount.uid, mount.gid).map_err(failed)?;
        if let (true, Some(from)) = (is_new, &mount.from) {
            let origin = self.stage.origin(Some(from), word)?;
            let sources = origin.tree().select_directory(&mount.source);
            let sources = sources.map_err(|error| say(&word.place, &error, "check the source"))?;
            let root = Root::open(&path).map_err(failed)?;
            let wishes = Wishes::default();
            let mut writer = Writer::new(&root, &wishes);
            writer
                .copy(origin.tree(), &sources, "/", true)
                .and_then(|()| writer.finish())
                .map_err(|error| say(&word.place, &error, "check the source"))?;
        }
        let read_only = mount.writable == Some(false);
        let bind = Bind { source: path, target, read_only, ..Bind::default() };
        self.wishes.push((MountWish::Bind(bind), Target::Directory));
        Ok(())
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

    fn script(&mut self, script: &Heredoc) -> io::Result<()> {
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
        let Some(socket) = self.stage.builder.recipe.ssh.get(&id) else {
            if mount.required {
                let message = format!("there is no agent `{id}`");
                return Err(
                    Problem::new(word.place.clone(), message, "name it in `build.ssh`").into()
                );
            }
            return Ok(());
        };
        let number = self.wishes.len();
        let target = if mount.target.is_empty() {
            PathBuf::from(format!("/run/buildkit/ssh_agent.{number}"))
        } else {
            self.target(mount)
        };
        self.env.push(("SSH_AUTH_SOCK".to_owned(), target.display().to_string()));
        let bind = Bind { source: socket.clone(), target, ..Bind::default() };
        self.wishes.push((MountWish::Bind(bind), Target::File));
        Ok(())
    }
}
