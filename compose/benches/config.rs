//! How long it takes to read compose files, from the bytes to the typed project: `cargo bench --package compose`.
//! The time for a service should not depend on how many there are. `scripts/bench` measures whole commands.

use std::fmt::Write as _;
use std::fs;

use compose::file::{self, LoadOptions};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// A file of services with what people write.
fn everyday(services: usize) -> String {
    let mut text = String::from("x-common: &common {restart: unless-stopped}\nservices:\n");
    for number in 0..services {
        let port = 10_000 + number;
        let _ = write!(
            text,
            "  s{number}:
    <<: *common
    image: registry.example.org/team/app:1.{number}
    command: [serve, --port, \"80\"]
    environment: {{NUMBER: \"{number}\", MODE: \"${{MODE:-production}}\"}}
    ports: [\"127.0.0.1:{port}:80\"]
    volumes: [\"data:/var/lib/data\", \"./etc:/etc/app:ro\"]
    labels: {{team: core, tier: \"{number}\"}}
    healthcheck: {{test: [CMD, \"true\"], interval: 10s}}
"
        );
        if number > 0 {
            let _ = writeln!(text, "    depends_on: [s{}]", number - 1);
        }
    }
    text.push_str("volumes: {data: {}}\n");
    text
}

fn load(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    for services in [3_usize, 200, 5_000] {
        let folder = tempfile::tempdir().expect("a folder for the file");
        fs::write(folder.path().join("compose.yaml"), everyday(services))
            .expect("room for the file");
        let options =
            LoadOptions { working_dir: folder.path().to_owned(), ..LoadOptions::default() };
        group.throughput(Throughput::Elements(services as u64));
        group.sample_size(if services > 1_000 { 10 } else { 50 });
        group.bench_with_input(
            BenchmarkId::from_parameter(services),
            &options,
            |bencher, options| {
                bencher.iter(|| file::load(options).expect("the file is right"));
            },
        );
    }
    group.finish();
}

criterion_group!(benches, load);
criterion_main!(benches);
