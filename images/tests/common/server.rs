//! A registry that does as it is told, lies included.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use images::Digest;
use serde_json::{Value, json};

pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What somebody asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Sent,
}

/// How the body goes out.
#[derive(Debug, Clone)]
pub enum Sent {
    /// As it should.
    Whole(Vec<u8>),
    /// So many bytes, then the connection ends.
    Cut(Vec<u8>, usize),
    /// So many bytes, then nothing, until the server stops.
    Stalled(Vec<u8>, usize),
    /// Over and over, in chunks, until nobody listens.
    Endless(Vec<u8>),
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: Sent::Whole(body.into()) }
    }

    pub fn typed(media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body).with("Content-Type", media_type)
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

/// A server on loopback; it stops when it is dropped.
pub struct Server {
    pub address: SocketAddr,
    pub asked: Arc<Mutex<Vec<Asked>>>,
    stopped: Arc<AtomicBool>,
}

impl Server {
    pub fn start(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let handler: Arc<Handler> = Arc::new(handler);
        let server = Self { address, asked: Arc::clone(&asked), stopped: Arc::clone(&stopped) };
        thread::spawn(move || {
            for client in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (asked, stopped, handler) =
                    (Arc::clone(&asked), Arc::clone(&stopped), Arc::clone(&handler));
                // A client that goes away is its own affair.
                thread::spawn(move || {
                    client.map(|client| serve(client, &*handler, &asked, &stopped))
                });
            }
        });
        server
    }

    /// The name of an image here.
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// How often something with this in its path was asked for by `method`.
    pub fn count(&self, method: &str, path: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|one| one.method == method && one.path.contains(path)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    client: TcpStream,
    handler: &Handler,
    asked: &Mutex<Vec<Asked>>,
    stopped: &AtomicBool,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut writer = client;
    while let Some(one) = read(&mut reader)? {
        asked.lock().unwrap().push(one.clone());
        let answer = handler(&one);
        let mut head = format!("HTTP/1.1 {} X\r\n", answer.status);
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let has_length = answer.headers.iter().any(|(name, _)| name == "Content-Length");
        let silent = one.method == "HEAD";
        match answer.body {
            Sent::Whole(body) => {
                if !has_length {
                    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
                }
                writer.write_all(format!("{head}\r\n").as_bytes())?;
                if !silent {
                    writer.write_all(&body)?;
                }
            }
            Sent::Cut(body, count) => {
                if !has_length {
                    head.push_str(&format!("Content-Length: {}\r\n", body.len()));
                }
                writer.write_all(format!("{head}\r\n").as_bytes())?;
                writer.write_all(&body[..count])?;
                return Ok(());
            }
            Sent::Stalled(body, count) => {
                head.push_str(&format!("Content-Length: {}\r\n", body.len()));
                writer.write_all(format!("{head}\r\n").as_bytes())?;
                writer.write_all(&body[..count])?;
                // Until the other side gives up.
                let _ = reader.read(&mut [0]);
                return Ok(());
            }
            Sent::Endless(piece) => {
                writer.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes())?;
                while !stopped.load(Ordering::SeqCst) {
                    writer.write_all(format!("{:x}\r\n", piece.len()).as_bytes())?;
                    writer.write_all(&piece)?;
                    writer.write_all(b"\r\n")?;
                }
                return Ok(());
            }
        }
    }
    Ok(())
}

fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    // A handshake of TLS, or something else that is no request.
    let Some((method, path)) =
        line.split_once(' ').filter(|(word, _)| word.bytes().all(|c| c.is_ascii_uppercase()))
    else {
        return Ok(None);
    };
    let path = path.split(' ').next().unwrap_or_default();
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Asked { method, path, headers, body }))
}

/// An image as a registry has it.
#[derive(Debug, Clone)]
pub struct Parts {
    /// By what stands behind `/v2/REPOSITORY/`: media type and bytes.
    pub files: BTreeMap<String, (String, Vec<u8>)>,
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    pub layers: Vec<Vec<u8>>,
}

impl Parts {
    /// An image with the tag `latest` and these layers, each a plain archive.
    pub fn new(archives: &[Vec<u8>]) -> Self {
        Self::changed(archives, |_| {}, |_| {})
    }

    /// The same with other documents.
    pub fn changed(
        archives: &[Vec<u8>],
        config: impl FnOnce(&mut Value),
        manifest: impl FnOnce(&mut Value),
    ) -> Self {
        let layers: Vec<Vec<u8>> = archives.iter().map(|archive| super::gzip(archive)).collect();
        let diff_ids: Vec<String> =
            archives.iter().map(|one| Digest::of(one).to_string()).collect();
        let mut document = json!({
            "architecture": match std::env::consts::ARCH { "x86_64" => "amd64", "aarch64" => "arm64", other => other },
            "os": "linux",
            "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        config(&mut document);
        let config = document.to_string().into_bytes();
        let descriptor = |media_type: &str, bytes: &[u8]| json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()});
        let mut document = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &config),
            "layers": layers.iter().map(|layer| descriptor(LAYER, layer)).collect::<Vec<_>>(),
        });
        manifest(&mut document);
        let manifest = document.to_string().into_bytes();
        let mut parts = Self { files: BTreeMap::new(), manifest, config, layers };
        let (manifest, config) = (parts.manifest.clone(), parts.config.clone());
        parts.put("manifests/latest", MANIFEST, &manifest);
        parts.put(&format!("manifests/{}", Digest::of(&manifest)), MANIFEST, &manifest);
        parts.put(&format!("blobs/{}", Digest::of(&config)), "application/octet-stream", &config);
        for layer in parts.layers.clone() {
            parts.put(&format!("blobs/{}", Digest::of(&layer)), "application/octet-stream", &layer);
        }
        parts
    }

    pub fn put(&mut self, path: &str, media_type: &str, bytes: &[u8]) {
        self.files.insert(path.to_owned(), (media_type.to_owned(), bytes.to_vec()));
    }

    /// What an honest registry answers, ranges included.
    pub fn answer(&self, asked: &Asked) -> Answer {
        let found = asked.path.find("/manifests/").or_else(|| asked.path.find("/blobs/"));
        let rest = found.map_or("", |at| &asked.path[at + 1..]);
        if asked.path == "/v2/" {
            return Answer::new(200, "{}");
        }
        let Some((media_type, bytes)) = self.files.get(rest) else {
            return Answer::new(
                404,
                r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
            );
        };
        let range = asked.header("range");
        let Some(from) = range
            .strip_prefix("bytes=")
            .and_then(|range| range.trim_end_matches('-').parse::<usize>().ok())
        else {
            return Answer::typed(media_type, bytes.clone());
        };
        let mut answer = Answer::typed(media_type, &bytes[from..]);
        answer.status = 206;
        answer.with("Content-Range", &format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()))
    }
}
