//! `compose system df`.
//!
//! An image counts with its layers as they came and with their files, because both are on disk; what several images
//! have counts once.

use std::collections::{BTreeMap, BTreeSet};

use images::build::{CacheKind, CacheRecord};
use images::{Digest, Image, Reference, Store, Usage};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use volumes::Volume;

use crate::cli::context::Context;
use crate::cli::error::{CommandError, USAGE};
use crate::cli::format::{Column, Format, Json, List, Row, column, render_value};
use crate::cli::ps::view::View;
use crate::cli::size::size;
use crate::cli::terminal::Terminal;
use crate::cli::terminal::table::ago;
use crate::cli::users::Users;
use crate::cli::volume;
use crate::record::{Container, list};

/// Show how much room images, containers, volumes and the build cache take
#[derive(Debug, clap::Args)]
pub struct DfArgs {
    /// How to show it: `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
    /// Each image, container, volume and record of the cache
    #[arg(long, short)]
    verbose: bool,
}

/// A line of the summary, in the words of docker.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Sum {
    active: String,
    reclaimable: String,
    size: String,
    total_count: String,
    r#type: &'static str,
}

const SUMMARY: [Column; 5] = [
    column("TYPE", "Type"),
    column("TOTAL", "TotalCount"),
    column("ACTIVE", "Active"),
    column("SIZE", "Size"),
    column("RECLAIMABLE", "Reclaimable"),
];

impl Sum {
    fn new(r#type: &'static str, (active, total): (usize, usize), (free, all): (u64, u64)) -> Self {
        let share = |all| format!("{} ({}%)", size(free), free.saturating_mul(100) / all);
        Self {
            active: active.to_string(),
            // A container that is gone gives all of itself back; there is no share of nothing.
            reclaimable: if all == 0 { size(free) } else { share(all) },
            size: size(all),
            total_count: total.to_string(),
            r#type,
        }
    }
}

/// All there is, with what it takes.
struct World {
    now: Timestamp,
    usage: Usage,
    containers: Vec<(Container, u64)>,
    volumes: Vec<(Volume, u64)>,
    users: Users,
    cache: Vec<CacheRecord>,
}

/// Prints the summary, or everything.
///
/// # Errors
///
/// When a store cannot be read, or a template asks for what there is not.
pub fn run(args: &DfArgs, context: &Context, terminal: &mut Terminal) -> Result<u8, CommandError> {
    let world = World::read(context)?;
    let text =
        if args.verbose { world.everything(&args.format)? } else { world.summary(&args.format)? };
    terminal.print(text)?;
    Ok(0)
}

impl World {
    fn read(context: &Context) -> Result<Self, CommandError> {
        let roots = context.roots();
        let store = Store::open(&roots.images())?;
        let usage = store.image_usage()?;
        let cache = store.cache_usage(&usage)?;
        let containers = list::all_containers(roots)?.containers.into_iter().map(|one| {
            let bytes = volumes::usage(&one.record.paths(roots).upper());
            (one, bytes)
        });
        let all = volumes::Store::open(&roots.volumes())?.list()?;
        let volumes = all.into_iter().map(|volume| {
            let bytes = volumes::usage(&volume.path);
            (volume, bytes)
        });
        Ok(Self {
            now: Timestamp::now(),
            usage,
            containers: containers.collect(),
            volumes: volumes.collect(),
            users: volume::users(context)?,
            cache,
        })
    }

    /// How many containers each image has.
    fn containers_of(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for (container, _) in &self.containers {
            *counts.entry(container.record.image_id.as_str()).or_default() += 1;
        }
        counts
    }

    fn sums(&self) -> [Sum; 4] {
        let counts = self.containers_of();
        let is_used = |id: Digest| counts.contains_key(id.to_string().as_str());
        let ids: BTreeSet<Digest> = self.usage.images.iter().map(|image| image.id).collect();
        let used = ids.iter().filter(|id| is_used(**id)).count();
        let (all, kept) = (self.usage.size(|_| true), self.usage.size(is_used));
        let images = Sum::new("Images", (used, ids.len()), (all - kept, all));

        let up = || self.containers.iter().filter(|(one, _)| one.state.phase.is_up());
        let bytes = self.containers.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let stopped = bytes - up().map(|(_, bytes)| bytes).sum::<u64>();
        let containers =
            Sum::new("Containers", (up().count(), self.containers.len()), (stopped, bytes));

        let unused = |volume: &Volume| self.users.of(volume.name.as_str()).is_empty();
        let free = || self.volumes.iter().filter(|(volume, _)| unused(volume));
        let counts = (self.volumes.len() - free().count(), self.volumes.len());
        let sum = |(_, bytes): &(Volume, u64)| *bytes;
        let sizes = (free().map(sum).sum(), self.volumes.iter().map(sum).sum());
        let volumes = Sum::new("Local Volumes", counts, sizes);

        let bytes = self.cache.iter().map(|record| record.size).sum();
        let cache = Sum::new("Build Cache", (0, self.cache.len()), (bytes, bytes));
        [images, containers, volumes, cache]
    }

