//! The keys and certificates of one run. All are made anew for every start.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// What the API server and its clients need, PEM text all of it.
pub(super) struct Certificates {
    /// The authority that signed the server's certificate.
    pub(super) authority: String,
    /// The API server's certificate, for 127.0.0.1 and its names inside the cluster.
    pub(super) server: String,
    /// The API server's private key.
    pub(super) server_key: String,
    /// The private key that signs service account tokens: ECDSA P-256. The usual
    /// RSA would need a second cryptography library; both kinds are accepted.
    pub(super) accounts_key: String,
    /// The public half of `accounts_key`.
    pub(super) accounts_public_key: String,
}

impl Certificates {
    /// Makes a fresh set. `service_address` is the first address of the Service range.
    pub(super) fn generate(service_address: &str) -> Result<Self, rcgen::Error> {
        let (authority, issuer) = authority()?;
        let key = KeyPair::generate()?;
        let names = [
            "localhost",
            "127.0.0.1",
            service_address,
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        let mut server = CertificateParams::new(names.map(str::to_owned).to_vec())?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.use_authority_key_identifier_extension = true;
        valid_for_decades(&mut server);
        let accounts = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        Ok(Self {
            authority,
            server: server.signed_by(&key, &issuer)?.pem(),
            server_key: key.serialize_pem(),
            accounts_key: accounts.serialize_pem(),
            accounts_public_key: accounts.public_key_pem(),
        })
    }
}

fn authority() -> Result<(String, Issuer<'static, KeyPair>), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "xsld-operator test world");
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for_decades(&mut params);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), Issuer::new(params, key)))
}

/// The keys live only as long as the run, so the dates need not be near: a clock
/// that is wrong on the developer's machine must not matter.
fn valid_for_decades(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2070, 1, 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_set_is_complete_pem() {
        let set = Certificates::generate("10.96.0.1").unwrap();
        for certificate in [&set.authority, &set.server] {
            assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"), "{certificate}");
        }
        assert!(set.accounts_key.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert!(set.accounts_public_key.starts_with("-----BEGIN PUBLIC KEY-----"));
        assert_ne!(set.server_key, set.accounts_key);
    }
}
