//! Who is believed to be who: certificates of authorities, of registries and of ourselves.
//!
//! The authorities are those of the machine (`SSL_CERT_FILE`, `SSL_CERT_DIR`, else where the system has them), or
//! Mozilla's if it has none. `/etc/docker/certs.d/HOST[:PORT]/` and `/etc/compose/certs.d/HOST[:PORT]/` add `*.crt`
//! for that registry alone, and `NAME.cert` with `NAME.key` is what we show to it.
//!
//! Source: docs.docker.com, "Verify repository client with certificates".

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::environment::Environment;

/// Folders that have a folder for each registry.
const FOLDERS: [&str; 2] = ["/etc/compose/certs.d", "/etc/docker/certs.d"];

/// Certificates could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A file has no certificate or key in it.
    #[error("{} has no usable {what}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Certificate or key.
        what: &'static str,
        /// Why not.
        reason: String,
    },
}

/// Whether the certificate of the other side is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Verify {
    Yes,
    No,
}

/// What is believed about `authority`, a host with an optional port.
pub(crate) fn config(
    environment: &Environment,
    authority: &str,
    verify: Verify,
) -> Result<ClientConfig, CertificateError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has the suites of TLS 1.2 and 1.3");
    let folders: Vec<PathBuf> =
        FOLDERS.iter().map(|folder| Path::new(folder).join(authority)).collect();
    let builder = match verify {
        Verify::No => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Believer(provider)))
        }
        Verify::Yes => builder.with_root_certificates(roots(environment, &folders)?),
    };
    match own(&folders)? {
        None => Ok(builder.with_no_client_auth()),
        Some((path, chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| {
            CertificateError::Malformed { path, what: "key", reason: error.to_string() }
        }),
    }
}

fn roots(
    environment: &Environment,
    folders: &[PathBuf],
) -> Result<RootCertStore, CertificateError> {
    let mut roots = RootCertStore::empty();
    let file = environment.path("SSL_CERT_FILE");
    let directory = environment.path("SSL_CERT_DIR");
    if file.is_none() && directory.is_none() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if let Some(file) = file {
        roots.add_parsable_certificates(certificates(&file)?);
    }
    for file in directory.iter().flat_map(|directory| files(directory, &["pem", "crt", "0"])) {
        // Folders of certificates have other things in them.
        roots.add_parsable_certificates(certificates(&file).unwrap_or_default());
    }
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for file in folders.iter().flat_map(|folder| files(folder, &["crt"])) {
        roots.add_parsable_certificates(certificates(&file)?);
    }
    Ok(roots)
}

/// What we show: the first certificate that has a key beside it.
type Own = (PathBuf, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn own(folders: &[PathBuf]) -> Result<Option<Own>, CertificateError> {
    for file in folders.iter().flat_map(|folder| files(folder, &["cert"])) {
        let path = file.with_extension("key");
        if path.exists() {
            let key = PrivateKeyDer::from_pem_file(&path).map_err(|error| {
                CertificateError::Malformed {
                    path: path.clone(),
                    what: "key",
                    reason: error.to_string(),
                }
            })?;
            return Ok(Some((path, certificates(&file)?, key)));
        }
    }
    Ok(None)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let bytes = fs::read(path)
        .map_err(|source| CertificateError::Read { path: path.to_owned(), source })?;
    let all = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let malformed = |reason: String| CertificateError::Malformed {
        path: path.to_owned(),
        what: "certificate",
        reason,
    };
    match all {
        Ok(all) if all.is_empty() => Err(malformed("there is none in it".to_owned())),
        Ok(all) => Ok(all),
        Err(error) => Err(malformed(error.to_string())),
    }
}

/// The files of a folder with one of these extensions, sorted; none if there is no such folder.
fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .and_then(|one| one.to_str())
                .is_some_and(|one| extensions.contains(&one))
        })
        .collect();
    files.sort();
    files
}

/// Believes everybody who can sign: for registries that are declared insecure.
#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
