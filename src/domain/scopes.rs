//! What an authorization covers: names of scopes, as one text.

use std::fmt;
use std::sync::Arc;

/// Scopes in the order in which they were given, as RFC 6749 writes them (section 3.3); shared where it is copied.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Scopes(Arc<str>);

/// That something is not the name of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a scope is one or more printable ASCII characters, and no space")]
pub struct NotAScope;

impl Scopes {
    /// Joins names.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Scopes, NotAScope> {
        let mut joined = String::new();
        for name in names {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(NotAScope);
            }
            if !joined.is_empty() {
                joined.push(' ');
            }
            joined.push_str(name);
        }
        Ok(Scopes(joined.into()))
    }

    /// Returns the names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split_ascii_whitespace()
    }

    /// Returns whether that is among them.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }
}

impl fmt::Display for Scopes {
    /// Writes them with spaces in between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_out_as_they_went_in() {
        for names in [&[][..], &["identify"], &["identify", "email", "guilds.members.read"]] {
            let scopes = Scopes::new(names.iter().copied()).expect("scopes");
            assert!(scopes.names().eq(names.iter().copied()), "{scopes:?}");
            assert_eq!(scopes.to_string(), names.join(" "));
            assert_eq!(format!("{scopes:?}"), format!("{names:?}"));
        }
    }

    #[test]
    fn one_of_them_is_found_by_its_whole_name() {
        let scopes = Scopes::new(["identify", "guilds.members.read"]).expect("scopes");
        assert!(scopes.has("identify") && scopes.has("guilds.members.read"));
        assert!(!scopes.has("guilds") && !scopes.has("identify guilds.members.read") && !scopes.has(""));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", " ", "identify email", "identify\n", "identität"] {
            assert_eq!(Scopes::new(["identify", name]), Err(NotAScope), "{name:?}");
        }
    }
}
