//! A profile in the words of the OCI runtime specification (config-linux, "Seccomp"), for runtimes that compile it themselves.

use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Map, Value, json};

use super::profile::{Profile, Rule};
use super::resolve::{Subject, applies};
use super::table::Arch;

/// What of `profile` is for `subject`.
pub(super) fn rules(profile: &Profile, subject: Subject) -> Result<LinuxSeccomp, String> {
    let mut syscalls = Vec::new();
    for rule in &profile.syscalls {
        if applies(rule, subject)? {
            syscalls.push(syscall(rule));
        }
    }
    let mut all = Map::new();
    all.insert("defaultAction".to_owned(), json!(profile.default_action));
    if let Some(errno) = profile.default_errno_ret {
        all.insert("defaultErrnoRet".to_owned(), json!(errno));
    }
    all.insert("architectures".to_owned(), json!(architectures(profile, subject.arch)));
    all.insert("syscalls".to_owned(), json!(syscalls));
    serde_json::from_value(Value::Object(all)).map_err(|error| error.to_string())
}

fn architectures(profile: &Profile, native: Arch) -> Vec<&str> {
    let map = profile.arch_map.iter().flatten();
    let own = map.filter(|entry| Arch::from_profile(&entry.architecture) == Some(native));
    let mapped = own.flat_map(|entry| {
        std::iter::once(&entry.architecture).chain(entry.sub_architectures.iter().flatten())
    });
    mapped.chain(profile.architectures.iter().flatten()).map(String::as_str).collect()
}

fn syscall(rule: &Rule) -> Value {
    let names: Vec<&String> = rule.names.iter().chain(&rule.name).collect();
    let mut syscall = Map::new();
    syscall.insert("names".to_owned(), json!(names));
    syscall.insert("action".to_owned(), json!(rule.action));
    if let Some(errno) = rule.errno_ret {
        syscall.insert("errnoRet".to_owned(), json!(errno));
    }
    let args = rule.args.iter().flatten().map(|argument| {
        json!({
            "index": argument.index,
            "value": argument.value,
            "valueTwo": argument.value_two,
            "op": argument.op,
        })
    });
    let args: Vec<Value> = args.collect();
    if !args.is_empty() {
        syscall.insert("args".to_owned(), json!(args));
    }
    Value::Object(syscall)
}

#[cfg(test)]
mod tests {
    use super::super::rules;
    use crate::spec::{SeccompChoice, Wishes};

    #[test]
    fn the_default_profile_is_said_for_one_container() {
        let text = |wishes: &Wishes| serde_json::to_value(rules(wishes).unwrap()).unwrap();
        let allows = |said: &serde_json::Value, name: &str| {
            said["syscalls"].as_array().unwrap().iter().any(|rule| {
                let names = rule["names"].as_array().unwrap();
                rule["action"] == "SCMP_ACT_ALLOW"
                    && rule.get("args").is_none()
                    && names.iter().any(|found| found == name)
            })
        };
        let plain = text(&Wishes::default());
        assert_eq!(plain["defaultAction"], "SCMP_ACT_ERRNO");
        assert!(plain["architectures"].as_array().is_some_and(|all| !all.is_empty()));
        assert!(allows(&plain, "openat") && !allows(&plain, "mount"));
        let admin = Wishes { cap_add: vec!["SYS_ADMIN".into()], ..Wishes::default() };
        let held = crate::spec::capabilities::Set::held();
        if crate::spec::capabilities::wished(&admin, held).is_ok() {
            assert!(allows(&text(&admin), "mount"));
        }
        let open = Wishes { seccomp: SeccompChoice::Unconfined, ..Wishes::default() };
        assert!(rules(&open).unwrap().is_none());
    }
}
