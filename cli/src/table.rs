//! Columns of text.

/// Rows as columns, three spaces apart as kubectl does it, the last one as long as it is.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..header.len())
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .chain([header[column].chars().count()])
                .max()
                .unwrap_or_default()
        })
        .collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (cell, width) in cells.zip(&widths) {
            line.push_str(&format!("{cell:<width$}   "));
        }
        format!("{}\n", line.trim_end())
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![
            vec!["shop".into(), "größe".into(), "x y".into()],
            vec!["a-long-namespace".into(), "p".into(), String::new()],
        ];
        assert_eq!(
            table(&["NAMESPACE", "PIPELINE", "SUMMARY"], &rows),
            "\
NAMESPACE          PIPELINE   SUMMARY
shop               größe      x y
a-long-namespace   p
"
        );
    }
}
