//! The allow list of devices: lines for version 1, a program for version 2.
//!
//! Both begin with everything refused. The program asks the rules from the last to the first, so that the last one
//! that matches decides, which is what version 1 does when its lines are written in order.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use sys::bpf::{self, Instruction};

use super::{CgroupError, Hierarchy, Place};

/// Confines a container that has just been made to these devices.
pub(super) fn restrict(place: &Place, rules: &[LinuxDeviceCgroup]) -> Result<(), CgroupError> {
    match (place.hierarchy, &place.unified, place.directory("devices")) {
        (Hierarchy::Unified, Some(directory), _) => attach(directory, rules),
        (_, _, Some(directory)) => write_lines(directory, rules),
        _ => Err(CgroupError::MissingController {
            controller: "devices",
            tree: "/sys/fs/cgroup".into(),
        }),
    }
}

/// Writes one line for each rule; the files take one rule a write and stay open, as there are some fifteen.
fn write_lines(directory: &Path, rules: &[LinuxDeviceCgroup]) -> Result<(), CgroupError> {
    let open = |name: &str| -> Result<File, CgroupError> {
        let path = directory.join(name);
        OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(|source| CgroupError::Read { path, source })
    };
    let put = |mut file: &File, name: &str, value: &str| {
        let written = file.write_all(value.as_bytes());
        written.map_err(|source| CgroupError::Write {
            path: directory.join(name),
            value: value.to_owned(),
            source,
        })
    };
    let (allow, deny) = (open("devices.allow")?, open("devices.deny")?);
    put(&deny, "devices.deny", "a")?;
    for rule in rules.iter().skip_while(|rule| is_deny_all(rule)) {
        let (file, name) =
            if rule.allow() { (&allow, "devices.allow") } else { (&deny, "devices.deny") };
        put(file, name, &line(rule))?;
    }
    Ok(())
}

/// OCI specs begin with this rule; it is where we begin anyway.
fn is_deny_all(rule: &LinuxDeviceCgroup) -> bool {
    let every = matches!(rule.typ(), None | Some(LinuxDeviceType::A))
        && rule.major().is_none()
        && rule.minor().is_none();
    every && !rule.allow() && access_bits(rule) == ALL_ACCESS
}

/// A rule as version 1 reads it.
fn line(rule: &LinuxDeviceCgroup) -> String {
    let kind = rule.typ().unwrap_or_default().as_str().to_owned();
    let number = |value: Option<i64>| {
        value.filter(|value| *value >= 0).map_or("*".to_owned(), |value| value.to_string())
    };
    let access = rule.access().as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm");
    format!("{kind} {}:{} {access}", number(rule.major()), number(rule.minor()))
}

/// Loads the program for the rules and attaches it.
fn attach(directory: &Path, rules: &[LinuxDeviceCgroup]) -> Result<(), CgroupError> {
    let call = |call: &'static str| {
        move |source| CgroupError::Call { call, path: directory.to_owned(), source }
    };
    let cgroup = File::open(directory).map_err(call("open"))?;
    let program = bpf::load_device_program(&program(rules))
        .map_err(call("bpf(BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE)"))?;
    bpf::attach_device_program(cgroup.as_fd(), program.as_fd())
        .map_err(call("bpf(BPF_PROG_ATTACH, BPF_CGROUP_DEVICE)"))
}

/// `BPF_DEVCG_ACC_*` and `BPF_DEVCG_DEV_*` of `linux/bpf.h`.
const ACCESS: [(char, i32); 3] = [('m', 1), ('r', 2), ('w', 4)];
const ALL_ACCESS: i32 = 7;
const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;

fn access_bits(rule: &LinuxDeviceCgroup) -> i32 {
    let letters = rule.access().as_deref().filter(|access| !access.is_empty()).unwrap_or("rwm");
    ACCESS.iter().filter(|(letter, _)| letters.contains(*letter)).map(|(_, bit)| bit).sum()
}

