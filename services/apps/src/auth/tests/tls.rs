//! An issuer whose certificate an authority of its own has signed.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use devcluster::pki::Authority;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

/// Answers every request with `body`, over TLS.
fn serve(tls: &devcluster::pki::Tls, body: String) -> String {
    messaging::install_tls_provider();
    let chain = vec![CertificateDer::from_pem_file(&tls.certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&tls.key).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let url = format!("https://{}/keys", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A caller that does not trust the certificate hangs up.
            drop(answer(stream.unwrap(), config.clone(), &body));
        }
    });
    url
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>, body: &str) -> std::io::Result<()> {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => request.extend_from_slice(&buffer[..read]),
        }
    }
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())?;
    stream.flush()
}

#[tokio::test]
async fn an_issuer_is_known_by_its_authority() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::named(&dir.path().join("pki"), "authority").unwrap();
    let stranger = Authority::named(&dir.path().join("stranger"), "stranger").unwrap();
    let (signer, issuer) = (Signer::named("one"), "https://id.example");
    let tls = authority.issue_server("issuer", &["127.0.0.1"]).unwrap();
    let url = serve(&tls, json!({"keys": [signer.jwk()]}).to_string());
    let trust = |ca_file: Option<PathBuf>| Trust {
        issuer: issuer.to_owned(),
        audiences: Vec::new(),
        jwks_url: Some(url.parse().unwrap()),
        ca_file,
    };
    let token = signer.token(&json!({"iss": issuer, "exp": now() + 300}));
    // Of several authorities in a file every one is trusted: one takes over from another that way.
    let both = dir.path().join("both.crt");
    let read = |authority: &Authority| std::fs::read_to_string(authority.file("ca.crt")).unwrap();
    std::fs::write(&both, read(&stranger) + &read(&authority)).unwrap();

    let known = Api::trusting(&trust(Some(both))).status(&token).await;
    let unknown = Api::trusting(&trust(Some(stranger.file("ca.crt")))).status(&token).await;
    let nobody = Api::trusting(&trust(None)).status(&token).await;

    assert_eq!((known, unknown), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(nobody, StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn a_file_without_authorities_stops_the_process_at_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("ca.crt");
    std::fs::write(&empty, "nothing of the kind").unwrap();
    let trust = |ca_file: PathBuf| Trust {
        issuer: "https://id.example".to_owned(),
        audiences: Vec::new(),
        jwks_url: None,
        ca_file: Some(ca_file),
    };

    for file in [empty, "/nowhere/ca.crt".into()] {
        let refused = Guard::new(&trust(file)).err().unwrap();

        assert!(refused.to_string().contains("JWT_CA_FILE"), "{refused}");
    }
}
