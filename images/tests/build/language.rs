//! What instructions make of the configuration.

use std::collections::BTreeMap;

use images::build::{Entitlement, Recipe};
use libtest_mimic::Failed;
use serde_json::json;

use super::Case;
use super::world::{Files, World};

pub const CASES: &[Case] = &[
    ("the_configuration_is_what_the_file_says", configuration),
    ("stages_inherit_and_arguments_have_scopes", stages),
    ("entrypoints_and_commands_replace_each_other", entrypoints),
    ("triggers_wait_for_the_next_build", triggers),
    ("mistakes_are_told_with_their_places", mistakes),
    ("targets_and_labels_come_from_the_recipe", targets),
];

fn configuration() -> Result<(), Failed> {
    let world = World::new();
    world.build(
        r#"# syntax=docker/dockerfile:1
FROM base
ARG version=1.2
LABEL org.version="$version" "with space"='a b'
ENV A=1 B="two words" PATH=/opt/bin:$PATH
ENV OLD form with words
EXPOSE 80 443/udp 7000-7001
VOLUME ["/data", "/var/log"]
VOLUME /more
USER app:staff
WORKDIR /srv
WORKDIR app
STOPSIGNAL SIGQUIT
SHELL ["/bin/sh", "-ec"]
CMD run $A
ENTRYPOINT ["/entry"]
HEALTHCHECK --interval=5s --timeout=1500ms --retries=2 CMD ["true"]
MAINTAINER Somebody
ONBUILD RUN echo later
"#,
    );
    let config = world.config("built");
    let expected = json!({
        "Cmd": ["/bin/sh", "-ec", "run $A"],
        "Entrypoint": ["/entry"],
        "Env": [
            "PATH=/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "A=1", "B=two words", "OLD=form with words"
        ],
        "ExposedPorts": {"443/udp": {}, "7000/tcp": {}, "7001/tcp": {}, "80/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5_000_000_000_u64, "Retries": 2, "Timeout": 1_500_000_000_u64},
        "Labels": {"org.version": "1.2", "with space": "a b"},
        "OnBuild": ["RUN echo later"],
        "Shell": ["/bin/sh", "-ec"],
        "StopSignal": "SIGQUIT",
        "User": "app:staff",
        "Volumes": {"/data": {}, "/more": {}, "/var/log": {}},
        "WorkingDir": "/srv/app",
    });
    assert_eq!(config, expected);
    assert_eq!(world.store.inspect("built")?.unwrap()["Author"], "Somebody");
    Ok(())
}

fn stages() -> Result<(), Failed> {
    let world = World::new();
    let dockerfile = r#"ARG tag=latest
ARG base=base:$tag
FROM ${base} AS one
ARG tag
ENV FROM_ONE=$tag
RUN echo "$tag $undeclared" > /one
FROM one AS unused
RUN exit 1
FROM one
ARG tag=own
ARG TARGETARCH
ARG given=default
RUN echo "$tag $given $TARGETARCH $FROM_ONE" > /two
"#;
    let mut recipe = world.recipe(dockerfile);
    recipe.args = BTreeMap::from([
        ("given".to_owned(), "value".to_owned()),
        ("undeclared".to_owned(), "x".to_owned()),
    ]);
    let files = Files::of(&world.build_with(&recipe));
    assert_eq!(files.read("one").unwrap(), "latest \n");
    let architecture = recipe.platform.architecture();
    assert_eq!(files.read("two").unwrap(), format!("own value {architecture} latest\n"));
    assert_eq!(world.config("built")["Env"], json!([images::DEFAULT_PATH, "FROM_ONE=latest"]));
    Ok(())
}

fn entrypoints() -> Result<(), Failed> {
    let world = World::new();
    let mut recipe = world.recipe("FROM base\nCMD [\"base\"]");
    recipe.names = vec!["parent".parse()?];
    world.build_with(&recipe);
    world.build("FROM parent\nENTRYPOINT [\"e\"]");
    assert_eq!(world.config("built")["Cmd"], json!(null));
    world.build("FROM parent\nCMD [\"c\"]\nENTRYPOINT e");
    assert_eq!(world.config("built")["Cmd"], json!(["c"]));
    assert_eq!(world.config("built")["Entrypoint"], json!(["/bin/sh", "-c", "e"]));
    Ok(())
}

fn triggers() -> Result<(), Failed> {
    let world = World::new();
    let mut recipe = world.recipe("FROM base\nONBUILD COPY mine /from-context\nONBUILD ENV T=1");
    recipe.names = vec!["parent".parse()?];
    world.build_with(&recipe);
    world.write("mine", "content");
    let files = Files::of(&world.build("FROM parent\nRUN echo $T > /t"));
    assert_eq!(files.read("from-context").unwrap(), "content");
    assert_eq!(files.read("t").unwrap(), "1\n");
    assert_eq!(world.config("built")["OnBuild"], json!(null));
    Ok(())
}

fn mistakes() -> Result<(), Failed> {
    let world = World::new();
    #[rustfmt::skip]
    let table = [
        ("FROM base\nRUN exit 3", "RUN exit 3", "the command has ended with exit code 3"),
        ("FROM base\nCOPY missing /x", "missing", "`missing` is not there"),
        ("FROM nowhere:1", "nowhere:1", "cannot get the image nowhere:1: nobody has nowhere:1"),
        ("FROM base\nENV A=\"${B:?needs B}\"", "A=\"${B:?needs B}\"", "variable B: needs B"),
        ("FROM base\nEXPOSE x", "x", "EXPOSE needs PORT[-PORT][/tcp|udp|sctp], found `x`"),
        ("FROM base\nRUN --security=insecure true", "insecure", "a command with all rights is not allowed to this build"),
        ("FROM base\nRUN --network=host true", "host", "the network of the machine is not allowed to this build"),
        ("FROM base\nRUN --mount=type=secret,id=s,required true", "type=secret,id=s,required", "there is no secret `s`"),
        ("FROM base\nRUN --mount=type=odd true", "type=odd", "there are no mounts of the type `odd`"),
        ("FROM base\nCOPY --chown=nobody . /", "COPY --chown=nobody . /", "there is no user `nobody` in /etc/passwd of the stage"),
        ("FROM $empty", "$empty", "`$empty` is empty"),
    ];
    for (dockerfile, place, message) in table {
        let mistakes = world.fail(dockerfile);
        let problem = &mistakes.problems[0];
        assert_eq!(
            (&mistakes.text[problem.span.clone()], problem.message.as_str()),
            (place, message)
        );
        assert!(!problem.help.is_empty(), "{dockerfile}");
    }
    let said = world.fail("FROM base\nRUN echo one && echo two >&2 && false");
    assert_eq!(said.output, ["one", "two"]);
    assert!(said.debuggable);
    let both = world.fail("FROM base\nRUNN a\nCOPPY b c");
    assert_eq!(both.problems.len(), 2);
    Ok(())
}

fn targets() -> Result<(), Failed> {
    let world = World::new();
    let dockerfile = "FROM base AS a\nRUN echo a > /f\nFROM a AS b\nRUN exit 1";
    let mut recipe = world.recipe(dockerfile);
    recipe.target = Some("A".to_owned());
    recipe.labels = BTreeMap::from([("from".to_owned(), "recipe".to_owned())]);
    recipe.names.push("second:name".parse()?);
    let image = world.build_with(&recipe);
    assert_eq!(Files::of(&image).read("f").unwrap(), "a\n");
    assert_eq!(world.config("second:name")["Labels"], json!({"from": "recipe"}));
    recipe.target = Some("c".to_owned());
    let error = world.try_build(&recipe).unwrap_err();
    assert_eq!(error.to_string(), "there is no stage `c` in dockerfile_inline");
    let insecure = Recipe {
        entitlements: [Entitlement::SecurityInsecure].into(),
        ..world.recipe("FROM base\nRUN --security=insecure mknod /dev/shm/b b 7 99")
    };
    world.build_with(&insecure);
    Ok(())
}
