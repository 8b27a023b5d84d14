//! The result of a run as files, for those who watch it.

use std::io;

use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::contract::Download;
use crate::report::csv::{self, Kind};
use crate::report::{html, junit, markdown};
use crate::stats::RunResult;

/// A form of the result.
struct Form {
    /// Last part of its address.
    name: &'static str,
    /// Address, relative to the page.
    href: &'static str,
    /// Words of the link.
    label: &'static str,
    /// End of the file's name, behind the id of the run.
    suffix: &'static str,
    media_type: &'static str,
    render: fn(&RunResult) -> io::Result<String>,
}

const CSV: &str = "text/csv; charset=utf-8";

/// Forms beside JSON, which `api/v1/result` answers.
const FORMS: [Form; 6] = [
    Form {
        name: "html",
        href: "api/v1/ui/files/html",
        label: "HTML",
        suffix: ".html",
        media_type: "text/html; charset=utf-8",
        render: |result| Ok(html::render(result)),
    },
    Form {
        name: "stats",
        href: "api/v1/ui/files/stats",
        label: "CSV",
        suffix: "_stats.csv",
        media_type: CSV,
        render: |result| table(result, Kind::Stats),
    },
    Form {
        name: "history",
        href: "api/v1/ui/files/history",
        label: "CSV over time",
        suffix: "_stats_history.csv",
        media_type: CSV,
        render: |result| table(result, Kind::History),
    },
    Form {
        name: "failures",
        href: "api/v1/ui/files/failures",
        label: "CSV of failures",
        suffix: "_failures.csv",
        media_type: CSV,
        render: |result| table(result, Kind::Failures),
    },
    Form {
        name: "junit",
        href: "api/v1/ui/files/junit",
        label: "JUnit",
        suffix: ".junit.xml",
        media_type: "application/xml",
        render: |result| junit::render(std::slice::from_ref(result)),
    },
    Form {
        name: "markdown",
        href: "api/v1/ui/files/markdown",
        label: "Markdown",
        suffix: ".md",
        media_type: "text/markdown; charset=utf-8",
        render: |result| Ok(markdown::render(result)),
    },
];

fn table(result: &RunResult, kind: Kind) -> io::Result<String> {
    csv::render(result, kind).map_err(io::Error::other)
}

/// Lists the files that there are when the run is over.
pub fn list(run: &str) -> Vec<Download> {
    let json = Download {
        label: "JSON",
        href: "api/v1/result",
        file: format!("{run}.json"),
    };
    let others = FORMS.iter().map(|form| Download {
        label: form.label,
        href: form.href,
        file: format!("{run}{}", form.suffix),
    });
    std::iter::once(json).chain(others).collect()
}

/// Answers with the form called `name`; `None` for another name. It is for keeping: a browser that is
/// led there shows nothing of it in the page's name.
pub fn answer(name: &str, result: &RunResult) -> Option<io::Result<Response>> {
    let form = FORMS.iter().find(|form| form.name == name)?;
    let file = format!("attachment; filename=\"{}{}\"", result.run, form.suffix);
    let headers = [
        (header::CONTENT_TYPE, form.media_type.to_owned()),
        (header::CONTENT_DISPOSITION, file),
    ];
    Some((form.render)(result).map(|text| (headers, text).into_response()))
}
