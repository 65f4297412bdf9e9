//! The cryptography under TLS.

/// Makes ring the process's provider of cryptography, unless it has one. Every HTTP client needs one before it is
/// made, also one that never leaves plain HTTP.
pub fn install_tls_provider() {
    // Fails when there is one already, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
}
