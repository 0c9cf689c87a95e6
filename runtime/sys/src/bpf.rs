//! Device programs: the version 2 replacement for the `devices` controller, see bpf(2) and `linux/bpf.h`.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;

/// One instruction of the kernel's virtual machine, `struct bpf_insn`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Operation and its class.
    pub code: u8,
    /// Destination register in one half, source register in the other.
    registers: u8,
    /// Distance of a jump, or offset in memory.
    pub offset: i16,
    /// Constant operand.
    pub immediate: i32,
}

impl Instruction {
    /// Puts an instruction together; registers are 0 to 10.
    pub const fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Self {
        let registers = if cfg!(target_endian = "little") {
            source << 4 | destination & 0xf
        } else {
            destination << 4 | source & 0xf
        };
        Self { code, registers, offset, immediate }
    }

    /// The register that the instruction changes or compares.
    pub const fn destination(self) -> u8 {
        if cfg!(target_endian = "little") { self.registers & 0xf } else { self.registers >> 4 }
    }

    /// The register that it reads.
    pub const fn source(self) -> u8 {
        if cfg!(target_endian = "little") { self.registers >> 4 } else { self.registers & 0xf }
    }
}

/// The part of `union bpf_attr` that loads a program, up to the fields that a plain program needs.
#[repr(C)]
struct LoadAttributes {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that attaches a program.
#[repr(C)]
struct AttachAttributes {
    target_fd: u32,
    program_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// Loads a program that decides on access to devices: it returns 1 to allow and 0 to refuse.
///
/// # Errors
/// `EPERM` without `CAP_BPF` (or `CAP_SYS_ADMIN`), `EINVAL` or `EACCES` if the kernel's verifier refuses the program.
pub fn load_device_program(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let attributes = LoadAttributes {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
    };
    let fd = bpf(BPF_PROG_LOAD, &attributes)?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: BPF_PROG_LOAD returns a new descriptor (close-on-exec by itself) that nothing else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a device program to a version 2 control group; it goes away with the group.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` (or `CAP_SYS_ADMIN`), `EINVAL` if a parent forbids programs below it.
pub fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = AttachAttributes {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        program_fd: program.as_raw_fd().cast_unsigned(),
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags: BPF_F_ALLOW_MULTI,
    };
    bpf(BPF_PROG_ATTACH, &attributes).map(drop)
}

/// bpf(2). Private, as it is only as safe as the pointers in the attributes.
fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    let (pointer, size) = (std::ptr::from_ref(attributes), size_of::<T>());
    // SAFETY: `attributes` is one of the two structures above: laid out as the front part of `union bpf_attr`, without
    // padding, alive during the call, and only read by these commands. The kernel takes what lies behind `size` as zero.
    // The pointers inside it (instructions, licence) borrow from the callers' slices and statics, which outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_the_kernels() {
        assert_eq!(size_of::<Instruction>(), 8);
        // Offsets of `prog_name` and of the end of the attach fields in `union bpf_attr`.
        assert_eq!((size_of::<LoadAttributes>(), size_of::<AttachAttributes>()), (48, 16));
        let instruction = Instruction::new(0xb7, 3, 2, -1, 7);
        assert_eq!((instruction.destination(), instruction.source()), (3, 2));
    }
}