    fn summary(&self, format: &Format) -> Result<String, CommandError> {
        let rows = self.sums().iter().map(Row::of).collect::<Result<_, _>>()?;
        List { columns: &SUMMARY, titles: &[], json: Json::Lines, rows }.render(format)
    }

    fn everything(&self, format: &Format) -> Result<String, CommandError> {
        let parts = self.parts()?;
        let root = || -> Value {
            let rows = |part: &Part| part.list.rows.iter().map(Row::value).collect::<Vec<_>>();
            let fields = parts.iter().map(|part| (part.name.to_owned(), Value::from(rows(part))));
            Value::Object(fields.collect::<Map<_, _>>())
        };
        match format {
            Format::Usual | Format::Table(None) => {
                let part = |part: &Part| {
                    Ok(format!("{}\n\n{}", part.heading, part.list.render(&Format::Usual)?))
                };
                Ok(parts.iter().map(part).collect::<Result<Vec<_>, CommandError>>()?.join("\n"))
            }
            Format::Json => Ok(format!("{}\n", root())),
            Format::Template(template) => Ok(format!("{}\n", render_value(template, &root())?)),
            Format::Table(Some(_)) => {
                Err(CommandError::usage("--verbose shows four tables, which no template fits")
                    .help("leave `table` out, as in '{{range .Images}}{{.ID}} {{end}}'")
                    .code(USAGE))
            }
        }
    }

    fn parts(&self) -> Result<[Part; 4], CommandError> {
        let counts = self.containers_of();
        let images = self.usage.images.iter().map(|image| Row::of(&self.image(image, &counts)));
        let containers = self.containers.iter().map(|(container, bytes)| {
            Row::of(&View { size: size(*bytes), ..View::new(container, self.now, false) })
        });
        let volumes = self.volumes.iter().map(|(volume, bytes)| {
            let links = self.users.of(volume.name.as_str()).len();
            let row = volume::ls::row(volume)?.with("Links", links.to_string());
            Ok(row.with("Size", size(*bytes)))
        });
        let cache = self.cache.iter().map(|record| Row::of(&self.record(record)));
        let total = self.cache.iter().map(|record| record.size).sum();
        Ok([
            Part::new("Images", "Images space usage:", &IMAGES, images)?,
            Part::new("Containers", "Containers space usage:", &CONTAINERS, containers)?,
            Part::new("Volumes", "Local Volumes space usage:", &VOLUMES, volumes)?,
            Part::new("BuildCache", format!("Build cache usage: {}", size(total)), &CACHE, cache)?,
        ])
    }

    fn image(&self, image: &Image, counts: &BTreeMap<&str, usize>) -> ImageView {
        let none = || "<none>".to_owned();
        let name = image.reference.as_ref();
        let (whole, shared) = self.usage.of(image.id);
        let count = counts.get(image.id.to_string().as_str()).copied().unwrap_or_default();
        ImageView {
            repository: name.map_or_else(none, Reference::familiar_repository),
            tag: name.and_then(Reference::tag).map_or_else(none, str::to_owned),
            id: image.id.short(),
            created_since: ago(image.created, self.now),
            size: size(whole),
            shared_size: size(shared),
            unique_size: size(whole - shared),
            containers: count.to_string(),
        }
    }

    fn record(&self, record: &CacheRecord) -> CacheView {
        let age = |time: Option<Timestamp>| match time {
            Some(_) => ago(time, self.now),
            None => String::new(),
        };
        CacheView {
            id: record.id.short(),
            cache_type: match record.kind {
                CacheKind::Step => "regular",
                CacheKind::Mount => "exec.cachemount",
                CacheKind::Digests => "source.local",
            },
            size: size(record.size),
            created_since: age(record.created),
            last_used_since: age(record.used),
            shared: record.shared,
        }
    }
}

/// One of the four tables of `--verbose`.
struct Part {
    /// Its key in JSON and in templates.
    name: &'static str,
    heading: String,
    list: List<'static>,
}

