//! As much of HTTP/1.1 (RFC 9112) as one question and one streamed answer need.

/// The bytes of a request.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: compose\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The head of an answer.
#[derive(Debug)]
pub struct Head {
    /// 200, 101 …
    pub status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    /// Takes a head from the front of `raw`; `None` while it is not there as a whole.
    pub fn take(raw: &mut Vec<u8>) -> Result<Option<Self>, String> {
        const LONGEST: usize = 64 * 1024;
        let Some(end) = raw.windows(4).position(|window| window == b"\r\n\r\n") else {
            return if raw.len() > LONGEST { Err("a head without end".into()) } else { Ok(None) };
        };
        let head: Vec<u8> = raw.drain(..end + 4).collect();
        let text = String::from_utf8_lossy(&head);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| format!("`{first}` is no answer of HTTP/1.1"))?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Some(Self { status, headers }))
    }

    /// How the body that follows is told from its end (RFC 9112, section 6.3).
    pub fn body(&self) -> Body {
        let chunked = self
            .header("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().ends_with("chunked"));
        match self.header("content-length").and_then(|value| value.parse().ok()) {
            _ if chunked => Body::Chunk(Chunk::Size),
            Some(left) => Body::Length(left),
            None => Body::UntilClosed,
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What is left of a body.
#[derive(Debug)]
pub enum Body {
    /// So many bytes.
    Length(usize),
    /// Chunks, each with its size before it.
    Chunk(Chunk),
    /// Whatever comes until the connection ends; it has no end of its own.
    UntilClosed,
}

/// Where in a chunked body (RFC 9112, section 7.1).
#[derive(Debug)]
pub enum Chunk {
    /// Before the line with the size.
    Size,
    /// Within the bytes of a chunk.
    Bytes(usize),
    /// Before the line end after them.
    End,
    /// Before a line of the trailer.
    Trailer,
    /// Behind everything.
    Done,
}

impl Body {
    /// Whether nothing more comes.
    pub const fn is_complete(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunk(Chunk::Done))
    }

    /// Moves as much of the body as has arrived from `raw` to `text`.
    pub fn decode(&mut self, raw: &mut Vec<u8>, text: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::UntilClosed => text.append(raw),
            Self::Length(left) => {
                let count = raw.len().min(*left);
                text.extend(raw.drain(..count));
                *left -= count;
            }
            Self::Chunk(chunk) => while chunk.step(raw, text)? {},
        }
        Ok(())
    }
}

impl Chunk {
    /// Does one step, and returns whether another may follow with what has arrived.
    fn step(&mut self, raw: &mut Vec<u8>, text: &mut Vec<u8>) -> Result<bool, String> {
        *self = match self {
            Self::Done => return Ok(false),
            Self::Bytes(left) => {
                let count = raw.len().min(*left);
                text.extend(raw.drain(..count));
                if count < *left {
                    *left -= count;
                    return Ok(false);
                }
                Self::End
            }
            Self::Size | Self::End | Self::Trailer => {
                let Some(end) = raw.iter().position(|byte| *byte == b'\n') else {
                    return Ok(false);
                };
                let line: Vec<u8> = raw.drain(..=end).collect();
                self.after_line(String::from_utf8_lossy(&line).trim_end())?
            }
        };
        Ok(true)
    }

    fn after_line(&self, line: &str) -> Result<Self, String> {
        Ok(match self {
            Self::Size => {
                let digits = line.split(';').next().unwrap_or_default().trim();
                match usize::from_str_radix(digits, 16) {
                    Ok(0) => Self::Trailer,
                    Ok(size) => Self::Bytes(size),
                    Err(_) => return Err(format!("`{line}` is no size of a chunk")),
                }
            }
            Self::Trailer if !line.is_empty() => Self::Trailer,
            Self::Trailer | Self::Done => Self::Done,
            Self::End | Self::Bytes(_) => Self::Size,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_end_where_they_say() {
        #[rustfmt::skip]
        let table = [
            ("Content-Length: 3", "abcX", "abc", true),
            ("Content-Length: 5", "abc", "abc", false),
            ("Transfer-Encoding: chunked", "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n", "abcde", true),
            ("Transfer-Encoding: chunked", "3\r\nabc\r\n2\r\nd", "abcd", false),
            ("Connection: close", "abc", "abc", false),
        ];
        for (header, body, expected, complete) in table {
            let mut raw = format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n{body}").into_bytes();
            let head = Head::take(&mut raw).unwrap().unwrap();
            let (mut left, mut text) = (head.body(), Vec::new());
            left.decode(&mut raw, &mut text).unwrap();
            assert_eq!((text.as_slice(), left.is_complete()), (expected.as_bytes(), complete));
        }
    }

    #[test]
    fn what_is_no_http_is_refused() {
        assert!(Head::take(&mut b"SSH-2.0-x\r\n\r\n".to_vec()).is_err());
        assert!(Head::take(&mut vec![b'a'; 100_000]).is_err());
        let mut text = Vec::new();
        assert!(Body::Chunk(Chunk::Size).decode(&mut b"xyz\r\n".to_vec(), &mut text).is_err());
    }
}
