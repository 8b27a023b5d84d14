//! Charts as SVG: lines over time or over another scale. Everything is an attribute or a class, so
//! that a page with a strict policy for its content shows them.

use maud::{Markup, html};

/// Size of a chart, in units of its own coordinates.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
/// Room for numbers on the left, and for those below.
const LEFT: f64 = 62.0;
const BELOW: f64 = 22.0;
const TOP: f64 = 8.0;
const RIGHT: f64 = 10.0;
/// Most points of a line; further ones would not be seen.
const MOST_POINTS: usize = 720;

/// One line of a chart.
pub(super) struct Line {
    /// Name in the key.
    pub(super) name: &'static str,
    /// Points from left to right; without a number the line is interrupted.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// Scale of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Even scale that begins at zero.
    Linear,
    /// Scale of powers of ten.
    Log,
}

/// A chart of lines.
pub(super) struct Chart<'a> {
    /// Title, which also tells what the numbers are.
    pub(super) title: &'a str,
    /// The lines.
    pub(super) lines: Vec<Line>,
    /// Scale of the numbers.
    pub(super) scale: Scale,
    /// Numbers that must not be passed, with their names.
    pub(super) limits: Vec<(String, f64)>,
    /// Places to mark, with what happened there.
    pub(super) marks: Vec<(f64, String)>,
    /// Places below, with their labels.
    pub(super) ticks: Vec<(f64, String)>,
    /// Writes a number.
    pub(super) number: fn(f64) -> String,
    /// Name of the places, for the table of the data.
    pub(super) across: &'a str,
}

