//! Certificates and keys, fresh for each control plane.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::error::{Error, Result};

/// What the API server needs to prove who it is, and to sign tokens of service accounts. All PEM.
#[derive(Debug)]
pub(crate) struct Pki {
    /// The certificate of the authority that clients trust. Its key is thrown away.
    pub(crate) ca: String,
    /// The certificate of the API server.
    pub(crate) server: String,
    pub(crate) server_key: String,
    /// What service account tokens are signed with.
    pub(crate) service_account_key: String,
    /// What they are verified with.
    pub(crate) service_account_public_key: String,
}

/// Makes new ones.
///
/// # Errors
/// When the random generator fails.
pub(crate) fn generate() -> Result<Pki> {
    make().map_err(|error| Error::Certificates(error.to_string()))
}

fn make() -> Result<Pki, rcgen::Error> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name
        .push(DnType::CommonName, "control-plane-ca");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);

    let server_key = KeyPair::generate()?;
    // The names under which a cluster's own clients know it, beside those that work from outside.
    let names = [
        "127.0.0.1",
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
    ];
    let mut server = CertificateParams::new(names.map(str::to_owned))?;
    server
        .distinguished_name
        .push(DnType::CommonName, "kube-apiserver");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let server_certificate = server.signed_by(&server_key, &issuer)?;

    let service_account_key = KeyPair::generate()?;

    Ok(Pki {
        ca: ca_certificate.pem(),
        server: server_certificate.pem(),
        server_key: server_key.serialize_pem(),
        service_account_key: service_account_key.serialize_pem(),
        service_account_public_key: service_account_key.public_key_pem(),
    })
}
