//! Certificates and kubeconfigs of a cluster: one authority in a folder, and what it has issued.
//!
//! Everything in the folder is made once; asked again, what stands there is kept.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde_json::json;

/// File stem of the authority.
const AUTHORITY: &str = "ca";
/// File stem of the keys that sign the tokens of ServiceAccounts.
const SERVICE_ACCOUNTS: &str = "sa";

/// Who a certificate speaks for. Kubernetes reads the common name as the user, the organization as the group.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The user.
    pub common_name: &'a str,
    /// The group; empty for none.
    pub organization: &'a str,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate_pem: String,
    /// The private key, in PKCS #8.
    pub key_pem: String,
}

/// PEM files of a server's certificate and its key.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A certificate authority in a folder.
pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The authority in `dir`, created when there is none: `ca.crt` and `ca.key`.
    ///
    /// # Errors
    /// When the folder cannot be written, or holds a broken key.
    pub fn open(dir: &Path) -> Result<Self> {
        Self::named(dir, "devcluster")
    }

    /// As [`Authority::open`], with a name of its own, by which a reader of an error tells it from others.
    ///
    /// # Errors
    /// As [`Authority::open`].
    pub fn named(dir: &Path, common_name: &str) -> Result<Self> {
        let created = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        created.with_context(|| format!("could not create {}", dir.display()))?;
        let key = key_in(&dir.join(format!("{AUTHORITY}.key")))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(Subject { common_name, organization: "" });
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = dir.join(format!("{AUTHORITY}.crt"));
        if !certificate.exists() {
            fs::write(&certificate, params.self_signed(&key)?.pem())?;
        }
        // From the same name and key as the certificate in the folder, which is all that a signature needs.
        Ok(Self { dir: dir.to_owned(), issuer: Issuer::new(params, key) })
    }

    /// `NAME` in the folder of the authority.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes `STEM.crt` and `STEM.key`, for client and server. `hosts` are the names and addresses of a server.
    ///
    /// # Errors
    /// When the folder cannot be written, or a host is no valid name.
    pub fn issue(&self, stem: &str, subject: Subject<'_>, hosts: &[&str]) -> Result<()> {
        let certificate = self.file(&format!("{stem}.crt"));
        if certificate.exists() {
            return Ok(());
        }
        let key = key_in(&self.file(&format!("{stem}.key")))?;
        Ok(fs::write(certificate, self.sign(&key, subject, hosts)?)?)
    }

    /// As [`Authority::issue`], for a server of no name but those `hosts`; where its files are.
    ///
    /// # Errors
    /// As [`Authority::issue`].
    pub fn issue_server(&self, stem: &str, hosts: &[&str]) -> Result<Tls> {
        self.issue(stem, Subject { common_name: stem, organization: "" }, hosts)?;
        let file = |extension| self.file(&format!("{stem}.{extension}"));
        Ok(Tls { certificate: file("crt"), key: file("key") })
    }

    /// Issues a certificate for a client and keeps no copy of it: for as many as one likes.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn issue_client(&self, subject: Subject<'_>) -> Result<Identity> {
        let key = KeyPair::generate()?;
        Ok(Identity { certificate_pem: self.sign(&key, subject, &[])?, key_pem: key.serialize_pem() })
    }

    /// Writes `STEM.pem`, the issued certificate `STEM` and its key in one file, and returns its path.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn bundle(&self, stem: &str) -> Result<PathBuf> {
        let read = |extension: &str| {
            let path = self.file(&format!("{stem}.{extension}"));
            fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))
        };
        let file = self.file(&format!("{stem}.pem"));
        write_private(&file, &(read("key")? + &read("crt")?))?;
        Ok(file)
    }

    /// The certificate as PEM.
    fn sign(&self, key: &KeyPair, subject: Subject<'_>, hosts: &[&str]) -> Result<String> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = name(subject);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer)?.pem())
    }

    /// Writes `sa.key` and `sa.pub`, with which the tokens of ServiceAccounts are signed and checked.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn service_account_keys(&self) -> Result<()> {
        let key = key_in(&self.file(&format!("{SERVICE_ACCOUNTS}.key")))?;
        Ok(fs::write(self.file(&format!("{SERVICE_ACCOUNTS}.pub")), key.public_key_pem())?)
    }

    /// Writes `STEM.kubeconfig` for the client certificate `STEM`, which must have been issued, and returns its path.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn kubeconfig(&self, stem: &str, server: &str) -> Result<PathBuf> {
        let file = self.file(&format!("{stem}.kubeconfig"));
        self.write_kubeconfig(stem, server, &file)?;
        Ok(file)
    }

    /// As [`Authority::kubeconfig`], to another file.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn write_kubeconfig(&self, stem: &str, server: &str, file: &Path) -> Result<()> {
        let data = |name: String| -> Result<String> {
            let path = self.file(&name);
            let bytes = fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
            Ok(base64(&bytes))
        };
        // JSON is YAML, and needs no crate for it.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "devcluster", "cluster": {
                "server": server,
                "certificate-authority-data": data(format!("{AUTHORITY}.crt"))?,
            }}],
            "users": [{"name": stem, "user": {
                "client-certificate-data": data(format!("{stem}.crt"))?,
                "client-key-data": data(format!("{stem}.key"))?,
            }}],
            "contexts": [{"name": "devcluster", "context": {"cluster": "devcluster", "user": stem}}],
            "current-context": "devcluster",
        });
        write_private(file, &format!("{config:#}\n"))
    }
}

fn name(subject: Subject<'_>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, subject.common_name);
    if !subject.organization.is_empty() {
        name.push(DnType::OrganizationName, subject.organization);
    }
    name
}

fn key_in(file: &Path) -> Result<KeyPair> {
    if let Ok(pem) = fs::read_to_string(file) {
        return KeyPair::from_pem(&pem).with_context(|| format!("{} holds no key", file.display()));
    }
    let key = KeyPair::generate()?;
    write_private(file, &key.serialize_pem())?;
    Ok(key)
}

/// Written whole or not at all: half a key would be found by the next run.
fn write_private(file: &Path, text: &str) -> Result<()> {
    let unfinished = file.with_extension("unfinished");
    let open = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished);
    open.with_context(|| format!("could not write {}", file.display()))?.write_all(text.as_bytes())?;
    Ok(fs::rename(&unfinished, file)?)
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let digit = (word >> (18 - 6 * index)) & 0x3f;
            let letter = BASE64.get(digit as usize).filter(|_| index <= chunk.len());
            text.push(letter.map_or('=', |letter| char::from(*letter)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let encoded = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));

        assert_eq!(encoded, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn what_was_issued_is_kept_by_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let admin = Subject { common_name: "admin", organization: "system:masters" };
        let issue = || {
            let authority = Authority::open(dir.path()).unwrap();
            authority.issue("admin", admin, &[]).unwrap();
            authority.service_account_keys().unwrap();
            fs::read_to_string(authority.kubeconfig("admin", "https://127.0.0.1:6443").unwrap()).unwrap()
        };

        assert_eq!(issue(), issue());
    }

    #[test]
    fn nobody_else_can_read_a_key() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path()).unwrap();

        let mode = fs::metadata(authority.file("ca.key")).unwrap().permissions().mode();

        assert_eq!(mode & 0o077, 0);
    }
}
