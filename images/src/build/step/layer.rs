//! The layer of one instruction: taken from the cache, or made and remembered.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use runtime::overlay;
use sys::root::Root;

use super::super::cache::{CachedLayer, StepRecord};
use super::super::copy::{Ground, Written};
use super::super::dockerfile::Instruction;
use super::super::error::Failed;
use super::super::event::Event;
use super::super::pack::pack;
use super::{Stage, say};
use crate::digest::Digest;
use crate::store::StoreError;
use crate::store::workspace::{StagedBlob, StagedLayer};

/// A step that took longer is written to disk at once, so that a machine that goes down does not take it along.
const PRECIOUS: Duration = Duration::from_secs(1);

/// Layers of a stage that are not part of the store yet.
#[derive(Default)]
pub(super) struct Pending {
    layers: Vec<StagedLayer>,
    blobs: Vec<StagedBlob>,
    records: Vec<(Digest, StepRecord)>,
}

/// Whether the layer is made without regard to what is below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Linked {
    Yes,
    No,
}

/// The directories of a step that is being made.
pub(super) struct Fresh {
    pub(super) upper: PathBuf,
    pub(super) work: PathBuf,
    /// For everything else.
    pub(super) scratch: PathBuf,
    lower: Vec<PathBuf>,
}

impl Fresh {
    pub(super) fn new(stage: &Stage<'_, '_>, step: usize) -> Result<Self, Failed> {
        let workspace = &stage.builder.workspace;
        Ok(Self {
            upper: workspace.new_layer(&format!("upper-{step}"))?,
            work: workspace.new_layer(&format!("work-{step}"))?,
            scratch: workspace.new_layer(&format!("scratch-{step}"))?,
            lower: stage.lower()?,
        })
    }

    /// The files of the stage, for changing.
    pub(super) fn ground(
        &self,
        span: &std::ops::Range<usize>,
        linked: Linked,
    ) -> Result<Ground, Failed> {
        let open = || Root::open(&self.upper).map_err(StoreError::access("open", &self.upper));
        let is_alone = linked == Linked::Yes;
        let root = if is_alone {
            open()?
        } else {
            let mounted = overlay::writable(&self.lower, &self.upper, &self.work);
            Root::from(mounted.map_err(|error| say(span, &error, "too many layers?"))?)
        };
        Ok(Ground { root, upper: open()?, is_alone })
    }
}

impl Stage<'_, '_> {
    /// Takes a layer from the cache, by `quick` or else by `exact`, or makes it with `work`.
    pub(super) fn layer(
        &mut self,
        instruction: &Instruction,
        quick: Option<Digest>,
        exact: impl FnOnce() -> Result<Digest, Failed>,
        work: impl FnOnce(&Self, &Fresh, &dyn Fn(String)) -> Result<Written, Failed>,
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
        work: impl FnOnce(&Self, &Fresh, &dyn Fn(String)) -> Result<Written, Failed>,
        step: usize,
    ) -> Result<bool, Failed> {
        let builder = self.builder;
        let find = |key: Digest| {
            if self.fresh {
                return None;
            }
            builder.store.find_step(key).or_else(|| builder.take_offer(key))
        };
        if let Some((key, record)) = quick.and_then(|key| Some((key, find(key)?))) {
            self.adopt(instruction, &[key], &record);
            return Ok(true);
        }
        let exact = exact()?;
        let keys: Vec<Digest> = quick.into_iter().chain([exact]).collect();
        if let Some(record) = find(exact) {
            if let Some(quick) = quick {
                builder.store.remember_step(quick, &record);
            }
            self.adopt(instruction, &keys, &record);
            return Ok(true);
        }
        builder.built.store(true, Ordering::Relaxed);
        let _slot = builder.slot();
        builder.go_on()?;
        let fresh = Fresh::new(self, step)?;
        let written =
            work(self, &fresh, &|line| builder.surroundings.tell(Event::Said { step, line }))?;
        let (blob_path, blob) = builder.workspace.new_blob(&format!("blob-{step}"))?;
        let packed = pack(&fresh.upper, &written, blob, builder.latest)
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
        builder.note_taken(&keys, &record);
        self.pending.records.extend(keys.into_iter().map(|key| (key, record.clone())));
        Ok(false)
    }

    fn adopt(&mut self, instruction: &Instruction, keys: &[Digest], record: &StepRecord) {
        self.builder.note_taken(keys, record);
        let directory = record.layer.map(|layer| self.builder.store.layer(layer.diff_id));
        self.state.add_step(&instruction.source, record, directory);
    }

    /// Makes what was built part of the store.
    pub(super) fn commit(&mut self) -> Result<(), Failed> {
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
    pub(super) fn lower(&self) -> Result<Vec<PathBuf>, Failed> {
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
    pub(super) fn view(&self, span: &std::ops::Range<usize>) -> Result<Root, Failed> {
        let view =
            overlay::view(&self.lower()?).map_err(|error| say(span, &error, "too many layers?"))?;
        Ok(Root::from(view))
    }
}
