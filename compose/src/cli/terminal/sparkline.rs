//! Samples as a line of bars: `▁▂▃▄▅▆▇█`.

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last `width` of `samples`, the newest at the right end, with `ceiling` as the whole height of a bar.
///
/// The line is always `width` characters long. A blank is where there is no sample, the lowest bar is next to nothing.
#[must_use]
pub fn sparkline<S>(samples: S, ceiling: f64, width: usize) -> String
where
    S: DoubleEndedIterator<Item = Option<f64>> + ExactSizeIterator,
{
    let missing = width.saturating_sub(samples.len());
    let from = samples.len().saturating_sub(width);
    let bars = samples.skip(from).map(|sample| sample.map_or(' ', |sample| bar(sample, ceiling)));
    std::iter::repeat_n(' ', missing).chain(bars).collect()
}

fn bar(sample: f64, ceiling: f64) -> char {
    let share = if ceiling > 0.0 { sample / ceiling } else { 0.0 };
    // What is no number counts as nothing.
    let bounds = [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0].map(|bound: f64| bound / 14.0);
    BARS[bounds.iter().filter(|bound| share >= **bound).count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_sample_is_at_the_right_end() {
        let samples = [Some(0.0), Some(7.0), None, Some(14.0)];
        for (width, line) in [(0, ""), (1, "█"), (2, " █"), (4, "▁▅ █"), (6, "  ▁▅ █")]
        {
            assert_eq!(sparkline(samples.into_iter(), 14.0, width), line, "{width}");
        }
    }

    #[test]
    fn every_sample_has_a_bar() {
        let samples = [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0, 1.0, 2.0, 99.0, f64::INFINITY];
        let line = sparkline(samples.into_iter().map(Some), 2.0, 8);
        assert_eq!(line, "▁▁▁▁▅███");
        assert_eq!(sparkline([Some(0.0), Some(1.0)].into_iter(), 0.0, 2), "▁▁");
    }
}
