//! Which certificate a member may show, checked during the handshake and so before
//! any byte of a request is sent.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use thiserror::Error as ThisError;

use crate::xsld::text::bounded;
use crate::xsld::transport::{Fingerprint, Trust};

/// Why no trust can be set up.
#[derive(Debug, ThisError)]
pub enum TrustError {
    /// The CA's text is not PEM.
    #[error("the CA bundle is not PEM: {0}")]
    Pem(String),
    /// The CA's text holds no certificate.
    #[error("the CA bundle holds no certificate")]
    NoCertificate,
    /// A certificate in it cannot be used as an authority.
    #[error("the CA bundle cannot be used: {0}")]
    Authority(String),
    /// The TLS library refuses the settings.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] Error),
}

/// What was seen of a peer's certificate during one handshake.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The certificate that it showed.
    pub(super) presented: OnceLock<Fingerprint>,
    /// Why that certificate was refused.
    pub(super) refusal: OnceLock<String>,
}

#[derive(Debug)]
enum Rule {
    Any,
    Pin(Fingerprint),
    Authority(Arc<WebPkiServerVerifier>),
}

/// Checks a certificate by a [`Trust`] and notes what it saw. The signature of the
/// handshake is checked under every rule: whoever shows the certificate must hold
/// its key.
#[derive(Debug)]
struct MemberVerifier {
    rule: Rule,
    provider: Arc<CryptoProvider>,
    seen: Arc<Seen>,
}

/// TLS settings for one connection, and where its verifier notes what it saw. No
/// session is resumed: a resumed session would show no certificate.
///
/// # Errors
/// When the trust's CA bundle cannot be used.
pub(crate) fn client_config(trust: &Trust) -> Result<(ClientConfig, Arc<Seen>), TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let rule = match trust {
        Trust::FirstUse | Trust::Insecure => Rule::Any,
        Trust::Pinned(fingerprint) => Rule::Pin(*fingerprint),
        Trust::Ca(pem) => Rule::Authority(authority(pem, &provider)?),
    };
    let seen = Arc::new(Seen::default());
    let verifier = MemberVerifier { rule, provider: provider.clone(), seen: seen.clone() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok((config, seen))
}

fn authority(
    pem: &[u8],
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| TrustError::Pem(error.to_string()))?;
        roots.add(certificate).map_err(|error| TrustError::Authority(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TrustError::NoCertificate);
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| TrustError::Authority(error.to_string()))
}

impl ServerCertVerifier for MemberVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let presented = *self.seen.presented.get_or_init(|| Fingerprint::of(end_entity));
        let verdict = match &self.rule {
            Rule::Any => Ok(ServerCertVerified::assertion()),
            Rule::Pin(pin) if *pin == presented => Ok(ServerCertVerified::assertion()),
            Rule::Pin(pin) => {
                self.seen.refusal.get_or_init(|| {
                    format!("the member shows the certificate {presented}, not the pinned {pin}")
                });
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
            Rule::Authority(verifier) => verifier.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        };
        if let Err(error) = &verdict {
            self.seen.refusal.get_or_init(|| {
                bounded(&format!("the member's certificate {presented} is refused: {error}"))
            });
        }
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_bundle_without_a_usable_certificate_is_refused() {
        let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec();
        let broken = b"-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n".to_vec();
        for (pem, word) in [
            (Vec::new(), "no certificate"),
            (b"hello".to_vec(), "no certificate"),
            (garbage, "cannot be used"),
            (broken, "not PEM"),
        ] {
            let error = client_config(&Trust::Ca(pem)).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