impl Part {
    fn new(
        name: &'static str,
        heading: impl Into<String>,
        columns: &'static [Column],
        rows: impl Iterator<Item = Result<Row, CommandError>>,
    ) -> Result<Self, CommandError> {
        let rows = rows.collect::<Result<_, _>>()?;
        let list = List { columns, titles: &[], json: Json::Lines, rows };
        Ok(Self { name, heading: heading.into(), list })
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ImageView {
    repository: String,
    tag: String,
    #[serde(rename = "ID")]
    id: String,
    created_since: String,
    size: String,
    shared_size: String,
    unique_size: String,
    containers: String,
}

const IMAGES: [Column; 8] = [
    column("REPOSITORY", "Repository"),
    column("TAG", "Tag"),
    column("IMAGE ID", "ID"),
    column("CREATED", "CreatedSince"),
    column("SIZE", "Size"),
    column("SHARED SIZE", "SharedSize"),
    column("UNIQUE SIZE", "UniqueSize"),
    column("CONTAINERS", "Containers"),
];

const CONTAINERS: [Column; 8] = [
    column("CONTAINER ID", "ID"),
    column("IMAGE", "Image"),
    column("COMMAND", "Command"),
    column("LOCAL VOLUMES", "LocalVolumes"),
    column("SIZE", "Size"),
    column("CREATED", "RunningFor"),
    column("STATUS", "Status"),
    column("NAMES", "Names"),
];

const VOLUMES: [Column; 3] =
    [column("VOLUME NAME", "Name"), column("LINKS", "Links"), column("SIZE", "Size")];

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct CacheView {
    #[serde(rename = "ID")]
    id: String,
    cache_type: &'static str,
    size: String,
    created_since: String,
    last_used_since: String,
    shared: bool,
}

const CACHE: [Column; 6] = [
    column("CACHE ID", "ID"),
    column("CACHE TYPE", "CacheType"),
    column("SIZE", "Size"),
    column("CREATED", "CreatedSince"),
    column("LAST USED", "LastUsedSince"),
    column("SHARED", "Shared"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ps::tests::container;
    use crate::record::Phase;

    fn world() -> (tempfile::TempDir, World) {
        let (dir, store) = crate::cli::image::tests::store();
        let usage = store.image_usage().unwrap();
        let mut up = container("web", 1, Phase::Running);
        up.record.image_id = usage.images[0].id.to_string();
        let world = World {
            now: Timestamp::now(),
            containers: vec![(up, 1000), (container("job", 1, Phase::Exited), 3000)],
            volumes: Vec::new(),
            users: Users::default(),
            cache: store.cache_usage(&usage).unwrap(),
            usage,
        };
        (dir, world)
    }

    #[test]
    fn the_summary_is_that_of_docker() {
        let (_dir, world) = world();
        let [images, containers, volumes, cache] = world.sums();
        // One image with three names, which a container has.
        assert_eq!(
            (&*images.total_count, &*images.active, &*images.reclaimable),
            ("1", "1", "0B (0%)")
        );
        assert_eq!((&*containers.size, &*containers.reclaimable), ("4.00kB", "3.00kB (75%)"));
        assert_eq!((&*volumes.reclaimable, &*cache.total_count), ("0B", "0"));
        let text = world.summary(&Format::Usual).unwrap();
        assert!(
            text.starts_with("TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\nImages "),
            "{text}"
        );
        let lines = world.summary(&Format::Json).unwrap();
        assert!(lines.contains(r#"{"Active":"1","Reclaimable":"3.00kB (75%)","Size":"4.00kB","TotalCount":"2","Type":"Containers"}"#), "{lines}");
        assert_eq!(world.summary(&"{{.Type}}".parse().unwrap()).unwrap().lines().count(), 4);
    }

    #[test]
    fn everything_has_four_tables() {
        let (_dir, world) = world();
        let text = world.everything(&Format::Usual).unwrap();
        for heading in
            ["Images space", "Containers space", "Local Volumes space", "Build cache usage: 0B"]
        {
            assert!(text.contains(heading), "{text}");
        }
        let json: Value = serde_json::from_str(&world.everything(&Format::Json).unwrap()).unwrap();
        assert_eq!(json["Images"].as_array().unwrap().len(), 3);
        assert_eq!(json["Images"][0]["SharedSize"], "0B");
        assert_eq!(json["Containers"][1]["Size"], "3.00kB");
        let names = world.everything(&"{{range .Containers}}{{.Names}} {{end}}".parse().unwrap());
        assert_eq!(names.unwrap(), "shop-web-1 shop-job-1 \n");
        assert!(world.everything(&"table {{.ID}}".parse().unwrap()).is_err());
    }
}