impl Chart<'_> {
    /// Draws the chart, its key, and a table of its data; nothing without a point.
    pub(super) fn draw(&self) -> Markup {
        let Some(frame) = Frame::of(self) else {
            return html! {};
        };
        html! {
            figure {
                figcaption { (self.title) }
                (self.key())
                (self.svg(&frame))
                (self.data())
            }
        }
    }

    fn key(&self) -> Markup {
        html! {
            p {
                @for (nth, line) in self.lines.iter().enumerate() {
                    span.key {
                        svg viewBox="0 0 32 10" aria-hidden="true" {
                            line x1="0" y1="5" x2="32" y2="5" class={"curve c" (nth % 4)} {}
                        }
                        " " (line.name)
                    }
                }
            }
        }
    }

    fn svg(&self, frame: &Frame) -> Markup {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BELOW);
        html! {
            svg viewBox={"0 0 " (WIDTH) " " (HEIGHT)} role="img" aria-label=(self.title) {
                @for value in frame.grid(self.scale) {
                    @let y = frame.y(value, self.scale);
                    line.grid x1=(LEFT) y1=(at(y)) x2=(right) y2=(at(y)) {}
                    text x=(LEFT - 6.0) y=(at(y + 4.0)) text-anchor="end" { ((self.number)(value)) }
                }
                @for (place, label) in &self.ticks {
                    @let x = frame.x(*place);
                    text x=(at(x)) y=(HEIGHT - 6.0) text-anchor="middle" { (label) }
                }
                path.axis d={"M" (LEFT) " " (TOP) "V" (bottom) "H" (right)} {}
                @for (place, what) in &self.marks {
                    @let x = frame.x(*place);
                    line.mark x1=(at(x)) y1=(TOP) x2=(at(x)) y2=(bottom) { title { (what) } }
                }
                @for (name, value) in &self.limits {
                    @if frame.holds(*value) {
                        @let y = frame.y(*value, self.scale);
                        line.limit x1=(LEFT) y1=(at(y)) x2=(right) y2=(at(y)) { title { (name) } }
                    }
                }
                @for (nth, line) in self.lines.iter().enumerate() {
                    path class={"curve c" (nth % 4)} d=(frame.path(&line.points, self.scale)) {
                        title { (line.name) }
                    }
                }
            }
        }
    }

    fn data(&self) -> Markup {
        let places: Vec<f64> = self.lines.first().map_or_else(Vec::new, |line| {
            thinned(&line.points).map(|(place, _)| place).collect()
        });
        let numbers: Vec<Vec<Option<f64>>> = self
            .lines
            .iter()
            .map(|line| thinned(&line.points).map(|(_, number)| number).collect())
            .collect();
        html! {
            details {
                summary { "Show data" }
                div.wide {
                    table {
                        thead { tr {
                            th.number { (self.across) }
                            @for line in &self.lines { th.number { (line.name) } }
                        } }
                        tbody {
                            @for (row, place) in places.iter().enumerate() {
                                tr {
                                    td.number { (short(*place)) }
                                    @for numbers in &numbers {
                                        td.number {
                                            @match numbers.get(row).copied().flatten() {
                                                Some(number) => { ((self.number)(number)) }
                                                None => { "-" }
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Bounds of what a chart shows.
struct Frame {
    first: f64,
    last: f64,
    low: f64,
    high: f64,
}

impl Frame {
    fn of(chart: &Chart<'_>) -> Option<Self> {
        let all = || chart.lines.iter().flat_map(|line| &line.points);
        let numbers = || all().filter_map(|(_, number)| *number);
        let limits = chart.limits.iter().map(|(_, value)| *value);
        let first = all().map(|(place, _)| *place).reduce(f64::min)?;
        let last = all().map(|(place, _)| *place).reduce(f64::max)?;
        let high = numbers().reduce(f64::max)?;
        // a limit far above would flatten the lines
        let high = limits
            .filter(|limit| *limit < 4.0 * high)
            .fold(high, f64::max);
        let above_zero = numbers().filter(|number| *number > 0.0);
        let lowest = above_zero.reduce(f64::min).unwrap_or(1.0);
        let (low, high) = match chart.scale {
            Scale::Linear => (0.0, if high > 0.0 { high * 1.05 } else { 1.0 }),
            Scale::Log => (
                10_f64.powf(lowest.log10().floor()),
                10_f64.powf(high.max(lowest * 1.001).log10().ceil()),
            ),
        };
        Some(Self {
            first,
            last: if last > first { last } else { first + 1.0 },
            low,
            high,
        })
    }

    fn x(&self, place: f64) -> f64 {
        let share = (place - self.first) / (self.last - self.first);
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - RIGHT - LEFT)
    }

    fn y(&self, number: f64, scale: Scale) -> f64 {
        let share = match scale {
            Scale::Linear => (number - self.low) / (self.high - self.low),
            Scale::Log => {
                let number = number.max(self.low);
                (number / self.low).log10() / (self.high / self.low).log10()
            }
        };
        HEIGHT - BELOW - share.clamp(0.0, 1.0) * (HEIGHT - BELOW - TOP)
    }

    fn holds(&self, number: f64) -> bool {
        (self.low..=self.high).contains(&number)
    }

    /// Numbers at which lines go across.
    fn grid(&self, scale: Scale) -> Vec<f64> {
        match scale {
            Scale::Linear => {
                let step = round_step(self.high / 4.0);
                let count = (self.high / step).floor() as u32;
                (0..=count.min(10))
                    .map(|nth| step * f64::from(nth))
                    .collect()
            }
            Scale::Log => {
                let powers = self.low.log10().round() as i32..=self.high.log10().round() as i32;
                powers.map(|power| 10_f64.powi(power)).collect()
            }
        }
    }

    fn path(&self, points: &[(f64, Option<f64>)], scale: Scale) -> String {
        let mut path = String::new();
        let mut is_drawing = false;
        for (place, number) in thinned(points) {
            let Some(number) = number else {
                is_drawing = false;
                continue;
            };
            let command = if is_drawing { 'L' } else { 'M' };
            let (x, y) = (at(self.x(place)), at(self.y(number, scale)));
            path.push_str(&format!("{command}{x} {y}"));
            is_drawing = true;
        }
        path
    }
}

/// Leaves points out of a long line: of several side by side the largest stays.
fn thinned(points: &[(f64, Option<f64>)]) -> impl Iterator<Item = (f64, Option<f64>)> {
    let each = points.len().div_ceil(MOST_POINTS).max(1);
    points.chunks(each).filter_map(|chunk| {
        chunk
            .iter()
            .copied()
            .max_by(|(_, a), (_, b)| a.unwrap_or(-1.0).total_cmp(&b.unwrap_or(-1.0)))
    })
}

/// The next of 1, 2, 2.5, 5 and 10 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factors = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter();
    let mut steps = factors.map(|factor| factor * power);
    steps
        .find(|round| *round >= step * 0.999)
        .unwrap_or(10.0 * power)
}

/// Writes a coordinate to a tenth.
fn at(coordinate: f64) -> String {
    let text = format!("{coordinate:.1}");
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

fn short(place: f64) -> String {
    let text = format!("{place:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, Option<f64>)>, scale: Scale) -> String {
        let chart = Chart {
            title: "t",
            lines: vec![Line { name: "l", points }],
            scale,
            limits: vec![],
            marks: vec![],
            ticks: vec![],
            number: |number| number.to_string(),
            across: "second",
        };
        chart.draw().into_string()
    }

    #[test]
    fn a_chart_without_a_number_is_none() {
        assert_eq!(chart(vec![], Scale::Linear), "");
        assert_eq!(chart(vec![(0.0, None)], Scale::Log), "");
    }

    #[test]
    fn a_line_is_interrupted_where_there_is_no_number() {
        let drawn = chart(
            vec![
                (0.0, Some(1.0)),
                (1.0, None),
                (2.0, Some(2.0)),
                (3.0, Some(1.0)),
            ],
            Scale::Linear,
        );
        let path = drawn.split("d=\"").find(|part| part.contains('L')).unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
    }

    #[test]
    fn one_point_zero_and_large_numbers_are_drawn_within_the_frame() {
        for scale in [Scale::Linear, Scale::Log] {
            for number in [0.0, 1e-9, 1.0, 1e15] {
                let drawn = chart(vec![(5.0, Some(number))], scale);
                assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
            }
        }
    }

    #[test]
    fn of_a_long_line_the_largest_numbers_stay() {
        let mut points: Vec<_> = (0..100_000).map(|n| (f64::from(n), Some(1.0))).collect();
        points[77_777].1 = Some(9.0);
        let thin: Vec<_> = thinned(&points).collect();
        assert!(thin.len() <= MOST_POINTS);
        assert!(thin.contains(&(77_777.0, Some(9.0))));
    }

    #[test]
    fn grid_lines_are_at_round_numbers() {
        assert_eq!(
            [0.7, 3.0, 24.0, 26.0].map(round_step),
            [1.0, 5.0, 25.0, 50.0]
        );
    }
}
