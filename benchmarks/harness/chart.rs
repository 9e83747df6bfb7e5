//! The ratios as a picture: a bar for each row from 1 to its ratio, on a logarithmic scale.

use crate::job::{Target, Unit};
use crate::report::{Line, Report};
use std::fmt::Write;

const LINE: usize = 17;
const TOP: usize = 64;
const LEFT: f64 = 250.0;
const WIDTH: f64 = 560.0;
/// The powers of ten where the scale begins and ends; what lies beyond stands at its edge.
const FROM: f64 = -2.0;
const TO: f64 = 1.5;

/// Where a ratio is.
fn x(ratio: f64) -> f64 {
    let position = (ratio.log10().clamp(FROM, TO) - FROM) / (TO - FROM);
    LEFT + position * WIDTH
}

/// The whole picture, as SVG.
pub fn svg(report: &Report) -> String {
    let lines: Vec<_> = report
        .rows
        .iter()
        // Of memory the difference counts, which has no place on this scale.
        .filter(|line| line.unit != Unit::Mebibytes)
        .filter_map(|line| Some((line, *line.ratios.get("bastide")?)))
        .collect();
    let bottom = TOP + lines.len() * LINE;
    let (width, height) = (LEFT + WIDTH + 70.0, bottom + 26);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"14\" font-weight=\"bold\">Bastide beside native: \
         left of 1 is better than native</text>\n\
         <text x=\"10\" y=\"38\" fill=\"#555\">Green meets its target (the black stroke), red does \
         not, grey has none; a circle is gVisor. Commit {}, {}.</text>\n",
        report.machine.commit, report.machine.date
    );
    for mark in [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0] {
        let (x, colour) = (x(mark), if mark == 1.0 { "#555" } else { "#ddd" });
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {}V{bottom}\" stroke=\"{colour}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#555\">{mark}</text>",
            TOP - 4,
            bottom + 16
        );
    }
    for (number, (line, ratio)) in lines.into_iter().enumerate() {
        bar(&mut svg, line, ratio, TOP + number * LINE);
    }
    svg + "</svg>\n"
}

fn bar(svg: &mut String, line: &Line, ratio: f64, y: usize) {
    let colour = match line.met {
        Some(true) => "#3a9d5d",
        Some(false) => "#d0453f",
        None => "#8a93a0",
    };
    let (one, end, middle) = (x(1.0), x(ratio), y + LINE / 2);
    let (start, length) = (one.min(end), (one - end).abs());
    let _ = writeln!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
         <rect x=\"{start:.1}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"{colour}\"/>\
         <text x=\"{}\" y=\"{}\" fill=\"#333\">{ratio:.2}</text>",
        LEFT - 8.0,
        middle + 4,
        line.name,
        y + 2,
        LINE - 4,
        LEFT + WIDTH + 10.0,
        middle + 4
    );
    if let Some(Target::Ratio(most) | Target::RatioAndBelow(most, _)) = line.target {
        let x = x(most);
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.1} {}v{}\" stroke=\"#000\" stroke-width=\"2\"/>",
            y + 1,
            LINE - 2
        );
    }
    if let Some(ratio) = line.ratios.get("gvisor") {
        let x = x(*ratio);
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{middle}\" r=\"4\" fill=\"none\" stroke=\"#345\"/>"
        );
    }
}
