//! A page of text: lines, headings and labelled entries, at most [`WIDTH`] wide.

use super::{Style, WIDTH, clean};

/// Columns before the value of an entry: two of indentation, the label, and at least one space.
pub(super) const LABEL: usize = 14;

/// Ways to make text stand out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Colour {
    /// Good news.
    Green,
    /// A failure.
    Red,
    /// Something to look at.
    Yellow,
    /// A heading.
    Bold,
}

/// The report so far.
pub(super) struct Page {
    /// Whole lines, each ended.
    pub(super) text: String,
    /// Markup of the report.
    pub(super) style: Style,
}

impl Page {
    /// Adds a line, without the spaces at its end.
    pub(super) fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// Adds an empty line and a heading in bold type.
    pub(super) fn heading(&mut self, text: &str) {
        self.text.push('\n');
        let heading = self.paint(Colour::Bold, text.trim_end());
        self.line(&heading);
    }

    /// Adds `  label       text`, wrapped to as many lines as it takes and cleaned of what could
    /// steer the terminal.
    pub(super) fn entry(&mut self, label: &str, text: &str) {
        let mut label = label;
        for part in wrap(&clean(text), WIDTH - LABEL) {
            self.line(&format!("  {label:<width$}{part}", width = LABEL - 2));
            label = "";
        }
    }

    /// Puts the escape codes of a colour around `text`, where the style has any.
    pub(super) fn paint(&self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Green => "32;1",
            Colour::Red => "31;1",
            Colour::Yellow => "33;1",
            Colour::Bold => "1",
        };
        match self.style {
            Style::Plain => text.to_owned(),
            Style::Coloured => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// Cuts `text` to its last `width` characters, since the end of a step's path tells more than its
/// beginning; `…` marks the cut.
pub(super) fn end_of(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        text.to_owned()
    } else {
        std::iter::once('…')
            .chain(text.chars().skip(length + 1 - width))
            .collect()
    }
}

/// Breaks `text` into lines of at most `width` characters, at the last space in the second half of
/// a line where there is one; always at least one line.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.trim_end().chars().collect();
    while rest.len() > width {
        let space = rest[..=width]
            .iter()
            .rposition(|c| *c == ' ')
            .filter(|at| *at > width / 2);
        let tail = rest.split_off(space.unwrap_or(width));
        lines.push(rest.into_iter().collect::<String>().trim_end().to_owned());
        rest = tail.into_iter().skip_while(|c| *c == ' ').collect();
    }
    lines.push(rest.into_iter().collect());
    lines
}
