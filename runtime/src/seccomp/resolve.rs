//! A profile, a container and a machine to a verdict for each system call number.
//!
//! The rules of the game are libseccomp's, as Docker uses it: a rule without arguments beats those with arguments,
//! the first of two such wins, a rule that says what happens anyway is no rule, and unknown names are passed over
//! (a profile is for many kernels and architectures).

use std::collections::BTreeMap;

use super::profile::{Argument, Condition, Profile, Rule};
use super::table::Arch;
use crate::spec::capabilities::Set;

/// `SECCOMP_RET_*` of `linux/seccomp.h`.
const RET_KILL_PROCESS: u32 = 0x8000_0000;
const RET_KILL_THREAD: u32 = 0;
const RET_TRAP: u32 = 0x0003_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const RET_TRACE: u32 = 0x7ff0_0000;
const RET_LOG: u32 = 0x7ffc_0000;
pub(super) const RET_ALLOW: u32 = 0x7fff_0000;

/// What a system call gets that is newer than the profile, or of an architecture that it does not have:
/// libraries take it as a reason to try something older, where EPERM would make them give up.
pub(super) const RET_ENOSYS: u32 = RET_ERRNO | 38;

/// Above this there are only private numbers of some architectures, which say nothing about the age of a profile.
const FIRST_PRIVATE: u32 = 0x1000;

/// Set in the numbers of x32, the 32-bit pointers on x86_64 that hardly any kernel is built with.
const X32_BIT: u32 = 0x4000_0000;

/// For whom and where a profile is resolved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    pub(super) arch: Arch,
    pub(super) capabilities: Set,
    /// Major and minor version.
    pub(super) kernel: (u32, u32),
}

/// What happens on a system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Always this.
    Return(u32),
    /// The action of the first clause that matches, else the default.
    First(Vec<Clause>, u32),
}

/// An action under conditions, all of which must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clause {
    pub(super) tests: Vec<Test>,
    pub(super) action: u32,
}

/// A comparison of one argument, all 64 bits of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) index: u8,
    pub(super) comparison: Comparison,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Equal(u64),
    GreaterOrEqual(u64),
    Greater(u64),
    Masked { mask: u64, value: u64 },
}

/// The verdicts of one architecture: from each number up to the next key. The first key is 0, neighbours differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdicts {
    pub(super) arch: Arch,
    pub(super) ranges: BTreeMap<u32, Verdict>,
}

/// Resolves a profile for the architecture of the subject and those that may run beside it, that first.
pub(super) fn resolve(profile: &Profile, subject: Subject) -> Result<Vec<Verdicts>, String> {
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut rules = Vec::new();
    for rule in &profile.syscalls {
        let action = action(&rule.action, rule.errno_ret)?;
        let clauses = clauses(rule, action)?;
        if action != default && applies(rule, subject)? {
            rules.push((rule, clauses));
        }
    }
    Ok(architectures(profile, subject.arch)
        .into_iter()
        .map(|arch| verdicts(arch, default, &rules))
        .collect())
}

fn architectures(profile: &Profile, native: Arch) -> Vec<Arch> {
    let map = profile
        .arch_map
        .iter()
        .flatten()
        .filter(|entry| Arch::from_profile(&entry.architecture) == Some(native));
    let beside = map
        .flat_map(|entry| entry.sub_architectures.iter().flatten())
        .chain(profile.architectures.iter().flatten());
    let mut all = vec![native];
    for arch in beside.filter_map(|name| Arch::from_profile(name)) {
        let runs =
            matches!((native, arch), (Arch::X86_64, Arch::I386) | (Arch::Aarch64, Arch::Arm));
        if runs && !all.contains(&arch) {
            all.push(arch);
        }
    }
    all
}

fn verdicts(arch: Arch, default: u32, rules: &[(&Rule, Vec<Clause>)]) -> Verdicts {
    let mut numbers: BTreeMap<u32, Verdict> = BTreeMap::new();
    for (rule, clauses) in rules {
        for number in rule.names.iter().chain(&rule.name).filter_map(|name| arch.number(name)) {
            let found =
                numbers.entry(number).or_insert_with(|| Verdict::First(Vec::new(), default));
            match (found, clauses.as_slice()) {
                (Verdict::Return(_), _) => {}
                (found, [Clause { tests, action }]) if tests.is_empty() => {
                    *found = Verdict::Return(*action)
                }
                (Verdict::First(all, _), clauses) => all.extend_from_slice(clauses),
            }
        }
    }
    Verdicts { arch, ranges: ranges(arch, default, numbers) }
}

