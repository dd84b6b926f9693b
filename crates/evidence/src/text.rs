//! Text out of evidence, made safe to show.

/// `text` without the characters that could act on whoever reads it: control and escape characters,
/// bidirectional and other invisible formatting, line and paragraph separators. Each is replaced by
/// U+FFFD, so that what was there stays visible.
///
/// For every string that comes out of evidence and is shown: terminals, logs, reports, pages. Escaping
/// for a format (HTML, JSON, CSV) is the writer's own duty.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if acts_on_reader(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn acts_on_reader(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn characters_that_act_on_the_reader_are_replaced() {
        assert_eq!(printable("plain, \u{e9}\u{4e16} text"), "plain, \u{e9}\u{4e16} text");
        for bad in [
            '\u{1b}',
            '\0',
            '\n',
            '\r',
            '\t',
            '\u{7f}',
            '\u{9b}',
            '\u{202e}',
            '\u{2066}',
            '\u{2069}',
            '\u{200f}',
            '\u{feff}',
            '\u{e0041}',
            '\u{2028}',
        ] {
            assert_eq!(printable(&format!("a{bad}b")), "a\u{fffd}b", "{:x}", u32::from(bad));
        }
    }
}
