//! The emitted program against a direct reading of the profile.

use std::collections::BTreeSet;
use std::path::Path;

use super::assemble::{self, Instruction};
use super::profile::Rule;
use super::*;

const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const ALLOW: u32 = 0x7fff_0000;

/// What a filter is asked: `struct seccomp_data`.
#[derive(Debug, Clone, Copy)]
struct Question {
    arch: u32,
    number: u32,
    arguments: [u64; 6],
}

fn subject(names: &[&str]) -> Subject {
    let wishes = Wishes {
        cap_add: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Wishes::default()
    };
    let every = Set((1 << 41) - 1);
    Subject {
        arch: Arch::X86_64,
        capabilities: capabilities::wished(&wishes, every).unwrap(),
        kernel: (6, 1),
    }
}

fn program(text: &str, subject: Subject) -> Vec<Instruction> {
    let bytes = compile("test", text, subject).unwrap();
    let instruction = |bytes: &[u8; 8]| Instruction {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        then: bytes[2],
        otherwise: bytes[3],
        value: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    bytes.as_chunks::<8>().0.iter().map(instruction).collect()
}

/// The machine that the kernel has for these programs.
fn run(program: &[Instruction], question: Question) -> u32 {
    let word = |offset: u32| {
        let wide = |index: u32| question.arguments[usize::try_from(index).unwrap()];
        match offset {
            assemble::NUMBER => question.number,
            assemble::ARCH => question.arch,
            offset if offset >= 16 && offset % 8 == 0 => {
                u32::try_from(wide((offset - 16) / 8) & 0xffff_ffff).unwrap()
            }
            offset => u32::try_from(wide((offset - 20) / 8) >> 32).unwrap(),
        }
    };
    let (mut at, mut accumulator) = (0, 0_u32);
    loop {
        let Instruction { code, then, otherwise, value } = program[at];
        at += 1;
        let mut jump = |yes: bool| at += usize::from(if yes { then } else { otherwise });
        match code {
            assemble::LOAD => accumulator = word(value),
            assemble::AND => accumulator &= value,
            assemble::JUMP => at += usize::try_from(value).unwrap(),
            assemble::JUMP_EQUAL => jump(accumulator == value),
            assemble::JUMP_GREATER => jump(accumulator > value),
            assemble::JUMP_AT_LEAST => jump(accumulator >= value),
            assemble::JUMP_ANY_BIT => jump(accumulator & value != 0),
            assemble::RETURN => return value,
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

/// The verdict read off the JSON, rule by rule, without any of the compiler's data.
struct Oracle {
    profile: Profile,
    subject: Subject,
    newest: [u32; 2],
}

impl Oracle {
    fn new(text: &str, subject: Subject) -> Self {
        let profile: Profile = serde_json::from_str(text).unwrap();
        let mut oracle = Self { profile, subject, newest: [0; 2] };
        for (column, arch) in [Arch::X86_64, Arch::I386].into_iter().enumerate() {
            let rules = oracle.profile.syscalls.iter().filter(|rule| oracle.applies(rule));
            oracle.newest[column] = rules
                .flat_map(|rule| rule.names.iter().filter_map(move |name| arch.number(name)))
                .max()
                .unwrap();
        }
        oracle
    }

    fn applies(&self, rule: &Rule) -> bool {
        let caps = |names: &Option<Vec<String>>| names.clone().unwrap_or_default();
        let has = |name: &String| self.subject.capabilities.has(name);
        let arch = |names: &Option<Vec<String>>| {
            names.as_ref().map(|names| names.iter().any(|name| name == "amd64"))
        };
        caps(&rule.includes.caps).iter().all(has)
            && !caps(&rule.excludes.caps).iter().any(has)
            && arch(&rule.includes.arches).unwrap_or(true)
            && !arch(&rule.excludes.arches).unwrap_or(false)
    }

    /// The rules about a number; `None` if there is nothing to look up.
    fn rules(&self, arch: u32, number: u32) -> Option<Vec<&Rule>> {
        let (column, arch) = match arch {
            0xc000_003e => (0, Arch::X86_64),
            0x4000_0003 => (1, Arch::I386),
            _ => return None,
        };
        let named = |rule: &&Rule| rule.names.iter().any(|name| arch.number(name) == Some(number));
        let rules = self.profile.syscalls.iter().filter(|rule| self.applies(rule)).filter(named);
        (number <= self.newest[column]).then(|| rules.collect())
    }

    fn answer(rules: Option<&[&Rule]>, question: Question) -> u32 {
        let Some(rules) = rules else { return ENOSYS };
        let plain = rules.iter().find(|rule| rule.args.is_none());
        let matches = |rule: &&&Rule| {
            rule.args.iter().flatten().all(|argument| {
                let asked = question.arguments[usize::from(argument.index)];
                match argument.op.as_str() {
                    "SCMP_CMP_EQ" => asked == argument.value,
                    "SCMP_CMP_NE" => asked != argument.value,
                    "SCMP_CMP_LT" => asked < argument.value,
                    "SCMP_CMP_LE" => asked <= argument.value,
                    "SCMP_CMP_GT" => asked > argument.value,
                    "SCMP_CMP_GE" => asked >= argument.value,
                    "SCMP_CMP_MASKED_EQ" => asked & argument.value == argument.value_two,
                    other => panic!("{other}"),
                }
            })
        };
        let decided = plain.or_else(|| rules.iter().find(matches));
        match decided.map(|rule| (rule.action.as_str(), rule.errno_ret)) {
            Some(("SCMP_ACT_ALLOW", _)) => ALLOW,
            Some(("SCMP_ACT_ERRNO", errno)) => 0x0005_0000 | u32::from(errno.unwrap_or(1)),
            None => EPERM,
            Some((other, _)) => panic!("{other}"),
        }
    }
}

/// Values around everything that rules compare with.
fn interesting(profile: &Profile, wide: bool) -> Vec<u64> {
    let mut values: BTreeSet<u64> =
        [0, 1, u64::from(u32::MAX), 17, 0x7e02_0000, 0x1000_0000].into();
    for argument in profile.syscalls.iter().flat_map(|rule| rule.args.iter().flatten()) {
        let value = argument.value;
        values.extend([
            value,
            value.wrapping_add(1),
            value.wrapping_sub(1),
            argument.value_two,
            value | 1 << 33,
            argument.value_two | 1 << 40,
        ]);
    }
    values.into_iter().filter(|value| wide || *value <= u64::from(u32::MAX)).collect()
}

fn compare(text: &str, subject: Subject) -> usize {
    let (program, oracle) = (program(text, subject), Oracle::new(text, subject));
    let numbers: Vec<u32> =
        (0..600).chain([0x4000_0000, 0x4000_0001, 0x4000_0209, 0xffff_ffff, 0xf_0005]).collect();
    for (arch, wide) in [(0xc000_003e, true), (0x4000_0003, false), (0xc000_00b7, true), (0, false)]
    {
        let values = interesting(&oracle.profile, wide);
        for &number in &numbers {
            let rules = oracle.rules(arch, number);
            for &value in &values {
                for arguments in
                    [[value, 0, 0, 0, 0, 0], [0, value, value, 0, 0, value], [value; 6]]
                {
                    let question = Question { arch, number, arguments };
                    assert_eq!(
                        run(&program, question),
                        Oracle::answer(rules.as_deref(), question),
                        "{question:x?}"
                    );
                }
            }
        }
    }
    program.len()
}

#[test]
fn the_default_filter_is_the_default_profile() {
    let all_names = [
        "SYS_ADMIN",
        "SYS_PTRACE",
        "SYS_TIME",
        "SYS_NICE",
        "BPF",
        "PERFMON",
        "SYSLOG",
        "DAC_READ_SEARCH",
        "SYS_RAWIO",
    ];
    for names in [&[][..], &["SYS_ADMIN"], &all_names, &["ALL"]] {
        compare(DEFAULT, subject(names));
    }
    let length = program(DEFAULT, subject(&[])).len();
    assert!(length < 320, "{length} instructions for two architectures");
}

#[test]
fn the_default_filter_knows_what_matters() {
    let filter = program(DEFAULT, subject(&[]));
    let native = |name: &str, argument: u64| {
        run(
            &filter,
            Question {
                arch: 0xc000_003e,
                number: Arch::X86_64.number(name).unwrap(),
                arguments: [argument; 6],
            },
        )
    };
    #[rustfmt::skip]
    let table = [
        ("read", 0, ALLOW), ("mount", 0, EPERM), ("unshare", 0, EPERM), ("clone3", 0, ENOSYS), ("io_uring_setup", 0, EPERM),
        ("clone", 0x11, ALLOW), ("clone", 0x1000_0000, EPERM), ("clone", 0x0002_0000, EPERM), ("personality", 8, ALLOW),
        ("personality", 1, EPERM), ("personality", 0xffff_ffff, ALLOW), ("socket", 1, ALLOW), ("socket", 38, EPERM),
        ("socket", 40, EPERM), ("socket", 45, ALLOW), ("socket", 1 << 32 | 38, EPERM), ("keyctl", 0, EPERM),
        ("chroot", 0, ALLOW), ("open_tree_attr", 0, ENOSYS), ("ptrace", 0, ALLOW),
    ];
    for (name, argument, expected) in table {
        assert_eq!(native(name, argument), expected, "{name}({argument:#x})");
    }
    let old = program(DEFAULT, Subject { kernel: (4, 4), ..subject(&[]) });
    assert_eq!(run(&old, Question { arch: 0xc000_003e, number: 101, arguments: [0; 6] }), EPERM);
}

#[test]
fn aarch64_has_its_own_numbers() {
    let filter = program(DEFAULT, Subject { arch: Arch::Aarch64, ..subject(&[]) });
    let ask = |arch: u32, number| run(&filter, Question { arch, number, arguments: [0; 6] });
    assert_eq!(
        (ask(0xc000_00b7, 56), ask(0xc000_00b7, 40), ask(0xc000_00b7, 600)),
        (ALLOW, EPERM, ENOSYS)
    );
    assert_eq!(
        (ask(0x4000_0028, 0xf_0005), ask(0x4000_0028, 0xf_0006), ask(0xc000_003e, 0)),
        (ALLOW, ENOSYS, ENOSYS)
    );
}

#[test]
fn every_comparison_is_the_profiles() {
    let rule = |name: &str, index: u8, op: &str, value: u64, two: u64| {
        format!(
            r#"{{"names": ["{name}"], "action": "SCMP_ACT_ALLOW", "args": [{{"index": {index}, "op": "SCMP_CMP_{op}", "value": {value}, "valueTwo": {two}}}]}}"#
        )
    };
    let large = 0x5_0000_0007;
    let mut rules = Vec::new();
    for (name, op) in [
        ("read", "EQ"),
        ("write", "NE"),
        ("open", "LT"),
        ("close", "LE"),
        ("stat", "GT"),
        ("fstat", "GE"),
    ] {
        rules.push(rule(name, 0, op, large, 0));
        rules.push(rule(name, 1, op, 9, 0));
        rules.push(rule(name, 5, op, 0, 0));
    }
    for (name, mask, value) in [
        ("poll", 0xff, 0x7),
        ("lseek", 0xf_0000_00f0, 0x1_0000_0010),
        ("mmap", 0, 0),
        ("brk", 0xf0, 0xf),
        ("pipe", u64::MAX, 3),
    ] {
        rules.push(rule(name, 0, "MASKED_EQ", mask, value));
    }
    let both = r#"{"names": ["dup"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5, "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 9}, {"index": 1, "op": "SCMP_CMP_GT", "value": 0}]}"#;
    let plain = r#"{"names": ["pause", "dup2", "mseal"], "action": "SCMP_ACT_ALLOW"}"#;
    rules.extend([both.to_owned(), plain.to_owned()]);
    let text = format!(
        r#"{{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "syscalls": [{}]}}"#,
        rules.join(",")
    );
    compare(&text, subject(&[]));
}

#[test]
fn a_long_program_has_stepping_stones() {
    let rule = |number: usize| {
        let name = NUMBERS
            .lines()
            .filter(|line| line.split(' ').nth(1).is_some_and(|word| word == number.to_string()))
            .map(|line| line.split(' ').next().unwrap())
            .next();
        name.map(|name| {
            format!(
                r#"{{"names": ["{name}"], "action": "SCMP_ACT_ERRNO", "errnoRet": {}}}"#,
                number + 2
            )
        })
    };
    let rules: Vec<String> = (0..335).filter_map(rule).collect();
    let text = format!(
        r#"{{"defaultAction": "SCMP_ACT_ERRNO", "archMap": [{{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}}], "syscalls": [{}]}}"#,
        rules.join(",")
    );
    assert!(compare(&text, subject(&[])) > 1000);
}

const NUMBERS: &str = include_str!("syscalls.txt");

#[test]
fn a_profile_of_refusals_leaves_new_calls_alone() {
    let text = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "mkdir", "action": "SCMP_ACT_ERRNO", "args": null}]}"#;
    let filter = program(text, subject(&[]));
    let ask = |arch, number| run(&filter, Question { arch, number, arguments: [0; 6] });
    assert_eq!(
        (ask(0xc000_003e, 83), ask(0xc000_003e, 9999), ask(0xc000_003e, 1)),
        (EPERM, ALLOW, ALLOW)
    );
    assert_eq!(
        (ask(0xc000_003e, 0x4000_0053), ask(0x4000_0003, 1)),
        (ENOSYS, ENOSYS),
        "no way around by x32 or i386"
    );
}

#[test]
fn mistakes_in_profiles_are_named() {
    let message = |text: &str| compile("my.json", text, subject(&[])).unwrap_err().to_string();
    let with = |rule: &str| {
        message(&format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{rule}]}}"#))
    };
    assert_eq!(message("{}"), "seccomp profile `my.json` is not in Docker's format");
    assert_eq!(
        message(r#"{"defaultAction": "ALLOW"}"#),
        "seccomp profile `my.json`: unknown action `ALLOW`"
    );
    let notify = with(r#"{"names": ["a"], "action": "SCMP_ACT_NOTIFY"}"#);
    assert_eq!(
        notify,
        "seccomp profile `my.json`: the action `SCMP_ACT_NOTIFY` needs a listener, which there is none"
    );
    let argument = with(
        r#"{"names": ["a"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}"#,
    );
    assert_eq!(
        argument,
        "seccomp profile `my.json`: argument 6 does not exist: they are counted from 0 to 5"
    );
}

#[test]
fn a_filter_is_kept_and_a_broken_one_made_again() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = scratch.path().join("cache");
    let files = || {
        std::fs::read_dir(&cache).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let first = filter(&Wishes::default(), &cache).unwrap();
    let kept = files();
    assert_eq!(kept.len(), 1);
    assert_eq!(filter(&Wishes::default(), &cache).unwrap(), first);

    let mut bytes = std::fs::read(&kept[0]).unwrap();
    bytes[60] ^= 1;
    for broken in [bytes, Vec::new(), vec![0; 10]] {
        std::fs::write(&kept[0], broken).unwrap();
        assert_eq!(filter(&Wishes::default(), &cache).unwrap(), first);
        assert_eq!(super::cache::read(&kept[0]).as_ref(), Some(&first));
    }
    let dropped = Wishes { cap_drop: vec!["ALL".into()], ..Wishes::default() };
    assert_ne!(filter(&dropped, &cache).unwrap(), first);
    assert_eq!(files().len(), 2);
    assert_eq!(filter(&Wishes::default(), Path::new("/proc/nowhere")).unwrap(), first);

    let privileged = Wishes { privileged: true, ..Wishes::default() };
    assert!(filter(&privileged, &cache).unwrap().is_empty());
    assert!(
        filter(&Wishes { seccomp: SeccompChoice::Unconfined, ..Wishes::default() }, &cache)
            .unwrap()
            .is_empty()
    );
    let named = scratch.path().join("mine.json");
    std::fs::write(&named, DEFAULT).unwrap();
    let wishes = Wishes { seccomp: SeccompChoice::Profile(named), ..privileged };
    assert!(!filter(&wishes, &cache).unwrap().is_empty());
    let missing =
        Wishes { seccomp: SeccompChoice::Profile("/none.json".into()), ..Wishes::default() };
    assert_eq!(filter(&missing, &cache).unwrap_err().to_string(), "seccomp profile `/none.json`");
}
