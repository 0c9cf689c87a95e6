//! Loading a system call filter.

use std::io;

/// Size of `struct sock_filter`: a 16-bit code, two 8-bit jumps and a 32-bit value (`linux/filter.h`).
const INSTRUCTION: usize = 8;

/// Puts the calling thread, and all that it starts, under a compiled filter for good: seccomp(2),
/// `SECCOMP_SET_MODE_FILTER`. Needs CAP_SYS_ADMIN or no_new_privs.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidInput`] when `program` is not an array of instructions; otherwise what the kernel says, which
/// checks every instruction before it takes any.
pub fn load(program: &[u8]) -> io::Result<()> {
    let (instructions, rest) = program.as_chunks::<INSTRUCTION>();
    let length = u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    if length == 0 || !rest.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut filter: Vec<libc::sock_filter> = instructions
        .iter()
        .map(|[c0, c1, jt, jf, k @ ..]| libc::sock_filter {
            code: u16::from_ne_bytes([*c0, *c1]),
            jt: *jt,
            jf: *jf,
            k: u32::from_ne_bytes(*k),
        })
        .collect();
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: `program` names `length` instructions at `filter`, both outlive the call, and the kernel copies them. A
    // filter can make later system calls fail, which every caller of a system call has to expect, or kill the thread.
    let answer = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_instruction_is_refused() {
        assert_eq!(load(&[0; 12]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(load(&[]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
