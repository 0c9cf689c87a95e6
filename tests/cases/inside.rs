//! Attributes, each with what is otherwise inside of the container that has it. Which test an attribute is shown by stands
//! in `compose/tests/attributes/effects.txt`.

use std::error::Error;

use scenarios::{Need, Stage, Verdict};

use crate::Scenario;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario::plain("attributes_inside_of_a_container", |stage| play(stage, INSIDE)),
        Scenario::plain("attributes_of_the_network_of_a_container", |stage| play(stage, NETWORK)),
        Scenario::needing(
            "attributes_that_limit_a_container",
            &[Need::Root, Need::Memory],
            |stage| play(stage, LIMITS),
        ),
        Scenario::plain("attributes_that_join_the_host", joined),
        Scenario::plain("attributes_that_are_not_carried_out_are_told", told),
        Scenario::plain("attributes_of_networks_and_volumes", resources),
    ]
}

/// The words of a service, a line that is run in its container, and what that says.
type Row = (&'static str, &'static str, &'static str);

/// Whether the effective capability of that number is there.
macro_rules! capability {
    ($number:literal) => {
        concat!("echo $((0x$(grep CapEff /proc/self/status | cut -f2) >> ", $number, " & 1))")
    };
}

/// What a limit is, under the names of both versions of control groups.
macro_rules! limit {
    ($one:literal, $two:literal) => {
        concat!("cd /sys/fs/cgroup; cat ", $one, " 2>/dev/null || cut -d' ' -f1 ", $two)
    };
}

const INSIDE: &[Row] = &[
    ("cap_add: [SYS_ADMIN]", capability!(21), "1"),
    ("cap_drop: [CHOWN]", capability!(0), "0"),
    ("privileged: true", capability!(16), "1"),
    ("user: '1:2'", "echo $(id -u):$(id -g)", "1:2"),
    ("group_add: ['1234']", "id -G | tr ' ' '\\n' | grep -c 1234", "1"),
    ("working_dir: /usr", "pwd", "/usr"),
    ("environment: {A: b}", "echo $A", "b"),
    ("command: sleep 1234", "tr '\\0' ' ' < /proc/1/cmdline", "sleep 1234"),
    ("entrypoint: [sleep, '1235'], command: []", "tr '\\0' ' ' < /proc/1/cmdline", "sleep 1235"),
    ("init: true", "tr '\\0' ' ' < /proc/1/cmdline | grep -c '^sleep'", "0"),
    ("tty: true", "readlink /proc/1/fd/1 | cut -c1-5", "/dev/"),
    ("stdin_open: true", "readlink /proc/1/fd/0 | cut -c1-4", "pipe"),
    ("oom_score_adj: 500", "cat /proc/1/oom_score_adj", "500"),
    (
        "ulimits: {nofile: {soft: 100, hard: 200}}",
        "grep 'open files' /proc/1/limits | tr -s ' ' | cut -d' ' -f4,5",
        "100 200",
    ),
    ("shm_size: 8m", "df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", "8192"),
    ("ipc: none", "grep -c ' /dev/shm ' /proc/mounts", "0"),
    ("tmpfs: ['/scratch:size=4m']", "grep ' /scratch ' /proc/mounts | grep -c size=4096k", "1"),
    (
        "volumes: [{type: tmpfs, target: /scratch, tmpfs: {size: 1m, mode: 0o700}}]",
        "stat -c %a /scratch; grep ' /scratch ' /proc/mounts | grep -c size=1024k",
        "700\n1",
    ),
    ("read_only: true", "touch /file 2>/dev/null && echo may || echo may not", "may not"),
    ("security_opt: ['no-new-privileges:true']", "grep NoNewPrivs /proc/1/status | cut -f2", "1"),
    ("security_opt: ['seccomp=unconfined']", "grep Seccomp: /proc/1/status | cut -f2", "0"),
    ("security_opt: ['systempaths=unconfined']", "grep -c ' /proc/' /proc/mounts", "0"),
    ("devices: ['/dev/null:/dev/other:r']", "test -c /dev/other && echo there", "there"),
    (
        "device_cgroup_rules: ['c 10:229 rwm']",
        "mknod /tmp/node c 10 229; head -c0 /tmp/node 2>&1 | grep -c 'not permitted'",
        "0",
    ),
    ("cpuset: '0'", "grep Cpus_allowed_list /proc/1/status | cut -f2", "0"),
];

const NETWORK: &[Row] = &[
    ("hostname: box", "cat /proc/sys/kernel/hostname", "box"),
    ("domainname: example.test", "cat /proc/sys/kernel/domainname", "example.test"),
    (
        "extra_hosts: ['other:192.0.2.9']",
        "grep other /etc/hosts | tr -s '\\t ' ' '",
        "192.0.2.9 other",
    ),
    ("dns_search: [example.test]", "grep ^search /etc/resolv.conf", "search example.test"),
    ("dns_opt: ['attempts:7']", "grep -c attempts:7 /etc/resolv.conf", "1"),
    ("dns: [192.0.2.53], network_mode: none", "grep -c 192.0.2.53 /etc/resolv.conf", "1"),
    ("mac_address: '02:42:ac:11:65:99'", "cat /sys/class/net/eth0/address", "02:42:ac:11:65:99"),
    ("network_mode: none", "ls /sys/class/net", "lo"),
    (
        "sysctls: {net.ipv4.ip_unprivileged_port_start: 1234}",
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        "1234",
    ),
];

const LIMITS: &[Row] = &[
    ("pids_limit: 77", limit!("pids/pids.max", "pids.max"), "77"),
    ("mem_limit: 64m", limit!("memory/memory.limit_in_bytes", "memory.max"), "67108864"),
    ("mem_reservation: 32m", limit!("memory/memory.soft_limit_in_bytes", "memory.low"), "33554432"),
    ("cpus: 0.5", limit!("cpu/cpu.cfs_quota_us", "cpu.max"), "50000"),
    ("cpu_period: 50000, cpu_quota: 10000", limit!("cpu/cpu.cfs_quota_us", "cpu.max"), "10000"),
    (
        "cpu_period: 50000, cpu_quota: 10000",
        "cd /sys/fs/cgroup; cat cpu/cpu.cfs_period_us 2>/dev/null || cut -d' ' -f2 cpu.max",
        "50000",
    ),
    (
        "deploy: {resources: {limits: {memory: 48m}}}",
        limit!("memory/memory.limit_in_bytes", "memory.max"),
        "50331648",
    ),
    ("deploy: {resources: {limits: {pids: 66}}}", limit!("pids/pids.max", "pids.max"), "66"),
    (
        "deploy: {resources: {limits: {cpus: '0.25'}}}",
        limit!("cpu/cpu.cfs_quota_us", "cpu.max"),
        "25000",
    ),
    (
        "deploy: {resources: {reservations: {memory: 16m}}}",
        limit!("memory/memory.soft_limit_in_bytes", "memory.low"),
        "16777216",
    ),
];

/// Runs each row in a container of its own, and in one that has none of it.
fn play(stage: &Stage, rows: &[Row]) -> Verdict {
    let mut file = String::from("services:\n");
    let plain = [("", "", "")];
    for (number, (words, ..)) in plain.iter().chain(rows).enumerate() {
        let command = if words.contains("command:") { "" } else { ", command: sleep infinity" };
        let comma = if words.is_empty() { "" } else { ", " };
        file += &format!(
            "  s{number}: {{image: 'rootfs:/', stop_grace_period: 0s{command}{comma}{words}}}\n"
        );
    }
    stage.file("compose.yaml", &file)?;
    stage.compose(["up", "-d"]).success()?;
    let said = |number: usize, line: &str| -> String {
        let service = format!("s{number}");
        stage.compose(["exec", "-T", &service, "sh", "-c", line]).stdout
    };
    // All at once where there is none of it.
    let all: String = rows.iter().map(|(_, line, _)| format!("( {line} ); echo ====\n")).collect();
    let all = said(0, &all);
    let plain: Vec<&str> = all.split("====").map(str::trim).collect();
    assert_eq!(plain.len(), rows.len() + 1, "{all}");
    let mut wrong = Vec::new();
    for (index, (words, line, expected)) in rows.iter().enumerate() {
        let (with, without) = (said(index + 1, line), plain[index]);
        let with = with.trim();
        if with != *expected || without == *expected {
            wrong.push(format!("{words}: {with:?}, without it {without:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    stage.compose(["down"]).success()?;
    Ok(())
}

/// Namespaces that are those of the host.
fn joined(stage: &Stage) -> Verdict {
    let kinds = [
        ("pid", "pid"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("cgroup", "cgroup"),
        ("network_mode", "net"),
    ];
    let service = |(attribute, _): &(&str, &str)| {
        format!(
            "  {attribute}: {{image: 'rootfs:/', command: sleep infinity, stop_grace_period: 0s, {attribute}: host}}\n"
        )
    };
    let file: String = kinds.iter().map(service).collect();
    let plain = "  plain: {image: 'rootfs:/', command: sleep infinity, stop_grace_period: 0s}\n";
    stage.file("compose.yaml", &format!("services:\n{file}{plain}"))?;
    stage.compose(["up", "-d"]).success()?;
    for (attribute, kind) in kinds {
        let link = format!("/proc/self/ns/{kind}");
        let own = stage.client("readlink", &[&link]).success()?.stdout;
        let seen = |service: &str| -> Result<String, Box<dyn Error>> {
            let words = ["exec", "-T", service, "readlink", &link];
            Ok(stage.compose(words).success()?.stdout)
        };
        assert_eq!(seen(attribute)?, own, "{attribute}");
        assert_ne!(seen("plain")?, own, "{attribute}");
    }
    stage.compose(["down"]).success()?;
    Ok(())
}

/// What is refused, or left out, is named: nobody takes it for done.
fn told(stage: &Stage) -> Verdict {
    let rows: &[(&str, &str)] = &[
        ("build: {context: ., cache_from: ['type=gha']}", "build.cache_from"),
        ("build: {context: ., cache_to: ['type=s3,bucket=b']}", "build.cache_to"),
        ("build: {context: ., provenance: true}", "build.provenance"),
        ("build: {context: ., sbom: true}", "build.sbom"),
        ("build: {context: ., isolation: hyperv}", "build.isolation"),
        ("build: {context: ., secrets: [{source: word, uid: '7'}]}", "build.secrets"),
        ("build: {context: ., secrets: [{source: word, gid: '7'}]}", "build.secrets"),
        ("build: {context: ., secrets: [{source: word, mode: 0400}]}", "build.secrets"),
        ("build: {context: ., platforms: [linux/amd64, linux/arm64]}", "build.platforms"),
        ("volumes: [{type: bind, source: /tmp, target: /t, bind: {selinux: z}}]", "volumes"),
        ("use_api_socket: true", "use_api_socket"),
        ("runtime: kata", "runtime"),
        ("userns_mode: remapped", "userns_mode"),
        ("storage_opt: {iops: 100}", "storage_opt"),
        ("cpu_rt_period: 1000", "cpu_rt_period"),
        ("cpu_rt_runtime: 1000", "cpu_rt_runtime"),
        ("cpu_count: 1", "cpu_count"),
        ("cpu_percent: 50", "cpu_percent"),
        ("credential_spec: {file: x.json}", "credential_spec"),
        ("isolation: hyperv", "isolation"),
        ("deploy: {mode: global}", "deploy.mode"),
        ("deploy: {endpoint_mode: dnsrr}", "deploy.endpoint_mode"),
        ("deploy: {placement: {constraints: [a==b]}}", "deploy.placement"),
        ("deploy: {placement: {preferences: [{spread: a}]}}", "deploy.placement"),
        ("deploy: {placement: {max_replicas_per_node: 1}}", "deploy.placement"),
        ("deploy: {labels: {a: b}}", "deploy.labels"),
        (
            "deploy: {resources: {reservations: {cpus: '0.5'}}}",
            "deploy.resources.reservations.cpus",
        ),
        (
            "deploy: {resources: {reservations: {generic_resources: [{discrete_resource_spec: {kind: a, value: 1}}]}}}",
            "deploy.resources.reservations.generic_resources",
        ),
    ];
    let mut silent = Vec::new();
    for (words, attribute) in rows {
        let image = if words.starts_with("build") { "" } else { "image: 'rootfs:/', " };
        let service = format!("{image}command: sleep infinity, {words}");
        stage.file(
            "compose.yaml",
            &format!("services: {{web: {{{service}}}}}\nsecrets: {{word: {{content: x}}}}\n"),
        )?;
        let run = stage.compose(["--dry-run", "create"]);
        if !run.stderr.contains(&format!("`{attribute}` of the service `web`")) {
            silent.push(format!("{words}: {}", run.stderr));
        }
    }
    assert!(silent.is_empty(), "{}", silent.join("\n"));
    Ok(())
}

/// What networks and volumes are called, and what is written on them.
fn resources(stage: &Stage) -> Verdict {
    let own = format!("{}-own", stage.project);
    let file = format!(
        "
services:
  web:
    image: rootfs:/
    command: sleep infinity
    stop_grace_period: 0s
    networks: [back]
    volumes: ['data:/data', {{type: volume, target: /anonymous, volume: {{labels: {{c: d}}}}}}]
networks:
  back:
    name: {own}
    labels: {{a: b}}
    ipam: {{config: [{{subnet: 10.79.0.0/24, ip_range: 10.79.0.128/25}}]}}
volumes:
  data: {{name: {own}, labels: {{a: b}}, driver: local}}
"
    );
    stage.file("compose.yaml", &file)?;
    stage.compose(["up", "-d"]).success()?;
    for kind in ["network", "volume"] {
        let shown = stage.compose([kind, "inspect", &own]).success()?.stdout;
        let shown: serde_json::Value = serde_json::from_str(&shown)?;
        assert_eq!(shown[0]["Labels"]["a"], "b", "{kind}: {shown}");
    }
    let labelled = ["volume", "ls", "--quiet", "--filter", "label=c=d"];
    assert_eq!(stage.compose(labelled).success()?.stdout.lines().count(), 1);
    let address = "ip -4 -o address show eth0 | grep -o '10.79.0.[0-9]*/' | head -1";
    let words = ["exec", "-T", "web", "sh", "-c", address];
    let address = stage.compose(words).success()?.stdout;
    let last = address.trim().trim_end_matches('/').rsplit('.').next().unwrap_or_default();
    assert!(last.parse::<u8>()? >= 128, "{address}");
    stage.compose(["down", "-v"]).success()?;
    for (kind, words) in [
        ("volumes", "driver: other"),
        ("networks", "driver: other"),
        ("networks", "ipam: {driver: other}"),
        ("networks", "ipam: {options: {a: b}}"),
    ] {
        let used = if kind == "volumes" { "['it:/it']" } else { "[it]" };
        let web = format!("web: {{image: 'rootfs:/', command: id, {kind}: {used}}}");
        let text = format!("services: {{{web}}}\n{kind}: {{it: {{{words}}}}}\n");
        stage.file("compose.yaml", &text)?;
        assert!(stage.compose(["up"]).success().is_err(), "{words}");
        stage.compose(["down"]).success()?;
    }
    for kind in ["configs", "secrets"] {
        for words in ["external: true", "external: true, name: other"] {
            let web = format!("web: {{image: 'rootfs:/', command: id, {kind}: [it]}}");
            let text = format!("services: {{{web}}}\n{kind}: {{it: {{{words}}}}}\n");
            stage.file("compose.yaml", &text)?;
            assert!(stage.compose(["create"]).success().is_err(), "{kind} {words}");
        }
    }
    stage.compose(["down"]).success()?;
    Ok(())
}