/// Fills the gaps between the numbers, and joins neighbours with the same verdict.
fn ranges(arch: Arch, default: u32, numbers: BTreeMap<u32, Verdict>) -> BTreeMap<u32, Verdict> {
    let gives = default == RET_ALLOW || default == RET_LOG;
    let newest =
        numbers.keys().copied().filter(|number| *number < FIRST_PRIVATE).max().unwrap_or(0);
    let mut starts = BTreeMap::from([(0, Verdict::Return(default))]);
    if !gives {
        starts.insert(newest + 1, Verdict::Return(RET_ENOSYS));
    }
    if arch == Arch::X86_64 {
        starts.insert(X32_BIT, Verdict::Return(RET_ENOSYS));
    }
    for (number, verdict) in numbers {
        let after = starts.range(..=number).next_back().map(|(_, verdict)| verdict.clone());
        if let (Some(after), false) = (after, starts.contains_key(&(number + 1))) {
            starts.insert(number + 1, after);
        }
        starts.insert(number, verdict);
    }
    let mut last = None;
    starts.retain(|_, verdict| last.replace(verdict.clone()).as_ref() != Some(verdict));
    starts
}

/// The clauses of a rule: one, unless an argument is named twice, in which case each comparison stands for itself (as in runc).
fn clauses(rule: &Rule, action: u32) -> Result<Vec<Clause>, String> {
    let arguments = rule.args.iter().flatten();
    let tests = arguments.map(test).collect::<Result<Vec<_>, _>>()?;
    let twice = tests
        .iter()
        .enumerate()
        .any(|(at, test)| tests[..at].iter().any(|other| other.index == test.index));
    if twice {
        return Ok(tests.into_iter().map(|test| Clause { tests: vec![test], action }).collect());
    }
    Ok(vec![Clause { tests, action }])
}

fn test(argument: &Argument) -> Result<Test, String> {
    let Argument { index, value, value_two, ref op } = *argument;
    if index > 5 {
        return Err(format!("argument {index} does not exist: they are counted from 0 to 5"));
    }
    let comparison = match op.as_str() {
        "SCMP_CMP_NE" => Comparison::NotEqual(value),
        "SCMP_CMP_LT" => Comparison::Less(value),
        "SCMP_CMP_LE" => Comparison::LessOrEqual(value),
        "SCMP_CMP_EQ" => Comparison::Equal(value),
        "SCMP_CMP_GE" => Comparison::GreaterOrEqual(value),
        "SCMP_CMP_GT" => Comparison::Greater(value),
        "SCMP_CMP_MASKED_EQ" => Comparison::Masked { mask: value, value: value_two },
        _ => return Err(format!("unknown comparison `{op}`")),
    };
    Ok(Test { index, comparison })
}

fn action(name: &str, errno: Option<u16>) -> Result<u32, String> {
    let data = u32::from(errno.unwrap_or(1));
    match name {
        "SCMP_ACT_ALLOW" => Ok(RET_ALLOW),
        "SCMP_ACT_ERRNO" => Ok(RET_ERRNO | data),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Ok(RET_KILL_THREAD),
        "SCMP_ACT_KILL_PROCESS" => Ok(RET_KILL_PROCESS),
        "SCMP_ACT_TRAP" => Ok(RET_TRAP),
        "SCMP_ACT_TRACE" => Ok(RET_TRACE | data),
        "SCMP_ACT_LOG" => Ok(RET_LOG),
        "SCMP_ACT_NOTIFY" => {
            Err("the action `SCMP_ACT_NOTIFY` needs a listener, which there is none".to_owned())
        }
        _ => Err(format!("unknown action `{name}`")),
    }
}

/// Whether a rule is for this container on this machine: all that it includes, and nothing that it excludes.
pub(super) fn applies(rule: &Rule, subject: Subject) -> Result<bool, String> {
    let Condition { caps, arches, min_kernel } = &rule.includes;
    let included = caps.iter().flatten().all(|name| subject.capabilities.has(name))
        && arches.as_ref().is_none_or(|names| names.is_empty() || names_arch(names, subject.arch))
        && at_least(min_kernel.as_deref(), subject.kernel)?.unwrap_or(true);
    let Condition { caps, arches, min_kernel } = &rule.excludes;
    let excluded = caps.iter().flatten().any(|name| subject.capabilities.has(name))
        || arches.as_ref().is_some_and(|names| names_arch(names, subject.arch))
        || at_least(min_kernel.as_deref(), subject.kernel)?.unwrap_or(false);
    Ok(included && !excluded)
}

fn names_arch(names: &[String], arch: Arch) -> bool {
    names.iter().any(|name| name == arch.condition_name())
}

/// Whether the kernel is at least of a version; `None` if none is asked for.
fn at_least(version: Option<&str>, kernel: (u32, u32)) -> Result<Option<bool>, String> {
    let Some(text) = version.filter(|text| !text.is_empty()) else { return Ok(None) };
    let wanted = text
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let wanted: (u32, u32) =
        wanted.ok_or_else(|| format!("kernel version `{text}` must read like `4.8`"))?;
    Ok(Some(kernel >= wanted))
}
