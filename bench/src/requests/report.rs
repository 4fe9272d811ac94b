//! The figures of a run, as a table or as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::load::Measured;

/// The row that the others are compared with.
pub(crate) const FLOOR: &str = "nothing (hyper, rustls)";

#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    #[serde(flatten)]
    pub(crate) measured: Measured,
    /// Changes of one commit, on average; None: there were no commits.
    pub(crate) gathered: Option<f64>,
    /// After the row.
    pub(crate) resident_kib: u64,
}

#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) cores: usize,
    pub(crate) server_cores: usize,
    /// Before the run: who else wants the cores.
    pub(crate) load_average: f64,
    /// Of the disk alone: 4 KiB, `fdatasync`.
    pub(crate) syncs_per_second: f64,
    pub(crate) ready_after_ms: f64,
    pub(crate) idle_kib: u64,
    pub(crate) after_kib: u64,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    fn find(&self, name: &str, connections: usize) -> Option<&Measured> {
        let found = self.rows.iter().map(|row| (row.name, &row.measured));
        found.filter(|(n, m)| *n == name && m.connections == connections).map(|(_, m)| m).next()
    }

    /// Rows of one run against each other: (what, how many times).
    fn ratios(&self) -> Vec<(&'static str, f64)> {
        let cpu = |name, connections| Some(self.find(name, connections)?.server_cpu_us);
        let rate = |name, connections| Some(self.find(name, connections)?.per_second);
        let over = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
        let floor = cpu(FLOOR, 16);
        [
            ("CPU of a get against nothing", over(cpu("get", 16), floor)),
            ("CPU of a set against nothing", over(cpu("set, one vault", 64), floor)),
            ("rate of 64 writers against 1, one vault (must be 5)", {
                over(rate("set, one vault", 64), rate("set, one vault", 1))
            }),
            ("rate of 64 writers, 16 vaults against one", {
                over(rate("set, 16 vaults", 64), rate("set, one vault", 64))
            }),
        ]
        .into_iter()
        .filter_map(|(what, ratio)| Some((what, ratio?)))
        .collect()
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "{} cores, {} of them for the server; load average before the run {:.1}; {:.0} syncs/s of 4 KiB on this disk\n\n",
            self.cores, self.server_cores, self.load_average, self.syncs_per_second
        );
        text += "what                     conns        /s    p50 us    p99 us  CPU us/req  server busy  gathered  RSS MiB\n";
        for Row { name, measured, gathered, resident_kib } in &self.rows {
            let gathered = gathered.map_or_else(|| "-".to_owned(), |changes| format!("{changes:.1}"));
            let Measured { connections, per_second, p50_us, p99_us, server_cpu_us, server_busy } = measured;
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{name:24} {connections:5} {per_second:9.0} {p50_us:9.0} {p99_us:9.0} {server_cpu_us:11.1} {:11.0}% {gathered:>9} {:8.1}",
                server_busy * 100.0,
                *resident_kib as f64 / 1024.0,
            );
        }
        text.push('\n');
        for (what, ratio) in self.ratios() {
            let _ = writeln!(text, "{what}: {ratio:.1} times");
        }
        let _ = writeln!(
            text,
            "valv dev ready after {:.0} ms; memory {:.1} MiB idle, {:.1} MiB after the run",
            self.ready_after_ms,
            self.idle_kib as f64 / 1024.0,
            self.after_kib as f64 / 1024.0
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, connections: usize, per_second: f64, server_cpu_us: f64) -> Row {
        let measured =
            Measured { connections, per_second, p50_us: 1.0, p99_us: 2.0, server_cpu_us, server_busy: 0.5 };
        Row { name, measured, gathered: None, resident_kib: 1024 }
    }

    fn report(rows: Vec<Row>) -> Report {
        Report {
            cores: 4,
            server_cores: 1,
            load_average: 0.0,
            syncs_per_second: 1.0,
            ready_after_ms: 1.0,
            idle_kib: 1,
            after_kib: 1,
            rows,
        }
    }

    #[test]
    fn ratios_are_between_the_rows_they_name() {
        let report = report(vec![
            row(FLOOR, 16, 1.0, 10.0),
            row("get", 1, 1.0, 99.0),
            row("get", 16, 1.0, 25.0),
            row("set, one vault", 1, 100.0, 300.0),
            row("set, one vault", 64, 900.0, 80.0),
            row("set, 16 vaults", 64, 450.0, 1.0),
        ]);
        let ratios: Vec<f64> = report.ratios().into_iter().map(|(_, ratio)| ratio).collect();
        assert_eq!(ratios, [2.5, 8.0, 9.0, 0.5]);
        assert!(report.table().contains("(must be 5): 9.0 times"));
    }

    #[test]
    fn a_ratio_without_its_rows_is_left_out() {
        assert!(report(vec![row("get", 16, 1.0, 25.0)]).ratios().is_empty());
    }
}
