//! Comma-separated values (RFC 4180).

/// Fields of a record: far more than a list has columns. Each takes more room than the comma that makes it.
const FIELDS_MAX: usize = 64;

/// A record and where it begins.
pub(super) struct Record {
    pub(super) line: usize,
    pub(super) fields: Vec<String>,
}

/// The records of a text; empty lines are none. Nothing if there are more than `most`, one has more than [`FIELDS_MAX`]
/// fields, or a quotation is not closed or not where one may be.
pub(super) fn records(text: &str, most: usize) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    let mut letters = text.chars().peekable();
    let mut line = 1;
    while letters.peek().is_some() {
        let began = line;
        let mut fields = Vec::new();
        loop {
            let (field, end) = field(&mut letters, &mut line)?;
            if fields.len() == FIELDS_MAX {
                return None;
            }
            fields.push(field);
            if end == End::Record {
                break;
            }
        }
        if fields.iter().any(|field| !field.is_empty()) {
            records.push(Record { line: began, fields });
        }
        if records.len() > most {
            return None;
        }
    }
    Some(records)
}

/// What ended a field.
#[derive(PartialEq)]
enum End {
    Field,
    Record,
}

fn field(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, line: &mut usize) -> Option<(String, End)> {
    let mut field = String::new();
    let is_quoted = letters.next_if_eq(&'"').is_some();
    if is_quoted {
        quoted(letters, line, &mut field)?;
    }
    loop {
        match letters.next() {
            None => return Some((field, End::Record)),
            Some(',') => return Some((field, End::Field)),
            Some('\r') if letters.peek() == Some(&'\n') => {}
            Some('\n') => {
                *line += 1;
                return Some((field, End::Record));
            }
            // Behind a quotation nothing may stand, and within a field none may begin.
            Some('"') => return None,
            Some(_) if is_quoted => return None,
            Some(letter) => field.push(letter),
        }
    }
}

/// The rest of a quotation.
fn quoted(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, line: &mut usize, field: &mut String) -> Option<()> {
    loop {
        match letters.next()? {
            '"' if letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => return Some(()),
            letter => {
                *line += usize::from(letter == '\n');
                field.push(letter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotations_hold_commas_quotes_and_line_ends() {
        let records = records("a,\"b,\"\"c\"\"\",\"d\r\ne\"\r\n\n,\nf", 9).unwrap();
        let found: Vec<(usize, Vec<&str>)> =
            records.iter().map(|record| (record.line, record.fields.iter().map(String::as_str).collect())).collect();
        assert_eq!(found, [(1, vec!["a", "b,\"c\"", "d\r\ne"]), (5, vec!["f"])]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read(rows in proptest::collection::vec(proptest::collection::vec(".{1,12}", 1..5), 0..6)) {
            let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let line = |row: &Vec<String>| row.iter().map(quoted).collect::<Vec<_>>().join(",");
            let text = rows.iter().map(line).collect::<Vec<_>>().join("\r\n");
            let read: Vec<Vec<String>> = records(&text, 6).unwrap().into_iter().map(|record| record.fields).collect();
            proptest::prop_assert_eq!(read, rows);
        }

        #[test]
        fn any_text_is_records_or_nothing(text in "[a,\"\r\n ]{0,60}") {
            if let Some(records) = records(&text, 100) {
                let lines = text.matches('\n').count() + 1;
                proptest::prop_assert!(records.iter().all(|record| (1..=lines).contains(&record.line)));
                let fields: usize = records.iter().map(|record| record.fields.len()).sum();
                proptest::prop_assert!(fields <= text.len() + 1);
            }
        }
    }

    #[test]
    fn what_is_not_csv_is_nothing() {
        assert!(records(&",".repeat(FIELDS_MAX - 1), 2).is_some() && records(&",".repeat(FIELDS_MAX), 2).is_none());
        for text in ["\"a", "a\"b\"", "\"a\"b", "a,\"", "1\n2\n3"] {
            assert!(records(text, 2).is_none(), "{text}");
        }
    }
}