/// Registers: what is asked of which kind of device, and its numbers.
const R0: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// Operations, from `linux/bpf_common.h` and `linux/bpf.h`: class, width and source of the operand in one byte.
const LOAD_WORD: u8 = 0x61;
const MOVE: u8 = 0xb7;
const COPY: u8 = 0xbf;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_UNLESS_EQUAL: u8 = 0x55;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_UNLESS_SAME: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// The program: load the question, ask each rule, refuse what none has answered.
fn program(rules: &[LinuxDeviceCgroup]) -> Vec<Instruction> {
    let word = |register, offset| Instruction::new(LOAD_WORD, register, CONTEXT, offset, 0);
    let mut program = vec![
        word(KIND, 0),
        Instruction::new(AND, KIND, 0, 0, 0xffff),
        word(ASKED, 0),
        Instruction::new(SHIFT_RIGHT, ASKED, 0, 0, 16),
        word(MAJOR, 4),
        word(MINOR, 8),
    ];
    for rule in merged(rules).iter().rev() {
        let block = block(rule);
        let unconditional = block.len() == answer(true).len();
        program.extend(block);
        // The verifier refuses instructions that cannot be reached.
        if unconditional {
            return program;
        }
    }
    program.extend(answer(false));
    program
}

fn answer(allow: bool) -> [Instruction; 2] {
    [Instruction::new(MOVE, R0, 0, 0, allow.into()), Instruction::new(EXIT, 0, 0, 0, 0)]
}

/// One rule: jumps over its answer as soon as something does not match.
fn block(rule: &LinuxDeviceCgroup) -> Vec<Instruction> {
    let mut tests = Vec::new();
    match rule.typ() {
        Some(LinuxDeviceType::B) => {
            tests.push(Instruction::new(JUMP_UNLESS_EQUAL, KIND, 0, 0, BLOCK))
        }
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => {
            tests.push(Instruction::new(JUMP_UNLESS_EQUAL, KIND, 0, 0, CHARACTER))
        }
        _ => {}
    }
    let bits = access_bits(rule);
    if bits != ALL_ACCESS {
        tests.push(Instruction::new(COPY, SCRATCH, ASKED, 0, 0));
        tests.push(Instruction::new(AND, SCRATCH, 0, 0, bits));
        // Allowed only if all that is asked for is in the rule; refused if any of it is.
        tests.push(if rule.allow() {
            Instruction::new(JUMP_UNLESS_SAME, SCRATCH, ASKED, 0, 0)
        } else {
            Instruction::new(JUMP_IF_EQUAL, SCRATCH, 0, 0, 0)
        });
    }
    for (register, number) in [(MAJOR, rule.major()), (MINOR, rule.minor())] {
        if let Some(number) =
            number.and_then(|number| i32::try_from(number).ok()).filter(|number| *number >= 0)
        {
            tests.push(Instruction::new(JUMP_UNLESS_EQUAL, register, 0, 0, number));
        }
    }
    let answer = answer(rule.allow());
    let end = tests.len() + answer.len();
    for (index, test) in tests.iter_mut().enumerate() {
        // The low three bits are the class; 5 is the class of jumps.
        if test.code & 7 == 5 {
            test.offset = i16::try_from(end - index - 1).unwrap_or(i16::MAX);
        }
    }
    tests.extend(answer);
    tests
}

/// Neighbouring rules for the same device become one, so that `r` and `w` together allow `rw`, as in version 1.
fn merged(rules: &[LinuxDeviceCgroup]) -> Vec<LinuxDeviceCgroup> {
    let key = |rule: &LinuxDeviceCgroup| (rule.allow(), rule.typ(), rule.major(), rule.minor());
    let mut merged: Vec<LinuxDeviceCgroup> = Vec::new();
    for rule in rules {
        match merged
            .iter_mut()
            .rev()
            .take_while(|other| other.allow() == rule.allow())
            .find(|other| key(other) == key(rule))
        {
            Some(same) => {
                let bits = access_bits(same) | access_bits(rule);
                let letters = ACCESS
                    .iter()
                    .filter(|(_, bit)| bits & bit != 0)
                    .map(|(letter, _)| letter)
                    .collect();
                same.set_access(Some(letters));
            }
            None => merged.push(rule.clone()),
        }
    }
    merged
}

