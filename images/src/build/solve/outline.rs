//! What a Dockerfile says about its stages before any of them is built.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::context::{self, Context, Source};
use super::super::dockerfile::{Copy, Dockerfile, Kind, Problem, Run};
use super::super::mounts::Mount;
use super::super::{BuildError, Recipe};
use super::args::{expand, globals, platform_args};
use super::{parse, target};
use crate::store::Store;

/// The file, and what the names in it mean.
pub(in crate::build) struct Outline<Files = Context> {
    pub(in crate::build) file: Dockerfile,
    /// The arguments that each `FROM` sees.
    pub(in crate::build) globals: HashMap<String, String>,
    /// Further contexts by name, in lower case.
    pub(in crate::build) contexts: BTreeMap<String, Named<Files>>,
}

/// A further context.
pub(in crate::build) enum Named<Files = Context> {
    Files(Files),
    Image(String),
}

/// What a stage begins with.
pub(super) enum Base {
    Scratch,
    Stage(usize),
    Image(String),
}

/// Where the files of a `--from` are.
pub(in crate::build) enum Meant<'a, Files = Context> {
    Files(&'a Files),
    Stage(usize),
    Image(String),
}

/// The names that an instruction takes files from.
fn origins(kind: &Kind) -> Vec<String> {
    let flags = match kind {
        Kind::Copy(Copy { flags, .. }) => flags,
        Kind::Run(Run { flags, .. }) => flags,
        _ => return Vec::new(),
    };
    let named = flags.iter().filter_map(|flag| match flag.name {
        "from" => Some(flag.value.text.clone()),
        "mount" => Mount::parse(&flag.value.text).ok()?.from,
        _ => None,
    });
    named.collect()
}

impl<Files> Outline<Files> {
    pub(super) fn base(&self, index: usize) -> Result<Base, Problem> {
        let stage = &self.file.stages[index];
        let name = expand(self.file.escape, &stage.base, &self.globals)?;
        if name.is_empty() {
            return Err(Problem::new(
                stage.base.place.clone(),
                format!("`{}` is empty", stage.base.text),
                "give the ARG that it is made of a value",
            ));
        }
        match self.contexts.get(&name.to_ascii_lowercase()) {
            Some(Named::Image(image)) => return Ok(Base::Image(image.clone())),
            Some(Named::Files(_)) => {
                return Err(Problem::new(
                    stage.base.place.clone(),
                    format!("`{name}` is a context of files, and no image"),
                    "begin with scratch and COPY --from it",
                ));
            }
            None => {}
        }
        Ok(match self.named_stage(&name, index) {
            Some(base) => Base::Stage(base),
            None if name == "scratch" => Base::Scratch,
            None => Base::Image(name),
        })
    }

    /// `FROM` takes names of stages, and no numbers.
    fn named_stage(&self, name: &str, before: usize) -> Option<usize> {
        let name = name.to_ascii_lowercase();
        self.file.stages[..before].iter().rposition(|stage| stage.name.as_ref() == Some(&name))
    }

    /// What `name` means where stage number `before` takes files from it.
    pub(in crate::build) fn origin(&self, name: &str, before: usize) -> Meant<'_, Files> {
        match self.contexts.get(&name.to_ascii_lowercase()) {
            Some(Named::Files(files)) => Meant::Files(files),
            Some(Named::Image(image)) => Meant::Image(image.clone()),
            None => {
                let stage = self.file.stage(name, before);
                stage.map_or_else(|| Meant::Image(name.to_owned()), Meant::Stage)
            }
        }
    }

    /// The stages that `target` needs, itself included, as far as the file alone says.
    pub(super) fn needed(&self, target: usize) -> BTreeSet<usize> {
        let mut needed = BTreeSet::from([target]);
        for index in (0..=target).rev() {
            if !needed.contains(&index) {
                continue;
            }
            if let Ok(Base::Stage(base)) = self.base(index) {
                needed.insert(base);
            }
            needed.extend(self.origins(index).iter().filter_map(|name| {
                match self.origin(name, index) {
                    Meant::Stage(stage) => Some(stage),
                    Meant::Files(_) | Meant::Image(_) => None,
                }
            }));
        }
        needed
    }

    /// The names that stage number `index` takes files from.
    fn origins(&self, index: usize) -> Vec<String> {
        let instructions = &self.file.stages[index].instructions;
        instructions.iter().flat_map(|one| origins(&one.kind)).collect()
    }

    /// The images that `target` needs.
    fn images(&self, target: usize) -> BTreeSet<String> {
        let mut images = BTreeSet::new();
        for index in self.needed(target) {
            if let Ok(Base::Image(image)) = self.base(index) {
                images.insert(image);
            }
            for name in self.origins(index) {
                if let Meant::Image(image) = self.origin(&name, index) {
                    images.insert(image);
                }
            }
        }
        images
    }
}

/// See [`super::super::bases`].
pub(in crate::build) fn bases(
    store: &Store,
    recipe: &Recipe,
) -> Result<BTreeSet<String>, BuildError> {
    let Some(text) = context::at_hand(recipe)? else { return Ok(BTreeSet::new()) };
    let file = parse(&text)?;
    let target = target(recipe, &file, &text)?;
    let platform_args = platform_args(&recipe.platform, recipe.target.as_deref());
    let globals = globals(&file, recipe, &platform_args)
        .map_err(|problem| super::mistakes(&text, vec![problem]))?;
    let named = |(name, source): (&String, &Source)| {
        let named = match source {
            Source::Image(image) => Named::Image(image.clone()),
            _ => Named::Files(()),
        };
        (name.to_ascii_lowercase(), named)
    };
    let contexts = recipe.contexts.iter().map(named).collect();
    let mut images = Outline { file, globals, contexts }.images(target);
    // As when it is built; a name that is none is told then.
    images.retain(|name| {
        let is_asked_for = recipe.pull && !name.starts_with("sha256:");
        is_asked_for || matches!(store.find(name), Ok(None))
    });
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{DockerfileSource, bases};

    #[test]
    fn what_a_build_fetches_is_in_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::look(&dir.path().join("nowhere"));
        let text = "ARG OF=one
FROM unused AS first
FROM $OF AS second
FROM second AS third
RUN --mount=from=two,target=/t true
FROM scratch AS fourth
COPY --from=third / /
COPY --from=named / /
COPY --from=files / /
COPY --from=three:3 / /
FROM fifth
";
        let mut recipe = Recipe::new(Source::Directory(dir.path().to_owned()));
        recipe.dockerfile = DockerfileSource::Inline(text.to_owned());
        recipe.contexts.insert("Named".to_owned(), Source::Image("other".to_owned()));
        recipe.contexts.insert("files".to_owned(), Source::Directory("/".into()));
        recipe.target = Some("fourth".to_owned());
        let of = |recipe: &Recipe| -> Vec<String> {
            bases(recipe, &store).unwrap().into_iter().collect()
        };
        assert_eq!(of(&recipe), ["one", "other", "three:3", "two"]);
        recipe.args.insert("OF".to_owned(), "given".to_owned());
        recipe.target = Some("second".to_owned());
        assert_eq!(of(&recipe), ["given"]);
        // It would have to be fetched itself.
        recipe.context = Source::Url("http://localhost/context.tar".to_owned());
        recipe.dockerfile = DockerfileSource::File("Dockerfile".into());
        assert_eq!(of(&recipe), [""; 0]);
        recipe.context = Source::Directory(dir.path().to_owned());
        assert!(bases(&recipe, &store).is_err());
        assert!(!dir.path().join("nowhere").exists());
    }
}
