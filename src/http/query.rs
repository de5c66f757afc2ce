//! The query of a request, read once: duplicates are kept, and what is not UTF-8 is known to be none.

use percent_encoding::percent_decode;

/// The parameters in their order.
#[derive(Clone, Default)]
pub struct Query {
    raw: String,
    pairs: Vec<(String, Option<String>)>,
}

/// How often and how well a parameter is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param<'a> {
    /// Not at all.
    Missing,
    /// Once, in UTF-8.
    Once(&'a str),
    /// More than once, or not in UTF-8.
    Malformed,
}

impl Query {
    /// Reads what stands behind the `?`.
    pub fn parse(raw: &str) -> Query {
        let pairs = raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name).unwrap_or_default(), decode(value))
        });
        Query { raw: raw.to_owned(), pairs: pairs.collect() }
    }

    /// Returns the text as it came.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// Returns the parameter of that name.
    pub fn get(&self, name: &str) -> Param<'_> {
        let mut values = self.pairs.iter().filter(|(found, _)| found == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Param::Missing,
            (Some(Some(value)), None) => Param::Once(value),
            _ => Param::Malformed,
        }
    }

    /// Returns whether the parameter is there once and has that value.
    pub fn is(&self, name: &str, value: &str) -> bool {
        self.get(name) == Param::Once(value)
    }
}

impl<'a> Param<'a> {
    /// Returns the value, where there is exactly one, not empty, of at most `limit` bytes.
    pub fn value(self, limit: usize) -> Option<&'a str> {
        match self {
            Param::Once(value) if !value.is_empty() && value.len() <= limit => Some(value),
            _ => None,
        }
    }
}

fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes()).decode_utf8().ok().map(|decoded| decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_and_foreign_bytes_are_malformed() {
        let query = Query::parse("a=1&b=%C3%A9+x&c=1&c=1&d=%ff&e&f=&=x&%63ode=y");
        assert_eq!(query.get("a"), Param::Once("1"));
        assert_eq!(query.get("b"), Param::Once("\u{e9} x"));
        assert_eq!(query.get("c"), Param::Malformed);
        assert_eq!(query.get("d"), Param::Malformed);
        assert_eq!(query.get("e"), Param::Once(""));
        assert_eq!(query.get("code"), Param::Once("y"));
        assert_eq!(query.get("z"), Param::Missing);
    }

    #[test]
    fn a_value_is_there_once_and_neither_empty_nor_too_long() {
        let query = Query::parse("a=12&b=&c=1&c=2");
        assert_eq!(query.get("a").value(2), Some("12"));
        assert_eq!(query.get("a").value(1), None);
        assert_eq!(query.get("b").value(9), None);
        assert_eq!(query.get("c").value(9), None);
        assert_eq!(query.get("d").value(9), None);
    }
}
