//! What a stage begins with: nothing, another stage, or an image, which is fetched if it is not here.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::Foreign;
use super::super::dockerfile::{Instruction, Problem, Word, parse_trigger};
use super::super::error::{Failed, whole};
use super::super::event::Event;
use super::super::state::State;
use super::{Builder, expand};
use crate::image::{Image, Origin};
use crate::platform::Platform;
use crate::reference::{Reference, ReferenceError};
use crate::store::StoreError;

impl Builder<'_> {
    pub(super) fn stage_platform(&self, index: usize) -> Result<Platform, Failed> {
        let Some(word) = &self.outline.file.stages[index].platform else {
            return Ok(self.recipe.platform.clone());
        };
        let text = expand(self.outline.file.escape, word, &self.outline.globals)?;
        let platform = text.parse::<Platform>().map_err(|error| {
            Problem::new(
                word.place.clone(),
                error.to_string(),
                "write OS/ARCHITECTURE, such as linux/amd64",
            )
        })?;
        Ok(platform)
    }

    pub(super) fn scratch(&self) -> State {
        let platform = &self.recipe.platform;
        let mut document = serde_json::Map::new();
        document.insert("architecture".to_owned(), json!(platform.architecture()));
        document.insert("os".to_owned(), json!(platform.os()));
        if let Some(variant) = platform.variant() {
            document.insert("variant".to_owned(), json!(variant));
        }
        State { document, ..State::default() }
    }

    /// The instructions that the base image has kept for now.
    pub(super) fn triggers(
        &self,
        index: usize,
        state: &mut State,
    ) -> Result<Vec<Instruction>, Failed> {
        let kept = state.list("OnBuild");
        state.config.remove("OnBuild");
        let span = &self.outline.file.stages[index].span;
        let parse = |text: &String| {
            let parsed = parse_trigger(text).map_err(|problem| Problem {
                span: span.clone(),
                message: format!(
                    "the trigger `{text}` of the base image is wrong: {}",
                    problem.message
                ),
                help: problem.help,
            })?;
            Ok(Instruction { span: span.clone(), ..parsed })
        };
        kept.iter().map(parse).collect::<Result<_, Problem>>().map_err(Failed::from)
    }

    /// The state of an image, which is fetched if it is not here.
    pub(in crate::build) fn image(
        &self,
        name: &str,
        platform: &Platform,
        word: &Word,
    ) -> Result<Arc<State>, Failed> {
        let key = format!("{name} {platform}");
        let place = {
            let mut images = self.images.lock().expect("nobody panics with it");
            Arc::clone(images.entry(key).or_default())
        };
        let mut known = place.lock().expect("nobody panics with it");
        if let Some(state) = &*known {
            return Ok(Arc::clone(state));
        }
        // Whoever has waited for one that failed does not try again.
        self.go_on()?;
        let state = Arc::new(self.load_image(name, platform, word)?);
        *known = Some(Arc::clone(&state));
        Ok(state)
    }

    fn load_image(&self, name: &str, platform: &Platform, word: &Word) -> Result<State, Failed> {
        let problem = |message: String, help: &str| Problem::new(word.place.clone(), message, help);
        let find = || {
            self.store
                .find(name)
                .map_err(|error| problem(whole(&error), "write NAME[:TAG] or NAME@DIGEST"))
        };
        let mut found =
            if self.recipe.pull && !name.starts_with("sha256:") { None } else { find()? };
        if found.is_none() {
            let reference: Reference = name.parse().map_err(|error: ReferenceError| {
                problem(whole(&error), "write NAME[:TAG] or NAME@DIGEST")
            })?;
            self.fetch(&reference, platform).map_err(|error| {
                let message = format!("cannot get the image {name}: {}", whole(&*error));
                let help = "check its name, `compose login` to its registry, or bring it in with `compose image load`";
                problem(message, help)
            })?;
            found = find()?;
        }
        let image = found.ok_or_else(|| {
            problem(format!("there is no image {name}"), "bring it in with `compose image load`")
        })?;
        if image.origin == Origin::Directory {
            let message = format!("{name} is a directory, and no image that can be built on");
            return Err(problem(message, "import it with `compose image import`").into());
        }
        let found = (image.config.os().to_string(), image.config.architecture().to_string());
        if found != (platform.os().to_owned(), platform.architecture().to_owned()) {
            let message =
                format!("{name} is for {}/{}, and {platform} is wanted", found.0, found.1);
            return Err(
                problem(message, "fetch it for that platform with `compose build --pull`").into()
            );
        }
        self.state_of(&image, name).map_err(Failed::from)
    }

    /// Fetches an image, as a step of its own.
    fn fetch(&self, image: &Reference, platform: &Platform) -> Result<(), Foreign> {
        self.as_step(format!("[base] {} for {platform}", image.familiar()), |step| {
            let say = |line| self.surroundings.tell(Event::Said { step, line });
            self.surroundings.fetch(image, platform, &say)
        })
    }

    fn state_of(&self, image: &Image, name: &str) -> Result<State, StoreError> {
        let configuration = self.store.configuration(image.id)?;
        let layers = self.store.layers_of(image.manifest)?.ok_or_else(|| StoreError::Invalid {
            path: self.store.root().join("index.json"),
            reason: format!("{name} has gone"),
        })?;
        let Value::Object(mut document) = configuration.json else {
            return Ok(State::default());
        };
        let object = |value: Option<Value>| match value {
            Some(Value::Object(map)) => map,
            _ => serde_json::Map::new(),
        };
        let config = object(document.remove("config"));
        let history = match document.remove("history") {
            Some(Value::Array(history)) => history,
            _ => Vec::new(),
        };
        document.remove("rootfs");
        Ok(State {
            document,
            config,
            history,
            diff_ids: configuration.diff_ids,
            layers,
            directories: image.layers.clone(),
            args: HashMap::new(),
            created: image.created,
            has_command: false,
        })
    }
}
