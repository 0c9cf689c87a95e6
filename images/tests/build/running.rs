//! `RUN`.

use std::collections::BTreeMap;
use std::fs;

use images::build::{RunNetwork, Secret, Ssh};
use libtest_mimic::Failed;

use super::Case;
use super::world::{Files, World};

pub const CASES: &[Case] = &[
    ("a_command_sees_its_environment", environment),
    ("changes_become_one_layer", changes),
    ("nothing_of_the_machinery_is_left_in_a_layer", nothing_left),
    ("a_command_is_confined", confined),
    ("mounts_are_seen_and_not_kept", mounts),
    ("secrets_are_seen_by_their_command_alone", secrets),
    ("keys_are_had_by_an_agent_alone", keys),
    ("caches_outlive_builds", caches),
    ("scripts_have_their_interpreter", scripts),
    ("stages_run_side_by_side", parallel),
    ("networks_are_chosen", networks),
    ("a_command_leaves_its_place_to_the_next", places),
];

fn environment() -> Result<(), Failed> {
    let world = World::new();
    let files = Files::of(&world.build(
        "FROM base
ENV E=env
ARG A=arg
ARG E=hidden
WORKDIR /srv
USER app
RUN echo \"$E $A $PATH $HOME $(pwd) $(id -u):$(id -g) $(hostname)\" > /tmp/out
USER 0
SHELL [\"/bin/sh\", \"-euc\"]
RUN [\"/bin/sh\", \"-c\", \"echo $0 $1 > /tmp/exec\", \"zero\", \"one\"]
RUN echo a # not a comment \\
  # but this is one
  && echo b > /tmp/joined",
    ));
    let expected = "env arg /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /home/app /srv 1000:2000 build\n";
    assert_eq!(files.read("tmp/out").unwrap(), expected);
    assert_eq!(files.read("tmp/exec").unwrap(), "zero one\n");
    Ok(())
}

fn changes() -> Result<(), Failed> {
    let world = World::new();
    world.write("dir/old", "old");
    world.write("gone", "gone");
    let image = world.build(
        "FROM base
COPY . /
RUN rm /gone && rm -r /dir && mkdir /dir && echo new > /dir/new && ln /dir/new /dir/second \\
 && ln -s new /dir/link && chmod 4755 /bin/busybox && mknod /fifo p && chown 5:6 /dir/new",
    );
    let check = |files: &Files| {
        assert!(!files.exists("gone"));
        assert_eq!(files.list("dir"), ["link", "new", "second"]);
        assert_eq!(files.metadata("dir/second").unwrap().st_nlink, 2);
        assert_eq!(files.stat("dir/new"), (0o644, 5, 6));
        assert_eq!(files.stat("bin/busybox").0, 0o4755);
        assert!(files.exists("fifo"));
    };
    check(&Files::of(&image));
    // The archive says the same as the directory: unpacked anew it is equal.
    let manifest = image.manifest;
    let blobs = world.dir.path().join("images/blobs/sha256");
    let text = fs::read(blobs.join(manifest.hex()))?;
    let manifest: serde_json::Value = serde_json::from_slice(&text)?;
    let other = World::new();
    let mut base = None;
    for layer in manifest["layers"].as_array().unwrap() {
        let hex = layer["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let import =
            images::Import { reference: Some("again".parse()?), base, ..images::Import::default() };
        other.store.import(fs::File::open(blobs.join(hex))?, &import)?;
        base = Some("again");
    }
    let again = other.store.find("again")?.unwrap();
    assert_eq!(again.config.rootfs().diff_ids(), image.config.rootfs().diff_ids());
    check(&Files::of(&again));
    Ok(())
}

fn nothing_left() -> Result<(), Failed> {
    let world = World::new();
    world.write("f", "f");
    let image = world.build(
        "FROM scratch
COPY --from=base /bin /bin
RUN --mount=type=cache,target=/root/.cache --mount=type=tmpfs,target=/t --mount=target=/context,source=f touch /x
RUN true",
    );
    assert_eq!(image.config.rootfs().diff_ids().len(), 2);
    assert_eq!(Files::of(&image).list(""), ["bin", "x"]);
    Ok(())
}

fn confined() -> Result<(), Failed> {
    let world = World::new();
    let image = world.build(
        "FROM base
RUN grep -E '^(CapEff|Seccomp):' /proc/self/status > /status; mknod /sda b 8 0 && cat /sda > /dev/null 2>/read; \\
  echo x > /proc/sys/kernel/hostname 2>/sysctl; ls /proc/self/fd | wc -l > /fds; true",
    );
    let files = Files::of(&image);
    let status = files.read("status").unwrap();
    assert!(status.contains("CapEff:\t00000000a80425fb"), "{status}");
    assert!(status.contains("Seccomp:\t2"), "{status}");
    assert!(
        files.read("read").is_none_or(|said| said.contains("not permitted")),
        "{:?}",
        files.read("read")
    );
    assert!(files.read("fds").unwrap().trim().parse::<u32>()? <= 4);
    Ok(())
}

fn mounts() -> Result<(), Failed> {
    let world = World::new();
    world.write("src/main.c", "int main;");
    let image = world.build(
        "FROM base AS other
RUN mkdir -p /made/sub && echo stage > /made/sub/f && ln -s /made /link
FROM base
RUN --mount=type=bind,target=/ctx,source=src ls /ctx > /listed && ! touch /ctx/x
RUN --mount=target=/ctx,rw echo changed > /ctx/src/main.c && cat /ctx/src/main.c > /seen
RUN --mount=from=other,source=/link/sub,target=/o cat /o/f > /stage && ! touch /o/x
RUN --mount=from=other,target=/o,rw touch /o/made/x
RUN --mount=from=other,source=/made/sub/f,target=/single cat /single > /file
RUN --mount=from=base,source=/etc,target=/e cat /e/group > /image
RUN --mount=type=tmpfs,target=/t,size=1m df -k /t > /tmpfs",
    );
    let files = Files::of(&image);
    assert_eq!(files.read("listed").unwrap(), "main.c\n");
    assert_eq!(files.read("seen").unwrap(), "changed\n");
    assert_eq!(fs::read_to_string(world.context().join("src/main.c"))?, "int main;");
    assert_eq!(files.read("stage").unwrap(), "stage\n");
    assert_eq!(files.read("file").unwrap(), "stage\n");
    assert!(files.read("image").unwrap().contains("staff"));
    assert!(files.read("tmpfs").unwrap().contains("1024"));
    for path in ["ctx", "o", "single", "e", "t"] {
        assert!(!files.exists(path), "{path}");
    }
    Ok(())
}

fn secrets() -> Result<(), Failed> {
    let world = World::new();
    let file = world.dir.path().join("token");
    fs::write(&file, "s3cret-in-a-file")?;
    let mut recipe = world.recipe(
        "FROM base
RUN --mount=type=secret,id=token cat /run/secrets/token | wc -c > /length
RUN --mount=type=secret,id=token,target=/t,mode=0440,uid=5,gid=6 stat -c '%a %u %g' /t > /stat
RUN --mount=type=secret,id=value,env=VALUE test \"$VALUE\" = s3cret-in-a-variable
RUN --mount=type=secret,id=absent ls /run/secrets > /none 2>&1 || true
RUN ls /run > /after 2>&1 || true",
    );
    recipe.secrets = BTreeMap::from([
        ("token".to_owned(), Secret::File(file)),
        ("value".to_owned(), Secret::Value(b"s3cret-in-a-variable".to_vec())),
    ]);
    let files = Files::of(&world.build_with(&recipe));
    assert_eq!(files.read("length").unwrap().trim(), "16");
    assert_eq!(files.read("stat").unwrap(), "440 5 6\n");
    assert!(!files.exists("run/secrets"));
    // Neither secret is anywhere in the store.
    let found = std::process::Command::new("grep")
        .args(["-rl", "s3cret", world.dir.path().join("images").to_str().unwrap()])
        .output()?;
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    let beyond: Vec<&str> = found.lines().filter(|path| !path.contains("/blobs/")).collect();
    assert!(beyond.is_empty(), "{beyond:?}");
    Ok(())
}

fn caches() -> Result<(), Failed> {
    let world = World::new();
    let step = |word: &str| {
        format!(
            "FROM base\nRUN --mount=type=cache,id=c,target=/cache,sharing=locked echo {word} >> /cache/log && cat /cache/log > /seen"
        )
    };
    world.build(&step("one"));
    let files = Files::of(&world.build(&step("two")));
    assert_eq!(files.read("seen").unwrap(), "one\ntwo\n");
    assert!(!files.exists("cache"));
    let filled = world.build(
        "FROM base AS fill\nRUN mkdir /f && echo x > /f/x\nFROM base\n\
         RUN --mount=type=cache,target=/k,from=fill,source=/f,uid=7,mode=0750 stat -c '%a %u' /k > /s && cat /k/x >> /s",
    );
    assert_eq!(Files::of(&filled).read("s").unwrap(), "750 7\nx\n");
    Ok(())
}

fn scripts() -> Result<(), Failed> {
    let world = World::new();
    let files = Files::of(&world.build(
        "FROM base
RUN <<EOF
set -e
A=1
echo $A > /script
EOF
RUN <<'EOF'
#!/bin/cat
not a shell
EOF
RUN cat <<ONE - <<TWO > /both
1
ONE
2
TWO",
    ));
    assert_eq!(files.read("script").unwrap(), "1\n");
    assert_eq!(world.said(), ["#!/bin/cat", "not a shell"]);
    Ok(())
}

/// Two stages that wait for each other through a cache that both mount: one after the other they would never end.
fn parallel() -> Result<(), Failed> {
    let world = World::new();
    let stage = |own: &str, other: &str| {
        format!(
            "FROM base AS {own}\nRUN --mount=type=cache,id=meet,target=/m touch /m/{own}; \
             for i in $(seq 600); do test -e /m/{other} && exit 0; sleep 0.1; done; exit 1\n"
        )
    };
    let text = format!(
        "{}{}FROM scratch\nCOPY --from=a /etc/group /a\nCOPY --from=b /etc/group /b",
        stage("a", "b"),
        stage("b", "a")
    );
    world.build(&text);
    // One that fails ends the other.
    let text = "FROM base AS long\nRUN sleep 600\nFROM base AS short\nRUN exit 1\nFROM scratch\n\
                COPY --from=long / /\nCOPY --from=short / /";
    assert!(world.fail(text).problems[0].message.contains("exit code 1"));
    Ok(())
}

fn networks() -> Result<(), Failed> {
    let world = World::new();
    let dockerfile =
        "FROM base\nRUN cat /etc/resolv.conf > /r; ls /sys/class/net > /n; cat /etc/hosts > /h";
    let mut recipe = world.recipe(dockerfile);
    recipe.extra_hosts = vec![("db.local".to_owned(), "10.1.2.3".to_owned())];
    let files = Files::of(&world.build_with(&recipe));
    assert_eq!(files.read("r").unwrap(), "nameserver 127.0.0.11\n");
    assert_eq!(files.read("n").unwrap(), "lo\n");
    assert!(files.read("h").unwrap().contains("10.1.2.3\tdb.local"));
    recipe.network = RunNetwork::Host;
    let files = Files::of(&world.build_with(&recipe));
    assert_eq!(files.read("r"), fs::read_to_string("/etc/resolv.conf").ok());
    Ok(())
}

fn places() -> Result<(), Failed> {
    let world = World::new();
    // Whatever a command leaves running ends with it, and what failed is of no use to others.
    let text = "FROM base
RUN sleep 600 & echo one > /one
RUN ! cat /proc/[0-9]*/comm | grep -q sleep && ! grep -v ':/$' /proc/self/cgroup
RUN --network=none echo two > /two
RUN --network=none echo three > /three
RUN echo four > /four";
    world.build(text);
    let made = || std::mem::take(&mut *world.networks.lock().unwrap());
    assert_eq!(made(), [RunNetwork::Default, RunNetwork::None]);
    // A command with all rights may change its network.
    let mut recipe = world.recipe("FROM base\nRUN echo 1 > /1\nRUN echo 2 > /2");
    recipe.privileged = true;
    world.build_with(&recipe);
    assert_eq!(made(), [RunNetwork::Default, RunNetwork::Default]);
    Ok(())
}

fn keys() -> Result<(), Failed> {
    use base64::Engine;
    let world = World::new();
    let random = ring::rand::SystemRandom::new();
    let pair = ring::signature::Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(pair.as_ref());
    let path = world.dir.path().join("key");
    let armour = |label: &str| format!("-----{label} PRIVATE KEY-----\n");
    fs::write(&path, [armour("BEGIN"), text.clone(), "\n".to_owned(), armour("END")].concat())?;
    let mut recipe = world.recipe(
        "FROM base
USER app
RUN --mount=type=ssh,required test -S \"$SSH_AUTH_SOCK\" -a -w \"$SSH_AUTH_SOCK\"
RUN --mount=type=ssh,id=other test -z \"$SSH_AUTH_SOCK\"
RUN test -z \"$SSH_AUTH_SOCK\" -a ! -e /run/buildkit",
    );
    recipe.ssh = BTreeMap::from([("default".to_owned(), Ssh::open(path.to_str().unwrap())?)]);
    assert!(!format!("{recipe:?}").contains(&text[..8]));
    let files = Files::of(&world.build_with(&recipe));
    assert!(!files.exists("run/buildkit"));
    recipe.ssh = BTreeMap::new();
    recipe.fresh = images::build::Fresh::Everything;
    let refused = world.fail_with(&recipe);
    assert!(refused.problems[0].message.contains("no agent `default`"), "{refused}");
    fs::write(&path, "no key")?;
    let refused = Ssh::open(path.to_str().unwrap()).unwrap_err();
    let source = std::error::Error::source(&refused).unwrap().to_string();
    assert!(source.contains("neither"), "{source}");
    Ok(())
}
