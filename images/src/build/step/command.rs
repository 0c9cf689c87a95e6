//! `RUN`.

use std::collections::HashMap;

use super::super::cell::{CellError, Kind};
use super::super::copy::Written;
use super::super::dockerfile::{Command, Flag, Heredoc, Instruction, Problem, Run, Word};
use super::super::error::Failed;
use super::super::mounts::{Mount, MountKind};
use super::super::run::{Container, RunError, environment, host, limits};
use super::super::solve::PROXIES;
use super::super::{Entitlement, FailedStep, RunNetwork};
use super::mounts::Mounts;
use super::{Stage, key, say};
use crate::digest::Digest;

/// Where a script with its own interpreter is.
pub(super) const SCRIPT: &str = "/dev/pipes/script";

impl Stage<'_, '_> {
    pub(super) fn run(
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
                    .and_then(|source| origin.tree().digest(&mut [source]));
                let digest = files
                    .map_err(|error| say(&word.place, &error, "check the source of the mount"))?;
                parts.push(digest.as_bytes().to_vec());
            }
            Ok(key(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>()))
        };
        self.layer(instruction, quick, exact, |stage, fresh, say_line| {
            let platform = stage.state.platform();
            if !platform.runs_here() {
                let message = format!("this machine does not run programs for {platform}");
                let help = "register an emulator with binfmt_misc (Debian: qemu-user-static), or do this in a stage \
                            FROM --platform=$BUILDPLATFORM and copy what it makes";
                return Err(Problem::new(span.clone(), message, help).into());
            }
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
            let limits = limits(builder.recipe, plan.insecure).map_err(failed)?;
            let kind = Kind { network: plan.network, limits };
            let cell =
                builder.cells.take(kind, builder.surroundings).map_err(|error| match error {
                    CellError::Run(error) => failed(error),
                    CellError::Network(error) => {
                        say(&span, &*error, "write RUN --network=none if it needs no network")
                    }
                })?;
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
            let on_failure = |step: &FailedStep| {
                if builder.go_on().is_ok() {
                    builder.surroundings.on_failure(step);
                }
            };
            builder.enter(&cell.attendant);
            let ended = container.run(&cell, say_line, &on_failure);
            builder.leave(&cell.attendant);
            // One with all rights may have changed its network.
            if ended.is_ok() && !plan.insecure {
                builder.cells.give(cell);
            }
            builder.go_on()?;
            let ended = ended.map_err(failed)?;
            if ended.status.success() {
                return Ok(Written::new());
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