#[cfg(test)]
pub(in crate::cgroup) mod tests {
    use super::*;

    /// `"allow c 1:3 rw"` as a rule.
    pub(in crate::cgroup) fn rule(text: &str) -> LinuxDeviceCgroup {
        let words: Vec<&str> = text.split(' ').collect();
        let (major, minor) = words[2].split_once(':').unwrap();
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(words[0] == "allow").set_typ(Some(words[1].try_into().unwrap()));
        rule.set_major(major.parse().ok())
            .set_minor(minor.parse().ok())
            .set_access(Some(words[3].to_owned()));
        rule
    }

    /// A machine for the instructions that `program` uses.
    fn run(program: &[Instruction], context: [u32; 3]) -> u64 {
        let mut registers = [0_u64; 11];
        let mut at = 0;
        loop {
            let instruction = program[at];
            let (to, from) =
                (usize::from(instruction.destination()), usize::from(instruction.source()));
            let immediate = u64::try_from(instruction.immediate).unwrap();
            let jump =
                |yes: bool| if yes { usize::try_from(instruction.offset).unwrap() } else { 0 };
            at += 1;
            match instruction.code {
                LOAD_WORD => {
                    registers[to] =
                        u64::from(context[usize::try_from(instruction.offset).unwrap() / 4])
                }
                MOVE => registers[to] = immediate,
                COPY => registers[to] = registers[from],
                AND => registers[to] &= immediate,
                SHIFT_RIGHT => registers[to] >>= immediate,
                JUMP_UNLESS_EQUAL => at += jump(registers[to] != immediate),
                JUMP_IF_EQUAL => at += jump(registers[to] == immediate),
                JUMP_UNLESS_SAME => at += jump(registers[to] != registers[from]),
                EXIT => return registers[0],
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_program_answers_as_the_rules_do() {
        let rules = [
            "deny a *:* rwm",
            "allow c *:* m",
            "allow b *:* m",
            "allow c 1:3 rwm",
            "allow c 5:0 r",
            "allow c 5:0 w",
            "allow c 136:* rwm",
            "allow c 10:* rw",
            "deny c 10:229 w",
        ]
        .map(rule);
        let program = program(&rules);
        #[rustfmt::skip]
        let table = [
            (CHARACTER, "m", 200, 1, 1), (BLOCK, "m", 8, 0, 1), (BLOCK, "r", 8, 0, 0), (CHARACTER, "rw", 1, 3, 1),
            (BLOCK, "rw", 1, 3, 0), (CHARACTER, "r", 1, 1, 0), (CHARACTER, "rw", 5, 0, 1), (CHARACTER, "rwm", 5, 0, 0),
            (CHARACTER, "rw", 136, 77, 1), (CHARACTER, "rw", 10, 200, 1), (CHARACTER, "rw", 10, 229, 0), (CHARACTER, "r", 10, 229, 1),
        ];
        for (kind, access, major, minor, expected) in table {
            let bits: i32 = ACCESS
                .iter()
                .filter(|(letter, _)| access.contains(*letter))
                .map(|(_, bit)| bit)
                .sum();
            let context = [(bits << 16 | kind).try_into().unwrap(), major, minor];
            assert_eq!(run(&program, context), expected, "{kind} {access} {major}:{minor}");
        }
    }

    #[test]
    fn lines_are_as_version_1_reads_them() {
        assert_eq!(line(&rule("allow c 136:* rwm")), "c 136:* rwm");
        assert_eq!(line(&LinuxDeviceCgroup::default()), "a *:* rwm");
        assert!(is_deny_all(&rule("deny a *:* rwm")));
        assert!(!is_deny_all(&rule("allow a *:* rwm")));
    }
}
