//! The unit of a project: its text and its place.
//!
//! Source: systemd.unit(5), systemd.service(5), systemd.syntax(7).

use std::path::{Path, PathBuf};

use crate::record::Roots;

/// Where the machine's own units are.
const UNITS: &str = "/etc/systemd/system";

/// Variables that say where everything is.
const VARIABLES: [&str; 3] = [Roots::DATA_VARIABLE, Roots::RUN_VARIABLE, "COMPOSE_CGROUP_ROOT"];

/// Whether systemd runs this machine, or is there to.
pub fn has_systemd() -> bool {
    let signs = ["/run/systemd/system", "/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
    signs.iter().any(|sign| Path::new(sign).exists())
}

/// The file of the unit.
pub fn file(project: &str) -> PathBuf {
    Path::new(UNITS).join(format!("compose-{project}.service"))
}

/// The link that has it started at boot.
pub fn link(project: &str) -> PathBuf {
    Path::new(UNITS).join("multi-user.target.wants").join(format!("compose-{project}.service"))
}

/// The unit: `program` starts the project at boot, when `data` is there, and stops it before the machine goes down.
pub fn text(project: &str, program: &Path, data: &Path) -> String {
    let environment: String = VARIABLES
        .iter()
        .filter_map(|name| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
            Some(format!("Environment={}\n", quoted(&format!("{name}={value}"))))
        })
        .collect();
    // Words of `Exec…=` are filled in with variables as well, which have a dollar.
    let command = |verb: &str| {
        let program = quoted(&program.to_string_lossy()).replace('$', "$$");
        format!("{program} --project-name {project} service {verb}")
    };
    let data = quoted(&data.to_string_lossy());
    format!(
        "# Written by `compose service enable`; `compose service disable` removes it.
[Unit]
Description=Compose project {project}
Wants=network-online.target
After=network-online.target local-fs.target
RequiresMountsFor={data}

[Service]
Type=oneshot
RemainAfterExit=yes
{environment}ExecStart={}
ExecStop={}
TimeoutStartSec=infinity
TimeoutStopSec=5min

[Install]
WantedBy=multi-user.target
",
        command("start"),
        command("stop"),
    )
}

/// A word as systemd reads it back.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-=:,+@".contains(letter);
    if word.chars().all(plain) && !word.is_empty() {
        return word.to_owned();
    }
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_starts_and_stops_one_project() {
        let text = text("shop", Path::new("/opt/100% $x/compose"), Path::new("/srv/data"));
        let lines: Vec<&str> = text.lines().filter(|line| line.contains("service st")).collect();
        assert_eq!(
            lines,
            [
                r#"ExecStart="/opt/100%% $$x/compose" --project-name shop service start"#,
                r#"ExecStop="/opt/100%% $$x/compose" --project-name shop service stop"#,
            ]
        );
        assert!(text.contains("RequiresMountsFor=/srv/data\n"));
        assert_eq!(file("shop"), Path::new("/etc/systemd/system/compose-shop.service"));
    }

    #[test]
    fn words_are_read_back_as_they_were() {
        assert_eq!(quoted("/a/b-c"), "/a/b-c");
        assert_eq!(quoted("A=b c"), r#""A=b c""#);
        assert_eq!(quoted(r#"a"\%"#), r#""a\"\\%%""#);
    }
}
