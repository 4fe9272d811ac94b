//! What a person sees: the live line of each second, the figures, and one self-contained HTML page.

use std::fmt::Write as _;

use super::figures::{Figures, READ_MAX_MS, Second, Tried};

/// What a colour stands for, the colour, and how many there were.
type Band = (&'static str, &'static str, fn(&Second) -> u32);

/// Colours of the timeline, by what they stand for; the page's legend says the same.
const BANDS: [Band; 6] = [
    ("reads answered by the home region", "#2f7d5b", |s| s.home),
    ("reads answered by the paired region", "#3d6fb4", |s| s.pair),
    ("writes done", "#8fbf9f", |s| s.written),
    ("writes refused (read-only)", "#e0b43c", |s| s.refused),
    ("writes of unknown outcome", "#b07cc6", |s| s.unknown),
    ("reads failed", "#c8372d", |s| s.failed),
];

/// The heading of the live timeline.
pub const HEADING: &str = "   s   home   pair  written  refused  unknown  failed";

/// One line of the live timeline.
pub fn second(at: u64, of: &Second, note: &str) -> String {
    format!(
        "{at:>4} {:>6} {:>6} {:>8} {:>8} {:>8} {:>7}  {note}",
        of.home, of.pair, of.written, of.refused, of.unknown, of.failed
    )
    .trim_end()
    .to_owned()
}

/// The figures as lines of text.
pub fn text(figures: &Figures) -> String {
    let mut text = String::new();
    let ms = |value: Option<u64>| value.map_or("-".to_owned(), |ms| format!("{ms} ms"));
    let lines = [
        ("first answer by the paired region after the loss", ms(figures.first_replica_answer_ms)),
        ("slowest read while lost", format!("{} ms", figures.slowest_read_ms)),
        ("reads while lost, p50 and p99", format!("{} ms, {} ms", figures.read_p50_ms, figures.read_p99_ms)),
        ("writes again after the return", ms(figures.writes_again_ms)),
        ("last answer by the paired region after the return", ms(figures.reads_home_again_ms)),
        ("replica's lag at the loss", ms(figures.lag_at_loss_ms)),
    ];
    for (what, figure) in lines {
        let _ = writeln!(text, "  {what:<52} {figure}");
    }
    let _ = writeln!(text, "\nThe promise:");
    for point in &figures.promise {
        let word = if point.held { "held  " } else { "BROKEN" };
        let _ = writeln!(text, "  {word}  {}: {}", point.promise, point.measured);
    }
    for (why, count) in &figures.failures {
        let _ = writeln!(text, "          {count} x {why}");
    }
    let _ = writeln!(
        text,
        "\n  {:<26} {:<14} {:<14} {:<14} after",
        "operation", "before", "expected lost", "lost"
    );
    for tried in &figures.operations {
        let Tried { operation, expected, before, lost, after, right, .. } = tried;
        let mark = if *right { "" } else { "  <- not as expected" };
        let _ = writeln!(text, "  {operation:<26} {before:<14} {expected:<14} {lost:<14} {after}{mark}");
    }
    text
}

