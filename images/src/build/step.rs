//! What one instruction does: those that change the configuration here, those that change files in a module each.

mod command;
mod files;
mod flags;
mod layer;
mod mounts;
mod source;

use std::collections::HashMap;
use std::sync::Arc;

use runtime::overlay;
use rustix::fs::Timespec;
use serde_json::json;
use sys::root::Root;

use super::copy::{Wishes, Writer};
use super::dockerfile::{Instruction, Kind, Problem, Word};
use super::error::{Failed, whole};
use super::ignore::Patterns;
use super::solve::{Builder, Meant, PROXIES, expand};
use super::state::{State, join, ports};
use super::tree::{Tree, below, field};
use crate::change::check_signal;
use crate::digest::{Digest, Hasher};
use layer::{Linked, Pending};

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
        let name = self.outline.file.stages[index].name.clone();
        let label = name.unwrap_or_else(|| match self.outline.file.stages.len() {
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
        expand(self.builder.outline.file.escape, word, variables)
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
        // An absolute one stays as it is written. Source: buildkit `util/system/path.go`, NormalizeWorkdir.
        let shown = if text.starts_with('/') { text } else { directory.display().to_string() };
        self.state.set("WorkingDir", json!(shown));
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
                let ground = fresh.ground(&span, Linked::No)?;
                let mut writer = Writer::on(&ground, &wishes);
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
        let state = match self.builder.outline.origin(from, self.index) {
            Meant::Files(context) => return Ok(Origin::Context(&context.tree)),
            Meant::Stage(stage) => self.builder.stage(stage)?,
            Meant::Image(image) => {
                self.builder.image(&image, &self.builder.recipe.platform, word)?
            }
        };
        let layers =
            [state.directories.clone(), self.lower()?.pop().into_iter().collect()].concat();
        let view =
            overlay::view(&layers).map_err(|error| say(&word.place, &error, "too many layers?"))?;
        let tree =
            Tree { root: Root::from(view), hidden: Patterns::default(), owned: true, stats: None };
        Ok(Origin::Layers(state, tree))
    }
}
