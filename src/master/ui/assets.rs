//! The files of the page, as they were when the program was built.

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A file of the page.
pub struct Asset {
    /// Name, which is its address.
    pub name: &'static str,
    /// Content.
    pub plain: &'static [u8],
    /// Content as gzip.
    pub packed: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/web_assets.rs"));

/// Name of the file that is the page itself.
const INDEX: &str = "index.html";

/// Page of a program that was built without the others.
const NONE: &str = "<!doctype html>
<html lang=\"en\">
<head><meta charset=\"utf-8\"><title>Starling</title></head>
<body>
<h1>This program was built without its web UI</h1>
<p>Build the UI with <code>make web</code>, which needs Node 20 or newer, and the program again.
Images and releases have the UI. The run goes on all the same; with the token,
<a href=\"api/v1/progress\">api/v1/progress</a> and <a href=\"api/v1/result\">api/v1/result</a> answer
as JSON.</p>
</body>
</html>
";

/// Answers with the file named `name`; the empty name is the page itself.
pub fn answer(name: &str, headers: &HeaderMap) -> Response {
    of(ASSETS, name, headers)
}

fn of(assets: &[Asset], name: &str, headers: &HeaderMap) -> Response {
    let name = if name.is_empty() { INDEX } else { name };
    let Some(asset) = assets.iter().find(|asset| asset.name == name) else {
        return match name {
            INDEX => ([(header::CONTENT_TYPE, type_of(INDEX))], NONE).into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        };
    };
    let accepted = headers.get(header::ACCEPT_ENCODING);
    let takes_gzip = accepted.is_some_and(|value| {
        let value = value.to_str().unwrap_or_default();
        value.split(',').any(|coding| coding.trim() == "gzip")
    });
    let common = [
        (header::CONTENT_TYPE, type_of(name)),
        (header::CACHE_CONTROL, "no-cache"),
        (header::VARY, "accept-encoding"),
    ];
    if takes_gzip {
        let packed = [(header::CONTENT_ENCODING, "gzip")];
        (common, packed, Body::from(asset.packed)).into_response()
    } else {
        (common, Body::from(asset.plain)).into_response()
    }
}

fn type_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    const ONE: &[Asset] = &[Asset {
        name: "app.js",
        plain: b"plain",
        packed: b"packed",
    }];

    async fn ask(name: &str, accepted: Option<&str>) -> (StatusCode, Option<String>, Vec<u8>) {
        let headers = accepted.map(|value| (header::ACCEPT_ENCODING, value.parse().unwrap()));
        let response = of(ONE, name, &headers.into_iter().collect());
        let status = response.status();
        let coding = response.headers().get(header::CONTENT_ENCODING);
        let coding = coding.map(|value| value.to_str().unwrap().to_owned());
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, coding, body.to_vec())
    }

    #[tokio::test]
    async fn a_file_goes_packed_to_whoever_takes_it_packed() {
        let (status, coding, body) = ask("app.js", Some("br, gzip")).await;
        assert_eq!((status, coding.as_deref()), (StatusCode::OK, Some("gzip")));
        assert_eq!(body, b"packed");
        let (_, coding, body) = ask("app.js", None).await;
        assert_eq!((coding, body), (None, b"plain".to_vec()));
        assert_eq!(ask("../etc/passwd", None).await.0, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn a_program_without_the_ui_says_how_to_get_it() {
        let (status, _, body) = ask("", None).await;
        assert_eq!(status, StatusCode::OK);
        assert!(String::from_utf8(body).unwrap().contains("make web"));
    }
}
