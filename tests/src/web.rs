//! A web server that costs next to nothing, so that a load test weighs what is between client and server: this very program,
//! run in a container.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;

/// The word after the program's name that makes it a web server.
pub const WORD: &str = "serve-version";

/// Its port.
pub const PORT: u16 = 8000;

/// This program, to be mounted where it is to run.
///
/// # Errors
///
/// When the kernel does not say where it is.
pub fn program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// Answers every request with the value of `VERSION`, for ever. A connection is kept unless the request says otherwise.
///
/// # Errors
///
/// When the port cannot be bound.
pub fn serve() -> io::Result<()> {
    let version = std::env::var("VERSION").unwrap_or_default();
    for stream in TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?.incoming() {
        let (stream, version) = (stream?, version.clone());
        // A client that goes away is its own affair.
        thread::spawn(move || converse(&stream, &version));
    }
    Ok(())
}

fn converse(stream: &TcpStream, version: &str) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(kept) = request(&mut reader)? {
        let connection = if kept { "keep-alive" } else { "close" };
        let length = version.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n{version}"
        );
        let mut to = stream;
        to.write_all(answer.as_bytes())?;
        if !kept {
            break;
        }
    }
    Ok(())
}

/// Reads a request without a body; whether the connection is kept after it. None at the end of the connection.
fn request(reader: &mut impl BufRead) -> io::Result<Option<bool>> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    let mut kept = line.trim_end().ends_with("HTTP/1.1");
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line)?;
        kept &= !line.eq_ignore_ascii_case("connection: close\r\n");
    }
    Ok(Some(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_whether_the_connection_is_kept() {
        for (text, kept) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Some(true)),
            ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", Some(false)),
            ("GET / HTTP/1.0\r\n\r\n", Some(false)),
            ("", None),
        ] {
            assert_eq!(request(&mut text.as_bytes()).unwrap(), kept, "{text:?}");
        }
    }
}
