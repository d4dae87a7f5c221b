//! Who is trusted by https, and why an address could not be asked, in words for people.
//!
//! Trusted is whom the system trusts, or instead of that who stands where `SSL_CERT_FILE` and `SSL_CERT_DIR` point.

use http::Uri;
use orchd_model::Time;
use rustls::pki_types::UnixTime;
use rustls::{CertificateError, InvalidMessage};
use std::io;

/// The variables that name who is trusted.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// What is odd about who is trusted, if anything is.
pub fn doubt() -> Option<String> {
    let found = rustls_native_certs::load_native_certs();
    let nobody = "https hooks trust nobody, so none of them will be delivered";
    let odd = if found.certs.is_empty() { nobody } else { "a part of whom https hooks trust cannot be read" };
    match found.errors.first() {
        Some(error) => Some(format!("{odd}: {error}")),
        None if found.certs.is_empty() => Some(format!("{odd}: no certificate is in {}", store())),
        None => None,
    }
}

/// Where those who are trusted stand.
fn store() -> String {
    let value = |name: &&str| Some(format!("{name}={}", std::env::var_os(name)?.display()));
    let named: Vec<String> = VARIABLES.iter().filter_map(value).collect();
    if named.is_empty() { "the system's store".to_owned() } else { named.join(", ") }
}

/// Why this address could not be asked, on one line, with what would help.
pub fn words(uri: &Uri, error: &ureq::Error) -> String {
    let (what, hint) = match error {
        ureq::Error::Rustls(error) => of_tls(error),
        ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => of_tls(error),
            None => of_connection(uri, error),
        },
        ureq::Error::HostNotFound => ("there is no such host".to_owned(), None),
        error => (error.to_string(), None),
    };
    let hint = hint.map(|hint| format!("; hint: {hint}")).unwrap_or_default();
    format!("{}: {what}{hint}", place(uri))
}

/// The beginning of an address, without who asks.
fn place(uri: &Uri) -> String {
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default())
}

fn of_connection(uri: &Uri, error: &io::Error) -> (String, Option<String>) {
    if error.kind() != io::ErrorKind::UnexpectedEof {
        return (error.to_string(), None);
    }
    let is_plain = uri.scheme_str() == Some("http");
    let hint = is_plain.then(|| "it may be one that is asked by https".to_owned());
    ("the connection was ended without an answer".to_owned(), hint)
}

fn of_tls(error: &rustls::Error) -> (String, Option<String>) {
    match error {
        rustls::Error::InvalidCertificate(error) => {
            let (what, hint) = of_certificate(error);
            (format!("its certificate {what}"), hint)
        }
        rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => (
            "what answers there is no TLS".to_owned(),
            Some("it may be one that is asked by http".to_owned()),
        ),
        // Before anything is asked: nobody is trusted.
        rustls::Error::General(_) => (format!("no certificate is in {}", store()), Some(whom_to_trust())),
        error => (format!("TLS: {error}"), None),
    }
}

fn of_certificate(error: &CertificateError) -> (String, Option<String>) {
    let at = |time: &UnixTime| Time(time.as_secs().saturating_mul(1_000_000)).to_rfc3339();
    match error {
        CertificateError::UnknownIssuer => {
            ("is signed by nobody who is trusted".to_owned(), Some(whom_to_trust()))
        }
        CertificateError::Expired => ("has expired".to_owned(), None),
        CertificateError::ExpiredContext { not_after, .. } => {
            (format!("has expired: {}", at(not_after)), None)
        }
        CertificateError::NotValidYet => ("is not valid yet".to_owned(), None),
        CertificateError::NotValidYetContext { not_before, .. } => {
            (format!("is not valid before {}", at(not_before)), None)
        }
        CertificateError::NotValidForName => ("is for another name".to_owned(), None),
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().map(|name| name_alone(name)).collect();
            (format!("is for another name: {}", names.join(", ")), None)
        }
        // No variant of its own stands for it.
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            let hint = "make it with basicConstraints=CA:FALSE: docs/hooks.md";
            (
                "is one of an authority, which signs others and is not for a server".to_owned(),
                Some(hint.to_owned()),
            )
        }
        CertificateError::Other(other) => (format!("is not accepted: {other}"), None),
        error => (format!("is not accepted: {error}"), None),
    }
}

/// `DnsName("a.example")` as people write it.
fn name_alone(name: &str) -> &str {
    let inner = name.split_once('(').map_or(name, |(_, rest)| rest.trim_end_matches(')'));
    inner.trim_matches('"')
}

fn whom_to_trust() -> String {
    let variables = VARIABLES.join(" or ");
    format!("trusted is who stands in {}; {variables} of the daemon names another place", store())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{OtherError, pki_types::ServerName};
    use std::sync::Arc;

    fn told(url: &str, error: ureq::Error) -> String {
        words(&url.parse().unwrap(), &error)
    }

    fn certificate(error: CertificateError) -> String {
        let error = rustls::Error::InvalidCertificate(error);
        // As it comes through the connection.
        told("https://u:p@a.example:8443/b", io::Error::new(io::ErrorKind::InvalidData, error).into())
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_told_in_words() {
        let text = certificate(CertificateError::UnknownIssuer);
        assert!(text.starts_with(
            "https://a.example:8443: its certificate is signed by nobody who is trusted; hint: "
        ));
        assert!(text.contains("SSL_CERT_FILE or SSL_CERT_DIR"), "{text}");
        let [time, not_after] =
            [2, 1].map(|hours| UnixTime::since_unix_epoch(std::time::Duration::from_secs(hours * 3600)));
        let text = certificate(CertificateError::ExpiredContext { time, not_after });
        assert_eq!(text, "https://a.example:8443: its certificate has expired: 1970-01-01T01:00:00.000000Z");
        let presented = vec!["DnsName(\"other.example\")".to_owned(), "IpAddress(127.0.0.1)".to_owned()];
        let expected = ServerName::try_from("a.example").unwrap();
        let text = certificate(CertificateError::NotValidForNameContext { expected, presented });
        assert!(text.ends_with("its certificate is for another name: other.example, 127.0.0.1"), "{text}");
        let authority = OtherError(Arc::new(io::Error::other("CaUsedAsEndEntity")));
        let text = certificate(CertificateError::Other(authority));
        assert!(text.contains("is one of an authority") && text.contains("CA:FALSE"), "{text}");
    }

    #[test]
    fn who_speaks_the_other_protocol_is_told_so() {
        let no_tls = rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType);
        let text = told("https://a/", ureq::Error::Rustls(no_tls));
        assert_eq!(
            text,
            "https://a: what answers there is no TLS; hint: it may be one that is asked by http"
        );
        let ended = || ureq::Error::Io(io::ErrorKind::UnexpectedEof.into());
        let text = told("http://a:1/", ended());
        let words = "the connection was ended without an answer";
        assert_eq!(text, format!("http://a:1: {words}; hint: it may be one that is asked by https"));
        assert_eq!(told("https://[::1]/", ended()), format!("https://[::1]: {words}"));
    }
}
