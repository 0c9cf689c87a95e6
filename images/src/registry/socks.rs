//! SOCKS proxies: a way to a host through one that speaks version 5.
//!
//! The name of the host is resolved by the proxy, whether its address begins with `socks5:` or `socks5h:`, as docker
//! does it: what is behind a proxy often has no name in front of it.
//!
//! Source: RFC 1928 (SOCKS Protocol Version 5), RFC 1929 (Username/Password Authentication).

use std::io;
use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const VERSION: u8 = 5;
const CONNECT: u8 = 1;
/// Ways to say who we are.
const NOBODY: u8 = 0;
const PASSWORD: u8 = 2;
const NO_WAY: u8 = 0xff;
/// Kinds of addresses.
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// The port of a proxy that names none.
pub(super) const PORT: u16 = 1080;

/// Whether a proxy with this scheme is one of these.
pub(super) fn speaks(scheme: Option<&str>) -> bool {
    matches!(scheme, Some("socks5" | "socks5h"))
}

/// Asks the proxy on `stream` for a way to `host`. Then the stream is that way.
///
/// # Errors
///
/// What is wrong with what the proxy says, in words.
pub(super) async fn connect(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    credentials: Option<(&str, &str)>,
    host: &str,
    port: u16,
) -> io::Result<()> {
    match greet(stream, credentials.is_some()).await? {
        NOBODY => {}
        PASSWORD => authenticate(stream, credentials.unwrap_or_default()).await?,
        NO_WAY if credentials.is_none() => return refused("it wants a name and a password"),
        _ => return refused("it accepts no way to log in that is known here"),
    }
    let mut request = vec![VERSION, CONNECT, 0];
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend(address.octets());
        }
        Err(_) => {
            request.push(NAME);
            push_text(&mut request, host)?;
        }
    }
    request.extend(port.to_be_bytes());
    stream.write_all(&request).await?;
    answer(stream).await
}

/// Says which ways to log in there are, and reads which is to be taken.
async fn greet(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    has_password: bool,
) -> io::Result<u8> {
    let greeting: &[u8] =
        if has_password { &[VERSION, 2, NOBODY, PASSWORD] } else { &[VERSION, 1, NOBODY] };
    stream.write_all(greeting).await?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await?;
    let [version, way] = chosen;
    if version == VERSION { Ok(way) } else { refused("it does not speak SOCKS version 5") }
}

async fn authenticate(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    (name, password): (&str, &str),
) -> io::Result<()> {
    let mut request = vec![1];
    push_text(&mut request, name)?;
    push_text(&mut request, password)?;
    stream.write_all(&request).await?;
    let mut status = [0; 2];
    stream.read_exact(&mut status).await?;
    if status[1] == 0 { Ok(()) } else { refused("it does not accept the name and the password") }
}

/// A text with its length in front, which one byte holds.
fn push_text(request: &mut Vec<u8>, text: &str) -> io::Result<()> {
    let Ok(length) = u8::try_from(text.len()) else {
        return refused("a name or password has more than 255 bytes");
    };
    request.push(length);
    request.extend(text.as_bytes());
    Ok(())
}

/// Reads whether there is a way, and the address at its other end, which is of no use.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    match head[1] {
        0 => {}
        2 => return refused("it does not allow it"),
        3 => return refused("the network cannot be reached from there"),
        4 => return refused("the host cannot be reached from there"),
        5 => return refused("the host refuses the connection"),
        6 => return refused("the host did not answer in time"),
        _ => return refused("it failed"),
    }
    let length = match head[3] {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(stream.read_u8().await?),
        _ => return refused("it answers with an address of an unknown kind"),
    };
    let mut rest = vec![0; length + 2];
    stream.read_exact(&mut rest).await.map(drop)
}

fn refused<T>(why: &'static str) -> io::Result<T> {
    Err(io::Error::other(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said to a proxy that answers with these bytes, and how it ends.
    fn said(
        credentials: Option<(&str, &str)>,
        host: &str,
        answers: &[u8],
    ) -> (Vec<u8>, io::Result<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut ours, mut theirs) = tokio::io::duplex(4096);
            // All answers are there before the first question.
            theirs.write_all(answers).await.unwrap();
            let ended = connect(&mut ours, credentials, host, 443).await;
            drop(ours);
            let mut heard = Vec::new();
            theirs.read_to_end(&mut heard).await.unwrap();
            (heard, ended)
        })
    }

    #[test]
    fn hosts_are_asked_for_by_name_or_address() {
        let yes = [5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let (heard, ended) = said(None, "hub.test", &yes);
        ended.unwrap();
        assert_eq!(heard, b"\x05\x01\x00\x05\x01\x00\x03\x08hub.test\x01\xbb");
        let (heard, ended) = said(None, "127.0.0.1", &yes);
        ended.unwrap();
        assert_eq!(heard, b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x01\xbb");
        let named = [5, 2, 1, 0, 5, 0, 0, 3, 1, b'x', 0, 0];
        let (heard, ended) = said(Some(("me", "pw")), "::1", &named);
        ended.unwrap();
        assert_eq!(heard[..4], [5, 2, 0, 2]);
        assert_eq!(heard[4..11], *b"\x01\x02me\x02pw");
    }

    #[test]
    fn refusals_have_words() {
        #[rustfmt::skip]
        let table: [(&[u8], &str); 5] = [
            (&[5, 0xff], "it wants a name and a password"),
            (&[4, 0], "it does not speak SOCKS version 5"),
            (&[5, 0, 5, 5, 0, 1], "the host refuses the connection"),
            (&[5, 0, 5, 0, 0, 9], "it answers with an address of an unknown kind"),
            (&[5, 7], "it accepts no way to log in that is known here"),
        ];
        for (answers, words) in table {
            assert_eq!(said(None, "x", answers).1.unwrap_err().to_string(), words);
        }
        let long = "x".repeat(256);
        assert!(said(None, &long, &[5, 0]).1.unwrap_err().to_string().contains("255 bytes"));
    }
}
