//! `RUN --mount`, as it is written.
//!
//! Source: Dockerfile reference, "RUN --mount".

use super::mode::ModeChange;

/// One mount of a `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// What is mounted.
    pub(super) kind: MountKind,
    /// Where; empty if it is not given.
    pub(super) target: String,
    /// Whose files: a stage, an image, a context.
    pub(super) from: Option<String>,
    /// Which of them.
    pub(super) source: String,
    /// Whether it can be written to, if it says.
    pub(super) writable: Option<bool>,
    /// The name of a cache, secret or agent.
    pub(super) id: Option<String>,
    /// A secret or agent that has to be there.
    pub(super) required: bool,
    /// Who else may use the cache meanwhile.
    pub(super) sharing: Sharing,
    /// Bytes of a tmpfs.
    pub(super) size: Option<u64>,
    /// Permission bits.
    pub(super) mode: Option<u32>,
    /// Owner.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
    /// The variable that a secret is given in.
    pub(super) env: Option<String>,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MountKind {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Everybody.
    Shared,
    /// Nobody: another build gets another one.
    Private,
    /// Nobody: another build waits.
    Locked,
}

impl Mount {
    /// Reads `type=cache,target=/x,…`; the error says what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut mount = Self {
            kind: MountKind::Bind,
            target: String::new(),
            from: None,
            source: String::new(),
            writable: None,
            id: None,
            required: false,
            sharing: Sharing::Shared,
            size: None,
            mode: None,
            uid: 0,
            gid: 0,
            env: None,
        };
        for part in fields(text) {
            let (key, value) = part.split_once('=').unwrap_or((&part, ""));
            mount.set(&key.to_ascii_lowercase(), value, part.contains('='))?;
        }
        let needs_target =
            matches!(mount.kind, MountKind::Bind | MountKind::Cache | MountKind::Tmpfs);
        if needs_target && mount.target.is_empty() {
            return Err("the mount needs a target".to_owned());
        }
        Ok(mount)
    }

    fn set(&mut self, key: &str, value: &str, given: bool) -> Result<(), String> {
        let wrong = || format!("`{value}` cannot be the value of `{key}`");
        let flag = || match value {
            "" if !given => Ok(true),
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(wrong()),
        };
        match key {
            "type" => {
                self.kind = match value {
                    "bind" => MountKind::Bind,
                    "cache" => MountKind::Cache,
                    "tmpfs" => MountKind::Tmpfs,
                    "secret" => MountKind::Secret,
                    "ssh" => MountKind::Ssh,
                    _ => return Err(format!("there are no mounts of the type `{value}`")),
                }
            }
            "target" | "dst" | "destination" => value.clone_into(&mut self.target),
            "source" | "src" => value.clone_into(&mut self.source),
            "from" => self.from = Some(value.to_owned()),
            "rw" | "readwrite" => self.writable = Some(flag()?),
            "ro" | "readonly" => self.writable = Some(!flag()?),
            "id" => self.id = Some(value.to_owned()),
            "required" => self.required = flag()?,
            "sharing" => {
                self.sharing = match value {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => return Err(wrong()),
                }
            }
            "size" => self.size = Some(bytes(value).ok_or_else(wrong)?),
            "mode" => match ModeChange::parse(value) {
                Some(ModeChange::Set(mode)) => self.mode = Some(mode),
                _ => return Err(wrong()),
            },
            "uid" => self.uid = value.parse().map_err(|_| wrong())?,
            "gid" => self.gid = value.parse().map_err(|_| wrong())?,
            "env" => self.env = Some(value.to_owned()),
            _ => return Err(format!("a mount has no `{key}`")),
        }
        Ok(())
    }
}

/// Cuts at commas outside of quotes, as CSV.
fn fields(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    for next in text.chars() {
        match next {
            '"' => quoted = !quoted,
            ',' if !quoted => out.push(String::new()),
            next => out.last_mut().expect("there is one field at least").push(next),
        }
    }
    out.retain(|field| !field.is_empty());
    out
}

/// `64m`, `1gb`, `1024`.
fn bytes(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let text = text.trim_end_matches('b');
    let (digits, shift) = match text.chars().last()? {
        'k' => (&text[..text.len() - 1], 10),
        'm' => (&text[..text.len() - 1], 20),
        'g' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read() {
        let cache =
            Mount::parse("type=cache,target=/root/.cache,sharing=locked,id=go,mode=0700,uid=5")
                .unwrap();
        assert_eq!(
            (cache.kind, cache.sharing, cache.mode, cache.uid),
            (MountKind::Cache, Sharing::Locked, Some(0o700), 5)
        );
        let bind = Mount::parse("target=/src,from=build,source=/out,rw").unwrap();
        assert_eq!(
            (bind.kind, bind.from.as_deref(), bind.writable),
            (MountKind::Bind, Some("build"), Some(true))
        );
        assert_eq!(Mount::parse("type=tmpfs,dst=/t,size=1g").unwrap().size, Some(1 << 30));
        assert_eq!(
            Mount::parse(r#"type=secret,"id=a,b",required"#).unwrap().id.as_deref(),
            Some("a,b")
        );
        assert_eq!(Mount::parse("type=bind,target=/x,ro=false").unwrap().writable, Some(true));
        #[rustfmt::skip]
        let wrong = [
            ("type=bind", "the mount needs a target"), ("type=nfs", "there are no mounts of the type `nfs`"),
            ("type=ssh,port=1", "a mount has no `port`"), ("type=cache,target=/x,sharing=no", "`no` cannot be the value of `sharing`"),
        ];
        for (text, message) in wrong {
            assert_eq!(Mount::parse(text).unwrap_err(), message);
        }
    }
}