/// The whole page.
pub fn page(figures: &Figures) -> String {
    let held = figures.held();
    let verdict = if held { "The promise held" } else { "The promise was broken" };
    let Figures { fault, home, pair, rate, .. } = figures;
    let mut points = String::new();
    for point in &figures.promise {
        let (class, word) = if point.held { ("held", "held") } else { ("broken", "broken") };
        let _ = write!(
            points,
            "<tr class=\"{class}\"><td>{word}</td><td>{}</td><td>{}</td></tr>",
            escaped(point.promise),
            escaped(&point.measured)
        );
    }
    let mut failures = String::new();
    for (why, count) in &figures.failures {
        let _ = write!(failures, "<li>{count} &times; {}</li>", escaped(why));
    }
    if !failures.is_empty() {
        failures = format!("<h2>Why reads failed</h2><ul>{failures}</ul>");
    }
    let mut operations = String::new();
    for tried in &figures.operations {
        let class = if tried.right { "held" } else { "broken" };
        let effect = if tried.writes { "write" } else { "read" };
        let _ = write!(
            operations,
            "<tr class=\"{class}\"><td>{}</td><td>{effect}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            tried.operation,
            escaped(&tried.before),
            escaped(&tried.expected),
            escaped(&tried.lost),
            escaped(&tried.after)
        );
    }
    let ms = |value: Option<u64>| value.map_or("never".to_owned(), |ms| format!("{ms} ms"));
    let tiles: String = [
        (ms(figures.first_replica_answer_ms), "to the first answer of the paired region"),
        (format!("{} ms", figures.slowest_read_ms), "slowest read while the region was lost"),
        (figures.total.failed.to_string(), "reads failed"),
        (figures.compared.missing.len().to_string(), "acknowledged writes missing"),
        (ms(figures.writes_again_ms), "from the return to the next write"),
        (figures.lag_at_loss_ms.map_or("-".to_owned(), |ms| format!("{ms} ms")), "replica's lag at the loss"),
    ]
    .iter()
    .map(|(figure, what)| format!("<div class=\"tile\"><b>{figure}</b><span>{what}</span></div>"))
    .collect();
    let legend: String = BANDS
        .iter()
        .map(|(what, colour, _)| format!("<span><i style=\"background:{colour}\"></i>{what}</span>"))
        .collect();
    let picture = picture(figures);
    let class = if held { "held" } else { "broken" };
    format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Valv rehearsal: {home} lost ({fault})</title>
<style>
:root {{ color-scheme: light dark; --ink: #1c2430; --paper: #fbfaf7; --line: #d9d5cb; --soft: #6b7280; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink: #e8e6e1; --paper: #14181f; --line: #333a46; --soft: #9aa3b2; }} }}
body {{ font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.6rem; margin: 0; }} h2 {{ font-size: 1.1rem; margin: 2rem 0 .5rem; }}
.verdict {{ font-size: 1.1rem; font-weight: 600; padding: .1rem .6rem; border-radius: 4px; color: #fff; }}
.verdict.held {{ background: #2f7d5b; }} .verdict.broken {{ background: #c8372d; }}
.tiles {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .75rem; margin: 1rem 0; }}
.tile {{ border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; }}
.tile b {{ display: block; font-size: 1.35rem; }} .tile span {{ color: var(--soft); font-size: .85rem; }}
.legend {{ display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; font-size: .85rem; }}
.legend i {{ display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px; }}
svg {{ width: 100%; height: auto; }} svg text {{ fill: var(--soft); font-size: 11px; }} svg .axis {{ stroke: var(--line); }} svg .mark {{ stroke: var(--ink); stroke-dasharray: 4 3; }}
svg .marktext {{ fill: var(--ink); font-size: 12px; }}
table {{ border-collapse: collapse; width: 100%; font-size: .9rem; }} th, td {{ text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); }}
tr.held td:first-child {{ box-shadow: inset 3px 0 #2f7d5b; }} tr.broken td {{ font-weight: 600; }} tr.broken td:first-child {{ box-shadow: inset 3px 0 #c8372d; }}
p {{ color: var(--soft); }}
</style></head><body>
<h1>Rehearsal: the region {home} is lost</h1>
<p>Fault: {fault}. Home region {home}, paired region {pair}; {rate} requests a second through one gateway, over old and new connections, nothing retried.</p>
<p><span class="verdict {class}">{verdict}</span></p>
<div class="tiles">{tiles}</div>
<h2>Timeline</h2>
{picture}
<div class="legend">{legend}</div>
<h2>The promise</h2>
<table><tr><th></th><th>promised</th><th>measured</th></tr>{points}</table>
{failures}
<h2>Every operation</h2>
<p>Each was tried before the loss, while the region was lost, and after its return. &ldquo;503 read-only&rdquo; is Azure's refusal in read-only mode.</p>
<table><tr><th>operation</th><th>effect</th><th>before</th><th>expected while lost</th><th>while lost</th><th>after</th></tr>{operations}</table>
</body></html>
"#
    )
}

/// The timeline: one bar a second, and what happened when.
fn picture(figures: &Figures) -> String {
    const WIDTH: f64 = 1040.0;
    const HEIGHT: f64 = 280.0;
    const LEFT: f64 = 40.0;
    const TOP: f64 = 34.0;
    const BOTTOM: f64 = 24.0;
    let seconds = figures.seconds.len().max(1) as f64;
    let most =
        figures.seconds.iter().map(|s| BANDS.iter().map(|band| (band.2)(s)).sum()).max().unwrap_or(1u32);
    let (wide, high) = ((WIDTH - LEFT) / seconds, HEIGHT - TOP - BOTTOM);
    let scale = high / f64::from(most.max(1));
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"requests per second by who answered them\">"
    );
    for part in 0..=4u32 {
        let value = most * part / 4;
        let y = HEIGHT - BOTTOM - f64::from(value) * scale;
        let _ = write!(
            svg,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            LEFT - 5.0,
            y + 4.0
        );
    }
    for (at, second) in figures.seconds.iter().enumerate() {
        let x = LEFT + at as f64 * wide;
        let mut y = HEIGHT - BOTTOM;
        for (what, colour, count) in BANDS {
            let count = count(second);
            if count > 0 {
                let tall = f64::from(count) * scale;
                y -= tall;
                let _ = write!(
                    svg,
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{tall:.1}\" fill=\"{colour}\"><title>second {at}: {count} {what}</title></rect>",
                    (wide - 1.0).max(0.5)
                );
            }
        }
        if at % 5 == 0 {
            let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{:.0}\">{at} s</text>", HEIGHT - 8.0);
        }
    }
    let moments = figures.moments;
    for (at, what) in [(moments.lost_ms, "region lost"), (moments.returned_ms, "region returned")] {
        let x = LEFT + at as f64 / 1000.0 * wide;
        let _ = write!(
            svg,
            "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"18\" y2=\"{:.0}\"/><text class=\"marktext\" x=\"{:.1}\" y=\"14\">{what}</text>",
            HEIGHT - BOTTOM,
            x + 4.0
        );
    }
    svg.push_str("</svg>");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The live line's note: how slow reads were, if they were.
pub fn slow(took_ms: u64) -> String {
    if took_ms > READ_MAX_MS / 4 { format!("slowest read {took_ms} ms") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_escaped() {
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
