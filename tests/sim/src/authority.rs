//! An authority of a run, which signs certificates of members.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

/// SHA-256 of the first certificate of a PEM text, as the operator tells it; none without one.
pub fn fingerprint(pem: &str) -> Option<String> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    Some(Sha256::digest(&certificate).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Signs certificates of members for as long as it lives; its key is nowhere else.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, of this name.
    ///
    /// # Errors
    /// When its key or its certificate cannot be made.
    pub fn new(name: &str) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    /// Its certificate in PEM: what who trusts it is given.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A server's certificate for these names and addresses, and its key, in one PEM text: the
    /// field `pem` of the fault `change_certificate`.
    ///
    /// # Errors
    /// When a name is none, or the certificate cannot be made.
    pub fn sign(&self, names: &[&str]) -> Result<String, rcgen::Error> {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(format!("{}{}", certificate.pem(), key.serialize_pem()))
    }
}
